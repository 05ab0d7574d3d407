//! Stopping in order, on time, and with a report of what was left.
//!
//! Running → Draining → Closing → Cleanup → Terminated. While draining, nothing new is taken
//! and what is in flight goes on; while closing, batches are flushed and what is still there is
//! ended with an outcome; cleanup saves state. The machine only decides: the awaiting half carries
//! out the [`Step`]s, tells how much is left ([`Occupancy`]) and when a hook has ended.
//!
//! - Deadlines are absolute. A phase ends *early*, at the first poll at which every part is empty
//!   and every hook of the phase has ended: an idle process stops at once.
//! - Each part (a system) has its own drain budget. At its end the part is told to end what it has
//!   left ([`Step::Overdue`]); the phase lasts as long as the longest budget.
//! - The force deadline is counted from the first signal and cuts every phase. When it passes, the
//!   machine terminates at once.
//! - A second signal forces: cleanup begins at once with no budget, its hooks get the one poll that
//!   they are started with, and the next poll terminates. A third, or one during cleanup,
//!   terminates.
//! - A hook that fails or does not end in time is recorded and never holds up more than its phase.
//!   A hook of a phase that was jumped over is recorded as skipped.
//!
//! The report says how long each phase really took, so a fixed sleep would show.

mod report;

pub use report::{Forced, HookOutcome, HookRecord, Leftover, Report};

use crate::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// The most parts, and the most hooks.
const ENTRIES_MAX: usize = 256;

/// Where the process is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Everything is served.
    Running,
    /// Nothing new is taken; what is in flight goes on.
    Draining,
    /// What is left is flushed or ended.
    Closing,
    /// State is saved.
    Cleanup,
    /// Over.
    Terminated,
}

impl Phase {
    /// The phases in which hooks may run and time is reported.
    pub const STOPPING: [Self; 3] = [Self::Draining, Self::Closing, Self::Cleanup];

    /// The phase's name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Cleanup => "cleanup",
            Self::Terminated => "terminated",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Running => Self::Draining,
            Self::Draining => Self::Closing,
            Self::Closing => Self::Cleanup,
            Self::Cleanup | Self::Terminated => Self::Terminated,
        }
    }
}

/// How long the phases may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Draining, for a part that has no budget of its own.
    pub drain: Duration,
    /// Closing.
    pub closing: Duration,
    /// Cleanup.
    pub cleanup: Duration,
    /// All together, from the first signal.
    pub force: Duration,
}

impl Default for Plan {
    /// 30 s, 10 s, 5 s; 60 s in all.
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            closing: Duration::from_secs(10),
            cleanup: Duration::from_secs(5),
            force: Duration::from_secs(60),
        }
    }
}

/// Why a part or a hook cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The shutdown has begun.
    #[error("the process is shutting down")]
    ShuttingDown,
    /// There are 256 already.
    #[error("there is no room for `{0}`: 256 are registered")]
    Full(String),
    /// Hooks belong to Draining, Closing or Cleanup.
    #[error("no hook can run in the phase {}", .0.as_str())]
    Phase(Phase),
}

/// One part of the process that holds work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(u16);

/// One thing to do in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookId(u16);

/// How much each part still holds. A part that is not mentioned is empty.
#[derive(Clone, Debug, Default)]
pub struct Occupancy {
    left: Vec<u64>,
}

impl Occupancy {
    /// Everything is empty.
    pub fn empty() -> Self {
        Self::default()
    }

    /// `part` holds `left` units of work: in flight while draining, to be flushed or ended while
    /// closing.
    pub fn set(&mut self, part: PartId, left: u64) -> &mut Self {
        let index = usize::from(part.0);
        if self.left.len() <= index {
            self.left.resize(index + 1, 0);
        }
        self.left[index] = left;
        self
    }

    /// What `part` holds.
    pub fn left(&self, part: PartId) -> u64 {
        self.left.get(usize::from(part.0)).copied().unwrap_or(0)
    }
}

/// What the awaiting half has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A phase has begun; what it starts must be over at the deadline. With
    /// [`Phase::Terminated`] nothing more follows.
    Enter {
        /// The phase.
        phase: Phase,
        /// Its end; not later than the force deadline.
        deadline: Time,
    },
    /// Start a hook, and report its end with [`Shutdown::hook_ended`].
    Run {
        /// Which.
        hook: HookId,
        /// Its name.
        name: Arc<str>,
        /// When it must be over.
        deadline: Time,
    },
    /// The part's own drain budget is over: what it has left must end with an outcome now.
    Overdue {
        /// Which.
        part: PartId,
        /// Its name.
        name: Arc<str>,
        /// How much it has left.
        left: u64,
    },
}

