//! How a job ends: exactly once, with one outcome in the books and one last event to its caller.

use trunkline_engine::fault::{Blame, Fault, Outcome as AttemptOutcome};
use trunkline_engine::ledger::{DropReason, Outcome};
use trunkline_engine::time::Time;

use super::Shard;
use crate::completion::Event;
use crate::error::SnmpError;
use crate::job::{Job, Stage, Work};
use crate::target::Place;
use crate::walk::WalkEnd;

/// The outcome that an error is in the books.
pub(super) fn outcome_of(error: &SnmpError) -> Outcome {
    match error {
        SnmpError::Timeout { .. }
        | SnmpError::Unreachable { .. }
        | SnmpError::Send(_)
        | SnmpError::TooLarge => Outcome::Failed,
        SnmpError::ShardDied => Outcome::Dropped(DropReason::OwnerLost),
        SnmpError::BreakerOpen { .. }
        | SnmpError::QueueFull(_)
        | SnmpError::TooManyTargets
        | SnmpError::NoEngine
        | SnmpError::TargetDrained => Outcome::Rejected,
        SnmpError::Deadline => Outcome::Dropped(DropReason::Deadline),
        SnmpError::TargetRemoved => Outcome::Dropped(DropReason::TargetRemoved),
        SnmpError::ShuttingDown => Outcome::Dropped(DropReason::Shutdown),
        SnmpError::Cancelled => Outcome::Cancelled,
    }
}

impl Shard {
    /// Ends a job without an answer.
    pub(super) fn fail(&mut self, now: Time, id: u32, error: SnmpError) {
        let Some(job) = self.take_off(now, id, attempt_outcome(&error)) else {
            return;
        };
        self.setup.stats.count_error(&error);
        if let Some(target) = self.target(job.target) {
            target.stats.failed();
        }
        self.settle(job, error);
    }

    /// Ends a job that was never placed in the table.
    pub(super) fn end_unplaced(&mut self, job: Job, error: SnmpError) {
        if let Some(key) = job.cancel_key {
            self.cancels.remove(&key);
        }
        self.setup.stats.count_error(&error);
        self.settle(job, error);
    }

    fn settle(&mut self, job: Job, error: SnmpError) {
        let Job {
            ticket,
            work,
            reply,
            target,
            ..
        } = job;
        match work {
            Work::Exchange(_) => {
                self.sheet.end(ticket, outcome_of(&error));
                reply.finish(Event::Failed(error), &mut self.done);
            }
            Work::Walk { walk, asked, .. } => {
                self.learn(target, asked, walk.learned());
                let outcome = outcome_of(&error);
                let end = walk.fail(error);
                // Rows that stand were delivered, whatever ended the walk.
                let partial = matches!(end, WalkEnd::Partial { .. });
                self.setup.stats.count_walk(&end);
                self.sheet
                    .end(ticket, if partial { Outcome::Delivered } else { outcome });
                reply.finish(Event::End(end), &mut self.done);
            }
        }
    }

    /// Ends a walk that came to its own end.
    pub(super) fn end_walk(&mut self, now: Time, id: u32, end: WalkEnd) {
        let Some(job) = self.take_off(now, id, AttemptOutcome::Success) else {
            return;
        };
        if let Work::Walk { walk, asked, .. } = &job.work {
            self.learn(job.target, *asked, walk.learned());
        }
        let failed = matches!(end, WalkEnd::Failed(_));
        self.setup.stats.count_walk(&end);
        self.sheet.end(
            job.ticket,
            if failed {
                Outcome::Failed
            } else {
                Outcome::Delivered
            },
        );
        job.reply.finish(Event::End(end), &mut self.done);
    }

    fn learn(&mut self, slot: u32, asked: u32, found: u32) {
        if asked > 0
            && let Some(target) = self.target(slot)
        {
            target.bulk.note(asked, found);
        }
    }

    /// Takes a job out of every table; an attempt under way ends with `outcome`.
    pub(super) fn take_off(&mut self, now: Time, id: u32, outcome: AttemptOutcome) -> Option<Job> {
        let mut job = self.jobs.remove(id)?;
        self.dirty = true;
        if let Some(timer) = job.timer.take() {
            self.wheel.cancel(timer);
        }
        if let Some(key) = job.cancel_key {
            self.cancels.remove(&key);
        }
        let stage = std::mem::replace(&mut job.stage, Stage::Queued);
        if matches!(stage, Stage::Backoff | Stage::Parked)
            && let Some(target) = self.target(job.target)
        {
            target.forget_aside(id);
        }
        self.end_attempt(now, id, job.target, stage, outcome);
        Some(job)
    }

    /// Ends the attempt that `stage` holds, if any, and lets the target's next request go.
    pub(super) fn end_attempt(
        &mut self,
        now: Time,
        id: u32,
        slot: u32,
        stage: Stage,
        outcome: AttemptOutcome,
    ) {
        let Stage::Sent { permit, sent_at } = stage else {
            return;
        };
        self.on_wire -= 1;
        let Self {
            targets,
            rng,
            setup,
            ..
        } = self;
        let target = targets.get_mut(slot as usize).and_then(Option::as_mut);
        let Some(target) = target else { return };
        target.forget_sent(id);
        let answered = matches!(outcome, AttemptOutcome::Success | AttemptOutcome::Slow);
        let latency = answered.then(|| now.saturating_since(sent_at));
        let policy = &target.spec.policy.guard;
        if let Some(transition) = permit.finish(policy, now, outcome, latency, rng) {
            setup.stats.note_transition(target.spec.addr, &transition);
        }
        if target.place == Place::Capped {
            target.place = Place::Idle;
        }
        self.make_ready(slot);
    }

    /// Ends every job with `error`.
    pub(super) fn fail_all(&mut self, now: Time, error: &SnmpError) {
        let ids: Vec<u32> = self.jobs.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.fail(now, id, error.clone());
        }
    }

    /// Closes the books over all jobs of a dying shard.
    pub(super) fn abandon_all(&mut self) {
        let ids: Vec<u32> = self.jobs.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(job) = self.jobs.remove(id) {
                self.sheet
                    .end(job.ticket, Outcome::Dropped(DropReason::OwnerLost));
            }
        }
        self.done.flush();
        self.sheet.publish(0);
    }
}

/// What an error that ends a job says about the attempt under way.
fn attempt_outcome(error: &SnmpError) -> AttemptOutcome {
    if error.blame() == Blame::Peer {
        AttemptOutcome::Failure
    } else {
        AttemptOutcome::Ignored
    }
}
