//! The systems of a daemon: started together, watched, reloaded, and ended part by part.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast;
use trunkline_engine::breaker::StateKind;
use trunkline_engine::health::{Health, Verdict};
use trunkline_engine::time::Time;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::metrics::{CollectorRegistration, MetricRegistry};
use trunkline_runtime::office::Office;
use trunkline_runtime::operation::{Registration, Registry};
use trunkline_runtime::shutdown::Part;
use trunkline_runtime::state::StateDir;
use trunkline_runtime::thread::Death;
use trunkline_system_snmp::{
    BreakerEvent, OnDeath, System, SystemPlan, operations, redriver, undertaker,
};

use super::root::RootConfig;
use super::run::RunError;
use super::sheet::Book;
use super::sticky::Sticky;

/// One running system and all that hangs on it.
struct Running {
    system: Arc<System>,
    sticky: Mutex<Sticky>,
    /// Operations, metrics and health checks that leave when it does.
    _registered: Vec<Registration>,
    _collector: CollectorRegistration,
    _check: trunkline_engine::health::CheckHandle,
}

/// Something that changed, for whoever watches.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Event {
    /// Milliseconds since 1970.
    time_ms: u64,
    /// What kind of event; `breaker` for a breaker that changed its state.
    event: &'static str,
    /// The system.
    system: String,
    /// Whose breaker.
    target: String,
    /// The state that it left.
    from: &'static str,
    /// The state that it entered.
    to: &'static str,
    /// Why.
    reason: String,
}

/// Events that a watcher may be behind; it is told how many it missed.
const EVENTS_BEHIND: usize = 1024;

/// The running systems.
pub(super) struct Systems {
    running: Vec<Running>,
    events: broadcast::Sender<Event>,
    clock: Clock,
}

impl Systems {
    /// Starts every configured system, and takes up what operators decided before.
    pub(super) fn start(
        config: &RootConfig,
        clock: Clock,
        registry: &Registry,
        metrics: &MetricRegistry,
        health: &Health,
        office: &Arc<Office>,
        state: &StateDir,
    ) -> Result<Self, RunError> {
        let mut running = Vec::new();
        for (name, snmp) in &config.snmp {
            let failed = |why: String| RunError::System {
                system: format!("snmp.{name}"),
                why,
            };
            let plan = SystemPlan::new(name.as_str(), snmp).map_err(|e| failed(e.to_string()))?;
            let letters = undertaker(office.clone(), name.as_str());
            let on_death: OnDeath = Arc::new(note_death);
            let system = System::start(plan, clock, &letters, &on_death)
                .map_err(|error| failed(error.to_string()))?;
            let system = Arc::new(system);
            office.add_redriver(&format!("snmp.{name}"), redriver(system.results()));
            let mut sticky = Sticky::of(&system);
            if let Err(why) = sticky.restore(state, &system) {
                tracing::warn!(
                    system = name.as_str(),
                    why,
                    "operators' decisions are not known"
                );
            }
            let exported = system.clone();
            let collector: trunkline_runtime::metrics::Collector =
                Arc::new(move |out| trunkline_system_snmp::export(&exported, out));
            let watched = system.clone();
            let check = health
                .check(&format!("snmp.{name}"), move |now| turns(&watched, now))
                .map_err(|error| failed(error.to_string()))?;
            running.push(Running {
                _registered: operations::register(&system, registry),
                _collector: metrics.register(collector),
                _check: check,
                sticky: Mutex::new(sticky),
                system,
            });
        }
        Ok(Self {
            running,
            events: broadcast::Sender::new(EVENTS_BEHIND),
            clock,
        })
    }

