//! The vocabulary of failure: whose fault it is, and what may be tried next.
//!
//! Every error that can reach a retry loop or a breaker answers these two questions itself, so
//! that neither ever matches on a protocol's variants.

use std::time::Duration;

/// Whose fault a failure is. Breakers count [`Blame::Peer`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The caller asked for something that cannot be done.
    Caller,
    /// This process or this machine: a full queue, a missing permission, shutdown.
    Local,
    /// The other side: silence, garbage, an error that it should not have returned.
    Peer,
}

/// Where the same work may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Nowhere: it would fail again, or it may have happened already.
    Nowhere,
    /// Only where it was sent before.
    SamePeer,
    /// Anywhere but where it was sent before.
    OtherPeer,
    /// Anywhere.
    AnyPeer,
}

/// What may be tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    /// Where.
    pub place: Place,
    /// Not before this long from now; zero when the backoff policy alone decides.
    pub after: Duration,
}

impl Retry {
    /// Trying again is no use.
    pub const NEVER: Self = Self {
        place: Place::Nowhere,
        after: Duration::ZERO,
    };

    /// May be tried at `place` as soon as the backoff policy allows.
    pub const fn at(place: Place) -> Self {
        Self {
            place,
            after: Duration::ZERO,
        }
    }
}

/// An error that knows whose fault it is and what to do next.
pub trait Fault: std::error::Error {
    /// Whose fault.
    fn blame(&self) -> Blame;
    /// What may be tried next.
    fn retry(&self) -> Retry;
}

/// How an attempt ended, as guards and breakers record it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The peer answered, whatever it said.
    Success,
    /// The peer is to blame.
    Failure,
    /// It answered, but later than the slow-call threshold.
    Slow,
    /// It asked for a pause this long.
    RateLimited(Duration),
    /// Says nothing about the peer (the caller's or our own fault, or cancelled).
    Ignored,
}
