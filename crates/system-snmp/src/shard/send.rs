//! From a target's queue to a transmit slot.
//!
//! Ready targets take turns, one request each, so that a long queue at one does not delay another.
//! A target that may not send now leaves the ring and comes back by an event: one of its own
//! requests ends, or its pacing timer fires.

use trunkline_engine::correlate::Found;
use trunkline_engine::datagram::{TxBatch, TxMeta};
use trunkline_engine::fault::{Fault, Outcome as AttemptOutcome};
use trunkline_engine::guard::{Class, Permit, Rejected};
use trunkline_engine::retry::{self, Attempt, Decision, RetryPolicy};
use trunkline_engine::time::Time;
use trunkline_wire_snmp::{self as wire, PduKind, Value};

use super::{Shard, TARGET_TIMER};
use crate::error::SnmpError;
use crate::job::{Job, Stage, Work};
use crate::target::{Place, Priority, Target};

impl Shard {
    /// Fills the free slots of `tx` with what may be sent now.
    pub fn fill(&mut self, now: Time, tx: &mut TxBatch) {
        if self.ready.is_empty() || !self.goes(now) {
            return;
        }
        while !tx.is_full() && tx.len() < self.setup.batch.max {
            let Some(slot) = self.ready.pop_front() else {
                return;
            };
            if let Some(target) = self.target(slot) {
                target.place = Place::Idle;
                self.send_one(now, slot, tx);
            }
        }
    }

    /// Puts a target with something to send into the ring, unless it is there or must wait.
    pub(super) fn make_ready(&mut self, slot: u32) {
        let Some(target) = self.target(slot) else {
            return;
        };
        let (queued, sent) = (target.queued(), target.sent.len());
        target.stats.level(queued, sent);
        if target.place == Place::Idle && queued > 0 {
            target.place = Place::Ready;
            self.ready.push_back(slot);
        }
    }

    /// A target's pacing is over.
    pub(super) fn unpace(&mut self, slot: u32) {
        let Some(target) = self.target(slot) else {
            return;
        };
        if target.place == Place::Paced {
            target.place = Place::Idle;
        }
        self.make_ready(slot);
    }

    fn send_one(&mut self, now: Time, slot: u32, tx: &mut TxBatch) {
        let Some(id) = self.next_queued(slot) else {
            return;
        };
        match self.admit(now, slot, id) {
            Ok(permit) => self.transmit(now, slot, id, permit, tx),
            Err(rejected) => self.hold(now, slot, id, &rejected),
        }
        self.make_ready(slot);
    }

    /// The next request in a target's queue; those that ended while they waited are passed over.
    fn next_queued(&mut self, slot: u32) -> Option<u32> {
        loop {
            let id = self.target(slot)?.dequeue()?;
            if let Some(job) = self.live(id)
                && matches!(job.stage, Stage::Queued)
            {
                return Some(id);
            }
        }
    }

    fn admit(&mut self, now: Time, slot: u32, id: u32) -> Result<Permit, Rejected> {
        let Self {
            targets,
            jobs,
            setup,
            rng,
            ..
        } = self;
        let target = targets.get_mut(slot as usize).and_then(Option::as_mut);
        let (Some(target), Found::Live(job)) = (target, jobs.find(id)) else {
            return Err(Rejected::NoMember);
        };
        let Some(egress) = setup.egress.get(usize::from(target.spec.egress)) else {
            return Err(Rejected::NoMember);
        };
        let class = if job.priority == Priority::Low {
            Class::Low
        } else {
            Class::Normal
        };
        let policy = &target.spec.policy.guard;
        let key = u64::from(slot) << 16 | u64::from(setup.index);
        let deadline = job.deadline;
        let admitted = egress
            .guard
            .admit(&target.gate, policy, now, class, deadline, key, rng);
        if let Some(transition) = target.gate.take_transition() {
            setup.stats.note_transition(target.spec.addr, &transition);
        }
        admitted
    }

    /// What becomes of a request that may not be sent now.
    fn hold(&mut self, now: Time, slot: u32, id: u32, rejected: &Rejected) {
        let Some(job) = self.live(id) else { return };
        let (priority, asked_before) = (job.priority, job.attempts > 0);
        match rejected {
            Rejected::Rate { ready_at } => {
                let Some(target) = self.target(slot) else {
                    return;
                };
                target.enqueue_again(id, priority);
                target.place = Place::Paced;
                self.wheel.insert(*ready_at, TARGET_TIMER | u64::from(slot));
            }
            Rejected::Concurrency => {
                let Some(target) = self.target(slot) else {
                    return;
                };
                target.enqueue_again(id, priority);
                target.place = Place::Capped;
            }
            _ if asked_before => {
                let error = self.silence(now, id);
                self.fail(now, id, error);
            }
            Rejected::BreakerOpen { retry_at } => {
                let retry_in = retry_at.saturating_since(now);
                self.fail(now, id, SnmpError::BreakerOpen { retry_in });
            }
            Rejected::Deadline => self.fail(now, id, SnmpError::Deadline),
            _ => self.fail(now, id, SnmpError::NoEngine),
        }
    }

