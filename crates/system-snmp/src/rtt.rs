//! How long to wait for an answer: a smoothed round-trip time per target.
//!
//! RFC 6298's estimator in microseconds: SRTT + 4 × RTTVAR, held between a floor and a cap, doubled
//! per retransmission. By Karn's rule an answer to a retransmitted request says nothing about the
//! round trip, because nobody knows which copy it answers; it is not sampled.

use std::time::Duration;

/// The bounds of a target's timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// Before the first sample.
    pub initial: Duration,
    /// Never less than this; below it an agent's own scheduling looks like loss.
    pub min: Duration,
    /// Never more than this, doublings included.
    pub max: Duration,
    /// Whether samples count; when not, every attempt waits `initial` and nothing doubles.
    pub adaptive: bool,
}

impl Default for TimeoutPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            min: Duration::from_millis(100),
            max: Duration::from_secs(5),
            adaptive: true,
        }
    }
}

/// One target's estimate; eight bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RttEstimate {
    srtt_us: u32,
    var_us: u32,
}

impl RttEstimate {
    /// Takes the round trip of an exchange that was sent once.
    pub fn sample(&mut self, rtt: Duration) {
        let rtt_us = u32::try_from(rtt.as_micros())
            .unwrap_or(u32::MAX >> 3)
            .clamp(1, u32::MAX >> 3);
        if self.srtt_us == 0 {
            (self.srtt_us, self.var_us) = (rtt_us, rtt_us / 2);
            return;
        }
        let error_us = self.srtt_us.abs_diff(rtt_us);
        self.var_us = self.var_us - self.var_us / 4 + error_us / 4;
        self.srtt_us = (self.srtt_us - self.srtt_us / 8 + rtt_us / 8).max(1);
    }

    /// The smoothed round trip; zero before the first sample.
    pub fn smoothed(&self) -> Duration {
        Duration::from_micros(self.srtt_us.into())
    }

    /// How long to wait for the answer to the `attempt`th datagram (from 0).
    pub fn timeout(&self, policy: &TimeoutPolicy, attempt: u32) -> Duration {
        if !policy.adaptive {
            return policy.initial;
        }
        let base = if self.srtt_us == 0 {
            policy.initial
        } else {
            Duration::from_micros(u64::from(self.srtt_us) + 4 * u64::from(self.var_us))
        };
        let doubled = base.max(policy.min).saturating_mul(1 << attempt.min(16));
        doubled.min(policy.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn converges_and_stays_between_floor_and_cap() {
        let (policy, mut rtt) = (TimeoutPolicy::default(), RttEstimate::default());
        assert_eq!(rtt.timeout(&policy, 0), ms(1000));
        for _ in 0..200 {
            rtt.sample(ms(200));
        }
        assert!(rtt.smoothed().abs_diff(ms(200)) < ms(2), "{rtt:?}");
        assert!(
            (ms(200)..ms(230)).contains(&rtt.timeout(&policy, 0)),
            "{rtt:?}"
        );
        for _ in 0..200 {
            rtt.sample(Duration::from_micros(80));
        }
        assert_eq!(rtt.timeout(&policy, 0), policy.min);
        assert_eq!(rtt.timeout(&policy, 1), policy.min * 2);
        assert_eq!(rtt.timeout(&policy, 31), policy.max);
    }

    #[test]
    fn a_fixed_timeout_neither_learns_nor_doubles() {
        let policy = TimeoutPolicy {
            adaptive: false,
            ..TimeoutPolicy::default()
        };
        let mut rtt = RttEstimate::default();
        rtt.sample(ms(3));
        assert_eq!(
            (rtt.timeout(&policy, 0), rtt.timeout(&policy, 5)),
            (ms(1000), ms(1000))
        );
    }

    #[test]
    fn an_absurd_sample_cannot_overflow() {
        let mut rtt = RttEstimate::default();
        for _ in 0..50 {
            rtt.sample(Duration::MAX);
        }
        assert_eq!(
            rtt.timeout(&TimeoutPolicy::default(), 0),
            TimeoutPolicy::default().max
        );
    }
}
