//! What the sockets, queues and shards of a system are doing, for people and for `/metrics`.

use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use trunkline_engine::breaker::StateKind;
use trunkline_engine::stats::{Exposition, Kind, Unit};

use crate::shard::ShardFigures;
use crate::system::System;

/// Sockets, queues and errors: what requirement document 1 calls stats and pool status.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PoolStatus {
    /// Requests that wait in targets' queues.
    pub queue_length: u64,
    /// Requests on the wire.
    pub in_flight: u64,
    /// Sockets open.
    pub sockets_total: usize,
    /// Sockets that have carried something.
    pub sockets_active: usize,
    /// Requests that ended without an answer, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Breakers by state.
    pub breakers: BTreeMap<&'static str, usize>,
    /// Each shard.
    pub shards: Vec<ShardReport>,
}

/// One shard.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShardReport {
    /// Requests that it holds.
    pub requests: i64,
    /// Of these, on the wire.
    pub on_wire: i64,
    /// Datagrams sent.
    pub sent: u64,
    /// Of these, repetitions.
    pub retransmits: u64,
    /// Datagrams received.
    pub received: u64,
    /// Attempts that ended in silence.
    pub timeouts: u64,
    /// Datagrams that were not believed, by reason.
    pub bad: BTreeMap<&'static str, u64>,
    /// Round trips in microseconds: median, 95th, 99th and 99.9th percentile.
    pub rtt_us: Option<[u64; 4]>,
    /// Its sockets.
    pub sockets: Vec<SocketReport>,
}

/// One socket.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SocketReport {
    /// Its local address.
    pub local: String,
    /// Receive buffer that the kernel granted, in bytes.
    pub receive_buffer_bytes: usize,
    /// Datagrams that its full receive queue lost.
    pub overflow: u32,
}

/// The state of the sockets, queues and shards.
pub fn pool_status(system: &System) -> PoolStatus {
    let drivers = system.wire().drivers();
    let mut errors = BTreeMap::new();
    let mut shards = Vec::new();
    for (stats, driver) in system.client().stats().iter().zip(drivers) {
        let figures = stats.read();
        for (kind, n) in &figures.errors {
            *errors.entry(*kind).or_default() += n;
        }
        let sockets = driver.iter().flat_map(|driver| {
            let report = |socket: &trunkline_runtime::udp::SocketStats| SocketReport {
                local: socket.local_addr().to_string(),
                receive_buffer_bytes: socket.rcvbuf_granted(),
                overflow: socket.overflow(),
            };
            driver.sockets().iter().map(report).collect::<Vec<_>>()
        });
        let quantile = |q| figures.rtt_ns.quantile(q).map(|ns| ns / 1000);
        let rtt_us = quantile(0.5)
            .zip(quantile(0.95))
            .zip(quantile(0.99).zip(quantile(0.999)))
            .map(|((a, b), (c, d))| [a, b, c, d]);
        shards.push(ShardReport {
            requests: figures.jobs,
            on_wire: figures.on_wire,
            sent: figures.sent,
            retransmits: figures.retransmits,
            received: figures.received,
            timeouts: figures.timeouts,
            bad: figures
                .bad
                .iter()
                .map(|(why, n)| (why.as_str(), *n))
                .collect(),
            rtt_us,
            sockets: sockets.collect(),
        });
    }
    let level = |n: i64| u64::try_from(n).unwrap_or(0);
    let on_wire: u64 = shards.iter().map(|shard| level(shard.on_wire)).sum();
    let held: u64 = shards.iter().map(|shard| level(shard.requests)).sum();
    let sockets_total = shards.iter().map(|shard| shard.sockets.len()).sum();
    let active = shards.iter().filter(|shard| shard.sent > 0);
    PoolStatus {
        queue_length: held.saturating_sub(on_wire),
        in_flight: on_wire,
        sockets_total,
        sockets_active: active.map(|shard| shard.sockets.len()).sum(),
        errors,
        breakers: breakers_by_state(system),
        shards,
    }
}

fn breakers_by_state(system: &System) -> BTreeMap<&'static str, usize> {
    let now = system.clock().now();
    let mut states = BTreeMap::new();
    system.client().for_each_target(|target| {
        *states
            .entry(target.gate.state(now).kind().as_str())
            .or_default() += 1;
    });
    states
}

