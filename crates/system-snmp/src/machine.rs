//! A shard and its door as one machine for the socket driver, or for a test's virtual world.

use std::net::SocketAddr;
use std::sync::Arc;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::time::Time;
use trunkline_runtime::udp::{Machine, SendFailure, Turn, Unreachable};

use crate::door::Door;
use crate::error::{SnmpError, UnreachableReason};
use crate::shard::{Command, Shard};

/// Commands taken in one turn; the rest waits for the next, so that replies are not kept waiting.
const COMMANDS_PER_TURN: usize = 256;

/// A shard that takes its commands from a door.
#[derive(Debug)]
pub struct ShardMachine {
    shard: Shard,
    door: Arc<Door>,
    commands: Vec<Command>,
    more: bool,
    stopping: bool,
}

impl ShardMachine {
    pub(crate) fn new(shard: Shard, door: Arc<Door>) -> Self {
        Self {
            shard,
            door,
            commands: Vec::new(),
            more: false,
            stopping: false,
        }
    }

    /// The shard, for a test's invariants.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    fn take_commands(&mut self, now: Time) {
        let mut commands = std::mem::take(&mut self.commands);
        self.door.pop(COMMANDS_PER_TURN, &mut commands);
        self.more = commands.len() == COMMANDS_PER_TURN;
        for command in commands.drain(..) {
            self.stopping |= matches!(command, Command::Stop);
            self.shard.command(now, command, &self.door);
        }
        self.commands = commands;
    }

    /// Ends whatever still waits at the door, so that nobody waits for a thread that has gone.
    fn close(&mut self, now: Time) {
        self.door.close();
        loop {
            self.take_commands(now);
            if !self.more {
                break;
            }
        }
        self.shard.publish(now);
        self.shard.flush();
    }
}

impl Machine for ShardMachine {
    fn receive(&mut self, now: Time, rx: &RxBatch) {
        self.shard.receive(now, rx);
    }

    fn turn(&mut self, now: Time) -> Turn {
        self.take_commands(now);
        self.shard.turn(now);
        if self.stopping {
            self.close(now);
            return Turn::Stop;
        }
        self.shard.flush();
        Turn::Continue
    }

    fn fill(&mut self, now: Time, tx: &mut TxBatch) {
        self.shard.fill(now, tx);
        self.shard.flush();
    }

    fn next_wakeup(&self) -> Option<Time> {
        if self.more {
            return Some(Time::ZERO);
        }
        [self.shard.next_send(), self.shard.next_wakeup()]
            .into_iter()
            .flatten()
            .min()
    }

    fn unsent(&mut self, now: Time, token: u64, _to: SocketAddr, error: SendFailure) {
        let Ok(id) = u32::try_from(token) else { return };
        self.shard
            .unsent(now, id, SnmpError::Send(error.to_string()));
        self.shard.flush();
    }

    fn unreachable(&mut self, now: Time, peer: SocketAddr, kind: Unreachable) {
        self.shard.unreachable(now, peer, reason(kind));
        self.shard.flush();
    }

    /// The driver's own figures say it per socket; to the jobs it is silence like any other.
    fn overflow(&mut self, _socket: u16, _dropped_total: u32) {}
}

fn reason(kind: Unreachable) -> UnreachableReason {
    match kind {
        Unreachable::Port => UnreachableReason::Port,
        Unreachable::Network => UnreachableReason::Network,
        Unreachable::Prohibited => UnreachableReason::Prohibited,
        _ => UnreachableReason::Host,
    }
}
