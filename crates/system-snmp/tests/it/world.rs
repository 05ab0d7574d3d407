//! A shard in virtual time: every request ends once, whatever the network and the agents do.

use std::time::Duration;

use trunkline_engine::time::Time;
use trunkline_sim::netem::Profile;
use trunkline_sim::snmp::{DeviceFault, FaultPlan, Fleet};
use trunkline_sim::world::{Death, World};
use trunkline_system_snmp::{BatchPolicy, TargetId};

use crate::rig::{Rig, bulkwalk, fleet, get, policy, world};

const SYS_UPTIME: &str = "1.3.6.1.2.1.1.3.0";
const MIB2: &str = "1.3.6.1.2.1";

fn run<P: trunkline_sim::world::Peer + 'static>(world: &mut World<Rig, P>, until_secs: u64) {
    let until = Time::from_millis(until_secs * 1000);
    world.run_until(until, |_| false).unwrap();
}

/// The last event of each token, in order of token; fails when one has none or two.
fn endings(world: &World<Rig, Fleet>, count: u64) -> Vec<(Time, String)> {
    let log = world.client().log.borrow();
    let mut ends = vec![None; count as usize];
    for news in log.iter().filter(|news| news.token < count) {
        let Some(end) = &news.end else { continue };
        let place = &mut ends[news.token as usize];
        assert!(place.is_none(), "request {} ended twice", news.token);
        *place = Some((news.at, end.clone()));
    }
    let named = |(token, end): (usize, Option<_>)| {
        end.unwrap_or_else(|| panic!("request {token} never ended"))
    };
    ends.into_iter().enumerate().map(named).collect()
}

fn rows(world: &World<Rig, Fleet>, token: u64) -> usize {
    let log = world.client().log.borrow();
    log.iter()
        .filter(|news| news.token == token)
        .map(|news| news.rows)
        .sum()
}

fn all_targets(rig: &Rig, fleet: &Fleet) -> Vec<TargetId> {
    (0..fleet.count())
        .map(|agent| rig.target(fleet.address(agent), &policy()))
        .collect()
}

#[test]
fn a_thousand_agents_answer_and_the_books_say_so() {
    let (rig, fleet) = (Rig::new(1, &["a"]), fleet(1000, |_| ()));
    for (token, target) in all_targets(&rig, &fleet).into_iter().enumerate() {
        rig.ask(target, get(SYS_UPTIME), Time::MAX, token as u64);
    }
    let mut world = world(1, rig, fleet);
    run(&mut world, 5);
    assert!(
        endings(&world, 1000)
            .iter()
            .all(|(_, end)| end.starts_with("Reply"))
    );
    let balance = world.client().client.balance();
    assert_eq!(
        (balance.submitted, balance.delivered, balance.in_flight),
        (1000, 1000, 0)
    );
    let stats = world.client().client.stats()[0].read();
    assert_eq!((stats.sent, stats.retransmits), (1000, 0));
}

#[test]
fn a_lossy_slow_reordering_network_loses_no_row_and_few_retransmits() {
    let (rig, fleet) = (Rig::new(2, &["a"]), fleet(200, |_| ()));
    let expected = fleet.mib(0).len();
    for (token, target) in all_targets(&rig, &fleet).into_iter().enumerate() {
        rig.ask(target, bulkwalk(MIB2, 25), Time::MAX, token as u64);
    }
    let mut world = world(2, rig, fleet);
    let profile = Profile {
        loss: 0.05,
        duplicate: 0.05,
        jitter: Duration::from_millis(20),
        reorder: 0.05,
        ..Profile::delayed(Duration::from_millis(100))
    };
    world.netem_mut().set_default(profile).unwrap();
    run(&mut world, 600);
    for (token, (_, end)) in endings(&world, 200).iter().enumerate() {
        assert!(end.contains("Complete"), "walk {token}: {end}");
        // The root of the walk holds all of the model but what lies in other subtrees.
        assert!(rows(&world, token as u64) > expected / 2, "walk {token}");
        assert_eq!(rows(&world, token as u64), rows(&world, 0), "walk {token}");
    }
    let retransmits = world.client().client.stats()[0].read().retransmits;
    let broken = world.exchanges().broken;
    assert!(broken > 100, "the network must have done harm: {broken}");
    assert!(
        retransmits as f64 <= 1.2 * broken as f64,
        "{retransmits} for {broken} broken"
    );
}

