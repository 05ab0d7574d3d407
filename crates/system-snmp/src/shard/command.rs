//! What others may ask of a shard, through its one bounded lane.

use std::sync::Arc;

use trunkline_engine::breaker::Forced;
use trunkline_engine::guard::Gate;
use trunkline_engine::time::Time;

use super::Shard;
use crate::completion::{Credit, Event};
use crate::door::Door;
use crate::error::SnmpError;
use crate::job::{Ask, Job, Stage, Submission, Work};
use crate::target::{Target, TargetId, TargetSpec, TargetStats};
use crate::walk::{Method, Walk};

/// A command; its effect shows in completions, published figures and books.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take on jobs.
    Submit(Vec<Submission>),
    /// Take on a target under a slot that its client chose.
    AddTarget(Box<NewTarget>),
    /// Forget a target; its jobs end as dropped.
    RemoveTarget(TargetId),
    /// Stop (true) or resume (false) new requests to a target; those under way go on.
    DrainTarget(TargetId, bool),
    /// Force a target's breaker.
    Force(TargetId, Forced),
    /// Take back the job with this key.
    Cancel(u64),
    /// Go on with a parked walk.
    Resume(u64),
    /// Refuse new jobs; those under way go on.
    Drain,
    /// End all jobs now.
    Close,
    /// End the thread; the driver acts on it.
    Stop,
    /// Die, to prove that death is noticed.
    Panic,
}

/// A target on its way to its shard.
#[derive(Clone, Debug)]
pub(crate) struct NewTarget {
    pub(crate) id: TargetId,
    pub(crate) spec: TargetSpec,
    /// Breaker and limits, which outlive a restart of the shard.
    pub(crate) gate: Arc<Gate>,
    pub(crate) stats: Arc<TargetStats>,
    pub(crate) drained: bool,
}

