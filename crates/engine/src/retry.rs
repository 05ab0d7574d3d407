//! Whether a failed attempt is made again, when, and where.
//!
//! The rule, in this order, each with its own [`Why`]: the fault itself allows it somewhere; the
//! work is idempotent or was proven never started; attempts are left; the wait fits before the
//! deadline; the budget pays. The budget is asked last and charged at once, so a retry that waits
//! is paid for and one that is not scheduled costs nothing; whoever cancels a scheduled retry
//! refunds it ([`Budget::refund`]).
//!
//! A place of [`Place::AnyPeer`] means: prefer another peer, take the same one if it is alone.
//! The wait is the longer of the backoff and what the peer asked for; a peer that asks for a year
//! gets no retry, since that does not fit a deadline. Work without a deadline waits as asked.

use crate::backoff::{Backoff, BackoffState};
use crate::budget::{Budget, BudgetPolicy};
use crate::fault::{Place, Retry};
use crate::policy::{PolicyError, within};
use crate::rng::Rng;
use crate::time::Time;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often and how fast work is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in total, the first included; 1 to 100, and 1 is no retry.
    pub attempts: u32,
    /// The wait between them.
    pub backoff: Backoff,
    /// What a group of calls may spend on retries together.
    pub budget: BudgetPolicy,
}

impl Default for RetryPolicy {
    /// Three attempts.
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::default(),
            budget: BudgetPolicy::default(),
        }
    }
}

impl RetryPolicy {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        within("attempts", self.attempts, 1, 100)?;
        self.backoff
            .check()
            .map_err(|error| error.within("backoff"))?;
        self.budget.check().map_err(|error| error.within("budget"))
    }
}

/// An attempt that failed, and what is left to it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Its number: 1 for the first.
    pub number: u32,
    /// What its error says about trying again.
    pub retry: Retry,
    /// Whether the work is idempotent, or is proven never to have started.
    pub repeatable: bool,
    /// When the work's deadline is.
    pub deadline: Time,
}

/// What becomes of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again. One token of the budget is paid.
    Again {
        /// When, before the deadline.
        at: Time,
        /// Where. [`Place::AnyPeer`] prefers another one.
        place: Place,
    },
    /// The failure is final.
    Stop(Why),
}

/// Why a failed attempt is not made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The fault says that trying again is of no use.
    Final,
    /// It may have happened, and is not idempotent.
    NotRepeatable,
    /// All attempts are used.
    Attempts,
    /// The wait would end at or after the deadline.
    Deadline,
    /// The group has spent its budget.
    Budget,
}

impl Why {
    /// The name in logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::NotRepeatable => "not-repeatable",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

/// Decides about one failed attempt. `state` is that of the work, from [`Backoff::start`]; it
/// moves on only when the question of waiting comes up.
pub fn decide(
    policy: &RetryPolicy,
    attempt: &Attempt,
    now: Time,
    budget: &Budget,
    state: &mut BackoffState,
    rng: &mut Rng,
) -> Decision {
    if attempt.retry.place == Place::Nowhere {
        return Decision::Stop(Why::Final);
    }
    if !attempt.repeatable {
        return Decision::Stop(Why::NotRepeatable);
    }
    if attempt.number >= policy.attempts {
        return Decision::Stop(Why::Attempts);
    }
    let wait = state.next(&policy.backoff, rng).max(attempt.retry.after);
    let at = now + wait;
    if at >= attempt.deadline {
        return Decision::Stop(Why::Deadline);
    }
    if !budget.withdraw(now) {
        return Decision::Stop(Why::Budget);
    }
    Decision::Again {
        at,
        place: attempt.retry.place,
    }
}

/// Retries of a group of calls, as totals that never go back.
#[derive(Debug, Default)]
pub struct RetryCounters {
    scheduled: AtomicU64,
    cancelled: AtomicU64,
    recovered: AtomicU64,
    waited_us: AtomicU64,
    stopped: [AtomicU64; 5],
}

/// [`RetryCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryTotals {
    /// Retries that were scheduled.
    pub scheduled: u64,
    /// Of these, the ones that were cancelled before they were sent.
    pub cancelled: u64,
    /// Work that succeeded at a later attempt than its first.
    pub recovered: u64,
    /// Time planned between attempts, in microseconds.
    pub waited_us: u64,
    /// Failures that were final: the fault said so.
    pub stopped_final: u64,
    /// Failures that were final: not idempotent.
    pub stopped_not_repeatable: u64,
    /// Failures that were final: no attempts left.
    pub stopped_attempts: u64,
    /// Failures that were final: no time left.
    pub stopped_deadline: u64,
    /// Failures that were final: no budget left.
    pub stopped_budget: u64,
}

