//! What the engine's primitives cost, against the design's targets and beside others' crates.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin engine`
//!
//! Peers read a clock inside of an operation where ours take the time as an argument: the row
//! `Instant::now` says how much of their figures that is.

mod breaker;
mod guard;
mod lane;
mod ledger;
mod letters;
mod limit;
mod memory;
mod retry;
mod router;
mod stats;
mod support;
mod tables;

use benches::measure::{Case, Plan, fetch_add, rows_of};
use benches::options::Options;
use benches::report::{json_of, machine, table_of};
use serde_json::json;

fn main() {
    let options = Options::from_process();
    let plan = Plan::new(options.quick);
    // Memory first: later, what is allocated would fill holes that the cases left.
    let memory = if options.wants("memory", "bytes") {
        memory::rows()
    } else {
        Vec::new()
    };
    let mut wanted = cases();
    wanted.retain(|case| options.wants(case.group, case.name));
    let rows = rows_of(wanted, plan);
    let log = options
        .wants("letters", "log: batched append")
        .then(|| letters::log(plan));
    if options.json {
        let all = json!({
            "schema_version": 1,
            "bench": "engine",
            "machine": machine(),
            "rounds": plan.rounds,
            "rows": json_of(&rows),
            "memory": memory::json_of(&memory),
            "letter_log": log.as_ref().map(letters::LogRow::json),
        });
        println!("{all:#}");
        return;
    }
    println!(
        "{}; median of {} interleaved rounds",
        machine(),
        plan.rounds
    );
    println!("1× = one uncontended relaxed fetch_add of the same run\n");
    println!("{}", table_of(&rows));
    if !memory.is_empty() {
        println!("{}", memory::table_of(&memory));
    }
    if let Some(log) = log {
        println!("{}", log.table());
    }
}

fn cases() -> Vec<Case> {
    let groups = [
        vec![fetch_add(), support::clock()],
        breaker::cases(),
        retry::cases(),
        router::cases(),
        guard::cases(),
        tables::cases(),
        limit::cases(),
        ledger::cases(),
        lane::cases(),
        stats::cases(),
        letters::cases(),
    ];
    groups.into_iter().flatten().collect()
}
