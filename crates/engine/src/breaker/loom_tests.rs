//! Two threads at one breaker, in every order that the memory model allows.

use super::*;
use crate::fault::Outcome;
use loom::sync::Arc;
use loom::thread;

const SECOND: Duration = Duration::from_secs(1);

fn policy(consecutive_failures: u32, probes: u8) -> BreakerPolicy {
    BreakerPolicy {
        consecutive_failures,
        probes,
        open: SECOND,
        open_jitter: 0.0,
        ..BreakerPolicy::default()
    }
}

fn tripped(policy: &BreakerPolicy) -> Breaker {
    let breaker = Breaker::new(policy);
    let leave = breaker.allow(policy, Time::ZERO).unwrap();
    let mut rng = Rng::seeded(1);
    for _ in 0..policy.consecutive_failures {
        breaker.record(policy, leave, Outcome::Failure, Time::ZERO, &mut rng);
    }
    assert!(breaker.allow(policy, Time::ZERO).is_err());
    breaker
}

/// Runs `first` and `second` at once, and returns what they found.
fn race<T: 'static>(
    breaker: Breaker,
    first: impl FnOnce(&Breaker) -> T + 'static,
    second: impl FnOnce(&Breaker) -> T + 'static,
) -> (T, T, Arc<Breaker>) {
    let breaker = Arc::new(breaker);
    let other = Arc::clone(&breaker);
    let handle = thread::spawn(move || first(&other));
    let second = second(&breaker);
    (handle.join().unwrap(), second, breaker)
}

type Answer = Result<Admission, OpenCircuit>;

fn probes_and_changes(answers: &[Answer]) -> (usize, usize) {
    let probes = answers
        .iter()
        .flatten()
        .filter(|leave| leave.probe())
        .count();
    let changes = answers
        .iter()
        .filter_map(|answer| match answer {
            Ok(leave) => leave.transition(),
            Err(refused) => refused.transition(),
        })
        .count();
    (probes, changes)
}

#[test]
fn loom_at_the_end_of_the_open_time_exactly_k_probes_pass_with_one_transition() {
    for quota in [1, 2, 3] {
        loom::model(move || {
            let ask = move |breaker: &Breaker| {
                let now = Time::ZERO + 2 * SECOND;
                [(); 2].map(|()| breaker.allow(&policy(1, quota), now))
            };
            let (first, second, breaker) = race(tripped(&policy(1, quota)), ask, ask);
            let all = [first, second].concat();
            assert_eq!(probes_and_changes(&all), (usize::from(quota), 1));
            let generations = all.iter().flatten().map(Admission::generation);
            assert!(
                generations
                    .into_iter()
                    .all(|g| g == breaker.load().generation())
            );
        });
    }
}

#[test]
fn loom_racing_failures_trip_exactly_once() {
    loom::model(|| {
        let rules = policy(2, 1);
        let breaker = Breaker::new(&rules);
        let leave = breaker.allow(&rules, Time::ZERO).unwrap();
        let fail = move |breaker: &Breaker| {
            let mut rng = Rng::seeded(1);
            breaker.record(&policy(2, 1), leave, Outcome::Failure, Time::ZERO, &mut rng)
        };
        let (first, second, breaker) = race(breaker, fail, fail);
        assert!(first.is_some() != second.is_some(), "{first:?} {second:?}");
        assert_eq!(breaker.load().kind(), StateKind::Open);
    });
}

#[test]
fn loom_a_success_and_a_failure_leave_a_count_that_one_order_explains() {
    loom::model(|| {
        let rules = policy(3, 1);
        let breaker = Breaker::new(&rules);
        let leave = breaker.allow(&rules, Time::ZERO).unwrap();
        let mut rng = Rng::seeded(1);
        breaker.record(&rules, leave, Outcome::Failure, Time::ZERO, &mut rng);
        let end = move |outcome| {
            move |breaker: &Breaker| {
                let mut rng = Rng::seeded(1);
                breaker.record(&policy(3, 1), leave, outcome, Time::ZERO, &mut rng)
            }
        };
        let (_, _, breaker) = race(breaker, end(Outcome::Success), end(Outcome::Failure));
        let count = breaker.view(&rules, Time::ZERO).consecutive;
        assert!(
            count <= 1,
            "2 failures, then success: 0; success between: 1; not {count}"
        );
    });
}

