//! What lies between the client and the peers of a world: the network and the books on it.
//!
//! An exchange opens with a datagram of the client and closes when no copy of it, nor of any reply
//! that it caused at once, is under way. A reply that a peer sends later on its own belongs to no
//! open exchange; when the network drops it, that counts as one more broken exchange.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use trunkline_engine::rng::mix64;
use trunkline_engine::time::Time;

use super::{Exchanges, Reply};
use crate::netem::{Delivery, Fate, Netem};

const RECENT_EVENTS: usize = 24;
/// The tag of a notice that a port is unreachable.
pub(super) const UNREACHABLE: u64 = 1 << 63;

/// The network and the books on it.
pub(super) struct Wire {
    pub(super) seed: u64,
    pub(super) netem: Netem,
    pub(super) exchanges: Exchanges,
    open: HashMap<u64, OpenExchange>,
    next_exchange: u64,
    pub(super) digest: u64,
    pub(super) recent: VecDeque<Event>,
}

#[derive(Default)]
struct OpenExchange {
    copies: u32,
    hit: bool,
    answered: bool,
}

impl Wire {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            netem: Netem::new(seed),
            exchanges: Exchanges::default(),
            open: HashMap::new(),
            next_exchange: 1,
            digest: seed,
            recent: VecDeque::with_capacity(RECENT_EVENTS),
        }
    }

    pub(super) fn ask(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let exchange = self.next_exchange;
        self.next_exchange += 1;
        self.exchanges.started += 1;
        self.open.insert(exchange, OpenExchange::default());
        self.send(now, from, to, bytes, exchange);
        self.settle(exchange);
    }

    pub(super) fn reply(&mut self, now: Time, reply: Reply<'_>, tag: u64) {
        self.send(now, reply.from, reply.to, reply.bytes, tag);
    }

    /// Sends word that nobody listens where `delivery` went, unless it was such word itself.
    pub(super) fn refuse(&mut self, now: Time, delivery: &Delivery) {
        if delivery.tag & UNREACHABLE == 0 {
            let tag = delivery.tag | UNREACHABLE;
            self.send(now, delivery.to, delivery.from, &[], tag);
        }
    }

    fn send(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8], tag: u64) {
        let fate = self.netem.send_tagged(now, from, to, bytes, tag);
        match (self.open.get_mut(&(tag & !UNREACHABLE)), fate) {
            (Some(open), Fate::Scheduled { copies, .. }) => open.copies += u32::from(copies),
            (Some(open), Fate::Dropped(_)) => open.hit = true,
            // A reply that a peer sent later on its own: its exchange is closed already.
            (None, Fate::Dropped(_)) => self.exchanges.broken += 1,
            (None, Fate::Scheduled { .. }) => {}
        }
        let event = Event {
            at: now,
            from,
            to,
            len: bytes.len(),
            fate,
            unreachable: tag & UNREACHABLE != 0,
        };
        self.digest = event.fold(self.digest, bytes);
        if self.recent.len() == RECENT_EVENTS {
            self.recent.pop_front();
        }
        self.recent.push_back(event);
    }

    /// A copy came to its end at a peer.
    pub(super) fn arrived(&mut self, tag: u64) {
        let exchange = tag & !UNREACHABLE;
        if let Some(open) = self.open.get_mut(&exchange) {
            open.copies = open.copies.saturating_sub(1);
        }
        self.settle(exchange);
    }

    /// A copy came back to the client.
    pub(super) fn answered(&mut self, exchange: u64) {
        if let Some(open) = self.open.get_mut(&exchange) {
            open.answered = true;
        }
        self.arrived(exchange);
    }

    fn settle(&mut self, exchange: u64) {
        let Some(open) = self.open.get(&exchange).filter(|open| open.copies == 0) else {
            return;
        };
        *match (open.answered, open.hit) {
            (true, _) => &mut self.exchanges.answered,
            (false, true) => &mut self.exchanges.broken,
            (false, false) => &mut self.exchanges.unanswered,
        } += 1;
        self.open.remove(&exchange);
    }
}

/// A datagram handed to the network.
pub(super) struct Event {
    at: Time,
    from: SocketAddr,
    to: SocketAddr,
    len: usize,
    fate: Fate,
    unreachable: bool,
}

impl Event {
    fn fold(&self, digest: u64, bytes: &[u8]) -> u64 {
        let fate = match self.fate {
            Fate::Scheduled { copies, first_at } => first_at.as_nanos() ^ u64::from(copies),
            Fate::Dropped(cause) => !(cause as u64),
        };
        let digest = [self.at.as_nanos(), fate, u64::from(self.unreachable)]
            .into_iter()
            .fold(digest, |digest, word| mix64(digest ^ word));
        let digest = fold_address(fold_address(digest, self.from), self.to);
        bytes.chunks(8).fold(digest, |digest, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix64(digest ^ u64::from_le_bytes(word)).wrapping_add(chunk.len() as u64)
        })
    }
}

fn fold_address(digest: u64, address: SocketAddr) -> u64 {
    let wide = match address.ip() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let digest = mix64(digest ^ (wide >> 64) as u64);
    mix64(mix64(digest ^ wide as u64) ^ u64::from(address.port()))
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.unreachable {
            "unreachable"
        } else {
            "datagram"
        };
        let (at, from, to, len) = (self.at.as_nanos(), self.from, self.to, self.len);
        write!(
            f,
            "{at} ns: {what} of {len} bytes, {from} to {to}: {:?}",
            self.fate
        )
    }
}
