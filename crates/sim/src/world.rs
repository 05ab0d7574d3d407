//! A world in virtual time: one client machine, many peer machines, a network between them.
//!
//! The problem: timeouts, retries and breakers span minutes and depend on luck; tested in real
//! time they are slow, and no failure can be repeated. The rule: [`World::step`] jumps to the
//! earliest moment at which anybody wants to act, hands over what arrived, lets the client speak,
//! and then checks every invariant. All chance follows from one seed, which every failure names.
//!
//! Edge cases: a datagram to a closed port on a living host comes back as port unreachable, over
//! the same bad network; a killed host says nothing; a machine that asks to be woken again and
//! again at the same instant is a failure, not an endless loop. An *exchange* is one datagram of
//! the client and everything that it causes; [`Exchanges`] counts those that the network broke,
//! which is how many retransmissions a patient client needs in theory.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use trunkline_engine::datagram::{RX_SLOT_BYTES, RxBatch, TxBatch};
use trunkline_engine::time::Time;

mod wire;

use self::wire::{Event, UNREACHABLE, Wire};
use crate::netem::{Delivery, Netem};

/// Datagrams that the client receives or sends in one call.
pub const BATCH: usize = 64;
/// Steps that may pass without time passing before a world counts as stuck.
pub const STEPS_PER_INSTANT_MAX: u32 = 100_000;
/// Peers that a world may hold.
pub const PEERS_MAX: usize = 1 << 20;

/// The machine under test.
pub trait Client {
    /// Takes datagrams that arrived.
    fn receive(&mut self, now: Time, rx: &RxBatch);
    /// Runs timers and commands that are due.
    fn turn(&mut self, now: Time);
    /// Encodes datagrams to send; called again while it fills the whole batch.
    fn fill(&mut self, now: Time, tx: &mut TxBatch);
    /// When it wants its next turn; now or earlier means at once.
    fn next_wakeup(&self) -> Option<Time>;
    /// Learns that nobody listens at `peer`, as ICMP port unreachable tells.
    fn unreachable(&mut self, _now: Time, _peer: SocketAddr) {}
}

/// A datagram that a peer sends.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The address that it claims to come from; need not be the one that was asked.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The payload.
    pub bytes: &'a [u8],
}

