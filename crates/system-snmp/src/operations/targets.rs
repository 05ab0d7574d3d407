//! Targets and polling: who is configured, how each does, and taking one out of service.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_engine::breaker::StateKind;
use trunkline_engine::time::Time;
use trunkline_runtime::operation::{Effect, Operation, OperationError};

use super::engine::bad_word;
use super::{ByTarget, Done, Nothing, failed, known};
use crate::system::{NamedTarget, System};

/// Which targets.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Which {
    /// Only names that contain this.
    name: Option<String>,
    /// Only this state: `up`, `down`, `unknown`, `drained` or `unresolved`.
    state: Option<String>,
    /// How many at most; 1000 when not given.
    limit: Option<usize>,
    /// Skip this many.
    offset: Option<usize>,
}

/// The targets asked for.
#[derive(Debug, Serialize, JsonSchema)]
struct Targets {
    /// How many fit the question, shown or not.
    total: usize,
    /// Each by its name.
    targets: BTreeMap<String, TargetReport>,
}

/// One target.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TargetReport {
    /// Its address.
    address: String,
    /// `up`, `down`, `unknown` before its first answer, `drained`, or `unresolved`.
    state: &'static str,
    /// Its breaker: `closed`, `open`, `half-open`, `forced-open`, `forced-closed`.
    breaker: &'static str,
    /// Requests on the wire.
    in_flight: u32,
    /// Requests in its queue.
    queued: u32,
    /// Datagrams sent, repetitions included.
    requests: u32,
    /// Answers accepted.
    replies: u32,
    /// Attempts that ended in silence.
    timeouts: u32,
    /// Datagrams that repeated an earlier one.
    retransmits: u32,
    /// Requests that ended without an answer.
    errors: u32,
    /// Smoothed round trip in microseconds; 0 before the first answer.
    srtt_us: u32,
    /// Milliseconds since it last answered.
    last_reply_ago_ms: Option<u64>,
    /// Why its name has no address.
    unresolved: Option<String>,
}

/// The system in short.
#[derive(Debug, Serialize, JsonSchema)]
struct Status {
    /// Its name.
    system: String,
    /// Targets by state.
    targets: BTreeMap<&'static str, usize>,
    /// Runs by their end.
    runs: BTreeMap<&'static str, u64>,
    /// Runs that could not start in time.
    missed: u64,
    /// Runs under way.
    running: u64,
    /// Requests, walks and sets not ended.
    in_flight: u64,
    /// Threads that died and were restarted.
    deaths: u64,
    /// Shards.
    shards: usize,
    /// What the books are off by; anything but 0 is a defect.
    imbalance: i64,
    /// The sinks by name.
    sinks: BTreeMap<String, SinkReport>,
}

/// One sink.
#[derive(Debug, Serialize, JsonSchema)]
struct SinkReport {
    /// Records in its queue.
    queued: usize,
    /// Batches that it refused.
    errors: u64,
    /// The last reason.
    last_error: Option<String>,
}

pub(super) fn operations(system: &Arc<System>) -> Vec<Operation> {
    let name = system.name().to_owned();
    let own = system.clone();
    let status = Operation::one(
        "snmp",
        &name,
        "status",
        "Targets, runs, sinks and books in short",
        Effect::Read,
        move |_, Nothing {}| std::future::ready(Ok(status(&own))),
    );
    let own = system.clone();
    let targets = Operation::one(
        "snmp",
        &name,
        "targets",
        "Every target: state, breaker, counters, round trip",
        Effect::Read,
        move |_, which: Which| std::future::ready(targets(&own, &which)),
    );
    let own = system.clone();
    let drain = Operation::one(
        "snmp",
        &name,
        "drain",
        "Take a target out of service: no new requests, those under way go on",
        Effect::Change,
        move |_, ByTarget { target }| std::future::ready(set_drained(&own, &target, true)),
    );
    let own = system.clone();
    let resume = Operation::one(
        "snmp",
        &name,
        "resume",
        "Put a drained target back into service",
        Effect::Change,
        move |_, ByTarget { target }| std::future::ready(set_drained(&own, &target, false)),
    );
    vec![
        status,
        targets,
        drain.idempotent(true),
        resume.idempotent(true),
    ]
}

