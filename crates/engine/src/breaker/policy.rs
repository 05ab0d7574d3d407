//! When a breaker opens, for how long, and how it closes again; as numbers, with their ranges.

use super::word::{CONSECUTIVE_MAX, PROBES_MAX};
use crate::fault::Outcome;
use crate::policy::{PolicyError, span_within, within};
use crate::time;
use std::num::NonZeroU64;
use std::time::Duration;

/// A share of bad calls over a sliding window that opens the breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateRule {
    /// How far back calls count, in ten buckets; 10 ms to 1 day.
    pub window: Duration,
    /// Below this many calls in the window the rate says nothing; 1 to 500,000.
    pub min_calls: u32,
    /// The share of bad calls that trips; above 0, at most 1, exact to a millionth.
    pub threshold: f32,
}

/// When a breaker opens, for how long, and how it closes again.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Trip after this many failures without a success between; 0 = off, at most 4,095.
    pub consecutive_failures: u32,
    /// Trip on this share of failures.
    pub failure_rate: Option<RateRule>,
    /// Trip on this share of calls slower than `slow_call`.
    pub slow_rate: Option<RateRule>,
    /// From this latency on a success is slow, where `slow_rate` is set.
    pub slow_call: Duration,
    /// How long the breaker stays open after the first trip; 1 ms to `open_max`.
    pub open: Duration,
    /// The longest that it stays open, a pause asked for by the peer included; at most 1 day.
    pub open_max: Duration,
    /// How much of an open time may be taken off by chance, so that breakers which opened together
    /// do not probe together; 0 to 0.5.
    pub open_jitter: f64,
    /// Probes let through when half-open, all of which must succeed; 1 to 63.
    pub probes: u8,
    /// When a probe that did not report counts as failed; longer than any call's deadline.
    /// 1 ms to 1 day, kept to 268 ms.
    pub probe_lease: Duration,
}

const DAY: Duration = Duration::from_secs(86_400);
const MILLI: Duration = Duration::from_millis(1);
/// A pause asked for by a peer lasts at least this long, or it could make the breaker flap.
const PAUSE_MIN: Duration = Duration::from_millis(100);

impl Default for BreakerPolicy {
    /// Five consecutive failures, 30 s doubling to 5 min, three probes.
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: None,
            slow_rate: None,
            slow_call: Duration::from_secs(5),
            open: Duration::from_secs(30),
            open_max: Duration::from_secs(300),
            open_jitter: 0.1,
            probes: 3,
            probe_lease: Duration::from_secs(60),
        }
    }
}

impl BreakerPolicy {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        within(
            "consecutive_failures",
            self.consecutive_failures,
            0,
            CONSECUTIVE_MAX,
        )?;
        if let Some(rule) = &self.failure_rate {
            span_within("failure_rate.window", rule.window, 10 * MILLI, DAY)?;
            within("failure_rate.min_calls", rule.min_calls, 1, 500_000)?;
            within("failure_rate.threshold", rule.threshold, 1e-6, 1.0)?;
        }
        if let Some(rule) = &self.slow_rate {
            span_within("slow_rate.window", rule.window, 10 * MILLI, DAY)?;
            within("slow_rate.min_calls", rule.min_calls, 1, 500_000)?;
            within("slow_rate.threshold", rule.threshold, 1e-6, 1.0)?;
            span_within("slow_call", self.slow_call, Duration::from_nanos(1), DAY)?;
        }
        span_within("open_max", self.open_max, MILLI, DAY)?;
        span_within("open", self.open, MILLI, self.open_max)?;
        within("open_jitter", self.open_jitter, 0.0, 0.5)?;
        within("probes", self.probes, 1, PROBES_MAX)?;
        span_within("probe_lease", self.probe_lease, MILLI, DAY)
    }

    /// `outcome`, with a success that took `slow_call` or longer made [`Outcome::Slow`].
    pub fn classify(&self, outcome: Outcome, latency: Option<Duration>) -> Outcome {
        let slow = self.slow_rate.is_some() && latency.is_some_and(|took| took >= self.slow_call);
        if slow && outcome == Outcome::Success {
            return Outcome::Slow;
        }
        outcome
    }

    pub(super) fn probe_quota(&self) -> u8 {
        self.probes.clamp(1, PROBES_MAX)
    }

    /// The open time after `trips` earlier trips in a row; `dice` is uniform in `[0, 1)`.
    pub(super) fn open_span(&self, trips: u8, dice: f64) -> Duration {
        let doubled = time::nanos(self.open).saturating_mul(1 << trips);
        let full = doubled.min(time::nanos(self.open_max));
        let off = full as f64 * self.open_jitter.clamp(0.0, 0.5) * dice;
        Duration::from_nanos(full.saturating_sub(off as u64))
    }

    pub(super) fn pause_span(&self, asked: Duration) -> Duration {
        asked.max(PAUSE_MIN).min(self.open_max)
    }
}

impl RateRule {
    /// The length of one of the ten buckets.
    pub(super) fn bucket_nanos(&self) -> NonZeroU64 {
        NonZeroU64::new(time::nanos(self.window) / 10).unwrap_or(NonZeroU64::MIN)
    }
}
