//! The words for a breaker's states and for why it left one.

use super::Tally;
use crate::time::Time;

/// The states, without their contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// Calls pass and are counted.
    Closed,
    /// No call passes until the open time is over.
    Open,
    /// A few probes pass and decide.
    HalfOpen,
    /// A person stopped the traffic.
    ForcedOpen,
    /// A person lets everything pass; nothing is counted.
    ForcedClosed,
}

impl StateKind {
    /// The name in logs, labels and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
            Self::ForcedClosed => "forced-closed",
        }
    }
}

/// A state as an observer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open {
        /// When the first probe may go.
        until: Time,
    },
    /// Probes are out, or the next call is one.
    HalfOpen,
    /// Refused until a person lets go.
    ForcedOpen,
    /// Passed until a person lets go.
    ForcedClosed,
}

impl State {
    /// Without the contents.
    pub const fn kind(self) -> StateKind {
        match self {
            Self::Closed => StateKind::Closed,
            Self::Open { .. } => StateKind::Open,
            Self::HalfOpen => StateKind::HalfOpen,
            Self::ForcedOpen => StateKind::ForcedOpen,
            Self::ForcedClosed => StateKind::ForcedClosed,
        }
    }
}

/// What a person may force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forced {
    /// Refuse everything until `None`.
    Open,
    /// Pass everything until `None`.
    Closed,
    /// Probe now; once, not sticky.
    HalfOpen,
    /// Let go of what was forced.
    None,
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// This many failures without a success between.
    ConsecutiveFailures(u32),
    /// Too large a share of failures.
    FailureRate(Tally),
    /// Too large a share of slow calls.
    SlowRate(Tally),
    /// The peer asked for a pause.
    RateLimited,
    /// The open time is over.
    OpenElapsed,
    /// A probe failed.
    ProbeFailed,
    /// A probe did not report within its lease.
    ProbeLost,
    /// All probes succeeded.
    ProbesSucceeded,
    /// A person forced it.
    Forced,
    /// A person let go.
    Released,
    /// A person reset it.
    Reset,
}

impl Reason {
    /// The name in logs and labels, without the numbers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures(_) => "consecutive-failures",
            Self::FailureRate(_) => "failure-rate",
            Self::SlowRate(_) => "slow-rate",
            Self::RateLimited => "rate-limited",
            Self::OpenElapsed => "open-elapsed",
            Self::ProbeFailed => "probe-failed",
            Self::ProbeLost => "probe-lost",
            Self::ProbesSucceeded => "probes-succeeded",
            Self::Forced => "forced",
            Self::Released => "released",
            Self::Reset => "reset",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConsecutiveFailures(count) => write!(f, "{count} failures in a row"),
            Self::FailureRate(tally) => write!(f, "{} of {} calls failed", tally.bad, tally.total),
            Self::SlowRate(tally) => write!(f, "{} of {} calls slow", tally.bad, tally.total),
            other => f.write_str(other.as_str()),
        }
    }
}

/// One change of state. Exactly one exists per change, in the hands of whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state that was left.
    pub from: StateKind,
    /// The state that was entered.
    pub to: StateKind,
    /// Why.
    pub reason: Reason,
    /// The generation that began with it.
    pub generation: u16,
}
