//! The loop: wait, read the clock, receive, turn, send.
//!
//! Work per turn is bounded in both directions, so that a flood of datagrams cannot keep the timers
//! waiting nor a flood of sends the datagrams. What a turn leaves is taken up by the next one,
//! which then does not wait. Kernel-side memory is allocated once.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use trunkline_engine::datagram::{RX_SLOT_BYTES, RxBatch, RxMeta};
use trunkline_engine::time::Time;

use super::errors::Errors;
use super::outbox::{Context, Outbox, Port};
use super::poll::{Poll, Ready, Until};
use super::{DriverStats, Machine, Sockets, Turn};
use crate::clock::Clock;
use crate::doorbell::Doorbell;
use crate::sys::control::Item;
use crate::sys::mmsg::{Queue, Receiver};

/// Datagrams per system call and per call of the machine.
pub const BATCH_SLOTS: usize = 64;

/// Batches received in one turn at most. More than are sent: what is not received in time is lost.
const RX_ROUNDS: usize = 16;
/// Batches sent in one turn at most.
const TX_ROUNDS: usize = 8;
/// Errors in a row from one socket's queue before the turn goes on without it.
const RX_ERRORS_MAX: u32 = 16;
/// A receive slot takes any datagram. Slots are a whole, odd number of cache lines apart: at 64 KiB
/// or one byte less, the heads of all datagrams would compete for the same few cache sets.
const RX_STRIDE: usize = (RX_SLOT_BYTES + 1) + 3 * 64;

/// Moves the bytes of one [`Machine`], on the thread that calls [`Self::run`].
pub struct Driver<M> {
    clock: Clock,
    bell: Doorbell,
    poll: Poll,
    ports: Vec<Port>,
    machine: M,
    rx: RxBatch,
    receiver: Receiver,
    errors: Errors,
    outbox: Outbox,
    stats: Arc<DriverStats>,
    /// The last turn left something to send.
    more: bool,
}

impl<M> std::fmt::Debug for Driver<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Driver({} sockets)", self.ports.len())
    }
}

impl<M: Machine> Driver<M> {
    /// A driver of `machine` over `sockets`, woken by `bell`.
    ///
    /// # Errors
    /// When the process may open no more file descriptors.
    pub fn new(clock: Clock, sockets: Sockets, machine: M, bell: Doorbell) -> io::Result<Self> {
        let stats = Arc::new(DriverStats::new(&sockets));
        let poll = Poll::new(&bell)?;
        for (index, open) in (0u16..).zip(&sockets.open) {
            poll.add(index, &open.socket)?;
        }
        Ok(Self {
            clock,
            bell,
            poll,
            ports: sockets.open.into_iter().map(Port::new).collect(),
            machine,
            rx: RxBatch::with_slot_bytes(BATCH_SLOTS, RX_STRIDE),
            receiver: Receiver::new(BATCH_SLOTS),
            errors: Errors::new(),
            outbox: Outbox::new(),
            stats,
            more: true,
        })
    }

    /// The driver's counters, to be read while it runs.
    pub fn stats(&self) -> Arc<DriverStats> {
        Arc::clone(&self.stats)
    }

    /// Turns until the machine says [`Turn::Stop`], and gives it back. The first turn does not
    /// wait.
    ///
    /// # Errors
    /// When the kernel refuses to wait or to watch a socket, which means a broken process.
    pub fn run(mut self) -> io::Result<M> {
        while let Turn::Continue = self.turn()? {}
        Ok(self.machine)
    }

    fn turn(&mut self) -> io::Result<Turn> {
        self.poll.wait(&self.clock, self.until())?;
        let now = self.clock.now();
        self.stats.turn_begins(now);
        self.bell.clear();
        self.receive_all(now)?;
        let turn = self.machine.turn(now);
        let mut context = Context {
            now,
            machine: &mut self.machine,
            ports: &mut self.ports,
            errors: &mut self.errors,
            poll: &self.poll,
            stats: &self.stats,
        };
        self.more = self.outbox.transmit(TX_ROUNDS, &mut context)?;
        self.stats.turn_ends();
        Ok(turn)
    }

