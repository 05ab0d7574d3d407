//! `[*.retry]`: how often and how fast work is tried again, and what that may cost in all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_engine::backoff::{Backoff, Curve};
use trunkline_engine::budget::BudgetPolicy;
use trunkline_engine::retry::RetryPolicy;

use crate::diagnostic::{At, Check};
use crate::value::{Duration, Fraction};

/// Retries of work that may be repeated.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBlock {
    /// Attempts in total, the first included; 1 is no retry.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// How the wait grows from one attempt to the next.
    pub backoff: CurveChoice,
    /// The first wait; zero only with `backoff = "fixed"`.
    #[schemars(extend("x-max" = "1d"))]
    pub base: Duration,
    /// No wait is longer, jitter included.
    #[schemars(extend("x-max" = "1d"))]
    pub cap: Duration,
    /// The growth per attempt, from 1 to 100; 2 when not set. Only with `backoff = "exponential"`.
    #[schemars(range(min = 1, max = 100))]
    pub factor: Option<f64>,
    /// The share of a wait that chance may take off; 0.5 when not set. Not with
    /// `backoff = "decorrelated"`, which is chance already.
    pub jitter: Option<Fraction>,
    /// Retries that each first attempt pays for: 0.2 is one retry for five calls.
    #[schemars(range(min = 0, max = 10))]
    pub budget_ratio: f64,
    /// Retries per second that are free.
    #[schemars(range(min = 0, max = 10_000))]
    pub budget_reserve: f64,
    /// The most retries that can be saved up.
    #[schemars(range(min = 1, max = 100_000))]
    pub budget_burst: u32,
}

/// How the wait between attempts grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CurveChoice {
    /// `base` each time.
    Fixed,
    /// `base` times 1, 2, 3, ….
    Linear,
    /// `base` times 1, f, f², … with `factor` for f.
    #[default]
    Exponential,
    /// `base` times 1, 1, 2, 3, 5, ….
    Fibonacci,
    /// By chance between `base` and three times the last wait.
    Decorrelated,
}

impl Default for RetryBlock {
    /// Three attempts, 100 ms doubling to 10 s, one retry for five calls and ten per second.
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: CurveChoice::Exponential,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(10),
            factor: None,
            jitter: None,
            budget_ratio: 0.2,
            budget_reserve: 10.0,
            budget_burst: 1_000,
        }
    }
}

const FACTOR: f64 = 2.0;

impl From<&RetryBlock> for RetryPolicy {
    fn from(block: &RetryBlock) -> Self {
        let jitter = block.jitter.unwrap_or(match block.backoff {
            CurveChoice::Decorrelated => Fraction::percent(0),
            _ => Fraction::percent(50),
        });
        Self {
            attempts: block.attempts,
            backoff: Backoff {
                curve: match block.backoff {
                    CurveChoice::Fixed => Curve::Fixed,
                    CurveChoice::Linear => Curve::Linear,
                    CurveChoice::Exponential => Curve::Exponential {
                        factor: block.factor.unwrap_or(FACTOR),
                    },
                    CurveChoice::Fibonacci => Curve::Fibonacci,
                    CurveChoice::Decorrelated => Curve::Decorrelated,
                },
                base: block.base.get(),
                cap: block.cap.get(),
                jitter: jitter.get(),
            },
            budget: BudgetPolicy {
                ratio: block.budget_ratio,
                reserve_per_second: block.budget_reserve,
                burst: block.budget_burst,
            },
        }
    }
}

impl Check for RetryBlock {
    fn check(&self, at: &mut At<'_>) {
        let exponential = self.backoff == CurveChoice::Exponential;
        let choice = "`backoff = \"exponential\"`";
        at.parameter("factor", self.factor.as_ref(), exponential, choice);
        let chance = self.backoff == CurveChoice::Decorrelated;
        at.parameter("jitter", self.jitter.as_ref(), !chance, "another `backoff`");
        // The jitter of this curve is reported above, in the words of the file.
        let jitter = if chance { None } else { self.jitter };
        let block = Self {
            jitter,
            ..self.clone()
        };
        let keys = [
            ("ratio", "budget_ratio"),
            ("reserve_per_second", "budget_reserve"),
            ("burst", "budget_burst"),
        ];
        at.policy(RetryPolicy::from(&block).check(), &keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_engines() {
        assert_eq!(
            RetryPolicy::from(&RetryBlock::default()),
            RetryPolicy::default()
        );
    }

    #[test]
    fn every_key_and_choice_reaches_the_policy() {
        for (choice, curve) in [
            ("fixed", Curve::Fixed),
            ("linear", Curve::Linear),
            ("exponential", Curve::Exponential { factor: 2.0 }),
            ("fibonacci", Curve::Fibonacci),
            ("decorrelated", Curve::Decorrelated),
        ] {
            let block: RetryBlock = toml::from_str(&format!("backoff = '{choice}'")).unwrap();
            let policy = RetryPolicy::from(&block);
            assert_eq!(policy.backoff.curve, curve);
            assert_eq!(policy.check(), Ok(()), "{choice}");
        }
        let block: RetryBlock = toml::from_str(
            "attempts = 7\nbase = '1s'\ncap = '4s'\nfactor = 3\njitter = 0.25\n\
             budget_ratio = 0.5\nbudget_reserve = 2\nbudget_burst = 9\n",
        )
        .unwrap();
        let second = std::time::Duration::from_secs(1);
        let expected = RetryPolicy {
            attempts: 7,
            backoff: Backoff {
                curve: Curve::Exponential { factor: 3.0 },
                base: second,
                cap: 4 * second,
                jitter: 0.25,
            },
            budget: BudgetPolicy {
                ratio: 0.5,
                reserve_per_second: 2.0,
                burst: 9,
            },
        };
        assert_eq!(RetryPolicy::from(&block), expected);
    }
}
