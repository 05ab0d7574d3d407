//! A bounded queue between two parts, with priorities and a rule for when it is full.
//!
//! One lock guards everything: taken once per batch it costs less per item than any lock-free
//! queue, and it lets a full queue give back what it displaces, by value, under any rule.
//!
//! - **Bounds** are items and bytes. An item that could never fit is refused at once.
//! - **Levels**: 0 is the most important. The most important item goes first, but of every 16 pops
//!   one is reserved for each lesser level that has items: none starves, and with all 8 levels in
//!   use the first still gets 9 of 16. Items of one level stay in order under every rule.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time::from_millis(1000);

    fn lane(items: usize, levels: u8, on_full: OnFull) -> Lane<u32> {
        Lane::new(LanePolicy {
            items,
            bytes: 100,
            levels,
            on_full,
            high_water: 1.0,
        })
    }

    fn accepted(wake: bool) -> Pushed<u32> {
        let pressure = None;
        Pushed::Accepted { wake, pressure }
    }

    fn popped(lane: &Lane<u32>, max: usize) -> Vec<u32> {
        let mut out = Vec::new();
        lane.pop_batch(max, &mut out);
        out
    }

    /// A full lane of three with the items 1 at level 0, 20 and 21 at level 1.
    fn full(on_full: OnFull) -> Lane<u32> {
        let lane = lane(3, 3, on_full);
        assert_eq!(lane.push(NOW, 1, 10, 20), accepted(true));
        assert_eq!(lane.push(NOW, 0, 10, 1), accepted(false));
        assert!(matches!(lane.push(NOW, 1, 10, 21), Pushed::Accepted { .. }));
        lane
    }

    #[test]
    fn the_rule_for_a_full_lane_decides_who_goes() {
        const REFUSED: Result<u32, Refusal> = Err(Refusal::QueueFull);
        let block = OnFull::Block {
            max_wait: Duration::ZERO,
        };
        let cases = [
            (OnFull::Reject, 0, REFUSED, vec![1, 20, 21]),
            (OnFull::DropOldest, 0, Ok(20), vec![1, 9, 21]),
            (OnFull::DropOldest, 1, Ok(20), vec![1, 21, 9]),
            (OnFull::DropOldest, 2, REFUSED, vec![1, 20, 21]),
            (OnFull::DropNewest, 0, Ok(21), vec![1, 9, 20]),
            (OnFull::DropNewest, 1, REFUSED, vec![1, 20, 21]),
            (block, 0, Err(Refusal::Waited), vec![1, 20, 21]),
        ];
        for (on_full, level, expected, left) in cases {
            let lane = full(on_full);
            let got = match lane.push(NOW, level, 10, 9) {
                Pushed::Displaced {
                    victim,
                    more,
                    reason: Refusal::Displaced,
                    wake: false,
                    ..
                } if more.is_empty() => Ok(victim),
                Pushed::Refused(9, reason) => Err(reason),
                other => panic!("{on_full:?} at level {level}: {other:?}"),
            };
            assert_eq!(got, expected, "{on_full:?} at level {level}");
            assert_eq!(popped(&lane, 9), left, "{on_full:?} at level {level}");
        }
    }

    #[test]
    fn several_small_items_make_room_for_a_large_one_or_none_goes() {
        let lane = lane(10, 3, OnFull::DropOldest);
        for (level, item) in [(0, 1), (1, 20), (1, 21), (2, 30)] {
            assert!(matches!(
                lane.push(NOW, level, 25, item),
                Pushed::Accepted { .. }
            ));
        }
        assert_eq!(
            lane.push(NOW, 1, 76, 8),
            Pushed::Refused(8, Refusal::QueueFull)
        );
        assert_eq!((lane.len(), lane.bytes()), (4, 100));
        let Pushed::Displaced { victim, more, .. } = lane.push(NOW, 1, 75, 9) else {
            panic!("there is room for 75 bytes")
        };
        assert_eq!((victim, more, lane.bytes()), (30, vec![20, 21], 100));
        assert_eq!(
            lane.push(NOW, 0, 101, 7),
            Pushed::Refused(7, Refusal::TooLarge)
        );
        assert_eq!(popped(&lane, 9), [1, 9]);
        assert_eq!(lane.stats().displaced, 3);
    }

    #[test]
    fn a_pusher_waits_until_there_is_room_or_its_time_is_up() {
        let max_wait = Duration::from_millis(50);
        let lane = lane(1, 1, OnFull::Block { max_wait });
        assert!(matches!(lane.push(NOW, 0, 1, 1), Pushed::Accepted { .. }));
        let (item, until) = (2, NOW + max_wait);
        assert_eq!(lane.push(NOW, 0, 1, item), Pushed::Full { item, until });
        let late = until - Duration::from_nanos(1);
        let again = lane.push_waiting(late, until, 0, 1, item);
        assert_eq!(again, Pushed::Full { item, until });
        let again = lane.push_waiting(until, until, 0, 1, item);
        assert_eq!(again, Pushed::Refused(item, Refusal::Waited));
        assert_eq!(
            lane.push(NOW, 0, 101, 3),
            Pushed::Refused(3, Refusal::TooLarge)
        );
        let mut out = Vec::new();
        assert!(lane.pop_batch(1, &mut out).room, "those who wait are told");
        assert!(!lane.pop_batch(1, &mut out).room, "once");
        assert_eq!(lane.push_waiting(late, until, 0, 1, item), reached());
        let stats = lane.stats();
        assert_eq!((stats.waits, stats.pushed, stats.refused), (2, 4, 2));
    }

    fn reached() -> Pushed<u32> {
        Pushed::Accepted {
            wake: true,
            pressure: Some(Crossing::Reached),
        }
    }

    #[test]
    fn a_batch_waits_from_its_first_item_that_must() {
        let max_wait = Duration::from_millis(50);
        let lane = lane(2, 1, OnFull::Block { max_wait });
        let parcel = |cost_bytes, item| Parcel {
            level: 0,
            cost_bytes,
            item,
        };
        let mut batch = vec![parcel(60, 1), parcel(101, 2), parcel(50, 3), parcel(1, 4)];
        let mut back = Vec::new();
        let pushed = lane.push_batch(NOW, &mut batch, &mut back);
        assert_eq!((pushed.accepted, pushed.refused, pushed.wake), (1, 1, true));
        assert_eq!(pushed.until, Some(NOW + max_wait));
        assert_eq!(back, [(2, Refusal::TooLarge)]);
        assert_eq!(
            batch,
            [parcel(50, 3), parcel(1, 4)],
            "in order, nobody overtakes"
        );
        assert_eq!(popped(&lane, 1), [1]);
        let until = NOW + max_wait;
        let pushed = lane.push_batch_waiting(until, until, &mut batch, &mut back);
        assert_eq!((pushed.accepted, pushed.until, batch.len()), (2, None, 0));
        batch.push(parcel(1, 5));
        let pushed = lane.push_batch_waiting(until, until, &mut batch, &mut back);
        assert_eq!(
            (pushed.accepted, back.last()),
            (0, Some(&(5, Refusal::Waited)))
        );
    }

    #[test]
    fn no_level_is_passed_over_more_than_fifteen_times() {
        for levels in 2..=LanePolicy::LEVELS_MAX {
            for batch in [1, 7, 64] {
                let lane = Lane::new(LanePolicy {
                    items: 30_000,
                    levels,
                    ..LanePolicy::default()
                });
                let mut waited = [0_u32; 8];
                let mut out = Vec::new();
                for _ in 0..40 {
                    for level in (0..levels).flat_map(|level| [level; 64]) {
                        assert!(!matches!(
                            lane.push(NOW, level, 1, level),
                            Pushed::Refused(..)
                        ));
                    }
                    out.clear();
                    while out.len() < 64 {
                        lane.pop_batch(batch.min(64 - out.len()), &mut out);
                    }
                    for level in &out {
                        waited.iter_mut().for_each(|n| *n += 1);
                        waited[usize::from(*level)] = 0;
                        let most = waited[..usize::from(levels)].iter().max();
                        assert!(most <= Some(&15), "{levels} levels: {waited:?}");
                    }
                    let first = out.iter().filter(|level| **level == 0).count();
                    assert!(first >= 36, "{levels} levels: {first} of the first");
                }
            }
        }
    }

    #[test]
    fn pressure_is_signalled_once_per_crossing() {
        let lane = Lane::new(LanePolicy {
            items: 10,
            bytes: 1000,
            ..LanePolicy::default()
        });
        let mut signals = Vec::new();
        let depths = [7, 8, 9, 7, 8, 6, 7, 8, 0, 10];
        for depth in depths {
            while lane.len() < depth {
                if let Pushed::Accepted { pressure, .. } = lane.push(NOW, 0, 1, 0) {
                    signals.extend(pressure.map(|crossing| (lane.len(), crossing)));
                }
            }
            if let Some(spare) = lane.len().checked_sub(depth).filter(|spare| *spare > 0) {
                let popped = lane.pop_batch(spare, &mut Vec::new());
                signals.extend(popped.pressure.map(|crossing| (lane.len(), crossing)));
            }
        }
        use Crossing::{Reached, Relieved};
        let expected = [
            (8, Reached),
            (6, Relieved),
            (8, Reached),
            (0, Relieved),
            (8, Reached),
        ];
        assert_eq!(signals, expected);
        assert_eq!(lane.stats().crossings, 3);
    }

    #[test]
    fn bytes_cross_the_mark_too() {
        let lane = Lane::new(LanePolicy {
            items: 1000,
            bytes: 100,
            ..LanePolicy::default()
        });
        let pressure = |pushed| match pushed {
            Pushed::Accepted { pressure, .. } => pressure,
            other => panic!("{other:?}"),
        };
        assert_eq!(pressure(lane.push(NOW, 0, 79, 'a')), None);
        assert_eq!(pressure(lane.push(NOW, 0, 1, 'b')), Some(Crossing::Reached));
        let popped = lane.pop_batch(1, &mut Vec::new());
        assert_eq!(
            (popped.bytes, popped.pressure),
            (79, Some(Crossing::Relieved))
        );
    }

    #[test]
    fn a_closed_lane_refuses_and_runs_dry() {
        let lane = lane(
            3,
            1,
            OnFull::Block {
                max_wait: Duration::MAX,
            },
        );
        assert_eq!(lane.push(NOW, 0, 1, 1), accepted(true));
        assert!(lane.close() && !lane.close());
        assert_eq!(lane.push(NOW, 0, 1, 2), Pushed::Refused(2, Refusal::Closed));
        let (mut batch, mut back, mut out) = (Vec::new(), Vec::new(), Vec::new());
        batch.push(Parcel {
            level: 0,
            cost_bytes: 1,
            item: 3,
        });
        let pushed = lane.push_batch(NOW, &mut batch, &mut back);
        assert_eq!((pushed.refused, back), (1, vec![(3, Refusal::Closed)]));
        assert!(!lane.pop_batch(0, &mut out).finished);
        assert!(lane.pop_batch(9, &mut out).finished);
        assert_eq!(out, [1]);
    }

    #[test]
    fn a_policy_outside_its_ranges_is_moved_into_them() {
        let lane = Lane::new(LanePolicy {
            items: 0,
            bytes: 0,
            levels: 200,
            high_water: f32::NAN,
            ..LanePolicy::default()
        });
        let policy = lane.policy();
        assert_eq!((policy.items, policy.bytes, policy.levels), (1, 1, 8));
        assert!(matches!(lane.push(NOW, 255, 1, 1), Pushed::Accepted { .. }));
        assert_eq!(lane.stats().items_by_level, [0, 0, 0, 0, 0, 0, 0, 1]);
    }

    /// What the rules say, written without any care for speed.
    struct Model {
        items: usize,
        on_full: OnFull,
        levels: Vec<VecDeque<(u32, usize)>>,
    }

    impl Model {
        fn depth(&self) -> (usize, usize) {
            let all = || self.levels.iter().flatten();
            (all().count(), all().map(|(_, cost)| cost).sum())
        }

        /// What comes back, with the reason; `None` when the pusher has to wait.
        fn push(&mut self, level: u8, cost: usize, item: u32) -> Option<Vec<(u32, Refusal)>> {
            let mut lost = Vec::new();
            let mut trial = self.levels.clone();
            trial[usize::from(level)].push_back((item, cost));
            if cost > 100 {
                return Some(vec![(item, Refusal::TooLarge)]);
            }
            loop {
                let (items, bytes) = Self {
                    levels: trial.clone(),
                    ..*self
                }
                .depth();
                if items <= self.items && bytes <= 100 {
                    self.levels = trial;
                    return Some(lost);
                }
                let victims = trial.iter_mut().rev().find(|level| !level.is_empty());
                let victim = match self.on_full {
                    OnFull::Reject => None,
                    OnFull::Block { .. } => return None,
                    OnFull::DropNewest => victims.and_then(VecDeque::pop_back),
                    // The newcomer is taken for what it is: the newest of its level.
                    OnFull::DropOldest => victims.and_then(VecDeque::pop_front),
                };
                match victim {
                    Some((victim, _)) if victim != item => {
                        lost.push((victim, Refusal::Displaced));
                    }
                    _ => return Some(vec![(item, Refusal::QueueFull)]),
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8, usize),
        PushBatch(Vec<(u8, usize)>),
        Pop(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let item = || (0..3_u8, prop_oneof![9 => 0..30_usize, 1 => 30..110_usize]);
        let step = prop_oneof![
            4 => item().prop_map(|(level, cost)| Step::Push(level, cost)),
            2 => prop::collection::vec(item(), 0..9).prop_map(Step::PushBatch),
            2 => (0..6_usize).prop_map(Step::Pop),
        ];
        prop::collection::vec(step, 1..100)
    }

    fn on_full() -> impl Strategy<Value = OnFull> {
        let max_wait = Duration::from_secs(1);
        prop::sample::select(vec![
            OnFull::Reject,
            OnFull::DropNewest,
            OnFull::DropOldest,
            OnFull::Block { max_wait },
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn it_agrees_with_the_model_and_loses_nothing(
            items in 1..12_usize,
            on_full in on_full(),
            steps in steps(),
        ) {
            let lane = lane(items, 3, on_full);
            let mut model = Model { items, on_full, levels: vec![VecDeque::new(); 3] };
            let mut next = 0;
            for step in steps {
                let was_empty = model.depth().0 == 0;
                match step {
                    Step::Push(level, cost) => {
                        next += 1;
                        let (wake, back) = match lane.push(NOW, level, cost, next) {
                            Pushed::Accepted { wake, .. } => (wake, Some(vec![])),
                            Pushed::Displaced { victim, more, reason, wake, .. } => {
                                let all = [victim].into_iter().chain(more);
                                (wake, Some(all.map(|item| (item, reason)).collect()))
                            }
                            Pushed::Refused(item, reason) => (false, Some(vec![(item, reason)])),
                            Pushed::Full { .. } => (false, None),
                        };
                        prop_assert_eq!(back, model.push(level, cost, next));
                        prop_assert_eq!(wake, was_empty && model.depth().0 > 0);
                    }
                    Step::PushBatch(parcels) => {
                        let mut batch: Vec<_> = parcels
                            .into_iter()
                            .zip(next + 1..)
                            .map(|((level, cost_bytes), item)| Parcel { level, cost_bytes, item })
                            .collect();
                        next += batch.len() as u32;
                        let (offered, mut expected, mut waiting) = (batch.clone(), vec![], vec![]);
                        for parcel in offered {
                            let Parcel { level, cost_bytes, item } = parcel;
                            let turn = waiting.is_empty();
                            match turn.then(|| model.push(level, cost_bytes, item)).flatten() {
                                Some(back) => expected.extend(back),
                                None => waiting.push(parcel),
                            }
                        }
                        let mut back = Vec::new();
                        let pushed = lane.push_batch(NOW, &mut batch, &mut back);
                        let displaced = |(_, why): &&(u32, Refusal)| *why == Refusal::Displaced;
                        let displaced = back.iter().filter(displaced).count();
                        prop_assert_eq!(pushed.displaced, displaced);
                        prop_assert_eq!(pushed.refused, back.len() - displaced);
                        prop_assert_eq!(pushed.until.is_some(), !waiting.is_empty());
                        prop_assert_eq!(pushed.wake, was_empty && model.depth().0 > 0);
                        prop_assert_eq!(&back, &expected);
                        prop_assert_eq!(batch, waiting);
                    }
                    Step::Pop(max) => {
                        let mut out = Vec::new();
                        let popped = lane.pop_batch(max, &mut out);
                        prop_assert_eq!(popped.items, max.min(model.depth().0));
                        prop_assert_eq!(popped.items, out.len());
                        let mut bytes = 0;
                        for item in out {
                            // Whichever level it came from, it was the oldest there.
                            let front = |level: &&mut VecDeque<(u32, usize)>| {
                                level.front().is_some_and(|(oldest, _)| *oldest == item)
                            };
                            let level = model.levels.iter_mut().find(front);
                            bytes += level.and_then(VecDeque::pop_front).unwrap().1;
                        }
                        prop_assert_eq!(popped.bytes, bytes);
                    }
                }
                let stats = lane.stats();
                prop_assert_eq!((stats.items, stats.bytes), model.depth());
                let gone = stats.popped + stats.displaced + stats.refused;
                prop_assert_eq!(stats.pushed, gone + stats.items as u64);
            }
        }
    }
}
