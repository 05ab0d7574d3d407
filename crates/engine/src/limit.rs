//! How fast and how many at once: a rate limit and an in-flight limit per target or principal.
//!
//! [`Gcra`] is a token bucket as one point in time, the theoretical arrival time of the generic
//! cell rate algorithm (ITU-T I.371): each call moves it one interval ahead, and a call that would
//! move it further than the burst ahead of now is told when to come back.
//!
//! [`Flight`] caps calls in flight. Adaptive, it grows by one after a whole limit's worth of
//! successes that needed it (at least half of it in use) and shrinks to nine tenths on a loss. One
//! congestion loses many calls at once, so after a shrink the calls that were in flight by then
//! must be released before anything counts again. Loss is the signal, right for datagrams.
//!
//! Edge cases. Intervals round up to a nanosecond, so the rate is never above what was asked. A
//! refund gives back one call, never more than the burst. A thread whose `now` is older is judged
//! by its own clock. A release without an acquire changes nothing below zero. A limit changed by a
//! reload holds from the next call on.

use crate::policy::{PolicyError, within};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::time::Time;

/// Calls per second, with a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePolicy {
    /// The sustained rate; from 0.00001 (one a day) to 10,000,000.
    pub per_second: f64,
    /// Calls at once after a pause; 1 to 1,000,000.
    pub burst: u32,
}

impl RatePolicy {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        within("per_second", self.per_second, 1e-5, 1e7)?;
        within("burst", self.burst, 1, 1_000_000)
    }

    /// Nanoseconds between calls, rounded up. A rate of zero or less, or NaN, is one call ever.
    #[inline]
    fn interval(&self) -> u64 {
        let positive = self.per_second > 0.0;
        if !positive {
            return u64::MAX;
        }
        // A hair less than a second, cut to a whole number, plus one: rounds up without a call to
        // `ceil`, which would cost as much as the rest. A cast to i64 saturates, too.
        ((NEARLY_A_SECOND / self.per_second) as i64).unsigned_abs() + 1
    }
}

/// In nanoseconds. What it lacks is more than the division's rounding can add.
const NEARLY_A_SECOND: f64 = 1e9 * (1.0 - 1e-15);

/// Too early: the call conforms from this time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over the rate limit")]
pub struct NotBefore(pub Time);

/// A rate limiter in one word.
#[derive(Debug)]
pub struct Gcra {
    arrival: AtomicU64,
}

impl Default for Gcra {
    fn default() -> Self {
        Self::new()
    }
}

impl Gcra {
    /// A limiter with its whole burst to spend.
    pub fn new() -> Self {
        Self {
            arrival: AtomicU64::new(0),
        }
    }

    /// Takes one call out of the rate.
    ///
    /// # Errors
    /// [`NotBefore`] with the time from which one would conform; nothing is taken.
    #[inline]
    pub fn check(&self, policy: &RatePolicy, now: Time) -> Result<(), NotBefore> {
        let interval = policy.interval();
        let ahead = interval.saturating_mul(u64::from(policy.burst.max(1)) - 1);
        let now = now.as_nanos();
        let mut arrival = self.arrival.load(Relaxed);
        loop {
            if arrival.saturating_sub(now) > ahead {
                return Err(NotBefore(Time::from_nanos(arrival - ahead)));
            }
            let next = arrival.max(now).saturating_add(interval);
            match self
                .arrival
                .compare_exchange_weak(arrival, next, Relaxed, Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(seen) => arrival = seen,
            }
        }
    }

    /// Gives back one call that was taken and not made.
    pub fn refund(&self, policy: &RatePolicy) {
        let interval = policy.interval();
        let mut arrival = self.arrival.load(Relaxed);
        loop {
            let next = arrival.saturating_sub(interval);
            match self
                .arrival
                .compare_exchange_weak(arrival, next, Relaxed, Relaxed)
            {
                Ok(_) => return,
                Err(seen) => arrival = seen,
            }
        }
    }
}

/// How many calls may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightPolicy {
    /// An adaptive limit is never below; at least 1.
    pub min: u32,
    /// The limit is never above; at most 200,000.
    pub max: u32,
    /// Where an adaptive limit starts; `min` to `max`.
    pub initial: u32,
    /// Whether loss moves the limit. Otherwise it is `max`.
    pub adaptive: bool,
}

