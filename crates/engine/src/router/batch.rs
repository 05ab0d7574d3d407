//! Splitting a batch over the members.
//!
//! Strategies that go in turn give each item its turn; those that go by the key ask it of every
//! key; those that go by load fill the members like connected vessels: up to one common level of
//! work per share, counting what is in flight already. What does not divide evenly goes to the
//! members with the largest remainder, ties at random, never always to the same one.

use std::sync::atomic::Ordering::Relaxed;

use super::member::MemberId;
use super::policy::Strategy;
use super::roster::Router;
use super::snapshot::Snapshot;
use crate::rng::Rng;
use crate::time::Time;

/// One member's part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Who takes it.
    pub member: MemberId,
    /// Which items, as indexes into the batch, rising. Never empty.
    pub items: Vec<usize>,
}

impl Router {
    /// Splits a batch of `keys.len()` items, each of which goes to exactly one member. Empty, and
    /// counted as a routing failure, when no member is usable; nothing is taken otherwise.
    ///
    /// Allocates in proportion to the batch and to the number of members.
    pub fn split_batch(&self, now: Time, keys: &[u64], rng: &mut Rng) -> Vec<Portion> {
        if keys.is_empty() {
            return Vec::new();
        }
        // One snapshot for the whole batch; it may be split while another thread changes the set.
        let portions = self.current.with(|s| self.split(s, now, keys, rng));
        match portions.is_empty() {
            true => self.note_routing_failure(),
            false => {
                self.counts().batches.fetch_add(1, Relaxed);
            }
        }
        portions
    }

    fn split(&self, s: &Snapshot, now: Time, keys: &[u64], rng: &mut Rng) -> Vec<Portion> {
        let n = s.entries.len();
        if n == 0 {
            return Vec::new();
        }
        let mut items: Vec<Vec<usize>> = vec![Vec::new(); n];
        match s.strategy {
            Strategy::RoundRobin | Strategy::Weighted => {
                let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
                let mut turn = self.turns(count);
                for item in 0..keys.len() {
                    items[s.in_turn(turn)].push(item);
                    turn = turn.wrapping_add(1);
                }
            }
            Strategy::Sticky | Strategy::Hash => {
                for (item, key) in keys.iter().enumerate() {
                    let id = self.choose(s, now, *key, rng);
                    let position = id.and_then(|id| s.position(id));
                    items[position.unwrap_or(0)].push(item);
                }
            }
            _ => {
                let mut item = 0;
                for (position, quota) in self.quotas(s, keys.len(), rng).into_iter().enumerate() {
                    items[position].extend(item..item + quota);
                    item += quota;
                }
            }
        }
        let parts = s.entries.iter().zip(items);
        let parts = parts.filter(|(_, items)| !items.is_empty());
        parts
            .map(|(entry, items)| Portion {
                member: entry.id,
                items,
            })
            .collect()
    }

    /// How many of `n` new items each member takes so that work per share becomes as level as it
    /// can; they sum to `n`.
    fn quotas(&self, s: &Snapshot, n: usize, rng: &mut Rng) -> Vec<usize> {
        let vessels: Vec<(f64, f64)> = s
            .entries
            .iter()
            .map(|e| (f64::from(self.slot(e.id).in_flight()), f64::from(e.share)))
            .collect();
        let level = water_level(&vessels, n as f64);
        let exact = vessels
            .iter()
            .map(|(busy, share)| (level * share - busy).max(0.0));
        let mut quotas = Vec::with_capacity(vessels.len());
        let mut rest = Vec::with_capacity(vessels.len());
        for (position, exact) in exact.enumerate() {
            quotas.push(exact.floor() as usize);
            rest.push((exact.fract(), rng.next_u64(), position));
        }
        rest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut left = n.saturating_sub(quotas.iter().sum());
        for (_, _, position) in rest.iter().cycle() {
            if left == 0 {
                break;
            }
            quotas[*position] += 1;
            left -= 1;
        }
        // Rounding of the level may have given one too many.
        let mut over = quotas.iter().sum::<usize>().saturating_sub(n);
        for quota in &mut quotas {
            let less = over.min(*quota);
            *quota -= less;
            over -= less;
        }
        quotas
    }
}

