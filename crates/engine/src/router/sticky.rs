//! Which member a key was given to: a bounded table without a lock.
//!
//! A key belongs to one bucket of eight places. A place holds 47 bits of the key's hash and the
//! member's id in one word; together with the bucket's number two keys share an entry once in
//! 2^47 pairs of a bucket, and then they merely share a member. A full bucket gives up the place
//! that the new key's hash points at, and the eviction is counted. The hash is keyed per table, so
//! that callers who choose keys cannot aim at one bucket.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::member::MemberId;
use crate::rng::mix64;

const WAYS: usize = 8;
const EMPTY: u64 = 0;

/// A bounded map from keys to members.
#[derive(Debug)]
pub(super) struct StickyTable {
    places: Box<[AtomicU64]>,
    salt: u64,
    evicted: AtomicU64,
}

impl StickyTable {
    /// A table for at least `keys` keys in full buckets.
    pub(super) fn new(keys: u32, salt: u64) -> Self {
        let places = (keys as usize).next_power_of_two().max(WAYS);
        Self {
            places: (0..places).map(|_| AtomicU64::new(EMPTY)).collect(),
            salt,
            evicted: AtomicU64::new(0),
        }
    }

    /// The member of `key`, whether it is still there or not.
    pub(super) fn find(&self, key: u64) -> Option<MemberId> {
        let (bucket, tag) = self.locate(key);
        bucket
            .iter()
            .map(|place| place.load(Acquire))
            .find(|word| word >> 16 == tag)
            .map(member)
    }

    /// Gives `key` to `id`, or leaves it with whom another thread gave it to in the meantime.
    /// `replaced` is what [`Self::find`] said. Returns the member that the key is now with.
    pub(super) fn assign(&self, key: u64, id: MemberId, replaced: Option<MemberId>) -> MemberId {
        let (bucket, tag) = self.locate(key);
        let word = tag << 16 | u64::from(id.bits());
        if let Some(old) = replaced {
            let stale = tag << 16 | u64::from(old.bits());
            for place in bucket {
                if place.compare_exchange(stale, word, AcqRel, Relaxed).is_ok() {
                    return id;
                }
            }
        }
        for place in bucket {
            match place.compare_exchange(EMPTY, word, AcqRel, Acquire) {
                Ok(_) => return self.settle(bucket, tag, id),
                Err(other) if other >> 16 == tag => return member(other),
                Err(_) => {}
            }
        }
        let victim = &bucket[(mix64(tag) as usize) % WAYS];
        if victim.swap(word, AcqRel) >> 16 != tag {
            self.evicted.fetch_add(1, Relaxed);
        }
        self.settle(bucket, tag, id)
    }

    /// Two threads may have given one key two places: the first place counts for both.
    fn settle(&self, bucket: &[AtomicU64], tag: u64, id: MemberId) -> MemberId {
        let mut same = bucket
            .iter()
            .filter(|place| place.load(Acquire) >> 16 == tag);
        let first = same.next().map_or(id, |place| member(place.load(Acquire)));
        for place in same {
            let word = place.load(Acquire);
            if word >> 16 == tag {
                // Lost only when somebody else has just changed it, who then settles too.
                place.compare_exchange(word, EMPTY, AcqRel, Relaxed).ok();
            }
        }
        first
    }

    /// Frees every place of `id`: after this its slot's next owner cannot inherit a key.
    pub(super) fn forget(&self, id: MemberId) {
        for place in &self.places {
            let word = place.load(Relaxed);
            if word != EMPTY && member(word) == id {
                place.compare_exchange(word, EMPTY, Release, Relaxed).ok();
            }
        }
    }

    /// Keys that are kept.
    pub(super) fn kept(&self) -> u64 {
        self.places
            .iter()
            .map(|p| u64::from(p.load(Relaxed) != EMPTY))
            .sum()
    }

    /// Keys that were given up for want of room.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// The bucket of `key` and its tag, which is never 0.
    fn locate(&self, key: u64) -> (&[AtomicU64], u64) {
        let hash = mix64(key ^ self.salt);
        let buckets = self.places.len() / WAYS;
        // At most 2^21 buckets, from the low bits; the tag is the upper 47 bits and a 1.
        let start = (hash as usize & (buckets - 1)) * WAYS;
        (&self.places[start..start + WAYS], hash >> 16 | 1)
    }
}

fn member(word: u64) -> MemberId {
    MemberId::from_bits(word as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId::new(n, 1)
    }

    #[test]
    fn keys_stay_with_their_member() {
        let table = StickyTable::new(4_096, 9);
        for key in 0..1_000u64 {
            assert_eq!(table.find(key), None);
            let to = id((key % 5) as u8);
            assert_eq!(table.assign(key, to, None), to);
        }
        for key in 0..1_000u64 {
            assert_eq!(table.find(key), Some(id((key % 5) as u8)));
        }
        assert_eq!((table.kept(), table.evicted()), (1_000, 0));
    }

    #[test]
    fn the_second_to_assign_learns_who_was_first() {
        let table = StickyTable::new(64, 1);
        assert_eq!(table.assign(7, id(1), None), id(1));
        assert_eq!(table.assign(7, id(2), None), id(1));
        assert_eq!(
            table.assign(7, id(3), Some(id(1))),
            id(3),
            "its member left"
        );
        assert_eq!(
            table.assign(7, id(4), Some(id(1))),
            id(3),
            "another thread moved it"
        );
        assert_eq!(table.kept(), 1);
    }

    #[test]
    fn a_full_bucket_evicts_and_counts() {
        let table = StickyTable::new(8, 3);
        for key in 0..100 {
            table.assign(key, id(1), None);
        }
        assert_eq!(table.kept(), 8);
        assert_eq!(table.evicted(), 92);
        assert_eq!(table.find(99), Some(id(1)), "the newest is always in");
    }

    #[test]
    fn forgetting_frees_one_member_only() {
        let table = StickyTable::new(256, 3);
        for key in 0..100 {
            table.assign(key, id((key % 2) as u8), None);
        }
        let kept = table.kept();
        table.forget(id(0));
        assert!((0..100).all(|key| table.find(key) != Some(id(0))));
        assert_eq!(table.kept(), kept - 50);
    }

    #[test]
    fn settling_leaves_one_place_for_a_key() {
        let table = StickyTable::new(8, 5);
        let (bucket, tag) = table.locate(1);
        bucket[2].store(tag << 16 | u64::from(id(1).bits()), Release);
        bucket[6].store(tag << 16 | u64::from(id(2).bits()), Release);
        assert_eq!(table.settle(bucket, tag, id(2)), id(1));
        assert_eq!((table.kept(), table.find(1)), (1, Some(id(1))));
    }
}
