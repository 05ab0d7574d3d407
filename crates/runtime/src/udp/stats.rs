//! What a driver did, in atomics that anybody may read and only the driver writes.
//!
//! Counters are written by load and store, which costs a fraction of an atomic addition and is
//! sound because there is one writer. They are not read together: a reader may see a turn's
//! datagrams before its bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use trunkline_engine::stats::{Exposition, Kind, Unit};
use trunkline_engine::time::Time;

use super::Sockets;

/// The counters of one driver.
#[derive(Debug)]
pub struct DriverStats {
    pub(super) turns: Count,
    pub(super) received: Count,
    pub(super) received_bytes: Count,
    pub(super) truncated: Count,
    pub(super) sent: Count,
    pub(super) sent_bytes: Count,
    pub(super) short_sends: Count,
    pub(super) unsent: Count,
    pub(super) blocked: Count,
    pub(super) errors: Count,
    pub(super) packets_too_big: Count,
    /// When the turn under way began, plus one; 0 while the driver waits.
    busy_since: AtomicU64,
    last_turn: AtomicU64,
    pub(super) sockets: Box<[SocketStats]>,
}

/// The counters of one socket.
#[derive(Debug)]
pub struct SocketStats {
    local: SocketAddr,
    rcvbuf: usize,
    sndbuf: usize,
    overflow: AtomicU32,
}

macro_rules! counters {
    ($($name:ident $metric:literal $unit:ident $help:literal)*) => {
        impl DriverStats {
            $(#[doc = $help] pub fn $name(&self) -> u64 { self.$name.read() })*

            fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, Unit, u64)> {
                [$(($metric, $help, Unit::$unit, self.$name.read()),)*].into_iter()
            }
        }
    };
}

counters! {
    turns "trunkline_udp_turns" None
        "Turns of the datagram loop."
    received "trunkline_udp_received_datagrams" None
        "Datagrams received."
    received_bytes "trunkline_udp_received_bytes" Bytes
        "Bytes of the datagrams received."
    truncated "trunkline_udp_truncated_datagrams" None
        "Datagrams received that were longer than a slot and were cut."
    sent "trunkline_udp_sent_datagrams" None
        "Datagrams that the kernel took."
    sent_bytes "trunkline_udp_sent_bytes" Bytes
        "Bytes of the datagrams that the kernel took."
    short_sends "trunkline_udp_short_sends" None
        "Calls that took fewer datagrams than they were given."
    unsent "trunkline_udp_unsent_datagrams" None
        "Datagrams given back as unsendable."
    blocked "trunkline_udp_blocked_sends" None
        "Times that a socket had no room for a datagram."
    errors "trunkline_udp_icmp_errors" None
        "Entries read from the error queues."
    packets_too_big "trunkline_udp_packets_too_big" None
        "Error queue entries that ask for smaller packets; the kernel acts on them itself."
}

impl DriverStats {
    /// Adds the counters to a scrape; `labels` say whose driver it is.
    pub fn export(&self, all: &mut Exposition, labels: &[(&'static str, &str)]) {
        for (name, help, unit, value) in self.rows() {
            all.family(name, help, Kind::Counter, unit)
                .sample(labels, value);
        }
        for socket in &self.sockets {
            let local = socket.local.to_string();
            let labels = [labels, &[("local", &local)]].concat();
            all.family(
                "trunkline_udp_overflow_datagrams",
                "Datagrams that a socket's queue had no room for.",
                Kind::Counter,
                Unit::None,
            )
            .sample(&labels, u64::from(socket.overflow()));
            all.family(
                "trunkline_udp_receive_buffer_bytes",
                "Receive buffer that the kernel granted.",
                Kind::Gauge,
                Unit::Bytes,
            )
            .sample(&labels, socket.rcvbuf as u64);
        }
    }

    /// When the latest turn began.
    pub fn last_turn(&self) -> Time {
        Time::from_nanos(self.last_turn.load(Ordering::Relaxed))
    }

    /// How long the turn under way has lasted at `now`; zero while the driver waits for something
    /// to do. A loop is stuck when this grows past a second.
    pub fn busy_for(&self, now: Time) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.saturating_since(Time::from_nanos(since - 1)),
        }
    }