    /// How long to wait before the next turn. The clock is not read again for it: a point that has
    /// passed meanwhile makes the timer fire at once.
    fn until(&self) -> Until {
        if self.more {
            return Until::Now;
        }
        let held = self.ports.iter().filter_map(Port::next_wakeup).min();
        match held.into_iter().chain(self.machine.next_wakeup()).min() {
            Some(time) if time <= self.stats.last_turn() => Until::Now,
            Some(Time::MAX) | None => Until::Ever,
            Some(time) => Until::At(time),
        }
    }

    fn receive_all(&mut self, now: Time) -> io::Result<()> {
        let mut rounds = RX_ROUNDS;
        let mut next = 0;
        while let Some(ready) = self.poll.ready(next) {
            next += 1;
            self.serve(now, ready, &mut rounds)?;
        }
        self.deliver(now);
        Ok(())
    }

    fn serve(&mut self, now: Time, ready: Ready, rounds: &mut usize) -> io::Result<()> {
        let Ready { socket, .. } = ready;
        if ready.writable {
            let mut context = Context {
                now,
                machine: &mut self.machine,
                ports: &mut self.ports,
                errors: &mut self.errors,
                poll: &self.poll,
                stats: &self.stats,
            };
            self.outbox.writable(socket, &mut context)?;
        }
        if ready.errors {
            self.drain_errors(now, socket);
        }
        // An error without an entry in the queue (no memory for one) is cleared by receiving.
        if ready.readable || ready.errors {
            let mut errors = 0;
            while *rounds > 0 && self.receive_some(now, socket, &mut errors) {
                *rounds -= 1;
            }
        }
        Ok(())
    }

    /// One call's worth of datagrams; true when `socket` may hold more.
    fn receive_some(&mut self, now: Time, socket: u16, errors: &mut u32) -> bool {
        if self.rx.len() == BATCH_SLOTS {
            self.deliver(now);
        }
        let free = BATCH_SLOTS - self.rx.len();
        let fd = self.ports[usize::from(socket)].open.socket.as_fd();
        let slots = self.rx.free_slots();
        match self.receiver.receive(fd, Queue::Data, slots) {
            Ok(got) => {
                self.take(socket, got);
                got == free
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => {
                // A pending error of something sent earlier, not of this call. Its entry is in the
                // error queue.
                *errors += 1;
                self.drain_errors(now, socket);
                *errors < RX_ERRORS_MAX
            }
        }
    }

    /// Moves the names of `got` received datagrams into the batch.
    fn take(&mut self, socket: u16, got: usize) {
        let mut bytes = 0;
        for i in 0..got {
            let message = self.receiver.message(i);
            let mut to = None;
            for item in message.items() {
                match item {
                    Item::LocalAddress(address) => to = Some(address),
                    Item::Overflow(total) => {
                        if self.stats.sockets[usize::from(socket)].note_overflow(total) {
                            self.machine.overflow(socket, total);
                        }
                    }
                    Item::Error(_) => {}
                }
            }
            bytes += message.len as u64;
            if message.truncated {
                self.stats.truncated.add(1);
            }
            self.rx.commit(RxMeta {
                from: message.name,
                to,
                socket,
                len: message.len,
            });
        }
        self.stats.received.add(got as u64);
        self.stats.received_bytes.add(bytes);
    }

    fn deliver(&mut self, now: Time) {
        if !self.rx.is_empty() {
            self.machine.receive(now, &self.rx);
            self.rx.clear();
        }
    }

    fn drain_errors(&mut self, now: Time, socket: u16) {
        let machine = &mut self.machine;
        let fd = self.ports[usize::from(socket)].open.socket.as_fd();
        self.errors.drain(fd, &self.stats, |peer, kind| {
            machine.unreachable(now, peer, kind);
        });
    }
}
