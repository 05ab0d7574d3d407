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