impl RetryCounters {
    /// Counts what [`decide`] said at `now`.
    pub fn note_decision(&self, decision: Decision, now: Time) {
        match decision {
            Decision::Again { at, .. } => {
                let wait = at.saturating_since(now).as_micros();
                let wait = u64::try_from(wait).unwrap_or(u64::MAX);
                self.scheduled.fetch_add(1, Relaxed);
                self.waited_us.fetch_add(wait, Relaxed);
            }
            Decision::Stop(why) => {
                self.stopped[why as usize].fetch_add(1, Relaxed);
            }
        }
    }

    /// A scheduled retry was cancelled (and its budget refunded) before it was sent.
    pub fn note_cancelled(&self) {
        self.cancelled.fetch_add(1, Relaxed);
    }

    /// Work succeeded at attempt `number`; a first attempt is not a recovery and is not counted.
    pub fn note_success(&self, number: u32) {
        if number > 1 {
            self.recovered.fetch_add(1, Relaxed);
        }
    }

    /// The totals now.
    pub fn totals(&self) -> RetryTotals {
        let [r#final, not_repeatable, attempts, deadline, budget] =
            self.stopped.each_ref().map(|counter| counter.load(Relaxed));
        RetryTotals {
            scheduled: self.scheduled.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            recovered: self.recovered.load(Relaxed),
            waited_us: self.waited_us.load(Relaxed),
            stopped_final: r#final,
            stopped_not_repeatable: not_repeatable,
            stopped_attempts: attempts,
            stopped_deadline: deadline,
            stopped_budget: budget,
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use crate::backoff::Curve;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);
    const NOW: Time = Time::from_millis(5_000);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempts: 3,
            backoff: Backoff {
                curve: Curve::Fixed,
                base: 10 * MS,
                cap: 10 * MS,
                jitter: 0.0,
            },
            budget: BudgetPolicy {
                ratio: 0.0,
                reserve_per_second: 0.0,
                burst: 5,
            },
        }
    }

    fn failed() -> Attempt {
        Attempt {
            number: 1,
            retry: Retry::at(Place::AnyPeer),
            repeatable: true,
            deadline: NOW + 1_000 * MS,
        }
    }

    fn ask(attempt: &Attempt, budget: &Budget) -> Decision {
        let policy = policy();
        let (mut state, mut rng) = (policy.backoff.start(), Rng::seeded(1));
        decide(&policy, attempt, NOW, budget, &mut state, &mut rng)
    }

    #[test]
    fn each_reason_to_stop_is_told_apart_and_costs_nothing() {
        let base = failed();
        let cases = [
            (
                Attempt {
                    retry: Retry::NEVER,
                    ..base
                },
                Why::Final,
            ),
            (
                Attempt {
                    repeatable: false,
                    ..base
                },
                Why::NotRepeatable,
            ),
            (Attempt { number: 3, ..base }, Why::Attempts),
            (
                Attempt {
                    number: u32::MAX,
                    ..base
                },
                Why::Attempts,
            ),
            (
                Attempt {
                    deadline: NOW + 10 * MS,
                    ..base
                },
                Why::Deadline,
            ),
            (
                Attempt {
                    deadline: Time::ZERO,
                    ..base
                },
                Why::Deadline,
            ),
            (
                Attempt {
                    retry: Retry {
                        place: Place::AnyPeer,
                        after: Duration::MAX,
                    },
                    ..base
                },
                Why::Deadline,
            ),
        ];
        let budget = Budget::new(&policy().budget, NOW);
        for (attempt, why) in cases {
            assert_eq!(ask(&attempt, &budget), Decision::Stop(why), "{attempt:?}");
        }
        assert_eq!(budget.available(NOW), 5);
        while budget.withdraw(NOW) {}
        assert_eq!(ask(&base, &budget), Decision::Stop(Why::Budget));
    }