#[derive(Clone, Debug)]
struct Part {
    name: Arc<str>,
    drain: Option<Duration>,
    removed: bool,
    told_overdue: bool,
}

#[derive(Clone, Debug)]
struct Hook {
    name: Arc<str>,
    phase: Phase,
    started: Option<Time>,
    ended: Option<(Time, HookOutcome)>,
}

/// The machine. See the module's words.
#[derive(Clone, Debug)]
pub struct Shutdown {
    plan: Plan,
    parts: Vec<Part>,
    hooks: Vec<Hook>,
    phase: Phase,
    /// When each of the phases began that have begun; `entered[0]` is the first signal.
    entered: [Option<Time>; 4],
    deadline: Time,
    forced: Option<Forced>,
    leftovers: Vec<Leftover>,
    /// What the last poll saw, for an end that comes with a signal.
    seen: Occupancy,
}

impl Shutdown {
    /// A running process.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            parts: Vec::new(),
            hooks: Vec::new(),
            phase: Phase::Running,
            entered: [None; 4],
            deadline: Time::MAX,
            forced: None,
            leftovers: Vec::new(),
            seen: Occupancy::empty(),
        }
    }

    /// Adds a part that holds work; `drain` is its own budget, else the plan's.
    ///
    /// # Errors
    /// The shutdown has begun, or there are too many.
    pub fn add_part(&mut self, name: &str, drain: Option<Duration>) -> Result<PartId, AddError> {
        self.may_add()?;
        let part = Part {
            name: name.into(),
            drain,
            removed: false,
            told_overdue: false,
        };
        let index = self.parts.iter().position(|part| part.removed);
        let index = index.unwrap_or(self.parts.len());
        let id = small(index).ok_or_else(|| AddError::Full(name.to_owned()))?;
        match self.parts.get_mut(index) {
            Some(place) => *place = part,
            None => self.parts.push(part),
        }
        Ok(PartId(id))
    }

    /// Takes a part out (a system that a reload removed); it counts as empty from now on.
    pub fn remove_part(&mut self, part: PartId) {
        if let Some(part) = self.parts.get_mut(usize::from(part.0)) {
            part.removed = true;
        }
    }

    /// Adds a hook that runs once when `phase` begins.
    ///
    /// # Errors
    /// The shutdown has begun, there are too many, or the phase takes no hooks.
    pub fn add_hook(&mut self, name: &str, phase: Phase) -> Result<HookId, AddError> {
        self.may_add()?;
        if !Phase::STOPPING.contains(&phase) {
            return Err(AddError::Phase(phase));
        }
        let id = small(self.hooks.len()).ok_or_else(|| AddError::Full(name.to_owned()))?;
        self.hooks.push(Hook {
            name: name.into(),
            phase,
            started: None,
            ended: None,
        });
        Ok(HookId(id))
    }

    /// A request to stop (a signal, an operation). The first begins draining, later ones force.
    pub fn signal(&mut self, now: Time) -> Vec<Step> {
        let mut steps = Vec::new();
        match self.phase {
            Phase::Running => self.enter(Phase::Draining, now, &mut steps),
            Phase::Draining | Phase::Closing => {
                self.forced.get_or_insert(Forced::Signal);
                self.end_hooks(now);
                self.enter(Phase::Cleanup, now, &mut steps);
            }
            Phase::Cleanup => {
                let seen = std::mem::take(&mut self.seen);
                self.leave(now, &seen);
                self.forced.get_or_insert(Forced::Signal);
                self.enter(Phase::Terminated, now, &mut steps);
            }
            Phase::Terminated => {}
        }
        steps
    }

    /// Notes that a hook has ended; late and repeated notes are ignored.
    pub fn hook_ended(&mut self, now: Time, hook: HookId, result: Result<(), String>) {
        if let Some(hook) = self.hooks.get_mut(usize::from(hook.0))
            && hook.started.is_some()
            && hook.ended.is_none()
        {
            let outcome = result.map_or_else(HookOutcome::Failed, |()| HookOutcome::Done);
            hook.ended = Some((now, outcome));
        }
    }

    /// Moves on as far as time and occupancy allow. To be called when something has become empty,
    /// when a hook has ended, and at [`Self::next_wakeup`].
    pub fn poll(&mut self, now: Time, occupancy: &Occupancy) -> Vec<Step> {
        let mut steps = Vec::new();
        self.seen.clone_from(occupancy);
        while self.is_stopping() {
            if now >= self.force_at() {
                self.forced.get_or_insert(Forced::Deadline);
                self.leave(now, occupancy);
                self.enter(Phase::Terminated, now, &mut steps);
            } else if now >= self.deadline || self.is_empty(occupancy) {
                self.leave(now, occupancy);
                self.enter(self.phase.next(), now, &mut steps);
                // What the new phase starts must be looked at before it can be called over.
                if steps.iter().any(|step| matches!(step, Step::Run { .. })) {
                    break;
                }
            } else {
                self.tell_overdue(now, occupancy, &mut steps);
                break;
            }
        }
        steps
    }

    /// When [`Self::poll`] must be called at the latest.
    pub fn next_wakeup(&self) -> Option<Time> {
        if !self.is_stopping() {
            return None;
        }
        let ends = self
            .parts
            .iter()
            .filter(|part| !part.removed && !part.told_overdue);
        let overdue = ends
            .filter(|_| self.phase == Phase::Draining)
            .map(|part| self.drain_end(part))
            .min();
        Some(
            self.deadline
                .min(self.force_at())
                .min(overdue.unwrap_or(Time::MAX)),
        )
    }

    /// Where the process is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether new work may be taken.
    pub fn is_accepting(&self) -> bool {
        self.phase == Phase::Running
    }

    /// When the present phase ends at the latest; `None` while running and at the end.
    pub fn deadline(&self) -> Option<Time> {
        self.is_stopping().then_some(self.deadline)
    }

    /// How it went; `None` before the end.
    pub fn report(&self) -> Option<Report> {
        let ended = self.entered[3].filter(|_| self.phase == Phase::Terminated)?;
        let begun = self.entered[0]?;
        let took = |index: usize| {
            let begin = self.entered[index]?;
            let end = self.entered[index + 1..]
                .iter()
                .find_map(|entered| *entered)?;
            Some(end.saturating_since(begin))
        };
        let mut hooks: Vec<_> = self.hooks.iter().map(Hook::record).collect();
        hooks.sort_by_key(|hook| hook.phase);
        let phase = |index| (Phase::STOPPING[index], took(index).unwrap_or_default());
        Some(Report {
            total: ended.saturating_since(begun),
            phases: std::array::from_fn(phase),
            forced: self.forced,
            hooks,
            leftovers: self.leftovers.clone(),
        })
    }

    fn may_add(&self) -> Result<(), AddError> {
        if self.is_accepting() {
            Ok(())
        } else {
            Err(AddError::ShuttingDown)
        }
    }

    fn is_stopping(&self) -> bool {
        Phase::STOPPING.contains(&self.phase)
    }

    fn force_at(&self) -> Time {
        self.entered[0].map_or(Time::MAX, |begun| begun + self.plan.force)
    }

    fn drain_end(&self, part: &Part) -> Time {
        let begun = self.entered[0].unwrap_or(Time::MAX);
        begun + part.drain.unwrap_or(self.plan.drain)
    }

    fn is_empty(&self, occupancy: &Occupancy) -> bool {
        let hooks_over = self
            .hooks
            .iter()
            .all(|hook| hook.phase != self.phase || hook.is_over());
        // Cleanup has hooks only: whatever a part still holds was left when closing ended.
        hooks_over && (self.phase == Phase::Cleanup || self.held(occupancy).next().is_none())
    }

    /// The parts that hold something.
    fn held<'a>(&'a self, occupancy: &'a Occupancy) -> impl Iterator<Item = (PartId, u64)> + 'a {
        let parts = (0u16..).zip(&self.parts).filter(|(_, part)| !part.removed);
        let left = parts.map(|(index, _)| (PartId(index), occupancy.left(PartId(index))));
        left.filter(|(_, left)| *left > 0)
    }

    fn enter(&mut self, phase: Phase, now: Time, steps: &mut Vec<Step>) {
        self.phase = phase;
        if let Some(place) = phase_index(phase).and_then(|index| self.entered.get_mut(index)) {
            *place = Some(now);
        }
        let by_signal = self.forced == Some(Forced::Signal);
        let deadline = match phase {
            Phase::Draining => self.parts_end(now),
            Phase::Closing => now + self.plan.closing,
            Phase::Cleanup if !by_signal => now + self.plan.cleanup,
            Phase::Running | Phase::Cleanup | Phase::Terminated => now,
        };
        self.deadline = deadline.min(self.force_at());
        let deadline = self.deadline;
        steps.push(Step::Enter { phase, deadline });
        if phase == Phase::Terminated {
            self.end_hooks(now);
        }
        for (index, hook) in (0u16..)
            .zip(&mut self.hooks)
            .filter(|(_, h)| h.phase == phase)
        {
            hook.started = Some(now);
            steps.push(Step::Run {
                hook: HookId(index),
                name: Arc::clone(&hook.name),
                deadline,
            });
        }
    }

    /// The end of the longest drain budget; the plan's when there is no part, for the hooks.
    fn parts_end(&self, now: Time) -> Time {
        let parts = self.parts.iter().filter(|part| !part.removed);
        parts
            .map(|part| self.drain_end(part))
            .max()
            .unwrap_or(now + self.plan.drain)
    }

    /// Closes the books of the present phase.
    fn leave(&mut self, now: Time, occupancy: &Occupancy) {
        let phase = self.phase;
        let left: Vec<_> = self.held(occupancy).collect();
        for (part, left) in left {
            let part = &self.parts[usize::from(part.0)];
            let said = match phase {
                Phase::Draining => part.told_overdue,
                // What closing left is what cleanup leaves, unless a signal cut closing short.
                Phase::Cleanup => self.forced != Some(Forced::Signal),
                _ => false,
            };
            if !said {
                let part = Arc::clone(&part.name);
                self.leftovers.push(Leftover { part, phase, left });
            }
        }
        for hook in self.hooks.iter_mut().filter(|hook| hook.phase == phase) {
            hook.end(now);
        }
    }

    /// Ends all hooks that have not ended, of jumped phases too, except those yet to come.
    fn end_hooks(&mut self, now: Time) {
        let over = self.phase == Phase::Terminated;
        for hook in self
            .hooks
            .iter_mut()
            .filter(|h| over || h.phase < Phase::Cleanup)
        {
            hook.end(now);
        }
    }

    fn tell_overdue(&mut self, now: Time, occupancy: &Occupancy, steps: &mut Vec<Step>) {
        if self.phase != Phase::Draining {
            return;
        }
        for index in 0..self.parts.len() {
            let part = &self.parts[index];
            if part.removed || part.told_overdue || now < self.drain_end(part) {
                continue;
            }
            self.parts[index].told_overdue = true;
            let Some(id) = small(index).map(PartId) else {
                continue;
            };
            let left = occupancy.left(id);
            if left > 0 {
                let name = Arc::clone(&self.parts[index].name);
                let (part, phase) = (Arc::clone(&name), self.phase);
                self.leftovers.push(Leftover { part, phase, left });
                steps.push(Step::Overdue {
                    part: id,
                    name,
                    left,
                });
            }
        }
    }
}

