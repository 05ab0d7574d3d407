//! A shard in a virtual world, and what the tests ask of it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::guard::{AttemptSheet, Guard};
use trunkline_engine::rng::Rng;
use trunkline_engine::router::{MemberSpec, Router, RouterPolicy};
use trunkline_engine::time::Time;
use trunkline_runtime::udp::{Machine, Unreachable};
use trunkline_sim::snmp::{Fleet, FleetSpec, models};
use trunkline_sim::world::{Client as Speaker, World};
use trunkline_system_snmp::{
    Ask, BatchPolicy, Client, Completion, Egress, EngineSockets, Event, Exchange, Inbox,
    JobOptions, Method, Priority, Request, ShardMachine, ShardSetup, TargetId, TargetPolicy,
    TargetSpec, WalkSpec,
};
use trunkline_wire_snmp::{OidBuf, Value, Version, encode_varbinds};

/// One piece of news; pages are counted and let go, as a reader does.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) at: Time,
    pub(crate) token: u64,
    pub(crate) rows: usize,
    pub(crate) end: Option<String>,
}

/// The machine under test as the world drives it; it says what completes, and when.
pub(crate) struct Rig {
    pub(crate) machine: ShardMachine,
    pub(crate) client: Client,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) log: Rc<RefCell<Vec<News>>>,
    rung: Arc<AtomicBool>,
}

impl Rig {
    pub(crate) fn new(seed: u64, engines: &[&str]) -> Self {
        Self::batching(seed, engines, BatchPolicy::default())
    }

    pub(crate) fn batching(seed: u64, engines: &[&str], batch: BatchPolicy) -> Self {
        let mut rng = Rng::seeded(seed);
        let router = Router::new(RouterPolicy::default(), &mut rng).unwrap();
        for name in engines {
            router.add(Time::ZERO, MemberSpec::named(*name)).unwrap();
        }
        let guard = Guard::new(Arc::new(router), AttemptSheet::default());
        let rung = Arc::new(AtomicBool::new(false));
        let bell = rung.clone();
        let ring = Box::new(move || bell.store(true, Ordering::Relaxed));
        let client = Client::new(vec![ring], vec![guard.clone()], 1 << 20);
        let sockets = (0..engines.len())
            .map(|at| EngineSockets {
                v4: vec![at as u16],
                v6: Vec::new(),
            })
            .collect();
        let setup = ShardSetup {
            index: 0,
            jobs_max: 200_000,
            targets_max: 1 << 20,
            key: seed,
            seed,
            egress: vec![Egress { guard, sockets }],
            batch,
            budget: Default::default(),
            stats: Arc::default(),
        };
        let machine = client.machine(setup, Time::ZERO);
        Self {
            machine,
            client,
            inbox: Inbox::new(),
            log: Rc::default(),
            rung,
        }
    }

    pub(crate) fn target(&self, addr: SocketAddr, policy: &TargetPolicy) -> TargetId {
        let spec = TargetSpec {
            addr,
            version: Version::V2c,
            community: Arc::from(*b"public"),
            source: Default::default(),
            policy: Arc::new(policy.clone()),
            egress: 0,
        };
        self.client.add_target(spec).unwrap()
    }

    pub(crate) fn ask(&self, target: TargetId, ask: Ask, deadline: Time, token: u64) {
        let options = JobOptions {
            deadline,
            priority: Priority::Normal,
        };
        self.client.submit(
            Request {
                target,
                ask,
                options,
                token,
            },
            &self.inbox,
        );
    }

    fn note(&self, now: Time) {
        while let Some(completion) = self.inbox.try_take() {
            self.log.borrow_mut().push(news(now, &completion));
        }
    }
}

impl Speaker for Rig {
    fn receive(&mut self, now: Time, rx: &RxBatch) {
        self.machine.receive(now, rx);
    }

    fn turn(&mut self, now: Time) {
        self.rung.store(false, Ordering::Relaxed);
        self.machine.turn(now);
        self.note(now);
    }

    fn fill(&mut self, now: Time, tx: &mut TxBatch) {
        self.machine.fill(now, tx);
        self.note(now);
    }

    fn next_wakeup(&self) -> Option<Time> {
        if self.rung.load(Ordering::Relaxed) {
            return Some(Time::ZERO);
        }
        self.machine.next_wakeup()
    }

    fn unreachable(&mut self, now: Time, peer: SocketAddr) {
        self.machine.unreachable(now, peer, Unreachable::Port);
        self.note(now);
    }
}

/// A policy for tests: quick, without a breaker, so that each test adds what it is about.
pub(crate) fn policy() -> TargetPolicy {
    let mut policy = TargetPolicy {
        queue_max: 100_000,
        ..TargetPolicy::default()
    };
    policy.retry.attempts = 6;
    policy.retry.backoff.curve = trunkline_engine::backoff::Curve::Fixed;
    policy.retry.backoff.base = Duration::ZERO;
    policy.guard.breaker.consecutive_failures = 0;
    policy.guard.flight.adaptive = false;
    policy.guard.flight.max = 64;
    policy
}

pub(crate) fn oid(text: &str) -> OidBuf {
    text.parse().unwrap()
}

pub(crate) fn get(text: &str) -> Ask {
    let oid = oid(text);
    let list = encode_varbinds(&[(oid.as_oid(), Value::Null)]).unwrap();
    Ask::Exchange(Exchange::get(list.into()))
}

pub(crate) fn bulkwalk(root: &str, repetitions: u32) -> Ask {
    Ask::Walk(WalkSpec::new(oid(root), Method::Bulk(repetitions)))
}

pub(crate) fn fleet(count: u32, change: impl FnOnce(&mut FleetSpec)) -> Fleet {
    let mib = models::switch48().build().unwrap();
    let mut spec = FleetSpec::new(Arc::new(mib), count);
    change(&mut spec);
    Fleet::new(spec).unwrap()
}

/// A world of one shard and one fleet, in which the books balance after every step.
pub(crate) fn world(seed: u64, rig: Rig, fleet: Fleet) -> World<Rig, Fleet> {
    let sockets: Vec<SocketAddr> = (1..=3)
        .map(|n| format!("127.0.0.{n}:40000").parse().unwrap())
        .collect();
    let mut world = World::new(seed, rig, &sockets);
    world.add(fleet.home(), fleet);
    world.always(|world| {
        for balance in world.client().client.balances() {
            if balance.imbalance() != 0 || balance.leaked != 0 {
                return Err(format!("the books are off: {balance:?}"));
            }
        }
        for guard in world.client().client.guards() {
            if guard.attempts().imbalance() != 0 {
                return Err(format!("the attempts are off: {:?}", guard.attempts()));
            }
        }
        Ok(())
    });
    world
}

fn news(at: Time, completion: &Completion) -> News {
    let rows = match &completion.event {
        Event::Page(reply, _) => reply.varbinds().filter(Result::is_ok).count(),
        _ => 0,
    };
    let end = completion
        .event
        .is_last()
        .then(|| format!("{:?}", completion.event));
    News {
        at,
        token: completion.token,
        rows,
        end,
    }
}
