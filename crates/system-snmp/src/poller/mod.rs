//! The poller: runs every target's jobs at a fixed rate and hands on what they found.
//!
//! It is a machine like the shards: [`Poller::step`] takes the time, starts what is due, takes what
//! has come, and says when it wants to be called again. A run asks all its questions at once and
//! ends when the last of them has ended; what it has by then is handed on, with the reasons for
//! what is missing.

mod record;
mod schedule;

pub use record::{Record, RunOutcome};
pub use schedule::Schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trunkline_engine::time::{Time, WallTime};

use crate::client::{Client, Request};
use crate::completion::{Completion, Event, Inbox};
use crate::config::JobPlan;
use crate::error::SnmpError;
use crate::job::{Ask, Exchange, JobOptions};
use crate::target::{Priority, TargetId};
use crate::walk::{Method, WalkEnd, WalkSpec};

/// A target as the poller knows it.
#[derive(Clone, Debug)]
pub struct PolledTarget {
    /// Its name in the client.
    pub id: TargetId,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its address.
    pub address: Arc<str>,
    /// Its jobs, by number.
    pub jobs: Arc<[usize]>,
    /// Whether it is asked in v1, which has no GETBULK.
    pub v1: bool,
}

/// What the poller counts.
#[derive(Debug, Default)]
pub struct PollerStats {
    runs: [AtomicU64; 3],
    missed: AtomicU64,
    running: AtomicU64,
    slots: AtomicU64,
    late_ns: AtomicU64,
}

/// A reading of [`PollerStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollerFigures {
    /// Runs that had everything.
    pub complete: u64,
    /// Runs that miss something.
    pub partial: u64,
    /// Runs that had nothing.
    pub failed: u64,
    /// Runs that could not start in time.
    pub missed: u64,
    /// Runs under way.
    pub running: u64,
    /// Target and job pairs.
    pub slots: u64,
    /// How late the last batch of runs started, in nanoseconds.
    pub late_ns: u64,
}

impl PollerStats {
    /// The figures as they stand.
    pub fn read(&self) -> PollerFigures {
        let [complete, partial, failed] = &self.runs;
        PollerFigures {
            complete: complete.load(Ordering::Relaxed),
            partial: partial.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            slots: self.slots.load(Ordering::Relaxed),
            late_ns: self.late_ns.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug)]
struct Slot {
    target: u32,
    job: u32,
    run: Option<Box<Run>>,
}

/// A run under way.
#[derive(Debug)]
struct Run {
    started: Time,
    at: WallTime,
    open: u32,
    had: u32,
    rows: u64,
    pages: Vec<Box<[u8]>>,
    errors: Vec<String>,
}

/// The poller.
pub struct Poller {
    system: Arc<str>,
    client: Client,
    inbox: Arc<Inbox>,
    jobs: Vec<JobPlan>,
    targets: Vec<Arc<PolledTarget>>,
    slots: Vec<Slot>,
    schedule: Schedule,
    due: Vec<(usize, Time)>,
    arrived: Vec<Completion>,
    stats: Arc<PollerStats>,
    emit: Box<dyn FnMut(Record) + Send>,
    running: u64,
    missed_told: u64,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Poller({}: {} slots, {} running)",
            self.system,
            self.slots.len(),
            self.running
        )
    }
}

/// Errors that one record keeps; a run of a thousand questions fails in few ways.
const ERRORS_MAX: usize = 8;

impl Poller {
    /// A poller that counts in `stats` and hands what it finds to `emit`, starting at `now`.
    pub fn new(
        system: &str,
        client: Client,
        jobs: Vec<JobPlan>,
        targets: Vec<Arc<PolledTarget>>,
        stats: Arc<PollerStats>,
        emit: Box<dyn FnMut(Record) + Send>,
        now: Time,
    ) -> Self {
        let mut poller = Self {
            system: system.into(),
            client,
            inbox: Inbox::new(),
            jobs,
            targets: Vec::new(),
            slots: Vec::new(),
            schedule: Schedule::new(now),
            due: Vec::new(),
            arrived: Vec::new(),
            stats,
            emit,
            running: 0,
            missed_told: 0,
        };
        for target in targets {
            poller.add(target);
        }
        poller
    }

    /// Takes on one more target.
    pub fn add(&mut self, target: Arc<PolledTarget>) {
        let index = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        for job in target.jobs.iter() {
            let Some(plan) = self.jobs.get(*job) else {
                continue;
            };
            self.schedule.add(&target.name, &plan.name, plan.interval);
            let job = u32::try_from(*job).unwrap_or(u32::MAX);
            self.slots.push(Slot {
                target: index,
                job,
                run: None,
            });
        }
        self.targets.push(target);
        self.stats
            .slots
            .store(self.slots.len() as u64, Ordering::Relaxed);
    }

    /// Waits up to `patience` for an answer, on the thread that drives it.
    pub fn wait(&mut self, patience: Duration) {
        self.inbox.wait_all(patience, &mut self.arrived);
    }

    /// Runs under way.
    pub fn running(&self) -> u64 {
        self.running
    }

    /// Starts what is due and takes what has come. Returns when to call again at the latest.
    pub fn step(&mut self, now: Time, wall: WallTime) -> Option<Time> {
        self.take_arrivals(now);
        self.start_due(now, wall);
        let missed = self.schedule.missed();
        self.stats
            .missed
            .fetch_add(missed - self.missed_told, Ordering::Relaxed);
        self.missed_told = missed;
        self.stats.running.store(self.running, Ordering::Relaxed);
        self.schedule.next_wakeup()
    }

