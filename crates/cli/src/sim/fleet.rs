//! A fleet of simulated agents on one real socket.
//!
//! [`Fleet`] answers a batch as it arrives; the driver sends in batches of its own. Between the two
//! stand a few batches of answers, bounded: when the network takes nothing, further requests stay
//! unanswered and are counted as such by the fleet. The socket is bound to every local address and
//! told apart by destination, so thousands of 127/8 addresses need no configuration, and each
//! answer leaves from the address that was asked.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::time::Time;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::doorbell::Doorbell;
use trunkline_runtime::udp::{
    BATCH_SLOTS, Driver, DriverStats, Machine, OpenError, SendFailure, SocketSpec, Sockets, Turn,
    Unreachable,
};
use trunkline_sim::snmp::{Fleet, FleetCounters, FleetError, FleetSpec};

/// Slots of one batch of answers: every request may be answered twice.
const ANSWER_SLOTS: usize = 2 * BATCH_SLOTS;
/// Batches of answers that wait to be sent.
const BATCHES_MAX: usize = 64;
/// Buffers asked for in each direction, in bytes; what is granted is in the driver's figures.
const BUFFER_BYTES: usize = 16 << 20;

/// Why the agents do not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServeError {
    /// The fleet's specification.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The socket.
    #[error("{0}; another process may use the port: choose one with --port")]
    Open(#[from] OpenError),
    /// A thread or a descriptor.
    #[error("serving the agents: {0}")]
    Io(#[from] io::Error),
}

/// Agents that answer on a thread of their own.
#[derive(Debug)]
pub(crate) struct Server {
    thread: JoinHandle<io::Result<FleetMachine>>,
    stop: Arc<AtomicBool>,
    bell: Doorbell,
    stats: Arc<DriverStats>,
    first: SocketAddr,
    last: SocketAddr,
}

/// What the agents did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// The fleet's books.
    pub(crate) counters: FleetCounters,
    /// Requests that were lost because the socket's queue was full.
    pub(crate) overflow: u64,
    /// Answers that this machine could not send.
    pub(crate) unsent: u64,
}

impl Server {
    /// Makes the agents and serves them; port 0 lets the kernel choose one.
    ///
    /// # Errors
    /// What could not be had.
    pub(crate) fn start(mut spec: FleetSpec) -> Result<Self, ServeError> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, spec.port));
        let socket = SocketSpec {
            rcvbuf: BUFFER_BYTES,
            sndbuf: BUFFER_BYTES,
            pktinfo: true,
            ..SocketSpec::new(any)
        };
        let sockets = Sockets::open(&[socket])?;
        spec.port = sockets.local_addr(0).map_or(spec.port, |addr| addr.port());
        let fleet = Fleet::new(spec)?;
        let (first, last) = (fleet.address(0), fleet.address(fleet.count() - 1));
        let (stop, bell) = (Arc::<AtomicBool>::default(), Doorbell::new()?);
        let machine = FleetMachine::new(fleet, stop.clone());
        let driver = Driver::new(Clock::start(), sockets, machine, bell.clone())?;
        let stats = driver.stats();
        let thread = std::thread::Builder::new().name("agents".to_owned());
        let thread = thread.spawn(move || driver.run())?;
        Ok(Self {
            thread,
            stop,
            bell,
            stats,
            first,
            last,
        })
    }

    /// The first agent's address.
    pub(crate) const fn first(&self) -> SocketAddr {
        self.first
    }

    /// The last agent's address.
    pub(crate) const fn last(&self) -> SocketAddr {
        self.last
    }

    /// Whether the agents have stopped by themselves, which is an error.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops the agents.
    ///
    /// # Errors
    /// Why they had stopped before.
    pub(crate) fn stop(self) -> Result<Served, ServeError> {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        let died = |_| io::Error::other("the agents' thread panicked");
        let machine = self.thread.join().map_err(died)??;
        let overflow = self.stats.sockets().iter();
        Ok(Served {
            counters: machine.fleet.counters(),
            overflow: overflow.map(|socket| u64::from(socket.overflow())).sum(),
            unsent: self.stats.unsent(),
        })
    }
}

/// The fleet as the driver sees it.
#[derive(Debug)]
struct FleetMachine {
    fleet: Fleet,
    answers: VecDeque<TxBatch>,
    /// Answers of the first batch that have left.
    sent: usize,
    spare: Vec<TxBatch>,
    stop: Arc<AtomicBool>,
}

impl FleetMachine {
    fn new(fleet: Fleet, stop: Arc<AtomicBool>) -> Self {
        Self {
            fleet,
            answers: VecDeque::new(),
            sent: 0,
            spare: Vec::new(),
            stop,
        }
    }

