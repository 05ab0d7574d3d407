//! Requests and varbinds per second of client CPU time, in interleaved rounds.
//!
//! The bare loop sends and receives datagrams of the sizes that the product's own GETs have, with
//! the same window, batch, socket options and destinations; it is the limit. gosnmp asks the same
//! agents over one connection each, with as many goroutines as serve it best.

use benches::measure::Spread;
use serde_json::Value;

use crate::tools::{Tools, number};
use crate::{Held, Line, Target, amount};

const AGENTS: &str = "1000";
const FIRST: &str = "127.1.0.1";
const TARGETS: &str = "127.1.0.1+1000";
const PORT: &str = "16200";
const RAW_PORT: &str = "16300";
const WINDOW: &str = "512";
const BATCH: &str = "64";
const GOROUTINES: &str = "128";
const REPETITIONS: &str = "25";
const TABLES: &str = "1.3.6.1.2.1.2.2,1.3.6.1.2.1.31.1.1";

/// What one round found; for gosnmp only where it is installed.
#[derive(Default)]
struct Found {
    raw: Vec<f64>,
    get: Vec<f64>,
    go_get: Vec<f64>,
    walk: Vec<f64>,
    go_walk: Vec<f64>,
}

pub(crate) fn lines(tools: &Tools, quick: bool) -> Result<Vec<Line>, String> {
    let (rounds, seconds) = if quick { (3, "1") } else { (15, "2") };
    let _agents = tools.simulate(&["--agents", TARGETS, "--port", PORT])?;
    let sizes = tools.bench(&get_arguments("1s"))?;
    let each = |bytes: &str, count: &str| {
        let mean = number(&sizes, bytes) / number(&sizes, count);
        mean.round() as u64
    };
    let (asked, answered) = (
        each("sent_bytes", "sent"),
        each("received_bytes", "requests"),
    );
    let _echo = tools.echo(RAW_PORT, answered)?;
    let mut found = Found::default();
    for _ in 0..rounds {
        found.round(tools, seconds, asked)?;
    }
    Ok(found.lines(rounds, tools.pinned()))
}

fn get_arguments(lasting: &str) -> [&str; 10] {
    let in_flight = ["--in-flight", WINDOW];
    let [a, b] = in_flight;
    [
        "--targets",
        TARGETS,
        "--port",
        PORT,
        "--mode",
        "get",
        a,
        b,
        "--for",
        lasting,
    ]
}

impl Found {
    fn round(&mut self, tools: &Tools, seconds: &str, asked: u64) -> Result<(), String> {
        let lasting = format!("{seconds}s");
        let per_cpu =
            |figures: &Value, key: &str| number(figures, key) / number(figures, "cpu_seconds");
        let bytes = asked.to_string();
        let raw = tools.raw(&[FIRST, AGENTS, RAW_PORT, &bytes, WINDOW, BATCH, seconds])?;
        self.raw.push(per_cpu(&raw, "exchanges"));
        let get = tools.bench(&get_arguments(&lasting))?;
        refuse_errors(&get)?;
        self.get.push(per_cpu(&get, "requests"));
        let go = [
            "-goroutines",
            GOROUTINES,
            "-max-repetitions",
            REPETITIONS,
            "-for",
            &lasting,
        ];
        if tools.has_gosnmp() {
            self.go_get.push(per_cpu(&tools.gosnmp(&go)?, "requests"));
        }
        let mut walk = vec!["--targets", TARGETS, "--port", PORT, "--mode", "walk"];
        walk.extend([
            "--max-repetitions",
            REPETITIONS,
            "--in-flight",
            WINDOW,
            "--for",
            &lasting,
        ]);
        let walk = tools.bench(&walk)?;
        refuse_errors(&walk)?;
        self.walk.push(per_cpu(&walk, "varbinds"));
        if tools.has_gosnmp() {
            let walk = [&go[..], &["-mode", "walk", "-oids", TABLES]].concat();
            self.go_walk
                .push(per_cpu(&tools.gosnmp(&walk)?, "varbinds"));
        }
        Ok(())
    }

    fn lines(self, rounds: usize, pinned: bool) -> Vec<Line> {
        let line = |name: &str, figures: &[f64], unit: &str, held| Line {
            group: "throughput",
            name: name.to_owned(),
            figure: per_second(figures, unit),
            held,
        };
        let ratio = |ours: &[f64], theirs: &[f64], least| {
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
            let spread = Spread::of(ratios.collect())?;
            let (unit, target) = ("×", Target::AtLeast(least));
            Some(Held {
                spread,
                unit,
                target,
            })
        };
        let gets = "GETs/CPU-s";
        let cores = if pinned { "cores pinned" } else { "NOT pinned" };
        let raw = format!("bare sendmmsg/recvmmsg echo ({rounds} rounds, {cores})");
        let mut lines = vec![
            line(&raw, &self.raw, "exchanges/CPU-s", None),
            line(
                "trunkline GET / bare echo",
                &self.get,
                gets,
                ratio(&self.get, &self.raw, 0.6),
            ),
        ];
        if !self.go_get.is_empty() {
            let (get, walk) = (ratio(&self.get, &self.go_get, 3.0), &self.walk);
            lines.push(line("gosnmp GET", &self.go_get, gets, None));
            lines.push(line("trunkline GET / gosnmp GET", &self.get, gets, get));
            let unit = "varbinds/CPU-s";
            lines.push(line("gosnmp BulkWalkAll", &self.go_walk, unit, None));
            let held = ratio(walk, &self.go_walk, 5.0);
            lines.push(line(
                "trunkline walk / gosnmp BulkWalkAll",
                walk,
                unit,
                held,
            ));
        } else {
            lines.push(line("trunkline walk", &self.walk, "varbinds/CPU-s", None));
        }
        lines
    }
}

/// Figures of a run in which something went wrong would be of something else.
fn refuse_errors(figures: &Value) -> Result<(), String> {
    let (errors, lost) = (number(figures, "errors"), number(figures, "timeouts"));
    if errors + lost > number(figures, "requests") / 1000.0 {
        return Err(format!("the run had {errors} errors and {lost} timeouts"));
    }
    Ok(())
}

fn per_second(figures: &[f64], unit: &str) -> String {
    let median = Spread::of(figures.to_vec()).unwrap_or_default().median;
    format!("{} {unit}", amount(median))
}
