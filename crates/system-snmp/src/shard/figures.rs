//! What a shard counts, for everybody to read and for it alone to write.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use trunkline_engine::breaker::{StateKind, Transition};
use trunkline_engine::retry::{RetryCounters, RetryTotals};
use trunkline_engine::stats::{Counter, Gauge, Histogram, HistogramSnapshot};

use crate::error::SnmpError;
use crate::walk::WalkEnd;

/// Why a datagram was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadDatagram {
    /// It is not SNMP v1 or v2c, or breaks off.
    Malformed,
    /// A request, trap or report.
    NotAResponse,
    /// The second answer to a question, or one after its end.
    Late,
    /// No question of ours has this id.
    UnknownId,
    /// Another version than was asked in.
    Version,
    /// Another community than was asked with.
    Community,
    /// From an address that the target's source policy refuses.
    Source,
}

impl BadDatagram {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::NotAResponse,
        Self::Late,
        Self::UnknownId,
        Self::Version,
        Self::Community,
        Self::Source,
    ];

    /// The reason as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAResponse => "not_a_response",
            Self::Late => "late",
            Self::UnknownId => "unknown_id",
            Self::Version => "version",
            Self::Community => "community",
            Self::Source => "source",
        }
    }
}

/// The kinds of [`SnmpError`], in the order in which they are counted.
const ERROR_KINDS: [&str; 14] = [
    "timeout",
    "unreachable",
    "send",
    "breaker_open",
    "queue_full",
    "too_many_targets",
    "deadline",
    "cancelled",
    "no_engine",
    "target_removed",
    "target_drained",
    "shutting_down",
    "shard_died",
    "too_large",
];

/// How a walk ended, in the order in which ends are counted.
const WALK_ENDS: [&str; 3] = ["complete", "partial", "failed"];

/// A breaker that changed its state.
#[derive(Clone, Debug)]
pub struct BreakerEvent {
    /// Whose breaker.
    pub target: SocketAddr,
    /// What changed and why.
    pub transition: Transition,
}

/// Breaker events kept for whoever asks; older ones are counted and gone.
const EVENTS_MAX: usize = 512;

/// A shard's counters.
#[derive(Debug)]
pub struct ShardStats {
    received: Counter,
    received_bytes: Counter,
    bad: [Counter; BadDatagram::ALL.len()],
    sent: Counter,
    retransmits: Counter,
    timeouts: Counter,
    errors: [Counter; ERROR_KINDS.len()],
    walks: [Counter; WALK_ENDS.len()],
    rows: Counter,
    breaker_opens: Counter,
    breaker_closes: Counter,
    jobs: Gauge,
    on_wire: Gauge,
    ready: Gauge,
    retries: RetryCounters,
    rtt_ns: Histogram,
    events: Mutex<VecDeque<BreakerEvent>>,
    events_lost: Counter,
}

