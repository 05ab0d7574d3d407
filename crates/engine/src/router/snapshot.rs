//! Who may be chosen and in which order: built when something changes, never changed afterwards.
//!
//! Reading one must cost less than the choice itself. An `ArcSwap` load is two locked operations,
//! more than twice the budget that is left, so each thread keeps the last snapshot of a few
//! routers and compares one number (the stamp, unique in the process) before it trusts its copy. A
//! thread that stops choosing keeps at most [`KEPT`] old snapshots alive; a thread that is being
//! torn down reads the `ArcSwap` itself.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;

use super::member::{MemberId, SLOTS};
use super::policy::Strategy;
use crate::rng::mix64;
use crate::time::Time;

/// Above this many members `hash` looks its key up in a table instead of scoring each member.
pub(super) const SCORED_MAX: usize = 64;

/// Maglev's table size: prime, and at least 100 entries for each of 255 members (Eisenbud et al.
/// 2016, section 5.3).
const TABLE_SIZE: u32 = 65_537;

/// The longest schedule; larger sums of shares are scaled down to it.
const SCHEDULE_MAX: u32 = 4_096;

/// Marks a slot without a position.
const NONE: u8 = u8::MAX;

/// A member as the strategies see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: MemberId,
    /// Weight × capacity.
    pub(super) share: u32,
    /// The smallest share over this one, in 2^20ths, at least 1: in flight × this compares loads.
    pub(super) pace: u32,
    /// From the name, so that it is the same in another process.
    pub(super) seed: u64,
}

/// An immutable view of the members that may be chosen.
#[derive(Debug)]
pub(super) struct Snapshot {
    stamp: u64,
    pub(super) strategy: Strategy,
    pub(super) entries: Box<[Entry]>,
    pub(super) share_sum: u64,
    /// Whether all shares are equal.
    pub(super) even: bool,
    /// For `weighted`: positions in `entries`, each as often as its share, evenly spread.
    pub(super) schedule: Box<[u8]>,
    /// For `hash` with more than [`SCORED_MAX`] members: positions in `entries`.
    pub(super) table: Box<[u8]>,
    /// Until when some member is in its slow start.
    pub(super) warming_until: Time,
    positions: [u8; SLOTS],
}

impl Snapshot {
    /// Builds the snapshot of `members` (at most 255): id, share and seed.
    pub(super) fn new(
        strategy: Strategy,
        members: &[(MemberId, u32, u64)],
        warming_until: Time,
    ) -> Self {
        let least = members.iter().map(|m| m.1).min().unwrap_or(1).max(1);
        let mut positions = [NONE; SLOTS];
        let entries: Box<[Entry]> = members
            .iter()
            .zip(0u8..NONE)
            .map(|(&(id, share, seed), position)| {
                positions[id.index()] = position;
                let pace = (u64::from(least) << 20) / u64::from(share.max(1));
                let pace = u32::try_from(pace.max(1)).unwrap_or(u32::MAX);
                Entry {
                    id,
                    share,
                    pace,
                    seed,
                }
            })
            .collect();
        let share_sum = entries.iter().map(|e| u64::from(e.share)).sum();
        let even = entries.iter().all(|e| e.share == least);
        let schedule = match strategy {
            Strategy::Weighted => schedule(&entries),
            _ => Box::default(),
        };
        let table = match strategy {
            Strategy::Hash if entries.len() > SCORED_MAX => maglev(&entries),
            _ => Box::default(),
        };
        Self {
            stamp: next_stamp(),
            strategy,
            entries,
            share_sum,
            even,
            schedule,
            table,
            warming_until,
            positions,
        }
    }

    /// Where `id` is among the entries.
    pub(super) fn position(&self, id: MemberId) -> Option<usize> {
        let entry = usize::from(self.positions[id.index()]);
        (self.entries.get(entry)?.id == id).then_some(entry)
    }

    /// The position whose turn `turn` is; there must be entries. (Once in 2^32 turns the count
    /// wraps, and the order begins anew.)
    #[inline]
    pub(super) fn in_turn(&self, turn: u32) -> usize {
        // At most 255 entries and 4,352 schedule places: the lengths fit.
        if self.strategy == Strategy::Weighted {
            return usize::from(self.schedule[(turn % self.schedule.len() as u32) as usize]);
        }
        (turn % self.entries.len() as u32) as usize
    }

