//! Timers by the hundred thousand, set and cancelled far more often than they fire.
//!
//! A hierarchical timing wheel (Varghese and Lauck, 1987): level `L` has 64 slots, each of which
//! spans `64^L` ticks; a timer sits at the level of the highest 6-bit group in which its tick
//! differs from the current one, and moves down when time enters its slot. Setting and cancelling
//! are O(1); a bitmap per level finds the next occupied slot, so a jump over any span of time costs
//! no more than the timers in it. Eleven levels cover all of 64 bits: there is no overflow list.
//!
//! - A timer never fires early, and at most one tick late.
//! - Timers of one tick fire in the order in which they were set.
//! - A timer set for the past fires at the next call of [`Wheel::expire`].
//! - A timer for [`Time::MAX`] never fires.
//! - Nodes live in one slab that is reused and never shrinks; the owner of the work that the
//!   timers guard is what bounds it. A [`TimerKey`] carries a generation, so the key of a timer
//!   that has fired or been cancelled does nothing.

use std::time::Duration;

use crate::time::{Time, nanos};

/// A set of timers, each of which carries a number chosen by its owner.
pub struct Wheel {
    /// The origin of the ticks.
    start: Time,
    /// A tick is `1 << tick_bits` nanoseconds.
    tick_bits: u32,
    /// The tick up to which timers have fired. No timer is set for an earlier one.
    current: u64,
    /// Which levels have a timer.
    levels: u16,
    /// Which slots of each level have a timer.
    slots: [u64; LEVELS],
    /// The first timer of each slot; meaningful where the bitmap says so.
    heads: Box<[u32; LEVELS * SLOTS]>,
    nodes: Vec<Node>,
    /// The first unused node, linked through [`Node::next`].
    free: u32,
    len: usize,
}

/// Names one timer from its setting to its firing or cancelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