impl Hook {
    fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    fn end(&mut self, now: Time) {
        if self.ended.is_none() {
            let outcome = match self.started {
                Some(_) => HookOutcome::TimedOut,
                None => HookOutcome::Skipped,
            };
            self.ended = Some((now, outcome));
        }
    }

    fn record(&self) -> HookRecord {
        let took = match (self.started, &self.ended) {
            (Some(started), Some((ended, _))) => ended.saturating_since(started),
            _ => Duration::ZERO,
        };
        let outcome = self
            .ended
            .as_ref()
            .map_or(HookOutcome::Skipped, |(_, o)| o.clone());
        HookRecord {
            name: Arc::clone(&self.name),
            phase: self.phase,
            outcome,
            took,
        }
    }
}

fn phase_index(phase: Phase) -> Option<usize> {
    match phase {
        Phase::Running => None,
        Phase::Draining => Some(0),
        Phase::Closing => Some(1),
        Phase::Cleanup => Some(2),
        Phase::Terminated => Some(3),
    }
}

/// An index below the bound.
fn small(index: usize) -> Option<u16> {
    u16::try_from(index).ok().filter(|_| index < ENTRIES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn names(steps: &[Step]) -> Vec<String> {
        let name = |step: &Step| match step {
            Step::Enter { phase, deadline } => {
                format!("{} {}", phase.as_str(), deadline.as_millis())
            }
            Step::Run { name, deadline, .. } => format!("run {name} {}", deadline.as_millis()),
            Step::Overdue { name, left, .. } => format!("overdue {name} {left}"),
        };
        steps.iter().map(name).collect()
    }

    fn holding(part: PartId, left: u64) -> Occupancy {
        let mut occupancy = Occupancy::empty();
        occupancy.set(part, left);
        occupancy
    }

    #[test]
    fn an_idle_process_stops_at_once() {
        let mut machine = Shutdown::new(Plan::default());
        machine.add_part("snmp.core", None).unwrap();
        assert!(machine.is_accepting() && machine.next_wakeup().is_none());
        assert_eq!(names(&machine.signal(at(100))), ["draining 30100"]);
        assert!(!machine.is_accepting());
        let steps = machine.poll(at(100), &Occupancy::empty());
        assert_eq!(
            names(&steps),
            ["closing 10100", "cleanup 5100", "terminated 100"]
        );
        let report = machine.report().unwrap();
        assert_eq!((report.total, report.is_clean()), (Duration::ZERO, true));
        assert_eq!(machine.next_wakeup(), None);
        assert!(machine.signal(at(200)).is_empty());
    }

    #[test]
    fn each_phase_ends_when_it_is_empty() {
        let mut machine = Shutdown::new(Plan::default());
        let part = machine.add_part("snmp.core", None).unwrap();
        machine.signal(at(0));
        assert!(machine.poll(at(400), &holding(part, 3)).is_empty());
        assert_eq!(
            names(&machine.poll(at(500), &Occupancy::empty()))[0],
            "closing 10500"
        );
        let mut machine = Shutdown::new(Plan::default());
        let part = machine.add_part("snmp.core", None).unwrap();
        let flush = machine.add_hook("flush", Phase::Closing).unwrap();
        let save = machine.add_hook("save", Phase::Cleanup).unwrap();
        machine.signal(at(0));
        let steps = machine.poll(at(500), &Occupancy::empty());
        assert_eq!(names(&steps), ["closing 10500", "run flush 10500"]);
        assert!(
            machine.poll(at(600), &Occupancy::empty()).is_empty(),
            "the hook runs"
        );
        machine.hook_ended(at(700), flush, Ok(()));
        assert!(
            machine.poll(at(700), &holding(part, 1)).is_empty(),
            "a batch is left"
        );
        let steps = machine.poll(at(800), &Occupancy::empty());
        assert_eq!(names(&steps), ["cleanup 5800", "run save 5800"]);
        machine.hook_ended(at(900), save, Err("disk full".into()));
        assert_eq!(
            names(&machine.poll(at(900), &Occupancy::empty())),
            ["terminated 900"]
        );
        let report = machine.report().unwrap();
        let millis = report.phases.map(|(_, took)| took.as_millis());
        assert_eq!((millis, report.total.as_millis()), ([500, 300, 100], 900));
        let hooks: Vec<_> = report
            .hooks
            .iter()
            .map(|h| (&*h.name, h.took.as_millis()))
            .collect();
        assert_eq!(hooks, [("flush", 200), ("save", 100)]);
        assert_eq!(
            report.hooks[1].outcome,
            HookOutcome::Failed("disk full".into())
        );
        assert!(!report.is_clean());
    }

    #[test]
    fn the_longest_budget_sets_the_drain_and_each_part_is_told_at_its_own_end() {
        let mut machine = Shutdown::new(Plan::default());
        let quick = machine
            .add_part("tap", Some(Duration::from_secs(2)))
            .unwrap();
        let slow = machine
            .add_part("workers", Some(Duration::from_secs(40)))
            .unwrap();
        assert_eq!(names(&machine.signal(at(0))), ["draining 40000"]);
        let mut occupancy = holding(quick, 5);
        occupancy.set(slow, 7);
        assert_eq!(machine.next_wakeup(), Some(at(2_000)));
        assert!(machine.poll(at(1_999), &occupancy).is_empty());
        assert_eq!(
            names(&machine.poll(at(2_000), &occupancy)),
            ["overdue tap 5"]
        );
        assert!(machine.poll(at(2_001), &occupancy).is_empty(), "told once");
        assert_eq!(machine.next_wakeup(), Some(at(40_000)));
        let steps = machine.poll(at(40_000), &occupancy);
        assert_eq!(names(&steps), ["closing 50000"]);
        let left: Vec<_> = machine
            .leftovers
            .iter()
            .map(|l| (&*l.part, l.left))
            .collect();
        assert_eq!(left, [("tap", 5), ("workers", 7)]);
    }

    #[test]
    fn deadlines_end_the_phases_and_leftovers_are_named() {
        let mut machine = Shutdown::new(Plan::default());
        let part = machine.add_part("snmp.core", None).unwrap();
        machine.add_hook("tell peers", Phase::Draining).unwrap();
        machine.add_hook("save", Phase::Cleanup).unwrap();
        machine.signal(at(0));
        let stuck = holding(part, 2);
        let mut seen = Vec::new();
        while let Some(wakeup) = machine.next_wakeup() {
            seen.extend(names(&machine.poll(wakeup, &stuck)));
        }
        let expected = [
            "closing 40000",
            "cleanup 45000",
            "run save 45000",
            "terminated 45000",
        ];
        assert_eq!(seen, expected);
        let report = machine.report().unwrap();
        assert_eq!((report.total.as_secs(), report.forced), (45, None));
        let left: Vec<_> = report.leftovers.iter().map(|l| (l.phase, l.left)).collect();
        assert_eq!(left, [(Phase::Draining, 2), (Phase::Closing, 2)]);
        assert!(
            report
                .hooks
                .iter()
                .all(|hook| hook.outcome == HookOutcome::TimedOut)
        );
    }

    #[test]
    fn the_force_deadline_counts_from_the_first_signal() {
        let plan = Plan {
            force: Duration::from_secs(32),
            ..Plan::default()
        };
        let mut machine = Shutdown::new(plan);
        let part = machine.add_part("snmp.core", None).unwrap();
        machine.add_hook("save", Phase::Cleanup).unwrap();
        machine.signal(at(0));
        let stuck = holding(part, 1);
        assert_eq!(names(&machine.poll(at(30_000), &stuck)), ["closing 32000"]);
        assert_eq!(machine.deadline(), Some(at(32_000)));
        assert_eq!(
            names(&machine.poll(at(32_000), &stuck)),
            ["terminated 32000"]
        );
        let report = machine.report().unwrap();
        assert_eq!(
            (report.forced, report.total.as_secs()),
            (Some(Forced::Deadline), 32)
        );
        assert_eq!(report.hooks[0].outcome, HookOutcome::Skipped);
    }

    #[test]
    fn a_second_signal_jumps_to_cleanup_with_no_budget() {
        let mut machine = Shutdown::new(Plan::default());
        let part = machine.add_part("snmp.core", None).unwrap();
        machine.add_hook("tell peers", Phase::Draining).unwrap();
        machine.add_hook("flush", Phase::Closing).unwrap();
        let save = machine.add_hook("save", Phase::Cleanup).unwrap();
        machine.add_hook("slow save", Phase::Cleanup).unwrap();
        machine.signal(at(0));
        let steps = machine.signal(at(100));
        assert_eq!(
            names(&steps),
            ["cleanup 100", "run save 100", "run slow save 100"]
        );
        assert_eq!(machine.next_wakeup(), Some(at(100)));
        machine.hook_ended(at(100), save, Ok(()));
        assert_eq!(
            names(&machine.poll(at(100), &holding(part, 9))),
            ["terminated 100"]
        );
        let report = machine.report().unwrap();
        assert_eq!(
            (report.forced, report.leftovers[0].left),
            (Some(Forced::Signal), 9)
        );
        let outcomes: Vec<_> = report
            .hooks
            .iter()
            .map(|hook| hook.outcome.clone())
            .collect();
        use HookOutcome::{Done, Skipped, TimedOut};
        assert_eq!(outcomes, [TimedOut, Skipped, Done, TimedOut]);
    }

    #[test]
    fn a_third_signal_ends_it() {
        let mut machine = Shutdown::new(Plan::default());
        machine.add_hook("save", Phase::Cleanup).unwrap();
        machine.signal(at(0));
        machine.signal(at(1));
        assert_eq!(names(&machine.signal(at(2))), ["terminated 2"]);
        assert_eq!(
            machine.report().unwrap().hooks[0].outcome,
            HookOutcome::TimedOut
        );
    }

    #[test]
    fn late_hooks_change_nothing() {
        let mut machine = Shutdown::new(Plan::default());
        let save = machine.add_hook("save", Phase::Cleanup).unwrap();
        machine.hook_ended(at(0), save, Ok(()));
        machine.signal(at(0));
        machine.poll(at(0), &Occupancy::empty());
        assert_eq!(
            machine.phase(),
            Phase::Cleanup,
            "a hook that did not start cannot be over"
        );
        machine.poll(at(5_000), &Occupancy::empty());
        machine.hook_ended(at(5_001), save, Ok(()));
        assert_eq!(
            machine.report().unwrap().hooks[0].outcome,
            HookOutcome::TimedOut
        );
    }

    #[test]
    fn registration_is_bounded_and_closed_by_the_signal() {
        let mut machine = Shutdown::new(Plan::default());
        assert_eq!(
            machine.add_hook("x", Phase::Running).unwrap_err(),
            AddError::Phase(Phase::Running)
        );
        let first = machine.add_part("first", None).unwrap();
        (1..ENTRIES_MAX).for_each(|_| assert!(machine.add_part("more", None).is_ok()));
        assert!(matches!(
            machine.add_part("too many", None),
            Err(AddError::Full(_))
        ));
        machine.remove_part(first);
        assert_eq!(
            machine.add_part("again", None).unwrap(),
            first,
            "the place is free"
        );
        machine.signal(at(0));
        assert_eq!(
            machine.add_part("late", None).unwrap_err(),
            AddError::ShuttingDown
        );
        assert_eq!(
            machine.add_hook("late", Phase::Cleanup).unwrap_err(),
            AddError::ShuttingDown
        );
    }

    #[test]
    fn a_removed_part_holds_nothing_up() {
        let mut machine = Shutdown::new(Plan::default());
        let gone = machine
            .add_part("gone", Some(Duration::from_secs(50)))
            .unwrap();
        machine.add_part("here", None).unwrap();
        machine.remove_part(gone);
        assert_eq!(names(&machine.signal(at(0))), ["draining 30000"]);
        machine.poll(at(1), &holding(gone, 3));
        assert_eq!(machine.phase(), Phase::Terminated);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 256, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn whatever_happens_it_ends_by_the_force_deadline_and_the_phases_add_up(
            budgets in proptest::collection::vec(0u64..90_000, 0..4),
            events in proptest::collection::vec((0u64..20_000, 0u8..8, 0u64..3), 0..40),
        ) {
            let mut machine = Shutdown::new(Plan::default());
            let parts: Vec<_> = budgets.iter()
                .map(|ms| machine.add_part("p", Some(Duration::from_millis(*ms))).unwrap())
                .collect();
            let hooks: Vec<_> = Phase::STOPPING.iter()
                .map(|phase| machine.add_hook("h", *phase).unwrap())
                .collect();
            let mut now = 0;
            let mut phase = machine.phase();
            machine.signal(at(now));
            for (wait, kind, left) in events {
                let wakeup = machine.next_wakeup().map_or(u64::MAX, Time::as_millis);
                now = (now + wait).min(wakeup.max(now));
                let mut occupancy = Occupancy::empty();
                parts.iter().for_each(|part| { occupancy.set(*part, left); });
                match kind {
                    0 => drop(machine.signal(at(now))),
                    1..=3 => {
                        let hook = hooks[usize::from(kind) - 1];
                        machine.hook_ended(at(now), hook, Ok(()));
                    }
                    _ => drop(machine.poll(at(now), &occupancy)),
                }
                prop_assert!(machine.phase() >= phase, "phases never go back");
                phase = machine.phase();
            }
            let mut turns = 0;
            let mut stuck = Occupancy::empty();
            parts.iter().for_each(|part| { stuck.set(*part, 1); });
            while let Some(wakeup) = machine.next_wakeup() {
                now = now.max(wakeup.as_millis());
                machine.poll(at(now), &stuck);
                turns += 1;
                prop_assert!(turns < 20, "the wake-ups lead to the end");
            }
            let report = machine.report().unwrap();
            prop_assert!(report.total <= Plan::default().force);
            let sum: Duration = report.phases.iter().map(|(_, took)| *took).sum();
            prop_assert_eq!(sum, report.total);
        }
    }
}
