//! One test per rule, and one per bug that breakers elsewhere have had.

use super::*;
use crate::rng::Rng;
use proptest::prelude::*;

const START: Time = Time::from_millis(1_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        open_jitter: 0.0,
        ..BreakerPolicy::default()
    }
}

fn windowed(window_s: u64, min_calls: u32, threshold: f32) -> BreakerPolicy {
    BreakerPolicy {
        consecutive_failures: 0,
        failure_rate: Some(RateRule {
            window: SECOND * u32::try_from(window_s).unwrap(),
            min_calls,
            threshold,
        }),
        ..policy()
    }
}

/// A breaker with its policy and dice, so that a test reads as a sequence of calls.
struct Bench {
    breaker: Breaker,
    policy: BreakerPolicy,
    rng: Rng,
}

impl Bench {
    fn new(policy: BreakerPolicy) -> Self {
        policy.check().unwrap();
        Self {
            breaker: Breaker::new(&policy),
            policy,
            rng: Rng::seeded(1),
        }
    }

    fn allow(&self, now: Time) -> Result<Admission, OpenCircuit> {
        self.breaker.allow(&self.policy, now)
    }

    fn record(&mut self, leave: Admission, outcome: Outcome, now: Time) -> Option<Transition> {
        self.breaker
            .record(&self.policy, leave, outcome, now, &mut self.rng)
    }

    fn call(&mut self, outcome: Outcome, now: Time) -> Option<Transition> {
        let leave = self.allow(now).unwrap();
        self.record(leave, outcome, now)
    }

    /// Fails until open; the end of the open time.
    fn trip(&mut self, now: Time) -> Time {
        for _ in 0..self.policy.consecutive_failures {
            self.call(Outcome::Failure, now);
        }
        match self.breaker.state(now) {
            State::Open { until } => until,
            other => panic!("did not trip: {other:?}"),
        }
    }

    fn pass_probes(&mut self, now: Time) -> Option<Transition> {
        (0..self.policy.probes).fold(None, |_, _| self.call(Outcome::Success, now))
    }

    fn kind(&self) -> StateKind {
        self.breaker.load().kind()
    }
}

#[test]
fn a_breaker_is_16_bytes_and_128_with_a_failure_window() {
    assert_eq!(size_of::<Breaker>(), 16);
    assert!(size_of::<Breaker>() + size_of::<Windows>() <= 128);
    assert!(size_of::<Admission>() <= 4 && size_of::<OpenCircuit>() <= 16);
}

#[test]
fn the_fifth_failure_in_a_row_opens_for_30_s_and_a_success_starts_the_count_anew() {
    let mut b = Bench::new(policy());
    for outcome in [Outcome::Success, Outcome::Slow] {
        (0..4).for_each(|_| assert_eq!(b.call(Outcome::Failure, START), None));
        assert_eq!(b.breaker.view(&b.policy, START).consecutive, 4);
        assert_eq!(b.call(outcome, START), None);
    }
    (0..4).for_each(|_| assert_eq!(b.call(Outcome::Failure, START), None));
    let expected = Transition {
        from: StateKind::Closed,
        to: StateKind::Open,
        reason: Reason::ConsecutiveFailures(5),
        generation: 1,
    };
    assert_eq!(b.call(Outcome::Failure, START), Some(expected));
    let refused = b.allow(START + 29 * SECOND).unwrap_err();
    assert_eq!(refused.retry_at, START + 30 * SECOND);
    assert_eq!(
        (refused.state, refused.transition()),
        (StateKind::Open, None)
    );
    assert_eq!(refused.to_string(), "the circuit is open");
}

#[test]
fn a_call_is_never_admitted_before_the_promised_time() {
    let mut b = Bench::new(policy());
    let start = Time::from_nanos(1_000_000_000_001);
    let until = b.trip(start);
    assert!(until >= start + 30 * SECOND);
    assert!(b.allow(until - Duration::from_nanos(1)).is_err());
    assert!(b.allow(until).unwrap().probe());
}

#[test]
fn what_the_peer_is_not_to_blame_for_changes_nothing() {
    let mut b = Bench::new(policy());
    (0..4).for_each(|_| assert_eq!(b.call(Outcome::Failure, START), None));
    (0..100).for_each(|_| assert_eq!(b.call(Outcome::Ignored, START), None));
    assert_eq!(
        b.breaker.view(&b.policy, START).consecutive,
        4,
        "neither up nor reset"
    );
}

