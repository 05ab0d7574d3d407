//! How long to wait before the next try.
//!
//! A [`Backoff`] says the curve, [`BackoffState`] is one call's place on it, and chance comes from
//! the caller's generator: two calls never share a sequence by accident. Jitter only takes away, so
//! no delay is ever above `cap`.
//!
//! Edge cases. The first Fibonacci delay is `base`, not zero. Every curve saturates at `cap` after
//! any number of tries. Decorrelated jitter (Brooker, "Exponential Backoff and Jitter", 2015) is
//! drawn from `base` to three times the last delay, cut at `cap` *before* drawing: cut after it,
//! most delays would be the cap itself and calls would meet there.

use crate::policy::{PolicyError, span_within, within};
use crate::rng::Rng;
use crate::time::nanos;
use std::time::Duration;

/// How delays grow with the number of tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curve {
    /// `base` each time.
    Fixed,
    /// `base` times 1, 2, 3, ….
    Linear,
    /// `base` times 1, f, f², ….
    Exponential {
        /// The growth per try; 1 to 100.
        factor: f64,
    },
    /// `base` times 1, 1, 2, 3, 5, ….
    Fibonacci,
    /// Uniform between `base` and three times the last delay.
    Decorrelated,
}

/// A curve with its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// How delays grow.
    pub curve: Curve,
    /// The first delay; zero (try again at once) only with [`Curve::Fixed`].
    pub base: Duration,
    /// No delay is longer, jitter included; `base` to 1 day.
    pub cap: Duration,
    /// The share of a delay that chance may take off, 0 to 1: 1 is full jitter, 0.5 equal jitter.
    /// 0 with [`Curve::Decorrelated`], which is chance already.
    pub jitter: f64,
}

impl Default for Backoff {
    /// 100 ms doubling to 10 s, equal jitter.
    fn default() -> Self {
        Self {
            curve: Curve::Exponential { factor: 2.0 },
            base: Duration::from_millis(100),
            cap: Duration::from_secs(10),
            jitter: 0.5,
        }
    }
}

impl Backoff {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        let zero_allowed = self.curve == Curve::Fixed;
        let low = if zero_allowed {
            Duration::ZERO
        } else {
            Duration::from_nanos(1)
        };
        span_within("cap", self.cap, Duration::ZERO, Duration::from_secs(86_400))?;
        span_within("base", self.base, low, self.cap)?;
        within("jitter", self.jitter, 0.0, 1.0)?;
        match self.curve {
            Curve::Exponential { factor } => within("factor", factor, 1.0, 100.0),
            Curve::Decorrelated if self.jitter > 0.0 => {
                let message = "must be 0 with the decorrelated curve, which is chance already";
                Err(PolicyError::new("jitter", message))
            }
            _ => Ok(()),
        }
    }

    /// The start of one call's delays.
    pub fn start(&self) -> BackoffState {
        BackoffState::default()
    }
}

/// One call's place on a curve. Belongs to the call, never shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackoffState {
    tries: u32,
    last: u64,
    before_last: u64,
}

impl BackoffState {
    /// The next delay, at most `cap`.
    pub fn next(&mut self, backoff: &Backoff, rng: &mut Rng) -> Duration {
        let cap = nanos(backoff.cap);
        let base = nanos(backoff.base).min(cap);
        let full = self.full(backoff.curve, base, cap, rng).min(cap);
        self.before_last = self.last;
        self.last = full;
        self.tries = self.tries.saturating_add(1);
        if backoff.curve == Curve::Decorrelated {
            return Duration::from_nanos(full);
        }
        let off = full as f64 * backoff.jitter.clamp(0.0, 1.0) * rng.unit();
        Duration::from_nanos(full.saturating_sub(off as u64))
    }