#[test]
fn thirty_minutes_of_black_hole_leave_nothing_in_flight() {
    let (rig, fleet) = (Rig::new(3, &["a"]), fleet(100, |_| ()));
    let targets = all_targets(&rig, &fleet);
    let mut world = world(3, rig, fleet);
    world
        .netem_mut()
        .set_default(Profile::black_hole())
        .unwrap();
    for minute in 0..30u64 {
        for (index, target) in targets.iter().enumerate() {
            let token = minute * 100 + index as u64;
            world
                .client()
                .ask(*target, get(SYS_UPTIME), Time::MAX, token);
        }
        let until = Time::from_millis((minute + 1) * 60_000);
        world.run_until(until, |_| false).unwrap();
    }
    assert!(
        endings(&world, 3000)
            .iter()
            .all(|(_, end)| end.contains("Timeout"))
    );
    let rig = world.client();
    assert_eq!(
        (
            rig.machine.shard().in_flight(),
            rig.client.balance().in_flight
        ),
        (0, 0)
    );
    assert_eq!(rig.client.guards()[0].attempts().in_flight, 0);
}

#[test]
fn a_stuck_target_delays_nobody_by_a_tick() {
    let finished = |stuck: bool| {
        let (rig, fleet) = (Rig::new(4, &["a"]), fleet(51, |_| ()));
        let targets = all_targets(&rig, &fleet);
        for round in 0..20u64 {
            for (index, target) in targets.iter().enumerate() {
                rig.ask(
                    *target,
                    get(SYS_UPTIME),
                    Time::MAX,
                    round * 51 + index as u64,
                );
            }
        }
        let last = fleet.address(50);
        let mut world = world(4, rig, fleet);
        world
            .netem_mut()
            .set_default(Profile::delayed(Duration::from_millis(3)))
            .unwrap();
        if stuck {
            world
                .netem_mut()
                .set_host(last.ip(), Profile::black_hole())
                .unwrap();
        }
        run(&mut world, 300);
        let ends = endings(&world, 51 * 20);
        ends.into_iter()
            .enumerate()
            .filter(|(token, _)| token % 51 != 50)
            .map(|(_, (at, _))| at)
            .collect::<Vec<_>>()
    };
    assert_eq!(finished(false), finished(true));
}

#[test]
fn a_dead_agent_is_probed_once_per_breaker_period_and_comes_back() {
    let (rig, fleet) = (Rig::new(5, &["a"]), fleet(1, |_| ()));
    let mut breaking = policy();
    breaking.guard.breaker = Default::default();
    breaking.retry.attempts = 1;
    let target = rig.target(fleet.address(0), &breaking);
    let mut world = world(5, rig, fleet);
    let mut token = 0;
    let mut second = |world: &mut World<Rig, Fleet>, from: u64, to: u64| {
        for at in from..to {
            world
                .client()
                .ask(target, get(SYS_UPTIME), Time::MAX, token);
            token += 1;
            world
                .run_until(Time::from_millis((at + 1) * 1000), |_| false)
                .unwrap();
        }
    };
    world
        .netem_mut()
        .set_default(Profile::black_hole())
        .unwrap();
    second(&mut world, 0, 120);
    let sent = world.client().client.stats()[0].read().sent;
    assert!((5..=12).contains(&sent), "{sent} datagrams in two minutes");
    world.netem_mut().set_default(Profile::default()).unwrap();
    second(&mut world, 120, 400);
    let log = world.client().log.borrow();
    let last = log.last().unwrap();
    assert!(last.end.as_ref().unwrap().starts_with("Reply"), "{last:?}");
    let figures = world.client().client.stats()[0].read();
    assert!(
        figures.breaker_opens >= 1 && figures.breaker_closes == 1,
        "{figures:?}"
    );
}

#[test]
fn a_closed_port_fails_at_once_and_alone() {
    let (rig, fleet) = (Rig::new(6, &["a"]), fleet(50, |_| ()));
    for (token, target) in all_targets(&rig, &fleet).into_iter().enumerate() {
        rig.ask(target, get(SYS_UPTIME), Time::MAX, token as u64);
    }
    let mut fleet = fleet;
    fleet.kill(7, Death::Closed);
    let mut world = world(6, rig, fleet);
    run(&mut world, 30);
    for (token, (at, end)) in endings(&world, 50).iter().enumerate() {
        let expected = if token == 7 { "Unreachable" } else { "Reply" };
        assert!(end.contains(expected), "{token}: {end}");
        assert!(*at < Time::from_millis(1000), "{token} ended at {at:?}");
    }
    assert_eq!(world.client().client.stats()[0].read().retransmits, 0);
}

