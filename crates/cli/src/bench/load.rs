//! The load itself: submit, read, decode, submit again.
//!
//! Closed, a number of requests is kept under way and the next one starts when one ends; that finds
//! the capacity, but a stall also stops the questions that would have suffered from it, so the
//! latencies are those of a caller that waits. Open, requests start at a rate whatever the answers
//! do, and each latency counts from the moment the request was *meant* to start: a stall is paid by
//! everyone behind it, as in life (no coordinated omission). Every value is decoded here, on the
//! reader's thread, as a caller would.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use trunkline_engine::stats::Histogram;
use trunkline_engine::time::{Time, nanos};
use trunkline_runtime::clock::Clock;
use trunkline_system_snmp::{
    Ask, Client, Completion, Event, Inbox, JobOptions, Priority, Reply, Request, TargetId, WalkEnd,
    WalkStop,
};

use crate::interrupt::Interrupt;

/// How requests follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many at once.
    Closed { in_flight: u32 },
    /// One every `gap`, of which at most so many are under way.
    Open { gap: Duration, in_flight: u32 },
}

impl Pace {
    /// The most requests under way.
    pub(super) const fn in_flight(self) -> u32 {
        match self {
            Self::Closed { in_flight } | Self::Open { in_flight, .. } => in_flight,
        }
    }
}

/// A caller gives up on a request after this.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest wait for answers: interrupts and the end are seen this soon.
const PATIENCE: Duration = Duration::from_millis(20);
/// A pause after nothing but refusals, so that dead agents are not asked in a spin.
const REST: Duration = Duration::from_millis(1);
/// Requests in one batch.
const BATCH_MAX: usize = 1024;

