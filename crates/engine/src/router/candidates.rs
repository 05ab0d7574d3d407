//! Choosing: the first candidate by the strategy, the others only when somebody asks.
//!
//! The first candidate is what nearly every caller takes, so it alone is computed at once; each
//! further one is the best by the strategy among those not offered yet, read from the snapshot
//! that is current by then. A swap of the snapshot in between can thus neither repeat a member nor
//! keep a removed one.

use super::member::MemberId;
use super::policy::Strategy;
use super::roster::Router;
use super::snapshot::{Entry, Snapshot};
use crate::rng::{Rng, mix64};
use crate::time::Time;

/// Members for one piece of work, the preferred one first, each at most once.
#[derive(Debug)]
#[must_use = "a pick that is not used changes the order of the next"]
pub struct Candidates<'a> {
    router: &'a Router,
    now: Time,
    key: u64,
    first: Option<MemberId>,
    last: Option<MemberId>,
    /// A bit per slot that was offered.
    seen: [u64; 4],
}

impl Iterator for Candidates<'_> {
    type Item = MemberId;

    #[inline]
    fn next(&mut self) -> Option<MemberId> {
        let id = match self.first.take() {
            Some(id) => id,
            None => self.router.next_best(self)?,
        };
        self.seen[id.index() / 64] |= 1 << (id.index() % 64);
        self.last = Some(id);
        Some(id)
    }
}

impl Candidates<'_> {
    fn is_new(&self, entry: &Entry) -> bool {
        let slot = entry.id.index();
        self.seen[slot / 64] & (1 << (slot % 64)) == 0
    }
}

