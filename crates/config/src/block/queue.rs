//! `[*.queue]`: how much may wait, and what happens when that is reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_engine::lane::{LanePolicy, OnFull};

use crate::codes;
use crate::diagnostic::{At, Check};
use crate::value::{ByteSize, Duration, Fraction};

/// A bounded queue.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueBlock {
    /// The most items.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub items: u32,
    /// The most bytes that they may take together.
    #[schemars(extend("x-min" = "1KiB", "x-max" = "1TiB"))]
    pub bytes: ByteSize,
    /// What happens to an item that finds no room.
    pub on_full: OnFullChoice,
    /// How long a producer waits for room before its item is refused. Needed with
    /// `on_full = "block"`, refused with another.
    #[schemars(extend("x-min" = "1ms", "x-max" = "1h"))]
    pub max_wait: Option<Duration>,
    /// The share of `items` or `bytes` at which producers are asked to slow down; above 0.
    pub high_water: Fraction,
}

/// What happens to an item that finds no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFullChoice {
    /// It is refused; what waits stays.
    #[default]
    Reject,
    /// The newest items of the least important level go, the newcomer first if it is of that level.
    DropNewest,
    /// The oldest items of the least important level go.
    DropOldest,
    /// Its producer waits for room, `max_wait` at most.
    Block,
}

impl Default for QueueBlock {
    /// 1,024 items, 64 MiB, reject, a high-water mark of 0.8.
    fn default() -> Self {
        Self {
            items: 1024,
            bytes: ByteSize::from_mib(64),
            on_full: OnFullChoice::Reject,
            max_wait: None,
            high_water: Fraction::percent(80),
        }
    }
}

impl QueueBlock {
    /// The engine's policy for a queue with this many levels of priority, which its owner knows.
    pub fn policy(&self, levels: u8) -> LanePolicy {
        LanePolicy {
            items: usize::try_from(self.items).unwrap_or(usize::MAX),
            bytes: self.bytes.as_usize(),
            levels,
            on_full: match self.on_full {
                OnFullChoice::Reject => OnFull::Reject,
                OnFullChoice::DropNewest => OnFull::DropNewest,
                OnFullChoice::DropOldest => OnFull::DropOldest,
                OnFullChoice::Block => OnFull::Block {
                    max_wait: self.max_wait.unwrap_or_default().get(),
                },
            },
            high_water: self.high_water.as_f32(),
        }
    }
}

impl Check for QueueBlock {
    fn check(&self, at: &mut At<'_>) {
        let block = self.on_full == OnFullChoice::Block;
        at.parameter(
            "max_wait",
            self.max_wait.as_ref(),
            block,
            "`on_full = \"block\"`",
        );
        if block && self.max_wait.is_none() {
            at.key("on_full")
                .error(codes::NEIGHBOUR, "`on_full = \"block\"` needs `max_wait`")
                .help("say how long a producer may wait, as in max_wait = \"50ms\"");
        }
        if self.high_water.get() <= 0.0 {
            let message = "`high_water` must be above 0, or producers could never go on";
            at.key("high_water").error(codes::BAD_VALUE, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_engines() {
        assert_eq!(QueueBlock::default().policy(1), LanePolicy::default());
    }

    #[test]
    fn every_key_and_choice_reaches_the_policy() {
        for (choice, on_full) in [
            ("'reject'", OnFull::Reject),
            ("'drop-newest'", OnFull::DropNewest),
            ("'drop-oldest'", OnFull::DropOldest),
            (
                "'block'\nmax_wait = '50ms'",
                OnFull::Block {
                    max_wait: std::time::Duration::from_millis(50),
                },
            ),
        ] {
            let text = format!("on_full = {choice}\nitems = 7\nbytes = '2MiB'\nhigh_water = 0.5");
            let block: QueueBlock = toml::from_str(&text).unwrap();
            let expected = LanePolicy {
                items: 7,
                bytes: 2 << 20,
                levels: 3,
                on_full,
                high_water: 0.5,
            };
            assert_eq!(block.policy(3), expected);
        }
    }
}