impl Default for FlightPolicy {
    /// Adaptive from 4, between 1 and 64: fit for one small agent.
    fn default() -> Self {
        Self {
            min: 1,
            max: 64,
            initial: 4,
            adaptive: true,
        }
    }
}

impl FlightPolicy {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        within("max", self.max, 1, 200_000)?;
        within("min", self.min, 1, self.max)?;
        within("initial", self.initial, self.min, self.max)
    }

    /// The limit that holds when the adaptive one is `limit`.
    #[inline]
    fn bound(&self, limit: u64) -> u64 {
        let max = u64::from(self.max).clamp(1, FIELD_MASK);
        if self.adaptive {
            limit.max(u64::from(self.min)).min(max)
        } else {
            max
        }
    }
}

const FIELD_BITS: u32 = 18;
const FIELD_MASK: u64 = (1 << FIELD_BITS) - 1;
const LIMIT_SHIFT: u32 = FIELD_BITS;
const CREDIT_SHIFT: u32 = 2 * FIELD_BITS;
const CREDIT_BITS: u32 = 19;
const CREDIT_MASK: u64 = (1 << CREDIT_BITS) - 1;
const COOLING: u64 = 1 << (CREDIT_SHIFT + CREDIT_BITS);

/// Calls in flight and their limit in one word: in flight (18 bits), limit (18), then a count (19)
/// of successes towards the next growth, or, with the flag (1) set, of calls from before a shrink.
#[derive(Debug)]
pub struct Flight {
    word: AtomicU64,
}

impl Flight {
    /// Nothing in flight, at the policy's initial limit.
    pub fn new(policy: &FlightPolicy) -> Self {
        let limit = policy.bound(u64::from(policy.initial));
        Self {
            word: AtomicU64::new(limit << LIMIT_SHIFT),
        }
    }

    /// Takes a place, if one is free. Each place taken must be released once.
    #[inline]
    pub fn try_acquire(&self, policy: &FlightPolicy) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            if word & FIELD_MASK >= policy.bound(word >> LIMIT_SHIFT & FIELD_MASK) {
                return false;
            }
            match self
                .word
                .compare_exchange_weak(word, word + 1, Relaxed, Relaxed)
            {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
    }