/// Writes the system's metrics.
pub fn export(system: &System, out: &mut Exposition) {
    let name = system.name();
    let labels = [("system", "snmp"), ("name", name)];
    shards(system, &labels, out);
    books(system, &labels, out);
    poller(system, &labels, out);
    breakers(system, &labels, out);
    router(system, &labels, out);
    samples(system, out);
}

type Labels<'a> = [(&'static str, &'a str); 2];

fn with<'a>(labels: &Labels<'a>, more: (&'static str, &'a str)) -> [(&'static str, &'a str); 3] {
    [labels[0], labels[1], more]
}

fn shards(system: &System, labels: &Labels<'_>, out: &mut Exposition) {
    for (index, stats) in system.client().stats().iter().enumerate() {
        let figures = stats.read();
        let index = index.to_string();
        let own = with(labels, ("shard", &index));
        let mut counter = |name: &str, help: &str, value: u64| {
            out.family(name, help, Kind::Counter, Unit::None)
                .sample(&own, value);
        };
        counter(
            "trunkline_snmp_datagrams_sent",
            "Datagrams sent.",
            figures.sent,
        );
        counter(
            "trunkline_snmp_datagrams_received",
            "Datagrams received.",
            figures.received,
        );
        counter(
            "trunkline_snmp_retransmits",
            "Datagrams that repeated one.",
            figures.retransmits,
        );
        counter(
            "trunkline_snmp_timeouts",
            "Attempts that ended in silence.",
            figures.timeouts,
        );
        counter(
            "trunkline_snmp_rows",
            "Rows that walks delivered.",
            figures.rows,
        );
        out.family(
            "trunkline_snmp_requests_held",
            "Requests held.",
            Kind::Gauge,
            Unit::None,
        )
        .sample(&own, figures.jobs);
        out.family(
            "trunkline_snmp_round_trip_seconds",
            "Time from a datagram to its answer.",
            Kind::Histogram,
            Unit::Seconds,
        )
        .histogram(&own, &figures.rtt_ns);
        reasons(&figures, own, out);
    }
    threads(system, labels, out);
}

/// What the sockets lost and how often threads died.
fn threads(system: &System, labels: &Labels<'_>, out: &mut Exposition) {
    let drivers = system.wire().drivers();
    let overflow = drivers.iter().flatten().map(|driver| {
        driver
            .sockets()
            .iter()
            .map(|socket| u64::from(socket.overflow()))
            .sum::<u64>()
    });
    let help = "Datagrams that full receive queues of the kernel lost.";
    out.family(
        "trunkline_snmp_receive_overflows",
        help,
        Kind::Counter,
        Unit::None,
    )
    .sample(labels, overflow.sum::<u64>());
    out.family(
        "trunkline_snmp_thread_deaths",
        "Threads that died.",
        Kind::Counter,
        Unit::None,
    )
    .sample(labels, system.deaths());
}

