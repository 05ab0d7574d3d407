//! A one-shot engine for one command, and what its tasks share.
//!
//! The engine is the daemon's own, with its caution turned off: a person who asks for five retries
//! gets five, at fixed timeouts, whatever the breaker or the budget would say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use trunkline_engine::backoff::{Backoff, Curve};
use trunkline_engine::breaker::BreakerPolicy;
use trunkline_engine::budget::BudgetPolicy;
use trunkline_engine::guard::GuardPolicy;
use trunkline_engine::limit::FlightPolicy;
use trunkline_engine::retry::RetryPolicy;
use trunkline_engine::time::Time;
use trunkline_runtime::clock::Clock;
use trunkline_system_snmp::{
    Client, Exchange, JobOptions, Priority, Reply, SnmpError, SourcePolicy, TargetId, TargetPolicy,
    TargetSpec, TimeoutPolicy, WalkSpec, WalkStream, Wire, WirePlan,
};
use trunkline_wire_snmp::{OidBuf, OwnedValue, PduKind, Version, encode_varbinds};

use crate::exit::{CliError, Exit};

use super::agents::Agent;
use super::args::Common;
use super::diagnose::{self, Problem};
use super::print::Printer;

/// Requests on the wire per agent; the verbs send one at a time.
const FLIGHT: u32 = 16;
/// More silent agents than this are not asked why one by one.
const PROBED_MAX: usize = 16;

/// How long a request waits for room in the shard.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const ROOM_PAUSE: Duration = Duration::from_millis(2);

/// How agents are asked.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) version: Version,
    pub(crate) community: String,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) source: SourcePolicy,
}

impl From<&Common> for Manner {
    fn from(common: &Common) -> Self {
        Self {
            version: common.version,
            community: common.community.clone(),
            timeout: common.timeout,
            retries: common.retries,
            source: common.source,
        }
    }
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Session {
    wire: Wire,
    clock: Clock,
    manner: Manner,
    community: Arc<[u8]>,
    policy: Arc<TargetPolicy>,
}

impl Session {
    /// Starts one shard.
    pub(crate) fn start(manner: Manner) -> Result<Self, CliError> {
        let budget = BudgetPolicy {
            ratio: 10.0,
            reserve_per_second: 10_000.0,
            burst: 100_000,
        };
        let plan = WirePlan {
            name: "snmp".to_owned(),
            budget,
            ..WirePlan::default()
        };
        let clock = Clock::start();
        let wire = Wire::start(&plan, clock, &(Arc::new(|_: &_| {}) as _))
            .map_err(|error| CliError::Failed(error.to_string()))?;
        let policy = TargetPolicy {
            timeout: TimeoutPolicy {
                initial: manner.timeout,
                min: manner.timeout,
                max: manner.timeout,
                adaptive: false,
            },
            retry: RetryPolicy {
                attempts: manner.retries + 1,
                backoff: Backoff {
                    curve: Curve::Fixed,
                    base: Duration::ZERO,
                    cap: Duration::ZERO,
                    jitter: 0.0,
                },
                budget,
            },
            guard: GuardPolicy {
                breaker: BreakerPolicy {
                    consecutive_failures: 0,
                    ..BreakerPolicy::default()
                },
                rate: None,
                flight: FlightPolicy {
                    min: 1,
                    max: FLIGHT,
                    initial: FLIGHT,
                    adaptive: false,
                },
            },
            queue_max: 64,
        };
        let community = manner.community.as_bytes().into();
        Ok(Self {
            wire,
            clock,
            manner,
            community,
            policy: Arc::new(policy),
        })
    }

    /// The engine's front.
    pub(crate) fn client(&self) -> &Client {
        self.wire.client()
    }

    /// Takes on an agent; waits while the shard has too much to take in.
    pub(crate) async fn add(&self, addr: SocketAddr) -> Result<TargetId, SnmpError> {
        let spec = TargetSpec {
            addr,
            version: self.manner.version,
            community: self.community.clone(),
            source: self.manner.source,
            policy: self.policy.clone(),
            egress: 0,
        };
        let patience = Patience::begin();
        loop {
            match self.client().add_target(spec.clone()) {
                Err(error) if patience.tries_again(&error) => tokio::time::sleep(ROOM_PAUSE).await,
                ended => return ended,
            }
        }
    }