    #[test]
    fn the_longer_of_backoff_and_the_peers_wish_is_waited_where_the_fault_says() {
        let budget = Budget::new(&policy().budget, NOW);
        for (place, after, wait) in [
            (Place::SamePeer, Duration::ZERO, 10 * MS),
            (Place::OtherPeer, 3 * MS, 10 * MS),
            (Place::AnyPeer, 500 * MS, 500 * MS),
        ] {
            let attempt = Attempt {
                retry: Retry { place, after },
                ..failed()
            };
            let at = NOW + wait;
            assert_eq!(ask(&attempt, &budget), Decision::Again { at, place });
        }
    }

    #[test]
    fn a_retry_is_charged_when_it_is_scheduled_so_that_waiting_ones_cannot_pile_up() {
        let budget = Budget::new(&policy().budget, NOW);
        let scheduled = (0..1_000)
            .filter(|_| matches!(ask(&failed(), &budget), Decision::Again { .. }))
            .count();
        assert_eq!(
            scheduled, 5,
            "all of them wait in backoff and none was sent yet"
        );
        budget.refund();
        assert!(
            matches!(ask(&failed(), &budget), Decision::Again { .. }),
            "a cancelled one"
        );
    }

    #[test]
    fn work_without_a_deadline_is_retried_too() {
        let budget = Budget::new(&policy().budget, NOW);
        let attempt = Attempt {
            deadline: Time::MAX,
            ..failed()
        };
        assert!(matches!(ask(&attempt, &budget), Decision::Again { .. }));
    }

    #[test]
    fn counters_tell_what_was_decided() {
        let counters = RetryCounters::default();
        let again = Decision::Again {
            at: NOW + 10 * MS,
            place: Place::AnyPeer,
        };
        counters.note_decision(again, NOW);
        counters.note_decision(again, NOW);
        let whys = [
            Why::Final,
            Why::NotRepeatable,
            Why::Attempts,
            Why::Deadline,
            Why::Budget,
        ];
        for (times, why) in whys.into_iter().enumerate() {
            (0..=times).for_each(|_| counters.note_decision(Decision::Stop(why), NOW));
        }
        counters.note_cancelled();
        [1, 1, 2, 3]
            .into_iter()
            .for_each(|number| counters.note_success(number));
        let expected = RetryTotals {
            scheduled: 2,
            cancelled: 1,
            recovered: 2,
            waited_us: 20_000,
            stopped_final: 1,
            stopped_not_repeatable: 2,
            stopped_attempts: 3,
            stopped_deadline: 4,
            stopped_budget: 5,
        };
        assert_eq!(counters.totals(), expected);
    }

    #[test]
    fn policies_out_of_range_are_named() {
        assert_eq!(RetryPolicy::default().check(), Ok(()));
        let zero = RetryPolicy {
            attempts: 0,
            ..policy()
        };
        assert_eq!(zero.check().unwrap_err().field, "attempts");
        let nested = RetryPolicy {
            backoff: Backoff {
                jitter: 2.0,
                ..policy().backoff
            },
            ..policy()
        };
        assert_eq!(nested.check().unwrap_err().field, "backoff.jitter");
        let nested = RetryPolicy {
            budget: BudgetPolicy {
                burst: 0,
                ..policy().budget
            },
            ..policy()
        };
        assert_eq!(nested.check().unwrap_err().field, "budget.burst");
    }
}