impl Shard {
    /// Acts on a command. `door` is where a parked walk's reader knocks.
    pub(crate) fn command(&mut self, now: Time, command: Command, door: &Arc<Door>) {
        match command {
            Command::Submit(batch) => {
                for submission in batch {
                    self.submit(now, submission, door);
                }
            }
            Command::AddTarget(new) => self.add_target(*new),
            Command::RemoveTarget(id) => self.remove_target(now, id),
            Command::DrainTarget(id, drained) => {
                if let Some(target) = self.named(id) {
                    target.drained = drained;
                }
            }
            Command::Force(id, forced) => self.force(now, id, forced),
            Command::Cancel(key) => {
                if let Some(id) = self.cancels.get(&key).copied() {
                    self.fail(now, id, SnmpError::Cancelled);
                }
            }
            Command::Resume(id) => self.resume(id),
            Command::Drain => self.draining = true,
            Command::Close | Command::Stop => {
                self.draining = true;
                self.fail_all(now, &SnmpError::ShuttingDown);
            }
            #[expect(
                clippy::panic,
                reason = "this command exists to prove that death is noticed"
            )]
            Command::Panic => panic!("asked to die"),
        }
    }

    fn submit(&mut self, now: Time, submission: Submission, door: &Arc<Door>) {
        let refusal = self.refusal(now, &submission);
        self.dirty = true;
        let ticket = self.sheet.begin(1);
        let Submission {
            target: target_id,
            ask,
            options,
            reply,
            cancel_key,
        } = submission;
        if let Some(error) = refusal {
            self.setup.stats.count_error(&error);
            self.sheet.end(ticket, super::end::outcome_of(&error));
            reply.finish(ask.failed(error), &mut self.done);
            return;
        }
        let job = Job {
            ticket,
            target: target_id.slot,
            priority: options.priority,
            deadline: options.deadline,
            work: self.work(target_id.slot, ask),
            stage: Stage::Queued,
            timer: None,
            backoff: None,
            attempts: 0,
            first_sent: now,
            reply,
            cancel_key,
        };
        let id = match self.jobs.insert(job) {
            Ok(id) => id,
            // `refusal` asked for room, so this is out of reach; it still ends the job.
            Err(full) => return self.end_unplaced(full.0, SnmpError::QueueFull("jobs_max")),
        };
        self.admit_job(id, cancel_key, door);
    }

    fn admit_job(&mut self, id: u32, cancel_key: Option<u64>, door: &Arc<Door>) {
        if let Some(key) = cancel_key {
            self.cancels.insert(key, id);
        }
        let Some(job) = self.live(id) else { return };
        if let Work::Walk { credit, .. } = &mut job.work {
            // A walk's id changes with every page, so its reader knocks under the cancel key.
            let (door, key) = (door.clone(), cancel_key.unwrap_or_default());
            *credit = Credit::new(Box::new(move || door.knock(Command::Resume(key))));
        }
        let (slot, priority, deadline) = (job.target, job.priority, job.deadline);
        if deadline != Time::MAX {
            let timer = self.wheel.insert(deadline, u64::from(id));
            if let Some(job) = self.live(id) {
                job.timer = Some(timer);
            }
        }
        if let Some(target) = self.target(slot) {
            target.enqueue(id, priority);
        }
        self.make_ready(slot);
    }

    /// Why a job cannot be taken on.
    fn refusal(&mut self, now: Time, submission: &Submission) -> Option<SnmpError> {
        if self.draining {
            return Some(SnmpError::ShuttingDown);
        }
        if submission.options.deadline <= now {
            return Some(SnmpError::Deadline);
        }
        if self.jobs.len() >= self.setup.jobs_max {
            return Some(SnmpError::QueueFull("max_requests of the shard"));
        }
        match self.named(submission.target) {
            None => Some(SnmpError::TargetRemoved),
            Some(target) if target.drained => Some(SnmpError::TargetDrained),
            Some(target) if target.queued() >= target.spec.policy.queue_max => {
                Some(SnmpError::QueueFull("the target's queue"))
            }
            Some(_) => None,
        }
    }

    fn work(&mut self, slot: u32, ask: Ask) -> Work {
        match ask {
            Ask::Exchange(exchange) => Work::Exchange(exchange),
            Ask::Walk(spec) => {
                let learned = self.target(slot).map_or(0, |target| target.bulk.start());
                let asked = match spec.method {
                    Method::Next => 0,
                    Method::Bulk(most) => most,
                };
                let walk = Box::new(Walk::new(spec, learned));
                Work::Walk {
                    walk,
                    asked,
                    credit: Credit::new(Box::new(|| ())),
                }
            }
        }
    }

    fn add_target(&mut self, new: NewTarget) {
        let slot = new.id.slot as usize;
        if slot >= self.setup.targets_max {
            return;
        }
        if slot >= self.targets.len() {
            self.targets.resize_with(slot + 1, || None);
        }
        self.by_addr
            .entry(new.spec.addr)
            .or_default()
            .push(new.id.slot);
        let mut target = Target::new(new.spec, new.id.generation, new.gate, new.stats);
        target.drained = new.drained;
        self.targets[slot] = Some(target);
    }

    fn remove_target(&mut self, now: Time, id: TargetId) {
        let Some(target) = self.named(id) else { return };
        let addr = target.spec.addr;
        for job in target.take_all() {
            self.fail(now, job, SnmpError::TargetRemoved);
        }
        if let Some(slots) = self.by_addr.get_mut(&addr) {
            slots.retain(|slot| *slot != id.slot);
            if slots.is_empty() {
                self.by_addr.remove(&addr);
            }
        }
        self.targets[id.slot as usize] = None;
    }

    fn force(&mut self, now: Time, id: TargetId, forced: Forced) {
        let Some(target) = self.named(id) else { return };
        let addr = target.spec.addr;
        let transition = target.gate.force(forced, now);
        if let Some(transition) = transition {
            self.setup.stats.note_transition(addr, &transition);
        }
        self.unpace(id.slot);
    }

    fn resume(&mut self, key: u64) {
        let Some(id) = self.cancels.get(&key).copied() else {
            return;
        };
        let Some(job) = self.live(id) else { return };
        if !matches!(job.stage, Stage::Parked) {
            return;
        }
        job.stage = Stage::Queued;
        let (slot, priority) = (job.target, job.priority);
        if let Some(target) = self.target(slot) {
            target.forget_aside(id);
            target.enqueue(id, priority);
        }
        self.make_ready(slot);
    }

    /// The target of this name, if the slot still belongs to it.
    fn named(&mut self, id: TargetId) -> Option<&mut Target> {
        self.target(id.slot)
            .filter(|target| target.generation == id.generation)
    }
}

impl Ask {
    /// The last event of a job that never started.
    pub(crate) fn failed(&self, error: SnmpError) -> Event {
        match self {
            Self::Exchange(_) => Event::Failed(error),
            Self::Walk(spec) => Event::End(Walk::new(spec.clone(), 0).fail(error)),
        }
    }
}
