//! `[*.limits]`: how fast and how many at once, per target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_engine::limit::{FlightPolicy, RatePolicy};

use crate::diagnostic::{At, Check};

/// Rate and concurrency of each target.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsBlock {
    /// Calls per second; no limit when not set.
    #[schemars(range(min = 0.00001, max = 10_000_000))]
    pub per_second: Option<f64>,
    /// Calls at once after a pause; as many as one second has when not set. Only with
    /// `per_second`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// The most calls in flight.
    #[schemars(range(min = 1, max = 200_000))]
    pub in_flight_max: u32,
    /// Whether loss lowers the limit and success raises it again; otherwise it is `in_flight_max`.
    pub adaptive: bool,
    /// The adaptive limit is never below; 1 when not set. Only with `adaptive = true`.
    #[schemars(range(min = 1, max = 200_000))]
    pub in_flight_min: Option<u32>,
    /// Where the adaptive limit starts; 4 when not set, or what the ends allow. Only with
    /// `adaptive = true`.
    #[schemars(range(min = 1, max = 200_000))]
    pub in_flight_initial: Option<u32>,
}

impl Default for LimitsBlock {
    /// No rate; adaptive between 1 and 64 in flight.
    fn default() -> Self {
        Self {
            per_second: None,
            burst: None,
            in_flight_max: 64,
            adaptive: true,
            in_flight_min: None,
            in_flight_initial: None,
        }
    }
}

impl LimitsBlock {
    /// The engine's rate policy, when there is a rate.
    pub fn rate(&self) -> Option<RatePolicy> {
        let per_second = self.per_second?;
        // The conversion saturates; the range of the rate keeps it below a million anyway.
        let one_second = per_second.ceil().clamp(1.0, 1e6) as u32;
        Some(RatePolicy {
            per_second,
            burst: self.burst.unwrap_or(one_second),
        })
    }

    /// The engine's policy for calls in flight.
    pub fn flight(&self) -> FlightPolicy {
        let min = self.in_flight_min.unwrap_or(1);
        let max = self.in_flight_max;
        let start = FlightPolicy::default().initial;
        FlightPolicy {
            min,
            max,
            // Not `clamp`, which panics when the ends are crossed; the check reports that.
            initial: self.in_flight_initial.unwrap_or(start.max(min).min(max)),
            adaptive: self.adaptive,
        }
    }
}

impl Check for LimitsBlock {
    fn check(&self, at: &mut At<'_>) {
        if let Some(rate) = self.rate() {
            at.policy(rate.check(), &[]);
        }
        let keys = [
            ("min", "in_flight_min"),
            ("max", "in_flight_max"),
            ("initial", "in_flight_initial"),
        ];
        at.policy(self.flight().check(), &keys);
        let rate = self.per_second.is_some();
        at.parameter("burst", self.burst.as_ref(), rate, "`per_second`");
        for (key, value) in [
            ("in_flight_min", &self.in_flight_min),
            ("in_flight_initial", &self.in_flight_initial),
        ] {
            at.parameter(key, value.as_ref(), self.adaptive, "`adaptive = true`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Problems;

    #[test]
    fn the_defaults_are_the_engines() {
        let block = LimitsBlock::default();
        assert_eq!(block.flight(), FlightPolicy::default());
        assert_eq!(block.rate(), None);
    }

    #[test]
    fn a_burst_is_one_second_unless_it_is_set() {
        for (text, burst) in [
            ("per_second = 10", 10),
            ("per_second = 2.5", 3),
            ("per_second = 0.1", 1),
            ("per_second = 10_000_000", 1_000_000),
            ("per_second = 10\nburst = 4", 4),
        ] {
            let block: LimitsBlock = toml::from_str(text).unwrap();
            let rate = block.rate().unwrap();
            assert_eq!((rate.burst, rate.check()), (burst, Ok(())), "{text}");
        }
    }

    #[test]
    fn a_block_that_no_file_could_hold_is_refused_too() {
        let mut problems = Problems::default();
        let block = LimitsBlock {
            per_second: Some(0.0),
            ..LimitsBlock::default()
        };
        block.check(&mut At::root(&mut problems));
        assert_eq!(problems.diagnostics()[0].key, "per_second");
    }

    #[test]
    fn the_start_follows_the_ends() {
        for (text, (min, max, initial, adaptive)) in [
            ("in_flight_max = 2", (1, 2, 2, true)),
            ("in_flight_min = 8", (8, 64, 8, true)),
            ("in_flight_initial = 9", (1, 64, 9, true)),
            ("adaptive = false\nin_flight_max = 5", (1, 5, 4, false)),
            ("in_flight_max = 2\nin_flight_min = 8", (8, 2, 2, true)),
        ] {
            let block: LimitsBlock = toml::from_str(text).unwrap();
            let expected = FlightPolicy {
                min,
                max,
                initial,
                adaptive,
            };
            assert_eq!(block.flight(), expected, "{text}");
        }
    }
}