/// A simulated peer, or many behind one object.
pub trait Peer {
    /// Takes a datagram sent from `from` to `to`; answers go to `out`.
    fn handle(
        &mut self,
        now: Time,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        out: &mut dyn FnMut(Reply<'_>),
    );
    /// Sends what has become due by `now`.
    fn wake(&mut self, _now: Time, _out: &mut dyn FnMut(Reply<'_>)) {}
    /// When it wants [`Self::wake`].
    fn next_wakeup(&self) -> Option<Time> {
        None
    }
    /// Whether anybody listens at `to`, one of its own addresses; if not, senders are told that
    /// the port is unreachable.
    fn listens(&self, _to: SocketAddr) -> bool {
        true
    }
    /// Has come back to life after [`World::kill`].
    fn restarted(&mut self, _now: Time) {}
}

impl<P: Peer + ?Sized> Peer for Box<P> {
    fn handle(
        &mut self,
        now: Time,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        out: &mut dyn FnMut(Reply<'_>),
    ) {
        (**self).handle(now, from, to, bytes, out);
    }

    fn wake(&mut self, now: Time, out: &mut dyn FnMut(Reply<'_>)) {
        (**self).wake(now, out);
    }

    fn next_wakeup(&self) -> Option<Time> {
        (**self).next_wakeup()
    }

    fn listens(&self, to: SocketAddr) -> bool {
        (**self).listens(to)
    }

    fn restarted(&mut self, now: Time) {
        (**self).restarted(now);
    }
}

/// The addresses that a peer answers on: one port on a run of consecutive addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The first address.
    pub first: IpAddr,
    /// The last address, included.
    pub last: IpAddr,
    /// The port.
    pub port: u16,
}

impl Home {
    /// One address.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            first: address.ip(),
            last: address.ip(),
            port: address.port(),
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

/// A peer's number in its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(usize);

/// How a peer is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The host is gone: silence.
    Silent,
    /// The host lives, the process does not: port unreachable.
    Closed,
}

/// How the client's datagrams fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanges {
    /// Datagrams that the client sent.
    pub started: u64,
    /// Exchanges in which something came back.
    pub answered: u64,
    /// Exchanges that the network broke: a datagram was dropped, so nothing came back.
    pub broken: u64,
    /// Exchanges that met a silent peer, or one that answers later on its own.
    pub unanswered: u64,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time is now this.
    Ran(Time),
    /// Nobody wants to act any more.
    Idle,
}

/// Why [`World::run_until`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The condition holds.
    Condition,
    /// The deadline came first; time is now the deadline.
    Deadline,
    /// Nobody wants to act any more; time is now the deadline.
    Idle,
}

/// An invariant broke, or the world is stuck. Its text names the seed that repeats it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("world with seed {seed}, step {step}, {} ns: {what}{}", .at.as_nanos(), events(.recent))]
pub struct Failure {
    /// The seed of the world.
    pub seed: u64,
    /// When.
    pub at: Time,
    /// After how many steps.
    pub step: u64,
    /// What broke.
    pub what: String,
    /// The last things that happened before, oldest first.
    pub recent: Vec<String>,
}

impl fmt::Debug for Failure {
    // A test that unwraps a failure prints its `Debug`: it has to name the seed legibly too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn events(recent: &[String]) -> String {
    let lines = recent.iter().map(|line| format!("\n  {line}"));
    lines.collect()
}

type Action<C, P> = Box<dyn FnOnce(&mut World<C, P>)>;
type Invariant<C, P> = Box<dyn FnMut(&World<C, P>) -> Result<(), String>>;

/// The world: a clock, a client, peers and what lies between them.
pub struct World<C, P> {
    now: Time,
    client: C,
    sockets: Vec<SocketAddr>,
    peers: Vec<Inhabitant<P>>,
    homes: BTreeMap<(u16, IpAddr), usize>,
    wire: Wire,
    script: BTreeMap<(Time, u64), Action<C, P>>,
    scripted: u64,
    invariants: Vec<Invariant<C, P>>,
    rx: RxBatch,
    tx: TxBatch,
    arrivals: Vec<Delivery>,
    steps: u64,
    steps_this_instant: u32,
}

impl<C: fmt::Debug, P> fmt::Debug for World<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.wire.seed)
            .field("now", &self.now)
            .field("steps", &self.steps)
            .field("peers", &self.peers.len())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

struct Inhabitant<P> {
    peer: P,
    home: Home,
    death: Option<Death>,
}

impl<C: Client, P: Peer> World<C, P> {
    /// A world at time zero whose network is perfect. The client's datagrams come from `sockets`,
    /// by the socket number that it names.
    ///
    /// # Panics
    /// Without a socket: the test's own mistake.
    pub fn new(seed: u64, client: C, sockets: &[SocketAddr]) -> Self {
        assert!(!sockets.is_empty(), "a client needs a socket");
        Self {
            now: Time::ZERO,
            client,
            sockets: sockets.to_vec(),
            peers: Vec::new(),
            homes: BTreeMap::new(),
            wire: Wire::new(seed),
            script: BTreeMap::new(),
            scripted: 0,
            invariants: Vec::new(),
            rx: RxBatch::with_slot_bytes(BATCH, RX_SLOT_BYTES),
            tx: TxBatch::with_slot_bytes(BATCH, RX_SLOT_BYTES),
            arrivals: Vec::new(),
            steps: 0,
            steps_this_instant: 0,
        }
    }

    /// Adds a peer that answers at `home`. Homes on one port must not overlap.
    ///
    /// # Panics
    /// When `home` overlaps another one or the world is full: the test's own mistake.
    pub fn add(&mut self, home: Home, peer: P) -> PeerId {
        assert!(self.peers.len() < PEERS_MAX, "the world is full");
        let free = self
            .resident(SocketAddr::new(home.last, home.port))
            .is_none();
        let next = self
            .homes
            .range((home.port, home.first)..=(home.port, home.last))
            .next();
        assert!(free && next.is_none(), "{home:?} is taken");
        let id = self.peers.len();
        self.homes.insert((home.port, home.first), id);
        self.peers.push(Inhabitant {
            peer,
            home,
            death: None,
        });
        PeerId(id)
    }

    /// Does `action` at `at`, before anything else that happens then.
    pub fn at(&mut self, at: Time, action: impl FnOnce(&mut Self) + 'static) {
        self.scripted += 1;
        self.script.insert((at, self.scripted), Box::new(action));
    }