#[test]
fn only_as_many_probes_as_configured_pass_and_all_must_succeed() {
    let mut b = Bench::new(policy());
    let at = b.trip(START);
    let probes: Vec<Admission> = (0..3).map(|_| b.allow(at).unwrap()).collect();
    assert!(probes.iter().all(Admission::probe));
    let firsts = probes.iter().filter_map(Admission::transition);
    let expected = Transition {
        from: StateKind::Open,
        to: StateKind::HalfOpen,
        reason: Reason::OpenElapsed,
        generation: 2,
    };
    assert_eq!(
        firsts.collect::<Vec<_>>(),
        [expected],
        "one event for three probes"
    );
    for _ in 0..1_000 {
        let refused = b.allow(at).unwrap_err();
        assert_eq!(refused.state, StateKind::HalfOpen);
        assert!(refused.retry_at > at && refused.retry_at < at + 61 * SECOND);
    }
    assert_eq!(b.record(probes[0], Outcome::Success, at), None);
    assert!(
        b.allow(at).is_err(),
        "a success frees no permit: the quota is per half-open"
    );
    assert_eq!(b.record(probes[1], Outcome::Success, at), None);
    let closed = b.record(probes[2], Outcome::Success, at).unwrap();
    assert_eq!(
        (closed.to, closed.reason),
        (StateKind::Closed, Reason::ProbesSucceeded)
    );
    assert!(!b.allow(at).unwrap().probe());
}

#[test]
fn any_failed_probe_reopens_and_the_others_then_say_nothing() {
    let mut b = Bench::new(policy());
    let at = b.trip(START);
    let probes: Vec<Admission> = (0..3).map(|_| b.allow(at).unwrap()).collect();
    assert_eq!(b.record(probes[0], Outcome::Success, at), None);
    let reopened = b.record(probes[1], Outcome::Failure, at).unwrap();
    assert_eq!(
        (reopened.to, reopened.reason),
        (StateKind::Open, Reason::ProbeFailed)
    );
    assert_eq!(b.record(probes[2], Outcome::Failure, at), None);
    assert_eq!(b.record(probes[2], Outcome::Success, at), None);
    assert_eq!(b.kind(), StateKind::Open);
}

#[test]
fn a_straggler_from_before_the_trip_never_decides_a_probe() {
    for outcome in [
        Outcome::Success,
        Outcome::Failure,
        Outcome::RateLimited(SECOND),
    ] {
        let mut b = Bench::new(policy());
        let stragglers: Vec<Admission> = (0..10).map(|_| b.allow(START).unwrap()).collect();
        let at = b.trip(START);
        let probe = b.allow(at).unwrap();
        let before = b.breaker.load();
        for straggler in stragglers {
            assert_eq!(b.record(straggler, outcome, at), None);
        }
        assert_eq!(b.breaker.load(), before);
        assert!(b.record(probe, Outcome::Failure, at).is_some());
    }
}

#[test]
fn a_call_admitted_closed_and_cancelled_half_open_inflates_no_permits() {
    let mut b = Bench::new(policy());
    let early: Vec<Admission> = (0..10).map(|_| b.allow(START).unwrap()).collect();
    let at = b.trip(START);
    (0..3).for_each(|_| assert!(b.allow(at).unwrap().probe()));
    for leave in early {
        b.breaker.abandon(leave);
        b.record(leave, Outcome::Ignored, at);
    }
    assert!(b.allow(at).is_err());
}

#[test]
fn a_probe_of_an_earlier_half_open_gives_nothing_back_to_a_later_one() {
    let mut b = Bench::new(policy());
    let at = b.trip(START);
    let (old, failed) = (b.allow(at).unwrap(), b.allow(at).unwrap());
    b.record(failed, Outcome::Failure, at);
    let State::Open { until } = b.breaker.state(at) else {
        panic!()
    };
    (0..3).for_each(|_| assert!(b.allow(until).unwrap().probe()));
    b.breaker.abandon(old);
    assert!(b.allow(until).is_err());
}

#[test]
fn a_dropped_probe_gives_its_permit_back_at_once() {
    let mut b = Bench::new(policy());
    let at = b.trip(START);
    for round in 0..100 {
        let probe = b.allow(at).unwrap();
        if round % 2 == 0 {
            b.breaker.abandon(probe);
        } else {
            assert_eq!(b.record(probe, Outcome::Ignored, at), None);
        }
    }
    assert_eq!(b.breaker.view(&b.policy, at).probes, (0, 0));
    assert_eq!(b.pass_probes(at).unwrap().to, StateKind::Closed);
}

