//! The engine's own parts of this system: breakers, routers, books, counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_engine::breaker::{Forced, State, StateKind};
use trunkline_engine::ledger::Balance;
use trunkline_engine::router::{Mark, MemberId, Router, Strategy};
use trunkline_runtime::operation::{Effect, ErrorKind, Operation, OperationError};

use super::{Done, Nothing, failed, known, not_found};
use crate::system::System;

/// Which breakers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct WhichBreakers {
    /// Closed ones too; only the others when not given.
    all: bool,
}

/// A breaker.
#[derive(Debug, Serialize, JsonSchema)]
struct BreakerReport {
    /// `closed`, `open`, `half-open`, `forced-open` or `forced-closed`.
    state: &'static str,
    /// Milliseconds until the next probe may go, when it is open.
    probe_in_ms: Option<u64>,
    /// Failures since the last success.
    consecutive: u32,
    /// Calls that succeeded.
    successes: u64,
    /// Calls that failed by the target's fault.
    failures: u64,
    /// Of these, silences.
    timeouts: u64,
    /// Calls that the breaker refused.
    rejected: u64,
    /// How often it opened.
    opens: u64,
    /// How often it closed.
    closes: u64,
    /// Failures among the calls that ended, 0 to 1.
    error_rate: f64,
}

/// The breakers asked for.
#[derive(Debug, Serialize, JsonSchema)]
struct Breakers {
    /// All breakers by state.
    states: BTreeMap<&'static str, usize>,
    /// Each by its target's name.
    breakers: BTreeMap<String, BreakerReport>,
}

/// What to do with a breaker.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BreakerOrder {
    /// The target's name.
    target: String,
    /// `open` or `closed` until further notice, `half-open` to probe now, `auto` to let go.
    state: String,
}

/// An engine of the router.
#[derive(Debug, Serialize, JsonSchema)]
struct MemberReport {
    /// Whether it can be chosen.
    usable: bool,
    /// `auto`, `up` or `down`, as an operator marked it.
    mark: &'static str,
    /// Whether it takes nothing new.
    draining: bool,
    /// Whether health keeps it out.
    ejected: bool,
    /// Its weight.
    weight: u32,
    /// Its capacity.
    capacity: u32,
    /// Attempts under way.
    in_flight: u32,
    /// Attempts that began.
    started: u64,
    /// Attempts without a reply.
    failed: u64,
    /// Attempts that it could not send.
    unsent: u64,
    /// Recent attempts that got a reply, 0 to 1.
    reply_ratio: f32,
    /// Its round trip in microseconds.
    latency_us: u64,
}

/// The router.
#[derive(Debug, Serialize, JsonSchema)]
struct RouterReport {
    /// The strategy.
    strategy: &'static str,
    /// Requests that it routed.
    requests_routed: u64,
    /// Batches of requests that were handed in together.
    batches_routed: u64,
    /// Requests that found no engine.
    routing_failures: u64,
    /// Attempts that engines could not send, or that had no reply.
    engine_failures: u64,
    /// What one pick costs, in nanoseconds, as timed now and then.
    routing_time_ns: u64,
    /// The engines by name.
    engines: BTreeMap<String, MemberReport>,
}

/// What to do with an engine, or with all.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RouterOrder {
    /// The engine; none for `strategy`.
    engine: Option<String>,
    /// `up` or `down` until further notice, `auto` to let health decide.
    mark: Option<String>,
    /// Its new weight, from 1.
    weight: Option<u32>,
    /// True takes it out of service when its requests have ended, false puts it back.
    drain: Option<bool>,
    /// The new strategy.
    strategy: Option<String>,
}

/// One balance sheet: every line by its name, and `imbalance`, what it is off by; anything but 0
/// there is a defect.
type Sheet = BTreeMap<&'static str, i128>;

/// All books of the system.
#[derive(Debug, Serialize, JsonSchema)]
struct Books {
    /// Requests, all shards together.
    requests: Sheet,
    /// Results on their way to the sinks.
    results: Sheet,
    /// Attempts: permits given, by their end.
    attempts: BTreeMap<&'static str, u64>,
}