#[test]
fn loom_the_last_two_probes_close_once_and_a_failing_one_wins_or_comes_late() {
    for outcome in [Outcome::Success, Outcome::Failure] {
        loom::model(move || {
            let rules = policy(1, 2);
            let breaker = tripped(&rules);
            let now = Time::ZERO + 2 * SECOND;
            let probes = [(); 2].map(|()| breaker.allow(&rules, now).unwrap());
            let end = move |n: usize, outcome| {
                move |breaker: &Breaker| {
                    let mut rng = Rng::seeded(1);
                    breaker.record(&policy(1, 2), probes[n], outcome, now, &mut rng)
                }
            };
            let (first, second, breaker) = race(breaker, end(0, Outcome::Success), end(1, outcome));
            let changes = first.iter().chain(&second).count();
            assert_eq!(changes, 1);
            let expected = match outcome {
                Outcome::Success => StateKind::Closed,
                _ => StateKind::Open,
            };
            assert_eq!(breaker.load().kind(), expected);
        });
    }
}

#[test]
fn loom_a_probe_given_back_while_another_asks_is_neither_lost_nor_doubled() {
    loom::model(|| {
        let rules = policy(1, 1);
        let breaker = tripped(&rules);
        let now = Time::ZERO + 2 * SECOND;
        let probe = breaker.allow(&rules, now).unwrap();
        let (_, asked, breaker) = race(
            breaker,
            move |breaker| {
                breaker.abandon(probe);
                None
            },
            move |breaker| Some(breaker.allow(&policy(1, 1), now).is_ok()),
        );
        let out = breaker.view(&rules, now).probes.0;
        assert_eq!(out, u8::from(asked == Some(true)));
    });
}

#[test]
fn loom_a_lapsed_lease_and_a_late_probe_make_one_transition() {
    loom::model(|| {
        let rules = policy(1, 1);
        let breaker = tripped(&rules);
        let probe = breaker.allow(&rules, Time::ZERO + 2 * SECOND).unwrap();
        let late = Time::ZERO + 100 * SECOND;
        let (recorded, asked, breaker) = race(
            breaker,
            move |breaker| {
                let mut rng = Rng::seeded(1);
                breaker.record(&policy(1, 1), probe, Outcome::Success, late, &mut rng)
            },
            move |breaker| match breaker.allow(&policy(1, 1), late) {
                Ok(leave) => leave.transition(),
                Err(refused) => refused.transition(),
            },
        );
        let change = recorded.xor(asked).unwrap();
        assert_eq!(change.to, breaker.load().kind());
    });
}

#[test]
fn loom_racing_calls_are_all_counted_in_the_window() {
    loom::model(|| {
        let rule = RateRule {
            window: 10 * SECOND,
            min_calls: 100,
            threshold: 1.0,
        };
        let rules = BreakerPolicy {
            failure_rate: Some(rule),
            ..policy(0, 1)
        };
        let breaker = Breaker::new(&rules);
        let leave = breaker.allow(&rules, Time::ZERO).unwrap();
        let now = Time::ZERO + 5 * SECOND;
        let end = move |outcome| {
            let rules = rules.clone();
            move |breaker: &Breaker| {
                let mut rng = Rng::seeded(1);
                breaker.record(&rules, leave, outcome, now, &mut rng)
            }
        };
        let (_, _, breaker) = race(breaker, end(Outcome::Success), end(Outcome::Failure));
        let rules = BreakerPolicy {
            failure_rate: Some(rule),
            ..policy(0, 1)
        };
        let rules = BreakerPolicy {
            failure_rate: Some(rule),
            ..policy(0, 1)
        };
        let failures = breaker.view(&rules, now).failures;
        assert_eq!(failures, Some(Tally { bad: 1, total: 2 }));
    });
}
