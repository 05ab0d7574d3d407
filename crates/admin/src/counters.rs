//! What both doors count, as metrics.
//!
//! Every bound that a caller can reach has a reason of its own here, so that a misbehaving client
//! is seen in the numbers although it was only turned away.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trunkline_engine::stats::{Exposition, Kind, Unit};
use trunkline_runtime::operation::Door;

/// Why something was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many connections.
    Connections,
    /// Too many calls of one connection, or scrapes.
    InFlight,
    /// A request that is too long.
    Oversize,
    /// Bytes that are no request.
    Garbage,
    /// A request that did not arrive in time.
    SlowSender,
    /// A reader that did not read.
    SlowReader,
    /// An answer that is too long.
    LongAnswer,
    /// Another host's name.
    Host,
    /// Another site's page.
    Origin,
    /// No token, or a wrong one.
    Token,
}

const REFUSALS: [(Refusal, &str); 10] = [
    (Refusal::Connections, "connections"),
    (Refusal::InFlight, "in-flight"),
    (Refusal::Oversize, "oversize"),
    (Refusal::Garbage, "garbage"),
    (Refusal::SlowSender, "slow-sender"),
    (Refusal::SlowReader, "slow-reader"),
    (Refusal::LongAnswer, "long-answer"),
    (Refusal::Host, "host"),
    (Refusal::Origin, "origin"),
    (Refusal::Token, "token"),
];

/// The counters of one door.
#[derive(Debug, Default)]
pub(crate) struct DoorCounters {
    connections_total: AtomicU64,
    connections_closed: AtomicU64,
    requests: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
}

/// The counters of both doors.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    socket: DoorCounters,
    http: DoorCounters,
}

impl DoorCounters {
    pub(crate) fn connected(&self) {
        self.connections_total.fetch_add(1, Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.connections_closed.fetch_add(1, Relaxed);
    }

    pub(crate) fn requested(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }
}

impl Counters {
    pub(crate) fn door(&self, door: Door) -> &DoorCounters {
        match door {
            Door::Http => &self.http,
            Door::Socket | Door::Cli => &self.socket,
        }
    }

    pub(crate) fn export(&self, all: &mut Exposition) {
        let doors = [("socket", &self.socket), ("http", &self.http)];
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        for (door, counters) in doors {
            let labels = [("door", door)];
            // Closed is read first: a connection is never seen closed before it is seen at all.
            let closed = read(&counters.connections_closed);
            let total = read(&counters.connections_total);
            all.family(
                "trunkline_admin_connections_open",
                "Connections to the doors of the process now.",
                Kind::Gauge,
                Unit::None,
            )
            .sample(&labels, total - closed);
            all.family(
                "trunkline_admin_connections",
                "Connections that were let in.",
                Kind::Counter,
                Unit::None,
            )
            .sample(&labels, total);
            all.family(
                "trunkline_admin_requests",
                "Requests that were read.",
                Kind::Counter,
                Unit::None,
            )
            .sample(&labels, read(&counters.requests));
            for (why, reason) in REFUSALS {
                all.family(
                    "trunkline_admin_refused",
                    "What was turned away at the doors, by reason.",
                    Kind::Counter,
                    Unit::None,
                )
                .sample(
                    &[("door", door), ("reason", reason)],
                    read(&counters.refused[why as usize]),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (index, (why, name)) in REFUSALS.iter().enumerate() {
            assert_eq!(*why as usize, index, "{name}");
        }
        let counters = Counters::default();
        counters.door(Door::Http).refused(Refusal::Token);
        counters.door(Door::Socket).connected();
        let mut all = Exposition::new();
        counters.export(&mut all);
        assert_eq!(all.faults_total(), 0);
        let text = all.open_metrics();
        for line in [
            "trunkline_admin_refused_total{door=\"http\",reason=\"token\"} 1",
            "trunkline_admin_refused_total{door=\"socket\",reason=\"token\"} 0",
            "trunkline_admin_connections_open{door=\"socket\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