pub(super) fn operations(system: &Arc<System>) -> Vec<Operation> {
    let name = system.name().to_owned();
    let (a, b, c, d, e, f) = (
        system.clone(),
        system.clone(),
        system.clone(),
        system.clone(),
        system.clone(),
        system.clone(),
    );
    let read = |verb: &'static str, summary: &'static str| (name.clone(), verb, summary);
    let (n, v, s) = read("breakers", "Breakers that are not closed, or all");
    let breakers = Operation::one("engine", n, v, s, Effect::Read, move |_, which| {
        std::future::ready(Ok(breakers(&a, &which)))
    });
    let (n, v, s) = read("breaker", "Force a target's breaker, or let it go");
    let breaker = Operation::one("engine", n, v, s, Effect::Change, move |_, order| {
        std::future::ready(force(&b, &order))
    });
    let (n, v, s) = read(
        "routers",
        "The engines and how requests are spread over them",
    );
    let routers = Operation::one("engine", n, v, s, Effect::Read, move |_, Nothing {}| {
        std::future::ready(Ok(routers(&c)))
    });
    let (n, v, s) = read(
        "router",
        "Mark, weigh or drain an engine, or change the strategy",
    );
    let router = Operation::one("engine", n, v, s, Effect::Change, move |_, order| {
        std::future::ready(order_router(&d, &order))
    });
    let (n, v, s) = read(
        "ledger",
        "The books: every request and result by its outcome",
    );
    let ledger = Operation::one("engine", n, v, s, Effect::Read, move |_, Nothing {}| {
        std::future::ready(Ok(books(&e)))
    });
    let (n, v, s) = read("stats", "Sockets, queues, datagrams and errors, per shard");
    let stats = Operation::one("engine", n, v, s, Effect::Read, move |_, Nothing {}| {
        std::future::ready(Ok(crate::status::pool_status(&f)))
    });
    vec![
        breakers,
        breaker.idempotent(true),
        routers,
        router.idempotent(true),
        ledger,
        stats,
    ]
}

fn breakers(system: &System, which: &WhichBreakers) -> Breakers {
    let now = system.clock().now();
    let mut states: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut shown = BTreeMap::new();
    for target in system.targets() {
        let Some(view) = target.id.and_then(|id| system.client().target(id)) else {
            continue;
        };
        let state = view.gate.state(now);
        *states.entry(state.kind().as_str()).or_default() += 1;
        if !which.all && state.kind() == StateKind::Closed {
            continue;
        }
        let detail = view.gate.view(&view.spec.policy.guard, now);
        let counts = view.gate.counters();
        let probe_in_ms = match state {
            State::Open { until } => Some(until.saturating_since(now).as_millis() as u64),
            _ => None,
        };
        let report = BreakerReport {
            state: state.kind().as_str(),
            probe_in_ms,
            consecutive: detail.consecutive,
            successes: counts.successes,
            failures: counts.failures,
            timeouts: counts.timeouts,
            rejected: counts.rejected,
            opens: counts.opens,
            closes: counts.closes,
            error_rate: counts.error_rate(),
        };
        shown.insert(target.plan.name.to_string(), report);
    }
    Breakers {
        states,
        breakers: shown,
    }
}

fn force(system: &System, order: &BreakerOrder) -> Result<Done, OperationError> {
    let forced = match order.state.as_str() {
        "open" => Forced::Open,
        "closed" => Forced::Closed,
        "half-open" => Forced::HalfOpen,
        "auto" => Forced::None,
        other => return Err(bad_word("state", other, "open, closed, half-open or auto")),
    };
    let (_, id) = known(system, &order.target)?;
    system
        .client()
        .force_breaker(id, forced)
        .map_err(|error| failed(&error))?;
    Ok(Done::say(format!(
        "the breaker of {} is {}",
        order.target, order.state
    )))
}

fn routers(system: &System) -> RouterReport {
    let router = router(system);
    let stats = router.stats();
    let members = router
        .members(system.clock().now())
        .into_iter()
        .map(|member| {
            let report = MemberReport {
                usable: member.usable,
                mark: match member.mark {
                    Mark::Auto => "auto",
                    Mark::Up => "up",
                    Mark::Down => "down",
                },
                draining: member.draining,
                ejected: member.ejection.is_some(),
                weight: member.weight,
                capacity: member.capacity,
                in_flight: member.in_flight,
                started: member.started,
                failed: member.failed,
                unsent: member.unsent,
                reply_ratio: member.reply_ratio,
                latency_us: u64::try_from(member.latency.as_micros()).unwrap_or(u64::MAX),
            };
            (member.name, report)
        });
    let engines = members.collect();
    RouterReport {
        strategy: router.strategy().as_str(),
        requests_routed: stats.requests_routed,
        batches_routed: stats.batches_routed,
        routing_failures: stats.routing_failures,
        engine_failures: stats.member_failures,
        routing_time_ns: {
            let sum = u64::try_from(stats.routing_time.as_nanos()).unwrap_or(u64::MAX);
            sum / stats.routing_samples.max(1)
        },
        engines,
    }
}

