//! A small asking client against echoing peers: what the world promises every test that uses it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::time::Time;
use trunkline_sim::netem::{Burst, Profile};
use trunkline_sim::world::{Client, Death, Exchanges, Home, Peer, Reached, Reply, Step, World};

const TIMEOUT: Duration = Duration::from_millis(500);
const MS: Duration = Duration::from_millis(1);

/// Asks each of its questions until it is answered, again after every timeout.
#[derive(Debug)]
struct Asker {
    peer: SocketAddr,
    open: BTreeMap<u32, Time>,
    answered: BTreeMap<u32, Time>,
    sent: u64,
    unreachable: Vec<(Time, SocketAddr)>,
    eager: bool,
}

impl Asker {
    fn new(peer: SocketAddr, questions: u32) -> Self {
        Self {
            peer,
            open: (0..questions).map(|i| (i, Time::ZERO)).collect(),
            answered: BTreeMap::new(),
            sent: 0,
            unreachable: Vec::new(),
            eager: false,
        }
    }
}

impl Client for Asker {
    fn receive(&mut self, now: Time, rx: &RxBatch) {
        for (_, bytes) in rx.iter() {
            let id = u32::from_be_bytes(*bytes.first_chunk().unwrap_or(&[0; 4]));
            if self.open.remove(&id).is_some() {
                self.answered.insert(id, now);
            }
        }
    }

    fn turn(&mut self, _now: Time) {}

    fn fill(&mut self, now: Time, tx: &mut TxBatch) {
        for (id, due) in &mut self.open {
            if *due <= now && tx.push(self.peer, None, 0, &id.to_be_bytes()) {
                *due = now + TIMEOUT;
                self.sent += 1;
            }
        }
    }

    fn next_wakeup(&self) -> Option<Time> {
        if self.eager {
            return Some(Time::ZERO);
        }
        self.open.values().min().copied()
    }

    fn unreachable(&mut self, now: Time, peer: SocketAddr) {
        self.unreachable.push((now, peer));
    }
}

/// Answers with what it was asked; counts its lives.
#[derive(Debug, Default)]
struct Echo {
    lives: u32,
    heard: u32,
}

impl Peer for Echo {
    fn handle(
        &mut self,
        _now: Time,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        out: &mut dyn FnMut(Reply<'_>),
    ) {
        self.heard += 1;
        out(Reply {
            from: to,
            to: from,
            bytes,
        });
    }

    fn restarted(&mut self, _now: Time) {
        self.lives += 1;
    }
}

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)), 161);
const OWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)), 5000);

fn world(seed: u64, client: Asker) -> World<Asker, Echo> {
    let mut world = World::new(seed, client, &[OWN]);
    world.add(Home::at(PEER), Echo::default());
    world
}

fn bad_weather() -> Profile {
    Profile {
        latency: 20 * MS,
        jitter: 10 * MS,
        loss: 0.04,
        burst: Some(Burst {
            enter: 0.005,
            leave: 0.3,
            loss: 0.8,
        }),
        duplicate: 0.03,
        reorder: 0.02,
        ..Profile::default()
    }
}

fn all_answered(world: &World<Asker, Echo>) -> bool {
    world.client().open.is_empty()
}

#[test]
fn time_jumps_to_what_happens_next() {
    let mut world = world(1, Asker::new(PEER, 3));
    world
        .netem_mut()
        .set_default(Profile::delayed(30 * MS))
        .unwrap();
    let reached = world
        .run_until(Time::from_millis(1000), all_answered)
        .unwrap();
    assert_eq!(reached, Reached::Condition);
    assert_eq!(world.now(), Time::from_millis(60));
    assert_eq!(world.steps(), 3, "send, answer, receive");
    assert_eq!(world.step().unwrap(), Step::Idle);
}

#[test]
fn the_same_seed_is_the_same_history_and_another_seed_is_not() {
    let run = |seed| {
        let mut world = world(seed, Asker::new(PEER, 500));
        world.netem_mut().set_default(bad_weather()).unwrap();
        world
            .run_until(Time::from_millis(600_000), all_answered)
            .unwrap();
        let answered = world.client().answered.clone();
        (world.digest(), world.now(), world.steps(), answered)
    };
    assert_eq!(run(42), run(42));
    assert_ne!(run(42).0, run(43).0);
}

