//! The books of attempts balance, whatever happens to permits: finished, dropped, refused at any
//! step, carried to another thread.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use trunkline_engine::breaker::Forced;
use trunkline_engine::fault::Outcome;
use trunkline_engine::guard::{AttemptSheet, Class, Guard, GuardPolicy, Permit, Rejected};
use trunkline_engine::limit::{FlightPolicy, RatePolicy};
use trunkline_engine::rng::Rng;
use trunkline_engine::router::{Mark, MemberSpec, Router, RouterPolicy, Strategy};
use trunkline_engine::time::Time;

const T0: Time = Time::from_millis(1_000);

fn guard(members: usize) -> Guard {
    let policy = RouterPolicy {
        slow_start: Duration::ZERO,
        ..RouterPolicy::default()
    };
    let router = Router::new(policy, &mut Rng::seeded(1)).unwrap();
    for n in 0..members {
        router.add(T0, MemberSpec::named(format!("m{n}"))).unwrap();
    }
    Guard::new(Arc::new(router), AttemptSheet::default())
}

fn policy() -> GuardPolicy {
    let mut policy = GuardPolicy {
        rate: Some(RatePolicy {
            per_second: 100.0,
            burst: 20,
        }),
        flight: FlightPolicy {
            min: 1,
            max: 8,
            initial: 4,
            adaptive: true,
        },
        ..GuardPolicy::default()
    };
    policy.breaker.open = Duration::from_millis(200);
    policy.breaker.open_max = Duration::from_secs(2);
    policy.breaker.probe_lease = Duration::from_millis(500);
    policy
}

#[derive(Clone, Debug)]
enum Step {
    Admit { gate: usize, late: bool, low: bool },
    Finish { at: usize, outcome: Outcome },
    Unsent { at: usize },
    Drop { at: usize },
    Pass { millis: u64 },
    Force { gate: usize, forced: Forced },
    Mark { member: usize, mark: Mark },
    Drain { member: usize },
    Swap { strategy: usize },
}

fn outcome() -> impl Generator<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Slow),
        1 => Just(Outcome::Ignored),
        1 => (0u64..50).prop_map(|ms| Outcome::RateLimited(Duration::from_millis(ms))),
    ]
}

