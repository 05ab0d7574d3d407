//! Sending a batch through sockets that may fail for somebody else's reason.
//!
//! `sendmmsg` stops at the first datagram that fails and, unless it was the very first, does not
//! say why. An error may be an old ICMP message about another peer, or the datagram's own. So after
//! every stop the error queue is drained and the first unsent datagram is tried again: when it fails
//! with an empty queue behind it, twice, the fault is its own and it goes back to the machine; the
//! rest goes on. A full socket holds the batch up once, for a bounded time; after that its datagrams
//! come back at once until it takes one again, so that a dead interface does not slow the others.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use trunkline_engine::datagram::{TxBatch, TxMeta};
use trunkline_engine::time::Time;

use super::driver::BATCH_SLOTS;
use super::errors::Errors;
use super::poll::Poll;
use super::sockets::Open;
use super::stats::DriverStats;
use super::{Machine, SendFailure};
use crate::sys::mmsg::{Outgoing, Sender};

/// Stops in a row caused by the network before the rest waits for the next turn.
const STOPS_MAX: u32 = 64;
/// Pause after ENOBUFS: the interface's queue is full, which no event ever tells.
const NO_BUFFERS_PAUSE: Duration = Duration::from_millis(1);

/// One socket with what sending through it needs to remember.
pub(super) struct Port {
    pub(super) open: Open,
    blocked: Option<Blocked>,
    /// Since when nothing has gone out although something should.
    stalled_since: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
enum Blocked {
    /// Until the socket says that it has room.
    Room,
    /// Until then.
    Pause(Time),
}

/// What sending needs from the driver.
pub(super) struct Context<'a, M> {
    pub(super) now: Time,
    pub(super) machine: &'a mut M,
    pub(super) ports: &'a mut [Port],
    pub(super) errors: &'a mut Errors,
    pub(super) poll: &'a Poll,
    pub(super) stats: &'a DriverStats,
}

/// The batch being sent.
pub(super) struct Outbox {
    sender: Sender,
    batch: TxBatch,
    /// Socket of each slot, read once per batch.
    sockets: [u16; BATCH_SLOTS],
    /// Slots not sent yet, one bit each.
    waiting: u64,
    /// Of these, the ones whose socket is blocked.
    held: u64,
}

/// How a run of one socket's datagrams ended.
enum Step {
    /// Something went out, came back or is held; go on with the rest.
    Progress,
    /// The network's errors come faster than datagrams go out; go on in the next turn.
    Storm,
}

impl Port {
    pub(super) fn new(open: Open) -> Self {
        Self {
            open,
            blocked: None,
            stalled_since: None,
        }
    }