impl Wheel {
    /// An empty wheel that begins at `start`. `tick` is rounded down to a power of two of
    /// nanoseconds (1 ms to 0.52 ms), so that no division is needed; at least 1 ns.
    pub fn new(start: Time, tick: Duration) -> Self {
        Self {
            start,
            tick_bits: nanos(tick).max(1).ilog2(),
            current: 0,
            levels: 0,
            slots: [0; LEVELS],
            heads: Box::new([NONE; LEVELS * SLOTS]),
            nodes: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// The length of a tick: how late a timer may fire at most.
    pub fn tick(&self) -> Duration {
        Duration::from_nanos(1 << self.tick_bits)
    }

    /// Sets a timer that hands out `token` when `at` has come.
    ///
    /// # Panics
    /// When 2^32 - 1 timers are set (128 GiB of them).
    pub fn insert(&mut self, at: Time, token: u64) -> TimerKey {
        let tick = self.tick_at_or_after(at).max(self.current);
        let index = self.take_node();
        let node = &mut self.nodes[index as usize];
        node.tick = tick;
        node.token = token;
        let generation = node.generation;
        self.link(index, tick);
        self.len += 1;
        TimerKey { index, generation }
    }

    /// Cancels a timer; false when it has fired or been cancelled already.
    pub fn cancel(&mut self, key: TimerKey) -> bool {
        let Some(node) = self.nodes.get(key.index as usize) else {
            return false;
        };
        if node.generation != key.generation || node.place == UNSET {
            return false;
        }
        self.unlink(key.index);
        self.release(key.index);
        true
    }

    /// Appends the tokens of all timers that are due at `now` to `out`, ordered by tick. A `now`
    /// that is earlier than a former one does nothing.
    pub fn expire(&mut self, now: Time, out: &mut Vec<u64>) {
        let until = now.as_nanos().checked_sub(self.start.as_nanos());
        let Some(until) = until.map(|span| span >> self.tick_bits) else {
            return;
        };
        if until < self.current {
            return;
        }
        while let Some((level, slot, tick)) = self.first_slot() {
            if tick > until {
                break;
            }
            self.current = tick.max(self.current);
            self.empty_slot(level, slot, out);
        }
        self.current = until;
    }

    /// When to call [`Self::expire`] next: never later than the first timer fires, and earlier by
    /// at most one visit per level while that timer is far away.
    pub fn next_wakeup(&self) -> Option<Time> {
        let (_, _, tick) = self.first_slot()?;
        let span = tick.saturating_mul(1 << self.tick_bits);
        Some(self.start + Duration::from_nanos(span))
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first tick that does not begin before `at`.
    fn tick_at_or_after(&self, at: Time) -> u64 {
        let span = at.as_nanos().saturating_sub(self.start.as_nanos());
        let below = (1 << self.tick_bits) - 1;
        (span >> self.tick_bits) + u64::from(span & below != 0)
    }

    /// The occupied slot whose span begins first, and the tick at which it does: every lower level
    /// lies before every higher one, since it agrees with the current tick in more groups.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        let slot = self.slots[level].trailing_zeros() as usize;
        let shift = level as u32 * SLOT_BITS;
        let above = (self.current >> shift) & !(SLOTS as u64 - 1);
        Some((level, slot, (above | slot as u64) << shift))
    }

    /// Fires the timers of a slot of level 0; moves those of another slot to lower levels.
    fn empty_slot(&mut self, level: usize, slot: usize, out: &mut Vec<u64>) {
        let head = self.heads[level * SLOTS + slot];
        self.clear_bit(level, slot);
        let mut index = head;
        loop {
            let node = self.nodes[index as usize];
            if level == 0 {
                out.push(node.token);
                self.release(index);
            } else {
                self.link(index, node.tick);
            }
            index = node.next;
            if index == head {
                return;
            }
        }
    }

    /// Puts a node at the end of the slot for `tick`.
    fn link(&mut self, index: u32, tick: u64) {
        let (level, slot) = place(self.current, tick);
        let place = level * SLOTS + slot;
        let bit = 1 << slot;
        let (prev, next) = if self.slots[level] & bit == 0 {
            self.slots[level] |= bit;
            self.levels |= 1 << level;
            self.heads[place] = index;
            (index, index)
        } else {
            let head = self.heads[place];
            let tail = std::mem::replace(&mut self.nodes[head as usize].prev, index);
            self.nodes[tail as usize].next = index;
            (tail, head)
        };
        let node = &mut self.nodes[index as usize];
        (node.prev, node.next, node.place) = (prev, next, place as u16);
    }

    fn unlink(&mut self, index: u32) {
        let node = self.nodes[index as usize];
        let place = usize::from(node.place);
        if node.next == index {
            self.clear_bit(place / SLOTS, place % SLOTS);
            return;
        }
        self.nodes[node.prev as usize].next = node.next;
        self.nodes[node.next as usize].prev = node.prev;
        if self.heads[place] == index {
            self.heads[place] = node.next;
        }
    }

    fn clear_bit(&mut self, level: usize, slot: usize) {
        self.slots[level] &= !(1 << slot);
        if self.slots[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// A node from the free list, or a new one.
    fn take_node(&mut self) -> u32 {
        if self.free == NONE {
            return self.new_node();
        }
        let index = self.free;
        self.free = self.nodes[index as usize].next;
        index
    }

    #[cold]
    fn new_node(&mut self) -> u32 {
        let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        assert!(index != NONE, "2^32 - 1 timers are set");
        self.nodes.push(Node {
            tick: 0,
            token: 0,
            prev: NONE,
            next: NONE,
            generation: 0,
            place: UNSET,
        });
        index
    }

    /// Gives a node back; its key is void from here on.
    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.place = UNSET;
        node.next = self.free;
        self.free = index;
        self.len -= 1;
    }
}

impl std::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wheel({} timers, tick {:?})", self.len, self.tick())
    }
}

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 11 groups of 6 bits hold any tick.
const LEVELS: usize = 11;
/// No node.
const NONE: u32 = u32::MAX;
/// The place of a node that no slot holds.
const UNSET: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Node {
    tick: u64,
    token: u64,
    /// Neighbours in the slot's ring, whose last node is before its first.
    prev: u32,
    next: u32,
    generation: u32,
    /// Level times 64 plus slot, or [`UNSET`].
    place: u16,
}

/// The level and slot for `tick` as seen from `current`, which is not after it.
fn place(current: u64, tick: u64) -> (usize, usize) {
    let highest = (current ^ tick | 1).ilog2();
    let level = highest / SLOT_BITS;
    let slot = (tick >> (level * SLOT_BITS)) & (SLOTS as u64 - 1);
    (level as usize, slot as usize)
}
