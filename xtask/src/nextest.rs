//! Running the tests, and reading how long each took.
//!
//! nextest runs them when it is installed: a process for each test, and a report to read. Without
//! it the test binaries that Cargo built are started here one by one, so that their times are
//! known too. Either way everything was built once before, by one command for the whole
//! workspace: building a single crate would choose other features for shared dependencies and
//! compile them again.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{self, Failure, Outcome};
use crate::workspace;

/// Our configuration of nextest, from the root of the workspace.
pub(crate) const CONFIG: &str = "xtask/nextest.toml";
/// Where it puts its report, whatever the target folder: `store.dir` of that configuration.
const REPORT: &str = "target/nextest/suite/junit.xml";
/// Above this a test is named in the summary.
const SLOW: Duration = Duration::from_secs(20);

/// How long the tests took.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// Each crate with the time of its tests, longest first.
    pub(crate) crates: Vec<(String, Duration)>,
    pub(crate) tests: usize,
    /// The tests that took more than 20 s.
    pub(crate) slow: Vec<String>,
}

/// Whether `cargo nextest` can be used.
pub(crate) fn is_there() -> bool {
    command::answers(&mut command::cargo(&["nextest", "--version"]))
}

/// Builds every test, and the binaries that they start.
///
/// # Errors
/// Something does not compile.
pub(crate) fn build() -> Outcome {
    if is_there() {
        command::run(&mut command::cargo(&[
            "nextest",
            "run",
            "--workspace",
            "--no-run",
        ]))
    } else {
        command::run(&mut command::cargo(&["test", "--workspace", "--no-run"]))
    }
}

/// Runs every test.
///
/// # Errors
/// A test fails.
pub(crate) fn run() -> Outcome<Timings> {
    if is_there() {
        with_nextest()
    } else {
        one_by_one()
    }
}

fn with_nextest() -> Outcome<Timings> {
    let report = workspace::root().join(REPORT);
    // An old one must not be taken for this run's; there may be none.
    std::fs::remove_file(&report).ok();
    let mut tests = command::cargo(&["nextest", "run", "--workspace", "--no-tests", "pass"]);
    command::run(tests.args(["--config-file", CONFIG, "--profile", "suite"]))?;
    let report = std::fs::read_to_string(&report)
        .map_err(|error| Failure::new(format!("nextest left no report: {error}")))?;
    Ok(timings(report.lines().filter_map(case)))
}

/// One test of a report: the crate, the test, and how long it took.
type Case = (String, String, Duration);

/// Reads a line like `<testcase name="a::b" classname="trunkline-engine::it" time="0.005">`.
fn case(line: &str) -> Option<Case> {
    let line = line.trim_start().strip_prefix("<testcase")?;
    let value = |name: &str| {
        let (_, value) = line.split_once(&format!(" {name}=\""))?;
        value.split('"').next()
    };
    let binary = value("classname")?;
    let package = binary.split("::").next().unwrap_or(binary);
    let seconds: f64 = value("time")?.parse().ok()?;
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    Some((
        package.to_owned(),
        format!("{binary} {}", value("name")?),
        time,
    ))
}

fn timings(cases: impl Iterator<Item = Case>) -> Timings {
    let mut timings = Timings::default();
    for (package, test, time) in cases {
        timings.tests += 1;
        if time > SLOW {
            timings
                .slow
                .push(format!("{test} ({:.1} s)", time.as_secs_f64()));
        }
        add(&mut timings.crates, package, time);
    }
    timings.crates.sort_by_key(|(_, time)| Reverse(*time));
    timings
}

fn add(crates: &mut Vec<(String, Duration)>, package: String, time: Duration) {
    match crates.iter_mut().find(|(name, _)| *name == package) {
        Some((_, sum)) => *sum += time,
        None => crates.push((package, time)),
    }
}

/// A test binary that Cargo built, and the folder in which it expects to run.
#[derive(Debug, PartialEq, Eq)]
struct Binary {
    package: String,
    program: PathBuf,
    folder: PathBuf,
}

fn one_by_one() -> Outcome<Timings> {
    let mut list = command::cargo(&["test", "--workspace", "--no-run"]);
    let list = command::read(list.args(["--message-format", "json-render-diagnostics"]))?;
    let mut timings = Timings::default();
    for binary in list.lines().filter_map(binary) {
        let start = Instant::now();
        let mut tests = Command::new(&binary.program);
        tests
            .current_dir(&binary.folder)
            .env("CARGO_MANIFEST_DIR", &binary.folder);
        command::run(tests.arg("--quiet"))?;
        let mut count = Command::new(&binary.program);
        let listed = command::read(count.current_dir(&binary.folder).args(["--list"]))?;
        timings.tests += listed
            .lines()
            .filter(|line| line.ends_with(": test"))
            .count();
        add(&mut timings.crates, binary.package, start.elapsed());
    }
    timings.crates.sort_by_key(|(_, time)| Reverse(*time));
    Ok(timings)
}

/// Reads one line of Cargo's JSON: those about a test binary name what was built.
fn binary(line: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?;
    Some(Binary {
        package: package(folder).to_owned(),
        program: message["executable"].as_str()?.into(),
        folder: folder.to_owned(),
    })
}

/// The folder's name says which room it is; Cargo's ids have changed their form before.
fn package(folder: &Path) -> &str {
    let inside = folder.strip_prefix(workspace::root()).unwrap_or(folder);
    inside
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_by_crate_and_what_is_slow_is_named() {
        let report = r#"
<testsuites name="nextest-run" tests="3" time="25.1">
    <testsuite name="trunkline-engine" tests="1" time="0.5">
        <testcase name="breaker::opens" classname="trunkline-engine" time="0.500">
    </testsuite>
        <testcase name="books::balance" classname="trunkline-engine::it" time="0.250">
        <testcase name="walks::long" classname="trunkline-sim::it" timestamp="x" time="21.5">
"#;
        let timings = timings(report.lines().filter_map(case));
        assert_eq!(timings.tests, 3);
        let expected = [("trunkline-sim", 21_500), ("trunkline-engine", 750)];
        let expected = expected.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms)));
        assert_eq!(timings.crates, expected);
        assert_eq!(timings.slow, ["trunkline-sim::it walks::long (21.5 s)"]);
    }

    #[test]
    fn only_test_binaries_are_started() {
        let root = workspace::root().display().to_string();
        let line = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","profile":{{"test":{test}}},
                "manifest_path":"{root}/crates/sim/Cargo.toml","executable":"/b/sim-1"}}"#
            )
        };
        let expected = Binary {
            package: "sim".to_owned(),
            program: "/b/sim-1".into(),
            folder: workspace::root().join("crates/sim"),
        };
        assert_eq!(binary(&line(true)), Some(expected));
        assert_eq!(binary(&line(false)), None);
        assert_eq!(binary("error: not JSON"), None);
    }
}