    /// Takes what has come without starting anything: the way to drain.
    pub fn take_arrivals(&mut self, now: Time) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.inbox.take_all(&mut arrived);
        for completion in arrived.drain(..) {
            self.arrival(now, completion);
        }
        self.arrived = arrived;
        self.stats.running.store(self.running, Ordering::Relaxed);
    }

    fn start_due(&mut self, now: Time, wall: WallTime) {
        let mut due = std::mem::take(&mut self.due);
        self.schedule.due(now, &mut due);
        if let Some((_, planned)) = due.first() {
            let late = now.saturating_since(*planned);
            let late_ns = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
            self.stats.late_ns.store(late_ns, Ordering::Relaxed);
        }
        let mut requests = Vec::new();
        for (number, _) in due.drain(..) {
            self.start(now, wall, number, &mut requests);
        }
        self.due = due;
        if !requests.is_empty() {
            self.client.submit_batch(requests, &self.inbox);
        }
    }

    fn start(&mut self, now: Time, at: WallTime, number: usize, requests: &mut Vec<Request>) {
        let slot = &mut self.slots[number];
        let (target, job) = (
            &self.targets[slot.target as usize],
            &self.jobs[slot.job as usize],
        );
        let deadline = now + job.deadline;
        let options = JobOptions {
            deadline,
            priority: Priority::Normal,
        };
        let before = requests.len();
        for ask in asks(job, target.v1) {
            requests.push(Request {
                target: target.id,
                ask,
                options,
                token: number as u64,
            });
        }
        let open = u32::try_from(requests.len() - before).unwrap_or(u32::MAX);
        slot.run = Some(Box::new(Run {
            started: now,
            at,
            open,
            had: 0,
            rows: 0,
            pages: Vec::new(),
            errors: Vec::new(),
        }));
        self.running += 1;
    }

    fn arrival(&mut self, now: Time, completion: Completion) {
        let number = usize::try_from(completion.token).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let Some(run) = &mut slot.run else { return };
        let max_rows = self.jobs[slot.job as usize].max_rows;
        if run.take(completion.event, max_rows) {
            run.open -= 1;
        }
        if run.open == 0 {
            self.finish(now, number);
        }
    }

    fn finish(&mut self, now: Time, number: usize) {
        let slot = &mut self.slots[number];
        let Some(run) = slot.run.take() else { return };
        let (target, job) = (
            &self.targets[slot.target as usize],
            &self.jobs[slot.job as usize],
        );
        let outcome = run.outcome();
        let record = Record {
            system: self.system.clone(),
            target: target.name.clone(),
            address: target.address.clone(),
            job: job.name.as_str().into(),
            at: run.at,
            took: now.saturating_since(run.started),
            outcome,
            errors: run.errors,
            pages: run.pages,
        };
        self.stats.runs[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.running -= 1;
        self.schedule.ended(number);
        (self.emit)(record);
    }
}

/// The questions of a job.
fn asks(job: &JobPlan, v1: bool) -> impl Iterator<Item = Ask> {
    let gets = job
        .gets
        .iter()
        .map(|varbinds| Ask::Exchange(Exchange::get(varbinds.clone())));
    let method = if v1 {
        Method::Next
    } else {
        Method::Bulk(job.max_repetitions)
    };
    let walks = job.walks.iter().map(move |root| {
        Ask::Walk(WalkSpec {
            max_rows: job.max_rows,
            ..WalkSpec::new(root.clone(), method)
        })
    });
    gets.chain(walks)
}

impl Run {
    /// Takes one event; true when it was the last of its question.
    fn take(&mut self, event: Event, max_rows: u64) -> bool {
        let last = event.is_last();
        match event {
            Event::Reply(reply) if reply.status == 0 => {
                self.had += 1;
                self.keep(reply.bytes, max_rows);
            }
            Event::Reply(reply) => {
                let name = reply
                    .error_status()
                    .map_or("an unknown status", |s| s.as_str());
                self.note(format!(
                    "the agent answered {name} (error index {})",
                    reply.index
                ));
            }
            Event::Page(reply, _) => self.keep(reply.bytes, max_rows),
            Event::End(WalkEnd::Complete { .. }) => self.had += 1,
            Event::End(WalkEnd::Partial { rows, reason }) => {
                self.had += 1;
                self.note(format!("the walk stopped after {rows} rows: {reason}"));
            }
            Event::End(WalkEnd::Failed(reason)) => self.note(reason.to_string()),
            Event::Failed(error) => self.fail(&error),
        }
        last
    }

    fn keep(&mut self, page: Box<[u8]>, max_rows: u64) {
        let rows = trunkline_wire_snmp::VarBinds::from_raw(&page).count() as u64;
        self.rows += rows;
        if self.rows > max_rows {
            self.note(format!(
                "more than max_rows = {max_rows} rows; the rest is left out"
            ));
        } else {
            self.pages.push(page);
        }
    }

    fn fail(&mut self, error: &SnmpError) {
        self.note(error.to_string());
    }

    fn note(&mut self, text: String) {
        if self.errors.len() < ERRORS_MAX && !self.errors.contains(&text) {
            self.errors.push(text);
        }
    }

    fn outcome(&self) -> RunOutcome {
        match (self.errors.is_empty(), self.had) {
            (true, _) => RunOutcome::Complete,
            (false, 0) if self.pages.is_empty() => RunOutcome::Failed,
            (false, _) => RunOutcome::Partial,
        }
    }
}