#[test]
fn a_probe_that_never_reports_counts_as_failed_when_its_lease_ends() {
    let mut b = Bench::new(policy());
    let mut at = b.trip(START);
    let mut lost = Vec::new();
    for round in 0..20 {
        (0..3).for_each(|_| lost.push(b.allow(at).unwrap()));
        let end = b.allow(at).unwrap_err().retry_at;
        assert!(end > at + b.policy.probe_lease && end <= at + 61 * SECOND);
        assert!(b.allow(end - Duration::from_nanos(1)).is_err());
        let refused = b.allow(end).unwrap_err();
        let reopened = refused.transition().unwrap();
        assert_eq!(
            (reopened.from, reopened.to),
            (StateKind::HalfOpen, StateKind::Open)
        );
        assert_eq!(
            (reopened.reason, refused.state),
            (Reason::ProbeLost, StateKind::Open)
        );
        assert_eq!(
            b.allow(end).unwrap_err().transition(),
            None,
            "one event, round {round}"
        );
        at = refused.retry_at;
    }
    for probe in lost {
        assert_eq!(b.record(probe, Outcome::Success, at), None);
    }
    assert!(
        b.pass_probes(at).is_some(),
        "twenty losses later it still closes"
    );
}

#[test]
fn a_late_probe_still_counts_while_nobody_asked_after_its_lease() {
    let mut b = Bench::new(BreakerPolicy {
        probes: 1,
        ..policy()
    });
    let at = b.trip(START);
    let probe = b.allow(at).unwrap();
    let closed = b
        .record(probe, Outcome::Success, at + 600 * SECOND)
        .unwrap();
    assert_eq!(closed.reason, Reason::ProbesSucceeded);
}

#[test]
fn an_idle_half_open_breaker_without_probes_out_has_no_lease_to_lose() {
    let mut b = Bench::new(policy());
    let at = b.trip(START);
    assert_eq!(b.call(Outcome::Success, at), None);
    let much_later = at + 3_600 * SECOND;
    assert!(b.allow(much_later).unwrap().probe());
}

#[test]
fn a_failure_rate_trips_at_min_calls_and_not_at_a_full_ring() {
    let mut b = Bench::new(windowed(10, 10, 0.5));
    (0..9).for_each(|_| assert_eq!(b.call(Outcome::Failure, START), None));
    let tripped = b.call(Outcome::Failure, START).unwrap();
    assert_eq!(
        tripped.reason,
        Reason::FailureRate(Tally { bad: 10, total: 10 })
    );
}

#[test]
fn a_success_never_trips_though_it_completes_the_minimum() {
    let mut b = Bench::new(windowed(10, 10, 0.5));
    (0..9).for_each(|_| assert_eq!(b.call(Outcome::Failure, START), None));
    assert_eq!(b.call(Outcome::Success, START), None);
    assert_eq!(b.kind(), StateKind::Closed);
    assert!(b.call(Outcome::Failure, START).is_some());
}

#[test]
fn failures_spread_beyond_the_window_do_not_trip() {
    let mut b = Bench::new(windowed(10, 2, 0.5));
    for n in 0..50 {
        assert_eq!(b.call(Outcome::Failure, START + 11 * SECOND * n), None);
    }
}

#[test]
fn failures_of_before_the_trip_do_not_trip_again_after_closing() {
    let mut b = Bench::new(BreakerPolicy {
        open: Duration::from_millis(10),
        ..windowed(100, 10, 0.5)
    });
    (0..9).for_each(|_| assert_eq!(b.call(Outcome::Failure, START), None));
    assert!(b.call(Outcome::Failure, START).is_some());
    let State::Open { until } = b.breaker.state(START) else {
        panic!()
    };
    assert_eq!(b.pass_probes(until).unwrap().to, StateKind::Closed);
    (0..9).for_each(|_| assert_eq!(b.call(Outcome::Failure, until), None));
    assert!(b.call(Outcome::Failure, until).is_some());
}

