//! A target as its home shard keeps it, and the part of it that others may read.
//!
//! A target's queue, caps, breaker, round-trip time and learned sizes live in its home shard and
//! nowhere else. Others read [`TargetStats`], a block of atomics that the shard alone writes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use trunkline_engine::guard::{Gate, GuardPolicy};
use trunkline_engine::retry::RetryPolicy;
use trunkline_engine::time::Time;
use trunkline_wire_snmp::Version;

use crate::rtt::{RttEstimate, TimeoutPolicy};

/// A target's name within its client: which shard, which slot, and which use of that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId {
    pub(crate) shard: u16,
    pub(crate) generation: u16,
    pub(crate) slot: u32,
}

/// Whose answer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourcePolicy {
    /// Only an answer from the address and port that were asked.
    #[default]
    Strict,
    /// The first answer with the right id and community settles from where answers come.
    Learn,
    /// Any answer with the right id and community. Unsafe where others can send to us.
    Any,
}

/// How a target is treated; shared by all targets that are treated alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetPolicy {
    /// How long to wait for an answer.
    pub timeout: TimeoutPolicy,
    /// How often to ask, and how much of the traffic may be repetition.
    pub retry: RetryPolicy,
    /// Breaker, rate and in-flight cap.
    pub guard: GuardPolicy,
    /// The most requests that wait in the target's queue.
    pub queue_max: usize,
}

/// Who to ask and how.
#[derive(Clone, Debug)]
pub struct TargetSpec {
    /// Address and port.
    pub addr: SocketAddr,
    /// v1 or v2c.
    pub version: Version,
    /// The community.
    pub community: Arc<[u8]>,
    /// Whose answer counts.
    pub source: SourcePolicy,
    /// How it is treated.
    pub policy: Arc<TargetPolicy>,
    /// The egress group that its requests leave by: 0 is all engines, `n` only engine `n - 1`.
    pub egress: u16,
}

/// What others may know of a target; written by its shard alone.
#[derive(Debug, Default)]
pub struct TargetStats {
    requests: AtomicU32,
    replies: AtomicU32,
    timeouts: AtomicU32,
    retransmits: AtomicU32,
    errors: AtomicU32,
    in_flight: AtomicU32,
    queued: AtomicU32,
    srtt_us: AtomicU32,
    last_reply_ms: AtomicU64,
    last_sent_ms: AtomicU64,
}

/// A reading of [`TargetStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetFigures {
    /// Datagrams sent, repetitions included; wraps at 2^32.
    pub requests: u32,
    /// Answers accepted.
    pub replies: u32,
    /// Attempts that ended in silence.
    pub timeouts: u32,
    /// Datagrams that repeated an earlier one.
    pub retransmits: u32,
    /// Requests that ended without an answer.
    pub errors: u32,
    /// Requests on the wire.
    pub in_flight: u32,
    /// Requests in its queue.
    pub queued: u32,
    /// Smoothed round trip in microseconds; 0 before the first answer.
    pub srtt_us: u32,
    /// When it last answered; `None` for never.
    pub last_reply: Option<Time>,
    /// When it was last asked; `None` for never.
    pub last_sent: Option<Time>,
}

impl TargetStats {
    /// The figures as they stand.
    pub fn read(&self) -> TargetFigures {
        let point = |ms: &AtomicU64| match ms.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(Time::from_millis(ms)),
        };
        TargetFigures {
            requests: self.requests.load(Ordering::Relaxed),
            replies: self.replies.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            retransmits: self.retransmits.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
            srtt_us: self.srtt_us.load(Ordering::Relaxed),
            last_reply: point(&self.last_reply_ms),
            last_sent: point(&self.last_sent_ms),
        }
    }

    pub(crate) fn sent(&self, now: Time, again: bool) {
        bump(&self.requests);
        if again {
            bump(&self.retransmits);
        }
        self.last_sent_ms
            .store(now.as_millis().max(1), Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, now: Time, srtt: Duration) {
        bump(&self.replies);
        let srtt_us = u32::try_from(srtt.as_micros()).unwrap_or(u32::MAX);
        self.srtt_us.store(srtt_us, Ordering::Relaxed);
        self.last_reply_ms
            .store(now.as_millis().max(1), Ordering::Relaxed);
    }

    pub(crate) fn timed_out(&self) {
        bump(&self.timeouts);
    }

    pub(crate) fn failed(&self) {
        bump(&self.errors);
    }

    pub(crate) fn level(&self, queued: usize, in_flight: usize) {
        let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.queued.store(clip(queued), Ordering::Relaxed);
        self.in_flight.store(clip(in_flight), Ordering::Relaxed);
    }
}

