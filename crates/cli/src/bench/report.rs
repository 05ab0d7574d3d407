//! The figures of a load, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use trunkline_engine::stats::HistogramSnapshot;
use trunkline_system_snmp::{BadDatagram, Wire};

use super::load::Load;
use crate::output::SCHEMA_VERSION;

/// What shards and sockets have counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Answers that were believed.
    answers: u64,
    sent: u64,
    retransmits: u64,
    timeouts: u64,
    late: u64,
    not_believed: u64,
    overflow: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

impl Totals {
    /// The counts of all shards as they stand.
    pub(super) fn read(wire: &Wire) -> Self {
        let mut all = Self::default();
        for stats in wire.client().stats() {
            let figures = stats.read();
            let bad: u64 = figures.bad.iter().map(|(_, n)| n).sum();
            let late = figures.bad.iter();
            let late = late.filter(|(why, _)| *why == BadDatagram::Late);
            let late: u64 = late.map(|(_, n)| n).sum();
            all.answers += figures.received - bad;
            all.sent += figures.sent;
            all.retransmits += figures.retransmits;
            all.timeouts += figures.timeouts;
            all.late += late;
            all.not_believed += bad - late;
        }
        for driver in wire.drivers().into_iter().flatten() {
            let sockets = driver.sockets().iter();
            all.overflow += sockets
                .map(|socket| u64::from(socket.overflow()))
                .sum::<u64>();
        }
        all
    }

    /// What came since `before`.
    pub(super) const fn since(self, before: &Self) -> Self {
        Self {
            answers: self.answers - before.answers,
            sent: self.sent - before.sent,
            retransmits: self.retransmits - before.retransmits,
            timeouts: self.timeouts - before.timeouts,
            late: self.late - before.late,
            not_believed: self.not_believed - before.not_believed,
            overflow: self.overflow - before.overflow,
            sent_bytes: self.sent_bytes - before.sent_bytes,
            received_bytes: self.received_bytes - before.received_bytes,
        }
    }
}

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    schema_version: u32,
    mode: &'static str,
    targets: usize,
    /// How long the load lasted.
    seconds: f64,
    /// CPU time of this process, user and system.
    cpu_seconds: f64,
    /// Questions answered: each GET, each page of a walk.
    requests: u64,
    requests_per_second: f64,
    requests_per_cpu_second: f64,
    /// Values decoded.
    varbinds: u64,
    varbinds_per_second: f64,
    varbinds_per_cpu_second: f64,
    /// GETs or walks that ended in full.
    completed: u64,
    /// GETs or walks that did not.
    errors: u64,
    errors_by_kind: BTreeMap<&'static str, u64>,
    /// GETs or walks under way when the time was over; in no other figure.
    unfinished: u64,
    /// Datagrams sent.
    sent: u64,
    retransmits: u64,
    /// Attempts that ended in silence: the losses.
    timeouts: u64,
    late: u64,
    not_believed: u64,
    /// Answers that the receive queue had no room for.
    overflow: u64,
    /// UDP payload in each direction.
    sent_bytes: u64,
    received_bytes: u64,
    /// From where latencies count: "intended start" with a rate, "submission" without.
    latency_from: &'static str,
    latency_us: Option<Latency>,
}

/// How long GETs or walks took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Latency {
    fn of(snapshot: &HistogramSnapshot) -> Option<Self> {
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |q| snapshot.quantile(q).map(us);
        Some(Self {
            min: us(snapshot.min()?),
            mean: snapshot.mean()? / 1e3,
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p95: quantile(0.95)?,
            p99: quantile(0.99)?,
            p999: quantile(0.999)?,
            max: us(snapshot.max()?),
        })
    }
}

impl Report {
    pub(super) fn new(
        mode: &'static str,
        load: &Load<'_>,
        totals: Totals,
        elapsed: Duration,
        cpu: Duration,
    ) -> Self {
        let per = |n: u64, time: Duration| n as f64 / time.as_secs_f64().max(1e-9);
        let varbinds = load.varbinds;
        // A walk's last page may hold no row for the reader, so pages are counted by the shard.
        let requests = if load.replies > 0 {
            load.replies
        } else {
            totals.answers
        };
        Self {
            schema_version: SCHEMA_VERSION,
            mode,
            targets: load.targets(),
            seconds: elapsed.as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            requests,
            requests_per_second: per(requests, elapsed),
            requests_per_cpu_second: per(requests, cpu),
            varbinds,
            varbinds_per_second: per(varbinds, elapsed),
            varbinds_per_cpu_second: per(varbinds, cpu),
            completed: load.answered,
            errors: load.errors.values().sum(),
            errors_by_kind: load.errors.clone(),
            unfinished: load.under_way(),
            sent: totals.sent,
            retransmits: totals.retransmits,
            timeouts: totals.timeouts,
            late: totals.late,
            not_believed: totals.not_believed,
            overflow: totals.overflow,
            sent_bytes: totals.sent_bytes,
            received_bytes: totals.received_bytes,
            latency_from: if load.is_open() {
                "intended start"
            } else {
                "submission"
            },
            latency_us: Latency::of(&load.latency_ns.snapshot()),
        }
    }

    /// Questions answered.
    pub(super) const fn requests(&self) -> u64 {
        self.requests
    }

    pub(super) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a string cannot fail.
            writeln!(text, "{name:<26} {value:>16}").ok();
        };
        row("mode", self.mode.to_owned());
        row("targets", self.targets.to_string());
        row("seconds", format!("{:.3}", self.seconds));
        row("CPU seconds", format!("{:.3}", self.cpu_seconds));
        row("requests", self.requests.to_string());
        row("requests/s", format!("{:.0}", self.requests_per_second));
        row(
            "requests/CPU-s",
            format!("{:.0}", self.requests_per_cpu_second),
        );
        row("varbinds", self.varbinds.to_string());
        row("varbinds/s", format!("{:.0}", self.varbinds_per_second));
        row(
            "varbinds/CPU-s",
            format!("{:.0}", self.varbinds_per_cpu_second),
        );
        row("completed", self.completed.to_string());
        row("errors", self.errors.to_string());
        for (kind, n) in &self.errors_by_kind {
            row(&format!("  {kind}"), n.to_string());
        }
        row("unfinished", self.unfinished.to_string());
        row("retransmits", self.retransmits.to_string());
        row("timeouts", self.timeouts.to_string());
        row("late answers", self.late.to_string());
        row("answers not believed", self.not_believed.to_string());
        row("receive queue overflow", self.overflow.to_string());
        row("bytes sent", self.sent_bytes.to_string());
        row("bytes received", self.received_bytes.to_string());
        let Some(latency) = &self.latency_us else {
            return text;
        };
        row("latency counts from", self.latency_from.to_owned());
        for (name, us) in [
            ("latency min", latency.min),
            ("latency mean", latency.mean),
            ("latency p50", latency.p50),
            ("latency p90", latency.p90),
            ("latency p95", latency.p95),
            ("latency p99", latency.p99),
            ("latency p99.9", latency.p999),
            ("latency max", latency.max),
        ] {
            row(name, format!("{us:.1} us"));
        }
        text
    }
}
