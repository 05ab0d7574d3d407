//! Shards on real sockets: the threads, their restarts, and the client that feeds them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_engine::budget::BudgetPolicy;
use trunkline_engine::guard::{AttemptSheet, Guard};
use trunkline_engine::policy::PolicyError;
use trunkline_engine::rng::Rng;
use trunkline_engine::router::{MemberError, MemberSpec, Router, RouterPolicy};
use trunkline_runtime::clock::Clock;
use trunkline_runtime::doorbell::Doorbell;
use trunkline_runtime::entropy;
use trunkline_runtime::thread::{Death, Supervisor};
use trunkline_runtime::udp::{Driver, DriverStats, OpenError, SocketSpec, Sockets};

use crate::client::Client;
use crate::config::EnginePlan;
use crate::shard::{BatchPolicy, Egress, EngineSockets, ShardSetup};

/// What the shards are made of.
#[derive(Clone, Debug)]
pub struct WirePlan {
    /// The system's name, for its threads.
    pub name: String,
    /// How many.
    pub shards: u16,
    /// Sockets per shard, engine and address family.
    pub sockets: u16,
    /// Receive buffer of each socket in bytes.
    pub receive_buffer: usize,
    /// Requests per shard.
    pub max_requests: usize,
    /// Targets per shard.
    pub max_targets: usize,
    /// The ways out, at least one.
    pub engines: Vec<EnginePlan>,
    /// How requests are spread over them.
    pub router: RouterPolicy,
    /// How datagrams are gathered.
    pub batch: BatchPolicy,
    /// How much of the traffic may be repetition, per shard.
    pub budget: BudgetPolicy,
}

impl Default for WirePlan {
    /// One shard, one engine, one socket: what a single command needs.
    fn default() -> Self {
        Self {
            name: "snmp".to_owned(),
            shards: 1,
            sockets: 1,
            receive_buffer: 8 << 20,
            max_requests: 200_000,
            max_targets: 1_000_000,
            engines: vec![EnginePlan {
                member: MemberSpec::named("default"),
                bind: None,
                interface: None,
            }],
            router: RouterPolicy::default(),
            batch: BatchPolicy::default(),
            budget: BudgetPolicy::default(),
        }
    }
}

