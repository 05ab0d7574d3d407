//! Why a guard refuses.

use thiserror::Error;

use crate::fault::{Blame, Fault, Place, Retry};
use crate::time::Time;

/// Why an attempt was not let through. Nothing is kept of it but the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejected {
    /// Its deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
    /// No member is usable.
    #[error("no member is usable")]
    NoMember,
    /// The target's breaker is open.
    #[error("the circuit breaker is open")]
    BreakerOpen {
        /// When asking again is of use; [`Time::MAX`] while a person holds it open.
        retry_at: Time,
    },
    /// Too many attempts per second.
    #[error("over the rate limit")]
    Rate {
        /// When the next one conforms.
        ready_at: Time,
    },
    /// Too many attempts at the same time.
    #[error("too many attempts in flight")]
    Concurrency,
}

impl Rejected {
    /// From when on it is of use to ask again, where that is known.
    pub const fn ready_at(&self) -> Option<Time> {
        match self {
            Self::BreakerOpen { retry_at: at } | Self::Rate { ready_at: at } => Some(*at),
            _ => None,
        }
    }

    /// The name in labels.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::NoMember => "no-member",
            Self::BreakerOpen { .. } => "breaker-open",
            Self::Rate { .. } => "rate",
            Self::Concurrency => "concurrency",
        }
    }
}

impl Fault for Rejected {
    /// Local, all of them: a breaker must not feed on its own refusals.
    fn blame(&self) -> Blame {
        Blame::Local
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Deadline => Retry::NEVER,
            Self::BreakerOpen { .. } => Retry::at(Place::OtherPeer),
            Self::NoMember | Self::Rate { .. } | Self::Concurrency => Retry::at(Place::AnyPeer),
        }
    }
}
