//! Strategies, weights and members change under load: every pick is valid, nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use trunkline_engine::fault::Outcome;
use trunkline_engine::rng::Rng;
use trunkline_engine::router::{Mark, MemberSpec, Router, RouterPolicy, Strategy};
use trunkline_engine::time::Time;

const T0: Time = Time::from_millis(1);
const PICKS: u64 = 100_000;

fn router(members: usize) -> Arc<Router> {
    let mut rng = Rng::seeded(3);
    let router = Router::new(RouterPolicy::default(), &mut rng).unwrap();
    for n in 0..members {
        router.add(T0, MemberSpec::named(format!("m{n}"))).unwrap();
    }
    Arc::new(router)
}

/// Picks, starts, holds a few and finishes, `PICKS` times; returns how many were begun.
fn work(router: &Router, seed: u64) -> u64 {
    let mut rng = Rng::seeded(seed);
    let mut held = Vec::new();
    let mut begun = 0;
    for n in 0..PICKS {
        let now = T0 + Duration::from_micros(n);
        let candidates = router.pick(now, n % 997, &mut rng);
        let Some(id) = candidates.into_iter().find(|id| router.start(*id)) else {
            continue;
        };
        begun += 1;
        held.push(id);
        if held.len() > 8 {
            let at = rng.below(9) as usize;
            let id = held.swap_remove(at);
            match n % 7 {
                0 => router.abandon(id),
                _ => router.finish(id, now, Some(Duration::from_micros(50)), Outcome::Success),
            }
        }
    }
    for id in held {
        router.finish(id, T0, None, Outcome::Success);
    }
    begun
}

#[test]
fn a_thousand_swaps_of_strategy_lose_nothing() {
    let router = router(5);
    let valid: Vec<_> = router.members(T0).iter().map(|m| m.id).collect();
    let begun = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (router, begun) = (&router, &begun);
            scope.spawn(move || begun.fetch_add(work(router, seed), Ordering::Relaxed));
        }
        for n in 0..1_000 {
            router.set_strategy(Strategy::ALL[n % 8]);
            let weight = 1 + u32::try_from(n % 3).unwrap();
            router.set_weight(valid[n % 5], weight).unwrap();
            thread::yield_now();
        }
    });
    assert_eq!(
        begun.load(Ordering::Relaxed),
        2 * PICKS,
        "nobody was ever without a member"
    );
    let stats = router.stats();
    assert_eq!(stats.in_flight, 0);
    assert_eq!(stats.requests_routed, 2 * PICKS);
    assert_eq!(stats.routing_failures, 0);
    let started: u64 = router.members(T0).iter().map(|m| m.started).sum();
    assert_eq!(started, 2 * PICKS);
}

#[test]
fn members_come_and_go_under_load() {
    let router = router(3);
    let done = AtomicBool::new(false);
    let begun = AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|seed| {
                let (router, begun) = (&router, &begun);
                scope.spawn(move || begun.fetch_add(work(router, seed), Ordering::Relaxed))
            })
            .collect();
        let (router, done) = (&router, &done);
        scope.spawn(move || {
            let mut n = 0usize;
            while !done.load(Ordering::Relaxed) {
                let id = router
                    .add(T0, MemberSpec::named(format!("guest-{n}")))
                    .unwrap();
                router.set_strategy(Strategy::ALL[n % 8]);
                match n % 3 {
                    0 => router.drain(id).unwrap(),
                    1 => router.mark(id, Mark::Down, T0).unwrap(),
                    _ => {}
                }
                router.remove(id).unwrap();
                assert!(!router.start(id), "a removed member takes nothing");
                assert!(router.members(T0).len() == 3);
                n += 1;
                thread::yield_now();
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(begun.load(Ordering::Relaxed), 2 * PICKS);
    let stats = router.stats();
    assert_eq!((stats.in_flight, stats.requests_routed), (0, 2 * PICKS));
}

#[test]
fn a_removed_member_is_not_picked_once_remove_has_returned() {
    for strategy in Strategy::ALL {
        let router = router(4);
        router.set_strategy(strategy);
        let ids: Vec<_> = router.members(T0).iter().map(|m| m.id).collect();
        let removed = AtomicU64::new(0);
        thread::scope(|scope| {
            let (router, removed, ids) = (&router, &removed, &ids);
            scope.spawn(move || {
                for id in &ids[..3] {
                    router.remove(*id).unwrap();
                    removed.fetch_add(1, Ordering::Release);
                    thread::yield_now();
                }
            });
            let mut rng = Rng::seeded(7);
            for key in 0..5_000 {
                let gone = removed.load(Ordering::Acquire) as usize;
                for id in router.pick(T0, key, &mut rng) {
                    assert!(!ids[..gone].contains(&id), "{strategy}");
                }
            }
        });
        assert_eq!(router.members(T0).len(), 1);
    }
}