    /// The sockets, by their index.
    pub fn sockets(&self) -> &[SocketStats] {
        &self.sockets
    }

    pub(super) fn new(sockets: &Sockets) -> Self {
        let socket = |open: &super::sockets::Open| SocketStats {
            local: open.local,
            rcvbuf: open.rcvbuf,
            sndbuf: open.sndbuf,
            overflow: AtomicU32::new(0),
        };
        Self {
            turns: Count::default(),
            received: Count::default(),
            received_bytes: Count::default(),
            truncated: Count::default(),
            sent: Count::default(),
            sent_bytes: Count::default(),
            short_sends: Count::default(),
            unsent: Count::default(),
            blocked: Count::default(),
            errors: Count::default(),
            packets_too_big: Count::default(),
            busy_since: AtomicU64::new(0),
            last_turn: AtomicU64::new(0),
            sockets: sockets.open.iter().map(socket).collect(),
        }
    }

    pub(super) fn turn_begins(&self, now: Time) {
        self.turns.add(1);
        self.last_turn.store(now.as_nanos(), Ordering::Relaxed);
        let since = now.as_nanos().saturating_add(1);
        self.busy_since.store(since, Ordering::Relaxed);
    }

    pub(super) fn turn_ends(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }
}

impl SocketStats {
    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bytes of receive buffer granted.
    pub fn rcvbuf_granted(&self) -> usize {
        self.rcvbuf
    }

    /// Bytes of send buffer granted.
    pub fn sndbuf_granted(&self) -> usize {
        self.sndbuf
    }

    /// Datagrams that its queue had no room for, as told with the latest one that came after
    /// (wraps).
    pub fn overflow(&self) -> u32 {
        self.overflow.load(Ordering::Relaxed)
    }

    /// Takes the newest total; true when it changed.
    pub(super) fn note_overflow(&self, total: u32) -> bool {
        let changed = self.overflow() != total;
        if changed {
            self.overflow.store(total, Ordering::Relaxed);
        }
        changed
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        let sum = self.read().wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::SocketSpec;

    #[test]
    fn a_turn_is_busy_until_it_ends() {
        let spec = SocketSpec::new("127.0.0.1:0".parse().unwrap());
        let stats = DriverStats::new(&Sockets::open(&[spec]).unwrap());
        let later = Time::from_millis(1_500);
        assert_eq!(stats.busy_for(later), Duration::ZERO);
        stats.turn_begins(Time::ZERO);
        assert_eq!(stats.busy_for(later), Duration::from_millis(1_500));
        stats.turn_ends();
        assert_eq!(stats.busy_for(later), Duration::ZERO);
        assert_eq!((stats.turns(), stats.last_turn()), (1, Time::ZERO));
    }

    #[test]
    fn a_scrape_has_every_counter_and_no_faults() {
        let specs = vec![SocketSpec::new("127.0.0.1:0".parse().unwrap()); 2];
        let stats = DriverStats::new(&Sockets::open(&specs).unwrap());
        stats.sent.add(3);
        stats.sockets[1].note_overflow(9);
        let mut all = Exposition::new();
        stats.export(
            &mut all,
            &[("system", "snmp"), ("name", "core"), ("shard", "0")],
        );
        assert_eq!(all.faults(), []);
        assert_eq!(all.series(), 11 + 2 * 2);
        let text = all.open_metrics();
        let labels = "name=\"core\",shard=\"0\",system=\"snmp\"";
        assert!(
            text.contains(&format!("trunkline_udp_sent_datagrams_total{{{labels}}} 3")),
            "{text}"
        );
        assert!(text.contains("} 9\n"), "{text}");
    }
}
