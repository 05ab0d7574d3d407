//! The blocks that every system has under the same name with the same meaning.
//!
//! Each block converts into the engine's policy in one place and is judged by the policy's own
//! check, so that what the file allows and what the engine can do cannot drift apart. A key that is
//! the parameter of a choice is optional, and refused beside another choice: it would do nothing.

mod breaker;
mod limits;
mod queue;
mod retry;

pub use breaker::{BreakerBlock, RateRuleBlock};
pub use limits::LimitsBlock;
pub use queue::{OnFullChoice, QueueBlock};
pub use retry::{CurveChoice, RetryBlock};

use trunkline_engine::policy::PolicyError;

use crate::codes;
use crate::diagnostic::At;

impl At<'_> {
    /// Reports what an engine policy's check found. `keys` maps the policy's fields to the keys of
    /// this table where their names differ; dots part tables.
    pub fn policy(&mut self, found: Result<(), PolicyError>, keys: &[(&str, &str)]) {
        let Err(error) = found else {
            return;
        };
        let field: &str = error.field.as_ref();
        let renamed = keys.iter().find(|(name, _)| *name == field);
        let key = renamed.map_or(field, |(_, key)| key);
        let last = key.rsplit('.').next().unwrap_or(key);
        self.report(key, format!("`{last}` {}", error.message));
    }

    fn report(&mut self, key: &str, message: String) {
        match key.split_once('.') {
            Some((table, rest)) => self.key(table).report(rest, message),
            None => {
                self.key(key).error(codes::BAD_VALUE, message);
            }
        }
    }

    /// Reports `key` when it is there although the choice that it is a parameter of is not made.
    pub fn parameter<T>(&mut self, key: &str, value: Option<&T>, made: bool, choice: &str) {
        if value.is_some() && !made {
            let message = format!("`{key}` has no effect without {choice}");
            self.key(key)
                .error(codes::NEIGHBOUR, message)
                .help(format!("set {choice}, or take `{key}` out"));
        }
    }
}