#[test]
fn broken_exchanges_are_exactly_the_retransmissions_that_were_needed() {
    let mut world = world(7, Asker::new(PEER, 2_000));
    world.netem_mut().set_default(bad_weather()).unwrap();
    world.always(|world| {
        let c = world.netem().counters();
        let out = c.delivered + c.dropped() + world.netem().in_flight() as u64;
        if c.sent + c.duplicated == out {
            return Ok(());
        }
        Err(format!("the network's books do not balance: {c:?}"))
    });
    let reached = world
        .run_until(Time::from_millis(600_000), all_answered)
        .unwrap();
    assert_eq!(reached, Reached::Condition);
    world
        .run_until(Time::from_millis(700_000), |_| false)
        .unwrap();
    let Exchanges {
        started,
        answered,
        broken,
        unanswered,
    } = world.exchanges();
    // The timeout is far above the worst round trip, so nothing is asked twice without need.
    assert_eq!(world.client().sent, started);
    assert_eq!((answered, broken), (2_000, started - 2_000));
    assert_eq!(unanswered, 0);
    assert!(broken > 100, "the weather was too good: {broken}");
}

#[test]
fn a_closed_port_is_unreachable_and_a_silent_host_says_nothing() {
    let cases = [
        (Some(Death::Closed), 1),
        (Some(Death::Silent), 0),
        (None, 0),
    ];
    for (death, unreachable) in cases {
        let mut world = World::new(3, Asker::new(PEER, 1), &[OWN]);
        let id = world.add(Home::at(PEER), Echo::default());
        world
            .netem_mut()
            .set_default(Profile::delayed(5 * MS))
            .unwrap();
        if let Some(death) = death {
            world.kill(id, death);
        }
        world.run_until(Time::from_millis(100), |_| false).unwrap();
        assert_eq!(world.client().unreachable.len(), unreachable, "{death:?}");
        assert_eq!(world.client().answered.len(), usize::from(death.is_none()));
    }
}

#[test]
fn another_port_of_a_living_host_is_unreachable_and_an_empty_address_is_silent() {
    for (target, unreachable) in [("10.0.0.7:162", 1), ("10.0.0.8:161", 0)] {
        let mut world = world(3, Asker::new(target.parse().unwrap(), 1));
        world.run_until(Time::from_millis(100), |_| false).unwrap();
        assert_eq!(world.client().unreachable.len(), unreachable, "{target}");
    }
}

#[test]
fn a_script_kills_and_restarts_at_its_times() {
    let mut world = World::new(3, Asker::new(PEER, 1), &[OWN]);
    let id = world.add(Home::at(PEER), Echo::default());
    world.kill(id, Death::Silent);
    world.at(Time::from_millis(1_200), move |world| world.restart(id));
    world
        .run_until(Time::from_millis(5_000), all_answered)
        .unwrap();
    assert_eq!(
        world.now(),
        Time::from_millis(1_500),
        "the fourth try is answered"
    );
    assert_eq!(world.exchanges().unanswered, 3);
    assert_eq!((world.peer(id).lives, world.peer(id).heard), (1, 1));
}

#[test]
fn a_broken_invariant_names_the_seed_and_what_came_before() {
    let mut world = world(987_654, Asker::new(PEER, 1));
    world.always(|world| match world.client().answered.len() {
        0 => Ok(()),
        n => Err(format!("{n} answers are too many")),
    });
    let failure = world
        .run_until(Time::from_millis(100), |_| false)
        .unwrap_err();
    let text = format!("{failure:?}");
    assert!(text.contains("seed 987654"), "{text}");
    assert!(text.contains("1 answers are too many"), "{text}");
    assert!(text.contains("10.9.9.9:5000 to 10.0.0.7:161"), "{text}");
}

#[test]
fn a_world_in_which_time_stands_still_fails() {
    let mut client = Asker::new(PEER, 0);
    client.eager = true;
    let failure = world(1, client)
        .run_until(Time::MAX, |_| false)
        .unwrap_err();
    assert!(failure.what.contains("time stands still"), "{failure}");
}

#[test]
#[should_panic(expected = "is taken")]
fn overlapping_homes_are_a_mistake() {
    let mut world = world(1, Asker::new(PEER, 0));
    let home = Home {
        first: "10.0.0.1".parse().unwrap(),
        last: "10.0.0.9".parse().unwrap(),
        port: 161,
    };
    world.add(home, Echo::default());
}