/// The level to which `water` more fills vessels of (content, width).
fn water_level(vessels: &[(f64, f64)], water: f64) -> f64 {
    let mut by_level = vessels.to_vec();
    by_level.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (mut content, mut width) = (water, 0.0);
    let mut level = 0.0;
    for (busy, share) in by_level {
        if width > 0.0 && busy / share >= level {
            break;
        }
        content += busy;
        width += share;
        level = content / width;
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn water_finds_its_level() {
        type Vessels = &'static [(f64, f64)];
        let cases: &[(Vessels, f64, f64)] = &[
            (&[(0.0, 1.0), (0.0, 1.0)], 10.0, 5.0),
            (&[(0.0, 1.0), (0.0, 3.0)], 8.0, 2.0),
            (&[(4.0, 1.0), (0.0, 1.0)], 2.0, 2.0),
            (&[(4.0, 1.0), (0.0, 1.0)], 6.0, 5.0),
            (&[(9.0, 1.0), (1.0, 1.0), (0.0, 1.0)], 3.0, 2.0),
        ];
        for (vessels, water, level) in cases {
            assert!(
                (water_level(vessels, *water) - level).abs() < 1e-9,
                "{vessels:?}"
            );
        }
    }

    const T0: Time = Time::from_millis(1);

    fn router(strategy: Strategy, capacities: &[u32]) -> (Router, Vec<MemberId>, Rng) {
        use super::super::{MemberSpec, RouterPolicy};
        let mut rng = Rng::seeded(8);
        let policy = RouterPolicy {
            strategy,
            ..RouterPolicy::default()
        };
        let router = Router::new(policy, &mut rng).unwrap();
        let add = |(n, capacity): (usize, &u32)| {
            let named = MemberSpec::named(format!("m{n}"));
            router
                .add(
                    T0,
                    MemberSpec {
                        capacity: *capacity,
                        ..named
                    },
                )
                .unwrap()
        };
        let ids = capacities.iter().enumerate().map(add).collect();
        (router, ids, rng)
    }

    fn sizes(portions: &[Portion], ids: &[MemberId]) -> Vec<usize> {
        let of = |id| portions.iter().filter(move |p| p.member == id);
        ids.iter()
            .map(|id| of(*id).map(|p| p.items.len()).sum())
            .collect()
    }

    #[test]
    fn every_item_goes_to_exactly_one_member() {
        for strategy in Strategy::ALL {
            for n in [1usize, 3, 90] {
                let (router, _, mut rng) = router(strategy, &vec![2; n]);
                for size in [1, 2, 7, 100, 1_000] {
                    let keys: Vec<u64> = (0..size).collect();
                    let portions = router.split_batch(T0, &keys, &mut rng);
                    let mut items: Vec<_> = portions
                        .iter()
                        .flat_map(|p| p.items.iter().copied())
                        .collect();
                    items.sort_unstable();
                    assert!(
                        items.iter().copied().eq(0..keys.len()),
                        "{strategy} {n} {size}"
                    );
                    assert!(
                        portions
                            .iter()
                            .all(|p| p.items.is_sorted() && !p.items.is_empty())
                    );
                }
                assert_eq!(router.stats().batches_routed, 5);
            }
        }
    }

    #[test]
    fn capacity_and_work_in_flight_shape_the_portions() {
        let keys = vec![0; 60];
        for strategy in [Strategy::LeastLoaded, Strategy::P2c, Strategy::Adaptive] {
            let (router, ids, mut rng) = router(strategy, &[10, 20, 30]);
            let portions = router.split_batch(T0, &keys, &mut rng);
            assert_eq!(sizes(&portions, &ids), [10, 20, 30], "{strategy}");
            for _ in 0..30 {
                assert!(router.start(ids[2]));
            }
            let portions = router.split_batch(T0, &keys, &mut rng);
            assert_eq!(
                sizes(&portions, &ids),
                [15, 30, 15],
                "levelled at 1.5 per share"
            );
        }
        let (router, ids, mut rng) = router(Strategy::Weighted, &[10, 20, 30]);
        let portions = router.split_batch(T0, &keys, &mut rng);
        assert_eq!(sizes(&portions, &ids), [10, 20, 30]);
    }

    #[test]
    fn remainders_are_spread_fairly() {
        for strategy in [
            Strategy::RoundRobin,
            Strategy::Weighted,
            Strategy::LeastLoaded,
        ] {
            let (router, ids, mut rng) = router(strategy, &[1; 3]);
            let mut sum = vec![0; 3];
            for _ in 0..3_000 {
                // 4 over 3 members: one gets the second.
                let portions = router.split_batch(T0, &[0; 4], &mut rng);
                let sizes = sizes(&portions, &ids);
                assert!(
                    sizes.iter().all(|n| (1..=2).contains(n)),
                    "{strategy}: {sizes:?}"
                );
                (0..3).for_each(|i| sum[i] += sizes[i]);
            }
            assert!(
                sum.iter().all(|n| (3_850..4_150).contains(n)),
                "{strategy}: {sum:?}"
            );
        }
    }

    #[test]
    fn keyed_strategies_split_as_they_pick() {
        for strategy in [Strategy::Sticky, Strategy::Hash] {
            let (router, _, mut rng) = router(strategy, &[1; 5]);
            let keys: Vec<u64> = (0..300).map(|n| n % 40).collect();
            let portions = router.split_batch(T0, &keys, &mut rng);
            for portion in &portions {
                for item in &portion.items {
                    let picked = router.pick(T0, keys[*item], &mut rng).next();
                    assert_eq!(picked, Some(portion.member), "{strategy}");
                }
            }
        }
    }

    #[test]
    fn nobody_to_take_it_is_one_failure_and_an_empty_batch_none() {
        for strategy in Strategy::ALL {
            let (router, _, mut rng) = router(strategy, &[]);
            assert!(router.split_batch(T0, &[], &mut rng).is_empty());
            assert_eq!(router.stats().routing_failures, 0);
            assert!(router.split_batch(T0, &[1, 2, 3], &mut rng).is_empty());
            let stats = router.stats();
            assert_eq!((stats.routing_failures, stats.batches_routed), (1, 0));
        }
    }
}
