//! How each strategy spreads work, asserted on the path that production takes: pick, start,
//! finish. Seeds are fixed; bounds are several standard deviations wide.

use std::collections::HashMap;
use std::time::Duration;

use trunkline_engine::fault::Outcome;
use trunkline_engine::rng::Rng;
use trunkline_engine::router::{MemberId, MemberSpec, Router, RouterPolicy, Strategy};
use trunkline_engine::time::Time;

const T0: Time = Time::from_millis(1_000);

struct Fleet {
    router: Router,
    ids: Vec<MemberId>,
    rng: Rng,
}

impl Fleet {
    /// A fleet of members with these weights and capacities.
    fn new(strategy: Strategy, shares: &[(u32, u32)]) -> Self {
        let mut rng = Rng::seeded(2_024);
        let policy = RouterPolicy {
            strategy,
            ..RouterPolicy::default()
        };
        let router = Router::new(policy, &mut rng).unwrap();
        let mut ids = Vec::new();
        for (n, (weight, capacity)) in shares.iter().enumerate() {
            let name = format!("member-{n}");
            let spec = MemberSpec {
                name,
                weight: *weight,
                capacity: *capacity,
            };
            ids.push(router.add(T0, spec).unwrap());
        }
        Self { router, ids, rng }
    }

    fn begin(&mut self, now: Time, key: u64) -> usize {
        let id = self.router.pick(now, key, &mut self.rng).next().unwrap();
        assert!(self.router.start(id));
        self.ids.iter().position(|i| *i == id).unwrap()
    }

    fn end(&self, member: usize, now: Time, took: Duration) {
        self.router
            .finish(self.ids[member], now, Some(took), Outcome::Success);
    }

    /// Where `n` attempts go when each ends before the next begins.
    fn one_by_one(&mut self, n: u64) -> Vec<u64> {
        let mut hits = vec![0; self.ids.len()];
        for key in 0..n {
            let member = self.begin(T0, key);
            self.end(member, T0, Duration::from_millis(1));
            hits[member] += 1;
        }
        hits
    }

    /// Where work goes when a new attempt begins every millisecond and member `i` takes
    /// `latency(i)` milliseconds for each.
    fn open_loop(&mut self, n: u64, latency: impl Fn(usize) -> u64) -> Vec<u64> {
        let mut hits = vec![0; self.ids.len()];
        let mut ends: HashMap<u64, Vec<usize>> = HashMap::new();
        for tick in 0..n {
            let now = T0 + Duration::from_millis(tick);
            for member in ends.remove(&tick).unwrap_or_default() {
                self.end(member, now, Duration::from_millis(latency(member)));
            }
            let member = self.begin(now, tick);
            ends.entry(tick + latency(member)).or_default().push(member);
            hits[member] += 1;
        }
        hits
    }
}

/// Pearson's statistic for observed counts and expected parts.
fn chi_square(hits: &[u64], parts: &[f64]) -> f64 {
    let (total, whole) = (hits.iter().sum::<u64>() as f64, parts.iter().sum::<f64>());
    let term = |(hits, part): (&u64, &f64)| {
        let due = total * part / whole;
        (*hits as f64 - due).powi(2) / due
    };
    hits.iter().zip(parts).map(term).sum()
}

#[test]
fn round_robin_is_exact() {
    for n in [2usize, 3, 7, 100] {
        let mut fleet = Fleet::new(Strategy::RoundRobin, &vec![(1, 1); n]);
        let hits = fleet.one_by_one(1_000);
        let (low, high) = (1_000 / n as u64, 1_000_u64.div_ceil(n as u64));
        assert!(
            hits.iter().all(|h| (low..=high).contains(h)),
            "{n}: {hits:?}"
        );
    }
}

#[test]
fn weighted_is_exact_over_a_period_and_smooth_within() {
    // 5·2 + 3·1 + 1·4 = 17 turns.
    let mut fleet = Fleet::new(Strategy::Weighted, &[(5, 2), (3, 1), (1, 4)]);
    assert_eq!(fleet.one_by_one(1_700), [1_000, 300, 400]);
    let mut last = [0u64; 3];
    for turn in 1..=340u64 {
        let member = fleet.begin(T0, turn);
        fleet.end(member, T0, Duration::ZERO);
        assert!(
            turn - last[member] <= 8,
            "member {member} waited {}",
            turn - last[member]
        );
        last[member] = turn;
    }
}