    /// When a blocked socket wants a turn, at the latest.
    pub(super) fn next_wakeup(&self) -> Option<Time> {
        let give_up = self.stalled_since? + SendFailure::BLOCKED_MAX;
        match self.blocked? {
            Blocked::Room => Some(give_up),
            Blocked::Pause(until) => Some(until.min(give_up)),
        }
    }
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            sender: Sender::new(BATCH_SLOTS),
            batch: TxBatch::new(BATCH_SLOTS),
            sockets: [0; BATCH_SLOTS],
            waiting: 0,
            held: 0,
        }
    }

    /// Sends what the machine wants, at most `rounds` batches. True when there is more to send at
    /// once.
    pub(super) fn transmit<M: Machine>(
        &mut self,
        rounds: usize,
        context: &mut Context<'_, M>,
    ) -> io::Result<bool> {
        if self.held != 0 {
            self.release_due(context)?;
        }
        for _ in 0..rounds {
            if self.waiting == 0 {
                self.batch.clear();
                context.machine.fill(context.now, &mut self.batch);
                if self.batch.is_empty() {
                    return Ok(false);
                }
                self.load(context);
            }
            self.flush(context)?;
            if self.waiting != 0 {
                return Ok(self.waiting != self.held);
            }
            if !self.batch.is_full() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `socket` has room again.
    pub(super) fn writable<M>(
        &mut self,
        socket: u16,
        context: &mut Context<'_, M>,
    ) -> io::Result<()> {
        let port = &mut context.ports[usize::from(socket)];
        if let Some(Blocked::Room) = port.blocked.take() {
            let fd = port.open.socket.as_fd();
            context.poll.watch_writable(socket, fd, false)?;
        }
        self.held &= !self.slots_of(socket);
        Ok(())
    }

    /// Ends pauses that are over, and gives back what has been held for too long.
    fn release_due<M: Machine>(&mut self, context: &mut Context<'_, M>) -> io::Result<()> {
        for index in 0..context.ports.len() {
            let socket = index as u16; // `Sockets::open` refuses more than u16 can name
            let port = &context.ports[index];
            let (Some(blocked), Some(since)) = (port.blocked, port.stalled_since) else {
                continue;
            };
            let given_up = context.now >= since + SendFailure::BLOCKED_MAX;
            let paused_out = matches!(blocked, Blocked::Pause(until) if context.now >= until);
            if !given_up && !paused_out {
                continue;
            }
            let held = self.held & self.slots_of(socket);
            self.writable(socket, context)?;
            if given_up {
                self.give_back(held, SendFailure::Blocked, context);
            }
        }
        Ok(())
    }

    /// Notes each slot's socket; gives back at once what no socket can send.
    fn load<M: Machine>(&mut self, context: &mut Context<'_, M>) {
        let mut misfits = 0;
        for (slot, (meta, _)) in self.batch.iter().enumerate() {
            self.sockets[slot] = meta.socket;
            let family = |from: std::net::IpAddr| from.is_ipv4() == meta.to.is_ipv4();
            let fits =
                usize::from(meta.socket) < context.ports.len() && meta.from.is_none_or(family);
            misfits |= u64::from(!fits) << slot;
        }
        self.waiting = u64::MAX >> (BATCH_SLOTS - self.batch.len());
        if misfits != 0 {
            self.give_back(misfits, SendFailure::Address, context);
        }
    }

    fn flush<M: Machine>(&mut self, context: &mut Context<'_, M>) -> io::Result<()> {
        let mut stops = 0;
        let mut suspect = None;
        while let Some(first) = lowest(self.waiting & !self.held) {
            let socket = self.sockets[first];
            match self.send_run(socket, &mut suspect, &mut stops, context)? {
                Step::Progress => {}
                Step::Storm => break,
            }
        }
        Ok(())
    }

    /// Sends the waiting datagrams of one socket, up to the first that fails. `suspect` is the slot
    /// that failed last with nobody else to blame.
    fn send_run<M: Machine>(
        &mut self,
        socket: u16,
        suspect: &mut Option<usize>,
        stops: &mut u32,
        context: &mut Context<'_, M>,
    ) -> io::Result<Step> {
        let mut order = [0u8; BATCH_SLOTS];
        let (mut count, mut bytes) = (0, [0u64; BATCH_SLOTS + 1]);
        let (waiting, sockets) = (self.waiting & !self.held, &self.sockets);
        let run = self
            .batch
            .iter()
            .enumerate()
            .filter_map(|(slot, (meta, data))| {
                if waiting & 1 << slot == 0 || sockets[slot] != socket {
                    return None;
                }
                order[count] = slot as u8; // below BATCH_SLOTS
                bytes[count + 1] = bytes[count] + data.len() as u64;
                count += 1;
                Some(Outgoing {
                    to: meta.to,
                    from: meta.from,
                    bytes: data,
                })
            });
        let port = &mut context.ports[usize::from(socket)];
        let result = self.sender.send(port.open.socket.as_fd(), run);
        if let Ok(sent) = result {
            for slot in &order[..sent] {
                self.waiting &= !(1 << slot);
            }
            port.stalled_since = None;
            context.stats.sent.add(sent as u64);
            context.stats.sent_bytes.add(bytes[sent]);
            if sent == count {
                return Ok(Step::Progress);
            }
        }
        context.stats.short_sends.add(1);
        self.stopped(
            socket,
            usize::from(order[0]),
            result,
            suspect,
            stops,
            context,
        )
    }

    fn stopped<M: Machine>(
        &mut self,
        socket: u16,
        first: usize,
        result: io::Result<usize>,
        suspect: &mut Option<usize>,
        stops: &mut u32,
        context: &mut Context<'_, M>,
    ) -> io::Result<Step> {
        let port = &mut context.ports[usize::from(socket)];
        let errno = match result {
            Ok(_) => None,
            Err(error) => match error.raw_os_error().unwrap_or(libc::EIO) {
                libc::EINTR => return Ok(Step::Progress),
                libc::EAGAIN => return self.block(socket, Blocked::Room, context),
                libc::ENOBUFS | libc::ENOMEM => {
                    let pause = Blocked::Pause(context.now + NO_BUFFERS_PAUSE);
                    return self.block(socket, pause, context);
                }
                errno => Some(errno),
            },
        };
        let (now, machine) = (context.now, &mut *context.machine);
        let fd = port.open.socket.as_fd();
        let drained = context.errors.drain(fd, context.stats, |peer, kind| {
            machine.unreachable(now, peer, kind)
        });
        if drained > 0 {
            *stops += 1;
            let storm = *stops >= STOPS_MAX;
            return Ok(if storm { Step::Storm } else { Step::Progress });
        }
        match errno {
            Some(errno) if *suspect == Some(first) => {
                let has_source = self.meta(first).from.is_some();
                let failure = SendFailure::from_errno(errno, has_source);
                self.give_back(1 << first, failure, context);
            }
            Some(_) => *suspect = Some(first),
            None => {}
        }
        Ok(Step::Progress)
    }

    fn block<M: Machine>(
        &mut self,
        socket: u16,
        blocked: Blocked,
        context: &mut Context<'_, M>,
    ) -> io::Result<Step> {
        context.stats.blocked.add(1);
        let slots = self.slots_of(socket);
        let port = &mut context.ports[usize::from(socket)];
        let since = *port.stalled_since.get_or_insert(context.now);
        if context.now >= since + SendFailure::BLOCKED_MAX {
            self.give_back(slots, SendFailure::Blocked, context);
            return Ok(Step::Progress);
        }
        port.blocked = Some(blocked);
        if let Blocked::Room = blocked {
            let fd = port.open.socket.as_fd();
            context.poll.watch_writable(socket, fd, true)?;
        }
        self.held |= slots;
        Ok(Step::Progress)
    }

    fn give_back<M: Machine>(
        &mut self,
        slots: u64,
        failure: SendFailure,
        context: &mut Context<'_, M>,
    ) {
        self.waiting &= !slots;
        self.held &= !slots;
        let mut rest = slots;
        while let Some(slot) = lowest(rest) {
            rest &= rest - 1;
            let TxMeta { to, token, .. } = self.meta(slot).clone();
            context.stats.unsent.add(1);
            context.machine.unsent(context.now, token, to, failure);
        }
    }

    fn meta(&self, slot: usize) -> &TxMeta {
        #[expect(
            clippy::expect_used,
            reason = "slots are bits that `load` set for this batch"
        )]
        let (meta, _) = self.batch.iter().nth(slot).expect("a loaded slot");
        meta
    }

    fn slots_of(&self, socket: u16) -> u64 {
        let mut rest = self.waiting;
        let mut slots = 0;
        while let Some(slot) = lowest(rest) {
            rest &= rest - 1;
            slots |= u64::from(self.sockets[slot] == socket) << slot;
        }
        slots
    }
}

fn lowest(bits: u64) -> Option<usize> {
    (bits != 0).then(|| bits.trailing_zeros() as usize)
}
