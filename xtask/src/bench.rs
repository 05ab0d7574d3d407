//! `cargo xtask bench`: starts one of the comparison tables of `benches/`.
//!
//! The benches are a workspace of their own, because they link peers' crates that the product must
//! never depend on. What they measure, and how, is said there and in `docs/benchmarks.md`.

use crate::command::{self, Failure, Outcome};
use crate::workspace;

const TABLES: &[&str] = &["engine", "snmp"];
const MANIFEST: &str = "benches/Cargo.toml";

/// Runs the bench called `table` with `rest` as its own arguments.
///
/// # Errors
/// There is no such bench, or it fails.
pub(crate) fn run(table: &str, rest: &[&str]) -> Outcome {
    if !TABLES.contains(&table) {
        let known = TABLES.join(" or ");
        return Err(Failure::usage(format!(
            "no bench is called {table}: take {known}"
        )));
    }
    if !workspace::root().join(MANIFEST).is_file() {
        return Err(Failure::new(format!(
            "{MANIFEST} is not there: nothing to compare with"
        )));
    }
    let mut bench = command::cargo(&["run", "--release", "--manifest-path", MANIFEST]);
    bench.args(["--bin", table, "--"]).args(rest);
    command::run(&mut bench)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_bench_is_a_usage_error_that_names_the_known_ones() {
        let failure = run("engines", &[]).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().contains("engine or snmp"), "{failure}");
    }
}
