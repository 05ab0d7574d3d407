//! The one way into a shard: a bounded lane of commands and a bell.

use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_engine::lane::{Lane, LanePolicy, Pushed, Refusal};
use trunkline_engine::time::Time;

use crate::error::SnmpError;
use crate::shard::Command;

/// Where commands for one shard are handed in.
pub struct Door {
    lane: Lane<Command>,
    ring: Box<dyn Fn() + Send + Sync>,
    refused: AtomicU64,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({} waiting)", self.lane.len())
    }
}

/// What a push finds for the moment when its shard is behind.
pub(crate) const DOOR_FULL: SnmpError = SnmpError::QueueFull("the shard's door");

/// Commands about the shard's own life go before work.
const CONTROL: u8 = 0;
/// Work, and what is said of targets and requests, in the order in which it was handed in.
const WORK: u8 = 1;

impl Door {
    /// A door whose bell is `ring`, for at most `batches` waiting commands.
    pub fn new(batches: usize, ring: Box<dyn Fn() + Send + Sync>) -> Self {
        let policy = LanePolicy {
            items: batches,
            bytes: 256 << 20,
            levels: 2,
            ..LanePolicy::default()
        };
        Self {
            lane: Lane::new(policy),
            ring,
            refused: AtomicU64::new(0),
        }
    }

    /// Hands in a command.
    ///
    /// # Errors
    /// [`SnmpError::QueueFull`] when the lane is full, [`SnmpError::ShuttingDown`] when it is
    /// closed; the command comes back.
    pub(crate) fn push(&self, command: Command) -> Result<(), (Command, SnmpError)> {
        let (level, cost_bytes) = match &command {
            Command::Submit(batch) => (WORK, batch.iter().map(|one| one.cost_bytes()).sum()),
            // Ahead of the target or the request that it is about, a command would find nothing.
            Command::AddTarget(_)
            | Command::RemoveTarget(_)
            | Command::DrainTarget(..)
            | Command::Force(..)
            | Command::Cancel(_) => (WORK, 1024),
            Command::Resume(_)
            | Command::Drain
            | Command::Close
            | Command::Stop
            | Command::Panic => (CONTROL, 64),
        };
        match self.lane.push(Time::ZERO, level, cost_bytes, command) {
            Pushed::Accepted { wake, .. } => {
                if wake {
                    (self.ring)();
                }
                Ok(())
            }
            Pushed::Refused(command, Refusal::Closed) => Err((command, SnmpError::ShuttingDown)),
            Pushed::Refused(command, _)
            | Pushed::Full { item: command, .. }
            | Pushed::Displaced {
                victim: command, ..
            } => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err((command, DOOR_FULL))
            }
        }
    }

    /// Hands in a command that only wakes something; when the lane is full there is a turn coming
    /// anyway, but the command is lost, so it is counted.
    pub(crate) fn knock(&self, command: Command) {
        if self.push(command).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Commands that found no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn pop(&self, max: usize, out: &mut Vec<Command>) {
        self.lane.pop_batch(max, out);
    }

    /// Refuses whatever comes from now on; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.lane.close();
    }
}
