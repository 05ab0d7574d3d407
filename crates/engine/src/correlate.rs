//! Which request a reply belongs to, and which replies belong to none.
//!
//! An id must be found again in constant time, must not be guessed, and must not come back while
//! a late reply to its first use can still arrive. So a table of slots is the index, and an id is
//! the keyed permutation of a *serial* whose low bits are the slot and whose high bits count that
//! slot's uses. Slots are reused first-in first-out.
//!
//! **How soon an id returns.** The table has `N` slots, a power of two, and doubles before an
//! insertion would leave fewer than half of them free (the last doubling allowed is the one for
//! `capacity`). A freed slot therefore waits for at least `N / 2 - 1` other insertions, and a slot
//! has `2^31 / N` serials, so an id returns after some 2^30 insertions whatever `N` is: 35 minutes
//! at 500,000 a second, far more than twice any timeout. Memory follows the peak of live entries
//! (at most four times it, 64 slots at least) and is kept.
//!
//! **Doubling** moves serials, not ids: the slot of a serial is its value modulo `N`, so each slot
//! splits into two and a live entry moves to the half that its serial names. It is one pass over
//! the table, paid for by the insertions that filled it.
//!
//! **Late or unknown.** An id that was issued within the last 2^27 serials of its slot's sequence
//! and is not live any more is late (a second reply, or one after the timeout); every other id is
//! unknown: never issued, made up, or too old to say. The id 0 is never issued.

use crate::rng::Permutation;

/// A table of what waits for replies, keyed by ids that nobody can guess.
///
/// Everything is O(1); nothing is allocated per entry.
pub struct Correlator<T> {
    slots: Vec<Slot<T>>,
    /// The free slots, oldest first, linked through [`Slot::after`].
    free: Chain,
    live: u32,
    capacity: u32,
    ids: Permutation,
    /// The id and serial that were converted last: whoever finds an entry often removes it next.
    recent: (u32, u32),
}

/// What an id stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a, T> {
    /// The entry that waits for this reply.
    Live(&'a mut T),
    /// An entry that has been answered or given up: a duplicate or a late reply.
    Late,
    /// Nothing that was issued lately.
    Unknown,
}

/// The table holds as many entries as it may; the entry comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many requests as allowed are waiting for replies")]
pub struct Full<T>(pub T);

impl<T> Correlator<T> {
    /// The most entries that a table can be allowed to hold.
    pub const CAPACITY_MAX: usize = 1 << 24;

    /// A table for at most `capacity` entries (kept within 1 and [`Self::CAPACITY_MAX`]), whose
    /// ids follow from `key`: draw it from the operating system in production.
    pub fn new(capacity: usize, key: u64) -> Self {
        let capacity = capacity.clamp(1, Self::CAPACITY_MAX) as u32;
        let ids = Permutation::keyed(key);
        Self {
            slots: Vec::new(),
            free: Chain { head: 0, tail: 0 },
            live: 0,
            capacity,
            recent: (0, ids.invert(0).unwrap_or(0)),
            ids,
        }
    }

    /// Takes an entry and returns its id, in `1..=2^31 - 1`.
    ///
    /// # Errors
    /// [`Full`] with the entry when the table holds `capacity` entries.
    #[inline]
    pub fn insert(&mut self, entry: T) -> Result<u32, Full<T>> {
        if self.live == self.capacity {
            return Err(Full(entry));
        }
        if (self.live as usize + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let width = self.width();
        let index = self.free.head;
        let slot = &mut self.slots[index as usize];
        self.free.head = slot.after;
        let mut id = self.ids.apply(slot.next.serial());
        if id == 0 {
            slot.next = slot.next.plus(width);
            id = self.ids.apply(slot.next.serial());
        }
        slot.next = slot.next.plus(width);
        slot.entry = Some(entry);
        self.live += 1;
        Ok(id)
    }

    /// The entry of `id`.
    #[inline]
    pub fn find(&mut self, id: u32) -> Found<'_, T> {
        let Some((index, age)) = self.locate(id) else {
            return Found::Unknown;
        };
        let slot = &mut self.slots[index];
        match &mut slot.entry {
            Some(entry) if age == 0 => Found::Live(entry),
            _ if id != 0 && age < LATE_SERIALS => Found::Late,
            _ => Found::Unknown,
        }
    }

