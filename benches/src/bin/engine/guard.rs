//! The whole way of one attempt: admission, and what came of it.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use benches::measure::Case;
use governor::{Quota, RateLimiter};
use trunkline_engine::fault::Outcome;
use trunkline_engine::guard::{AttemptSheet, Class, Guard, GuardPolicy};
use trunkline_engine::limit::RatePolicy;
use trunkline_engine::rng::Rng;
use trunkline_engine::router::Strategy;
use trunkline_engine::time::Time;

use crate::support::Ticker;
use crate::{breaker, router};

pub(crate) fn cases() -> Vec<Case> {
    let mut all_steps = GuardPolicy {
        breaker: breaker::windowed(),
        rate: Some(RatePolicy {
            per_second: 1e7,
            burst: 1_000_000,
        }),
        ..GuardPolicy::default()
    };
    let windowed = all_steps.clone();
    all_steps.breaker = GuardPolicy::default().breaker;
    vec![
        whole(
            "admit + finish, defaults, 1 member",
            1,
            GuardPolicy::default(),
        )
        .target(9.0),
        whole(
            "admit + finish, defaults, p2c of 3",
            3,
            GuardPolicy::default(),
        )
        .target(9.0),
        whole("admit + finish, with a rate, p2c of 3", 3, all_steps).target(9.0),
        whole(
            "admit + finish, with rate and window, p2c of 3",
            3,
            windowed,
        )
        .target(9.0),
        dropped(),
        peers(),
    ]
}

fn whole(name: &'static str, members: u64, policy: GuardPolicy) -> Case {
    let guard = Guard::new(
        router::router(Strategy::P2c, members),
        AttemptSheet::default(),
    );
    let (gate, policy) = (guard.gate(&policy), Arc::new(policy));
    Case::of("guard", name).shared(move || {
        let (guard, gate, policy) = (guard.clone(), Arc::clone(&gate), Arc::clone(&policy));
        let (mut rng, mut clock) = (Rng::seeded(5), Ticker::onward(250));
        let took = Some(Duration::from_micros(700));
        move || {
            let (now, class) = (clock.tick(), Class::Normal);
            let permit = guard.admit(&gate, &policy, now, class, Time::MAX, 7, &mut rng);
            if let Ok(permit) = permit {
                let change = permit.finish(&policy, now, Outcome::Success, took, &mut rng);
                black_box(change.is_none());
            }
        }
    })
}

/// An attempt that is given up at once.
fn dropped() -> Case {
    let guard = Guard::new(router::router(Strategy::P2c, 3), AttemptSheet::default());
    let policy = GuardPolicy::default();
    let gate = guard.gate(&policy);
    let (mut rng, mut clock) = (Rng::seeded(5), Ticker::steps(250));
    Case::of("guard", "admit + drop, defaults, p2c of 3").solo(move || {
        let (now, class) = (clock.tick(), Class::Normal);
        let permit = guard.admit(&gate, &policy, now, class, Time::MAX, 7, &mut rng);
        black_box(permit.is_ok());
    })
}

/// The same steps of three crates in a row: limiter, breaker, balancer. The breaker is recloser.
fn peers() -> Case {
    let rate = NonZeroU32::new(100_000_000).map(Quota::per_second);
    let limiter = rate.map(RateLimiter::direct);
    let (breaker, mut call) = (breaker::recloser(), router::tower_call());
    let name = "Balance of 10 peak-ewma, with governor and recloser";
    Case::of("guard", name).by("tower").solo(move || {
        if limiter
            .as_ref()
            .is_some_and(|limiter| limiter.check().is_ok())
        {
            let done = breaker.call(|| {
                call();
                Ok::<(), ()>(())
            });
            black_box(done.is_ok());
        }
    })
}
