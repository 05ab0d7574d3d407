//! What a router shows of itself: its members, its counts, its refusals.

use std::time::Duration;

use thiserror::Error;

use super::health::Why;
use super::member::{MEMBERS_MAX, Mark, MemberId};
use crate::time::Time;

/// Why and until when a member is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// What spoke against it.
    pub why: Why,
    /// When it is taken back, if it does not recover earlier.
    pub until: Time,
}

/// A member at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberView {
    /// Its id.
    pub id: MemberId,
    /// Its name.
    pub name: String,
    /// Preference over the others.
    pub weight: u32,
    /// Size relative to the others.
    pub capacity: u32,
    /// What a person decided.
    pub mark: Mark,
    /// Whether it takes nothing new; it may be removed without loss when `in_flight` is 0.
    pub draining: bool,
    /// Whether it can be chosen now.
    pub usable: bool,
    /// Set while health keeps it out (in a panic it is usable all the same).
    pub ejection: Option<Ejection>,
    /// Attempts that began and have not ended.
    pub in_flight: u32,
    /// Attempts that began.
    pub started: u64,
    /// Attempts without a reply.
    pub failed: u64,
    /// Attempts that say nothing about the member.
    pub ignored: u64,
    /// Attempts that the member itself could not send.
    pub unsent: u64,
    /// Share of recent attempts that got a reply, `0.0..=1.0`.
    pub reply_ratio: f32,
    /// The latency estimate.
    pub latency: Duration,
    /// The part of its share that it takes, below 1.0 in the slow start.
    pub warmth: f32,
}

/// The router's counts since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterStats {
    /// Attempts that were begun with a member.
    pub requests_routed: u64,
    /// Batches that were split.
    pub batches_routed: u64,
    /// Picks and batches that found no member.
    pub routing_failures: u64,
    /// Attempts that a member did not answer, or could not send.
    pub member_failures: u64,
    /// Attempts in flight, removed members' included.
    pub in_flight: u64,
    /// Members that health threw out.
    pub ejections: u64,
    /// Ejections that the cap forbade.
    pub ejections_denied: u64,
    /// Ejected members that were taken back.
    pub returns: u64,
    /// Whether so few are usable that ejections are ignored.
    pub panicking: bool,
    /// Keys that `sticky` keeps.
    pub sticky_kept: u64,
    /// Keys that `sticky` gave up for want of room.
    pub sticky_evicted: u64,
    /// Time that callers say they spent routing.
    pub routing_time: Duration,
    /// Times that they measured it.
    pub routing_samples: u64,
}

/// Why the set of members did not change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemberError {
    /// There are 255 members, or too many removed ones still have work in flight.
    #[error("the router has no free place: {MEMBERS_MAX} members at most")]
    Full,
    /// A member has this name.
    #[error("a member is called {0:?} already")]
    Duplicate(String),
    /// The id means nobody (any more).
    #[error("there is no member {0}")]
    Unknown(MemberId),
    /// A weight or capacity of 0 or above 65,535.
    #[error("{what} is {value}; it must be between 1 and 65535 (to stop traffic, drain or mark)")]
    Range {
        /// `weight` or `capacity`.
        what: &'static str,
        /// What was asked for.
        value: u32,
    },
}
