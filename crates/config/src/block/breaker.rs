//! `[*.breaker]`: when a target that fails is left alone, and for how long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_engine::breaker::{BreakerPolicy, RateRule};

use crate::diagnostic::{At, Check};
use crate::value::{Duration, Fraction};

/// The circuit breaker of each target.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerBlock {
    /// Opens after this many failures without a success between; 0 turns the rule off.
    #[schemars(range(min = 0, max = 4095))]
    pub consecutive_failures: u32,
    /// Opens on this share of failures; off without the table.
    pub failure_rate: Option<RateRuleBlock>,
    /// Opens on this share of calls slower than `slow_call`; off without the table.
    pub slow_rate: Option<RateRuleBlock>,
    /// From this latency on an answer is slow; 5s when not set. Only with `slow_rate`.
    #[schemars(extend("x-min" = "1us", "x-max" = "1d"))]
    pub slow_call: Option<Duration>,
    /// How long it stays open the first time; each further time in a row is twice as long.
    #[schemars(extend("x-min" = "1ms", "x-max" = "1d"))]
    pub open: Duration,
    /// The longest that it stays open.
    #[schemars(extend("x-min" = "1ms", "x-max" = "1d"))]
    pub open_max: Duration,
    /// The share of an open time that chance may take off, from 0 to 0.5, so that breakers which
    /// opened together do not probe together.
    pub open_jitter: Fraction,
    /// Calls let through when it is half-open; it closes when all of them succeeded.
    #[schemars(range(min = 1, max = 63))]
    pub probes: u8,
    /// When a probe that did not report counts as failed; longer than any call takes.
    #[schemars(extend("x-min" = "1ms", "x-max" = "1d"))]
    pub probe_lease: Duration,
}

/// A share of bad calls over a sliding window.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateRuleBlock {
    /// The share that is too much; above 0, at most 1.
    pub threshold: Fraction,
    /// How far back calls count, in ten steps.
    #[schemars(extend("x-min" = "10ms", "x-max" = "1d"))]
    pub window: Duration,
    /// Below this many calls in the window the share says nothing.
    #[schemars(range(min = 1, max = 500_000))]
    pub min_calls: u32,
}

impl Default for BreakerBlock {
    /// Five failures, 30 s doubling to 5 min, three probes.
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: None,
            slow_rate: None,
            slow_call: None,
            open: Duration::from_secs(30),
            open_max: Duration::from_secs(300),
            open_jitter: Fraction::percent(10),
            probes: 3,
            probe_lease: Duration::from_secs(60),
        }
    }
}

impl Default for RateRuleBlock {
    /// Half of at least 20 calls within a minute.
    fn default() -> Self {
        Self {
            threshold: Fraction::percent(50),
            window: Duration::from_secs(60),
            min_calls: 20,
        }
    }
}

impl From<&BreakerBlock> for BreakerPolicy {
    fn from(block: &BreakerBlock) -> Self {
        let rule = |rule: &RateRuleBlock| RateRule {
            window: rule.window.get(),
            min_calls: rule.min_calls,
            threshold: rule.threshold.as_f32(),
        };
        let defaults = Self::default();
        Self {
            consecutive_failures: block.consecutive_failures,
            failure_rate: block.failure_rate.as_ref().map(rule),
            slow_rate: block.slow_rate.as_ref().map(rule),
            slow_call: block.slow_call.map_or(defaults.slow_call, Duration::get),
            open: block.open.get(),
            open_max: block.open_max.get(),
            open_jitter: block.open_jitter.get(),
            probes: block.probes,
            probe_lease: block.probe_lease.get(),
        }
    }
}

impl Check for BreakerBlock {
    fn check(&self, at: &mut At<'_>) {
        at.policy(BreakerPolicy::from(self).check(), &[]);
        let slow = self.slow_rate.is_some();
        at.parameter(
            "slow_call",
            self.slow_call.as_ref(),
            slow,
            "the table `slow_rate`",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_engines() {
        let policy = BreakerPolicy::from(&BreakerBlock::default());
        assert_eq!(policy, BreakerPolicy::default());
    }

    #[test]
    fn every_key_reaches_the_policy() {
        let block: BreakerBlock = toml::from_str(
            "consecutive_failures = 7\nslow_call = '2s'\nopen = '1s'\nopen_max = '4s'\n\
             open_jitter = 0.25\nprobes = 2\nprobe_lease = '9s'\n\
             failure_rate = { threshold = 0.75, window = '10s', min_calls = 3 }\n\
             slow_rate = { threshold = 0.5, window = '20s', min_calls = 4 }\n",
        )
        .unwrap();
        let second = std::time::Duration::from_secs(1);
        let expected = BreakerPolicy {
            consecutive_failures: 7,
            failure_rate: Some(RateRule {
                window: 10 * second,
                min_calls: 3,
                threshold: 0.75,
            }),
            slow_rate: Some(RateRule {
                window: 20 * second,
                min_calls: 4,
                threshold: 0.5,
            }),
            slow_call: 2 * second,
            open: second,
            open_max: 4 * second,
            open_jitter: 0.25,
            probes: 2,
            probe_lease: 9 * second,
        };
        assert_eq!(BreakerPolicy::from(&block), expected);
    }
}