fn order_router(system: &System, order: &RouterOrder) -> Result<Done, OperationError> {
    let router = router(system);
    let mut said = Vec::new();
    if let Some(strategy) = &order.strategy {
        let known = "round-robin, weighted, least-loaded, p2c, peak-ewma, adaptive, sticky, hash";
        let parsed: Strategy = strategy
            .parse()
            .map_err(|_| bad_word("strategy", strategy, known))?;
        router.set_strategy(parsed);
        said.push(format!("the strategy is {strategy}"));
    }
    if let Some(engine) = &order.engine {
        let id = router
            .find(engine)
            .ok_or_else(|| not_found("engine", engine, "`trunkline routers` lists them"))?;
        order_member(system, &router, id, engine, order, &mut said)?;
    }
    if said.is_empty() {
        let message =
            "nothing to do: give `strategy`, or `engine` with `mark`, `weight` or `drain`";
        return Err(OperationError::new(
            ErrorKind::BadInput,
            "T0213",
            message.to_owned(),
        ));
    }
    Ok(Done::say(said.join("; ")))
}

fn order_member(
    system: &System,
    router: &Router,
    id: MemberId,
    engine: &str,
    order: &RouterOrder,
    said: &mut Vec<String>,
) -> Result<(), OperationError> {
    let now = system.clock().now();
    let refused = |error: trunkline_engine::router::MemberError| {
        OperationError::new(ErrorKind::BadInput, "T0213", error.to_string())
    };
    if let Some(mark) = &order.mark {
        let parsed = match mark.as_str() {
            "auto" => Mark::Auto,
            "up" => Mark::Up,
            "down" => Mark::Down,
            other => return Err(bad_word("mark", other, "up, down or auto")),
        };
        router.mark(id, parsed, now).map_err(refused)?;
        said.push(format!("{engine} is marked {mark}"));
    }
    if let Some(weight) = order.weight {
        router.set_weight(id, weight).map_err(refused)?;
        said.push(format!("{engine} weighs {weight}"));
    }
    match order.drain {
        Some(true) => router.drain(id).map_err(refused)?,
        Some(false) => router.resume(id, now).map_err(refused)?,
        None => return Ok(()),
    }
    let state = if order.drain == Some(true) {
        "draining"
    } else {
        "in service"
    };
    said.push(format!("{engine} is {state}"));
    Ok(())
}

fn books(system: &System) -> Books {
    let attempts = system
        .client()
        .guards()
        .iter()
        .map(|guard| guard.attempts());
    let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
    for one in attempts {
        let lines = [
            ("admitted", one.admitted),
            ("succeeded", one.succeeded),
            ("slow", one.slow),
            ("rate_limited", one.rate_limited),
            ("failed", one.failed),
            ("ignored", one.ignored),
            ("unsent", one.unsent),
            ("abandoned", one.abandoned),
            ("in_flight", one.in_flight),
        ];
        for (line, n) in lines {
            *sums.entry(line).or_default() += n;
        }
    }
    Books {
        requests: sheet(&system.balance()),
        results: sheet(&system.results().balance()),
        attempts: sums,
    }
}

fn sheet(balance: &Balance) -> Sheet {
    let lines = balance
        .fields()
        .into_iter()
        .map(|(name, n)| (name, i128::from(n)));
    lines
        .chain([("imbalance", i128::from(balance.imbalance()))])
        .collect()
}

fn router(system: &System) -> Arc<Router> {
    system.client().guards()[0].router().clone()
}

pub(super) fn bad_word(key: &str, word: &str, known: &str) -> OperationError {
    let message = format!("`{key}` cannot be \"{word}\"");
    OperationError::new(ErrorKind::BadInput, "T0213", message).help(format!("use {known}"))
}
