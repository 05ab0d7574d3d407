//! Is the process alive, is it ready, and why not, in words.
//!
//! *Live* means that the loops turn: each component with a bound notes every turn (one relaxed
//! store), and is dead when the last turn is longer ago than the bound. A loop that sleeps longer
//! on purpose says until when. *Ready* means that the component can do its work for others; it
//! says so itself, with its reasons. A new component is live and not ready.
//!
//! Asking never waits for a component: everything is read from atomics and short locks, nobody is
//! called but the custom checks, which must answer at once (a panicking check counts as failed).
//! The machine's own readings (CPU, memory, disk) are numbers that the caller brings.
//!
//! The process is live when every component is; it is ready when it is live and every required
//! component, check and resource is. What is merely degraded is said and does not turn traffic
//! away: a reading above its first threshold, an optional component that is not ready.

use crate::text::cut;
use crate::time::Time;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most components and checks together.
const ENTRIES_MAX: usize = 1024;
/// The most reasons that one component gives.
const REASONS_MAX: usize = 16;
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// Whether a component that is not ready makes the process so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it the process is not ready.
    Required,
    /// Without it the process is degraded.
    Optional,
}

/// What a custom check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Good,
    /// It works, but.
    Degraded(String),
    /// Not ready, because.
    Failed(String),
}

/// Why a component or check cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// The name is in use.
    #[error("`{0}` is registered already")]
    Taken(String),
    /// There is no more room.
    #[error("there is no room for `{0}`: {ENTRIES_MAX} components and checks are registered")]
    Full(String),
}

/// From which fraction in use on a resource is called scarce.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Degraded from here on; above 1 is never.
    pub degraded: f64,
    /// Not ready from here on; above 1 is never.
    pub failed: f64,
}

/// The thresholds of the machine's readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResourceLimits {
    /// Of all cores that the process may use.
    pub cpu: Threshold,
    /// Of the memory that the process may use.
    pub memory: Threshold,
    /// Of the file system that holds the state directory.
    pub disk: Threshold,
}

impl Default for ResourceLimits {
    /// CPU 0.9 and never, memory 0.85 and 0.97, disk 0.85 and 0.98. A busy CPU never turns
    /// traffic away by default: that would move the load to the next process, which fails next.
    fn default() -> Self {
        let threshold = |degraded, failed| Threshold { degraded, failed };
        Self {
            cpu: threshold(0.9, f64::INFINITY),
            memory: threshold(0.85, 0.97),
            disk: threshold(0.85, 0.98),
        }
    }
}

/// The fractions in use, 0 to 1; `None` where the reading could not be made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Of all cores that the process may use.
    pub cpu: Option<f64>,
    /// Of the memory that the process may use.
    pub memory: Option<f64>,
    /// Of the file system that holds the state directory.
    pub disk: Option<f64>,
}

/// How the whole is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Live, ready, no complaints.
    Good,
    /// Live and ready, with complaints.
    Degraded,
    /// Live, not ready.
    Unready,
    /// A loop does not turn.
    Dead,
}

impl Status {
    /// One word in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Degraded => "degraded",
            Self::Unready => "unready",
            Self::Dead => "dead",
        }
    }
}

/// One component, check or resource in a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentReport {
    /// Its name, for example `snmp.core/shard-0`; resources are `cpu`, `memory`, `disk`.
    pub name: String,
    /// Whether its loop turns; true for what has none.
    pub live: bool,
    /// Whether it can do its work.
    pub ready: bool,
    /// Whether the process needs it.
    pub need: Need,
    /// What is wrong or unusual, in words.
    pub reasons: Vec<String>,
    /// How long ago its loop turned last.
    pub last_turn: Option<Duration>,
}

impl ComponentReport {
    /// How it is by itself.
    pub fn status(&self) -> Status {
        match (self.live, self.ready, self.need) {
            (false, _, _) => Status::Dead,
            (true, false, Need::Required) => Status::Unready,
            (true, false, Need::Optional) => Status::Degraded,
            (true, true, _) if self.reasons.is_empty() => Status::Good,
            (true, true, _) => Status::Degraded,
        }
    }
}

/// How the whole is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The worst of all.
    pub status: Status,
    /// Components by name, then checks by name, then resources.
    pub components: Vec<ComponentReport>,
}

impl Report {
    /// Whether all loops turn.
    pub fn is_live(&self) -> bool {
        self.status < Status::Dead
    }

    /// Whether traffic should come here.
    pub fn is_ready(&self) -> bool {
        self.status < Status::Unready
    }

    /// All reasons with the name of what they are about, the worst first.
    pub fn reasons(&self) -> Vec<String> {
        let mut worst: Vec<_> = self.components.iter().collect();
        worst.sort_by_key(|component| std::cmp::Reverse(component.status()));
        let named = |c: &ComponentReport| {
            let name = c.name.clone();
            c.reasons
                .clone()
                .into_iter()
                .map(move |reason| format!("{name}: {reason}"))
        };
        worst.into_iter().flat_map(named).collect()
    }
}

