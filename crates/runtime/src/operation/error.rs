//! Why an operation did not do what was asked, in terms that a program and a person can act on.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_engine::fault::{Blame, Fault, Place, Retry};

use super::Key;

pub(super) const BAD_INPUT: &str = "T0601";
pub(super) const NOT_FOUND: &str = "T0602";
pub(super) const TIMEOUT: &str = "T0603";
pub(super) const BUSY: &str = "T0604";
pub(super) const PANICKED: &str = "T0605";
pub(super) const UNPRINTABLE: &str = "T0606";
pub(super) const READER_LEFT: &str = "T0607";

/// The codes that the registry itself gives, each with what it means and what to do.
pub const CODES: &[(&str, &str)] = &[
    (
        BAD_INPUT,
        "The input of an operation does not fit its schema. The message names the field; \
         `GET /api/v1/operations` shows the schema.",
    ),
    (
        NOT_FOUND,
        "No operation has this kind, name and verb now. Operations come and go with the systems in \
         the configuration; the message lists those that exist.",
    ),
    (
        TIMEOUT,
        "The operation did not answer before its deadline and was cancelled. Give it more time, or \
         ask for less at once.",
    ),
    (
        BUSY,
        "As many calls run at once as are allowed. Try again when one has ended.",
    ),
    (
        PANICKED,
        "The operation's handler panicked. The process goes on; this is a defect worth a report, \
         with the log lines around it.",
    ),
    (
        UNPRINTABLE,
        "The answer could not be written as JSON. This is a defect worth a report.",
    ),
    (
        READER_LEFT,
        "The reader of a stream left, so the stream ended. Nothing is wrong.",
    ),
];

/// What sort of failure it is; transports map it to their own status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input does not fit.
    BadInput,
    /// What it names does not exist.
    NotFound,
    /// It exists but cannot answer now.
    Unavailable,
    /// It did not answer in time.
    Timeout,
    /// It was not allowed, or a limit was reached.
    Refused,
    /// It was tried and failed.
    Failed,
}

/// Why an operation did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct OperationError {
    /// The code that `trunkline explain` knows.
    pub code: &'static str,
    /// What sort of failure.
    pub kind: ErrorKind,
    /// What happened, where and why, in one sentence.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl OperationError {
    /// An error of `kind` with the code that explains it.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            kind,
            message: message.into(),
            help: None,
        }
    }

    /// The input fits its schema and still makes no sense; `message` names the field.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadInput, BAD_INPUT, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Fault for OperationError {
    fn blame(&self) -> Blame {
        match self.kind {
            ErrorKind::BadInput | ErrorKind::NotFound => Blame::Caller,
            _ => Blame::Local,
        }
    }

    fn retry(&self) -> Retry {
        match self.kind {
            ErrorKind::Unavailable | ErrorKind::Timeout => Retry::at(Place::SamePeer),
            ErrorKind::Refused if self.code == BUSY => Retry::at(Place::SamePeer),
            _ => Retry::NEVER,
        }
    }
}

/// The reader of a stream left; a handler returns it with `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the stream left")
    }
}

impl std::error::Error for Closed {}

impl From<Closed> for OperationError {
    fn from(closed: Closed) -> Self {
        Self::new(ErrorKind::Unavailable, READER_LEFT, closed.to_string())
    }
}

pub(super) fn not_found(key: &Key, verbs: &str, names: &str, kinds: &str) -> OperationError {
    let (kind, name, operation) = key;
    let missing = |what: String, there: String| {
        OperationError::new(ErrorKind::NotFound, NOT_FOUND, what).help(there)
    };
    if !verbs.is_empty() {
        let what = format!("{kind}/{name} has no operation {operation:?}");
        return missing(what, format!("it has: {verbs}"));
    }
    if !names.is_empty() {
        let what = format!("there is no {kind} named {name:?}");
        return missing(what, format!("there is: {names}"));
    }
    let what = format!("nothing of kind {kind:?} runs here");
    missing(what, format!("kinds that do: {kinds}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once() {
        let mut codes: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
        codes.dedup();
        assert_eq!(codes.len(), 7);
        for (code, text) in CODES {
            assert!(
                text.ends_with('.') && !text.contains("  "),
                "{code}: {text}"
            );
        }
    }

    #[test]
    fn what_exists_is_named_as_near_as_possible() {
        let key = ("snmp".into(), "core".into(), "wlak".into());
        let error = not_found(&key, "get, walk", "core", "snmp");
        assert_eq!(error.help.as_deref(), Some("it has: get, walk"));
        let error = not_found(&key, "", "edge", "snmp");
        assert_eq!(error.message, "there is no snmp named \"core\"");
        let error = not_found(&key, "", "", "engine, i3");
        assert_eq!(error.help.as_deref(), Some("kinds that do: engine, i3"));
    }
}
