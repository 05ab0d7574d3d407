//! What breakers did, counted per target or per group by whoever holds them.
//!
//! The breaker's own word holds only what it decides by. These totals never go back, so a reader
//! takes differences; each is exact, and two read together may be one call apart.

use super::{StateKind, Transition};
use crate::fault::Outcome;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A call ended. `Slow` is a success, `RateLimited` a failure, `Ignored` neither.
    Ended(Outcome),
    /// A call ended because no answer came in time: a failure and a timeout.
    TimedOut,
    /// A call was refused by the breaker.
    Rejected,
    /// The breaker changed its state.
    Changed(Transition),
}

/// Totals of one breaker or of a group of them.
#[derive(Debug, Default)]
pub struct BreakerCounters {
    successes: AtomicU64,
    failures: AtomicU64,
    rejected: AtomicU64,
    timeouts: AtomicU64,
    opens: AtomicU64,
    closes: AtomicU64,
}

/// [`BreakerCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Calls that the peer answered.
    pub successes: u64,
    /// Calls that failed by the peer's fault, timeouts included.
    pub failures: u64,
    /// Calls that the breaker refused.
    pub rejected: u64,
    /// Failures that were silence.
    pub timeouts: u64,
    /// Changes to open, forced ones included.
    pub opens: u64,
    /// Changes to closed, forced ones included.
    pub closes: u64,
}

impl BreakerCounters {
    /// Counts one thing.
    pub fn note(&self, note: Note) {
        match note {
            Note::Ended(Outcome::Success | Outcome::Slow) => add(&self.successes),
            Note::Ended(Outcome::Failure | Outcome::RateLimited(_)) => add(&self.failures),
            Note::Ended(Outcome::Ignored) => {}
            Note::TimedOut => {
                add(&self.failures);
                add(&self.timeouts);
            }
            Note::Rejected => add(&self.rejected),
            Note::Changed(change) => match change.to {
                StateKind::Open | StateKind::ForcedOpen => add(&self.opens),
                StateKind::Closed | StateKind::ForcedClosed => add(&self.closes),
                StateKind::HalfOpen => {}
            },
        }
    }

    /// The totals now.
    pub fn values(&self) -> CounterValues {
        CounterValues {
            successes: self.successes.load(Relaxed),
            failures: self.failures.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
            opens: self.opens.load(Relaxed),
            closes: self.closes.load(Relaxed),
        }
    }

    /// Failures among ended calls since the start; 0 without calls.
    pub fn error_rate(&self) -> f64 {
        self.values().error_rate()
    }
}

impl CounterValues {
    /// Failures among ended calls; 0 without calls.
    pub fn error_rate(&self) -> f64 {
        let ended = self.successes.saturating_add(self.failures);
        if ended == 0 {
            return 0.0;
        }
        self.failures as f64 / ended as f64
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            successes: self.successes.saturating_sub(earlier.successes),
            failures: self.failures.saturating_sub(earlier.failures),
            rejected: self.rejected.saturating_sub(earlier.rejected),
            timeouts: self.timeouts.saturating_sub(earlier.timeouts),
            opens: self.opens.saturating_sub(earlier.opens),
            closes: self.closes.saturating_sub(earlier.closes),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::Reason;
    use std::time::Duration;

    fn change(to: StateKind) -> Note {
        Note::Changed(Transition {
            from: StateKind::HalfOpen,
            to,
            reason: Reason::Forced,
            generation: 1,
        })
    }

    #[test]
    fn each_note_is_counted_where_its_doc_says() {
        let counters = BreakerCounters::default();
        assert_eq!(counters.error_rate(), 0.0);
        for note in [
            Note::Ended(Outcome::Success),
            Note::Ended(Outcome::Slow),
            Note::Ended(Outcome::Failure),
            Note::Ended(Outcome::RateLimited(Duration::ZERO)),
            Note::Ended(Outcome::Ignored),
            Note::TimedOut,
            Note::TimedOut,
            Note::Rejected,
            change(StateKind::Open),
            change(StateKind::ForcedOpen),
            change(StateKind::Closed),
            change(StateKind::HalfOpen),
        ] {
            counters.note(note);
        }
        let values = counters.values();
        let expected = CounterValues {
            successes: 2,
            failures: 4,
            rejected: 1,
            timeouts: 2,
            opens: 2,
            closes: 1,
        };
        assert_eq!(values, expected);
        assert!((counters.error_rate() - 4.0 / 6.0).abs() < 1e-12);
        counters.note(Note::Rejected);
        let delta = counters.values().since(&values);
        assert_eq!(
            delta,
            CounterValues {
                rejected: 1,
                ..CounterValues::default()
            }
        );
    }
}