fn step() -> impl Generator<Value = Step> {
    let forced = prop_oneof![
        Just(Forced::Open),
        Just(Forced::Closed),
        Just(Forced::HalfOpen),
        Just(Forced::None)
    ];
    let mark = prop_oneof![Just(Mark::Auto), Just(Mark::Up), Just(Mark::Down)];
    prop_oneof![
        20 => (0usize..2, prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(gate, late, low)| Step::Admit { gate, late, low }),
        12 => (any::<usize>(), outcome()).prop_map(|(at, outcome)| Step::Finish { at, outcome }),
        2 => any::<usize>().prop_map(|at| Step::Unsent { at }),
        4 => any::<usize>().prop_map(|at| Step::Drop { at }),
        6 => (0u64..300).prop_map(|millis| Step::Pass { millis }),
        1 => (0usize..2, forced).prop_map(|(gate, forced)| Step::Force { gate, forced }),
        1 => (0usize..3, mark).prop_map(|(member, mark)| Step::Mark { member, mark }),
        1 => (0usize..3).prop_map(|member| Step::Drain { member }),
        1 => (0usize..8).prop_map(|strategy| Step::Swap { strategy }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn books_balance_after_every_step(steps in prop::collection::vec(step(), 1..200)) {
        let (guard, policy) = (guard(3), policy());
        let gates = [guard.gate(&policy), guard.gate(&policy)];
        let members: Vec<_> = guard.router().members(T0).iter().map(|m| m.id).collect();
        let mut rng = Rng::seeded(5);
        let mut now = T0;
        let mut held: Vec<(usize, Permit)> = Vec::new();
        let mut refused = 0u64;
        for step in steps {
            match step {
                Step::Admit { gate, late, low } => {
                    let deadline = if late { now } else { Time::MAX };
                    let class = if low { Class::Low } else { Class::Normal };
                    let chosen = &gates[gate];
                    match guard.admit(chosen, &policy, now, class, deadline, 1, &mut rng) {
                        Ok(permit) => held.push((gate, permit)),
                        Err(why) => {
                            prop_assert_eq!(late, why == Rejected::Deadline);
                            refused += 1;
                        }
                    }
                }
                Step::Finish { at, outcome } if !held.is_empty() => {
                    let (_, permit) = held.swap_remove(at % held.len());
                    permit.finish(&policy, now, outcome, None, &mut rng);
                }
                Step::Unsent { at } if !held.is_empty() => {
                    held.swap_remove(at % held.len()).1.unsent(now);
                }
                Step::Drop { at } if !held.is_empty() => {
                    drop(held.swap_remove(at % held.len()));
                }
                Step::Finish { .. } | Step::Unsent { .. } | Step::Drop { .. } => {}
                Step::Pass { millis } => {
                    now = now + Duration::from_millis(millis);
                    guard.router().check(now);
                }
                Step::Force { gate, forced } => drop(gates[gate].force(forced, now)),
                Step::Mark { member, mark } => {
                    guard.router().mark(members[member], mark, now).unwrap();
                }
                Step::Drain { member } => {
                    guard.router().drain(members[member]).unwrap();
                    guard.router().resume(members[(member + 1) % 3], now).unwrap();
                }
                Step::Swap { strategy } => guard.router().set_strategy(Strategy::ALL[strategy]),
            }
            let counts = guard.attempts();
            prop_assert_eq!(counts.imbalance(), 0, "{:?}", counts);
            prop_assert_eq!(counts.in_flight, held.len() as u64);
            for (n, gate) in gates.iter().enumerate() {
                let own = held.iter().filter(|(gate, _)| *gate == n).count();
                prop_assert_eq!(gate.in_flight() as usize, own);
            }
            let by_why = counts.rejected;
            let sum = by_why.deadline + by_why.no_member + by_why.breaker_open
                + by_why.rate + by_why.concurrency;
            prop_assert_eq!(sum, refused);
        }
        drop(held);
        let counts = guard.attempts();
        prop_assert_eq!((counts.in_flight, counts.imbalance()), (0, 0));
        prop_assert_eq!(gates[0].in_flight() + gates[1].in_flight(), 0);
    }
}

#[test]
fn books_balance_over_threads_that_trade_permits() {
    let guard = guard(4);
    let mut policy = policy();
    policy.rate = None;
    policy.flight.max = 64;
    policy.flight.adaptive = false;
    let gate = guard.gate(&policy);
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Permit>(16);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (guard, gate, policy, sender) = (&guard, &gate, &policy, sender.clone());
            scope.spawn(move || {
                let mut rng = Rng::seeded(seed);
                for n in 0..20_000u64 {
                    let now = T0 + Duration::from_micros(n * 50);
                    let admitted =
                        guard.admit(gate, policy, now, Class::Normal, Time::MAX, n, &mut rng);
                    let Ok(permit) = admitted else { continue };
                    match n % 5 {
                        0 => drop(permit),
                        1 | 2 => drop(sender.try_send(permit)),
                        3 if n % 11 == 0 => {
                            permit.finish(policy, now, Outcome::Failure, None, &mut rng);
                        }
                        _ => drop(permit.finish(policy, now, Outcome::Success, None, &mut rng)),
                    }
                }
            });
        }
        drop(sender);
        let (guard, policy) = (&guard, &policy);
        scope.spawn(move || {
            let mut rng = Rng::seeded(9);
            for (n, permit) in receiver.into_iter().enumerate() {
                match n % 3 {
                    0 => permit.unsent(T0),
                    _ => drop(permit.finish(policy, T0, Outcome::Slow, None, &mut rng)),
                }
                assert!(guard.attempts().in_flight <= 64);
            }
        });
    });
    let counts = guard.attempts();
    assert_eq!((counts.in_flight, counts.imbalance()), (0, 0), "{counts:?}");
    assert_eq!(gate.in_flight(), 0);
    assert!(
        counts.admitted > 5_000 && counts.abandoned > 0 && counts.unsent > 0,
        "{counts:?}"
    );
}

#[test]
fn half_an_hour_of_black_hole_leaves_nothing_behind() {
    let (guard, policy) = (guard(2), policy());
    let gate = guard.gate(&policy);
    let mut rng = Rng::seeded(2);
    let timeout = Duration::from_secs(5);
    let mut held: std::collections::VecDeque<(Time, Permit)> = Default::default();
    let mut admitted = 0;
    for tick in 0..18_000u64 {
        let now = T0 + Duration::from_millis(100 * tick);
        while held.front().is_some_and(|(due, _)| *due <= now) {
            let (_, permit) = held.pop_front().unwrap();
            permit.finish(&policy, now, Outcome::Failure, None, &mut rng);
        }
        let asked = guard.admit(&gate, &policy, now, Class::Normal, Time::MAX, 1, &mut rng);
        if let Ok(permit) = asked {
            held.push_back((now + timeout, permit));
            admitted += 1;
        }
        guard.router().check(now);
        assert!(held.len() <= 8);
    }
    // Mostly refused: open, with a few probes each time it may try.
    assert!((100..3_000).contains(&admitted), "{admitted}");
    drop(held);
    let counts = guard.attempts();
    assert_eq!((counts.in_flight, counts.imbalance()), (0, 0));
    assert_eq!(
        guard.router().stats().ejections,
        0,
        "the target is dead, not the members"
    );
}