#[test]
fn an_agent_that_dies_in_a_walk_leaves_a_named_partial() {
    let (rig, fleet) = (Rig::new(7, &["a"]), fleet(1, |_| ()));
    let target = rig.target(fleet.address(0), &policy());
    rig.ask(target, bulkwalk(MIB2, 10), Time::MAX, 0);
    let home = fleet.home();
    let mut world = World::new(7, rig, &["127.0.0.1:40000".parse().unwrap()]);
    let peer = world.add(home, fleet);
    world
        .netem_mut()
        .set_default(Profile::delayed(Duration::from_millis(10)))
        .unwrap();
    world.at(Time::from_millis(100), move |world| {
        world.kill(peer, Death::Silent)
    });
    run(&mut world, 60);
    let (_, end) = &endings(&world, 1)[0];
    assert!(end.contains("Partial") && end.contains("Timeout"), "{end}");
    assert!(rows(&world, 0) > 10);
}

#[test]
fn every_device_fault_ends_every_walk_with_its_reason() {
    let cases: [(DeviceFault, &str); 10] = [
        (DeviceFault::Dead, "Failed(Error(Timeout"),
        (DeviceFault::WrongSource, "stranger: Some("),
        (DeviceFault::Garbage, "Timeout"),
        (DeviceFault::WrongId, "Timeout"),
        (DeviceFault::Loop(20), "NotIncreasing"),
        (DeviceFault::Repeat(20), "NotIncreasing"),
        (DeviceFault::EmptyBulk, "Complete"),
        (DeviceFault::TooBig(5), "Complete"),
        (DeviceFault::Slow(Duration::from_millis(300)), "Complete"),
        (
            DeviceFault::GenErr(crate::rig::oid("1.3.6.1.2.1.2.2.1.5.3")),
            "Status { status: GenErr",
        ),
    ];
    for (fault, expected) in cases {
        let rig = Rig::new(8, &["a"]);
        let fleet = fleet(1, |spec| spec.faults = FaultPlan::all(fault.clone()));
        let target = rig.target(fleet.address(0), &policy());
        rig.ask(target, bulkwalk(MIB2, 25), Time::MAX, 0);
        let mut world = world(8, rig, fleet);
        run(&mut world, 1200);
        let (_, end) = &endings(&world, 1)[0];
        assert!(end.contains(expected), "{fault:?}: {end}");
    }
}

#[test]
fn a_device_that_cannot_bear_a_bulk_is_remembered() {
    let rig = Rig::new(9, &["a"]);
    let fleet = fleet(1, |spec| {
        spec.faults = FaultPlan::all(DeviceFault::TooBig(5))
    });
    let target = rig.target(fleet.address(0), &policy());
    let mut world = world(9, rig, fleet);
    let mut sent = Vec::new();
    for token in 0..3u64 {
        let before = world.client().client.stats()[0].read().sent;
        world
            .client()
            .ask(target, bulkwalk(MIB2, 40), Time::MAX, token);
        run(&mut world, (token + 1) * 60);
        sent.push(world.client().client.stats()[0].read().sent - before);
    }
    assert!(
        sent[1] < sent[0],
        "the second walk pays no tooBig: {sent:?}"
    );
    assert_eq!(sent[1], sent[2]);
}

#[test]
fn a_deadline_ends_what_waits_and_what_is_on_the_wire() {
    let (rig, fleet) = (Rig::new(10, &["a"]), fleet(1, |_| ()));
    let mut narrow = policy();
    narrow.guard.flight.max = 1;
    narrow.guard.flight.initial = 1;
    let target = rig.target(fleet.address(0), &narrow);
    rig.ask(target, get(SYS_UPTIME), Time::from_millis(700), 0);
    rig.ask(target, get(SYS_UPTIME), Time::from_millis(500), 1);
    let mut world = world(10, rig, fleet);
    world
        .netem_mut()
        .set_default(Profile::black_hole())
        .unwrap();
    run(&mut world, 10);
    let ends = endings(&world, 2);
    assert!(
        ends[0].1.contains("Timeout") && ends[0].0 <= Time::from_millis(702),
        "{ends:?}"
    );
    assert!(
        ends[1].1.contains("Deadline") && ends[1].0 <= Time::from_millis(502),
        "{ends:?}"
    );
    let balance = world.client().client.balance();
    assert_eq!((balance.failed, balance.dropped.total()), (1, 1));
}