/// Adds one; only the owner writes, so a load and a store do.
fn bump(counter: &AtomicU32) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

/// How urgent a request is; within one level a target's requests keep their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Before the others: a person waits.
    High,
    /// Polls.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

/// A target in its home shard.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) spec: TargetSpec,
    pub(crate) generation: u16,
    pub(crate) gate: Arc<Gate>,
    pub(crate) stats: Arc<TargetStats>,
    pub(crate) rtt: RttEstimate,
    /// Boxed, like the next: few targets have one.
    learned_source: Option<Box<SocketAddr>>,
    stranger: Option<Box<SocketAddr>>,
    pub(crate) sent: Vec<u32>,
    /// Requests in no queue and not on the wire: in backoff, or waiting for their reader.
    aside: Vec<u32>,
    pub(crate) bulk: BulkMemory,
    pub(crate) drained: bool,
    pub(crate) place: Place,
    /// Requests of normal priority.
    queue: VecDeque<u32>,
    /// Those of high and of low priority, once there was one.
    others: Option<Box<[VecDeque<u32>; 2]>>,
}

/// Where the shard's send loop finds a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing to send.
    Idle,
    /// In the ready ring.
    Ready,
    /// Waits for one of its own requests to end.
    Capped,
    /// Waits for its rate limit; a timer is set.
    Paced,
}

/// What bulk size a device bears, relearned upwards slowly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BulkMemory {
    ceiling: u16,
    walks: u8,
}

impl BulkMemory {
    /// Repetitions to start a walk with; 0 when nothing is known.
    pub(crate) fn start(&self) -> u32 {
        self.ceiling.into()
    }

    /// Notes what a finished walk of at most `asked` repetitions found. Every eighth walk after a
    /// reduction may try half as much again, for a device that was only busy.
    pub(crate) fn note(&mut self, asked: u32, found: u32) {
        if found >= asked {
            *self = Self::default();
            return;
        }
        self.walks += 1;
        let mut ceiling = found;
        if self.walks == 8 {
            self.walks = 0;
            ceiling = found + found.div_ceil(2);
        }
        self.ceiling = u16::try_from(ceiling).unwrap_or(u16::MAX);
    }
}

