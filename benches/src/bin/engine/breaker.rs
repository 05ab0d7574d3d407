//! Breakers: closed with each way of tripping, and open.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use benches::measure::Case;
use failsafe::CircuitBreaker;
use failsafe::backoff::Constant;
use recloser::Recloser;
use trunkline_engine::breaker::{Breaker, BreakerPolicy, RateRule};
use trunkline_engine::fault::Outcome;
use trunkline_engine::rng::Rng;

use crate::support::{START, Ticker};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        closed("allow + success, consecutive", BreakerPolicy::default()).target(0.5),
        failsafe_consecutive("allow + success, consecutive", 0),
        closed("allow + success, failure window", windowed()).target(2.0),
        recloser_closed(),
        failsafe_default(),
        open().target(0.5),
        failsafe_consecutive("open: reject", 5),
        recloser_open(),
    ]
}

/// A policy with a failure rate over ten seconds.
pub(crate) fn windowed() -> BreakerPolicy {
    BreakerPolicy {
        failure_rate: Some(RateRule {
            window: Duration::from_secs(10),
            min_calls: 20,
            threshold: 0.5,
        }),
        ..BreakerPolicy::default()
    }
}

fn closed(name: &'static str, policy: BreakerPolicy) -> Case {
    let (breaker, policy) = (Arc::new(Breaker::new(&policy)), Arc::new(policy));
    Case::of("breaker", name).shared(move || {
        let (breaker, policy) = (Arc::clone(&breaker), Arc::clone(&policy));
        let (mut rng, mut clock) = (Rng::seeded(1), Ticker::onward(100));
        move || {
            let (breaker, now) = (black_box(&*breaker), clock.tick());
            if let Ok(admission) = breaker.allow(&policy, now) {
                let change = breaker.record(&policy, admission, Outcome::Success, now, &mut rng);
                black_box(change.is_none());
            }
        }
    })
}

fn open() -> Case {
    let policy = Arc::new(BreakerPolicy {
        open: HOUR,
        open_max: HOUR,
        ..BreakerPolicy::default()
    });
    let breaker = Arc::new(Breaker::new(&policy));
    let mut rng = Rng::seeded(1);
    for _ in 0..5 {
        if let Ok(admission) = breaker.allow(&policy, START) {
            breaker.record(&policy, admission, Outcome::Failure, START, &mut rng);
        }
    }
    assert!(breaker.allow(&policy, START).is_err(), "it is open");
    Case::of("breaker", "open: reject").shared(move || {
        let (breaker, policy) = (Arc::clone(&breaker), Arc::clone(&policy));
        let mut clock = Ticker::steps(1);
        move || {
            black_box(black_box(&*breaker).allow(&policy, clock.tick()).is_err());
        }
    })
}

fn ok() -> Result<(), ()> {
    black_box(Ok(()))
}

fn fail() -> Result<(), ()> {
    black_box(Err(()))
}

/// The peer's breaker that trips after five failures in a row, after this many of them.
fn failsafe_consecutive(name: &'static str, failures: u32) -> Case {
    let breaker = Arc::new(failsafe_breaker());
    for _ in 0..failures {
        breaker.call(fail).ok();
    }
    Case::of("breaker", name).by("failsafe").shared(move || {
        let breaker = Arc::clone(&breaker);
        move || {
            black_box(black_box(&*breaker).call(ok).is_ok());
        }
    })
}

/// Five failures in a row, an hour open.
pub(crate) fn failsafe_breaker() -> impl CircuitBreaker + Send + Sync + 'static {
    let backoff: Constant = failsafe::backoff::constant(HOUR);
    let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
    failsafe::Config::new().failure_policy(policy).build()
}

fn failsafe_default() -> Case {
    let breaker = Arc::new(failsafe::Config::new().build());
    let name = "allow + success, its default (rate or consecutive)";
    Case::of("breaker", name).by("failsafe").shared(move || {
        let breaker = Arc::clone(&breaker);
        move || {
            black_box(black_box(&*breaker).call(ok).is_ok());
        }
    })
}

/// The peer's window is the last 100 calls.
pub(crate) fn recloser() -> Recloser {
    let custom = Recloser::custom().error_rate(0.5).closed_len(100);
    custom.half_open_len(10).open_wait(HOUR).build()
}

fn recloser_closed() -> Case {
    recloser_case("allow + success, window of 100 calls", recloser())
}

fn recloser_open() -> Case {
    let breaker = recloser();
    for _ in 0..200 {
        breaker.call(fail).ok();
    }
    recloser_case("open: reject", breaker)
}

fn recloser_case(name: &'static str, breaker: Recloser) -> Case {
    let breaker = Arc::new(breaker);
    Case::of("breaker", name).by("recloser").shared(move || {
        let breaker = Arc::clone(&breaker);
        move || {
            black_box(black_box(&*breaker).call(ok).is_ok());
        }
    })
}
