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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: u64 = 1 << 20;

    fn wheel() -> Wheel {
        Wheel::new(Time::ZERO, Duration::from_nanos(TICK))
    }

    fn at(ticks: u64) -> Time {
        Time::from_nanos(ticks * TICK)
    }

    fn fired(wheel: &mut Wheel, now: Time) -> Vec<u64> {
        let mut out = Vec::new();
        wheel.expire(now, &mut out);
        out
    }

    #[test]
    fn a_timer_fires_in_its_tick_and_not_before() {
        for ticks in [1, 2, 63, 64, 65, 4095, 4096, 4097, 1 << 30, (1 << 43) - 1] {
            for (offset, due) in [(0, ticks), (1, ticks + 1)] {
                let mut wheel = wheel();
                wheel.insert(Time::from_nanos(ticks * TICK + offset), 9);
                let before = Time::from_nanos(due * TICK - 1);
                assert_eq!(fired(&mut wheel, before), [], "{ticks} ticks + {offset}");
                assert_eq!(fired(&mut wheel, at(due)), [9], "{ticks} ticks + {offset}");
                assert_eq!((wheel.len(), wheel.next_wakeup()), (0, None));
            }
        }
    }

    #[test]
    fn timers_of_one_tick_fire_in_the_order_of_their_setting() {
        let mut wheel = wheel();
        for (now, token) in [(0, 1), (0, 2), (50, 3), (4000, 4), (4090, 5), (4990, 6)] {
            assert_eq!(fired(&mut wheel, at(now)), []);
            wheel.insert(at(5000), token);
        }
        wheel.insert(at(4999), 0);
        assert_eq!(fired(&mut wheel, at(1 << 40)), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_cancelled_or_fired_timer_is_gone_and_its_key_is_void() {
        let mut wheel = wheel();
        let (a, b) = (wheel.insert(at(70), 1), wheel.insert(at(70), 2));
        assert!(wheel.cancel(a) && !wheel.cancel(a));
        let c = wheel.insert(at(3), 3);
        assert_eq!((c.index, wheel.len()), (a.index, 2), "the node is reused");
        assert!(!wheel.cancel(a));
        assert_eq!(fired(&mut wheel, at(80)), [3, 2]);
        assert!(!wheel.cancel(b) && !wheel.cancel(c) && wheel.is_empty());
    }

    #[test]
    fn a_timer_for_the_past_fires_at_the_next_call() {
        let mut wheel = Wheel::new(at(1000), Duration::from_nanos(TICK));
        wheel.insert(at(3), 1);
        assert_eq!(fired(&mut wheel, at(999)), [], "the wheel has not begun");
        assert_eq!(fired(&mut wheel, at(1000)), [1]);
        assert_eq!(fired(&mut wheel, at(1500)), []);
        wheel.insert(at(1200), 2);
        wheel.insert(at(1500), 3);
        assert!(wheel.next_wakeup().unwrap() <= at(1500));
        assert_eq!(
            fired(&mut wheel, at(1499)),
            [],
            "time does not run backwards"
        );
        assert_eq!(fired(&mut wheel, at(1500)), [2, 3]);
    }

    #[test]
    fn a_timer_without_end_never_fires() {
        let mut wheel = Wheel::new(Time::from_nanos(7), Duration::from_millis(1));
        let key = wheel.insert(Time::MAX, 1);
        assert_eq!(fired(&mut wheel, Time::MAX), []);
        assert_eq!(wheel.next_wakeup(), Some(Time::MAX));
        assert!(wheel.cancel(key));
    }

    #[test]
    fn a_tick_is_rounded_down_to_a_power_of_two() {
        let cases = [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1023), 512),
            (Duration::from_millis(1), 1 << 19),
            (Duration::MAX, 1 << 63),
        ];
        for (asked, nanos) in cases {
            let wheel = Wheel::new(Time::ZERO, asked);
            assert_eq!(wheel.tick(), Duration::from_nanos(nanos), "{asked:?}");
        }
    }

    #[test]
    fn waking_when_told_to_misses_nothing_and_costs_a_visit_per_level() {
        let mut wheel = wheel();
        let due = [1_u64, 64, 100, 5000, 300_000, 1 << 33];
        due.iter().for_each(|ticks| {
            wheel.insert(at(*ticks), *ticks);
        });
        let (mut visits, mut seen) = (0, Vec::new());
        while let Some(wakeup) = wheel.next_wakeup() {
            visits += 1;
            for ticks in fired(&mut wheel, wakeup) {
                assert_eq!(at(ticks), wakeup, "on time");
                seen.push(ticks);
            }
        }
        assert_eq!(seen, due);
        assert!(visits <= due.len() * 6, "{visits} visits");
    }

    #[test]
    fn memory_is_reused() {
        let mut wheel = wheel();
        for round in 0..200 {
            let keys: Vec<_> = (0..50)
                .map(|n| wheel.insert(at(round * 90 + n), n))
                .collect();
            keys.iter().step_by(2).for_each(|key| {
                wheel.cancel(*key);
            });
            fired(&mut wheel, at(round * 90 + 60));
        }
        assert_eq!((wheel.len(), wheel.nodes.len()), (0, 50));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn span() -> impl Strategy<Value = u64> {
        (0..60_u32, any::<u64>()).prop_map(|(bits, noise)| noise & ((1 << bits) - 1))
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => span().prop_map(Step::Insert),
            2 => any::<usize>().prop_map(Step::Cancel),
            2 => span().prop_map(Step::Advance),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn it_agrees_with_a_sorted_map(start in 0..1_u64 << 40, steps in steps()) {
            let mut wheel = Wheel::new(Time::from_nanos(start), Duration::from_nanos(TICK));
            let (mut now, mut token) = (start, 0);
            let mut model: BTreeMap<(u64, u64), TimerKey> = BTreeMap::new();
            let mut void = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(span) => {
                        // Half of the spans lie before now, where that can be.
                        let at = if span % 2 == 0 { now + span } else { now - span.min(now) };
                        let tick = at.saturating_sub(start).div_ceil(TICK);
                        let tick = tick.max((now - start) / TICK);
                        let key = wheel.insert(Time::from_nanos(at), token);
                        model.insert((tick, token), key);
                        token += 1;
                    }
                    Step::Cancel(any) if !model.is_empty() => {
                        let (name, key) = model.iter().nth(any % model.len()).unwrap();
                        let (name, key) = (*name, *key);
                        model.remove(&name);
                        prop_assert!(wheel.cancel(key));
                        void.push(key);
                    }
                    Step::Cancel(_) => {}
                    Step::Advance(span) => {
                        now += span.min((1 << 61) - now.min(1 << 61));
                        let rest = model.split_off(&((now - start) / TICK + 1, 0));
                        let due: Vec<u64> = model.keys().map(|(_, token)| *token).collect();
                        void.extend(model.values());
                        model = rest;
                        prop_assert_eq!(fired(&mut wheel, Time::from_nanos(now)), due);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.keys().next().map(|(tick, _)| start + tick * TICK);
                let wakeup = wheel.next_wakeup().map(Time::as_nanos);
                prop_assert_eq!(wakeup.is_some(), first.is_some());
                prop_assert!(wakeup <= first);
            }
            prop_assert!(void.iter().all(|key| !wheel.cancel(*key)));
        }
    }
}
