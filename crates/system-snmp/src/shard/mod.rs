//! A shard: the state machine that owns a share of the targets.
//!
//! It is sans-IO and single-threaded: commands and datagrams go in, datagrams and completions come
//! out, the time is an argument, and a test drives it through the same calls as the socket driver.
//! Every job sits in one table, keyed by the request id of its open question; an id is believed
//! only together with the source, the version and the community that belong to it.

mod command;
mod end;
mod figures;
mod receive;
mod send;

pub(crate) use command::{Command, NewTarget};
pub use figures::{BadDatagram, BreakerEvent, ShardFigures, ShardStats};

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use trunkline_engine::budget::{Budget, BudgetPolicy};
use trunkline_engine::correlate::Correlator;
use trunkline_engine::guard::Guard;
use trunkline_engine::ledger::{Balance, DropReason, Outcome, Sheet, SheetReader};
use trunkline_engine::rng::{Rng, mix64};
use trunkline_engine::time::Time;
use trunkline_engine::wheel::Wheel;

use crate::completion::Done;
use crate::job::Job;
use crate::target::Target;

/// A way out: the engines that share a guard, and their sockets.
#[derive(Clone, Debug)]
pub struct Egress {
    /// Picks an engine and admits attempts.
    pub guard: Guard,
    /// The driver's sockets of each engine, by the router's member number.
    pub sockets: Vec<EngineSockets>,
}

/// The driver's sockets of one engine, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct EngineSockets {
    /// For IPv4 targets.
    pub v4: Vec<u16>,
    /// For IPv6 targets.
    pub v6: Vec<u16>,
}

impl EngineSockets {
    fn of(&self, addr: SocketAddr) -> &[u16] {
        if addr.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

/// How datagrams are gathered before they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// The most datagrams that one system call is given; 1 to 64.
    pub max: usize,
    /// How long the first of a batch waits for others. Zero, the default, sends what is ready: a
    /// batch then forms from what came while the last one was sent, and an idle shard adds no
    /// delay.
    pub linger: Duration,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        Self {
            max: 64,
            linger: Duration::ZERO,
        }
    }
}

/// What a shard is made of.
#[derive(Debug)]
pub struct ShardSetup {
    /// Its number.
    pub index: u16,
    /// The most jobs that it holds, in queues and on the wire.
    pub jobs_max: usize,
    /// The most targets that it holds.
    pub targets_max: usize,
    /// The key of its request ids, from the operating system.
    pub key: u64,
    /// Seed of its dice.
    pub seed: u64,
    /// The ways out; the first is all engines.
    pub egress: Vec<Egress>,
    /// How datagrams are gathered.
    pub batch: BatchPolicy,
    /// How much of the traffic may be repetition.
    pub budget: BudgetPolicy,
    /// Counters that others read.
    pub stats: Arc<ShardStats>,
}

/// A shard.
#[derive(Debug)]
pub struct Shard {
    setup: ShardSetup,
    targets: Vec<Option<Target>>,
    by_addr: HashMap<SocketAddr, Vec<u32>>,
    jobs: Correlator<Job>,
    on_wire: usize,
    cancels: HashMap<u64, u32, BuildHasherDefault<OwnKey>>,
    ready: VecDeque<u32>,
    /// Since when a batch that is not full is gathered.
    gathering: Option<Time>,
    wheel: Wheel,
    fired: Vec<u64>,
    budget: Budget,
    rng: Rng,
    sheet: Sheet,
    done: Done,
    draining: bool,
    published: Time,
    dirty: bool,
}

/// Granularity of a shard's timers: fine against the smallest timeout, coarse against a turn.
const TICK: Duration = Duration::from_millis(1);

/// How stale published books may be.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

impl Shard {
    /// An empty shard.
    pub fn new(setup: ShardSetup, now: Time) -> Self {
        Self {
            targets: Vec::new(),
            by_addr: HashMap::new(),
            jobs: Correlator::new(setup.jobs_max, setup.key),
            on_wire: 0,
            cancels: HashMap::default(),
            ready: VecDeque::new(),
            gathering: None,
            wheel: Wheel::new(now, TICK),
            fired: Vec::new(),
            budget: Budget::new(&setup.budget, now),
            rng: Rng::seeded(setup.seed),
            sheet: Sheet::new(),
            done: Done::default(),
            draining: false,
            published: now,
            dirty: true,
            setup,
        }
    }

    /// Takes over the books of a predecessor that died; what it still held has lost its owner.
    pub fn carry(&mut self, last: &Balance) {
        let (sheet, ticket) = Sheet::carry(last);
        self.sheet = sheet;
        self.sheet
            .end(ticket, Outcome::Dropped(DropReason::OwnerLost));
        self.sheet.publish(0);
    }

    /// The published books.
    pub fn sheet(&self) -> SheetReader {
        self.sheet.reader()
    }

    /// Jobs that it holds.
    pub fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Runs the timers that are due and ends the turn's books.
    pub fn turn(&mut self, now: Time) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(now, &mut fired);
        for token in fired.drain(..) {
            self.on_timer(now, token);
        }
        self.fired = fired;
        if self.dirty && now.saturating_since(self.published) >= PUBLISH_EVERY {
            self.publish(now);
        }
    }

    /// Publishes the books and the levels.
    pub fn publish(&mut self, now: Time) {
        self.published = now;
        self.dirty = false;
        let in_flight = self.jobs.len();
        self.sheet.publish(in_flight as u64);
        self.setup
            .stats
            .levels(in_flight, self.on_wire, self.ready.len());
    }

    /// Delivers what the turn completed.
    pub fn flush(&mut self) {
        self.done.flush();
    }

    /// When it wants its next turn; `None` when only news can move it.
    pub fn next_wakeup(&self) -> Option<Time> {
        let publish = self.dirty.then(|| self.published + PUBLISH_EVERY);
        [self.wheel.next_wakeup(), publish]
            .into_iter()
            .flatten()
            .min()
    }

    /// When it wants to send what is ready; `None` when nothing is.
    pub fn next_send(&self) -> Option<Time> {
        if self.ready.is_empty() {
            return None;
        }
        let linger = self.setup.batch.linger;
        Some(self.gathering.map_or(Time::ZERO, |since| since + linger))
    }

    /// Whether the batch that is gathered goes now.
    fn goes(&mut self, now: Time) -> bool {
        let BatchPolicy { max, linger } = self.setup.batch;
        if linger.is_zero() || self.ready.len() >= max {
            self.gathering = None;
            return true;
        }
        let since = *self.gathering.get_or_insert(now);
        let goes = now >= since + linger;
        if goes {
            self.gathering = None;
        }
        goes
    }

    fn target(&mut self, slot: u32) -> Option<&mut Target> {
        self.targets.get_mut(slot as usize)?.as_mut()
    }
}

/// Hashes numbers that this process counted itself, so nobody can choose them to collide.
#[derive(Debug, Default)]
struct OwnKey(u64);

impl Hasher for OwnKey {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = mix64(self.0 ^ n);
    }
}

/// Timer tokens: a job's id, or a target's slot with this bit.
const TARGET_TIMER: u64 = 1 << 63;

impl Shard {
    fn on_timer(&mut self, now: Time, token: u64) {
        if token & TARGET_TIMER != 0 {
            self.unpace((token & !TARGET_TIMER) as u32);
        } else {
            self.on_job_timer(now, token as u32);
        }
    }
}

impl Drop for Shard {
    /// A shard that dies with jobs in hand closes its books over them; their callers are told by
    /// their reply addresses.
    fn drop(&mut self) {
        self.abandon_all();
    }
}
