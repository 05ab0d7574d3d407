//! The waiting half of a lane, for threads.
//!
//! [`Lane`] answers at once and says when somebody should be woken or should wait; here is the
//! somebody. Consumers are threads that own a slow thing (a file, a disk); a producer that may wait
//! waits here, never on a wire thread.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use trunkline_engine::lane::{Lane, LanePolicy, Pushed, Refusal};
use trunkline_engine::time::Time;

use crate::clock::Clock;

/// A lane whose consumer and, under `block`, producers can wait.
#[derive(Debug)]
pub struct Queue<T> {
    lane: Lane<T>,
    clock: Clock,
    /// Whether the queue is closed; also held while looking, so that no wake-up is missed.
    closed: Mutex<bool>,
    filled: Condvar,
    room: Condvar,
}

/// What became of a pushed item; items that are not in the queue come back.
#[must_use = "items may have come back"]
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome<T> {
    /// Whether the pushed item itself is in the queue.
    pub accepted: bool,
    /// What is not in the queue any more, or never was, and why.
    pub returned: Vec<(T, Refusal)>,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new(policy: LanePolicy, clock: Clock) -> Self {
        let (filled, room) = (Condvar::new(), Condvar::new());
        Self {
            lane: Lane::new(policy),
            clock,
            closed: Mutex::new(false),
            filled,
            room,
        }
    }

    /// The lane, for its figures.
    pub fn lane(&self) -> &Lane<T> {
        &self.lane
    }

    /// Pushes an item; waits for room only when the policy says `block`.
    pub fn push(&self, level: u8, cost_bytes: usize, item: T) -> Outcome<T> {
        let mut pushed = self.try_push(level, cost_bytes, item, None);
        loop {
            pushed = match pushed {
                Pushed::Full { item, until } => {
                    self.wait_for_room(until);
                    self.try_push(level, cost_bytes, item, Some(until))
                }
                Pushed::Accepted { .. } => {
                    return Outcome {
                        accepted: true,
                        returned: Vec::new(),
                    };
                }
                Pushed::Displaced {
                    victim,
                    more,
                    reason,
                    ..
                } => {
                    let all = std::iter::once(victim).chain(more);
                    let returned = all.map(|item| (item, reason)).collect();
                    return Outcome {
                        accepted: true,
                        returned,
                    };
                }
                Pushed::Refused(item, why) => {
                    return Outcome {
                        accepted: false,
                        returned: vec![(item, why)],
                    };
                }
            }
        }
    }

    /// Pushes an item without waiting, and wakes the consumer. `until` is what an earlier
    /// [`Pushed::Full`] of the same item said.
    pub fn try_push(
        &self,
        level: u8,
        cost_bytes: usize,
        item: T,
        until: Option<Time>,
    ) -> Pushed<T> {
        let now = self.clock.now();
        let pushed = match until {
            None => self.lane.push(now, level, cost_bytes, item),
            Some(until) => self.lane.push_waiting(now, until, level, cost_bytes, item),
        };
        if let Pushed::Accepted { wake: true, .. } = pushed {
            self.wake();
        }
        pushed
    }

    /// Waits a little for room, at most until `until`; call [`Self::try_push`] again then.
    pub fn wait_for_room(&self, until: Time) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        // Room that is made between the push and the wait is found at the next step.
        let step = until
            .saturating_since(self.clock.now())
            .min(Duration::from_millis(10));
        drop(self.room.wait_timeout(closed, step));
    }

    /// Waits up to `patience` for something to pop; not at all once the queue is closed.
    pub fn wait_for_item(&self, patience: Duration) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = |closed: &mut bool| !*closed && self.lane.is_empty();
        drop(self.filled.wait_timeout_while(closed, patience, nothing));
    }

    /// Moves up to `max` items to `out`, without waiting.
    pub fn pop(&self, max: usize, out: &mut Vec<T>) {
        if self.lane.pop_batch(max, out).room {
            self.room.notify_all();
        }
    }

    /// Refuses whatever comes from now on; what waits can still be popped.
    pub fn close(&self) {
        self.lane.close();
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.filled.notify_all();
        self.room.notify_all();
    }

    /// Wakes the consumer. The lock makes sure that it is not between looking and waiting.
    fn wake(&self) {
        drop(self.closed.lock().unwrap_or_else(PoisonError::into_inner));
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use trunkline_engine::lane::OnFull;

    fn queue(on_full: OnFull) -> Arc<Queue<u32>> {
        let policy = LanePolicy {
            items: 2,
            on_full,
            ..LanePolicy::default()
        };
        Arc::new(Queue::new(policy, Clock::start()))
    }

    #[test]
    fn a_waiting_consumer_is_woken() {
        let queue = queue(OnFull::Reject);
        let consumer = queue.clone();
        let thread = std::thread::spawn(move || {
            let mut out = Vec::new();
            consumer.wait_for_item(Duration::from_secs(20));
            consumer.pop(8, &mut out);
            out
        });
        assert!(queue.push(0, 1, 7).accepted);
        assert_eq!(thread.join().unwrap(), [7]);
    }

    #[test]
    fn what_finds_no_room_comes_back_with_the_reason() {
        let rejecting = queue(OnFull::Reject);
        let dropping = queue(OnFull::DropOldest);
        for queue in [&rejecting, &dropping] {
            assert!(queue.push(0, 1, 1).accepted && queue.push(0, 1, 2).accepted);
        }
        assert_eq!(rejecting.push(0, 1, 3).returned, [(3, Refusal::QueueFull)]);
        assert_eq!(dropping.push(0, 1, 3).returned, [(1, Refusal::Displaced)]);
    }

    #[test]
    fn a_blocked_producer_goes_on_when_there_is_room() {
        let queue = queue(OnFull::Block {
            max_wait: Duration::from_secs(20),
        });
        assert!(queue.push(0, 1, 1).accepted && queue.push(0, 1, 2).accepted);
        let producer = queue.clone();
        let thread = std::thread::spawn(move || producer.push(0, 1, 3).accepted);
        let mut out = Vec::new();
        while out.len() < 3 {
            queue.wait_for_item(Duration::from_secs(20));
            queue.pop(1, &mut out);
        }
        assert!(thread.join().unwrap());
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn a_closed_queue_refuses_and_is_still_emptied() {
        let queue = queue(OnFull::Reject);
        assert!(queue.push(0, 1, 1).accepted);
        queue.close();
        queue.wait_for_item(Duration::from_secs(3600));
        assert_eq!(queue.push(0, 1, 2).returned, [(2, Refusal::Closed)]);
        let mut out = Vec::new();
        queue.pop(8, &mut out);
        assert_eq!(out, [1]);
    }
}