impl Router {
    /// Members for the next piece of work. `key` is what belongs together (a target, a session):
    /// `sticky` and `hash` go by it, the others do not look at it.
    ///
    /// Nothing is taken: [`Router::start`] begins the attempt with one of the candidates.
    #[inline]
    pub fn pick(&self, now: Time, key: u64, rng: &mut Rng) -> Candidates<'_> {
        let first = match self.only_member() {
            Some(id) => Some(id),
            None => self.pick_first(now, key, rng),
        };
        Candidates {
            router: self,
            now,
            key,
            first,
            last: None,
            seen: [0; 4],
        }
    }

    #[inline(never)]
    fn pick_first(&self, now: Time, key: u64, rng: &mut Rng) -> Option<MemberId> {
        self.current.with(|s| match s.strategy {
            // The common case first: no call and no register to save.
            Strategy::RoundRobin | Strategy::Weighted if now >= s.warming_until => {
                if s.entries.is_empty() {
                    return self.choose(s, now, key, rng);
                }
                Some(s.entries[s.in_turn(self.turns(1))].id)
            }
            Strategy::P2c if now >= s.warming_until && s.even && s.entries.len() > 1 => {
                Some(s.entries[self.less_busy(s, rng)].id)
            }
            _ => self.choose(s, now, key, rng),
        })
    }

    /// The first candidate; counts when there is none.
    #[inline(never)]
    pub(super) fn choose(
        &self,
        s: &Snapshot,
        now: Time,
        key: u64,
        rng: &mut Rng,
    ) -> Option<MemberId> {
        if s.entries.is_empty() {
            self.note_routing_failure();
            return None;
        }
        let position = match s.strategy {
            Strategy::RoundRobin | Strategy::Weighted => {
                self.past_warming(s, s.in_turn(self.turns(1)), now, rng)
            }
            Strategy::LeastLoaded => self.least_loaded(s, now, rng),
            Strategy::P2c => self.less_loaded(s, now, rng),
            Strategy::PeakEwma | Strategy::Adaptive => {
                let pair = two(s.entries.len(), rng);
                let a = self.score(s, &s.entries[pair[0]], now);
                let b = self.score(s, &s.entries[pair[1]], now);
                // Indexed, not branched on: nothing could predict it.
                pair[usize::from(b < a)]
            }
            Strategy::Sticky => return Some(self.kept(s, now, key, rng)),
            Strategy::Hash => self.hashed(s, key),
        };
        Some(s.entries[position].id)
    }

    #[cold]
    fn next_best(&self, so_far: &Candidates<'_>) -> Option<MemberId> {
        let (now, key) = (so_far.now, so_far.key);
        self.current.with(|s| {
            let fresh = || s.entries.iter().filter(|e| so_far.is_new(e));
            let best = match s.strategy {
                Strategy::RoundRobin => {
                    let after = so_far
                        .last
                        .and_then(|id| s.position(id))
                        .map_or(0, |p| p + 1);
                    let (before, rest) = s.entries.split_at(after);
                    rest.iter().chain(before).find(|e| so_far.is_new(e))
                }
                Strategy::PeakEwma | Strategy::Adaptive => {
                    fresh().min_by(|a, b| self.score(s, a, now).total_cmp(&self.score(s, b, now)))
                }
                Strategy::Hash => fresh().max_by_key(|e| s.affinity(e, key)),
                _ => fresh().min_by_key(|e| self.load(s, e, now)),
            };
            best.map(|e| e.id)
        })
    }

    /// The part of its share that the member takes: 1 outside of the slow start.
    #[inline]
    fn warmth(&self, s: &Snapshot, entry: &Entry, now: Time) -> f32 {
        if now >= s.warming_until {
            return 1.0;
        }
        self.slot(entry.id).warmth(now, self.policy.slow_start)
    }

    /// `position`, or the next that is not too cold, for the strategies that go in turn.
    #[inline]
    fn past_warming(&self, s: &Snapshot, position: usize, now: Time, rng: &mut Rng) -> usize {
        if now >= s.warming_until {
            return position;
        }
        let n = s.entries.len();
        (0..n)
            .map(|step| (position + step) % n)
            .find(|i| {
                let warmth = self.warmth(s, &s.entries[*i], now);
                warmth >= 1.0 || rng.chance(f64::from(warmth))
            })
            .unwrap_or(position)
    }

    /// What the member would have in flight with one more, for its share; the unit is the
    /// snapshot's.
    #[inline]
    fn load(&self, s: &Snapshot, entry: &Entry, now: Time) -> u64 {
        // Capped so that a shift by 16 still fits a word.
        let busy = u64::from(self.slot(entry.id).in_flight().min(1 << 26)) + 1;
        let load = busy * u64::from(entry.pace);
        if now >= s.warming_until {
            return load;
        }
        let percent = (self.warmth(s, entry, now) * 100.0) as u64;
        (load * 100 / percent.max(1)).min(1 << 47)
    }

    #[inline(never)]
    fn least_loaded(&self, s: &Snapshot, now: Time, rng: &mut Rng) -> usize {
        // Ties go by a lot that is drawn anew with each pick (idle members would otherwise all
        // lose to the first): the place after a random start, with some of its bits inverted. The
        // position is the lowest byte, so that the minimum needs no branch.
        let toss = rng.next_u64();
        let flips = toss & 0xff;
        let start = below(toss >> 32, s.entries.len());
        let (before, after) = s.entries.split_at(start);
        let rank = |entry: &Entry, position: usize, place: usize| {
            self.load(s, entry, now) << 16 | (place as u64 ^ flips) << 8 | position as u64
        };
        let first = after
            .iter()
            .enumerate()
            .map(|(place, e)| rank(e, start + place, place));
        let last = before
            .iter()
            .enumerate()
            .map(|(i, e)| rank(e, i, i + after.len()));
        let best = first
            .fold(u64::MAX, u64::min)
            .min(last.fold(u64::MAX, u64::min));
        (best & 0xff) as usize
    }

    /// The less busy of two, for equal shares.
    #[inline]
    fn less_busy(&self, s: &Snapshot, rng: &mut Rng) -> usize {
        let pair = two(s.entries.len(), rng);
        let a = self.slot(s.entries[pair[0]].id).in_flight();
        let b = self.slot(s.entries[pair[1]].id).in_flight();
        pair[usize::from(b < a)]
    }

    fn less_loaded(&self, s: &Snapshot, now: Time, rng: &mut Rng) -> usize {
        if now >= s.warming_until && s.even {
            return self.less_busy(s, rng);
        }
        let [a, b] = two(s.entries.len(), rng);
        let (left, right) = (&s.entries[a], &s.entries[b]);
        if self.is_less_loaded(s, left, right, now, rng) {
            a
        } else {
            b
        }
    }

    /// Whether `left` is less loaded for its share than `right`; a tie is drawn by shares, so that
    /// idle members get work in proportion too.
    fn is_less_loaded(
        &self,
        s: &Snapshot,
        left: &Entry,
        right: &Entry,
        now: Time,
        rng: &mut Rng,
    ) -> bool {
        let share = |e: &Entry| f64::from(e.share) * f64::from(self.warmth(s, e, now));
        let (a, b) = (share(left), share(right));
        let load = |e: &Entry, share: f64| f64::from(self.slot(e.id).in_flight()) / share;
        let (x, y) = (load(left, a), load(right, b));
        if x == y {
            rng.chance(a / (a + b))
        } else {
            x < y
        }
    }

    /// Expected time until one more attempt is answered, for the member's share; lower is better.
    #[inline]
    fn score(&self, s: &Snapshot, entry: &Entry, now: Time) -> f32 {
        let slot = self.slot(entry.id);
        let busy = (slot.in_flight() as f32 + 1.0) * entry.pace as f32;
        let mut score = slot.latency(now, self.decay) * busy;
        if now < s.warming_until {
            score /= self.warmth(s, entry, now);
        }
        if s.strategy != Strategy::Adaptive {
            return score;
        }
        let ratio = slot.reply_ratio().max(0.01);
        score / (ratio * ratio)
    }

    /// The member that `key` was given to. While that one is out of use the key's own second
    /// choice stands in, the same at every pick, and the key is kept for its return.
    #[inline(never)]
    fn kept(&self, s: &Snapshot, now: Time, key: u64, rng: &mut Rng) -> MemberId {
        let table = self.sticky_table();
        let found = table.find(key);
        if let Some(id) = found {
            if s.position(id).is_some() {
                return id;
            }
            if self.slot(id).is_active(id) {
                return s.entries[best_affinity(s, key)].id;
            }
        }
        let to = self.less_loaded(s, now, rng);
        let id = table.assign(key, s.entries[to].id, found);
        if s.position(id).is_some() {
            id
        } else {
            s.entries[to].id
        }
    }

    /// Where the hash of `key` says, unless that member has more than `load_bound` times its
    /// share (Mirrokni et al. 2016); then the key's next choice that has not.
    #[inline(never)]
    fn hashed(&self, s: &Snapshot, key: u64) -> usize {
        let size = s.table.len();
        let at = |step: usize| usize::from(s.table[(mix64(key) as usize % size + step) % size]);
        let first = if size == 0 {
            best_affinity(s, key)
        } else {
            at(0)
        };
        // One in flight fits any share: the sum is needed only when there are more.
        if self.slot(s.entries[first].id).in_flight() == 0 {
            return first;
        }
        let busy: u64 = s
            .entries
            .iter()
            .map(|e| u64::from(self.slot(e.id).in_flight()))
            .sum();
        let quota = f64::from(self.policy.load_bound) * (busy + 1) as f64 / s.share_sum as f64;
        let fits = |i: &usize| {
            let entry = &s.entries[*i];
            let most = (quota * f64::from(entry.share)).ceil();
            f64::from(self.slot(entry.id).in_flight()) + 1.0 <= most
        };
        if fits(&first) {
            return first;
        }
        let other = if size == 0 {
            let open = (0..s.entries.len()).filter(fits);
            open.max_by_key(|i| s.affinity(&s.entries[*i], key))
        } else {
            (1..size.min(8 * s.entries.len())).map(at).find(fits)
        };
        other.unwrap_or(first)
    }
}

