//! A budget of retries, so that a struggling peer is not struck by its own callers' retries.
//!
//! A token bucket shared by a group of calls: each first attempt deposits a fraction of a token,
//! whatever becomes of it, and time adds a small reserve, so that a quiet caller may retry too.
//! A retry takes one token **when it is scheduled**, not when it is sent: what waits in backoff
//! is paid for already, and a thousand of them cannot all find the same token. A retry that is
//! cancelled before it was sent is refunded.
//!
//! Tokens (thousandths, 28 bits) and the time of the last reserve (8 ms ticks, 36 bits) are one
//! word: a withdrawal checks and takes in one compare-and-swap, so the budget is never overdrawn.
//! The reserve is added by whoever withdraws; rounding loses time, never invents tokens.

use crate::policy::{PolicyError, within};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::time::Time;

/// How many retries a group of calls may make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPolicy {
    /// Retries per first attempt, 0 to 10; 0.2 is one retry for five calls.
    pub ratio: f64,
    /// Retries per second on top of that, 0 to 10,000.
    pub reserve_per_second: f64,
    /// The most retries that can be saved up, 1 to 100,000; the bucket starts full.
    pub burst: u32,
}

impl Default for BudgetPolicy {
    /// One retry for five calls, ten per second besides, a thousand at once.
    fn default() -> Self {
        Self {
            ratio: 0.2,
            reserve_per_second: 10.0,
            burst: 1_000,
        }
    }
}

impl BudgetPolicy {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        within("ratio", self.ratio, 0.0, 10.0)?;
        within("reserve_per_second", self.reserve_per_second, 0.0, 10_000.0)?;
        within("burst", self.burst, 1, 100_000)
    }
}

const TOKEN_BITS: u32 = 28;
const TOKEN_MASK: u64 = (1 << TOKEN_BITS) - 1;
const TICK_MASK: u64 = (1 << (64 - TOKEN_BITS)) - 1;
const TICK_NANOS: u64 = 8_000_000;
const TICKS_PER_SECOND: u64 = 125;
const TOKEN: u64 = 1_000;

/// The bucket. One word, and the policy in whole thousandths of a token.
#[derive(Debug)]
pub struct Budget {
    word: AtomicU64,
    deposit: u64,
    reserve_per_second: u64,
    cap: u64,
}

impl Budget {
    /// A full bucket.
    pub fn new(policy: &BudgetPolicy, now: Time) -> Self {
        let cap = u64::from(policy.burst.clamp(1, 100_000)) * TOKEN;
        Self {
            word: AtomicU64::new(pack(tick(now), cap)),
            deposit: thousandths(policy.ratio, 10.0),
            reserve_per_second: thousandths(policy.reserve_per_second, 10_000.0),
            cap,
        }
    }

    /// A first attempt was made. One load when the bucket is full, else one addition.
    #[inline]
    pub fn deposit(&self) {
        self.put(self.deposit);
    }

    /// A retry that was paid for will not be made.
    pub fn refund(&self) {
        self.put(TOKEN);
    }

    /// Takes one retry out, if there is one.
    #[inline]
    pub fn withdraw(&self, now: Time) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            let (ticks, tokens) = self.refilled(word, now);
            let Some(left) = tokens.checked_sub(TOKEN) else {
                return false;
            };
            let new = pack(ticks, left);
            match self.word.compare_exchange_weak(word, new, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
    }

    /// Whole retries that could be made now.
    pub fn available(&self, now: Time) -> u32 {
        let (_, tokens) = self.refilled(self.word.load(Relaxed), now);
        u32::try_from(tokens / TOKEN).unwrap_or(u32::MAX)
    }

    /// Depositors that race past the cap leave it exceeded by as many deposits at most; the next
    /// withdrawal cuts that off. The field has room for far more of them than there are threads.
    #[inline]
    fn put(&self, amount: u64) {
        if self.word.load(Relaxed) & TOKEN_MASK < self.cap {
            self.word.fetch_add(amount, Relaxed);
        }
    }