    /// Gives a place back. `lost` says whether the call was lost (no answer), was answered, or,
    /// `None`, says nothing about the path.
    #[inline]
    pub fn release(&self, policy: &FlightPolicy, lost: Option<bool>) {
        let mut word = self.word.load(Relaxed);
        loop {
            let next = released(word, policy, lost);
            match self
                .word
                .compare_exchange_weak(word, next, Relaxed, Relaxed)
            {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Calls in flight now.
    pub fn in_flight(&self) -> u32 {
        field(self.word.load(Relaxed))
    }

    /// The limit that holds now.
    pub fn limit(&self, policy: &FlightPolicy) -> u32 {
        field(policy.bound(self.word.load(Relaxed) >> LIMIT_SHIFT & FIELD_MASK))
    }
}

/// The word after a release. The usual one, which moves no limit, stays on the inlined path.
#[inline]
fn released(word: u64, policy: &FlightPolicy, lost: Option<bool>) -> u64 {
    let in_flight = word & FIELD_MASK;
    let limit = word >> LIMIT_SHIFT & FIELD_MASK;
    let unused = lost == Some(false) && in_flight * 2 < limit && word & COOLING == 0;
    if in_flight > 0 && (unused || !policy.adaptive) {
        return word - 1;
    }
    adapted(word, policy, lost)
}

#[inline(never)]
fn adapted(word: u64, policy: &FlightPolicy, lost: Option<bool>) -> u64 {
    let in_flight = word & FIELD_MASK;
    let left = in_flight.saturating_sub(1);
    if !policy.adaptive {
        return word & !FIELD_MASK | left;
    }
    let limit = policy.bound(word >> LIMIT_SHIFT & FIELD_MASK);
    let credit = word >> CREDIT_SHIFT & CREDIT_MASK;
    let cooling = word & COOLING != 0;
    let (limit, credit, cooling) = match lost {
        _ if cooling => (limit, credit.saturating_sub(1), credit > 1),
        None => (limit, credit, false),
        Some(true) => (shrunk(policy, limit), left, left > 0),
        Some(false) if in_flight * 2 < limit => (limit, credit, false),
        Some(false) if credit + 1 < limit => (limit, credit + 1, false),
        Some(false) => (policy.bound(limit + 1), 0, false),
    };
    left | limit << LIMIT_SHIFT | credit << CREDIT_SHIFT | if cooling { COOLING } else { 0 }
}

/// Nine tenths, and at least one less.
fn shrunk(policy: &FlightPolicy, limit: u64) -> u64 {
    policy.bound(limit * 9 / 10)
}

fn field(value: u64) -> u32 {
    (value & FIELD_MASK) as u32
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_two_callers_at_once_get_one_burst_between_them() {
        loom::model(|| {
            let policy = RatePolicy {
                per_second: 1.0,
                burst: 3,
            };
            let now = Time::from_millis(10_000);
            let gcra = Arc::new(Gcra::new());
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    let gcra = Arc::clone(&gcra);
                    let take = move || u32::from(gcra.check(&policy, now).is_ok());
                    thread::spawn(move || take() + take())
                })
                .collect();
            let taken: u32 = callers
                .into_iter()
                .map(|caller| caller.join().unwrap())
                .sum();
            assert_eq!(taken, 3);
        });
    }

    #[test]
    fn loom_callers_at_once_never_exceed_the_limit() {
        loom::model(|| {
            let policy = FlightPolicy {
                min: 1,
                max: 2,
                initial: 1,
                adaptive: true,
            };
            let flight = Arc::new(Flight::new(&policy));
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    let flight = Arc::clone(&flight);
                    thread::spawn(move || {
                        let taken = flight.try_acquire(&policy);
                        assert!(flight.in_flight() <= 1, "the limit is 1");
                        if taken {
                            flight.release(&policy, Some(true));
                        }
                        taken
                    })
                })
                .collect();
            let taken: Vec<bool> = callers.into_iter().map(|c| c.join().unwrap()).collect();
            assert!(taken.contains(&true));
            assert_eq!((flight.in_flight(), flight.limit(&policy)), (0, 1));
        });
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const START: Time = Time::from_millis(60_000);

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let policy = RatePolicy {
            per_second: 10.0,
            burst: 5,
        };
        let gcra = Gcra::new();
        let at_once = (0..100)
            .filter(|_| gcra.check(&policy, START).is_ok())
            .count();
        assert_eq!(at_once, 5);
        let ready = gcra.check(&policy, START).unwrap_err().0;
        assert_eq!(ready, START + Duration::from_millis(100));
        assert!(
            gcra.check(&policy, Time::from_nanos(ready.as_nanos() - 1))
                .is_err()
        );
        assert_eq!(gcra.check(&policy, ready), Ok(()));
        assert!(gcra.check(&policy, ready).is_err());
        let rested = START + Duration::from_secs(3_600);
        let at_once = (0..100)
            .filter(|_| gcra.check(&policy, rested).is_ok())
            .count();
        assert_eq!(at_once, 5, "an hour of rest saves one burst");
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let policy = RatePolicy {
            per_second: 1.0,
            burst: 1,
        };
        let gcra = Gcra::new();
        assert_eq!(gcra.check(&policy, START), Ok(()));
        for _ in 0..1_000 {
            let ready = gcra.check(&policy, START).unwrap_err().0;
            assert_eq!(ready, START + Duration::from_secs(1));
        }
    }

    #[test]
    fn a_refund_gives_back_one_call_and_never_more_than_the_burst() {
        let policy = RatePolicy {
            per_second: 1.0,
            burst: 2,
        };
        let gcra = Gcra::new();
        assert!(gcra.check(&policy, START).is_ok() && gcra.check(&policy, START).is_ok());
        gcra.refund(&policy);
        assert!(gcra.check(&policy, START).is_ok() && gcra.check(&policy, START).is_err());
        (0..10).for_each(|_| gcra.refund(&policy));
        let at_once = (0..100)
            .filter(|_| gcra.check(&policy, START).is_ok())
            .count();
        assert_eq!(at_once, 2);
    }

    #[test]
    fn odd_rates_are_slow_and_never_a_panic() {
        for per_second in [0.0, -1.0, f64::NAN, f64::MIN_POSITIVE] {
            let policy = RatePolicy {
                per_second,
                burst: 0,
            };
            let gcra = Gcra::new();
            assert_eq!(gcra.check(&policy, START), Ok(()));
            let century = START + Duration::from_secs(100 * 365 * 86_400);
            assert!(gcra.check(&policy, START).unwrap_err().0 > century);
            gcra.refund(&policy);
        }
        let fast = RatePolicy {
            per_second: f64::INFINITY,
            burst: u32::MAX,
        };
        assert_eq!(Gcra::default().check(&fast, START), Ok(()));
    }

    #[test]
    fn policies_out_of_range_are_named() {
        let rate = RatePolicy {
            per_second: 1.0,
            burst: 1,
        };
        assert_eq!(rate.check(), Ok(()));
        let slow = RatePolicy {
            per_second: 0.0,
            ..rate
        };
        assert_eq!(slow.check().unwrap_err().field, "per_second");
        assert_eq!(
            RatePolicy { burst: 0, ..rate }.check().unwrap_err().field,
            "burst"
        );
        let flight = FlightPolicy::default();
        assert_eq!(flight.check(), Ok(()));
        for (field, policy) in [
            ("max", FlightPolicy { max: 0, ..flight }),
            ("min", FlightPolicy { min: 65, ..flight }),
            ("min", FlightPolicy { min: 0, ..flight }),
            (
                "initial",
                FlightPolicy {
                    initial: 65,
                    ..flight
                },
            ),
        ] {
            assert_eq!(policy.check().unwrap_err().field, field);
        }
    }

    fn fill(flight: &Flight, policy: &FlightPolicy) -> u32 {
        let mut taken = 0;
        while flight.try_acquire(policy) {
            taken += 1;
        }
        taken
    }

    /// Fills the limit and ends every call the same way.
    fn round(flight: &Flight, policy: &FlightPolicy, lost: Option<bool>) {
        let taken = fill(flight, policy);
        (0..taken).for_each(|_| flight.release(policy, lost));
    }

    const WIDE: FlightPolicy = FlightPolicy {
        min: 1,
        max: 64,
        initial: 20,
        adaptive: true,
    };

    #[test]
    fn as_many_fly_as_the_limit_says_and_a_release_frees_one() {
        let flight = Flight::new(&WIDE);
        assert_eq!(fill(&flight, &WIDE), 20);
        flight.release(&WIDE, None);
        assert!(flight.try_acquire(&WIDE) && !flight.try_acquire(&WIDE));
        assert_eq!((flight.in_flight(), flight.limit(&WIDE)), (20, 20));
    }

    #[test]
    fn one_congestion_that_loses_all_calls_shrinks_once() {
        let flight = Flight::new(&WIDE);
        round(&flight, &WIDE, Some(true));
        assert_eq!(flight.limit(&WIDE), 18);
        round(&flight, &WIDE, Some(true));
        assert_eq!(flight.limit(&WIDE), 16);
    }

    #[test]
    fn calls_of_before_a_shrink_do_not_count_and_the_first_after_them_does() {
        let flight = Flight::new(&WIDE);
        assert_eq!(fill(&flight, &WIDE), 20);
        flight.release(&WIDE, Some(true));
        for how in [Some(true), None, Some(false)] {
            (0..6).for_each(|_| flight.release(&WIDE, how));
        }
        flight.release(&WIDE, Some(true));
        assert_eq!((flight.limit(&WIDE), flight.in_flight()), (18, 0));
        assert!(flight.try_acquire(&WIDE));
        flight.release(&WIDE, Some(true));
        assert_eq!(flight.limit(&WIDE), 16);
    }

    #[test]
    fn steady_loss_ends_at_the_minimum_and_steady_success_at_the_maximum() {
        let flight = Flight::new(&WIDE);
        (0..100).for_each(|_| round(&flight, &WIDE, Some(true)));
        assert_eq!(flight.limit(&WIDE), 1);
        (0..1_000).for_each(|_| round(&flight, &WIDE, Some(false)));
        assert_eq!((flight.limit(&WIDE), flight.in_flight()), (64, 0));
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let flight = Flight::new(&WIDE);
        for _ in 0..10_000 {
            assert!(flight.try_acquire(&WIDE));
            flight.release(&WIDE, Some(false));
        }
        assert_eq!(flight.limit(&WIDE), 20);
        (0..2).for_each(|_| round(&flight, &WIDE, Some(false)));
        assert_eq!(
            flight.limit(&WIDE),
            21,
            "the half of a round that used it counts"
        );
    }

    #[test]
    fn calls_that_say_nothing_move_nothing() {
        let flight = Flight::new(&WIDE);
        (0..100).for_each(|_| round(&flight, &WIDE, None));
        assert_eq!((flight.limit(&WIDE), flight.in_flight()), (20, 0));
    }

    #[test]
    fn a_fixed_limit_is_its_maximum_and_a_reload_holds_at_once() {
        let fixed = FlightPolicy {
            adaptive: false,
            ..WIDE
        };
        let flight = Flight::new(&fixed);
        assert_eq!(fill(&flight, &fixed), 64);
        (0..64).for_each(|_| flight.release(&fixed, Some(true)));
        assert_eq!(flight.limit(&fixed), 64);
        let smaller = FlightPolicy { max: 3, ..fixed };
        assert_eq!(fill(&flight, &smaller), 3);
        let raised = FlightPolicy {
            min: 10,
            max: 12,
            ..WIDE
        };
        assert_eq!(fill(&flight, &raised), 12 - 3);
    }

    #[test]
    fn a_release_too_many_does_not_wrap() {
        for adaptive in [true, false] {
            let policy = FlightPolicy { adaptive, ..WIDE };
            let flight = Flight::new(&policy);
            flight.release(&policy, Some(false));
            flight.release(&policy, Some(true));
            assert_eq!(flight.in_flight(), 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(256)
        })]

        /// In any span that starts at a call: calls <= burst + rate * span.
        #[test]
        fn the_rate_is_never_exceeded(
            per_second in 0.1..1_000.0f64,
            burst in 1u32..20,
            start in 1u64 << 40..1u64 << 60,
            gaps in prop::collection::vec(0u64..50_000_000, 1..400),
        ) {
            let (policy, gcra) = (RatePolicy { per_second, burst }, Gcra::new());
            let mut now = Time::from_nanos(start);
            let mut passed: Vec<Time> = Vec::new();
            for (n, gap) in gaps.into_iter().enumerate() {
                match gcra.check(&policy, now) {
                    Ok(()) if n % 7 == 6 => gcra.refund(&policy),
                    Ok(()) => passed.push(now),
                    Err(NotBefore(ready)) => prop_assert!(ready > now),
                }
                now = now + Duration::from_nanos(gap);
            }
            for (i, first) in passed.iter().enumerate() {
                for (count, last) in passed[i..].iter().enumerate() {
                    let span = last.saturating_since(*first).as_secs_f64();
                    let most = f64::from(burst) + per_second * span + 1e-6;
                    prop_assert!(count as f64 + 1.0 <= most, "{count} in {span}");
                }
            }
        }

        #[test]
        fn the_limit_keeps_its_bounds_and_flight_its_count(
            min in 1u32..10,
            extra in 0u32..60,
            ops in prop::collection::vec((any::<bool>(), prop::option::of(any::<bool>())), 1..600),
        ) {
            let max = min + extra;
            let policy = FlightPolicy { min, max, initial: min + extra / 2, adaptive: true };
            let (flight, mut flying) = (Flight::new(&policy), 0);
            for (acquire, lost) in ops {
                if acquire {
                    let free = flying < flight.limit(&policy);
                    prop_assert_eq!(flight.try_acquire(&policy), free);
                    flying += u32::from(free);
                } else if flying > 0 {
                    flight.release(&policy, lost);
                    flying -= 1;
                }
                prop_assert_eq!(flight.in_flight(), flying);
                prop_assert!((min..=max).contains(&flight.limit(&policy)));
            }
        }
    }
}