    /// Takes the entry of `id` out of the table; `None` when it is not live.
    #[inline]
    pub fn remove(&mut self, id: u32) -> Option<T> {
        let (index, age) = self.locate(id)?;
        if age != 0 {
            return None;
        }
        let entry = self.slots[index].entry.take()?;
        self.live -= 1;
        self.free.append(&mut self.slots, index as u32);
        Some(entry)
    }

    /// How many entries are live.
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether no entry is live.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many entries may be live at once.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Every live entry with its id, in no particular order. It visits every slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let width = self.width();
        self.slots.iter().filter_map(move |slot| {
            let entry = slot.entry.as_ref()?;
            Some((self.ids.apply(slot.next.minus(width)), entry))
        })
    }

    /// The slot of `id`, and how many serials ago (0 = its last use) that slot issued it; `None`
    /// when it never did.
    #[inline]
    fn locate(&mut self, id: u32) -> Option<(usize, u32)> {
        if self.recent.0 != id {
            self.recent = (id, self.ids.invert(id)?);
        }
        let serial = self.recent.1;
        let width = self.width();
        let index = (serial & width.wrapping_sub(1)) as usize;
        let next = self.slots.get(index)?.next;
        let never = serial >= next.serial() && !next.wrapped();
        let age = next.minus(width).wrapping_sub(serial) & Permutation::MAX;
        (!never).then_some((index, age))
    }

    /// How many slots there are: a power of two, or 0 before the first insertion.
    fn width(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Doubles the table: slot `i` splits into `i` and `i + width`.
    #[cold]
    fn grow(&mut self) {
        let width = self.width();
        if width == 0 {
            self.slots = (0..SLOTS_MIN).map(Slot::first).collect();
            self.free = Chain {
                head: 0,
                tail: SLOTS_MIN - 1,
            };
            return;
        }
        self.slots.reserve_exact(width as usize);
        for index in 0..width {
            let slot = &mut self.slots[index as usize];
            let next = slot.next;
            // The last serial issued belongs to the sibling that is not next in turn.
            let low_is_next = next.serial() & width == 0;
            let mut sibling = Slot::first(index + width);
            let was_live = slot.entry.is_some();
            if low_is_next {
                sibling.next = next.plus(width);
                sibling.entry = slot.entry.take();
            } else {
                sibling.next = next;
                slot.next = next.plus(width);
            }
            self.slots.push(sibling);
            let freed = if was_live && low_is_next {
                index
            } else {
                index + width
            };
            self.free.append(&mut self.slots, freed);
        }
    }
}

impl<T> std::fmt::Debug for Correlator<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Correlator({} of {})", self.live, self.capacity)
    }
}

/// How far back in its slot's sequence a dead id still counts as late: a sixteenth of all serials.
const LATE_SERIALS: u32 = 1 << 27;
/// The slots of the smallest table.
const SLOTS_MIN: u32 = 64;

struct Slot<T> {
    next: Next,
    /// The free slot to be used after this one, while this one is free.
    after: u32,
    entry: Option<T>,
}

impl<T> Slot<T> {
    /// The slot at `index` before its first use.
    fn first(index: u32) -> Self {
        Self {
            next: Next(index),
            after: index + 1,
            entry: None,
        }
    }
}

/// The serial that a slot issues next. The top bit says that its sequence has started over, so
/// that every serial of it has been issued.
#[derive(Clone, Copy)]
struct Next(u32);

impl Next {
    const WRAPPED: u32 = 1 << 31;

    fn serial(self) -> u32 {
        self.0 & Permutation::MAX
    }

    fn wrapped(self) -> bool {
        self.0 & Self::WRAPPED != 0
    }