impl Target {
    pub(crate) fn new(
        spec: TargetSpec,
        generation: u16,
        gate: Arc<Gate>,
        stats: Arc<TargetStats>,
    ) -> Self {
        Self {
            spec,
            generation,
            gate,
            stats,
            rtt: RttEstimate::default(),
            learned_source: None,
            stranger: None,
            sent: Vec::new(),
            aside: Vec::new(),
            bulk: BulkMemory::default(),
            drained: false,
            place: Place::Idle,
            queue: VecDeque::new(),
            others: None,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        let others = self.others.iter().flat_map(|others| others.iter());
        self.queue.len() + others.map(VecDeque::len).sum::<usize>()
    }

    pub(crate) fn enqueue(&mut self, id: u32, priority: Priority) {
        self.queue_of(priority).push_back(id);
    }

    /// Puts a request that was sent before in front of those that were not.
    pub(crate) fn enqueue_again(&mut self, id: u32, priority: Priority) {
        self.queue_of(priority).push_front(id);
    }

    pub(crate) fn dequeue(&mut self) -> Option<u32> {
        let Some(others) = &mut self.others else {
            return self.queue.pop_front();
        };
        let [high, low] = &mut **others;
        let urgent = high.pop_front().or_else(|| self.queue.pop_front());
        urgent.or_else(|| low.pop_front())
    }

    fn queue_of(&mut self, priority: Priority) -> &mut VecDeque<u32> {
        let others = match priority {
            Priority::Normal => return &mut self.queue,
            Priority::High | Priority::Low => self.others.get_or_insert_default(),
        };
        &mut others[usize::from(priority == Priority::Low)]
    }

    pub(crate) fn set_aside(&mut self, id: u32) {
        self.aside.push(id);
    }

    pub(crate) fn forget_aside(&mut self, id: u32) {
        if let Some(at) = self.aside.iter().position(|aside| *aside == id) {
            self.aside.swap_remove(at);
        }
    }

    /// Every request of its, wherever it is; none is left.
    pub(crate) fn take_all(&mut self) -> Vec<u32> {
        let mut all = std::mem::take(&mut self.sent);
        all.append(&mut self.aside);
        while let Some(id) = self.dequeue() {
            all.push(id);
        }
        all
    }

    /// The stranger who answered in the target's place, once.
    pub(crate) fn take_stranger(&mut self) -> Option<SocketAddr> {
        self.stranger.take().map(|stranger| *stranger)
    }

    pub(crate) fn forget_sent(&mut self, id: u32) {
        if let Some(at) = self.sent.iter().position(|sent| *sent == id) {
            self.sent.swap_remove(at);
        }
    }

    /// Whether an answer from `from` counts; a first stranger's address is kept for the error text.
    pub(crate) fn accepts(&mut self, from: SocketAddr) -> bool {
        if from == self.spec.addr || self.learned_source.as_deref() == Some(&from) {
            return true;
        }
        match self.spec.source {
            SourcePolicy::Any => true,
            SourcePolicy::Learn if self.learned_source.is_none() => {
                self.learned_source = Some(Box::new(from));
                true
            }
            SourcePolicy::Learn | SourcePolicy::Strict => {
                self.stranger = Some(Box::new(from));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_memory_shrinks_at_once_and_recovers_slowly() {
        let mut memory = BulkMemory::default();
        memory.note(25, 12);
        assert_eq!(memory.start(), 12);
        for _ in 0..7 {
            memory.note(25, 12);
        }
        assert_eq!(memory.start(), 18, "the eighth walk tries more");
        memory.note(25, 25);
        assert_eq!(
            memory.start(),
            0,
            "the device bears all: nothing to remember"
        );
    }

    #[test]
    fn requests_leave_by_priority_and_within_one_in_their_order() {
        let spec = TargetSpec {
            addr: "127.0.0.1:161".parse().unwrap(),
            version: Version::V2c,
            community: Arc::from(*b"public"),
            source: SourcePolicy::Strict,
            policy: Arc::default(),
            egress: 0,
        };
        let router = trunkline_engine::router::Router::new(
            Default::default(),
            &mut trunkline_engine::rng::Rng::seeded(1),
        );
        let guard = trunkline_engine::guard::Guard::new(
            Arc::new(router.unwrap()),
            trunkline_engine::guard::AttemptSheet::default(),
        );
        let gate = guard.gate(&spec.policy.guard);
        let mut target = Target::new(spec, 0, gate, Arc::default());
        target.enqueue(1, Priority::Low);
        target.enqueue(2, Priority::Normal);
        target.enqueue(3, Priority::High);
        target.enqueue(4, Priority::Normal);
        target.enqueue_again(5, Priority::Normal);
        assert_eq!(target.queued(), 5);
        let left: Vec<u32> = std::iter::from_fn(|| target.dequeue()).collect();
        assert_eq!(left, [3, 5, 2, 4, 1]);
        assert_eq!(target.queued(), 0);
    }

    #[test]
    fn a_target_block_stays_within_its_cache_line() {
        assert!(size_of::<TargetStats>() <= 64);
        assert!(size_of::<Target>() <= 232, "{}", size_of::<Target>());
    }
}