/// Why the shards could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A socket.
    #[error("engine \"{engine}\": {error}")]
    Open {
        /// Which engine.
        engine: String,
        /// What happened, and what to do.
        error: OpenError,
    },
    /// The router does not take an engine.
    #[error("engine \"{engine}\": {error}")]
    Member {
        /// Which engine.
        engine: String,
        /// Why not.
        error: MemberError,
    },
    /// The router does not take its policy.
    #[error("router: {0}")]
    Policy(#[from] PolicyError),
    /// A thread or an event descriptor.
    #[error("starting a shard: {0}")]
    Thread(#[from] io::Error),
}

/// Running shards.
#[derive(Debug)]
pub struct Wire {
    client: Client,
    supervisors: Mutex<Vec<Supervisor>>,
    drivers: Arc<Mutex<Vec<Option<Arc<DriverStats>>>>>,
}

/// Told when a shard's thread has died.
pub type OnDeath = Arc<dyn Fn(&Death) + Send + Sync>;

impl Wire {
    /// Opens the sockets and starts a thread per shard.
    ///
    /// # Errors
    /// The first thing that cannot be had; nothing runs then.
    pub fn start(plan: &WirePlan, clock: Clock, on_death: &OnDeath) -> Result<Self, WireError> {
        let guards = guards(plan, clock)?;
        let bells: Vec<Doorbell> = (0..plan.shards)
            .map(|_| Doorbell::new())
            .collect::<Result<_, _>>()?;
        let ring = |bell: &Doorbell| -> Box<dyn Fn() + Send + Sync> {
            let bell = bell.clone();
            Box::new(move || bell.ring())
        };
        let client = Client::new(bells.iter().map(ring).collect(), guards, plan.max_targets);
        let drivers = Arc::new(Mutex::new(vec![None; usize::from(plan.shards)]));
        let first = (0..plan.shards)
            .map(|_| open(plan))
            .collect::<Result<Vec<_>, _>>()?;
        let mut supervisors = Vec::new();
        for ((index, bell), opened) in (0..plan.shards).zip(bells).zip(first) {
            let birth = Birth {
                plan: plan.clone(),
                index,
                clock,
                bell,
                client: client.clone(),
                drivers: drivers.clone(),
            };
            let name = format!("{}-{index}", plan.name);
            let told = on_death.clone();
            let mut opened = Some(opened);
            let body = move || birth.live(opened.take());
            supervisors.push(Supervisor::spawn(name, entropy::seed(), body, move |d| {
                told(d)
            })?);
        }
        Ok(Self {
            client,
            supervisors: Mutex::new(supervisors),
            drivers,
        })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The socket drivers' counters, by shard; none for a shard that is being restarted.
    pub fn drivers(&self) -> Vec<Option<Arc<DriverStats>>> {
        lock(&self.drivers).clone()
    }

    /// Deaths of shards so far.
    pub fn deaths(&self) -> u64 {
        lock(&self.supervisors).iter().map(Supervisor::deaths).sum()
    }

    /// Ends all requests and waits for the threads.
    pub fn stop(&self) {
        let supervisors = std::mem::take(&mut *lock(&self.supervisors));
        for supervisor in &supervisors {
            supervisor.stop();
        }
        self.client.stop();
        for supervisor in supervisors {
            supervisor.join();
        }
    }
}

/// One guard over all engines, and one for each engine alone, for the targets that are tied to it.
fn guards(plan: &WirePlan, clock: Clock) -> Result<Vec<Guard>, WireError> {
    let mut rng = Rng::seeded(entropy::seed());
    let now = clock.now();
    let mut guard = |engines: &[EnginePlan]| -> Result<Guard, WireError> {
        let router = Router::new(plan.router.clone(), &mut rng)?;
        for engine in engines {
            let member = engine.member.clone();
            let refused = |error| WireError::Member {
                engine: engine.member.name.clone(),
                error,
            };
            router.add(now, member).map_err(refused)?;
        }
        Ok(Guard::new(Arc::new(router), AttemptSheet::default()))
    };
    let mut guards = vec![guard(&plan.engines)?];
    for engine in &plan.engines {
        guards.push(guard(std::slice::from_ref(engine))?);
    }
    Ok(guards)
}

/// The sockets of one shard, and which of them are whose.
struct Opened {
    sockets: Sockets,
    engines: Vec<EngineSockets>,
}

fn open(plan: &WirePlan) -> Result<Opened, WireError> {
    let mut specs = Vec::new();
    let mut engines = Vec::new();
    for engine in &plan.engines {
        let mut own = EngineSockets::default();
        for (bind, list) in [
            (v4_of(engine.bind), &mut own.v4),
            (v6_of(engine.bind, engine), &mut own.v6),
        ] {
            let Some(bind) = bind else { continue };
            for _ in 0..plan.sockets {
                list.push(u16::try_from(specs.len()).unwrap_or(u16::MAX));
                specs.push(SocketSpec {
                    interface: engine.interface.clone(),
                    rcvbuf: plan.receive_buffer,
                    sndbuf: plan.receive_buffer / 4,
                    ..SocketSpec::new(bind)
                });
            }
        }
        engines.push(own);
    }
    let names: Vec<_> = plan
        .engines
        .iter()
        .map(|engine| engine.member.name.as_str())
        .collect();
    let failed = |error| WireError::Open {
        engine: names.join(", "),
        error,
    };
    let sockets = Sockets::open(&specs).map_err(failed)?;
    Ok(Opened { sockets, engines })
}

fn v4_of(bind: Option<IpAddr>) -> Option<SocketAddr> {
    match bind {
        None => Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
        Some(ip @ IpAddr::V4(_)) => Some(SocketAddr::new(ip, 0)),
        Some(IpAddr::V6(_)) => None,
    }
}

/// A machine without IPv6 still polls IPv4, so an unasked-for IPv6 socket is tried first.
fn v6_of(bind: Option<IpAddr>, engine: &EnginePlan) -> Option<SocketAddr> {
    match bind {
        None => {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            let probe = SocketSpec {
                interface: engine.interface.clone(),
                ..SocketSpec::new(any)
            };
            Sockets::open(&[probe]).is_ok().then_some(any)
        }
        Some(ip @ IpAddr::V6(_)) => Some(SocketAddr::new(ip, 0)),
        Some(IpAddr::V4(_)) => None,
    }
}

/// All that a shard's thread needs to begin, and to begin again.
struct Birth {
    plan: WirePlan,
    index: u16,
    clock: Clock,
    bell: Doorbell,
    client: Client,
    drivers: Arc<Mutex<Vec<Option<Arc<DriverStats>>>>>,
}

impl Birth {
    fn live(&self, opened: Option<Opened>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let opened = match opened {
            Some(opened) => opened,
            None => open(&self.plan)?,
        };
        let now = self.clock.now();
        let machine = self.client.machine(self.setup(opened.engines), now);
        let driver = Driver::new(self.clock, opened.sockets, machine, self.bell.clone())?;
        lock(&self.drivers)[usize::from(self.index)] = Some(driver.stats());
        driver.run()?;
        Ok(())
    }

    fn setup(&self, engines: Vec<EngineSockets>) -> ShardSetup {
        let egress = self
            .client
            .guards()
            .iter()
            .enumerate()
            .map(|(group, guard)| Egress {
                guard: guard.clone(),
                sockets: match group {
                    0 => engines.clone(),
                    only => vec![engines[only - 1].clone()],
                },
            });
        ShardSetup {
            index: self.index,
            jobs_max: self.plan.max_requests,
            targets_max: self.plan.max_targets,
            key: entropy::seed(),
            seed: entropy::seed(),
            egress: egress.collect(),
            batch: self.plan.batch,
            budget: self.plan.budget,
            stats: Arc::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
