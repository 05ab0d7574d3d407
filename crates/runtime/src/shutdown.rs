//! Carrying out a shutdown: signals in, phases out.
//!
//! [`trunkline_engine::shutdown`] decides; here its steps are carried out. Parts say how much they
//! hold, hooks do the work of a phase, and whoever must behave differently (readiness, acceptors)
//! watches the phase. While running, nothing is polled; while stopping, occupancy is read every few
//! milliseconds, so that the process is gone soon after the last unit of work.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use trunkline_engine::shutdown::{
    AddError, HookId, Occupancy, PartId, Phase, Plan, Report, Shutdown, Step,
};
use trunkline_engine::time::Time;

use crate::clock::Clock;

/// How often occupancy is read while stopping.
const POLL: Duration = Duration::from_millis(5);

type HookFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Hook = Box<dyn FnOnce(Time) -> HookFuture + Send>;

/// A signal of the operating system that means something to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The process's signals. From its making on, they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver on.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

/// One part of the process that holds work.
pub trait Part: Send + Sync {
    /// How much it holds: in flight while draining; to be flushed or ended while closing.
    fn in_flight(&self) -> u64;

    /// Its draining is over, by its own budget, with the phase, or by a second signal: end what is
    /// left, each unit with an outcome. Called once, also when nothing is left.
    fn overdue(&self);
}

/// The process's way down; a clone is the same way.
#[derive(Clone)]
pub struct ShutdownHandle {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    requests: AtomicU32,
    wake: Notify,
}

struct State {
    machine: Shutdown,
    parts: HashMap<PartId, Arc<dyn Part>>,
    hooks: HashMap<HookId, Hook>,
    /// Parts whose draining is over.
    told: HashSet<PartId>,
}

impl std::fmt::Debug for ShutdownHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShutdownHandle({})", self.phase().as_str())
    }
}

impl ShutdownHandle {
    /// A running process with these budgets.
    pub fn new(clock: Clock, plan: Plan) -> Self {
        let state = State {
            machine: Shutdown::new(plan),
            parts: HashMap::new(),
            hooks: HashMap::new(),
            told: HashSet::new(),
        };
        Self {
            inner: Arc::new(Inner {
                clock,
                state: Mutex::new(state),
                phase: watch::Sender::new(Phase::Running),
                requests: AtomicU32::new(0),
                wake: Notify::new(),
            }),
        }
    }

    /// Adds a part, with its own drain budget or the plan's; dropping the answer takes it out.
    ///
    /// # Errors
    /// The shutdown has begun, or there are too many.
    pub fn add_part(
        &self,
        name: &str,
        drain: Option<Duration>,
        part: Arc<dyn Part>,
    ) -> Result<PartRegistration, AddError> {
        let mut state = self.lock();
        let id = state.machine.add_part(name, drain)?;
        state.parts.insert(id, part);
        Ok(PartRegistration {
            handle: self.clone(),
            id,
        })
    }

