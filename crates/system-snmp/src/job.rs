//! A request from the door to its end.
//!
//! A job is one unit of work: what a caller waits for. A single exchange is one question and its
//! answer; a walk is as many as it takes. Every datagram of a job is an attempt, with a permit of
//! its own and a line in the attempts' books.

use std::sync::Arc;

use trunkline_engine::backoff::BackoffState;
use trunkline_engine::guard::Permit;
use trunkline_engine::ledger::Ticket;
use trunkline_engine::time::Time;
use trunkline_engine::wheel::TimerKey;
use trunkline_wire_snmp::PduKind;

use crate::completion::{Credit, Inbox, ReplyTo};
use crate::target::{Priority, TargetId};
use crate::walk::{Walk, WalkSpec};

/// A question of one datagram.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Get, GetNext, GetBulk or Set.
    pub kind: PduKind,
    /// Non-repeaters of a GetBulk; 0 otherwise.
    pub non_repeaters: i32,
    /// Max-repetitions of a GetBulk; 0 otherwise.
    pub max_repetitions: i32,
    /// The BER varbind list, shared by all who ask the same.
    pub varbinds: Arc<[u8]>,
}

impl Exchange {
    /// A GET of an encoded varbind list.
    pub fn get(varbinds: Arc<[u8]>) -> Self {
        Self {
            kind: PduKind::Get,
            non_repeaters: 0,
            max_repetitions: 0,
            varbinds,
        }
    }
}

/// What a job asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// One question.
    Exchange(Exchange),
    /// A subtree.
    Walk(WalkSpec),
}

/// How a job is to be treated.
#[derive(Clone, Copy, Debug)]
pub struct JobOptions {
    /// When the caller stops waiting; nothing of the job outlives it.
    pub deadline: Time,
    /// Its place among the target's other requests.
    pub priority: Priority,
}

/// A job on its way to a shard.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) target: TargetId,
    pub(crate) ask: Ask,
    pub(crate) options: JobOptions,
    pub(crate) reply: ReplyTo,
    /// The name under which it can be cancelled.
    pub(crate) cancel_key: Option<u64>,
}

impl Submission {
    pub(crate) fn new(
        target: TargetId,
        ask: Ask,
        options: JobOptions,
        inbox: Arc<Inbox>,
        token: u64,
    ) -> Self {
        let reply = ReplyTo::new(inbox, token);
        Self {
            target,
            ask,
            options,
            reply,
            cancel_key: None,
        }
    }

    /// A rough size in bytes, for the lane's byte bound.
    pub(crate) fn cost_bytes(&self) -> usize {
        let ask = match &self.ask {
            Ask::Exchange(exchange) => exchange.varbinds.len(),
            Ask::Walk(spec) => spec.root.as_ber().len(),
        };
        size_of::<Self>() + ask
    }
}

/// What a job asks, as its shard keeps it.
#[derive(Debug)]
pub(crate) enum Work {
    Exchange(Exchange),
    Walk {
        walk: Box<Walk>,
        asked: u32,
        credit: Arc<Credit>,
    },
}

/// Where a job is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// In its target's queue.
    Queued,
    /// On the wire.
    Sent { permit: Permit, sent_at: Time },
    /// Asked before, and waits for its backoff to ask again.
    Backoff,
    /// A walk that waits for its reader.
    Parked,
}

/// A job in its shard.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) ticket: Ticket,
    pub(crate) target: u32,
    pub(crate) priority: Priority,
    pub(crate) deadline: Time,
    pub(crate) work: Work,
    pub(crate) stage: Stage,
    pub(crate) timer: Option<TimerKey>,
    /// How the waits between attempts grow, once there was one.
    pub(crate) backoff: Option<BackoffState>,
    /// Datagrams sent for the question that is open.
    pub(crate) attempts: u32,
    /// When the first of them left.
    pub(crate) first_sent: Time,
    pub(crate) reply: ReplyTo,
    pub(crate) cancel_key: Option<u64>,
}

impl Job {
    /// Whether asking twice does no harm (invariant 12).
    pub(crate) fn is_idempotent(&self) -> bool {
        match &self.work {
            Work::Exchange(exchange) => exchange.kind != PduKind::Set,
            Work::Walk { .. } => true,
        }
    }
}