    /// Every system.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<System>> {
        self.running.iter().map(|running| &running.system)
    }

    /// Writes operators' decisions that have changed; called every second.
    pub(super) fn save_decisions(&self, state: &StateDir) {
        for running in &self.running {
            if let Err(why) = lock(&running.sticky).save(state, &running.system) {
                let system = running.system.name();
                tracing::warn!(system, why, "operators' decisions could not be written");
            }
        }
    }

    /// Events from now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Logs what breakers did since the last call, and tells those who watch.
    pub(super) fn tell_events(&self) {
        for system in self.all() {
            for stats in system.client().stats() {
                for event in stats.take_events() {
                    self.tell(system, &event);
                }
            }
        }
    }

    fn tell(&self, system: &System, event: &BreakerEvent) {
        let change = event.transition;
        let target = system.name_of(event.target);
        let target = target.unwrap_or_else(|| event.target.to_string());
        let system = system.name();
        let (from, to) = (change.from.as_str(), change.to.as_str());
        // A dead target's breaker probes again and again; only news is worth a line.
        if matches!(
            (change.from, change.to),
            (StateKind::Open, _) | (StateKind::HalfOpen, StateKind::Open)
        ) {
            tracing::debug!(system, target, from, to, reason = %change.reason, "breaker");
        } else {
            tracing::info!(system, target, from, to, reason = %change.reason, "breaker");
        }
        // Without a watcher there is nobody to tell.
        let _watchers = self.events.send(Event {
            time_ms: self.clock.wall().as_unix_millis(),
            event: "breaker",
            system: system.to_owned(),
            target,
            from,
            to,
            reason: change.reason.to_string(),
        });
    }

    /// Takes over a new configuration. What cannot change without a restart is listed.
    ///
    /// # Errors
    /// Why it was refused; nothing has changed then.
    pub(super) fn reload(&self, config: &RootConfig) -> Result<Vec<String>, String> {
        let mut said = Vec::new();
        let mut plans = Vec::new();
        for (name, snmp) in &config.snmp {
            let plan = SystemPlan::new(name.as_str(), snmp).map_err(|error| error.to_string())?;
            plans.push(plan);
        }
        let mut prepared = Vec::new();
        for plan in plans {
            let name = plan.name.clone();
            let Some(system) = self.all().find(|system| system.name() == name) else {
                said.push(format!("snmp.{name}: new; it starts with the next restart"));
                continue;
            };
            match system.prepare(plan) {
                Ok(ready) => prepared.push((system, ready)),
                Err(error) => {
                    for (system, ready) in &prepared {
                        system.abandon(ready);
                    }
                    return Err(format!("snmp.{name}: {error}"));
                }
            }
        }
        for (system, ready) in prepared {
            let report = system.commit(ready);
            said.push(format!(
                "snmp.{}: {} targets kept, {} added, {} removed",
                system.name(),
                report.kept,
                report.added,
                report.removed
            ));
        }
        let gone = self
            .all()
            .filter(|system| !config.snmp.keys().any(|n| n.as_str() == system.name()));
        for system in gone {
            said.push(format!(
                "snmp.{}: no longer configured; it ends with the next restart",
                system.name()
            ));
        }
        Ok(said)
    }

    /// The parts that a shutdown waits for: the systems.
    pub(super) fn parts(&self) -> Vec<(String, Arc<dyn Part>)> {
        let part = |system: &Arc<System>| -> (String, Arc<dyn Part>) {
            (
                format!("snmp.{}", system.name()),
                Arc::new(SystemPart(system.clone())),
            )
        };
        self.all().map(part).collect()
    }

    /// Ends all threads, sinks within `patience`, and returns the closing books.
    pub(super) fn stop(&self, patience: Duration) -> Vec<Book> {
        let mut books = Vec::new();
        for system in self.all() {
            let name = system.name().to_owned();
            let (requests, results) = system.stop(patience);
            books.push(Book {
                name: format!("snmp.{name} requests"),
                balance: requests,
            });
            books.push(Book {
                name: format!("snmp.{name} results"),
                balance: results,
            });
        }
        books
    }
}

struct SystemPart(Arc<System>);

impl Part for SystemPart {
    fn in_flight(&self) -> u64 {
        self.0.in_flight()
    }

    fn overdue(&self) {
        self.0.close();
    }
}

/// A shard's driver sleeps while nothing happens, so only one that is at work and does not turn is
/// stuck.
const TURN_MAX: Duration = Duration::from_secs(5);

fn turns(system: &System, now: Time) -> Verdict {
    for (index, driver) in system.wire().drivers().iter().enumerate() {
        match driver {
            None => return Verdict::Failed(format!("shard {index} is being restarted")),
            Some(driver) if driver.busy_for(now) > TURN_MAX => {
                return Verdict::Failed(format!("shard {index} has been in one turn for over 5 s"));
            }
            Some(_) => {}
        }
    }
    for sink in system.results().views() {
        if sink.failing {
            let why = sink.last_error.unwrap_or_default();
            return Verdict::Degraded(format!("sink {} refuses results: {why}", sink.name));
        }
    }
    let lost = system.results().balance().dropped.total();
    if lost > 0 {
        return Verdict::Degraded(format!("{lost} results found no room in a sink's queue"));
    }
    match system.down() {
        (down, all) if down * 2 > all => {
            Verdict::Degraded(format!("{down} of {all} targets do not answer"))
        }
        _ => unresolved(system),
    }
}

fn unresolved(system: &System) -> Verdict {
    let mut unresolved = 0;
    system.for_each_target(|target| unresolved += usize::from(target.id.is_none()));
    match unresolved {
        0 => Verdict::Good,
        n => Verdict::Degraded(format!("{n} targets' names have no address")),
    }
}

fn note_death(death: &Death) {
    tracing::error!(
        thread = death.thread,
        reason = death.reason,
        deaths = death.deaths,
        "a thread died; it is restarted"
    );
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