    /// How well `key` fits `entry`, the higher the better: rendezvous hashing (Thaler and
    /// Ravishankar 1998), with shares by the logarithmic method.
    pub(super) fn affinity(&self, entry: &Entry, key: u64) -> u64 {
        let mixed = mix64(key ^ entry.seed);
        if self.even {
            return mixed;
        }
        // (0, 1]: the logarithm is finite, and at most 0.
        let unit = ((mixed >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let score = f64::from(entry.share) / -unit.ln().min(-f64::MIN_POSITIVE);
        // The bits of positive floats sort as the floats do.
        score.to_bits()
    }
}

/// Positions of `entries`, each `share / gcd` times (scaled down when the sum is too long), by the
/// virtual time at which each turn is due: turn `k` of share `s` at `(k + 1/2) / s`.
fn schedule(entries: &[Entry]) -> Box<[u8]> {
    let divisor = entries.iter().fold(0, |acc, e| gcd(acc, e.share)).max(1);
    let sum: u64 = entries.iter().map(|e| u64::from(e.share / divisor)).sum();
    let turns = |e: &Entry| {
        let share = u64::from(e.share / divisor);
        if sum <= u64::from(SCHEDULE_MAX) {
            share
        } else {
            (share * u64::from(SCHEDULE_MAX) / sum).max(1)
        }
    };
    let mut due: Vec<(f64, u8)> = Vec::new();
    for (entry, position) in entries.iter().zip(0u8..NONE) {
        let turns = turns(entry);
        due.extend((0..turns).map(|k| ((k as f64 + 0.5) / turns as f64, position)));
    }
    due.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    due.into_iter().map(|(_, position)| position).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Maglev's table (Eisenbud et al. 2016, section 3.4): each member walks its own permutation and
/// takes the next free entry, as often as its share says.
fn maglev(entries: &[Entry]) -> Box<[u8]> {
    let size = u64::from(TABLE_SIZE);
    let most = entries.iter().map(|e| e.share).max().unwrap_or(1);
    let mut table = vec![NONE; TABLE_SIZE as usize].into_boxed_slice();
    let mut walks: Vec<(u64, u64, u64)> = entries
        .iter()
        .map(|e| {
            let offset = mix64(e.seed) % size;
            let skip = mix64(e.seed ^ 0x6d61_676c_6576) % (size - 1) + 1;
            (offset, skip, 0)
        })
        .collect();
    let mut left = TABLE_SIZE;
    while left > 0 {
        for (position, (entry, walk)) in (0u8..NONE).zip(entries.iter().zip(&mut walks)) {
            // A member with the largest share has a turn in every round, another in some.
            walk.2 += u64::from(entry.share);
            if walk.2 < u64::from(most) || left == 0 {
                continue;
            }
            walk.2 -= u64::from(most);
            let mut at = walk.0;
            while table[at as usize] != NONE {
                at = (at + walk.1) % size;
            }
            table[at as usize] = position;
            walk.0 = (at + walk.1) % size;
            left -= 1;
        }
    }
    table
}

/// A number that no other snapshot of this process has.
fn next_stamp() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

/// Snapshots that a thread keeps.
const KEPT: usize = 8;

thread_local! {
    static LAST_READ: [Cell<Option<Arc<Snapshot>>>; KEPT] =
        const { [const { Cell::new(None) }; KEPT] };
}

/// The current snapshot of one router.
#[derive(Debug)]
pub(super) struct Current {
    snapshot: ArcSwap<Snapshot>,
    /// The stamp of `snapshot`, or of one before it for a moment.
    stamp: AtomicU64,
    /// Which of a thread's places this router uses.
    place: usize,
}

impl Current {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        static ROUTERS: AtomicUsize = AtomicUsize::new(0);
        Self {
            stamp: AtomicU64::new(snapshot.stamp),
            snapshot: ArcSwap::from_pointee(snapshot),
            place: ROUTERS.fetch_add(1, Relaxed),
        }
    }

    /// Swaps the snapshot. Every read that begins after this returned sees the new one.
    pub(super) fn store(&self, snapshot: Snapshot) {
        let stamp = snapshot.stamp;
        self.snapshot.store(Arc::new(snapshot));
        self.stamp.store(stamp, Release);
    }

    /// Hands the current snapshot to `read`.
    #[inline]
    pub(super) fn with<R>(&self, read: impl FnOnce(&Snapshot) -> R) -> R {
        let stamp = self.stamp.load(Acquire);
        // Taken out while it is read, so that a read within a read finds the place empty.
        let kept = LAST_READ.try_with(|places| places[self.place % KEPT].take());
        let snapshot = match kept {
            Ok(Some(snapshot)) if snapshot.stamp == stamp => snapshot,
            _ => self.snapshot.load_full(),
        };
        let answer = read(&snapshot);
        // An error means that the thread is ending: the snapshot is dropped with the closure.
        LAST_READ
            .try_with(move |places| places[self.place % KEPT].set(Some(snapshot)))
            .ok();
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(strategy: Strategy, shares: &[u32]) -> Snapshot {
        let members: Vec<_> = (0u8..)
            .zip(shares)
            .map(|(slot, share)| (MemberId::new(slot, 1), *share, mix64(u64::from(slot) + 1)))
            .collect();
        Snapshot::new(strategy, &members, Time::ZERO)
    }

    fn turns(schedule: &[u8], of: u8) -> usize {
        schedule.iter().filter(|p| **p == of).count()
    }

    #[test]
    fn a_schedule_is_exact_and_without_bursts() {
        let s = snapshot(Strategy::Weighted, &[50, 10, 10]).schedule;
        assert_eq!(s.len(), 7, "reduced by the common divisor");
        assert_eq!([turns(&s, 0), turns(&s, 1), turns(&s, 2)], [5, 1, 1]);
        let s = snapshot(Strategy::Weighted, &[100, 99]).schedule;
        assert!(
            s.windows(2).filter(|w| w[0] == w[1]).count() <= 2,
            "alternates"
        );
        for strategy in [Strategy::RoundRobin, Strategy::Hash] {
            assert!(snapshot(strategy, &[5, 1]).schedule.is_empty());
        }
    }

    #[test]
    fn every_stretch_of_a_schedule_is_fair() {
        let shares = [7u32, 3, 1, 13, 4];
        let s = snapshot(Strategy::Weighted, &shares).schedule;
        let sum: u32 = shares.iter().sum();
        for length in 1..=s.len() {
            for (position, share) in (0u8..).zip(shares) {
                let due = length as f64 * f64::from(share) / f64::from(sum);
                let had = turns(&s[..length], position) as f64;
                assert!((had - due).abs() <= 1.5, "{had} of {due} after {length}");
            }
        }
    }

    #[test]
    fn a_long_schedule_is_scaled_and_leaves_nobody_out() {
        let s = snapshot(Strategy::Weighted, &[65_535 * 65_535, 65_535 * 31, 1]).schedule;
        assert!(s.len() <= 4_097, "{}", s.len());
        assert_eq!(turns(&s, 2), 1);
        assert!(turns(&s, 0) > 4_000);
    }

    #[test]
    fn positions_reject_ids_of_another_generation() {
        let s = snapshot(Strategy::P2c, &[1, 1]);
        assert_eq!(s.position(MemberId::new(1, 1)), Some(1));
        assert_eq!(s.position(MemberId::new(1, 2)), None);
        assert_eq!(s.position(MemberId::new(9, 1)), None);
    }

    #[test]
    fn affinity_follows_shares() {
        let shares = [1u32, 2, 5];
        let s = snapshot(Strategy::Hash, &shares);
        let mut had = [0u32; 3];
        for key in 0..40_000u64 {
            let best = (0..3)
                .max_by_key(|i| s.affinity(&s.entries[*i], mix64(key)))
                .unwrap();
            had[best] += 1;
        }
        for (had, share) in had.iter().zip(shares) {
            let due = 40_000.0 * f64::from(share) / 8.0;
            assert!((f64::from(*had) / due - 1.0).abs() < 0.05, "{had} of {due}");
        }
    }

    #[test]
    fn the_table_follows_shares_and_moves_few_keys() {
        let mut shares = vec![1u32; 100];
        shares[7] = 3;
        let before = snapshot(Strategy::Hash, &shares);
        let due = 65_537.0 / 102.0;
        for (position, share) in (0u8..).zip(&shares) {
            let part = turns(&before.table, position) as f64 / (due * f64::from(*share));
            assert!((0.9..1.1).contains(&part), "{position}: {part}");
        }
        let mut members: Vec<_> = before
            .entries
            .iter()
            .map(|e| (e.id, e.share, e.seed))
            .collect();
        members.pop();
        let after = Snapshot::new(Strategy::Hash, &members, Time::ZERO);
        let moved = before
            .table
            .iter()
            .zip(&*after.table)
            .filter(|(a, b)| a != b)
            .count();
        assert!(moved < 65_537 / 20, "{moved} of 65537 entries moved");
    }

    #[test]
    fn readers_see_the_last_store_and_routers_do_not_mix() {
        let currents: Vec<Current> = (0..20)
            .map(|_| Current::new(snapshot(Strategy::P2c, &[1])))
            .collect();
        for round in 2..5usize {
            for current in &currents {
                current.store(snapshot(Strategy::P2c, &vec![1; round]));
            }
            for current in &currents {
                assert_eq!(current.with(|s| s.entries.len()), round);
                assert_eq!(
                    current.with(|s| s.entries.len()),
                    round,
                    "from the thread's copy"
                );
            }
        }
    }

    #[test]
    fn a_thread_s_copy_is_not_trusted_after_a_store() {
        let current = Current::new(snapshot(Strategy::P2c, &[1]));
        for members in 2..6usize {
            assert_eq!(current.with(|s| s.entries.len()), members - 1);
            current.store(snapshot(Strategy::P2c, &vec![1; members]));
        }
        assert_eq!(current.with(|s| s.entries.len()), 5);
    }

    #[test]
    fn a_read_within_a_read_still_answers() {
        let current = Current::new(snapshot(Strategy::P2c, &[1, 1]));
        assert_eq!(current.with(|_| current.with(|s| s.entries.len())), 2);
    }
}