/// What was refused, failed and walked, by reason.
fn reasons(figures: &ShardFigures, own: [(&'static str, &str); 3], out: &mut Exposition) {
    for (why, n) in &figures.bad {
        let help = "Datagrams that were not believed.";
        out.family(
            "trunkline_snmp_datagrams_refused",
            help,
            Kind::Counter,
            Unit::None,
        )
        .sample(&[own[0], own[1], own[2], ("reason", why.as_str())], *n);
    }
    for (kind, n) in &figures.errors {
        let help = "Requests that ended without an answer.";
        out.family("trunkline_snmp_errors", help, Kind::Counter, Unit::None)
            .sample(&[own[0], own[1], own[2], ("kind", *kind)], *n);
    }
    for (end, n) in &figures.walks {
        out.family(
            "trunkline_snmp_walks",
            "Walks by their end.",
            Kind::Counter,
            Unit::None,
        )
        .sample(&[own[0], own[1], own[2], ("end", *end)], *n);
    }
}

fn books(system: &System, labels: &Labels<'_>, out: &mut Exposition) {
    for (book, balance) in [
        ("requests", system.balance()),
        ("results", system.results().balance()),
    ] {
        for (line, n) in balance.fields() {
            let help = "Units of work by their outcome.";
            out.family("trunkline_ledger_units", help, Kind::Gauge, Unit::None)
                .sample(&[labels[0], labels[1], ("book", book), ("line", line)], n);
        }
        let help = "What the books are off by; anything but 0 is a defect.";
        out.family("trunkline_ledger_imbalance", help, Kind::Gauge, Unit::None)
            .sample(&with(labels, ("book", book)), balance.imbalance());
    }
}

fn poller(system: &System, labels: &Labels<'_>, out: &mut Exposition) {
    let figures = system.poller();
    let runs = [
        ("complete", figures.complete),
        ("partial", figures.partial),
        ("failed", figures.failed),
    ];
    for (outcome, n) in runs {
        out.family(
            "trunkline_snmp_runs",
            "Runs of jobs by their end.",
            Kind::Counter,
            Unit::None,
        )
        .sample(&with(labels, ("outcome", outcome)), n);
    }
    let help = "Runs that could not start in time.";
    out.family(
        "trunkline_snmp_runs_missed",
        help,
        Kind::Counter,
        Unit::None,
    )
    .sample(labels, figures.missed);
    out.family(
        "trunkline_snmp_runs_running",
        "Runs under way.",
        Kind::Gauge,
        Unit::None,
    )
    .sample(labels, figures.running);
    for sink in system.results().views() {
        let own = with(labels, ("sink", &sink.name));
        let mut counter = |name: &str, help: &str, n: u64| {
            out.family(name, help, Kind::Counter, Unit::None)
                .sample(&own, n);
        };
        counter(
            "trunkline_snmp_sink_errors",
            "Batches that a sink refused.",
            sink.errors,
        );
        let help = "Times that a sink's queue reached its high-water mark.";
        counter("trunkline_snmp_sink_pressure_events", help, sink.pressures);
    }
}

fn breakers(system: &System, labels: &Labels<'_>, out: &mut Exposition) {
    let states = breakers_by_state(system);
    for state in [
        StateKind::Closed,
        StateKind::Open,
        StateKind::HalfOpen,
        StateKind::ForcedOpen,
        StateKind::ForcedClosed,
    ] {
        let n = states.get(state.as_str()).copied().unwrap_or(0) as u64;
        out.family(
            "trunkline_breaker_targets",
            "Targets by breaker.",
            Kind::Gauge,
            Unit::None,
        )
        .sample(&with(labels, ("state", state.as_str())), n);
    }
    let figures: Vec<_> = system
        .client()
        .stats()
        .iter()
        .map(|stats| stats.read())
        .collect();
    let opens: u64 = figures.iter().map(|figures| figures.breaker_opens).sum();
    let closes: u64 = figures.iter().map(|figures| figures.breaker_closes).sum();
    out.family(
        "trunkline_breaker_opens",
        "Breakers that opened.",
        Kind::Counter,
        Unit::None,
    )
    .sample(labels, opens);
    out.family(
        "trunkline_breaker_closes",
        "Breakers that closed.",
        Kind::Counter,
        Unit::None,
    )
    .sample(labels, closes);
}

fn router(system: &System, labels: &Labels<'_>, out: &mut Exposition) {
    let router = system.client().guards()[0].router();
    for member in router.members(system.clock().now()) {
        let own = with(labels, ("engine", &member.name));
        let mut counter = |name: &str, help: &str, value: u64| {
            out.family(name, help, Kind::Counter, Unit::None)
                .sample(&own, value);
        };
        counter(
            "trunkline_router_attempts",
            "Attempts sent by an engine.",
            member.started,
        );
        counter(
            "trunkline_router_failures",
            "Attempts of it without a reply.",
            member.failed,
        );
        counter(
            "trunkline_router_unsent",
            "Attempts that it could not send.",
            member.unsent,
        );
        out.family(
            "trunkline_router_usable",
            "1 when it can be chosen.",
            Kind::Gauge,
            Unit::None,
        )
        .sample(&own, u64::from(member.usable));
    }
}

fn samples(system: &System, out: &mut Exposition) {
    for samples in system.samples() {
        samples.for_each(|target, oid, sample| {
            let oid = oid.to_string();
            let own = [
                ("name", system.name()),
                ("target", target),
                ("oid", oid.as_str()),
            ];
            out.family(
                "trunkline_snmp_value",
                "The last value polled.",
                Kind::Gauge,
                Unit::None,
            )
            .sample(&own, sample.value);
        });
        let help = "Values that found no room among the series.";
        out.family(
            "trunkline_snmp_values_left_out",
            help,
            Kind::Counter,
            Unit::None,
        )
        .sample(&[("name", system.name())], samples.left_out());
    }
}