/// A reading of [`ShardStats`].
#[derive(Clone, Debug)]
pub struct ShardFigures {
    /// Datagrams received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Datagrams not believed, by reason.
    pub bad: Vec<(BadDatagram, u64)>,
    /// Datagrams sent.
    pub sent: u64,
    /// Of these, repetitions.
    pub retransmits: u64,
    /// Attempts that ended in silence.
    pub timeouts: u64,
    /// Jobs that ended without an answer, by the kind of error.
    pub errors: Vec<(&'static str, u64)>,
    /// Walks by their end.
    pub walks: Vec<(&'static str, u64)>,
    /// Rows that walks delivered.
    pub rows: u64,
    /// Breakers that opened.
    pub breaker_opens: u64,
    /// Breakers that closed.
    pub breaker_closes: u64,
    /// Jobs held.
    pub jobs: i64,
    /// Of these, on the wire.
    pub on_wire: i64,
    /// Targets that may send now.
    pub ready: i64,
    /// What became of failed attempts.
    pub retries: RetryTotals,
    /// Round trips in nanoseconds.
    pub rtt_ns: HistogramSnapshot,
}

impl Default for ShardStats {
    fn default() -> Self {
        Self {
            received: Counter::new(),
            received_bytes: Counter::new(),
            bad: std::array::from_fn(|_| Counter::new()),
            sent: Counter::new(),
            retransmits: Counter::new(),
            timeouts: Counter::new(),
            errors: std::array::from_fn(|_| Counter::new()),
            walks: std::array::from_fn(|_| Counter::new()),
            rows: Counter::new(),
            breaker_opens: Counter::new(),
            breaker_closes: Counter::new(),
            jobs: Gauge::new(),
            on_wire: Gauge::new(),
            ready: Gauge::new(),
            retries: RetryCounters::default(),
            rtt_ns: Histogram::new(),
            events: Mutex::default(),
            events_lost: Counter::new(),
        }
    }
}

impl ShardStats {
    /// The figures as they stand.
    pub fn read(&self) -> ShardFigures {
        let named = |names: &[&'static str], counters: &[Counter]| {
            names
                .iter()
                .copied()
                .zip(counters.iter().map(Counter::value))
                .collect()
        };
        ShardFigures {
            received: self.received.value(),
            received_bytes: self.received_bytes.value(),
            bad: BadDatagram::ALL
                .into_iter()
                .zip(self.bad.iter().map(Counter::value))
                .collect(),
            sent: self.sent.value(),
            retransmits: self.retransmits.value(),
            timeouts: self.timeouts.value(),
            errors: named(&ERROR_KINDS, &self.errors),
            walks: named(&WALK_ENDS, &self.walks),
            rows: self.rows.value(),
            breaker_opens: self.breaker_opens.value(),
            breaker_closes: self.breaker_closes.value(),
            jobs: self.jobs.value(),
            on_wire: self.on_wire.value(),
            ready: self.ready.value(),
            retries: self.retries.totals(),
            rtt_ns: self.rtt_ns.snapshot(),
        }
    }

    /// Takes the breaker events that have come since the last call.
    pub fn take_events(&self) -> Vec<BreakerEvent> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }

    /// Breaker events that nobody took in time.
    pub fn events_lost(&self) -> u64 {
        self.events_lost.value()
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.add_owned(1);
        self.received_bytes.add_owned(bytes as u64);
    }

    pub(super) fn count_bad(&self, bad: BadDatagram) {
        self.bad[bad as usize].add_owned(1);
    }

    pub(super) fn count_sent(&self, again: bool) {
        self.sent.add_owned(1);
        if again {
            self.retransmits.add_owned(1);
        }
    }

    pub(super) fn retries(&self) -> &RetryCounters {
        &self.retries
    }

    pub(super) fn count_timeout(&self) {
        self.timeouts.add_owned(1);
    }

    pub(super) fn count_error(&self, error: &SnmpError) {
        let at = ERROR_KINDS.iter().position(|kind| *kind == error.kind());
        debug_assert!(at.is_some(), "every kind is listed");
        if let Some(at) = at {
            self.errors[at].add_owned(1);
        }
    }

    pub(super) fn count_answer(&self, rtt: Duration) {
        self.rtt_ns
            .record_owned(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn count_rows(&self, rows: u32) {
        self.rows.add_owned(rows.into());
    }

    pub(super) fn count_walk(&self, end: &WalkEnd) {
        let at = match end {
            WalkEnd::Complete { .. } => 0,
            WalkEnd::Partial { .. } => 1,
            WalkEnd::Failed(_) => 2,
        };
        self.walks[at].add_owned(1);
    }

    pub(super) fn levels(&self, jobs: usize, on_wire: usize, ready: usize) {
        let level = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.jobs.set(level(jobs));
        self.on_wire.set(level(on_wire));
        self.ready.set(level(ready));
    }

    pub(super) fn note_transition(&self, target: SocketAddr, transition: &Transition) {
        match transition.to {
            StateKind::Open | StateKind::ForcedOpen => self.breaker_opens.add_owned(1),
            StateKind::Closed | StateKind::ForcedClosed => self.breaker_closes.add_owned(1),
            StateKind::HalfOpen => {}
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == EVENTS_MAX {
            events.pop_front();
            self.events_lost.add_owned(1);
        }
        events.push_back(BreakerEvent {
            target,
            transition: *transition,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_a_counter() {
        let stats = ShardStats::default();
        let errors = [
            SnmpError::Timeout {
                attempts: 1,
                waited: Duration::ZERO,
                stranger: None,
            },
            SnmpError::Send(String::new()),
            SnmpError::BreakerOpen {
                retry_in: Duration::ZERO,
            },
            SnmpError::QueueFull(""),
            SnmpError::Deadline,
            SnmpError::Cancelled,
            SnmpError::NoEngine,
            SnmpError::TargetRemoved,
            SnmpError::TargetDrained,
            SnmpError::ShuttingDown,
            SnmpError::ShardDied,
            SnmpError::TooLarge,
        ];
        for error in &errors {
            stats.count_error(error);
        }
        let counted: u64 = stats.read().errors.iter().map(|(_, n)| n).sum();
        assert_eq!(counted, errors.len() as u64);
    }

    #[test]
    fn the_numbers_of_bad_datagrams_follow_their_list() {
        for (at, bad) in BadDatagram::ALL.into_iter().enumerate() {
            assert_eq!(bad as usize, at);
        }
    }
}
