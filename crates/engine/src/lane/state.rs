//! What a lane's lock guards: the queues of the levels, the depth, the counts.
//!
//! The common case of each operation is a straight line; what happens when there is no room is
//! kept out of it, for the line is what a lane's cost is made of.

use std::collections::VecDeque;

use super::{
    Crossing, LanePolicy, LaneStats, OnFull, Parcel, Popped, Pushed, PushedBatch, Refusal,
};
use crate::time::Time;

pub(super) struct State<T> {
    /// From the most to the least important.
    levels: Box<[Level<T>]>,
    /// Which levels have items, by bit.
    occupied: u8,
    /// Which of 16 turns the next pop is that levels compete for.
    turn: u32,
    /// The high-water mark was reached and not relieved.
    above: bool,
    /// Somebody was told to wait since the last pop.
    waiting: bool,
    closed: bool,
    on_full: OnFull,
    items: usize,
    bytes: usize,
    items_max: usize,
    bytes_max: usize,
    marks: Marks,
    counts: Counts,
}

struct Level<T> {
    queue: VecDeque<(T, usize)>,
    bytes: usize,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    items_peak: usize,
    pushed: u64,
    popped: u64,
    displaced: u64,
    refused: u64,
    waits: u64,
    crossings: u64,
}

/// Where pressure begins, and where it ends.
struct Marks {
    items: (usize, usize),
    bytes: (usize, usize),
}

impl Marks {
    fn of(policy: &LanePolicy) -> Self {
        let share = f64::from(policy.high_water);
        let pair = |bound: usize| {
            let high = ((bound as f64 * share).round() as usize).clamp(1, bound);
            (high, high - high.div_ceil(4))
        };
        Self {
            items: pair(policy.items),
            bytes: pair(policy.bytes),
        }
    }
}

impl<T> State<T> {
    /// The state of an empty lane; the values of the policy are within their ranges.
    pub(super) fn new(policy: &LanePolicy) -> Self {
        let level = |_| Level {
            queue: VecDeque::new(),
            bytes: 0,
        };
        Self {
            levels: (0..policy.levels).map(level).collect(),
            occupied: 0,
            turn: 0,
            above: false,
            waiting: false,
            closed: false,
            on_full: policy.on_full,
            items: 0,
            bytes: 0,
            items_max: policy.items,
            bytes_max: policy.bytes,
            marks: Marks::of(policy),
            counts: Counts::default(),
        }
    }

    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Whether an item of this cost is accepted without further ado.
    #[inline]
    pub(super) fn fits(&self, cost_bytes: usize) -> bool {
        let room = self.items < self.items_max && cost_bytes <= self.bytes_max - self.bytes;
        room && !self.closed
    }

    /// Queues an item that fits.
    #[inline]
    pub(super) fn enqueue(&mut self, parcel: Parcel<T>) {
        let index = self.index(parcel.level);
        let level = &mut self.levels[index];
        level.queue.push_back((parcel.item, parcel.cost_bytes));
        level.bytes += parcel.cost_bytes;
        self.occupied |= 1 << index;
        self.entered(1, parcel.cost_bytes);
    }

    /// Deals with an item that does not fit.
    #[cold]
    pub(super) fn push_full(&mut self, parcel: Parcel<T>, now: Time, until: Time) -> Pushed<T> {
        let waits = matches!(self.on_full, OnFull::Block { .. }) && now < until;
        if waits && !self.closed && parcel.cost_bytes <= self.bytes_max {
            self.wait();
            let item = parcel.item;
            return Pushed::Full { item, until };
        }
        let mut more = Vec::new();
        match self.displace(parcel, |item| more.push(item)) {
            Err((item, reason)) => Pushed::Refused(item, reason),
            Ok(victim) => Pushed::Displaced {
                victim,
                more,
                reason: Refusal::Displaced,
                wake: false,
                pressure: self.crossing(),
            },
        }
    }

    pub(super) fn push_batch(
        &mut self,
        now: Time,
        until: Time,
        batch: &mut Vec<Parcel<T>>,
        back: &mut Vec<(T, Refusal)>,
    ) -> PushedBatch {
        let was_empty = self.is_empty();
        let fitting = self.fitting(batch);
        self.enqueue_all(batch.drain(..fitting), fitting);
        let mut pushed = PushedBatch {
            accepted: fitting,
            ..PushedBatch::default()
        };
        if !batch.is_empty() {
            let ready = if now < until {
                self.ready(batch)
            } else {
                batch.len()
            };
            self.push_rest(batch.drain(..ready), back, &mut pushed);
        }
        if !batch.is_empty() {
            self.wait();
            pushed.until = Some(until);
        }
        pushed.wake = was_empty && !self.is_empty();
        pushed.pressure = self.crossing();
        pushed
    }