#[test]
fn slow_calls_trip_by_their_own_rate_and_a_slow_probe_fails_there() {
    let rule = RateRule {
        window: 10 * SECOND,
        min_calls: 4,
        threshold: 0.5,
    };
    let mut b = Bench::new(BreakerPolicy {
        slow_rate: Some(rule),
        ..policy()
    });
    let slow = b.policy.classify(Outcome::Success, Some(5 * SECOND));
    assert_eq!(slow, Outcome::Slow);
    let fast = b.policy.classify(Outcome::Success, Some(4 * SECOND));
    assert_eq!(fast, Outcome::Success);
    assert_eq!(
        b.policy.classify(Outcome::Failure, Some(9 * SECOND)),
        Outcome::Failure
    );
    assert_eq!(
        policy().classify(Outcome::Success, Some(9 * SECOND)),
        Outcome::Success
    );
    for outcome in [fast, fast, slow] {
        assert_eq!(b.call(outcome, START), None);
    }
    let tripped = b.call(slow, START).unwrap();
    assert_eq!(tripped.reason, Reason::SlowRate(Tally { bad: 2, total: 4 }));
    let at = START + 30 * SECOND;
    assert_eq!(b.call(slow, at).unwrap().reason, Reason::ProbeFailed);

    let mut without = Bench::new(BreakerPolicy {
        probes: 1,
        ..policy()
    });
    let at = without.trip(START);
    assert_eq!(
        without.call(Outcome::Slow, at).unwrap().to,
        StateKind::Closed
    );
}

#[test]
fn a_peer_that_asks_for_a_pause_gets_it_within_bounds() {
    for (asked, given) in [
        (Duration::from_nanos(1), Duration::from_millis(100)),
        (7 * SECOND, 7 * SECOND),
        (Duration::MAX, 300 * SECOND),
    ] {
        let mut b = Bench::new(policy());
        let paused = b.call(Outcome::RateLimited(asked), START).unwrap();
        assert_eq!(paused.reason, Reason::RateLimited);
        assert_eq!(
            b.breaker.state(START),
            State::Open {
                until: START + given
            }
        );
        assert_eq!(
            b.breaker.view(&b.policy, START).trips,
            0,
            "no fault, no longer next time"
        );
        let again = b.call(Outcome::RateLimited(asked), START + given).unwrap();
        assert_eq!(
            (again.from, again.to),
            (StateKind::HalfOpen, StateKind::Open)
        );
    }
}

#[test]
fn a_pause_of_zero_counts_in_the_rate_alone_and_fails_a_probe() {
    let zero = Outcome::RateLimited(Duration::ZERO);
    let mut b = Bench::new(policy());
    (0..50).for_each(|_| assert_eq!(b.call(zero, START), None));
    let at = b.trip(START);
    assert_eq!(b.call(zero, at).unwrap().reason, Reason::ProbeFailed);
    let mut b = Bench::new(windowed(10, 3, 1.0));
    (0..2).for_each(|_| assert_eq!(b.call(zero, START), None));
    assert!(matches!(
        b.call(zero, START).unwrap().reason,
        Reason::FailureRate(_)
    ));
}

#[test]
fn the_open_time_doubles_to_its_cap_and_each_healthy_interval_takes_one_back() {
    let mut b = Bench::new(policy());
    let mut at = START;
    b.trip(at);
    for seconds in [30, 60, 120, 240, 300, 300, 300] {
        let State::Open { until } = b.breaker.state(at) else {
            panic!()
        };
        assert_eq!(until, at + seconds * SECOND);
        at = until;
        b.call(Outcome::Failure, at);
    }
    let State::Open { until } = b.breaker.state(at) else {
        panic!()
    };
    b.pass_probes(until);
    assert_eq!(b.breaker.view(&b.policy, until).trips, 8);
    let healthy = until + 30 * SECOND * 6 + SECOND;
    assert_eq!(
        b.trip(healthy),
        healthy + 120 * SECOND,
        "8 - 6 = 2 trips: 30 s times 4"
    );
    let at = healthy + 120 * SECOND;
    b.pass_probes(at);
    let day_after = at + 86_400 * SECOND;
    assert_eq!(b.trip(day_after), day_after + 30 * SECOND);
}

#[test]
fn breakers_that_open_together_do_not_probe_together() {
    let jittered = BreakerPolicy {
        open_jitter: 0.1,
        ..BreakerPolicy::default()
    };
    let mut rng = Rng::seeded(9);
    let untils: std::collections::BTreeSet<Time> = (0..100)
        .map(|_| {
            let mut b = Bench::new(jittered.clone());
            b.rng = rng.fork();
            b.trip(START)
        })
        .collect();
    assert!(untils.len() > 95);
    let (first, last) = (untils.first().unwrap(), untils.last().unwrap());
    assert!(*first >= START + 27 * SECOND && *last <= START + 30 * SECOND);
}