#[test]
fn a_cancelled_request_ends_once_and_its_late_answer_is_counted() {
    let (rig, fleet) = (Rig::new(11, &["a"]), fleet(1, |_| ()));
    let target = rig.target(fleet.address(0), &policy());
    rig.ask(target, get(SYS_UPTIME), Time::MAX, 0);
    let options = trunkline_system_snmp::JobOptions {
        deadline: Time::MAX,
        priority: Default::default(),
    };
    let request = trunkline_system_snmp::Request {
        target,
        ask: get(SYS_UPTIME),
        options,
        token: 1,
    };
    let key = rig.client.submit(request, &rig.inbox);
    let mut world = world(11, rig, fleet);
    world
        .netem_mut()
        .set_default(Profile::delayed(Duration::from_millis(100)))
        .unwrap();
    world.at(Time::from_millis(50), move |world| {
        world.client().client.cancel(key)
    });
    // The world is woken at 50 ms by its own action; the client takes the command in that step.
    run(&mut world, 5);
    let ends = endings(&world, 2);
    assert!(ends[0].1.starts_with("Reply"), "{ends:?}");
    assert!(ends[1].1.contains("Cancelled"), "{ends:?}");
    let late = world.client().client.stats()[0].read().bad;
    assert!(
        late.iter()
            .any(|(why, n)| why.as_str() == "late" && *n == 1),
        "{late:?}"
    );
}

#[test]
fn a_removed_target_ends_its_requests_and_its_slot_is_not_confused() {
    let (rig, fleet) = (Rig::new(12, &["a"]), fleet(2, |_| ()));
    let gone = rig.target(fleet.address(0), &policy());
    rig.ask(gone, get(SYS_UPTIME), Time::MAX, 0);
    rig.client.remove_target(gone).unwrap();
    let next = rig.target(fleet.address(1), &policy());
    rig.ask(gone, get(SYS_UPTIME), Time::MAX, 1);
    rig.ask(next, get(SYS_UPTIME), Time::MAX, 2);
    let mut world = world(12, rig, fleet);
    run(&mut world, 5);
    let ends = endings(&world, 3);
    assert!(ends[0].1.contains("TargetRemoved") && ends[1].1.contains("TargetRemoved"));
    assert!(ends[2].1.starts_with("Reply"), "{ends:?}");
}

#[test]
fn a_target_removed_while_its_request_backs_off_ends_it_and_hands_it_to_nobody() {
    let (rig, fleet) = (Rig::new(21, &["a"]), fleet(1, |_| ()));
    let mut policy = policy();
    policy.timeout.initial = Duration::from_millis(100);
    policy.timeout.adaptive = false;
    policy.retry.backoff.base = Duration::from_secs(2);
    policy.retry.backoff.cap = Duration::from_secs(2);
    policy.retry.backoff.jitter = 0.0;
    let (silent, next) = ("127.9.9.9:161".parse().unwrap(), fleet.address(0));
    let gone = rig.target(silent, &policy);
    rig.ask(gone, get(SYS_UPTIME), Time::MAX, 0);
    let mut world = world(21, rig, fleet);
    world.at(Time::from_millis(500), move |world| {
        let client = &world.client().client;
        client.remove_target(gone).unwrap();
        world.client().target(next, &policy);
    });
    run(&mut world, 10);
    let ends = endings(&world, 1);
    assert!(ends[0].1.contains("TargetRemoved"), "{ends:?}");
    assert!(ends[0].0 < Time::from_millis(700), "{ends:?}");
    let taken_over = world.client().client.targets();
    assert_eq!(
        taken_over[0].figures.requests, 0,
        "the new target was asked"
    );
}

#[test]
fn closing_ends_everything_with_one_outcome() {
    let (rig, fleet) = (Rig::new(13, &["a"]), fleet(20, |_| ()));
    let targets = all_targets(&rig, &fleet);
    for token in 0..200u64 {
        rig.ask(
            targets[token as usize % 20],
            bulkwalk(MIB2, 10),
            Time::MAX,
            token,
        );
    }
    let mut world = world(13, rig, fleet);
    world
        .netem_mut()
        .set_default(Profile::delayed(Duration::from_millis(20)))
        .unwrap();
    world.at(Time::from_millis(300), |world| {
        world.client().client.close()
    });
    run(&mut world, 5);
    endings(&world, 200);
    let balance = world.client().client.balance();
    assert_eq!(
        (balance.in_flight, balance.imbalance(), balance.leaked),
        (0, 0, 0)
    );
    assert_eq!(balance.submitted, 200);
}