    fn plus(self, width: u32) -> Self {
        Self((self.serial() + width) | (self.0 & Self::WRAPPED))
    }

    /// The serial one step of `width` before.
    fn minus(self, width: u32) -> u32 {
        self.serial().wrapping_sub(width) & Permutation::MAX
    }
}

/// The free slots, first in first out. It is never empty: half of the table is free.
struct Chain {
    head: u32,
    tail: u32,
}

impl Chain {
    fn append<T>(&mut self, slots: &mut [Slot<T>], index: u32) {
        slots[self.tail as usize].after = index;
        self.tail = index;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const KEY: u64 = 0x51ce_b00c;

    #[test]
    fn an_id_finds_its_entry_until_it_is_removed() {
        let mut table = Correlator::new(8, KEY);
        let (a, b) = (table.insert('a').unwrap(), table.insert('b').unwrap());
        assert_eq!(table.find(a), Found::Live(&mut 'a'));
        assert_eq!(table.find(b), Found::Live(&mut 'b'));
        assert_eq!((table.remove(a), table.remove(a)), (Some('a'), None));
        assert_eq!(table.find(a), Found::Late);
        assert_eq!(table.len(), 1);
        assert_eq!(table.iter().collect::<Vec<_>>(), [(b, &'b')]);
    }

    #[test]
    fn ids_that_were_never_issued_are_unknown() {
        let mut table = Correlator::new(8, KEY);
        let ids = Permutation::keyed(KEY);
        assert_eq!(table.find(ids.apply(0)), Found::Unknown);
        let first = table.insert(()).unwrap();
        assert_eq!(first, ids.apply(0));
        for serial in (1..200).chain([1 << 20, Permutation::MAX]) {
            assert_eq!(table.find(ids.apply(serial)), Found::Unknown, "{serial}");
            assert_eq!(table.remove(ids.apply(serial)), None);
        }
        for id in [0, 1 << 31, u32::MAX] {
            assert_eq!(table.find(id), Found::Unknown);
            assert_eq!(table.remove(id), None);
        }
        assert_eq!(table.remove(first), Some(()));
    }

    #[test]
    fn a_full_table_gives_the_entry_back() {
        let mut table = Correlator::new(2, KEY);
        let first = table.insert(1).unwrap();
        table.insert(2).unwrap();
        assert_eq!(table.insert(3), Err(Full(3)));
        table.remove(first).unwrap();
        assert!(table.insert(3).is_ok());
        assert_eq!(Correlator::<()>::new(0, KEY).capacity(), 1);
    }

    #[test]
    fn the_id_zero_is_skipped() {
        let mut table = Correlator::new(8, KEY);
        let id = table.insert(0).unwrap();
        table.remove(id).unwrap();
        let serial = Permutation::keyed(KEY).invert(0).unwrap();
        // Let the slot of that serial be the next to be used, and that serial its next.
        let slot = serial % SLOTS_MIN;
        table.slots[slot as usize].next = Next(serial);
        table.free.head = slot;
        let id = table.insert(7).unwrap();
        assert_eq!(id, Permutation::keyed(KEY).apply(serial + SLOTS_MIN));
        assert_eq!(table.find(0), Found::Unknown);
        assert_eq!(table.remove(id), Some(7));
    }

    #[test]
    fn a_sequence_that_starts_over_stays_consistent() {
        let ids = Permutation::keyed(KEY);
        let mut table = Correlator::new(1 << 10, KEY);
        let id = table.insert(0).unwrap();
        table.remove(id).unwrap();
        for (slot, index) in table.slots.iter_mut().zip(0..) {
            slot.next = Next((1 << 31) - SLOTS_MIN + index);
        }
        let old: Vec<u32> = (0..64).map(|_| churn(&mut table)).collect();
        let serials: HashSet<u32> = old.iter().map(|id| ids.invert(*id).unwrap()).collect();
        assert!(
            serials
                .iter()
                .all(|serial| *serial >= (1 << 31) - SLOTS_MIN)
        );
        let new: Vec<u32> = (0..600).map(|n| table.insert(n).unwrap()).collect();
        assert!(table.width() >= 1200, "it has grown after the wrap");
        assert!(new.iter().all(|id| ids.invert(*id).unwrap() < 1 << 20));
        assert!(old.iter().all(|id| table.find(*id) == Found::Late));
        // An old id whose serial the slots have long left behind is nobody's any more.
        assert_eq!(table.find(ids.apply(1 << 30)), Found::Unknown);
        for (id, n) in new.iter().zip(0..) {
            assert_eq!(table.remove(*id), Some(n));
        }
    }

    /// With `N` slots an id returns after `2^31 / N` uses of its slot; this shows that every use
    /// costs at least `N / 2` insertions, whatever is live, so that 2^30 insertions are between
    /// two uses of one id: 2,147 s at 500,000 a second. The lives are those of the design's case
    /// (500,000/s, 2 s), scaled by a thousand: 1,000 live entries.
    #[test]
    fn no_id_returns_within_twice_the_longest_timeout() {
        let mut table = Correlator::new(1 << 20, KEY);
        let ids = Permutation::keyed(KEY);
        let (mut rng, mut live) = (Rng::seeded(5), VecDeque::new());
        let mut used: HashMap<u32, (u64, u32)> = HashMap::new();
        for count in 0..100_000_u64 {
            let id = table.insert(count).unwrap();
            let (serial, width) = (ids.invert(id).unwrap(), table.width());
            live.push_back(id);
            if let Some((before, earlier)) = used.insert(serial % width, (count, serial))
                && count > 20_000
            {
                assert_eq!(serial - earlier, width, "one step per use");
                assert!(count - before >= u64::from(width / 2), "{}", count - before);
            }
            if live.len() > 1000 {
                let any = rng.below(live.len() as u64) as usize;
                let id = live.swap_remove_back(any).unwrap();
                table.remove(id).unwrap();
            }
        }
        assert_eq!(
            table.width(),
            2048,
            "memory follows the peak of live entries"
        );
        for width in (6..=25).map(|bits| 1_u64 << bits) {
            let insertions_between_uses_of_an_id = (1 << 31) / width * (width / 2);
            assert!(insertions_between_uses_of_an_id >= 600 * 500_000);
        }
    }

    fn churn(table: &mut Correlator<u32>) -> u32 {
        let id = table.insert(0).unwrap();
        table.remove(id).unwrap();
        id
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn it_agrees_with_a_map_through_every_growth(
            key: u64,
            bursts in prop::collection::vec((0..400_usize, 0..400_usize), 1..12),
            seed: u64,
        ) {
            let mut table = Correlator::new(1000, key);
            let mut rng = Rng::seeded(seed);
            let (mut model, mut dead) = (Vec::new(), Vec::new());
            let mut issued = HashSet::new();
            for (inserts, removes) in bursts {
                for n in 0..inserts {
                    let full = model.len() == 1000;
                    match table.insert(n) {
                        Ok(id) => {
                            prop_assert!(!full && id != 0 && issued.insert(id));
                            model.push((id, n));
                        }
                        Err(Full(back)) => prop_assert!(full && back == n),
                    }
                }
                for _ in 0..removes.min(model.len()) {
                    let any = rng.below(model.len() as u64) as usize;
                    let (id, n) = model.swap_remove(any);
                    prop_assert_eq!(table.remove(id), Some(n));
                    dead.push(id);
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.width() as usize >= 2 * model.len());
                for (id, n) in &mut model {
                    prop_assert_eq!(table.find(*id), Found::Live(n));
                }
                for id in &dead {
                    prop_assert_eq!(table.find(*id), Found::Late);
                }
                let mut listed: Vec<_> = table.iter().map(|(id, n)| (id, *n)).collect();
                listed.sort_unstable();
                model.sort_unstable();
                prop_assert_eq!(&listed, &model);
            }
        }
    }
}