type Check = Arc<dyn Fn(Time) -> Verdict + Send + Sync>;

/// What the process knows about itself. Clones are the same.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

struct Shared {
    limits: ResourceLimits,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    components: BTreeMap<String, Arc<State>>,
    checks: BTreeMap<String, Check>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.shared.lock();
        f.debug_struct("Health")
            .field("components", &entries.components.keys())
            .field("checks", &entries.checks.keys())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    need: Need,
    bound: Option<Duration>,
    turned: AtomicU64,
    /// Until when the loop may sleep, when that is later than its last turn.
    asleep_until: AtomicU64,
    readiness: Mutex<Readiness>,
}

#[derive(Debug)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

impl Health {
    /// Nothing is registered.
    pub fn new(limits: ResourceLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits,
                entries: Mutex::default(),
            }),
        }
    }

    /// Registers a component; it leaves when the handle is dropped. With a `bound` its loop must
    /// turn at least so often, counted from `now`.
    ///
    /// # Errors
    /// The name is in use, or there is no room.
    pub fn component(
        &self,
        name: &str,
        need: Need,
        bound: Option<Duration>,
        now: Time,
    ) -> Result<Component, HealthError> {
        let mut entries = self.shared.lock();
        entries.admit(name)?;
        let state = Arc::new(State {
            need,
            bound,
            turned: AtomicU64::new(now.as_nanos()),
            asleep_until: AtomicU64::new(0),
            readiness: Mutex::new(Readiness {
                ready: false,
                reasons: vec!["starting".into()],
            }),
        });
        entries
            .components
            .insert(name.to_owned(), Arc::clone(&state));
        drop(entries);
        Ok(Component {
            name: name.to_owned(),
            shared: Arc::clone(&self.shared),
            state,
        })
    }

    /// Registers a check that is called at every report and must answer at once; it leaves when
    /// the handle is dropped.
    ///
    /// # Errors
    /// The name is in use, or there is no room.
    pub fn check(
        &self,
        name: &str,
        check: impl Fn(Time) -> Verdict + Send + Sync + 'static,
    ) -> Result<CheckHandle, HealthError> {
        let mut entries = self.shared.lock();
        entries.admit(name)?;
        entries.checks.insert(name.to_owned(), Arc::new(check));
        drop(entries);
        Ok(CheckHandle {
            name: name.to_owned(),
            shared: Arc::clone(&self.shared),
        })
    }

    /// How everything is at `now`, with the machine's readings.
    pub fn report(&self, now: Time, resources: &Resources) -> Report {
        let entries = self.shared.lock();
        let states = entries.components.iter();
        let mut components: Vec<_> = states
            .map(|(name, state)| state.report(name, now))
            .collect();
        let checks: Vec<_> = entries
            .checks
            .iter()
            .map(|(name, check)| (name.clone(), Arc::clone(check)))
            .collect();
        // A check may register or drop something, so it runs outside of the lock.
        drop(entries);
        components.extend(
            checks
                .into_iter()
                .map(|(name, check)| run_check(name, &check, now)),
        );
        let limits = &self.shared.limits;
        for (name, used, limit) in [
            ("cpu", resources.cpu, limits.cpu),
            ("memory", resources.memory, limits.memory),
            ("disk", resources.disk, limits.disk),
        ] {
            components.extend(used.map(|used| judge_resource(name, used, limit)));
        }
        let worst = components.iter().map(ComponentReport::status).max();
        Report {
            status: worst.unwrap_or(Status::Good),
            components,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // No code of others runs under the lock, so a poisoned one is still whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn admit(&self, name: &str) -> Result<(), HealthError> {
        if self.components.contains_key(name) || self.checks.contains_key(name) {
            return Err(HealthError::Taken(name.to_owned()));
        }
        if self.components.len() + self.checks.len() >= ENTRIES_MAX {
            return Err(HealthError::Full(name.to_owned()));
        }
        Ok(())
    }
}

/// A registered component; what holds it tells how it is.
pub struct Component {
    name: String,
    shared: Arc<Shared>,
    state: Arc<State>,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Component").field(&self.name).finish()
    }
}

impl Component {
    /// The loop has turned. One relaxed store.
    #[inline]
    pub fn turn(&self, now: Time) {
        self.state.turned.store(now.as_nanos(), Relaxed);
    }

    /// The loop has turned and sleeps until `until` at the latest: its bound counts from there.
    #[inline]
    pub fn turn_and_sleep(&self, now: Time, until: Time) {
        self.turn(now);
        self.state.asleep_until.store(until.as_nanos(), Relaxed);
    }