#[test]
fn what_a_person_forced_stays_until_a_person_takes_it_back() {
    let mut b = Bench::new(policy());
    let opened = b.breaker.force(Forced::Open, START).unwrap();
    assert_eq!(
        (opened.to, opened.reason),
        (StateKind::ForcedOpen, Reason::Forced)
    );
    assert_eq!(
        b.breaker.force(Forced::Open, START),
        None,
        "no change, no event"
    );
    let refused = b.allow(START + 1_000_000 * SECOND).unwrap_err();
    assert_eq!(
        (refused.state, refused.retry_at),
        (StateKind::ForcedOpen, Time::MAX)
    );
    let released = b.breaker.force(Forced::None, START).unwrap();
    assert_eq!(
        (released.to, released.reason),
        (StateKind::HalfOpen, Reason::Released)
    );
    b.pass_probes(START).unwrap();

    b.breaker.force(Forced::Closed, START).unwrap();
    (0..100).for_each(|_| assert_eq!(b.call(Outcome::Failure, START), None));
    assert_eq!(b.call(Outcome::RateLimited(SECOND), START), None);
    let released = b.breaker.force(Forced::None, START).unwrap();
    assert_eq!(
        (released.from, released.to),
        (StateKind::ForcedClosed, StateKind::Closed)
    );
    assert_eq!(b.breaker.force(Forced::None, START), None);
    b.trip(START);
    let probing = b.breaker.force(Forced::HalfOpen, START).unwrap();
    assert_eq!(
        (probing.from, probing.to),
        (StateKind::Open, StateKind::HalfOpen)
    );
    assert_eq!(
        b.pass_probes(START).unwrap().to,
        StateKind::Closed,
        "not sticky"
    );
}

#[test]
fn a_result_of_before_a_forced_state_does_not_count_after_it() {
    let mut b = Bench::new(BreakerPolicy {
        consecutive_failures: 1,
        ..policy()
    });
    let early = b.allow(START).unwrap();
    b.breaker.force(Forced::Closed, START).unwrap();
    b.breaker.force(Forced::None, START).unwrap();
    assert_eq!(b.record(early, Outcome::Failure, START), None);
}

#[test]
fn a_reset_forgets_everything() {
    let mut b = Bench::new(BreakerPolicy {
        consecutive_failures: 4,
        ..windowed(10, 5, 1.0)
    });
    (0..3).for_each(|_| assert_eq!(b.call(Outcome::Failure, START), None));
    assert_eq!(b.breaker.reset(START), None, "closed before and after");
    let view = b.breaker.view(&b.policy, START);
    assert_eq!(
        (view.consecutive, view.failures),
        (0, Some(Tally::default()))
    );
    let until = b.trip(START);
    b.call(Outcome::Failure, until);
    let reset = b.breaker.reset(until).unwrap();
    assert_eq!((reset.to, reset.reason), (StateKind::Closed, Reason::Reset));
    assert_eq!(b.breaker.view(&b.policy, until).trips, 0);
    b.breaker.force(Forced::Open, until);
    assert_eq!(b.breaker.reset(until).unwrap().from, StateKind::ForcedOpen);
}

#[test]
fn operator_state_survives_a_snapshot_and_an_automatic_state_is_not_operator_state() {
    let mut b = Bench::new(policy());
    b.trip(START);
    assert_eq!(b.breaker.snapshot(), 0);
    for (forced, kind) in [
        (Forced::Open, StateKind::ForcedOpen),
        (Forced::Closed, StateKind::ForcedClosed),
    ] {
        b.breaker.force(forced, START);
        let fresh = Breaker::new(&b.policy);
        assert_eq!(fresh.restore(b.breaker.snapshot(), START).unwrap().to, kind);
    }
    assert_eq!(Breaker::new(&b.policy).restore(77, START), None);
    assert_eq!(Breaker::new(&b.policy).restore(0, START), None);
}

