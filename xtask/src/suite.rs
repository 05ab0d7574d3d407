//! `cargo xtask test`: everything that a change must pass, in the order of how soon it can fail.
//!
//! The budget is 8 minutes on two cores from an empty target folder, so nothing is built twice
//! where that can be avoided: one command builds all tests of the workspace, and the pages of the
//! reference are written by the binary that the tests already needed. Two things have to be built
//! apart: clippy's metadata, and loom, which exchanges the engine's atomics and needs speed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::command::{self, Failure, Outcome};
use crate::nextest::{self, Timings};
use crate::{generate, packages, tidy, workspace};

/// A named part of the suite, and how to run it alone.
struct Step {
    name: &'static str,
    alone: &'static str,
    run: fn(&mut Session) -> Outcome,
}

/// What the steps of one run leave for each other and for the summary.
struct Session {
    target: PathBuf,
    timings: Timings,
}

const STEPS: &[Step] = &[
    Step {
        name: "packages",
        alone: "apt-get install snmp snmpd",
        run: |_| packages::ensure(),
    },
    Step {
        name: "format",
        alone: "cargo fmt --all",
        run: |_| command::run(&mut command::cargo(&["fmt", "--all", "--check"])),
    },
    Step {
        name: "tidy",
        alone: "cargo xtask tidy",
        run: |_| tidy::run(),
    },
    Step {
        name: "clippy",
        alone: "cargo clippy --workspace --all-targets -- -D warnings",
        run: |_| clippy(),
    },
    Step {
        name: "build tests",
        alone: "cargo test --workspace --no-run",
        run: |_| nextest::build(),
    },
    Step {
        name: "tests",
        alone: "cargo nextest run --workspace, or cargo test --workspace",
        run: |session| {
            session.timings = nextest::run()?;
            Ok(())
        },
    },
    Step {
        name: "reference",
        alone: "cargo xtask generate --check",
        run: |_| generate::run(generate::Mode::Check),
    },
    Step {
        name: "doc tests",
        alone: "cargo test --workspace --doc",
        run: |_| doc_tests(),
    },
    Step {
        name: "loom",
        alone: "cargo test -p trunkline-engine --lib --features loom --release loom_",
        run: |session| loom(&session.target),
    },
];

/// Runs every step and prints what each took.
///
/// # Errors
/// The first step that fails, with the command that runs it alone.
pub(crate) fn run() -> Outcome {
    let start = Instant::now();
    let mut session = Session {
        target: workspace::metadata()?.target_directory,
        timings: Timings::default(),
    };
    let mut times = Vec::new();
    for step in STEPS {
        println!("── {}", step.name);
        let begun = Instant::now();
        let done = (step.run)(&mut session);
        let took = begun.elapsed();
        done.map_err(|failure| failed(step, took, &failure))?;
        times.push((step.name.to_owned(), took));
    }
    println!("{}", summary(&times, &session.timings, start.elapsed()));
    Ok(())
}

fn clippy() -> Outcome {
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    command::run(&mut command::cargo(&lints))
}

fn doc_tests() -> Outcome {
    command::run(&mut command::cargo(&[
        "test",
        "--workspace",
        "--doc",
        "--quiet",
    ]))
}

/// loom walks through the interleavings of words with two writers; optimised, in a folder of its
/// own so that it does not compete with release builds, and without their slow linking.
fn loom(target: &Path) -> Outcome {
    let mut loom = command::cargo(&["test", "-p", "trunkline-engine", "--lib", "--release"]);
    loom.args(["--features", "loom", "--quiet"]);
    loom.arg("--target-dir").arg(target.join("loom"));
    loom.env("CARGO_PROFILE_RELEASE_LTO", "off");
    loom.env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    command::run(loom.arg("loom_"))
}

fn failed(step: &Step, took: Duration, failure: &Failure) -> Failure {
    Failure::new(format!(
        "{failure}\n\ntest: {} failed after {:.1} s; alone: {}",
        step.name,
        took.as_secs_f64(),
        step.alone
    ))
}

/// What each step took, what each crate's tests took, and the sum.
fn summary(steps: &[(String, Duration)], timings: &Timings, total: Duration) -> String {
    let mut text = String::from("\nstep                      time   share\n");
    text.push_str(&table(steps, total));
    text.push_str("\ntests of                  time   share  (tests run side by side)\n");
    let sum = timings.crates.iter().map(|(_, time)| *time).sum();
    text.push_str(&table(&timings.crates, sum));
    for slow in &timings.slow {
        text.push_str(&format!("slower than 20 s: {slow}\n"));
    }
    let (tests, total) = (timings.tests, total.as_secs_f64());
    text.push_str(&format!(
        "\n{tests} tests and every other step passed in {total:.1} s"
    ));
    text
}

fn table(rows: &[(String, Duration)], whole: Duration) -> String {
    let share = |part: Duration| 100.0 * part.as_secs_f64() / whole.as_secs_f64().max(1e-9);
    let line = |(name, time): &(String, Duration)| {
        format!(
            "{name:<22}{:>6.1} s {:>5.1} %\n",
            time.as_secs_f64(),
            share(*time)
        )
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_says_how_to_run_it_alone() {
        let failure = failed(
            &STEPS[2],
            Duration::from_millis(1500),
            &Failure::new("a.rs:1: bad"),
        );
        let expected = "a.rs:1: bad\n\ntest: tidy failed after 1.5 s; alone: cargo xtask tidy";
        assert_eq!(failure.to_string(), expected);
    }

    #[test]
    fn the_summary_gives_each_step_and_each_crate_its_share() {
        let second = Duration::from_secs;
        let steps = [
            ("clippy".to_owned(), second(30)),
            ("tests".to_owned(), second(10)),
        ];
        let timings = Timings {
            crates: vec![("trunkline-sim".to_owned(), second(6))],
            tests: 12,
            slow: vec!["a b (21.0 s)".to_owned()],
        };
        let text = summary(&steps, &timings, second(40));
        for line in [
            "clippy                  30.0 s  75.0 %",
            "trunkline-sim            6.0 s 100.0 %",
            "slower than 20 s: a b (21.0 s)",
            "12 tests and every other step passed in 40.0 s",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