#[test]
fn spacing_is_never_undercut() {
    let (rig, fleet) = (Rig::new(14, &["a"]), fleet(1, |_| ()));
    let mut spaced = policy();
    spaced.guard.rate = Some(trunkline_engine::limit::RatePolicy {
        per_second: 10.0,
        burst: 1,
    });
    let target = rig.target(fleet.address(0), &spaced);
    for token in 0..50 {
        rig.ask(target, get(SYS_UPTIME), Time::MAX, token);
    }
    let mut world = world(14, rig, fleet);
    run(&mut world, 20);
    let mut at: Vec<Time> = endings(&world, 50).into_iter().map(|(at, _)| at).collect();
    at.sort();
    let least = at
        .windows(2)
        .map(|pair| pair[1].saturating_since(pair[0]))
        .min()
        .unwrap();
    assert!(least >= Duration::from_millis(99), "{least:?}");
    assert!(at[49] <= Time::from_millis(5_100), "{:?}", at[49]);
}

#[test]
fn an_engine_that_loses_everything_is_left_within_a_second() {
    let (rig, fleet) = (Rig::new(15, &["a", "b", "c"]), fleet(100, |_| ()));
    let mut patient = policy();
    patient.timeout.initial = Duration::from_millis(200);
    let targets: Vec<_> = (0..100)
        .map(|n| rig.target(fleet.address(n), &patient))
        .collect();
    let mut world = world(15, rig, fleet);
    let bad = "127.0.0.2".parse().unwrap();
    world
        .netem_mut()
        .set_host(bad, Profile::black_hole())
        .unwrap();
    for round in 0..30u64 {
        for (index, target) in targets.iter().enumerate() {
            let token = round * 100 + index as u64;
            world
                .client()
                .ask(*target, get(SYS_UPTIME), Time::MAX, token);
        }
        world
            .run_until(Time::from_millis((round + 1) * 100), |_| false)
            .unwrap();
    }
    run(&mut world, 60);
    assert!(
        endings(&world, 3000)
            .iter()
            .all(|(_, end)| end.starts_with("Reply"))
    );
    let router = world.client().client.guards()[0].router().clone();
    let lost = router
        .members(world.now())
        .into_iter()
        .find(|m| m.name == "b")
        .unwrap();
    let started_late = lost.started;
    assert!(lost.ejection.is_some() || started_late < 1000, "{lost:?}");
    // After the first second, nothing but probes may have gone to it: 100 requests per 100 ms
    // would have been 967 of the 2,900 later ones.
    assert!(
        started_late <= 500,
        "{started_late} requests went to the engine that loses all"
    );
}

#[test]
fn a_lingering_batch_goes_when_it_is_full_or_its_time_has_come() {
    let linger = Duration::from_millis(10);
    let finished = |count: u64, batch: BatchPolicy| {
        let (rig, fleet) = (Rig::batching(16, &["a"], batch), fleet(8, |_| ()));
        let targets = all_targets(&rig, &fleet);
        for token in 0..count {
            rig.ask(targets[token as usize], get(SYS_UPTIME), Time::MAX, token);
        }
        let mut world = world(16, rig, fleet);
        run(&mut world, 5);
        endings(&world, count)
            .into_iter()
            .map(|(at, _)| at)
            .max()
            .unwrap()
    };
    let lingering = BatchPolicy { max: 4, linger };
    assert!(
        finished(1, BatchPolicy::default()) < Time::from_millis(1),
        "no delay when idle"
    );
    assert!(
        finished(1, lingering) >= Time::from_millis(10),
        "one request waits for others"
    );
    assert!(
        finished(4, lingering) < Time::from_millis(10),
        "a full batch does not"
    );
}

#[test]
fn what_is_said_of_a_target_or_a_request_is_not_heard_before_it_is_there() {
    let (rig, fleet) = (Rig::new(17, &["a"]), fleet(2, |_| ()));
    let forced = rig.target(fleet.address(0), &policy());
    rig.client
        .force_breaker(forced, trunkline_engine::breaker::Forced::Open)
        .unwrap();
    let target = rig.target(fleet.address(1), &policy());
    let options = trunkline_system_snmp::JobOptions {
        deadline: Time::MAX,
        priority: Default::default(),
    };
    let ask = get(SYS_UPTIME);
    let request = trunkline_system_snmp::Request {
        target,
        ask,
        options,
        token: 0,
    };
    let key = rig.client.submit(request, &rig.inbox);
    rig.client.cancel(key);
    rig.ask(forced, get(SYS_UPTIME), Time::MAX, 1);
    let mut world = world(17, rig, fleet);
    run(&mut world, 5);
    let ends = endings(&world, 2);
    assert!(ends[0].1.contains("Cancelled"), "{ends:?}");
    assert!(ends[1].1.contains("BreakerOpen"), "{ends:?}");
}