    /// Forgets an agent.
    pub(crate) async fn remove(&self, target: TargetId) {
        let patience = Patience::begin();
        while let Err(error) = self.client().remove_target(target) {
            if !patience.tries_again(&error) {
                // One that stays costs memory and nothing else.
                return;
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }

    /// One exchange. Its deadline is beyond its last timeout, which is what should end it.
    pub(crate) async fn ask(
        &self,
        target: TargetId,
        exchange: Exchange,
    ) -> Result<Reply, SnmpError> {
        let Manner {
            timeout, retries, ..
        } = self.manner;
        let longest = timeout.saturating_mul(retries + 2);
        let patience = Patience::begin();
        loop {
            let options = JobOptions {
                deadline: self.clock.now() + longest + Duration::from_secs(1),
                priority: Priority::High,
            };
            match self.client().ask(target, exchange.clone(), options).await {
                Err(error) if patience.tries_again(&error) => tokio::time::sleep(ROOM_PAUSE).await,
                ended => return ended,
            }
        }
    }

    /// A walk. It may take as long as it takes; each of its questions has its timeouts.
    pub(crate) fn walk(&self, target: TargetId, spec: WalkSpec) -> WalkStream {
        let options = JobOptions {
            deadline: Time::MAX,
            priority: Priority::High,
        };
        self.client().walk(target, spec, options)
    }
}

/// What the tasks of one command share.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) session: Session,
    pub(crate) wording: Wording,
    agents: usize,
    timeout: Duration,
    printer: Mutex<Printer>,
}

/// Where net-snmp's tools put full stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wording {
    /// After the host in `Timeout: No Response from HOST`.
    pub(crate) stop_after_host: bool,
    /// After `Error in packet`.
    pub(crate) stop_after_packet: bool,
}

impl Tool {
    pub(crate) fn new(
        common: &Common,
        wording: Wording,
        agents: usize,
    ) -> Result<Arc<Self>, CliError> {
        let printer = Printer::new(common.format, common.style()?, agents);
        Ok(Arc::new(Self {
            session: Session::start(common.into())?,
            wording,
            agents,
            timeout: common.timeout,
            printer: Mutex::new(printer),
        }))
    }

    pub(crate) fn printer(&self) -> MutexGuard<'_, Printer> {
        self.printer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes on an agent; the problem has been told when there is none.
    pub(crate) async fn open(
        &self,
        agent: &Agent,
    ) -> Result<Result<(TargetId, SocketAddr), Exit>, CliError> {
        let problem = match agent.resolve().await {
            Err(error) => Problem::unresolved(&error),
            Ok(addr) => match self.session.add(addr).await {
                Ok(target) => return Ok(Ok((target, addr))),
                Err(error) => Problem::other(&error),
            },
        };
        self.tell(agent, &problem).map(Err)
    }

    /// Finds out and tells why there was no answer; `rows` says that some had come before.
    pub(crate) async fn no_answer(
        &self,
        agent: &Agent,
        addr: SocketAddr,
        error: &SnmpError,
        rows: bool,
    ) -> Result<Exit, CliError> {
        let probe = self.agents <= PROBED_MAX && !rows;
        let words = trunkline_system_snmp::text::timeout(&agent.name, self.wording.stop_after_host);
        let patience = self.timeout.min(Duration::from_secs(1));
        let mut problem = diagnose::explain(addr, error, probe.then_some(patience), words).await;
        if rows {
            problem.exit = Exit::Partial;
        }
        self.tell(agent, &problem)
    }

    /// Tells a problem to stderr, and to the output where that has a place for it.
    pub(crate) fn tell(&self, agent: &Agent, problem: &Problem) -> Result<Exit, CliError> {
        self.printer().problem(&agent.name, problem)?;
        Ok(problem.exit)
    }
}

/// Patience with a shard that has no room. Room comes within a turn of the shard, unless it is
/// dead; what was refused has not been sent, so that nothing is done twice.
struct Patience {
    until: Instant,
}

impl Patience {
    fn begin() -> Self {
        Self {
            until: Instant::now() + ROOM_PATIENCE,
        }
    }

    fn tries_again(&self, error: &SnmpError) -> bool {
        matches!(error, SnmpError::QueueFull(_)) && Instant::now() < self.until
    }
}

/// Variables as the wire has them.
pub(crate) fn encode(vars: &[(OidBuf, OwnedValue)]) -> Result<Arc<[u8]>, CliError> {
    let views: Vec<_> = vars
        .iter()
        .map(|(oid, value)| (oid.as_oid(), value.as_value()))
        .collect();
    encode_varbinds(&views)
        .map(Into::into)
        .map_err(|error| CliError::Usage(error.to_string()))
}

/// A GET of one variable.
pub(crate) fn get_one(oid: &OidBuf) -> Result<Exchange, CliError> {
    Ok(Exchange {
        kind: PduKind::Get,
        non_repeaters: 0,
        max_repetitions: 0,
        varbinds: encode(&[(oid.clone(), OwnedValue::Null)])?,
    })
}

/// Runs `job` for every agent, `parallel` at a time, and judges them together.
pub(crate) async fn each<F>(
    tool: &Arc<Tool>,
    agents: Vec<Agent>,
    parallel: u16,
    job: impl Fn(Arc<Tool>, Agent) -> F,
) -> Result<Exit, CliError>
where
    F: Future<Output = Result<Exit, CliError>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut waiting = agents.into_iter();
    let mut exits = Vec::new();
    loop {
        while running.len() < usize::from(parallel)
            && let Some(agent) = waiting.next()
        {
            running.spawn(job(tool.clone(), agent));
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        let exit = ended.map_err(|error| CliError::Failed(format!("a task died: {error}")))??;
        tool.printer().step(exit == Exit::Done);
        exits.push(exit);
    }
    tool.printer().finish()?;
    Ok(Exit::of_all(&exits))
}