/// A load generator and what it saw.
pub(super) struct Load<'a> {
    clock: Clock,
    client: &'a Client,
    inbox: &'a Arc<Inbox>,
    targets: &'a [TargetId],
    asks: &'a [Ask],
    pace: Pace,
    began: Time,
    /// Requests begun so far.
    begun: u64,
    /// When the requests under way were meant to start, by token.
    starts: Vec<Time>,
    free: Vec<u32>,
    /// Requests that ended in full.
    pub(super) answered: u64,
    /// Answers to GETs that were read, refusals included.
    pub(super) replies: u64,
    /// Values decoded.
    pub(super) varbinds: u64,
    /// Requests that ended otherwise, by kind.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Nanoseconds from start to end of the requests that ended in full.
    pub(super) latency_ns: Histogram,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        clock: Clock,
        client: &'a Client,
        inbox: &'a Arc<Inbox>,
        targets: &'a [TargetId],
        asks: &'a [Ask],
        pace: Pace,
    ) -> Self {
        Self {
            clock,
            client,
            inbox,
            targets,
            asks,
            pace,
            began: clock.now(),
            begun: 0,
            starts: Vec::new(),
            free: Vec::new(),
            answered: 0,
            replies: 0,
            varbinds: 0,
            errors: BTreeMap::new(),
            latency_ns: Histogram::new(),
        }
    }

    /// Whether latencies count from the intended start.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.pace, Pace::Open { .. })
    }

    /// How many agents are asked.
    pub(super) const fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Requests that have not ended.
    pub(super) fn under_way(&self) -> u64 {
        (self.starts.len() - self.free.len()) as u64
    }

    /// Loads the agents for this long.
    pub(super) fn run(&mut self, lasting: Duration, interrupt: &Interrupt) {
        self.began = self.clock.now();
        let until = self.began + lasting;
        let (mut now, mut arrived) = (self.began, Vec::new());
        let mut looked = now;
        while now < until {
            self.begin(now);
            let patience = self.patience(now).min(until.saturating_since(now));
            self.inbox.wait_all(patience, &mut arrived);
            now = self.clock.now();
            let (any, before) = (!arrived.is_empty(), self.answered);
            for completion in arrived.drain(..) {
                self.take(now, completion);
            }
            if any && before == self.answered && self.varbinds == 0 {
                std::thread::sleep(REST);
            }
            if now.saturating_since(looked) >= PATIENCE {
                looked = now;
                if interrupt.is_told() {
                    return;
                }
            }
        }
    }

    /// Submits what is due now.
    fn begin(&mut self, now: Time) {
        let room = u64::from(self.pace.in_flight()).saturating_sub(self.under_way());
        let due = match self.pace {
            Pace::Closed { .. } => room,
            Pace::Open { gap, .. } => {
                let since = nanos(now.saturating_since(self.began));
                let meant = since / nanos(gap).max(1) + 1;
                meant.saturating_sub(self.begun).min(room)
            }
        };
        let due = usize::try_from(due).unwrap_or(BATCH_MAX).min(BATCH_MAX);
        if due > 0 {
            let requests: Vec<Request> = (0..due).map(|_| self.request(now)).collect();
            self.client.submit_batch(requests, self.inbox);
        }
    }

    fn request(&mut self, now: Time) -> Request {
        let start = match self.pace {
            Pace::Closed { .. } => now,
            Pace::Open { gap, .. } => {
                let offset = nanos(gap).saturating_mul(self.begun);
                self.began + Duration::from_nanos(offset)
            }
        };
        let token = match self.free.pop() {
            Some(token) => {
                self.starts[token as usize] = start;
                token
            }
            None => {
                self.starts.push(start);
                u32::try_from(self.starts.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let turn = usize::try_from(self.begun).unwrap_or(usize::MAX);
        let ask = &self.asks[turn / self.targets.len() % self.asks.len()];
        let target = self.targets[turn % self.targets.len()];
        self.begun += 1;
        let options = JobOptions {
            deadline: now + DEADLINE,
            priority: Priority::Normal,
        };
        Request {
            target,
            ask: ask.clone(),
            options,
            token: token.into(),
        }
    }

    /// How long nothing has to be begun.
    fn patience(&self, now: Time) -> Duration {
        match self.pace {
            Pace::Closed { .. } => PATIENCE,
            Pace::Open { gap, .. } => {
                let offset = nanos(gap).saturating_mul(self.begun);
                let next = self.began + Duration::from_nanos(offset);
                next.saturating_since(now).min(PATIENCE)
            }
        }
    }

    fn take(&mut self, now: Time, completion: Completion) {
        let token = completion.token;
        let failure = match completion.event {
            Event::Page(reply, _credit) => return self.decode(&reply),
            Event::Reply(reply) => {
                self.replies += 1;
                self.decode(&reply);
                let refused = reply.status != 0;
                refused.then(|| {
                    reply
                        .error_status()
                        .map_or("status", |status| status.as_str())
                })
            }
            Event::End(WalkEnd::Complete { .. }) => None,
            Event::End(WalkEnd::Partial { reason, .. } | WalkEnd::Failed(reason)) => {
                Some(kind(&reason))
            }
            Event::Failed(error) => Some(error.kind()),
        };
        self.end(now, token, failure);
    }

    fn end(&mut self, now: Time, token: u64, failure: Option<&'static str>) {
        let Ok(token) = u32::try_from(token) else {
            return;
        };
        let start = self.starts[token as usize];
        self.free.push(token);
        match failure {
            Some(kind) => *self.errors.entry(kind).or_default() += 1,
            None => {
                self.answered += 1;
                self.latency_ns
                    .record_owned(nanos(now.saturating_since(start)));
            }
        }
    }

    /// Reads every value to its type.
    fn decode(&mut self, reply: &Reply) {
        for varbind in reply.varbinds() {
            if black_box(&varbind).is_ok() {
                self.varbinds += 1;
            }
        }
    }
}

fn kind(reason: &WalkStop) -> &'static str {
    match reason {
        WalkStop::Error(error) => error.kind(),
        WalkStop::Status { status, .. } => status.as_str(),
        WalkStop::NotIncreasing { .. } => "not_increasing",
        WalkStop::Loop(_) => "loop",
        WalkStop::RowCap(_) => "row_cap",
        WalkStop::EmptyReply => "empty_reply",
        _ => "walk",
    }
}
