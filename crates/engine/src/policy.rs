//! What is wrong with a policy, said so that a configuration error can point at the key.
//!
//! Every policy of the engine has `check(&self) -> Result<(), PolicyError>`. The field is the
//! policy's own (`failure_rate.window`); whoever read the policy from a file maps it to a position.
//! The parts themselves stay safe with an unchecked policy: they saturate, they never panic.

use std::fmt::Display;

/// One field of a policy is outside what the part can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct PolicyError {
    /// The path of the field within its policy, with dots.
    pub field: String,
    /// What it must be and what it was: the end of a sentence that starts with the field.
    pub message: String,
}

impl PolicyError {
    /// An error about `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }

    /// The same error, seen from the policy that holds this one as `outer`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}

/// `Ok` when `low <= value <= high`. A NaN is outside of everything.
pub(crate) fn within<T>(field: &'static str, value: T, low: T, high: T) -> Result<(), PolicyError>
where
    T: PartialOrd + Display,
{
    if low <= value && value <= high {
        return Ok(());
    }
    let message = format!("must be between {low} and {high}, but is {value}");
    Err(PolicyError::new(field, message))
}

/// [`within`] for spans, which print with their unit.
pub(crate) fn span_within(
    field: &'static str,
    value: std::time::Duration,
    low: std::time::Duration,
    high: std::time::Duration,
) -> Result<(), PolicyError> {
    if low <= value && value <= high {
        return Ok(());
    }
    let message = format!("must be between {low:?} and {high:?}, but is {value:?}");
    Err(PolicyError::new(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_inside_and_nan_is_outside() {
        assert_eq!(within("n", 1, 1, 3), Ok(()));
        assert_eq!(within("n", 3, 1, 3), Ok(()));
        let error = within("n", 4, 1, 3).unwrap_err();
        assert_eq!(error.to_string(), "n must be between 1 and 3, but is 4");
        assert!(within("ratio", f64::NAN, 0.0, 1.0).is_err());
    }
}