    /// It can do its work.
    pub fn set_ready(&self) {
        self.set(true, Vec::new());
    }

    /// It can do its work, but.
    pub fn set_degraded(&self, reasons: impl IntoIterator<Item = impl AsRef<str>>) {
        self.set(true, bounded(reasons));
    }

    /// It cannot do its work, because.
    pub fn set_unready(&self, reasons: impl IntoIterator<Item = impl AsRef<str>>) {
        self.set(false, bounded(reasons));
    }

    fn set(&self, ready: bool, reasons: Vec<String>) {
        *self.state.lock() = Readiness { ready, reasons };
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.shared.lock().components.remove(&self.name);
    }
}

/// Keeps a check registered.
pub struct CheckHandle {
    name: String,
    shared: Arc<Shared>,
}

impl fmt::Debug for CheckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CheckHandle").field(&self.name).finish()
    }
}

impl Drop for CheckHandle {
    fn drop(&mut self) {
        let check = self.shared.lock().checks.remove(&self.name);
        // The closure's own drop may be anything; it must not run under the lock.
        drop(check);
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Readiness> {
        self.readiness
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, name: &str, now: Time) -> ComponentReport {
        let turned = Time::from_nanos(self.turned.load(Relaxed));
        let asleep_until = Time::from_nanos(self.asleep_until.load(Relaxed));
        let late = now.saturating_since(turned.max(asleep_until));
        let live = self.bound.is_none_or(|bound| late <= bound);
        let readiness = self.lock();
        let (ready, mut reasons) = (readiness.ready, readiness.reasons.clone());
        drop(readiness);
        let last_turn = now.saturating_since(turned);
        if let Some(bound) = self.bound.filter(|_| !live) {
            let seconds = last_turn.as_secs_f64();
            reasons.insert(0, format!("no turn for {seconds:.1} s (bound {bound:?})"));
        }
        ComponentReport {
            name: name.to_owned(),
            live,
            ready,
            need: self.need,
            reasons,
            last_turn: self.bound.map(|_| last_turn),
        }
    }
}

fn bounded(reasons: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let reasons = reasons.into_iter().take(REASONS_MAX);
    reasons
        .map(|reason| cut(reason.as_ref(), REASON_BYTES_MAX).to_owned())
        .collect()
}

fn run_check(name: String, check: &Check, now: Time) -> ComponentReport {
    let verdict = catch_unwind(AssertUnwindSafe(|| check(now)))
        .unwrap_or_else(|_| Verdict::Failed("the check panicked".into()));
    judged(name, verdict)
}

fn judge_resource(name: &str, used: f64, limit: Threshold) -> ComponentReport {
    let words = |at: f64| format!("{:.0} % in use (limit {:.0} %)", used * 100.0, at * 100.0);
    let verdict = if used >= limit.failed {
        Verdict::Failed(words(limit.failed))
    } else if used >= limit.degraded {
        Verdict::Degraded(words(limit.degraded))
    } else {
        Verdict::Good
    };
    judged(name.to_owned(), verdict)
}

fn judged(name: String, verdict: Verdict) -> ComponentReport {
    let (ready, reason) = match verdict {
        Verdict::Good => (true, None),
        Verdict::Degraded(reason) => (true, Some(reason)),
        Verdict::Failed(reason) => (false, Some(reason)),
    };
    ComponentReport {
        name,
        live: true,
        ready,
        need: Need::Required,
        reasons: bounded(reason),
        last_turn: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Resources = Resources {
        cpu: None,
        memory: None,
        disk: None,
    };

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn health() -> Health {
        Health::new(ResourceLimits::default())
    }

    fn looping(health: &Health, name: &str, need: Need) -> Component {
        let bound = Some(Duration::from_secs(1));
        health.component(name, need, bound, Time::ZERO).unwrap()
    }

    #[test]
    fn a_component_starts_live_and_not_ready() {
        let health = health();
        assert_eq!(
            health.report(at(0), &NONE).status,
            Status::Good,
            "nothing registered"
        );
        let shard = looping(&health, "shard", Need::Required);
        let report = health.report(at(0), &NONE);
        assert_eq!((report.is_live(), report.is_ready()), (true, false));
        assert_eq!(report.reasons(), ["shard: starting"]);
        shard.set_ready();
        assert_eq!(health.report(at(0), &NONE).status, Status::Good);
    }

    #[test]
    fn a_loop_that_stops_turning_is_dead_and_a_turn_revives_it() {
        let health = health();
        let shard = looping(&health, "shard", Need::Optional);
        shard.set_ready();
        assert!(health.report(at(1_000), &NONE).is_live());
        let report = health.report(at(2_500), &NONE);
        assert_eq!((report.status, report.is_ready()), (Status::Dead, false));
        assert_eq!(report.reasons(), ["shard: no turn for 2.5 s (bound 1s)"]);
        assert_eq!(
            report.components[0].last_turn,
            Some(Duration::from_millis(2_500))
        );
        shard.turn(at(2_600));
        assert_eq!(health.report(at(2_700), &NONE).status, Status::Good);
    }

    #[test]
    fn a_loop_may_sleep_on_purpose_but_not_longer() {
        let health = health();
        let shard = looping(&health, "shard", Need::Required);
        shard.set_ready();
        shard.turn_and_sleep(at(100), at(60_000));
        assert!(health.report(at(61_000), &NONE).is_live());
        assert!(!health.report(at(61_001), &NONE).is_live());
    }

    #[test]
    fn a_component_without_a_loop_cannot_be_dead() {
        let health = health();
        let sink = health
            .component("sink", Need::Optional, None, Time::ZERO)
            .unwrap();
        sink.set_unready(["disk full", "offline"]);
        let report = health.report(at(1_000_000), &NONE);
        assert_eq!((report.status, report.is_ready()), (Status::Degraded, true));
        assert_eq!(report.reasons(), ["sink: disk full", "sink: offline"]);
        assert_eq!(report.components[0].last_turn, None);
    }

    #[test]
    fn dropped_components_and_checks_leave() {
        let health = health();
        let component = health.component("a", Need::Required, None, at(0)).unwrap();
        let check = health.check("b", |_| Verdict::Failed("no".into())).unwrap();
        assert!(!health.report(at(0), &NONE).is_ready());
        let taken = HealthError::Taken("a".into());
        assert_eq!(health.check("a", |_| Verdict::Good).unwrap_err(), taken);
        drop((component, check));
        assert_eq!(health.report(at(0), &NONE).status, Status::Good);
        assert!(health.check("a", |_| Verdict::Good).is_ok());
    }

    #[test]
    fn checks_judge_and_a_panicking_one_fails_alone() {
        let health = health();
        let _late = health.check("late", |now| match now.as_millis() {
            0..100 => Verdict::Good,
            100..200 => Verdict::Degraded("slow".into()),
            _ => Verdict::Failed("gone".into()),
        });
        let statuses = [0, 150, 250].map(|ms| health.report(at(ms), &NONE).status);
        assert_eq!(statuses, [Status::Good, Status::Degraded, Status::Unready]);
        // resume_unwind does not run the panic hook, so the test stays silent.
        let _bad = health.check("bad", |_| std::panic::resume_unwind(Box::new("oops")));
        let report = health.report(at(0), &NONE);
        assert_eq!(report.reasons(), ["bad: the check panicked"]);
        assert_eq!(report.status, Status::Unready);
    }

    #[test]
    fn a_check_may_use_the_health_it_belongs_to() {
        let health = health();
        let inner = health.clone();
        let _check = health.check("nested", move |now| {
            match inner.component("probe", Need::Optional, None, now) {
                Ok(_) => Verdict::Good,
                Err(error) => Verdict::Failed(error.to_string()),
            }
        });
        assert_eq!(health.report(at(0), &NONE).status, Status::Good);
    }

    #[test]
    fn readings_are_judged_by_their_thresholds() {
        let health = health();
        let of = |cpu, memory, disk| Resources { cpu, memory, disk };
        let cases = [
            (of(Some(0.5), Some(0.5), Some(0.5)), Status::Good, vec![]),
            (
                of(Some(1.0), None, None),
                Status::Degraded,
                vec!["cpu: 100 % in use (limit 90 %)"],
            ),
            (
                of(None, Some(0.98), None),
                Status::Unready,
                vec!["memory: 98 % in use (limit 97 %)"],
            ),
            (
                of(None, Some(0.9), Some(0.99)),
                Status::Unready,
                vec![
                    "disk: 99 % in use (limit 98 %)",
                    "memory: 90 % in use (limit 85 %)",
                ],
            ),
            (NONE, Status::Good, vec![]),
        ];
        for (resources, status, reasons) in cases {
            let report = health.report(at(0), &resources);
            assert_eq!(
                (report.status, report.reasons()),
                (status, reasons.iter().map(|r| (*r).to_owned()).collect())
            );
        }
    }

    #[test]
    fn everything_is_bounded() {
        let health = health();
        let all: Vec<_> = (0..ENTRIES_MAX)
            .map(|n| {
                health
                    .component(&n.to_string(), Need::Optional, None, at(0))
                    .unwrap()
            })
            .collect();
        let full = health
            .component("x", Need::Optional, None, at(0))
            .unwrap_err();
        assert_eq!(full, HealthError::Full("x".into()));
        all[0].set_degraded(vec!["r".repeat(1000); 100]);
        let report = health.report(at(0), &NONE);
        let reasons = &report.components[0].reasons;
        assert_eq!(
            (reasons.len(), reasons[0].len()),
            (REASONS_MAX, REASON_BYTES_MAX)
        );
    }
}
