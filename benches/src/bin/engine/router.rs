//! Picking a member by each strategy, and looking after the members' health.

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use benches::measure::Case;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma};
use tower::util::service_fn;
use trunkline_engine::fault::Outcome;
use trunkline_engine::rng::Rng;
use trunkline_engine::router::{MemberId, MemberSpec, Router, RouterPolicy, Strategy};

use crate::support::{START, Ticker};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for strategy in Strategy::ALL {
        cases.push(pick(strategy, 3, name_of(strategy).0).target(2.0));
        cases.push(pick(strategy, 10, name_of(strategy).1).target(2.0));
    }
    cases.extend([
        tower_decision(),
        whole(Strategy::P2c, "pick + start + finish: p2c of 10"),
        whole(Strategy::PeakEwma, "pick + start + finish: peak-ewma of 10"),
        tower_whole(),
        check(3, "health: check 3 members"),
        check(10, "health: check 10 members"),
        check(255, "health: check 255 members"),
    ]);
    cases
}

const fn name_of(strategy: Strategy) -> (&'static str, &'static str) {
    match strategy {
        Strategy::RoundRobin => ("pick: round-robin of 3", "pick: round-robin of 10"),
        Strategy::Weighted => ("pick: weighted of 3", "pick: weighted of 10"),
        Strategy::LeastLoaded => ("pick: least-loaded of 3", "pick: least-loaded of 10"),
        Strategy::P2c => ("pick: p2c of 3", "pick: p2c of 10"),
        Strategy::PeakEwma => ("pick: peak-ewma of 3", "pick: peak-ewma of 10"),
        Strategy::Adaptive => ("pick: adaptive of 3", "pick: adaptive of 10"),
        Strategy::Sticky => ("pick: sticky of 3", "pick: sticky of 10"),
        Strategy::Hash => ("pick: hash of 3", "pick: hash of 10"),
    }
}

/// A router whose members have answered, are past their slow start, and have some work in flight.
pub(crate) fn router(strategy: Strategy, members: u64) -> Arc<Router> {
    let mut rng = Rng::seeded(3);
    let policy = RouterPolicy {
        strategy,
        slow_start: Duration::ZERO,
        ..RouterPolicy::default()
    };
    let router = Router::new(policy, &mut rng).expect("the policy is valid");
    let add = |n: u64| {
        let mut spec = MemberSpec::named(format!("member-{n}"));
        // Weights only where they are what the strategy is about.
        if strategy == Strategy::Weighted {
            spec.weight = u32::try_from(1 + n % 3).unwrap_or(1);
        }
        router.add(START, spec).expect("there is room")
    };
    let ids: Vec<MemberId> = (0..members).map(add).collect();
    for (id, n) in ids.iter().zip(1..) {
        for _ in 0..20 {
            assert!(router.start(*id), "it is a member");
            let took = Some(Duration::from_micros(500 + 100 * n));
            router.finish(*id, START, took, Outcome::Success);
        }
        for _ in 0..n % 4 {
            assert!(router.start(*id), "it is a member");
        }
    }
    Arc::new(router)
}

fn pick(strategy: Strategy, members: u64, name: &'static str) -> Case {
    let router = router(strategy, members);
    Case::of("router", name).shared(move || {
        let (router, mut key) = (Arc::clone(&router), 0_u64);
        let (mut rng, mut clock) = (Rng::seeded(4), Ticker::steps(100));
        move || {
            key = (key + 1) & 1023;
            let mut candidates = black_box(&*router).pick(clock.tick(), key, &mut rng);
            black_box(candidates.next());
        }
    })
}

fn whole(strategy: Strategy, name: &'static str) -> Case {
    let router = router(strategy, 10);
    Case::of("router", name).shared(move || {
        let router = Arc::clone(&router);
        let (mut rng, mut clock) = (Rng::seeded(4), Ticker::steps(100));
        move || {
            let (router, now) = (black_box(&*router), clock.tick());
            if let Some(id) = router.pick(now, 1, &mut rng).next() {
                black_box(router.start(id));
                let took = Some(Duration::from_micros(700));
                router.finish(id, now, took, Outcome::Success);
            }
        }
    })
}

/// A pass of the health checks over members that all do well; a pass each made-up millisecond.
fn check(members: u64, name: &'static str) -> Case {
    let (router, mut clock) = (router(Strategy::P2c, members), Ticker::steps(1_000_000));
    Case::of("router", name).solo(move || {
        black_box(black_box(&*router).check(clock.tick()).is_empty());
    })
}

async fn answer((): ()) -> Result<(), Infallible> {
    Ok(())
}

fn endpoint() -> PeakEwma<impl Service<(), Response = (), Error = Infallible>> {
    // Its estimate decays over ten seconds, from 30 ms: linkerd's settings.
    let (rtt, decay_nanos) = (Duration::from_millis(30), 1e10);
    let completion = CompleteOnResponse::default();
    PeakEwma::new(service_fn(answer), rtt, decay_nanos, completion)
}

/// What the peer's balancer does to choose: the loads of two endpoints.
fn tower_decision() -> Case {
    let pair = [endpoint(), endpoint()];
    let name = "peak-ewma: the loads of two endpoints";
    Case::of("router", name).by("tower").solo(move || {
        let [a, b] = black_box(&pair);
        black_box(a.load() < b.load());
    })
}

/// One call through the peer's balancer, whose endpoints answer at once.
pub(crate) fn tower_call() -> impl FnMut() {
    let endpoints: Vec<_> = (0..10).map(|_| endpoint()).collect();
    let mut balance = Balance::new(ServiceList::new::<()>(endpoints));
    move || {
        let mut context = Context::from_waker(Waker::noop());
        while balance.poll_ready(&mut context).is_pending() {}
        let mut call = pin!(balance.call(()));
        let answer = call.as_mut().poll(&mut context);
        black_box(matches!(answer, Poll::Ready(Ok(()))));
    }
}

fn tower_whole() -> Case {
    let name = "Balance of 10 peak-ewma: ready + call + complete";
    Case::of("router", name).by("tower").solo(tower_call())
}