    /// Checks `invariant` after every step; its error becomes the [`Failure`]'s text.
    pub fn always(&mut self, invariant: impl FnMut(&Self) -> Result<(), String> + 'static) {
        self.invariants.push(Box::new(invariant));
    }

    /// Kills a peer; what is on its way to it is lost to it.
    pub fn kill(&mut self, peer: PeerId, death: Death) {
        self.peers[peer.0].death = Some(death);
    }

    /// Brings a killed peer back; no effect on a living one.
    pub fn restart(&mut self, peer: PeerId) {
        let inhabitant = &mut self.peers[peer.0];
        if inhabitant.death.take().is_some() {
            inhabitant.peer.restarted(self.now);
        }
    }

    /// Runs everything that happens at the next moment at which anything does.
    ///
    /// # Errors
    /// When an invariant breaks, or when time stands still.
    pub fn step(&mut self) -> Result<Step, Failure> {
        let Some(next) = self.next_wakeup() else {
            return Ok(Step::Idle);
        };
        self.steps += 1;
        if next > self.now {
            self.now = next;
            self.steps_this_instant = 0;
        }
        self.steps_this_instant += 1;
        if self.steps_this_instant > STEPS_PER_INSTANT_MAX {
            return Err(self.failure("time stands still: somebody always wants to act".into()));
        }
        self.run_script();
        self.carry();
        self.wake_peers();
        self.client.turn(self.now);
        self.send_all();
        self.check()?;
        Ok(Step::Ran(self.now))
    }

    /// Steps until `condition` holds, checked before the first step and after each, but not past
    /// `deadline`.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn run_until(
        &mut self,
        deadline: Time,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<Reached, Failure> {
        loop {
            if condition(self) {
                return Ok(Reached::Condition);
            }
            let reached = match self.next_wakeup() {
                None => Reached::Idle,
                Some(next) if next > deadline => Reached::Deadline,
                Some(_) => {
                    self.step()?;
                    continue;
                }
            };
            self.now = self.now.max(deadline);
            self.steps_this_instant = 0;
            return Ok(reached);
        }
    }

    /// Fails with `what`, as an invariant does: for checks at the end of a test, so that they name
    /// the seed too.
    pub fn failure(&self, what: String) -> Failure {
        Failure {
            seed: self.wire.seed,
            at: self.now,
            step: self.steps,
            what,
            recent: self.wire.recent.iter().map(Event::to_string).collect(),
        }
    }

    /// When anybody next wants to act.
    pub fn next_wakeup(&self) -> Option<Time> {
        let script = self.script.keys().next().map(|(at, _)| *at);
        let alive = self.peers.iter().filter(|peer| peer.death.is_none());
        alive
            .filter_map(|inhabitant| inhabitant.peer.next_wakeup())
            .chain(self.client.next_wakeup())
            .chain(self.wire.netem.next_wakeup())
            .chain(script)
            .min()
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many steps were run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The client.
    pub fn client(&self) -> &C {
        &self.client
    }

    /// The client, to give it commands between steps.
    pub fn client_mut(&mut self) -> &mut C {
        &mut self.client
    }

    /// A peer.
    pub fn peer(&self, peer: PeerId) -> &P {
        &self.peers[peer.0].peer
    }

    /// A peer, to change its mind between steps.
    pub fn peer_mut(&mut self, peer: PeerId) -> &mut P {
        &mut self.peers[peer.0].peer
    }

    /// The network.
    pub fn netem(&self) -> &Netem {
        &self.wire.netem
    }

    /// The network, to make it worse.
    pub fn netem_mut(&mut self) -> &mut Netem {
        &mut self.wire.netem
    }

    /// How the client's datagrams fared.
    pub fn exchanges(&self) -> Exchanges {
        self.wire.exchanges
    }

    /// A digest of everything that was sent so far, with times and fates: equal seeds give equal
    /// digests.
    pub fn digest(&self) -> u64 {
        self.wire.digest
    }

    /// The peer whose home holds `address`, dead or alive.
    fn resident(&self, address: SocketAddr) -> Option<usize> {
        let up_to = (address.port(), address.ip());
        let (key, id) = self.homes.range(..=up_to).next_back()?;
        (key.0 == address.port() && self.peers[*id].home.holds(address.ip())).then_some(*id)
    }

    fn run_script(&mut self) {
        while let Some(entry) = self.script.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let action = entry.remove();
            action(self);
        }
    }