fn best_affinity(s: &Snapshot, key: u64) -> usize {
    let scored = s.entries.iter().map(|e| s.affinity(e, key)).enumerate();
    scored.max_by_key(|(_, score)| *score).map_or(0, |(i, _)| i)
}

/// Two different positions below `n` (with 1, twice the same), every pair alike.
#[inline]
fn two(n: usize, rng: &mut Rng) -> [usize; 2] {
    let bits = rng.next_u64();
    let a = below(bits >> 32, n);
    // The second is 1 to n - 1 places after the first, around the end.
    let b = a + below(bits & u64::from(u32::MAX), n - 1) + 1;
    [a, if b >= n { b - n } else { b }]
}

/// 32 random bits, brought below `n`.
#[inline]
fn below(half: u64, n: usize) -> usize {
    ((half * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{MemberSpec, RouterPolicy};
    use super::*;
    use crate::fault::Outcome;

    const T0: Time = Time::from_millis(1_000);

    fn router(strategy: Strategy, shares: &[u32]) -> (Router, Vec<MemberId>, Rng) {
        let mut rng = Rng::seeded(11);
        let policy = RouterPolicy {
            strategy,
            ..RouterPolicy::default()
        };
        let router = Router::new(policy, &mut rng).unwrap();
        let add = |(n, share): (usize, &u32)| {
            let capacity = *share;
            let spec = MemberSpec {
                capacity,
                ..MemberSpec::named(format!("m{n}"))
            };
            router.add(T0, spec).unwrap()
        };
        let ids = shares.iter().enumerate().map(add).collect();
        (router, ids, rng)
    }

    fn hold(router: &Router, id: MemberId, count: u32) {
        for _ in 0..count {
            assert!(router.start(id));
        }
    }

    #[test]
    fn every_strategy_offers_each_member_once() {
        for strategy in Strategy::ALL {
            for n in [1, 2, 5, 100] {
                let (router, ids, mut rng) = router(strategy, &vec![1; n]);
                for key in 0..20 {
                    let mut offered: Vec<_> = router.pick(T0, key, &mut rng).collect();
                    offered.sort();
                    assert_eq!(offered, ids, "{strategy} of {n}");
                }
            }
        }
    }

    #[test]
    fn an_empty_router_offers_nobody_and_counts_it() {
        for strategy in Strategy::ALL {
            let (router, _, mut rng) = router(strategy, &[]);
            assert_eq!(router.pick(T0, 1, &mut rng).next(), None);
            assert_eq!(router.stats().routing_failures, 1, "{strategy}");
        }
    }

    #[test]
    fn a_member_removed_between_candidates_is_not_offered() {
        for strategy in Strategy::ALL {
            let (router, ids, mut rng) = router(strategy, &[1, 1, 1]);
            let mut candidates = router.pick(T0, 3, &mut rng);
            let first = candidates.next().unwrap();
            let gone = ids.iter().copied().find(|id| *id != first).unwrap();
            router.remove(gone).unwrap();
            let rest: Vec<_> = candidates.collect();
            assert_eq!(rest.len(), 1, "{strategy}");
            assert!(!rest.contains(&gone) && !rest.contains(&first));
        }
    }

    #[test]
    fn load_decides_relative_to_capacity() {
        // 3 of 10 is less than 1 of 2; of two idle ones the larger is less loaded with one more.
        for strategy in [Strategy::LeastLoaded, Strategy::P2c, Strategy::PeakEwma] {
            let (router, ids, mut rng) = router(strategy, &[10, 2]);
            hold(&router, ids[0], 3);
            hold(&router, ids[1], 1);
            for _ in 0..50 {
                assert_eq!(
                    router.pick(T0, 0, &mut rng).next(),
                    Some(ids[0]),
                    "{strategy}"
                );
            }
            hold(&router, ids[0], 7);
            for _ in 0..50 {
                assert_eq!(
                    router.pick(T0, 0, &mut rng).next(),
                    Some(ids[1]),
                    "{strategy}"
                );
            }
        }
    }

    #[test]
    fn a_fast_failure_does_not_look_fast() {
        for strategy in [Strategy::PeakEwma, Strategy::Adaptive] {
            let (router, ids, mut rng) = router(strategy, &[1, 1]);
            let ms = Duration::from_millis;
            for id in &ids {
                hold(&router, *id, 1);
                router.finish(*id, T0, Some(ms(40)), Outcome::Success);
            }
            hold(&router, ids[0], 1);
            router.finish(ids[0], T0, Some(Duration::from_micros(3)), Outcome::Failure);
            let soon = T0 + Duration::from_secs(1);
            for _ in 0..50 {
                assert_eq!(
                    router.pick(soon, 0, &mut rng).next(),
                    Some(ids[1]),
                    "{strategy}"
                );
            }
            let views = router.members(soon);
            assert!(
                views[0].latency > Duration::from_secs(4),
                "{:?}",
                views[0].latency
            );
        }
    }

    #[test]
    fn a_penalty_wears_off_by_itself() {
        let (router, ids, mut rng) = router(Strategy::PeakEwma, &[1, 1]);
        hold(&router, ids[0], 1);
        router.finish(ids[0], T0, None, Outcome::Failure);
        let mut now = T0;
        let mut tried = None;
        // The other one keeps answering in 40 ms; 5 s fall below that in 7 half-lives of 7 s.
        while now < T0 + Duration::from_secs(70) && tried.is_none() {
            now = now + Duration::from_millis(100);
            let id = router.pick(now, 0, &mut rng).next().unwrap();
            hold(&router, id, 1);
            router.finish(id, now, Some(Duration::from_millis(40)), Outcome::Success);
            tried = (id == ids[0]).then_some(now);
        }
        let waited = tried.expect("tried again").saturating_since(T0);
        assert!((30..60).contains(&waited.as_secs()), "{waited:?}");
    }

    #[test]
    fn adaptive_shuns_the_member_that_answers_less() {
        let (router, ids, mut rng) = router(Strategy::Adaptive, &[1, 1]);
        let policy_penalty = RouterPolicy::default().failure_penalty;
        // The same latencies, so that only the share of replies differs.
        for n in 0..64 {
            for id in &ids {
                hold(&router, *id, 1);
                let failed = *id == ids[0] && n % 4 == 0;
                let outcome = if failed {
                    Outcome::Failure
                } else {
                    Outcome::Success
                };
                router.finish(*id, T0, Some(policy_penalty), outcome);
            }
        }
        for _ in 0..20 {
            assert_eq!(router.pick(T0, 0, &mut rng).next(), Some(ids[1]));
        }
        router.set_strategy(Strategy::PeakEwma);
        let first = |rng: &mut Rng| router.pick(T0, 0, rng).next() == Some(ids[0]);
        assert!(
            (0..50).any(|_| first(&mut rng)),
            "without the ratio they are alike"
        );
    }

    #[test]
    fn sticky_keys_wait_for_their_member_but_not_for_one_that_left() {
        use super::super::Mark;
        let (router, ids, mut rng) = router(Strategy::Sticky, &[1; 4]);
        let first = |key, rng: &mut Rng| router.pick(T0, key, rng).next().unwrap();
        let homes: Vec<_> = (0..200).map(|key| first(key, &mut rng)).collect();
        let away = ids[1];
        router.mark(away, Mark::Down, T0).unwrap();
        for (key, home) in homes.iter().enumerate() {
            let stand_in = first(key as u64, &mut rng);
            assert_ne!(stand_in, away);
            if *home != away {
                assert_eq!(stand_in, *home, "only its own keys move");
            }
            assert_eq!(
                stand_in,
                first(key as u64, &mut rng),
                "and always to the same one"
            );
        }
        router.mark(away, Mark::Auto, T0).unwrap();
        assert!((0..200).all(|key| first(key as u64, &mut rng) == homes[key]));

        router.drain(away).unwrap();
        let moved: Vec<_> = (0..200).map(|key| first(key, &mut rng)).collect();
        router.resume(away, T0).unwrap();
        let after: Vec<_> = (0..200).map(|key| first(key, &mut rng)).collect();
        assert_eq!(moved, after, "a member that was drained has left its keys");

        let kept = router.stats().sticky_kept;
        router.remove(ids[2]).unwrap();
        let own = moved.iter().filter(|id| **id == ids[2]).count();
        assert_eq!(
            router.stats().sticky_kept,
            kept - own as u64,
            "its places are free at once"
        );
        let last: Vec<_> = (0..200).map(|key| first(key, &mut rng)).collect();
        for (key, (before, after)) in moved.iter().zip(&last).enumerate() {
            assert_ne!(*after, ids[2]);
            assert!(
                *before == ids[2] || before == after,
                "key {key} moved without need"
            );
        }
    }

    #[test]
    fn sticky_forgets_only_for_want_of_room_and_says_so() {
        let mut rng = Rng::seeded(2);
        let policy = RouterPolicy {
            strategy: Strategy::Sticky,
            sticky_keys: 64,
            ..RouterPolicy::default()
        };
        let router = Router::new(policy, &mut rng).unwrap();
        for n in 0..3 {
            router.add(T0, MemberSpec::named(format!("m{n}"))).unwrap();
        }
        for key in 0..10_000 {
            assert!(router.pick(T0, key, &mut rng).next().is_some());
        }
        let stats = router.stats();
        assert_eq!(stats.sticky_kept, 64);
        assert_eq!(stats.sticky_evicted, 10_000 - 64);
    }

    #[test]
    fn hash_moves_only_the_keys_of_the_member_that_left() {
        for n in [5usize, 100] {
            let (router, ids, mut rng) = router(Strategy::Hash, &vec![1; n]);
            let first = |key, rng: &mut Rng| router.pick(T0, key, rng).next().unwrap();
            let homes: Vec<_> = (0..2_000).map(|key| first(key, &mut rng)).collect();
            router.remove(ids[3]).unwrap();
            let mut moved = 0;
            for (key, home) in homes.iter().enumerate() {
                let now = first(key as u64, &mut rng);
                assert_ne!(now, ids[3]);
                moved += usize::from(now != *home);
            }
            let own = homes.iter().filter(|id| **id == ids[3]).count();
            // Maglev moves a few others; rendezvous none.
            let slack = if n > 64 { 60 } else { 0 };
            assert!(
                (own..=own + slack).contains(&moved),
                "{moved} moved, {own} had to"
            );
        }
    }

    #[test]
    fn hash_spills_over_when_a_member_has_too_much() {
        for n in [4usize, 80] {
            let (router, ids, mut rng) = router(Strategy::Hash, &vec![1; n]);
            // One hot key: without the bound all would go to one member.
            let mut held = vec![0u32; n];
            for _ in 0..40 * n {
                let id = router.pick(T0, 77, &mut rng).next().unwrap();
                hold(&router, id, 1);
                held[ids.iter().position(|i| *i == id).unwrap()] += 1;
            }
            let most = held.iter().max().unwrap();
            assert!(*most <= 51, "1.25 times 40, rounded up: {held:?}");
        }
    }

    #[test]
    fn a_late_member_begins_slowly_with_every_strategy_but_hash() {
        let fresh = [
            Strategy::RoundRobin,
            Strategy::Weighted,
            Strategy::P2c,
            Strategy::PeakEwma,
            Strategy::Sticky,
        ];
        for strategy in fresh {
            let (router, ids, mut rng) = router(strategy, &[1; 3]);
            for id in &ids {
                hold(&router, *id, 2);
                router.finish(*id, T0, Some(Duration::from_millis(1)), Outcome::Success);
            }
            let late = router.add(T0, MemberSpec::named("late")).unwrap();
            hold(&router, late, 1);
            let mut key = 0;
            let mut share = |at: Time, rng: &mut Rng| {
                let mut hits = 0;
                for _ in 0..4_000 {
                    key += 1;
                    hits += u32::from(router.pick(at, key, rng).next() == Some(late));
                }
                f64::from(hits) / 4_000.0
            };
            let cold = share(T0, &mut rng);
            assert!(cold < 0.06, "{strategy}: {cold} when cold");
            let warm = share(T0 + Duration::from_secs(10), &mut rng);
            assert!((0.2..0.3).contains(&warm), "{strategy}: {warm} when warm");
        }
    }

    #[test]
    fn pairs_are_distinct_and_even() {
        let mut rng = Rng::seeded(5);
        let mut seen = [[0u32; 4]; 4];
        for _ in 0..12_000 {
            let [a, b] = two(4, &mut rng);
            seen[a][b] += 1;
        }
        for (a, row) in seen.iter().enumerate() {
            for (b, n) in row.iter().enumerate() {
                let due = if a == b { 0..1 } else { 880..1_120 };
                assert!(due.contains(n), "({a}, {b}): {n}");
            }
        }
        assert_eq!(two(1, &mut rng), [0, 0]);
    }
}
