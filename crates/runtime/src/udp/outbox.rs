//! Sending a batch through sockets that may fail for somebody else's reason.
//!
//! `sendmmsg` stops at the first datagram that fails and, unless it was the very first, does not
//! say why. An error may be an old ICMP message about another peer, or the datagram's own. So after
//! every stop the error queue is drained and the first unsent datagram is tried again: when it
//! fails with an empty queue behind it, twice, the fault is its own and it goes back to the
//! machine; the rest goes on. A full socket holds the batch up once, for a bounded time; after that
//! its datagrams come back at once until it takes one again, so that a dead interface does not slow
//! the others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
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

/// What takes datagrams: the kernel, or a test's script.
pub(super) trait Wire {
    /// As [`Sender::send`].
    fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize>;
}

impl Wire for Sender {
    fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        Self::send(self, socket, messages)
    }
}

/// The batch being sent.
pub(super) struct Outbox<W = Sender> {
    wire: W,
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
        Self::over(Sender::new(BATCH_SLOTS))
    }
}

impl<W: Wire> Outbox<W> {
    fn over(wire: W) -> Self {
        Self {
            wire,
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
        let result = self.wire.send(port.open.socket.as_fd(), run);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::SocketAddr;

    use super::*;
    use crate::doorbell::Doorbell;
    use crate::udp::{SocketSpec, Sockets, Turn, Unreachable};
    use trunkline_engine::datagram::RxBatch;

    /// Takes as many as the script says, or fails as it says; takes all when it is over.
    #[derive(Default)]
    struct Script {
        steps: VecDeque<Result<usize, i32>>,
        /// Ports of what was taken.
        taken: Vec<u16>,
        calls: usize,
    }

    impl Wire for Script {
        fn send<'a>(
            &mut self,
            _: BorrowedFd<'_>,
            messages: impl Iterator<Item = Outgoing<'a>>,
        ) -> io::Result<usize> {
            self.calls += 1;
            let ports: Vec<u16> = messages.map(|message| message.to.port()).collect();
            let step = self.steps.pop_front().unwrap_or(Ok(usize::MAX));
            let count = step.map_err(io::Error::from_raw_os_error)?.min(ports.len());
            self.taken.extend(&ports[..count]);
            Ok(count)
        }
    }

    /// Wants one datagram per (socket, port), and again what comes back.
    #[derive(Default)]
    struct Wants {
        mail: VecDeque<(u16, u16)>,
        unsent: Vec<(u64, SendFailure)>,
    }

    impl Machine for Wants {
        fn receive(&mut self, _: Time, _: &RxBatch) {}

        fn turn(&mut self, _: Time) -> Turn {
            Turn::Continue
        }

        fn fill(&mut self, _: Time, tx: &mut TxBatch) {
            while !tx.is_full() {
                let Some((socket, port)) = self.mail.pop_front() else {
                    return;
                };
                tx.commit(TxMeta {
                    to: SocketAddr::from(([127, 0, 0, 1], port)),
                    from: None,
                    socket,
                    range: 0..1,
                    token: u64::from(port),
                });
            }
        }

        fn next_wakeup(&self) -> Option<Time> {
            None
        }

        fn unsent(&mut self, _: Time, token: u64, _: SocketAddr, error: SendFailure) {
            self.unsent.push((token, error));
        }

        fn unreachable(&mut self, _: Time, _: SocketAddr, _: Unreachable) {}

        fn overflow(&mut self, _: u16, _: u32) {}
    }

    struct Bench {
        outbox: Outbox<Script>,
        machine: Wants,
        ports: Vec<Port>,
        errors: Errors,
        poll: Poll,
        stats: DriverStats,
    }

    impl Bench {
        fn new(mail: &[(u16, u16)], steps: &[Result<usize, i32>]) -> Self {
            let spec = SocketSpec::new(SocketAddr::from(([127, 0, 0, 1], 0)));
            let sockets = Sockets::open(&[spec.clone(), spec]).unwrap();
            let poll = Poll::new(Doorbell::new().unwrap()).unwrap();
            for (index, open) in (0..).zip(&sockets.open) {
                poll.add(index, &open.socket).unwrap();
            }
            let script = Script {
                steps: steps.iter().copied().collect(),
                ..Script::default()
            };
            Self {
                outbox: Outbox::over(script),
                machine: Wants {
                    mail: mail.iter().copied().collect(),
                    ..Wants::default()
                },
                stats: DriverStats::new(&sockets),
                ports: sockets.open.into_iter().map(Port::new).collect(),
                errors: Errors::new(),
                poll,
            }
        }

        fn with<T>(
            &mut self,
            millis: u64,
            work: impl FnOnce(&mut Outbox<Script>, &mut Context<'_, Wants>) -> T,
        ) -> T {
            let mut context = Context {
                now: Time::from_millis(millis),
                machine: &mut self.machine,
                ports: &mut self.ports,
                errors: &mut self.errors,
                poll: &self.poll,
                stats: &self.stats,
            };
            work(&mut self.outbox, &mut context)
        }

        fn transmit(&mut self, millis: u64) -> bool {
            self.with(millis, |outbox, context| {
                outbox.transmit(4, context).unwrap()
            })
        }

        fn taken(&self) -> &[u16] {
            &self.outbox.wire.taken
        }
    }

    const SIX: [(u16, u16); 6] = [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6)];

    #[test]
    fn a_short_count_goes_on_at_the_first_unsent() {
        let mut bench = Bench::new(&SIX, &[Ok(2), Ok(1), Ok(3)]);
        assert!(!bench.transmit(0));
        assert_eq!(bench.taken(), [1, 2, 3, 4, 5, 6]);
        assert_eq!((bench.stats.sent(), bench.stats.short_sends()), (6, 2));
    }

    #[test]
    fn an_error_counts_against_a_datagram_only_the_second_time() {
        let refused = Err(libc::ECONNREFUSED);
        let mut bench = Bench::new(&SIX, &[refused, Ok(2), Err(libc::EMSGSIZE), refused]);
        bench.transmit(0);
        assert_eq!(bench.taken(), [1, 2, 4, 5, 6]);
        let failure = SendFailure::Other(libc::ECONNREFUSED);
        assert_eq!(bench.machine.unsent, [(3, failure)]);
    }

    #[test]
    fn a_full_socket_waits_for_room_and_holds_only_its_own() {
        let mail = [(0, 1), (0, 2), (1, 11), (1, 12)];
        let mut bench = Bench::new(&mail, &[Ok(1), Err(libc::EAGAIN)]);
        assert!(!bench.transmit(0), "nothing to do before there is room");
        assert_eq!(bench.taken(), [1, 11, 12]);
        let give_up = Time::ZERO + SendFailure::BLOCKED_MAX;
        assert_eq!(bench.ports[0].next_wakeup(), Some(give_up));
        assert!(!bench.transmit(100));
        assert_eq!(bench.outbox.wire.calls, 3, "a blocked socket was tried");
        bench.with(101, |outbox, context| outbox.writable(0, context).unwrap());
        bench.transmit(101);
        assert_eq!(
            (bench.taken(), bench.stats.blocked()),
            ([1, 11, 12, 2].as_slice(), 1)
        );
        assert_eq!(bench.ports[0].next_wakeup(), None);
    }

    #[test]
    fn a_socket_full_for_too_long_gives_back_and_no_longer_holds_the_others_up() {
        let full = Err(libc::EAGAIN);
        let mut bench = Bench::new(&[(0, 1), (1, 11)], &[full]);
        bench.transmit(0);
        bench.transmit(249);
        assert_eq!(bench.machine.unsent, []);
        bench.transmit(250);
        assert_eq!(bench.machine.unsent, [(1, SendFailure::Blocked)]);
        bench.machine.mail = [(0, 2), (1, 12)].into();
        bench.outbox.wire.steps = [full].into();
        bench.transmit(251);
        assert_eq!(
            bench.machine.unsent.last(),
            Some(&(2, SendFailure::Blocked))
        );
        assert_eq!(bench.taken(), [11, 12]);
        bench.machine.mail = [(0, 3)].into();
        bench.transmit(252);
        bench.machine.mail = [(0, 4)].into();
        bench.outbox.wire.steps = [full].into();
        bench.transmit(253);
        assert_eq!(
            bench.machine.unsent.len(),
            2,
            "it took one, so it may wait again"
        );
    }

    #[test]
    fn a_full_interface_is_tried_again_after_a_pause() {
        let mut bench = Bench::new(&SIX, &[Ok(1), Err(libc::ENOBUFS)]);
        bench.transmit(10);
        assert_eq!(bench.ports[0].next_wakeup(), Some(Time::from_millis(11)));
        bench.transmit(10);
        assert_eq!(bench.taken(), [1]);
        bench.transmit(11);
        assert_eq!(bench.taken(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn full_batches_are_asked_for_again_up_to_the_bound() {
        let mail: Vec<(u16, u16)> = (0..300).map(|port| (0, port)).collect();
        let mut bench = Bench::new(&mail, &[]);
        assert!(bench.transmit(0), "four rounds of 64, and more to come");
        assert_eq!(bench.taken().len(), 256);
        assert!(!bench.transmit(0));
        assert_eq!(bench.taken().len(), 300);
    }
}
