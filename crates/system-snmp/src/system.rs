//! One `[snmp.NAME]` at work: shards, poller and sinks, started, reloaded and stopped together.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_engine::breaker::StateKind;
use trunkline_engine::ledger::Balance;
use trunkline_engine::rng::Rng;
use trunkline_engine::router::RouterPolicy;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::entropy;
use trunkline_runtime::thread::Supervisor;

use crate::address::Address;
use crate::client::Client;
use crate::config::{SinkPlan, SystemPlan, TargetPlan};
use crate::door::DOOR_FULL;
use crate::error::SnmpError;
use crate::keeper::{Flags, Keeper, Order};
use crate::poller::{PolledTarget, PollerFigures, PollerStats};
use crate::results::{JsonLines, Results, Samples, Sink, Undertaker};
use crate::target::{TargetId, TargetSpec};
use crate::wire::{OnDeath, Wire, WireError, WirePlan};

/// Why a system could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The shards.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A thread.
    #[error("starting a thread: {0}")]
    Thread(#[from] io::Error),
    /// A target.
    #[error("target {name}: {error}")]
    Target {
        /// Which.
        name: String,
        /// Why not.
        error: SnmpError,
    },
}

/// A target by the name that the configuration gives it.
#[derive(Clone, Debug)]
pub struct NamedTarget {
    /// Its name in the client; `None` while its host name has no address.
    pub id: Option<TargetId>,
    /// What was configured.
    pub plan: Arc<TargetPlan>,
    /// Why it has no address.
    pub unresolved: Option<String>,
}

/// A running system.
pub struct System {
    name: String,
    clock: Clock,
    wire: Wire,
    results: Arc<Results>,
    samples: Vec<Samples>,
    stats: Arc<PollerStats>,
    orders: Sender<Order>,
    flags: Arc<Flags>,
    poller: Mutex<Option<Supervisor>>,
    plan: Mutex<SystemPlan>,
    targets: Mutex<HashMap<Arc<str>, NamedTarget>>,
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "System({})", self.name)
    }
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Targets taken on.
    pub added: usize,
    /// Targets forgotten.
    pub removed: usize,
    /// Targets that go on as they were, with their operator state.
    pub kept: usize,
    /// Keys that need a restart to change.
    pub restart: Vec<&'static str>,
}

/// A reload that can still be abandoned.
#[derive(Debug)]
pub struct Prepared {
    plan: SystemPlan,
    kept: Vec<NamedTarget>,
    new: Vec<NamedTarget>,
}

