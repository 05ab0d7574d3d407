//! A fleet in a world: walks over a bad network, deaths, a changed community.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::time::Time;
use trunkline_sim::netem::Profile;
use trunkline_sim::snmp::{Fleet, FleetSpec, Silence, models};
use trunkline_sim::world::{Client, Death, PeerId, Reached, World};
use trunkline_wire_snmp::{OidBuf, PduKind, Value, Version, decode, encode};

const OWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)), 5000);
const TIMEOUT: Duration = Duration::from_millis(500);
const COLUMN: &str = "1.3.6.1.2.1.31.1.1.1.1";

/// Walks one column of each target by get-bulk, one request at a time, until each is done.
#[derive(Debug)]
struct Walker {
    column: OidBuf,
    walks: HashMap<i32, Walk>,
    sent: u64,
    unreachable: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Walk {
    target: SocketAddr,
    at: OidBuf,
    rows: u32,
    due: Option<Time>,
}

impl Walker {
    fn new(targets: impl Iterator<Item = SocketAddr>) -> Self {
        let column: OidBuf = COLUMN.parse().expect("an OID");
        let walk = |target| Walk {
            target,
            at: column.clone(),
            rows: 0,
            due: Some(Time::ZERO),
        };
        Self {
            walks: (1..).zip(targets.map(walk)).collect(),
            column: column.clone(),
            sent: 0,
            unreachable: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.walks.values().all(|walk| walk.due.is_none())
    }

    fn rows(&self) -> BTreeMap<i32, u32> {
        self.walks
            .iter()
            .map(|(id, walk)| (*id, walk.rows))
            .collect()
    }
}

impl Client for Walker {
    fn receive(&mut self, now: Time, rx: &RxBatch) {
        for (meta, bytes) in rx.iter() {
            let Ok(message) = decode(bytes) else { continue };
            let Some(walk) = self.walks.get_mut(&message.pdu.request_id) else {
                continue;
            };
            let mut bindings = message.pdu.varbinds.filter_map(Result::ok).peekable();
            let first = bindings.peek().map(|binding| binding.oid.to_owned());
            // An answer that does not go on from here is a duplicate, or late.
            if walk.target != meta.from || first.is_none_or(|first| first <= walk.at) {
                continue;
            }
            walk.due = Some(now);
            for binding in bindings {
                if !binding.oid.starts_with(&self.column) {
                    walk.due = None;
                    break;
                }
                walk.at = binding.oid.to_owned();
                walk.rows += 1;
            }
        }
    }

    fn turn(&mut self, _now: Time) {}

    fn fill(&mut self, now: Time, tx: &mut TxBatch) {
        let mut due: Vec<_> = self.walks.iter_mut().collect();
        due.sort_by_key(|(id, _)| **id);
        for (id, walk) in due {
            if walk.due.is_none_or(|due| due > now) || tx.is_full() {
                continue;
            }
            let mut slot = [0; 200];
            let ask = [(walk.at.as_oid(), Value::Null)];
            let (version, kind) = (Version::V2c, PduKind::GetBulk);
            let range = encode(&mut slot, version, b"public", kind, *id, 0, 10, ask);
            assert!(tx.push(walk.target, None, 0, &slot[range.expect("it fits")]));
            walk.due = Some(now + TIMEOUT);
            self.sent += 1;
        }
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.walks.values().filter_map(|walk| walk.due).min()
    }

