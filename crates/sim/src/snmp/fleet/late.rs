//! Answers that wait for their time, bounded in number and bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};

use trunkline_engine::time::Time;

/// Delayed answers of a fleet at most; beyond, an answer is given up and counted.
pub const LATE_MAX: usize = 1 << 18;
/// Bytes of delayed answers of a fleet at most.
pub const LATE_BYTES_MAX: usize = 256 << 20;

/// A delayed answer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Late {
    /// Whose answer it is; the address may be a wrong one.
    pub(super) agent: u32,
    pub(super) from: IpAddr,
    pub(super) to: SocketAddr,
    /// The driver's socket, or in a world the port.
    pub(super) socket: u16,
    pub(super) bytes: Box<[u8]>,
}

/// Delayed answers in the order of their times, then of their arrival.
#[derive(Debug, Default)]
pub(super) struct LateQueue {
    heap: BinaryHeap<Reverse<(Time, u64, Late)>>,
    bytes: usize,
    sequence: u64,
}

impl LateQueue {
    /// False when there is no room.
    pub(super) fn push(&mut self, at: Time, late: Late) -> bool {
        if self.heap.len() >= LATE_MAX || self.bytes + late.bytes.len() > LATE_BYTES_MAX {
            return false;
        }
        self.bytes += late.bytes.len();
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, late)));
        true
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<Late> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((_, _, late)) = self.heap.pop()?;
        self.bytes -= late.bytes.len();
        Some(late)
    }

    /// Forgets all answers and says how many they were.
    pub(super) fn clear(&mut self) -> usize {
        let forgotten = self.heap.len();
        self.heap.clear();
        self.bytes = 0;
        forgotten
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(len: usize, tag: u16) -> Late {
        Late {
            agent: 0,
            from: "127.0.0.1".parse().unwrap(),
            to: "127.0.0.1:5".parse().unwrap(),
            socket: tag,
            bytes: vec![0; len].into(),
        }
    }

    #[test]
    fn answers_leave_in_order_and_never_early() {
        let mut queue = LateQueue::default();
        for (ms, tag) in [(30, 1), (10, 2), (10, 3)] {
            assert!(queue.push(Time::from_millis(ms), late(1, tag)));
        }
        assert_eq!(queue.next_due(), Some(Time::from_millis(10)));
        assert!(queue.pop_due(Time::from_millis(9)).is_none());
        let due =
            |queue: &mut LateQueue, ms| queue.pop_due(Time::from_millis(ms)).map(|l| l.socket);
        assert_eq!(due(&mut queue, 29), Some(2));
        assert_eq!(due(&mut queue, 29), Some(3));
        assert_eq!(due(&mut queue, 29), None);
        assert_eq!(due(&mut queue, 30), Some(1));
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn bytes_are_bounded() {
        let mut queue = LateQueue::default();
        let half = LATE_BYTES_MAX / 2;
        assert!(queue.push(Time::ZERO, late(half, 0)) && queue.push(Time::ZERO, late(half, 0)));
        assert!(!queue.push(Time::ZERO, late(1, 0)));
        assert!(queue.pop_due(Time::ZERO).is_some());
        assert!(queue.push(Time::ZERO, late(1, 0)));
        assert_eq!((queue.clear(), queue.bytes, queue.len()), (2, 0, 0));
    }
}
