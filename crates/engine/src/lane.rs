//! A bounded queue between two parts, with priorities and a rule for when it is full.
//!
//! One lock guards everything: taken once per batch it costs less per item than any lock-free
//! queue, and it lets a full queue give back what it displaces, by value, under any rule.
//!
//! - **Bounds** are items and bytes. An item that could never fit is refused at once.
//! - **Levels**: 0 is the most important. The most important item goes first, but a level with
//!   items is never passed over more than 15 times in a row, so each gets 1/16 of the pops at
//!   least. Items of one level stay in order under every rule.
//! - **Victims** come from the least important level that has one and never from a level above the
//!   newcomer's: when only more important items are there, the newcomer is the victim. So a full
//!   queue never gives up an important item for a lesser one. Several small victims may have to
//!   make room for one large item; nobody is displaced when even that would not do.
//! - **Signals** are edges: `wake` on empty to non-empty; a [`Crossing`] when the high-water mark
//!   is reached, and again when the depth has fallen to three quarters of it; `room` for those
//!   who were told to wait, once something was popped.
//! - Always `pushed = popped + displaced + refused + resident`, where an item that was told to
//!   wait counts when it is pushed for the last time.
//!
//! Nothing that a caller wrote (the drop of an item) runs while the lock is held.

mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::state::State;
use crate::time::Time;

/// A bounded priority queue, shared by reference.
pub struct Lane<T> {
    policy: LanePolicy,
    state: Mutex<State<T>>,
}

/// How large a lane may grow and what it does then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LanePolicy {
    /// The most items, at least 1.
    pub items: usize,
    /// The most bytes, by the costs that the pushers state, at least 1.
    pub bytes: usize,
    /// How many levels of priority, 1 to [`LanePolicy::LEVELS_MAX`].
    pub levels: u8,
    /// What happens to an item that finds no room.
    pub on_full: OnFull,
    /// The share of either bound at which pressure is signalled, above 0 and at most 1.
    pub high_water: f32,
}

impl LanePolicy {
    /// The most levels a lane can have.
    pub const LEVELS_MAX: u8 = 8;
}

impl Default for LanePolicy {
    /// 1,024 items, 64 MiB, one level, reject, 0.8.
    fn default() -> Self {
        Self {
            items: 1024,
            bytes: 64 << 20,
            levels: 1,
            on_full: OnFull::Reject,
            high_water: 0.8,
        }
    }
}

/// What happens to an item that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It is refused; what is queued stays.
    Reject,
    /// The newest items of the least important level go, the newcomer first if it is of that level.
    DropNewest,
    /// The oldest items of the least important level go.
    DropOldest,
    /// Its pusher waits for room.
    Block {
        /// How long at most.
        max_wait: Duration,
    },
}

/// An item on its way into a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel<T> {
    /// Its priority; a level that the lane does not have counts as the least important one.
    pub level: u8,
    /// How much of the byte bound it takes.
    pub cost_bytes: usize,
    /// The item.
    pub item: T,
}

/// Why an item did not get in, or did not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The lane is full, and it was not for the residents to go.
    #[error("the queue is full")]
    QueueFull,
    /// It had to make room for newer or more important items.
    #[error("displaced from a full queue")]
    Displaced,
    /// It is larger than the whole lane may be.
    #[error("larger than the whole queue may be")]
    TooLarge,
    /// It waited for room as long as it may.
    #[error("the queue stayed full")]
    Waited,
    /// The lane is closed.
    #[error("the queue is closed")]
    Closed,
}

/// The depth has passed one of the two pressure marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crossing {
    /// Items or bytes have reached the high-water mark: ask upstream to slow down.
    Reached,
    /// Both have fallen to three quarters of it: upstream may go on.
    Relieved,
}

/// What became of a pushed item.
#[must_use = "an item may have come back"]
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// It is queued.
    Accepted {
        /// The lane was empty: wake whoever pops.
        wake: bool,
        /// A mark that this push passed.
        pressure: Option<Crossing>,
    },
    /// It is queued in place of others.
    Displaced {
        /// The first that had to go.
        victim: T,
        /// The others, in the order of their going; as a rule none.
        more: Vec<T>,
        /// Why they had to go.
        reason: Refusal,
        /// The lane was empty, which it cannot have been with a victim in it.
        wake: bool,
        /// A mark that this push passed.
        pressure: Option<Crossing>,
    },
    /// It is not queued.
    Refused(T, Refusal),
    /// It is not queued yet: push it again with [`Lane::push_waiting`] when there is room.
    Full {
        /// The item.
        item: T,
        /// When waiting ends.
        until: Time,
    },
}