impl System {
    /// Starts everything. Records that a sink refuses go to `undertaker`; deaths of threads are
    /// told to `on_death`.
    ///
    /// # Errors
    /// The first thing that cannot be had; nothing runs then.
    pub fn start(
        plan: SystemPlan,
        clock: Clock,
        undertaker: &Undertaker,
        on_death: &OnDeath,
    ) -> Result<Self, StartError> {
        let wire = Wire::start(&wire_plan(&plan), clock, on_death)?;
        let (sinks, samples) = sinks(&plan.sinks);
        let results = Arc::new(Results::start(sinks, &plan.results, clock, undertaker)?);
        let (mut named, mut polled) = (HashMap::new(), Vec::new());
        for target in &plan.targets {
            let entry = take_on(wire.client(), target)?;
            polled.extend(polled_target(&entry));
            named.insert(target.name.clone(), entry);
        }
        let (orders, inbox) = channel();
        let flags = Arc::new(Flags::default());
        let stats = Arc::new(PollerStats::default());
        let keeper = Keeper {
            name: plan.name.clone(),
            clock,
            client: wire.client().clone(),
            results: results.clone(),
            stats: stats.clone(),
            orders: inbox,
            flags: flags.clone(),
            jobs: plan.jobs.clone(),
            targets: polled,
            rng: Rng::seeded(entropy::seed()),
        };
        let told = on_death.clone();
        let poller = Supervisor::spawn(
            format!("{}-poller", plan.name),
            entropy::seed(),
            keeper.into_body(),
            move |death| told(death),
        )?;
        Ok(Self {
            name: plan.name.clone(),
            clock,
            wire,
            results,
            samples,
            stats,
            orders,
            flags,
            poller: Mutex::new(Some(poller)),
            targets: Mutex::new(named),
            plan: Mutex::new(plan),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The clock that its times are of.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The engine's front.
    pub fn client(&self) -> &Client {
        self.wire.client()
    }

    /// The shards.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The sinks.
    pub fn results(&self) -> &Arc<Results> {
        &self.results
    }

    /// The last values, by metrics sink.
    pub fn samples(&self) -> &[Samples] {
        &self.samples
    }

    /// How many targets do not answer, of how many.
    pub fn down(&self) -> (usize, usize) {
        let now = self.clock.now();
        let (mut down, mut all) = (0, 0);
        self.client().for_each_target(|target| {
            let figures = &target.figures;
            let silent = figures.last_reply.is_none() && figures.timeouts > 0;
            let is_down = silent || target.gate.state(now).kind() != StateKind::Closed;
            down += usize::from(is_down);
            all += 1;
        });
        (down, all)
    }

    /// The name of the target at an address; the first by name where several share it.
    pub fn name_of(&self, addr: SocketAddr) -> Option<String> {
        let address = Address::Ip(addr);
        let named = lock(&self.targets);
        let there = named
            .values()
            .filter(|target| target.plan.address == address);
        there.map(|target| target.plan.name.to_string()).min()
    }

    /// The poller's figures.
    pub fn poller(&self) -> PollerFigures {
        self.stats.read()
    }

    /// Deaths of threads so far.
    pub fn deaths(&self) -> u64 {
        self.wire.deaths() + lock(&self.poller).as_ref().map_or(0, Supervisor::deaths)
    }

    /// Every configured target, by name.
    pub fn targets(&self) -> Vec<NamedTarget> {
        let mut targets: Vec<_> = lock(&self.targets).values().cloned().collect();
        targets.sort_by_cached_key(|target| natural(&target.plan.name));
        targets
    }

    /// Every configured target, in no order, under a lock: `visit` must be brief.
    pub fn for_each_target(&self, visit: impl FnMut(&NamedTarget)) {
        lock(&self.targets).values().for_each(visit);
    }

    /// One configured target.
    pub fn target(&self, name: &str) -> Option<NamedTarget> {
        lock(&self.targets).get(name).cloned()
    }

    /// The books of requests.
    pub fn balance(&self) -> Balance {
        self.client().balance()
    }

    /// Requests and results that have not ended.
    pub fn in_flight(&self) -> u64 {
        self.client().balance().in_flight + self.stats.read().running + self.results.in_flight()
    }

    /// Takes over a new plan: jobs and targets at once; what else changed needs a restart. A target
    /// that is the same goes on with all that is known of it; one that is asked in another way goes
    /// on with what an operator decided of it.
    ///
    /// # Errors
    /// When a target cannot be taken on; nothing has changed then.
    pub fn reload(&self, plan: SystemPlan) -> Result<ReloadReport, StartError> {
        let prepared = self.prepare(plan)?;
        Ok(self.commit(prepared))
    }

    /// The first half of a reload, which can fail: takes on what is new beside what there is.
    ///
    /// # Errors
    /// When a target cannot be taken on; what was taken on before it is forgotten again.
    pub fn prepare(&self, plan: SystemPlan) -> Result<Prepared, StartError> {
        let known = lock(&self.targets).clone();
        let (mut kept, mut new) = (Vec::new(), Vec::new());
        for target in &plan.targets {
            match known.get(&target.name) {
                Some(known) if same(&known.plan, target) => {
                    kept.push(NamedTarget {
                        plan: target.clone(),
                        ..known.clone()
                    });
                }
                _ => match take_on(self.client(), target) {
                    Ok(entry) => new.push(entry),
                    Err(error) => {
                        new.iter().for_each(|entry| self.forget(Some(entry)));
                        return Err(error);
                    }
                },
            }
        }
        Ok(Prepared { plan, kept, new })
    }

    /// Forgets a reload that was prepared.
    pub fn abandon(&self, prepared: &Prepared) {
        prepared
            .new
            .iter()
            .for_each(|entry| self.forget(Some(entry)));
    }

    /// The second half of a reload, which cannot fail.
    pub fn commit(&self, prepared: Prepared) -> ReloadReport {
        let Prepared { plan, kept, new } = prepared;
        let decided = self.operator_state();
        let mut current = lock(&self.plan);
        let mut named = lock(&self.targets);
        let mut report = ReloadReport {
            added: new.len(),
            kept: kept.len(),
            removed: 0,
            restart: frozen(&current, &plan),
        };
        let next = kept
            .into_iter()
            .chain(new)
            .map(|entry| (entry.plan.name.clone(), entry));
        let mut gone = std::mem::replace(&mut *named, next.collect());
        gone.retain(|name, old| named.get(name).is_none_or(|new| new.id != old.id));
        report.removed = gone
            .keys()
            .filter(|name| !named.contains_key(*name))
            .count();
        gone.values().for_each(|old| self.forget(Some(old)));
        let polled = plan.targets.iter().filter_map(|plan| named.get(&plan.name));
        let polled: Vec<_> = polled.filter_map(polled_target).collect();
        drop(named);
        self.restore_operator_state(&decided);
        self.order(Order::Replace(plan.jobs.clone(), polled));
        *current = plan;
        report
    }

    /// Resolves the names that had no address. It waits for the resolver.
    pub fn resolve_again(&self) {
        let mut waiting = Vec::new();
        self.for_each_target(|target| {
            if target.id.is_none() {
                waiting.push(target.clone());
            }
        });
        for target in waiting {
            let Ok(entry) = take_on(self.client(), &target.plan) else {
                continue;
            };
            if let Some(polled) = polled_target(&entry) {
                self.order(Order::Add(polled));
            }
            lock(&self.targets).insert(target.plan.name.clone(), entry);
        }
    }

    /// Starts no further runs and refuses new requests; what is under way goes on.
    pub fn drain(&self) {
        self.flags.drain.store(true, Ordering::Release);
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight() == 0
    }

    /// Ends everything that is under way.
    pub fn close(&self) {
        self.drain();
        self.client().close();
    }

    /// Stops all threads, sinks last, so that what was had is written within `patience`. Returns
    /// the closing books: of requests, and of results.
    pub fn stop(&self, patience: Duration) -> (Balance, Balance) {
        self.close();
        self.flags.stop.store(true, Ordering::Release);
        if let Some(poller) = lock(&self.poller).take() {
            poller.stop();
            poller.join();
        }
        self.wire.stop();
        self.results.close(patience);
        (self.client().balance(), self.results.balance())
    }

    /// Kills the poller's thread, to prove that its death is noticed.
    #[doc(hidden)]
    pub fn kill_poller(&self) {
        self.flags.die.store(true, Ordering::Release);
    }

    fn forget(&self, target: Option<&NamedTarget>) {
        if let Some(id) = target.and_then(|target| target.id) {
            // A door that stays full keeps the target; it is idle and costs its memory only.
            let _full = patiently(|| self.client().remove_target(id));
        }
    }

    fn order(&self, order: Order) {
        // The receiver lives as long as the poller's supervisor, which this holds.
        let _sent = self.orders.send(order);
    }
}

/// Orders names with numbers in them as people do: `t-2` before `t-10`.
fn natural(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[stem.len()..].parse().unwrap_or(0);
    (stem.to_owned(), number, name.to_owned())
}

fn wire_plan(plan: &SystemPlan) -> WirePlan {
    WirePlan {
        name: plan.name.clone(),
        shards: plan.shards,
        sockets: plan.sockets,
        receive_buffer: plan.receive_buffer,
        max_requests: plan.max_requests,
        max_targets: plan.max_targets,
        engines: plan.engines.clone(),
        router: RouterPolicy {
            strategy: plan.strategy,
            check_every: plan.check_interval,
            ..RouterPolicy::default()
        },
        batch: plan.batch,
        budget: plan.policy.retry.budget,
    }
}

type Sinks = (Vec<(String, Box<dyn Sink>)>, Vec<Samples>);

fn sinks(plans: &[SinkPlan]) -> Sinks {
    let (mut sinks, mut samples): Sinks = Default::default();
    for plan in plans {
        match plan {
            SinkPlan::JsonLines { name, path } => {
                sinks.push((name.clone(), Box::new(JsonLines::new(path.clone()))));
            }
            SinkPlan::Metrics { name, max_series } => {
                let sink = Samples::new(*max_series);
                samples.push(sink.clone());
                sinks.push((name.clone(), Box::new(sink)));
            }
        }
    }
    (sinks, samples)
}

fn take_on(client: &Client, plan: &Arc<TargetPlan>) -> Result<NamedTarget, StartError> {
    let addr = match plan.address.resolve() {
        Ok(addr) => addr,
        Err(error) => {
            let unresolved = Some(error.to_string());
            return Ok(NamedTarget {
                id: None,
                plan: plan.clone(),
                unresolved,
            });
        }
    };
    let refused = |error| StartError::Target {
        name: plan.name.to_string(),
        error,
    };
    let spec = spec(plan, addr);
    let id = patiently(|| client.add_target(spec.clone())).map_err(refused)?;
    Ok(NamedTarget {
        id: Some(id),
        plan: plan.clone(),
        unresolved: None,
    })
}

/// Does what a full door refuses for the moment again, for as long as a shard may take to catch up
/// with many targets at once.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, SnmpError>) -> Result<T, SnmpError> {
    const PAUSE: Duration = Duration::from_millis(1);
    const TRIES: u32 = 2_000;
    let mut done = attempt();
    for _ in 0..TRIES {
        if !matches!(&done, Err(error) if *error == DOOR_FULL) {
            break;
        }
        std::thread::sleep(PAUSE);
        done = attempt();
    }
    done
}

fn spec(plan: &TargetPlan, addr: SocketAddr) -> TargetSpec {
    TargetSpec {
        addr,
        version: plan.version,
        community: plan.community.clone(),
        source: plan.source,
        policy: plan.policy.clone(),
        egress: plan.egress,
    }
}

fn polled_target(entry: &NamedTarget) -> Option<Arc<PolledTarget>> {
    Some(Arc::new(PolledTarget {
        id: entry.id?,
        name: entry.plan.name.clone(),
        address: entry.plan.address.to_string().into(),
        jobs: entry.plan.jobs.clone(),
        v1: entry.plan.version == trunkline_wire_snmp::Version::V1,
    }))
}

/// Whether a target is asked the same way as before; its jobs may differ.
fn same(a: &TargetPlan, b: &TargetPlan) -> bool {
    a.address == b.address
        && a.version == b.version
        && a.community == b.community
        && a.source == b.source
        && a.egress == b.egress
        && *a.policy == *b.policy
}

/// Keys that differ and that only a restart can change.
fn frozen(old: &SystemPlan, new: &SystemPlan) -> Vec<&'static str> {
    let ways = |plan: &SystemPlan| {
        let way = |engine: &crate::config::EnginePlan| {
            (
                engine.member.name.clone(),
                engine.bind,
                engine.interface.clone(),
            )
        };
        plan.engines.iter().map(way).collect::<Vec<_>>()
    };
    let checks = [
        ("shards", old.shards != new.shards),
        ("sockets", old.sockets != new.sockets),
        ("receive_buffer", old.receive_buffer != new.receive_buffer),
        ("max_batch", old.batch.max != new.batch.max),
        ("linger", old.batch.linger != new.batch.linger),
        ("max_requests", old.max_requests != new.max_requests),
        ("max_targets", old.max_targets != new.max_targets),
        ("engine", ways(old) != ways(new)),
        ("sink", old.sinks != new.sinks),
    ];
    checks
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