    /// An empty batch; one without slots when there are as many as there may be.
    fn batch(&mut self) -> TxBatch {
        if self.answers.len() >= BATCHES_MAX {
            return TxBatch::new(0);
        }
        let spare = self.spare.pop();
        spare.unwrap_or_else(|| TxBatch::new(ANSWER_SLOTS))
    }
}

impl Machine for FleetMachine {
    fn receive(&mut self, now: Time, rx: &RxBatch) {
        let mut batch = self.batch();
        self.fleet.handle_batch(now, rx, &mut batch);
        if !batch.is_empty() {
            self.answers.push_back(batch);
        } else if batch.capacity() > 0 {
            self.spare.push(batch);
        }
    }

    fn turn(&mut self, _now: Time) -> Turn {
        if self.stop.load(Ordering::Acquire) {
            Turn::Stop
        } else {
            Turn::Continue
        }
    }

    fn fill(&mut self, now: Time, tx: &mut TxBatch) {
        while let Some(batch) = self.answers.front() {
            for (meta, bytes) in batch.iter().skip(self.sent) {
                if tx.is_full() {
                    return;
                }
                tx.push(meta.to, meta.from, meta.socket, bytes);
                self.sent += 1;
            }
            self.sent = 0;
            if let Some(mut batch) = self.answers.pop_front() {
                batch.clear();
                self.spare.push(batch);
            }
        }
        self.fleet.flush(now, tx);
    }

    fn next_wakeup(&self) -> Option<Time> {
        if self.answers.is_empty() {
            self.fleet.next_wakeup()
        } else {
            Some(Time::ZERO)
        }
    }

    /// The driver counts it; to the client it is a lost answer.
    fn unsent(&mut self, _now: Time, _token: u64, _to: SocketAddr, _error: SendFailure) {}

    /// A client that has closed its socket no longer wants its answers.
    fn unreachable(&mut self, _now: Time, _peer: SocketAddr, _kind: Unreachable) {}

    /// In the driver's figures.
    fn overflow(&mut self, _socket: u16, _dropped_total: u32) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_sim::snmp::{FaultPlan, models};
    use trunkline_wire_snmp::{Oid, PduKind, Value, Version, encode};

    fn fleet(count: u32, faults: &str) -> Fleet {
        let mib = models::minimal().build().unwrap();
        let mut spec = FleetSpec::new(Arc::new(mib), count);
        spec.faults = faults.parse::<FaultPlan>().unwrap();
        Fleet::new(spec).unwrap()
    }

    fn requests(fleet: &Fleet, count: usize) -> RxBatch {
        let mut rx = RxBatch::with_slot_bytes(count, 256);
        let row = (Oid::from_static(&[0x2b, 6, 1, 2, 1, 1, 3, 0]), Value::Null);
        for n in 0..count {
            let mut slot = [0; 256];
            let id = i32::try_from(n).unwrap() + 1;
            let get = PduKind::Get;
            let rows = std::iter::once(row);
            let range = encode(&mut slot, Version::V2c, b"public", get, id, 0, 0, rows).unwrap();
            let to = fleet.address(0).ip();
            rx.push("127.0.0.1:9".parse().unwrap(), Some(to), 0, &slot[range]);
        }
        rx
    }

    #[test]
    fn answers_that_do_not_fit_one_batch_follow_in_the_next() {
        let fleet = fleet(1, "duplicate=100%");
        let rx = requests(&fleet, BATCH_SLOTS);
        let mut machine = FleetMachine::new(fleet, Arc::default());
        machine.receive(Time::ZERO, &rx);
        assert_eq!(machine.next_wakeup(), Some(Time::ZERO));
        let mut tx = TxBatch::new(BATCH_SLOTS);
        for _ in 0..2 {
            tx.clear();
            machine.fill(Time::ZERO, &mut tx);
            assert_eq!(tx.len(), BATCH_SLOTS);
        }
        tx.clear();
        machine.fill(Time::ZERO, &mut tx);
        assert!(tx.is_empty());
        assert_eq!(machine.next_wakeup(), None);
        let counters = machine.fleet.counters();
        assert_eq!(counters.replied, BATCH_SLOTS as u64);
        assert_eq!(counters.duplicated, BATCH_SLOTS as u64);
    }

    #[test]
    fn a_network_that_takes_nothing_bounds_the_answers_that_wait() {
        let fleet = fleet(1, "");
        let rx = requests(&fleet, BATCH_SLOTS);
        let mut machine = FleetMachine::new(fleet, Arc::default());
        for _ in 0..BATCHES_MAX + 3 {
            machine.receive(Time::ZERO, &rx);
        }
        assert_eq!(machine.answers.len(), BATCHES_MAX);
        let counters = machine.fleet.counters();
        let dropped = counters.silent_by(trunkline_sim::snmp::Silence::NoRoom);
        assert_eq!(dropped, 3 * BATCH_SLOTS as u64);
        assert_eq!(
            counters.received,
            counters.replied + counters.silent_total()
        );
    }
}