#[test]
fn a_reload_that_adds_a_window_carries_the_state() {
    let mut b = Bench::new(policy());
    b.trip(START);
    let next = windowed(10, 5, 0.5);
    assert!(b.breaker.fits(&b.policy) && !b.breaker.fits(&next));
    let carried = b.breaker.carried_to(&next);
    assert!(carried.fits(&next) && carried.fits(&b.policy));
    assert!(!carried.fits(&windowed(11, 5, 0.5)), "another length");
    assert!(carried.fits(&windowed(10, 7, 0.7)), "thresholds may change");
    assert_eq!(carried.state(START), b.breaker.state(START));
}

#[test]
fn a_quota_changed_while_half_open_does_not_wedge() {
    let mut b = Bench::new(policy());
    let at = b.trip(START);
    let probes: Vec<Admission> = (0..2).map(|_| b.allow(at).unwrap()).collect();
    b.record(probes[0], Outcome::Success, at);
    b.breaker.abandon(probes[1]);
    b.policy.probes = 1;
    assert_eq!(b.call(Outcome::Success, at).unwrap().to, StateKind::Closed);
}

#[test]
fn state_names_an_open_time_that_is_over() {
    let mut b = Bench::new(policy());
    let until = b.trip(START);
    assert_eq!(b.breaker.state(START).kind(), StateKind::Open);
    assert_eq!(b.breaker.state(until), State::HalfOpen);
    assert_eq!(b.kind(), StateKind::Open, "looking changed nothing");
}

#[test]
fn a_policy_out_of_range_is_named_by_its_field() {
    fn with_rules(policy: &mut BreakerPolicy) -> (&mut RateRule, &mut RateRule) {
        let rule = RateRule {
            window: SECOND,
            min_calls: 1,
            threshold: 0.5,
        };
        let (failures, slow) = (&mut policy.failure_rate, &mut policy.slow_rate);
        (failures.insert(rule), slow.insert(rule))
    }
    type Spoil = fn(&mut BreakerPolicy);
    let cases: [(&str, Spoil); 11] = [
        ("consecutive_failures", |p| p.consecutive_failures = 4_096),
        ("failure_rate.window", |p| {
            with_rules(p).0.window = Duration::ZERO
        }),
        ("failure_rate.threshold", |p| {
            with_rules(p).0.threshold = f32::NAN
        }),
        ("slow_rate.min_calls", |p| with_rules(p).1.min_calls = 0),
        ("slow_call", |p| {
            with_rules(p);
            p.slow_call = Duration::ZERO;
        }),
        ("open", |p| p.open = 301 * SECOND),
        ("open_max", |p| p.open_max = Duration::MAX),
        ("open_jitter", |p| p.open_jitter = 0.6),
        ("probes", |p| p.probes = 0),
        ("probes", |p| p.probes = 64),
        ("probe_lease", |p| p.probe_lease = Duration::ZERO),
    ];
    for (field, spoil) in cases {
        let mut policy = BreakerPolicy::default();
        assert_eq!(policy.check(), Ok(()));
        spoil(&mut policy);
        assert_eq!(policy.check().unwrap_err().field, field);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    /// With any numbers in the policy, checked or not, nothing overflows and nothing panics.
    #[test]
    fn an_unchecked_policy_never_panics(
        numbers in any::<(u32, u64, u64, f64, u8, u64, f32)>(),
        outcomes in prop::collection::vec((0u8..5, any::<u64>()), 1..50),
    ) {
        let (count, open, max, open_jitter, probes, lease, threshold) = numbers;
        let rule = RateRule { window: Duration::from_nanos(open), min_calls: count, threshold };
        let policy = BreakerPolicy {
            consecutive_failures: count,
            failure_rate: Some(rule),
            slow_rate: Some(rule),
            slow_call: Duration::ZERO,
            open: Duration::from_nanos(open),
            open_max: Duration::from_nanos(max),
            open_jitter,
            probes,
            probe_lease: Duration::from_nanos(lease),
        };
        let breaker = Breaker::new(&policy);
        let mut rng = Rng::seeded(count.into());
        for (kind, nanos) in outcomes {
            let now = Time::from_nanos(nanos);
            let outcome = match kind {
                0 => Outcome::Success,
                1 => Outcome::Failure,
                2 => Outcome::Slow,
                3 => Outcome::RateLimited(Duration::from_nanos(nanos)),
                _ => Outcome::Ignored,
            };
            if let Ok(leave) = breaker.allow(&policy, now) {
                breaker.record(&policy, leave, outcome, now, &mut rng);
            }
            breaker.view(&policy, now);
        }
    }
}