    /// Adds something to do once when `phase` (Draining, Closing or Cleanup) begins. It is given
    /// the phase's deadline and abandoned when the phase is over.
    ///
    /// # Errors
    /// The shutdown has begun, there are too many, or the phase takes no hooks.
    pub fn add_hook<F, Fut>(&self, name: &str, phase: Phase, hook: F) -> Result<(), AddError>
    where
        F: FnOnce(Time) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let mut state = self.lock();
        let id = state.machine.add_hook(name, phase)?;
        let hook: Hook = Box::new(move |deadline| Box::pin(hook(deadline)));
        state.hooks.insert(id, hook);
        Ok(())
    }

    /// Asks to stop, as a signal does: the second request forces.
    pub fn request(&self) {
        self.inner.requests.fetch_add(1, Ordering::Relaxed);
        self.inner.wake.notify_one();
    }

    /// Where the process is.
    pub fn phase(&self) -> Phase {
        *self.inner.phase.borrow()
    }

    /// The phase, to be watched.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.inner.phase.subscribe()
    }

    /// Waits for a request or a signal, then goes through all phases and says how it went.
    /// `reload` is called for each SIGHUP while running.
    pub async fn run(&self, signals: &mut Signals, mut reload: impl FnMut()) -> Report {
        loop {
            let stop = tokio::select! {
                () = self.inner.wake.notified() => self.take_requests(),
                signal = signals.next() => match signal {
                    Signal::Stop => 1,
                    Signal::Reload => {
                        reload();
                        0
                    }
                },
            };
            if stop > 0 {
                return self.stop(stop, signals).await;
            }
        }
    }

    async fn stop(&self, mut requests: u32, signals: &mut Signals) -> Report {
        let mut hooks: JoinSet<(HookId, Result<(), String>)> = JoinSet::new();
        let mut ids: HashMap<tokio::task::Id, HookId> = HashMap::new();
        loop {
            for step in self.decide(requests) {
                self.carry_out(step, &mut hooks, &mut ids);
            }
            let report = self.lock().machine.report();
            if let Some(report) = report {
                return report;
            }
            requests = tokio::select! {
                Some(ended) = hooks.join_next() => {
                    self.hook_ended(ended, &ids);
                    0
                }
                signal = signals.next() => u32::from(signal == Signal::Stop),
                () = self.inner.wake.notified() => self.take_requests(),
                () = tokio::time::sleep(self.pause()) => 0,
            };
        }
    }

    fn decide(&self, requests: u32) -> Vec<Step> {
        let now = self.inner.clock.now();
        // Parts are asked without the lock: one of them may be asking for the phase.
        let parts: Vec<(PartId, Arc<dyn Part>)> = {
            let state = self.lock();
            state
                .parts
                .iter()
                .map(|(id, part)| (*id, Arc::clone(part)))
                .collect()
        };
        let mut occupancy = Occupancy::empty();
        for (id, part) in parts {
            occupancy.set(id, part.in_flight());
        }
        let mut state = self.lock();
        let mut steps: Vec<Step> = (0..requests)
            .flat_map(|_| state.machine.signal(now))
            .collect();
        // What a signal has started is looked at before it can be called over.
        if requests == 0 {
            steps.extend(state.machine.poll(now, &occupancy));
        }
        steps
    }

    fn carry_out(
        &self,
        step: Step,
        hooks: &mut JoinSet<(HookId, Result<(), String>)>,
        ids: &mut HashMap<tokio::task::Id, HookId>,
    ) {
        match step {
            Step::Enter { phase, .. } => {
                tracing::info!(phase = phase.as_str(), "shutting down");
                self.inner.phase.send_replace(phase);
                if phase > Phase::Draining {
                    let parts: Vec<PartId> = self.lock().parts.keys().copied().collect();
                    parts.into_iter().for_each(|part| self.tell_overdue(part));
                }
            }
            Step::Run { hook, deadline, .. } => {
                let run = self.lock().hooks.remove(&hook);
                if let Some(run) = run {
                    let work = async move { (hook, run(deadline).await) };
                    ids.insert(hooks.spawn(work).id(), hook);
                }
            }
            Step::Overdue { part, name, left } => {
                tracing::warn!(part = &*name, left, "drain budget is over");
                self.tell_overdue(part);
            }
        }
    }

    fn tell_overdue(&self, id: PartId) {
        let part = {
            let mut state = self.lock();
            let first = state.told.insert(id);
            state.parts.get(&id).filter(|_| first).cloned()
        };
        if let Some(part) = part {
            part.overdue();
        }
    }

    fn hook_ended(
        &self,
        ended: Result<(HookId, Result<(), String>), tokio::task::JoinError>,
        ids: &HashMap<tokio::task::Id, HookId>,
    ) {
        let now = self.inner.clock.now();
        let (id, result) = match ended {
            Ok((id, result)) => (Some(id), result),
            Err(error) => (ids.get(&error.id()).copied(), Err(error.to_string())),
        };
        if let Some(id) = id {
            self.lock().machine.hook_ended(now, id, result);
        }
    }

    fn pause(&self) -> Duration {
        let wakeup = self.lock().machine.next_wakeup().unwrap_or(Time::MAX);
        wakeup.saturating_since(self.inner.clock.now()).min(POLL)
    }

    fn take_requests(&self) -> u32 {
        self.inner.requests.swap(0, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a part in the shutdown; dropping it (a system that a reload removed) takes it out.
#[derive(Debug)]
pub struct PartRegistration {
    handle: ShutdownHandle,
    id: PartId,
}

impl Drop for PartRegistration {
    fn drop(&mut self) {
        let part = {
            let mut state = self.handle.lock();
            state.machine.remove_part(self.id);
            state.parts.remove(&self.id)
        };
        // The part's own drop may lock; it runs without our lock.
        drop(part);
    }
}