fn status(system: &System) -> Status {
    let now = system.clock().now();
    let mut states = BTreeMap::new();
    system.for_each_target(|target| {
        *states.entry(report(system, target, now).state).or_default() += 1;
    });
    let figures = system.poller();
    let runs = [
        ("complete", figures.complete),
        ("partial", figures.partial),
        ("failed", figures.failed),
    ];
    let sinks = system.results().views().into_iter().map(|sink| {
        let (queued, errors) = (sink.queue.items, sink.errors);
        (
            sink.name,
            SinkReport {
                queued,
                errors,
                last_error: sink.last_error,
            },
        )
    });
    Status {
        system: system.name().to_owned(),
        targets: states,
        runs: runs.into(),
        missed: figures.missed,
        running: figures.running,
        in_flight: system.balance().in_flight,
        deaths: system.deaths(),
        shards: system.client().shards(),
        imbalance: system.balance().imbalance() + system.results().balance().imbalance(),
        sinks: sinks.collect(),
    }
}

/// What a target's state can be.
const STATES: [&str; 5] = ["up", "down", "unknown", "drained", "unresolved"];

fn targets(system: &System, which: &Which) -> Result<Targets, OperationError> {
    if let Some(state) = which.state.as_deref()
        && !STATES.contains(&state)
    {
        return Err(bad_word("state", state, &STATES.join(", ")));
    }
    let now = system.clock().now();
    let fits = |(name, report): &(String, TargetReport)| {
        which
            .name
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
            && which
                .state
                .as_ref()
                .is_none_or(|state| report.state == state)
    };
    let all = system.targets();
    let reports = all
        .iter()
        .map(|target| (target.plan.name.to_string(), report(system, target, now)));
    let matching: Vec<_> = reports.filter(fits).collect();
    let total = matching.len();
    let limit = which.limit.unwrap_or(1000);
    let shown = matching
        .into_iter()
        .skip(which.offset.unwrap_or(0))
        .take(limit);
    Ok(Targets {
        total,
        targets: shown.collect(),
    })
}

pub(super) fn report(system: &System, target: &NamedTarget, now: Time) -> TargetReport {
    let view = target.id.and_then(|id| system.client().target(id));
    let figures = view.as_ref().map(|view| view.figures).unwrap_or_default();
    let breaker = view
        .as_ref()
        .map_or(StateKind::Closed, |view| view.gate.state(now).kind());
    let drained = view.as_ref().is_some_and(|view| view.drained);
    let state = match (target.id, drained, breaker) {
        (None, _, _) => "unresolved",
        (_, true, _) => "drained",
        (_, _, StateKind::Open | StateKind::HalfOpen | StateKind::ForcedOpen) => "down",
        _ if figures.last_reply.is_none() && figures.timeouts > 0 => "down",
        _ if figures.last_reply.is_none() => "unknown",
        _ => "up",
    };
    let ago = |at: Time| u64::try_from(now.saturating_since(at).as_millis()).unwrap_or(u64::MAX);
    TargetReport {
        address: target.plan.address.to_string(),
        state,
        breaker: breaker.as_str(),
        in_flight: figures.in_flight,
        queued: figures.queued,
        requests: figures.requests,
        replies: figures.replies,
        timeouts: figures.timeouts,
        retransmits: figures.retransmits,
        errors: figures.errors,
        srtt_us: figures.srtt_us,
        last_reply_ago_ms: figures.last_reply.map(ago),
        unresolved: target.unresolved.clone(),
    }
}

fn set_drained(system: &System, name: &str, drained: bool) -> Result<Done, OperationError> {
    let (_, id) = known(system, name)?;
    system
        .client()
        .drain_target(id, drained)
        .map_err(|error| failed(&error))?;
    Ok(Done::say(if drained { "drained" } else { "in service" }))
}