#[test]
fn idle_members_are_chosen_alike() {
    // 99.9th percentile of chi-square with 7 degrees of freedom: 24.3.
    for strategy in [Strategy::LeastLoaded, Strategy::P2c] {
        let mut fleet = Fleet::new(strategy, &[(1, 1); 8]);
        let hits = fleet.one_by_one(40_000);
        let statistic = chi_square(&hits, &[1.0; 8]);
        assert!(statistic < 24.3, "{strategy}: {hits:?}");
    }
}

#[test]
fn some_idle_members_are_chosen_nearly_alike() {
    let mut fleet = Fleet::new(Strategy::LeastLoaded, &[(1, 1); 6]);
    for busy in [1, 4] {
        assert!(fleet.router.start(fleet.ids[busy]));
    }
    let hits = fleet.one_by_one(40_000);
    assert_eq!((hits[1], hits[4]), (0, 0));
    for idle in [0, 2, 3, 5] {
        assert!((8_000..12_500).contains(&hits[idle]), "{hits:?}");
    }
}

#[test]
fn idle_members_with_unlike_shares_are_chosen_by_them() {
    let mut fleet = Fleet::new(Strategy::P2c, &[(1, 1), (1, 3)]);
    let hits = fleet.one_by_one(20_000);
    // 99.9th percentile with 1 degree of freedom: 10.8.
    assert!(chi_square(&hits, &[1.0, 3.0]) < 10.8, "{hits:?}");
}

#[test]
fn load_based_strategies_fill_members_by_capacity() {
    // Everybody takes 40 ms, so about 40 are in flight; capacities sum to 40.
    for strategy in [
        Strategy::LeastLoaded,
        Strategy::P2c,
        Strategy::PeakEwma,
        Strategy::Adaptive,
    ] {
        let capacities = [(1, 4), (1, 8), (1, 12), (1, 16)];
        let mut fleet = Fleet::new(strategy, &capacities);
        let hits = fleet.open_loop(20_000, |_| 40);
        for (hits, (_, capacity)) in hits.iter().zip(capacities) {
            let part = *hits as f64 / (500.0 * f64::from(capacity));
            assert!(
                (0.85..1.15).contains(&part),
                "{strategy}: {part} of its share"
            );
        }
        assert!(fleet.router.in_flight() <= 41);
    }
}

#[test]
fn slow_members_get_less() {
    // Member 2 takes ten times as long as the others.
    let latency = |member| if member == 2 { 100 } else { 10 };
    let cases = [
        (Strategy::LeastLoaded, 0.15),
        (Strategy::P2c, 0.20),
        (Strategy::PeakEwma, 0.06),
        (Strategy::Adaptive, 0.06),
    ];
    for (strategy, most) in cases {
        let mut fleet = Fleet::new(strategy, &[(1, 1); 4]);
        let hits = fleet.open_loop(20_000, latency);
        let part = hits[2] as f64 / 20_000.0;
        assert!(part < most, "{strategy}: {part} to the slow one");
        assert!(hits[2] > 0, "{strategy} tries it now and then");
    }
}

#[test]
fn keys_spread_evenly_and_stay() {
    for (strategy, n) in [
        (Strategy::Sticky, 5),
        (Strategy::Hash, 5),
        (Strategy::Hash, 120),
    ] {
        let mut fleet = Fleet::new(strategy, &vec![(1, 1); n]);
        let mut homes = HashMap::new();
        let mut hits = vec![0; n];
        for key in 0..60_000u64 {
            let member = fleet.begin(T0, key);
            fleet.end(member, T0, Duration::ZERO);
            hits[member] += 1;
            homes.insert(key, member);
        }
        let due = 60_000.0 / n as f64;
        for hits in &hits {
            let part = *hits as f64 / due;
            assert!((0.8..1.2).contains(&part), "{strategy} of {n}: {part}");
        }
        let moved = homes.iter().filter(|(key, home)| {
            let member = fleet.begin(T0, **key);
            fleet.end(member, T0, Duration::ZERO);
            member != **home
        });
        let moved = moved.count() as u64;
        // 60,000 keys in 65,536 places fill some buckets of eight: those few move, and say so.
        assert!(
            moved <= 2 * fleet.router.stats().sticky_evicted,
            "{strategy}: {moved} moved"
        );
        assert!(strategy == Strategy::Sticky || moved == 0);
    }
}

#[test]
fn hash_follows_shares() {
    let shares = [(1, 1), (2, 1), (1, 5)];
    let mut fleet = Fleet::new(Strategy::Hash, &shares);
    let hits = fleet.one_by_one(40_000);
    // 99.9th percentile with 2 degrees of freedom: 13.8.
    assert!(chi_square(&hits, &[1.0, 2.0, 5.0]) < 13.8, "{hits:?}");
}