    /// Delays drawn so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    fn full(&self, curve: Curve, base: u64, cap: u64, rng: &mut Rng) -> u64 {
        let first = self.tries == 0;
        match curve {
            Curve::Fixed => base,
            Curve::Linear => base.saturating_mul(u64::from(self.tries).saturating_add(1)),
            // A float that is too large, or infinite, becomes u64::MAX and then the cap.
            Curve::Exponential { factor } => {
                let power = i32::try_from(self.tries).unwrap_or(i32::MAX);
                (base as f64 * factor.max(1.0).powi(power)) as u64
            }
            Curve::Fibonacci if first => base,
            Curve::Fibonacci => self.last.saturating_add(self.before_last),
            Curve::Decorrelated => {
                let last = if first { base } else { self.last };
                let high = last.saturating_mul(3).min(cap);
                nanos(rng.span(Duration::from_nanos(base), Duration::from_nanos(high)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn backoff(curve: Curve, jitter: f64) -> Backoff {
        Backoff {
            curve,
            base: 10 * MS,
            cap: 1_000 * MS,
            jitter,
        }
    }

    fn delays(backoff: &Backoff, seed: u64, count: usize) -> Vec<Duration> {
        let (mut state, mut rng) = (backoff.start(), Rng::seeded(seed));
        (0..count).map(|_| state.next(backoff, &mut rng)).collect()
    }

    #[test]
    fn each_curve_starts_at_its_base_and_ends_at_its_cap() {
        for (curve, expected) in [
            (Curve::Fixed, [10, 10, 10, 10, 10, 10]),
            (Curve::Linear, [10, 20, 30, 40, 50, 60]),
            (
                Curve::Exponential { factor: 2.0 },
                [10, 20, 40, 80, 160, 320],
            ),
            (
                Curve::Exponential { factor: 10.0 },
                [10, 100, 1_000, 1_000, 1_000, 1_000],
            ),
            (Curve::Fibonacci, [10, 10, 20, 30, 50, 80]),
        ] {
            let backoff = backoff(curve, 0.0);
            backoff.check().unwrap();
            let expected: Vec<Duration> = expected.iter().map(|ms| *ms * MS).collect();
            assert_eq!(delays(&backoff, 1, 6), expected, "{curve:?}");
            let far = delays(&backoff, 1, 200)[199];
            let end = if curve == Curve::Fixed {
                10 * MS
            } else {
                backoff.cap
            };
            assert_eq!(far, end, "{curve:?}");
        }
    }

    #[test]
    fn a_curve_stays_at_its_cap_for_ever() {
        for curve in [
            Curve::Linear,
            Curve::Exponential { factor: 2.0 },
            Curve::Fibonacci,
        ] {
            let backoff = backoff(curve, 0.0);
            let mut state = BackoffState {
                tries: u32::MAX - 1,
                last: u64::MAX,
                before_last: u64::MAX,
            };
            let mut rng = Rng::seeded(1);
            (0..4).for_each(|_| assert_eq!(state.next(&backoff, &mut rng), backoff.cap));
            assert_eq!(state.tries(), u32::MAX);
        }
    }

    #[test]
    fn two_calls_of_one_policy_do_not_share_their_jitter() {
        for curve in [Curve::Exponential { factor: 2.0 }, Curve::Decorrelated] {
            let backoff = backoff(
                curve,
                if curve == Curve::Decorrelated {
                    0.0
                } else {
                    0.5
                },
            );
            let mut rng = Rng::seeded(4);
            let firsts: std::collections::HashSet<Duration> = (0..100)
                .map(|_| backoff.start().next(&backoff, &mut rng))
                .collect();
            assert!(
                firsts.len() > 95,
                "{curve:?}: {} distinct of 100",
                firsts.len()
            );
        }
    }

    #[test]
    fn decorrelated_delays_do_not_meet_at_the_cap() {
        let long = delays(&backoff(Curve::Decorrelated, 0.0), 2, 1_000);
        let at_cap = long.iter().filter(|delay| **delay == 1_000 * MS).count();
        assert!(at_cap < 5, "{at_cap} of 1000");
        assert!(long.iter().all(|delay| *delay >= 10 * MS));
        assert!(long.iter().any(|delay| *delay > 900 * MS), "it does grow");
    }

    #[test]
    fn full_jitter_covers_everything_down_to_zero_evenly() {
        let all = delays(&backoff(Curve::Fixed, 1.0), 3, 10_000);
        let mean = all.iter().sum::<Duration>() / 10_000;
        assert!(mean > Duration::from_micros(4_900) && mean < Duration::from_micros(5_100));
        assert!(all.iter().min().unwrap() < &Duration::from_micros(20));
    }

    #[test]
    fn policies_that_make_no_sense_are_named() {
        type Spoil = fn(&mut Backoff);
        const fn exponential(factor: f64) -> Curve {
            Curve::Exponential { factor }
        }
        let cases: [(&str, Spoil); 8] = [
            ("base", |b| b.base = Duration::ZERO),
            ("base", |b| b.base = Duration::from_secs(11)),
            ("cap", |b| b.cap = Duration::MAX),
            ("jitter", |b| b.jitter = 1.1),
            ("jitter", |b| b.jitter = f64::NAN),
            ("jitter", |b| b.curve = Curve::Decorrelated),
            ("factor", |b| b.curve = exponential(0.5)),
            ("factor", |b| b.curve = exponential(f64::INFINITY)),
        ];
        for (field, spoil) in cases {
            let mut backoff = Backoff::default();
            assert_eq!(backoff.check(), Ok(()));
            spoil(&mut backoff);
            assert_eq!(backoff.check().unwrap_err().field, field, "{backoff:?}");
        }
        let at_once = Backoff {
            curve: Curve::Fixed,
            base: Duration::ZERO,
            ..Backoff::default()
        };
        assert_eq!(at_once.check(), Ok(()));
    }

    fn curves() -> impl Strategy<Value = Curve> {
        prop_oneof![
            Just(Curve::Fixed),
            Just(Curve::Linear),
            any::<f64>().prop_map(|factor| Curve::Exponential { factor }),
            Just(Curve::Fibonacci),
            Just(Curve::Decorrelated),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(256)
        })]

        #[test]
        fn no_delay_is_above_the_cap_jitter_included(
            curve in curves(),
            base in any::<u64>(),
            cap in any::<u64>(),
            jitter in any::<f64>(),
            seed in any::<u64>(),
        ) {
            let backoff = Backoff {
                curve,
                base: Duration::from_nanos(base),
                cap: Duration::from_nanos(cap),
                jitter,
            };
            for delay in delays(&backoff, seed, 80) {
                prop_assert!(delay <= backoff.cap);
            }
        }

        #[test]
        fn jitter_takes_off_no_more_than_its_share(jitter in 0.0..=1.0f64, seed in any::<u64>()) {
            let exact = delays(&backoff(Curve::Fibonacci, 0.0), seed, 20);
            let jittered = delays(&backoff(Curve::Fibonacci, jitter), seed, 20);
            for (full, got) in exact.iter().zip(jittered) {
                let least = full.mul_f64(1.0 - jitter).saturating_sub(Duration::from_nanos(2));
                prop_assert!(got <= *full && got >= least, "{got:?} of {full:?}");
            }
        }
    }
}
