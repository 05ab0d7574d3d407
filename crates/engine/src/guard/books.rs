//! The books of attempts: every permit ends in exactly one way, and every refusal has a reason.
//!
//! What began and what is in flight is counted where it happens, at the members of the router; the
//! ends are counted here. The two are written by different hands, so that their agreement says
//! something.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::Rejected;
use crate::fault::Outcome;

/// How attempts ended and why they were refused, in shared words.
#[derive(Debug, Default)]
pub struct AttemptSheet {
    succeeded: AtomicU64,
    slow: AtomicU64,
    rate_limited: AtomicU64,
    failed: AtomicU64,
    ignored: AtomicU64,
    unsent: AtomicU64,
    abandoned: AtomicU64,
    deadline: AtomicU64,
    no_member: AtomicU64,
    breaker_open: AtomicU64,
    rate: AtomicU64,
    concurrency: AtomicU64,
}

/// An [`AttemptSheet`] at one moment. Read while attempts go on, counts may be apart by those
/// that ended in between; at rest [`Self::imbalance`] is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptCounts {
    /// Permits given.
    pub admitted: u64,
    /// Ended with an answer in time.
    pub succeeded: u64,
    /// Ended with an answer that took too long.
    pub slow: u64,
    /// Ended with the peer asking for a pause.
    pub rate_limited: u64,
    /// Ended by the peer's fault.
    pub failed: u64,
    /// Ended with nothing learnt about the peer.
    pub ignored: u64,
    /// Never sent, by the member's own fault.
    pub unsent: u64,
    /// Permits dropped.
    pub abandoned: u64,
    /// Refused, by reason.
    pub rejected: RejectedCounts,
    /// Permits that exist, counted at the members.
    pub in_flight: u64,
}

/// Refusals by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectedCounts {
    /// [`Rejected::Deadline`].
    pub deadline: u64,
    /// [`Rejected::NoMember`].
    pub no_member: u64,
    /// [`Rejected::BreakerOpen`].
    pub breaker_open: u64,
    /// [`Rejected::Rate`].
    pub rate: u64,
    /// [`Rejected::Concurrency`].
    pub concurrency: u64,
}

impl AttemptCounts {
    /// Permits that ended.
    pub const fn ended(&self) -> u64 {
        let answered = self.succeeded + self.slow + self.rate_limited;
        answered + self.failed + self.ignored + self.unsent + self.abandoned
    }

    /// Permits given, less those that ended or exist: anything but 0 at rest is a defect.
    pub fn imbalance(&self) -> i64 {
        self.admitted
            .wrapping_sub(self.ended() + self.in_flight)
            .cast_signed()
    }
}

impl AttemptSheet {
    pub(super) fn note_rejected(&self, why: &Rejected) {
        let counter = match why {
            Rejected::Deadline => &self.deadline,
            Rejected::NoMember => &self.no_member,
            Rejected::BreakerOpen { .. } => &self.breaker_open,
            Rejected::Rate { .. } => &self.rate,
            Rejected::Concurrency => &self.concurrency,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn note_unsent(&self) {
        self.unsent.fetch_add(1, Relaxed);
    }

    pub(super) fn note_abandoned(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(super) fn note_ended(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Success => &self.succeeded,
            Outcome::Slow => &self.slow,
            Outcome::RateLimited(_) => &self.rate_limited,
            Outcome::Failure => &self.failed,
            Outcome::Ignored => &self.ignored,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self, admitted: u64, in_flight: u64) -> AttemptCounts {
        AttemptCounts {
            admitted,
            succeeded: self.succeeded.load(Relaxed),
            slow: self.slow.load(Relaxed),
            rate_limited: self.rate_limited.load(Relaxed),
            failed: self.failed.load(Relaxed),
            ignored: self.ignored.load(Relaxed),
            unsent: self.unsent.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            rejected: RejectedCounts {
                deadline: self.deadline.load(Relaxed),
                no_member: self.no_member.load(Relaxed),
                breaker_open: self.breaker_open.load(Relaxed),
                rate: self.rate.load(Relaxed),
                concurrency: self.concurrency.load(Relaxed),
            },
            in_flight,
        }
    }
}
