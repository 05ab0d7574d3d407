//! Bytes of one breaker and one gate: resident memory over many of them.

use benches::report::{named, table};
use rustix::param::page_size;
use serde_json::{Value, json};
use trunkline_engine::breaker::{Breaker, BreakerPolicy};
use trunkline_engine::guard::{AttemptSheet, Guard, GuardPolicy};
use trunkline_engine::router::Strategy;
use trunkline_engine::stats::Histogram;

use crate::{breaker, router};

/// One line.
pub(crate) struct Bytes {
    what: &'static str,
    peer: Option<&'static str>,
    each: usize,
    target: Option<usize>,
}

const COUNT: usize = 200_000;

/// The bytes that each thing made by `make` takes. They are kept for ever, so that nothing that is
/// measured later lies in their place.
fn each<T>(mut make: impl FnMut() -> T) -> usize {
    let mut kept = Vec::with_capacity(COUNT);
    // The code itself becomes resident with its first use.
    kept.extend((0..100).map(|_| make()));
    let before = resident();
    kept.extend((100..COUNT).map(|_| make()));
    let grown = resident().saturating_sub(before);
    std::mem::forget(kept);
    grown / COUNT
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * page_size()
}

pub(crate) fn rows() -> Vec<Bytes> {
    let (plain, windowed) = (BreakerPolicy::default(), breaker::windowed());
    let guard = Guard::new(router::router(Strategy::P2c, 3), AttemptSheet::default());
    let gates = GuardPolicy::default();
    let windowed_gates = GuardPolicy {
        breaker: windowed.clone(),
        ..GuardPolicy::default()
    };
    let ours = |what, each, target| Bytes {
        what,
        peer: None,
        each,
        target,
    };
    let theirs = |what, peer, each| Bytes {
        what,
        peer: Some(peer),
        each,
        target: None,
    };
    vec![
        ours(
            "breaker, consecutive",
            each(|| Breaker::new(&plain)),
            Some(16),
        ),
        ours(
            "breaker, failure window",
            each(|| Breaker::new(&windowed)),
            Some(128),
        ),
        theirs(
            "breaker, consecutive",
            "failsafe",
            each(breaker::failsafe_breaker),
        ),
        theirs(
            "breaker, its default",
            "failsafe",
            each(|| failsafe::Config::new().build()),
        ),
        theirs(
            "breaker, window of 100 calls",
            "recloser",
            each(breaker::recloser),
        ),
        ours("gate, defaults", each(|| guard.gate(&gates)), None),
        ours(
            "gate, failure window",
            each(|| guard.gate(&windowed_gates)),
            None,
        ),
        ours("histogram", histogram(), None),
    ]
}

/// All of a histogram is allocated at once, so a few hundred are enough.
fn histogram() -> usize {
    let before = resident();
    let kept: Vec<Histogram> = (0..500).map(|_| Histogram::new()).collect();
    let grown = resident().saturating_sub(before);
    let each = grown / kept.len();
    std::mem::forget(kept);
    each
}

pub(crate) fn table_of(rows: &[Bytes]) -> String {
    let cells = rows.iter().map(|row| {
        let what = row.peer.map_or_else(
            || row.what.to_owned(),
            |peer| format!("– {}: {}", named(peer), row.what),
        );
        let target = row
            .target
            .map_or_else(String::new, |target| format!("{target}"));
        let holds = row
            .target
            .map_or("", |t| if row.each <= t { "yes" } else { "NO" });
        vec![what, row.each.to_string(), target, holds.to_owned()]
    });
    let head = ["resident bytes of one", "bytes", "target", "holds"];
    table(&head, &cells.collect::<Vec<_>>())
}

pub(crate) fn json_of(rows: &[Bytes]) -> Value {
    let rows = rows.iter().map(|row| {
        json!({
            "what": row.what,
            "peer": row.peer.map(named),
            "bytes": row.each,
            "target": row.target,
        })
    });
    rows.collect()
}