    fn unreachable(&mut self, _now: Time, peer: SocketAddr) {
        self.unreachable.push(peer);
    }
}

fn world(seed: u64, agents: u32, faults: &str) -> (World<Walker, Fleet>, PeerId) {
    let mib = models::switch48().build().expect("a model");
    let mut spec = FleetSpec::new(Arc::new(mib), agents);
    spec.faults = faults.parse().expect("a fault list");
    spec.seed = seed;
    let fleet = Fleet::new(spec).expect("a fleet");
    let targets: Vec<_> = (0..agents).map(|agent| fleet.address(agent)).collect();
    let mut world = World::new(seed, Walker::new(targets.into_iter()), &[OWN]);
    let home = fleet.home();
    let id = world.add(home, fleet);
    world.always(move |world| {
        let fleet = world.peer(id);
        let c = fleet.counters();
        let out = c.replied + c.silent_total() + fleet.waiting() as u64;
        let balanced = c.received == out;
        balanced
            .then_some(())
            .ok_or_else(|| format!("the fleet's books: {c:?}"))
    });
    (world, id)
}

#[test]
fn walks_over_a_bad_network_are_complete_and_repeat_exactly() {
    let run = |seed| {
        let (mut world, _) = world(seed, 20, "slow=20%:100ms,duplicate=5%,loss=1%");
        let weather = Profile {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(5),
            loss: 0.05,
            duplicate: 0.02,
            reorder: 0.02,
            ..Profile::default()
        };
        world.netem_mut().set_default(weather).unwrap();
        let done = |world: &World<Walker, Fleet>| world.client().is_done();
        let reached = world.run_until(Time::from_millis(120_000), done).unwrap();
        assert_eq!(reached, Reached::Condition);
        let rows = world.client().rows();
        assert!(rows.values().all(|rows| *rows == 48), "{rows:?}");
        (world.digest(), world.now(), world.client().sent)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).0, run(6).0);
}

#[test]
fn one_killed_agent_is_unreachable_or_silent_and_comes_back() {
    for (death, unreachable) in [(Death::Closed, true), (Death::Silent, false)] {
        let (mut world, id) = world(1, 3, "");
        world.peer_mut(id).kill(1, death);
        world.at(Time::from_millis(2_100), move |world| {
            let now = world.now();
            world.peer_mut(id).restart(1, now);
        });
        world
            .run_until(Time::from_millis(2_000), |_| false)
            .unwrap();
        assert_eq!(
            world.client().rows(),
            BTreeMap::from([(1, 48), (2, 0), (3, 48)])
        );
        let victim = world.peer(id).address(1);
        assert_eq!(world.client().unreachable.contains(&victim), unreachable);
        let done = |world: &World<Walker, Fleet>| world.client().is_done();
        let reached = world.run_until(Time::from_millis(9_000), done).unwrap();
        assert_eq!(reached, Reached::Condition);
        assert_eq!(world.now(), Time::from_millis(2_500));
    }
}

#[test]
fn a_fleet_that_is_killed_as_a_whole_restarts_with_new_uptimes() {
    let (mut world, id) = world(1, 2, "");
    world.kill(id, Death::Silent);
    world.at(Time::from_millis(1_200), move |world| world.restart(id));
    let done = |world: &World<Walker, Fleet>| world.client().is_done();
    world.run_until(Time::from_millis(9_000), done).unwrap();
    assert_eq!(world.now(), Time::from_millis(1_500));
}

#[test]
fn a_community_that_changes_at_a_time_silences_the_agent_from_then_on() {
    let (mut world, id) = world(1, 1, "");
    world
        .netem_mut()
        .set_default(Profile::delayed(Duration::from_millis(50)))
        .unwrap();
    world.at(Time::from_millis(120), move |world| {
        world.peer_mut(id).set_community(0, Some(b"changed"));
    });
    world
        .run_until(Time::from_millis(5_000), |_| false)
        .unwrap();
    assert_eq!(world.client().rows()[&1], 10, "one round trip of 100 ms");
    assert!(!world.client().is_done());
}

#[test]
fn what_a_fleet_was_about_to_answer_dies_with_it() {
    let (mut world, id) = world(1, 1, "slow=100%:100ms");
    world.at(Time::from_millis(50), move |world| {
        world.kill(id, Death::Silent)
    });
    world.run_until(Time::from_millis(900), |_| false).unwrap();
    assert_eq!(world.client().rows()[&1], 0);
    assert_eq!(world.peer(id).waiting(), 1);
    world.at(Time::from_millis(901), move |world| world.restart(id));
    world
        .run_until(Time::from_millis(1_099), |_| false)
        .unwrap();
    let fleet = world.peer(id);
    assert_eq!(
        (fleet.waiting(), fleet.counters().silent_by(Silence::Killed)),
        (1, 1)
    );
    world
        .run_until(Time::from_millis(1_100), |_| false)
        .unwrap();
    assert_eq!(
        world.client().rows()[&1],
        10,
        "asked again at 1 s, answered 100 ms later"
    );
}

#[test]
fn what_one_agent_was_about_to_answer_dies_with_it() {
    let (mut world, id) = world(1, 2, "slow=100%:100ms");
    world.at(Time::from_millis(50), move |world| {
        world.peer_mut(id).kill(0, Death::Silent);
    });
    world.run_until(Time::from_millis(150), |_| false).unwrap();
    assert_eq!(world.client().rows(), BTreeMap::from([(1, 0), (2, 10)]));
    assert_eq!(world.peer(id).counters().silent_by(Silence::Killed), 1);
}