    fn transmit(&mut self, now: Time, slot: u32, id: u32, permit: Permit, tx: &mut TxBatch) {
        let member = permit.member().index();
        let encoded = self.encode(slot, id, member, tx);
        let (Some(job), timeout) = (self.live(id), encoded) else {
            return;
        };
        match timeout {
            Ok(()) => self.note_sent(now, slot, id, permit),
            Err(error) => {
                job.stage = Stage::Sent {
                    permit,
                    sent_at: now,
                };
                self.on_wire += 1;
                self.fail(now, id, error);
            }
        }
    }

    /// Encodes a job's open question into the next slot.
    fn encode(
        &mut self,
        slot: u32,
        id: u32,
        member: usize,
        tx: &mut TxBatch,
    ) -> Result<(), SnmpError> {
        let Self {
            targets,
            jobs,
            setup,
            ..
        } = self;
        let target = targets.get(slot as usize).and_then(Option::as_ref);
        let (Some(target), Found::Live(job), Some(space)) = (target, jobs.find(id), tx.slot())
        else {
            return Err(SnmpError::NoEngine);
        };
        let egress = &setup.egress[usize::from(target.spec.egress)];
        let sockets = egress
            .sockets
            .get(member)
            .map(|sockets| sockets.of(target.spec.addr));
        let sockets = sockets.unwrap_or_default();
        if sockets.is_empty() {
            let family = if target.spec.addr.is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            };
            return Err(SnmpError::Send(format!(
                "the engine has no {family} socket"
            )));
        }
        // One target keeps to one socket, so that firewalls see one flow.
        let socket = sockets[slot as usize % sockets.len()];
        let range = encode_job(space, target, job, id).map_err(|_| SnmpError::TooLarge)?;
        let to = target.spec.addr;
        tx.commit(TxMeta {
            to,
            from: None,
            socket,
            range,
            token: u64::from(id),
        });
        Ok(())
    }

    fn note_sent(&mut self, now: Time, slot: u32, id: u32, permit: Permit) {
        let Self {
            targets,
            jobs,
            wheel,
            setup,
            budget,
            ..
        } = self;
        let target = targets.get_mut(slot as usize).and_then(Option::as_mut);
        let (Some(target), Found::Live(job)) = (target, jobs.find(id)) else {
            return;
        };
        let timeout = target
            .rtt
            .timeout(&target.spec.policy.timeout, job.attempts);
        if let Some(timer) = job.timer.take() {
            wheel.cancel(timer);
        }
        job.timer = Some(wheel.insert((now + timeout).min(job.deadline), u64::from(id)));
        job.stage = Stage::Sent {
            permit,
            sent_at: now,
        };
        let again = job.attempts > 0;
        if !again {
            job.first_sent = now;
            budget.deposit();
        }
        job.attempts += 1;
        target.sent.push(id);
        target.stats.sent(now, again);
        setup.stats.count_sent(again);
        self.on_wire += 1;
    }

    /// A job's timer: its attempt timed out, its backoff is over, or its deadline has passed.
    pub(super) fn on_job_timer(&mut self, now: Time, id: u32) {
        let Some(job) = self.live(id) else { return };
        job.timer = None;
        let past = job.deadline <= now;
        match &job.stage {
            Stage::Sent { .. } => self.on_silence(now, id),
            Stage::Backoff if !past => {
                job.stage = Stage::Queued;
                self.queue_again(id);
            }
            _ => {
                let asked_before = job.attempts > 0;
                let error = if asked_before {
                    self.silence(now, id)
                } else {
                    SnmpError::Deadline
                };
                self.fail(now, id, error);
            }
        }
    }

    /// An attempt's timeout passed.
    fn on_silence(&mut self, now: Time, id: u32) {
        let Some(job) = self.live(id) else { return };
        let stage = std::mem::replace(&mut job.stage, Stage::Queued);
        let (slot, attempts, deadline) = (job.target, job.attempts, job.deadline);
        let repeatable = job.is_idempotent();
        if let Work::Walk { walk, .. } = &mut job.work {
            walk.silence(attempts);
        }
        self.end_attempt(now, id, slot, stage, AttemptOutcome::Failure);
        self.setup.stats.count_timeout();
        let error = self.silence(now, id);
        let Some(target) = self.target(slot) else {
            return;
        };
        target.stats.timed_out();
        let policy = target.spec.policy.clone();
        let attempt = Attempt {
            number: attempts,
            retry: error.retry(),
            repeatable,
            deadline,
        };
        match self.decide(now, id, &policy.retry, &attempt) {
            Some(at) => self.back_off(now, id, at),
            None => self.fail(now, id, error),
        }
    }

    /// When to ask again, if at all.
    fn decide(
        &mut self,
        now: Time,
        id: u32,
        policy: &RetryPolicy,
        attempt: &Attempt,
    ) -> Option<Time> {
        let Self {
            jobs,
            budget,
            rng,
            setup,
            ..
        } = self;
        let Found::Live(job) = jobs.find(id) else {
            return None;
        };
        let state = job.backoff.get_or_insert_with(|| policy.backoff.start());
        let decision = retry::decide(policy, attempt, now, budget, state, rng);
        setup.stats.retries().note_decision(decision, now);
        match decision {
            Decision::Again { at, .. } => Some(at),
            Decision::Stop(_) => None,
        }
    }

    fn back_off(&mut self, now: Time, id: u32, at: Time) {
        if at <= now {
            return self.queue_again(id);
        }
        let timer = self.wheel.insert(at, u64::from(id));
        let Some(job) = self.live(id) else { return };
        job.stage = Stage::Backoff;
        job.timer = Some(timer);
        let slot = job.target;
        if let Some(target) = self.target(slot) {
            target.set_aside(id);
        }
    }

    /// Queues a request that was asked before ahead of those that were not.
    fn queue_again(&mut self, id: u32) {
        let Self {
            jobs,
            wheel,
            targets,
            ..
        } = self;
        let Found::Live(job) = jobs.find(id) else {
            return;
        };
        if job.deadline != Time::MAX {
            job.timer = Some(wheel.insert(job.deadline, u64::from(id)));
        }
        let slot = job.target;
        if let Some(target) = targets.get_mut(slot as usize).and_then(Option::as_mut) {
            target.forget_aside(id);
            target.enqueue_again(id, job.priority);
        }
        self.make_ready(slot);
    }

    /// The error of a job that was asked and not answered.
    fn silence(&mut self, now: Time, id: u32) -> SnmpError {
        let Some(job) = self.live(id) else {
            return SnmpError::Cancelled;
        };
        let (attempts, first_sent, slot) = (job.attempts, job.first_sent, job.target);
        let stranger = self.target(slot).and_then(Target::take_stranger);
        SnmpError::Timeout {
            attempts,
            waited: now.saturating_since(first_sent),
            stranger,
        }
    }

    /// The driver could not send the datagram of job `id`.
    pub fn unsent(&mut self, now: Time, id: u32, error: SnmpError) {
        if self
            .live(id)
            .is_some_and(|job| matches!(job.stage, Stage::Sent { .. }))
        {
            self.fail(now, id, error);
        }
    }

    /// The job of this id.
    pub(super) fn live(&mut self, id: u32) -> Option<&mut Job> {
        match self.jobs.find(id) {
            Found::Live(job) => Some(job),
            Found::Late | Found::Unknown => None,
        }
    }
}

fn encode_job(
    space: &mut [u8],
    target: &Target,
    job: &Job,
    id: u32,
) -> Result<std::ops::Range<usize>, wire::EncodeError> {
    let (version, community) = (target.spec.version, &target.spec.community[..]);
    let id = id.cast_signed();
    match &job.work {
        Work::Exchange(ask) => {
            let (non_repeaters, repetitions) = (ask.non_repeaters, ask.max_repetitions);
            let numbers = (non_repeaters, repetitions);
            wire::encode_raw(
                space,
                version,
                community,
                ask.kind,
                id,
                numbers,
                &ask.varbinds,
            )
        }
        Work::Walk { walk, .. } => {
            let (oid, repetitions) = walk.question();
            let kind = if repetitions == 0 {
                PduKind::GetNext
            } else {
                PduKind::GetBulk
            };
            let repetitions = i32::try_from(repetitions).unwrap_or(i32::MAX);
            let row = std::iter::once((oid, Value::Null));
            wire::encode(space, version, community, kind, id, 0, repetitions, row)
        }
    }
}
