//! The rate and the number in flight.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

use benches::measure::Case;
use governor::{Quota, RateLimiter};
use trunkline_engine::limit::{Flight, FlightPolicy, Gcra, RatePolicy};

use crate::support::Ticker;

pub(crate) fn cases() -> Vec<Case> {
    let adaptive = FlightPolicy::default();
    let fixed = FlightPolicy {
        adaptive: false,
        ..adaptive
    };
    vec![
        gcra().target(2.0),
        governor(),
        flight("flight: acquire + release, adaptive", adaptive).target(2.0),
        flight("flight: acquire + release, fixed", fixed).target(2.0),
    ]
}

fn gcra() -> Case {
    let limiter = Arc::new(Gcra::new());
    let policy = RatePolicy {
        per_second: 1e7,
        burst: 1_000_000,
    };
    Case::of("limit", "gcra: check").shared(move || {
        let (limiter, mut clock) = (Arc::clone(&limiter), Ticker::onward(250));
        move || {
            let policy = black_box(&policy);
            black_box(limiter.check(policy, clock.tick()).is_ok());
        }
    })
}

/// As fast as it can be set without refusing this loop.
fn governor() -> Case {
    let quota = Quota::per_second(NonZeroU32::new(100_000_000).expect("not zero"));
    let limiter = Arc::new(RateLimiter::direct(quota));
    Case::of("limit", "direct: check")
        .by("governor")
        .shared(move || {
            let limiter = Arc::clone(&limiter);
            move || {
                black_box(limiter.check().is_ok());
            }
        })
}

fn flight(name: &'static str, policy: FlightPolicy) -> Case {
    let flight = Arc::new(Flight::new(&policy));
    Case::of("limit", name).shared(move || {
        let flight = Arc::clone(&flight);
        move || {
            let policy = black_box(&policy);
            if flight.try_acquire(policy) {
                flight.release(policy, Some(false));
            }
        }
    })
}