    /// Hands over what has arrived: to the peers one by one, to the client in batches.
    fn carry(&mut self) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.wire.netem.deliver(self.now, &mut arrivals);
        for delivery in arrivals.drain(..) {
            let socket = self.sockets.iter().position(|own| *own == delivery.to);
            match socket {
                Some(socket) => self.hand_to_client(socket, &delivery),
                None => self.hand_to_peer(&delivery),
            }
        }
        self.arrivals = arrivals;
        self.flush_received();
    }

    fn hand_to_client(&mut self, socket: usize, delivery: &Delivery) {
        self.wire.answered(delivery.tag & !UNREACHABLE);
        if delivery.tag & UNREACHABLE != 0 {
            self.flush_received();
            self.client.unreachable(self.now, delivery.from);
            return;
        }
        if self.rx.len() == self.rx.capacity() {
            self.flush_received();
        }
        let socket = u16::try_from(socket).unwrap_or(u16::MAX);
        let to = Some(delivery.to.ip());
        // A UDP payload always fits its slot, and the batch was just made to have room.
        let _taken = self.rx.push(delivery.from, to, socket, &delivery.bytes);
        debug_assert!(_taken);
    }

    fn flush_received(&mut self) {
        if !self.rx.is_empty() {
            self.client.receive(self.now, &self.rx);
            self.rx.clear();
        }
    }

    fn hand_to_peer(&mut self, delivery: &Delivery) {
        let (now, tag) = (self.now, delivery.tag);
        let dead = |peer: &Inhabitant<P>| {
            peer.death
                .or_else(|| (!peer.peer.listens(delivery.to)).then_some(Death::Closed))
        };
        let death = match self.resident(delivery.to) {
            Some(id) => dead(&self.peers[id]).map_or(Ok(id), Err),
            None if self.host_lives(delivery.to.ip()) => Err(Death::Closed),
            None => Err(Death::Silent),
        };
        let wire = &mut self.wire;
        match death {
            Ok(id) => {
                let peer = &mut self.peers[id].peer;
                peer.handle(
                    now,
                    delivery.from,
                    delivery.to,
                    &delivery.bytes,
                    &mut |reply| {
                        wire.reply(now, reply, tag);
                    },
                );
            }
            Err(Death::Closed) => wire.refuse(now, delivery),
            Err(Death::Silent) => {}
        }
        wire.arrived(tag);
    }

    fn host_lives(&self, address: IpAddr) -> bool {
        let mut homes = self.peers.iter();
        homes.any(|peer| peer.home.holds(address) && peer.death != Some(Death::Silent))
    }

    fn wake_peers(&mut self) {
        let (now, wire) = (self.now, &mut self.wire);
        for inhabitant in &mut self.peers {
            let due = inhabitant.peer.next_wakeup().is_some_and(|at| at <= now);
            if due && inhabitant.death.is_none() {
                inhabitant
                    .peer
                    .wake(now, &mut |reply| wire.reply(now, reply, 0));
            }
        }
    }

    fn send_all(&mut self) {
        // A client that fills every batch is cut off after a while; it asks to be woken at once
        // if it has more, and a world in which it always has more is caught as stuck.
        for _ in 0..1024 {
            self.tx.clear();
            self.client.fill(self.now, &mut self.tx);
            for (meta, bytes) in self.tx.iter() {
                let socket = self.sockets.get(usize::from(meta.socket));
                let mut from = *socket.unwrap_or(&self.sockets[0]);
                if let Some(ip) = meta.from {
                    from.set_ip(ip);
                }
                self.wire.ask(self.now, from, meta.to, bytes);
            }
            if !self.tx.is_full() {
                return;
            }
        }
    }

    fn check(&mut self) -> Result<(), Failure> {
        let mut invariants = std::mem::take(&mut self.invariants);
        let verdict = invariants.iter_mut().try_for_each(|holds| holds(self));
        // Invariants added by an action in between come after those that were there.
        invariants.append(&mut self.invariants);
        self.invariants = invariants;
        verdict.map_err(|what| self.failure(what))
    }
}