    #[inline]
    pub(super) fn pop_batch(&mut self, max: usize, out: &mut Vec<T>) -> Popped {
        let mut popped = Popped::default();
        while popped.items < max && self.occupied != 0 {
            let (level, run) = self.next_run(max - popped.items);
            popped.bytes += self.take_run(level, run, out);
            popped.items += run;
        }
        self.counts.popped += popped.items as u64;
        popped.pressure = self.crossing();
        popped.room = popped.items != 0 && std::mem::take(&mut self.waiting);
        popped.finished = self.closed && self.is_empty();
        popped
    }

    pub(super) fn close(&mut self) -> bool {
        !std::mem::replace(&mut self.closed, true)
    }

    /// Which mark the depth has passed since the last call.
    #[inline]
    pub(super) fn crossing(&mut self) -> Option<Crossing> {
        let (high, low) = (
            (self.marks.items.0, self.marks.bytes.0),
            (self.marks.items.1, self.marks.bytes.1),
        );
        if !self.above && (self.items >= high.0 || self.bytes >= high.1) {
            self.above = true;
            self.counts.crossings += 1;
            Some(Crossing::Reached)
        } else if self.above && self.items <= low.0 && self.bytes <= low.1 {
            self.above = false;
            Some(Crossing::Relieved)
        } else {
            None
        }
    }

    pub(super) fn stats(&self) -> LaneStats {
        let mut items_by_level = [0; LanePolicy::LEVELS_MAX as usize];
        for (items, level) in items_by_level.iter_mut().zip(&self.levels) {
            *items = level.queue.len();
        }
        LaneStats {
            items: self.items,
            bytes: self.bytes,
            items_by_level,
            items_peak: self.counts.items_peak,
            pushed: self.counts.pushed,
            popped: self.counts.popped,
            displaced: self.counts.displaced,
            refused: self.counts.refused,
            waits: self.counts.waits,
            crossings: self.counts.crossings,
        }
    }

    #[inline]
    fn index(&self, level: u8) -> usize {
        usize::from(level).min(self.levels.len() - 1)
    }

    /// How many items at the front of `batch` fit together.
    fn fitting(&self, batch: &[Parcel<T>]) -> usize {
        if self.closed {
            return 0;
        }
        let mut room = self.bytes_max - self.bytes;
        let batch = &batch[..batch.len().min(self.items_max - self.items)];
        for (i, parcel) in batch.iter().enumerate() {
            match room.checked_sub(parcel.cost_bytes) {
                Some(left) => room = left,
                None => return i,
            }
        }
        batch.len()
    }

    /// Queues items that fit together.
    fn enqueue_all(&mut self, parcels: std::vec::Drain<'_, Parcel<T>>, count: usize) {
        let mut bytes = 0;
        if let [level] = &mut *self.levels {
            level.queue.extend(parcels.map(|parcel| {
                bytes += parcel.cost_bytes;
                (parcel.item, parcel.cost_bytes)
            }));
            level.bytes += bytes;
            self.occupied |= u8::from(count != 0);
        } else {
            let levels = &mut *self.levels;
            let last = levels.len() - 1;
            let mut occupied = 0;
            for parcel in parcels {
                let index = usize::from(parcel.level).min(last);
                let level = &mut levels[index];
                level.queue.push_back((parcel.item, parcel.cost_bytes));
                level.bytes += parcel.cost_bytes;
                occupied |= 1 << index;
                bytes += parcel.cost_bytes;
            }
            self.occupied |= occupied;
        }
        self.entered(count, bytes);
    }

    /// How many items at the front of `batch`, of which the first does not fit, do not have to
    /// wait for room.
    fn ready(&self, batch: &[Parcel<T>]) -> usize {
        if self.closed || !matches!(self.on_full, OnFull::Block { .. }) {
            return batch.len();
        }
        let (mut items, mut bytes) = (self.items, self.bytes);
        for (i, parcel) in batch.iter().enumerate() {
            if parcel.cost_bytes > self.bytes_max {
                continue;
            }
            if items == self.items_max || parcel.cost_bytes > self.bytes_max - bytes {
                return i;
            }
            (items, bytes) = (items + 1, bytes + parcel.cost_bytes);
        }
        batch.len()
    }

    /// Queues, displaces or refuses each item.
    #[cold]
    fn push_rest(
        &mut self,
        parcels: std::vec::Drain<'_, Parcel<T>>,
        back: &mut Vec<(T, Refusal)>,
        pushed: &mut PushedBatch,
    ) {
        let displaced = self.counts.displaced;
        for parcel in parcels {
            if self.fits(parcel.cost_bytes) {
                self.enqueue(parcel);
                pushed.accepted += 1;
                continue;
            }
            let place = back.len();
            match self.displace(parcel, |item| back.push((item, Refusal::Displaced))) {
                Ok(first) => {
                    back.insert(place, (first, Refusal::Displaced));
                    pushed.accepted += 1;
                }
                Err(refused) => {
                    back.push(refused);
                    pushed.refused += 1;
                }
            }
        }
        pushed.displaced = (self.counts.displaced - displaced) as usize;
    }