/// What became of a batch of pushed items.
#[must_use = "the consumer may have to be woken"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushedBatch {
    /// How many are queued.
    pub accepted: usize,
    /// How many residents (or earlier items of the batch) had to go.
    pub displaced: usize,
    /// How many were refused.
    pub refused: usize,
    /// The lane was empty and is not: wake whoever pops.
    pub wake: bool,
    /// A mark that the batch as a whole passed.
    pub pressure: Option<Crossing>,
    /// Set when items are left in the batch that have to wait for room: when waiting ends.
    pub until: Option<Time>,
}

/// What a pop took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Popped {
    /// How many items.
    pub items: usize,
    /// Their bytes.
    pub bytes: usize,
    /// A mark that this pop passed.
    pub pressure: Option<Crossing>,
    /// There is room again and somebody was told to wait for it: wake the pushers.
    pub room: bool,
    /// The lane is closed and empty: nothing will ever come again.
    pub finished: bool,
}

/// A lane's depth and its counts since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Items queued now.
    pub items: usize,
    /// Bytes queued now.
    pub bytes: usize,
    /// Items queued now at each level.
    pub items_by_level: [usize; LanePolicy::LEVELS_MAX as usize],
    /// The most items ever queued at once.
    pub items_peak: usize,
    /// Items that were accepted or refused.
    pub pushed: u64,
    /// Items that were popped.
    pub popped: u64,
    /// Items that had to go.
    pub displaced: u64,
    /// Items that were refused.
    pub refused: u64,
    /// How often a pusher was told to wait.
    pub waits: u64,
    /// How often the high-water mark was reached.
    pub crossings: u64,
}

impl<T> Lane<T> {
    /// An empty lane. Values outside the ranges that [`LanePolicy`] states are moved into them.
    pub fn new(policy: LanePolicy) -> Self {
        let policy = LanePolicy {
            items: policy.items.max(1),
            bytes: policy.bytes.max(1),
            levels: policy.levels.clamp(1, LanePolicy::LEVELS_MAX),
            ..policy
        };
        Self {
            state: Mutex::new(State::new(&policy)),
            policy,
        }
    }

    /// What the lane was made with, within the ranges.
    pub fn policy(&self) -> &LanePolicy {
        &self.policy
    }

    /// Queues an item of `cost_bytes` at `level` (0 = most important; a level that the lane does
    /// not have counts as the least important one).
    pub fn push(&self, now: Time, level: u8, cost_bytes: usize, item: T) -> Pushed<T> {
        let until = self.until(now);
        self.push_waiting(now, until, level, cost_bytes, item)
    }

    /// [`Self::push`] for an item that came back as [`Pushed::Full`]: from `until` on it is
    /// refused instead of being told to wait once more.
    pub fn push_waiting(
        &self,
        now: Time,
        until: Time,
        level: u8,
        cost_bytes: usize,
        item: T,
    ) -> Pushed<T> {
        let parcel = Parcel {
            level,
            cost_bytes,
            item,
        };
        let mut state = self.lock();
        if state.fits(cost_bytes) {
            let wake = state.is_empty();
            state.enqueue(parcel);
            let pressure = state.crossing();
            return Pushed::Accepted { wake, pressure };
        }
        state.push_full(parcel, now, until)
    }

    /// Queues the items of `batch` in their order, under one lock. What is refused or displaced is
    /// appended to `back` with the reason; what has to wait for room stays in `batch`.
    pub fn push_batch(
        &self,
        now: Time,
        batch: &mut Vec<Parcel<T>>,
        back: &mut Vec<(T, Refusal)>,
    ) -> PushedBatch {
        self.push_batch_waiting(now, self.until(now), batch, back)
    }

    /// [`Self::push_batch`] for what was left in the batch: from `until` on it is refused instead
    /// of being told to wait once more.
    pub fn push_batch_waiting(
        &self,
        now: Time,
        until: Time,
        batch: &mut Vec<Parcel<T>>,
        back: &mut Vec<(T, Refusal)>,
    ) -> PushedBatch {
        self.lock().push_batch(now, until, batch, back)
    }

    /// Appends up to `max` items to `out`, the most important first, as the levels' shares allow.
    pub fn pop_batch(&self, max: usize, out: &mut Vec<T>) -> Popped {
        self.lock().pop_batch(max, out)
    }

    /// How many items are queued.
    pub fn len(&self) -> usize {
        self.lock().items()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are queued.
    pub fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// Refuses all later pushes; what is queued can still be popped. False when it was closed
    /// before. Wake whoever pops and whoever waits for room.
    pub fn close(&self) -> bool {
        self.lock().close()
    }

    /// The depth and the counts, of one moment.
    pub fn stats(&self) -> LaneStats {
        self.lock().stats()
    }

    /// When waiting ends that begins now.
    fn until(&self, now: Time) -> Time {
        match self.policy.on_full {
            OnFull::Block { max_wait } => now + max_wait,
            OnFull::Reject | OnFull::DropNewest | OnFull::DropOldest => now,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics under the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> std::fmt::Debug for Lane<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lane({} of {} items)", self.len(), self.policy.items)
    }
}
