//! The retry budget: a deposit per first attempt, a withdrawal per retry; and a whole decision.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use benches::measure::Case;
use tower::retry::budget::{Budget as _, TpsBudget};
use trunkline_engine::budget::{Budget, BudgetPolicy};
use trunkline_engine::fault::{Place, Retry};
use trunkline_engine::retry::{Attempt, Decision, RetryPolicy, decide};
use trunkline_engine::rng::Rng;
use trunkline_engine::time::Time;

use crate::support::{START, Ticker};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        deposit().target(1.5),
        tower("budget: deposit", true),
        withdraw().target(2.5),
        tower("budget: withdraw", false),
        decision(),
    ]
}

/// It is never full: each deposit is a thousandth, and half of the tokens are gone.
fn deposit() -> Case {
    let policy = BudgetPolicy {
        ratio: 0.001,
        reserve_per_second: 0.0,
        burst: 100_000,
    };
    let budget = Arc::new(Budget::new(&policy, START));
    while budget.available(START) > 50_000 {
        budget.withdraw(START);
    }
    Case::of("retry", "budget: deposit").shared(move || {
        let budget = Arc::clone(&budget);
        // Drained again before it can fill: every 2^20 deposits take back 1,049 tokens.
        let mut count = 0_u64;
        move || {
            black_box(&*budget).deposit();
            count += 1;
            if count.is_multiple_of(1 << 20) {
                for _ in 0..1_049 {
                    black_box(budget.withdraw(START));
                }
            }
        }
    })
}

/// The reserve pays: ten thousand retries a second, two or three between operations.
fn withdraw() -> Case {
    let policy = BudgetPolicy {
        ratio: 0.2,
        reserve_per_second: 10_000.0,
        burst: 100_000,
    };
    let budget = Arc::new(Budget::new(&policy, START));
    Case::of("retry", "budget: withdraw").shared(move || {
        let (budget, mut clock) = (Arc::clone(&budget), Ticker::onward(250_000));
        move || {
            black_box(black_box(&*budget).withdraw(clock.tick()));
        }
    })
}

fn tower(name: &'static str, deposits: bool) -> Case {
    let budget = Arc::new(TpsBudget::new(Duration::from_secs(60), 1_000_000_000, 0.2));
    Case::of("retry", name).by("tower").shared(move || {
        let budget = Arc::clone(&budget);
        move || {
            let budget = black_box(&*budget);
            if deposits {
                budget.deposit();
            } else {
                black_box(budget.withdraw());
            }
        }
    })
}

/// Everything that a failed attempt goes through: fault, count, backoff, deadline, budget.
fn decision() -> Case {
    let policy = RetryPolicy {
        budget: BudgetPolicy {
            ratio: 0.2,
            reserve_per_second: 10_000.0,
            burst: 100_000,
        },
        ..RetryPolicy::default()
    };
    let budget = Budget::new(&policy.budget, START);
    let attempt = Attempt {
        number: 1,
        retry: Retry::at(Place::AnyPeer),
        repeatable: true,
        deadline: Time::MAX,
    };
    let (mut rng, mut clock) = (Rng::seeded(2), Ticker::steps(100_000));
    Case::of("retry", "decide, again").solo(move || {
        let mut state = policy.backoff.start();
        let now = clock.tick();
        let decision = decide(&policy, &attempt, now, &budget, &mut state, &mut rng);
        black_box(matches!(decision, Decision::Again { .. }));
    })
}