    /// Queues an item that does not fit in place of others, if the lane's rule says so and it can
    /// be done; nobody is displaced otherwise. Returns the first that had to go and hands the
    /// others to `more`.
    fn displace(&mut self, parcel: Parcel<T>, mut more: impl FnMut(T)) -> Result<T, (T, Refusal)> {
        let refusal = if self.closed {
            Refusal::Closed
        } else if parcel.cost_bytes > self.bytes_max {
            Refusal::TooLarge
        } else if let OnFull::Block { .. } = self.on_full {
            Refusal::Waited
        } else {
            Refusal::QueueFull
        };
        let own = self.index(parcel.level);
        // Under drop_newest nobody of the newcomer's own level is newer than itself.
        let first = match (refusal, self.on_full) {
            (Refusal::QueueFull, OnFull::DropOldest) => own,
            (Refusal::QueueFull, OnFull::DropNewest) => own + 1,
            _ => self.levels.len(),
        };
        let removable: usize = self.levels[first..].iter().map(|level| level.bytes).sum();
        let enough = self.bytes - removable <= self.bytes_max.saturating_sub(parcel.cost_bytes);
        let victim = if enough {
            self.take_victim(first)
        } else {
            None
        };
        let Some(victim) = victim else {
            self.counts.pushed += 1;
            self.counts.refused += 1;
            return Err((parcel.item, refusal));
        };
        while !self.fits(parcel.cost_bytes) {
            let Some(victim) = self.take_victim(first) else {
                break;
            };
            more(victim);
        }
        self.enqueue(parcel);
        Ok(victim)
    }

    /// Takes out who has to go next, from the least important level that has an item and is not
    /// more important than `first`.
    fn take_victim(&mut self, first: usize) -> Option<T> {
        let lowest = self.occupied.checked_ilog2()? as usize;
        if lowest < first {
            return None;
        }
        let queue = &mut self.levels[lowest].queue;
        let (item, cost_bytes) = match self.on_full {
            OnFull::DropNewest => queue.pop_back(),
            _ => queue.pop_front(),
        }?;
        self.left(lowest, 1, cost_bytes);
        self.counts.displaced += 1;
        Some(item)
    }

    /// Which level is popped next and how many items of it in a row, at most `max`.
    #[inline]
    fn next_run(&mut self, max: usize) -> (usize, usize) {
        let first = self.occupied.trailing_zeros() as usize;
        let others = self.occupied & (self.occupied - 1);
        if others == 0 {
            return (first, max.min(self.levels[first].queue.len()));
        }
        self.next_run_among(first, others, max)
    }

    /// [`Self::next_run`] when other levels than `first` have items, too: of every 16 turns one is
    /// reserved for each of them, and all the others are for `first`.
    fn next_run_among(&mut self, first: usize, others: u8, max: usize) -> (usize, usize) {
        let mut reserved = 0_u16;
        for level in 1..self.levels.len() {
            if others & 1 << level != 0 {
                reserved |= 1 << (TURN_OF_LEVEL_0 - 2 * level);
            }
        }
        let ahead = reserved.rotate_right(self.turn).trailing_zeros();
        let (level, run) = if ahead == 0 {
            ((TURN_OF_LEVEL_0 - self.turn as usize) / 2, 1)
        } else {
            let longest = max.min(ahead as usize);
            (first, longest.min(self.levels[first].queue.len()))
        };
        self.turn = (self.turn + run as u32) % u16::BITS;
        (level, run)
    }

    /// Moves `run` items of a level to `out` and returns their bytes.
    #[inline]
    fn take_run(&mut self, level: usize, run: usize, out: &mut Vec<T>) -> usize {
        let mut bytes = 0;
        let queue = &mut self.levels[level].queue;
        let items = std::iter::from_fn(|| queue.pop_front()).take(run);
        out.extend(items.map(|(item, cost_bytes)| {
            bytes += cost_bytes;
            item
        }));
        self.left(level, run, bytes);
        bytes
    }

    /// Notes that somebody was told to wait.
    fn wait(&mut self) {
        self.waiting = true;
        self.counts.waits += 1;
    }

    /// Notes that items were queued.
    #[inline]
    fn entered(&mut self, items: usize, bytes: usize) {
        self.items += items;
        self.bytes += bytes;
        self.counts.pushed += items as u64;
        self.counts.items_peak = self.counts.items_peak.max(self.items);
    }

    /// Notes that items have left a level.
    #[inline]
    fn left(&mut self, index: usize, items: usize, bytes: usize) {
        let level = &mut self.levels[index];
        level.bytes -= bytes;
        if level.queue.is_empty() {
            self.occupied &= !(1 << index);
        }
        self.items -= items;
        self.bytes -= bytes;
    }
}

/// Level 1 is served in turn 15 of 16, level 2 in turn 13, and so on; level 0 needs no turn.
const TURN_OF_LEVEL_0: usize = 17;
