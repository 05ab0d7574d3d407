//! What several groups of cases need.

use std::hint::black_box;
use std::time::Instant;

use benches::measure::{Case, sample_number};
use trunkline_engine::time::Time;

/// A time in the middle of a run.
pub(crate) const START: Time = Time::from_millis(1_000_000);

/// Time that goes on by a step with each operation.
pub(crate) struct Ticker {
    now: u64,
    step: u64,
}

impl Ticker {
    /// From [`START`] on, in steps of `step` nanoseconds.
    pub(crate) fn steps(step: u64) -> Self {
        Self {
            now: START.as_nanos(),
            step,
        }
    }

    /// As [`Self::steps`], but from a time after all of those in the samples before: for what keeps
    /// the latest time that it has seen.
    pub(crate) fn onward(step: u64) -> Self {
        const BETWEEN_SAMPLES_NANOS: u64 = 10_000_000_000_000;
        Self {
            now: START.as_nanos() + sample_number() * BETWEEN_SAMPLES_NANOS,
            step,
        }
    }

    /// The next point.
    #[inline]
    pub(crate) fn tick(&mut self) -> Time {
        self.now += self.step;
        Time::from_nanos(self.now)
    }
}

/// What a peer pays where it reads the clock itself.
pub(crate) fn clock() -> Case {
    Case::of("reference", "Instant::now").solo(|| {
        black_box(Instant::now());
    })
}