    /// The word's tick and tokens with the reserve of the time since then.
    #[inline]
    fn refilled(&self, word: u64, now: Time) -> (u64, u64) {
        let (then, tokens) = (word >> TOKEN_BITS, (word & TOKEN_MASK).min(self.cap));
        let passed = tick(now).wrapping_sub(then) & TICK_MASK;
        // More than half the range back is a thread with an older `now`.
        if passed == 0 || passed > TICK_MASK / 2 || self.reserve_per_second == 0 {
            return (then, tokens);
        }
        let gain = passed.saturating_mul(self.reserve_per_second) / TICKS_PER_SECOND;
        if tokens + gain >= self.cap {
            return (tick(now), self.cap);
        }
        // Only the time that whole thousandths were made of is used up.
        let used = (gain * TICKS_PER_SECOND).div_ceil(self.reserve_per_second);
        ((then + used) & TICK_MASK, tokens + gain)
    }
}

fn tick(now: Time) -> u64 {
    (now.as_nanos() / TICK_NANOS) & TICK_MASK
}

fn pack(ticks: u64, tokens: u64) -> u64 {
    ticks << TOKEN_BITS | tokens
}

fn thousandths(value: f64, high: f64) -> u64 {
    (value.clamp(0.0, high) * 1_000.0).round() as u64
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// One token and a deposit of half a token by each: two takers get one between them.
    #[test]
    fn loom_withdrawals_and_deposits_never_overdraw() {
        loom::model(|| {
            let policy = BudgetPolicy {
                ratio: 0.5,
                reserve_per_second: 0.0,
                burst: 1,
            };
            let budget = Arc::new(Budget::new(&policy, Time::ZERO));
            let takers: Vec<_> = (0..2)
                .map(|_| {
                    let budget = Arc::clone(&budget);
                    thread::spawn(move || {
                        let taken = budget.withdraw(Time::ZERO);
                        budget.deposit();
                        u32::from(taken)
                    })
                })
                .collect();
            let taken: u32 = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
            let left = u32::from(budget.withdraw(Time::ZERO));
            let more = u32::from(budget.withdraw(Time::ZERO));
            assert!(
                taken >= 1 && taken + left + more <= 2,
                "{taken} {left} {more}"
            );
        });
    }

    #[test]
    fn loom_the_reserve_of_one_span_is_given_once() {
        loom::model(|| {
            let policy = BudgetPolicy {
                ratio: 0.0,
                reserve_per_second: 1.0,
                burst: 5,
            };
            let budget = Arc::new(Budget::new(&policy, Time::ZERO));
            (0..5).for_each(|_| assert!(budget.withdraw(Time::ZERO)));
            let later = Time::from_millis(1_000);
            let takers: Vec<_> = (0..2)
                .map(|_| {
                    let budget = Arc::clone(&budget);
                    thread::spawn(move || u32::from(budget.withdraw(later)))
                })
                .collect();
            let taken: u32 = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
            assert_eq!(taken, 1);
        });
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drained(policy: BudgetPolicy, now: Time) -> Budget {
        let budget = Budget::new(&policy, now);
        while budget.withdraw(now) {}
        budget
    }

    const BARE: BudgetPolicy = BudgetPolicy {
        ratio: 0.2,
        reserve_per_second: 0.0,
        burst: 100,
    };

    #[test]
    fn the_bucket_starts_full_and_ends_empty() {
        let budget = Budget::new(&BARE, Time::ZERO);
        assert_eq!(budget.available(Time::ZERO), 100);
        let taken = (0..1_000).filter(|_| budget.withdraw(Time::ZERO)).count();
        assert_eq!((taken, budget.available(Time::ZERO)), (100, 0));
    }

    #[test]
    fn five_first_attempts_pay_for_one_retry_whatever_became_of_them() {
        let budget = drained(BARE, Time::ZERO);
        for _ in 0..50 {
            (0..4).for_each(|_| budget.deposit());
            assert!(!budget.withdraw(Time::ZERO));
            budget.deposit();
            assert!(budget.withdraw(Time::ZERO));
        }
    }

    #[test]
    fn deposits_stop_at_the_cap_and_a_refund_does_too() {
        let budget = Budget::new(&BARE, Time::ZERO);
        let full = budget.word.load(Relaxed);
        (0..1_000).for_each(|_| budget.deposit());
        budget.refund();
        assert_eq!(
            budget.word.load(Relaxed),
            full,
            "a full bucket is not even written"
        );
        let taken = (0..1_000).filter(|_| budget.withdraw(Time::ZERO)).count();
        assert_eq!(taken, 100);
        budget.refund();
        assert!(budget.withdraw(Time::ZERO) && !budget.withdraw(Time::ZERO));
    }

    #[test]
    fn the_reserve_lets_a_quiet_caller_retry_at_its_rate() {
        for (per_second, ms_apart) in [(10.0, 100), (0.5, 2_000), (100.0, 10)] {
            let policy = BudgetPolicy {
                reserve_per_second: per_second,
                ..BARE
            };
            let budget = drained(policy, Time::ZERO);
            let taken = (1..=100u64)
                .map(|n| Time::from_millis(n * ms_apart))
                .filter(|now| budget.withdraw(*now))
                .count();
            assert!((98..=100).contains(&taken), "{taken} at {per_second}/s");
        }
    }

    #[test]
    fn a_reserve_asked_for_often_is_neither_lost_nor_invented_by_rounding() {
        let policy = BudgetPolicy {
            reserve_per_second: 0.7,
            ..BARE
        };
        let budget = drained(policy, Time::ZERO);
        let taken = (1..=1_000_000u64)
            .filter(|ms| budget.withdraw(Time::from_millis(*ms)))
            .count();
        assert!((697..=700).contains(&taken), "{taken} in 1000 s");
    }

    #[test]
    fn an_older_clock_gains_nothing_and_breaks_nothing() {
        let policy = BudgetPolicy {
            reserve_per_second: 1.0,
            ..BARE
        };
        let budget = drained(policy, Time::from_millis(10_000));
        assert!(!budget.withdraw(Time::from_millis(9_000)));
        assert!(!budget.withdraw(Time::from_millis(10_500)));
        assert!(budget.withdraw(Time::from_millis(11_100)));
    }

    #[test]
    fn policies_out_of_range_are_named() {
        let good = BudgetPolicy::default();
        assert_eq!(good.check(), Ok(()));
        for (field, policy) in [
            (
                "ratio",
                BudgetPolicy {
                    ratio: -0.1,
                    ..good
                },
            ),
            (
                "reserve_per_second",
                BudgetPolicy {
                    reserve_per_second: f64::NAN,
                    ..good
                },
            ),
            ("burst", BudgetPolicy { burst: 0, ..good }),
        ] {
            assert_eq!(policy.check().unwrap_err().field, field);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(256)
        })]

        /// Over any history: retries <= burst + ratio * firsts + reserve * time + refunds.
        #[test]
        fn the_budget_is_never_overdrawn(
            ratio in 0.0..2.0f64,
            reserve in 0.0..50.0f64,
            burst in 1u32..20,
            start in 0u64..u64::MAX / 4,
            ops in prop::collection::vec((0u8..8, 0u64..2_000_000_000), 1..300),
        ) {
            let policy = BudgetPolicy { ratio, reserve_per_second: reserve, burst };
            let start = Time::from_nanos(start);
            let (budget, mut now) = (Budget::new(&policy, start), start);
            // The word counts in thousandths and 8 ms ticks; the bound allows for one of each.
            let rounded = |value: f64| (value * 1e3).round() / 1e3;
            let (per_first, per_second) = (rounded(ratio), rounded(reserve));
            let mut allowed = f64::from(burst);
            let (mut taken, mut out) = (0u32, 0u32);
            for (op, nanos) in ops {
                match op {
                    0 => {
                        now = now + std::time::Duration::from_nanos(nanos);
                        allowed += per_second * nanos as f64 / 1e9;
                    }
                    1 if out > 0 => {
                        budget.refund();
                        (taken, out) = (taken - 1, out - 1);
                    }
                    2..=4 => {
                        budget.deposit();
                        allowed += per_first;
                    }
                    _ if budget.withdraw(now) => (taken, out) = (taken + 1, out + 1),
                    _ => {}
                }
                prop_assert!(f64::from(taken) <= allowed + 0.008 * per_second + 1e-6);
                prop_assert!(budget.available(now) <= burst);
            }
        }
    }
}
