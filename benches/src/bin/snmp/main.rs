//! What SNMP costs, against the raw loopback, gosnmp and the design's targets.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin snmp`
//!
//! The clients run on one core and what answers them on another, each pinned. Contestants take
//! turns, round by round, and a ratio is formed within a round, so that a machine that is busy
//! disturbs both sides of it alike. Figures are per second of the client's CPU time, user and
//! system: what a poller costs, whoever waits for whom. `TRUNKLINE=PATH` measures that binary
//! instead of building one.

mod memory;
mod own;
mod rounds;
mod stuck;
mod tools;

use std::process::ExitCode;

use benches::measure::{Plan, Spread};
use benches::options::Options;
use benches::report::{digits, machine, table};
use serde_json::{Value, json};

use tools::Tools;

/// One line of the table.
struct Line {
    group: &'static str,
    name: String,
    figure: String,
    /// The ratio or amount that is held against the target.
    held: Option<Held>,
}

struct Held {
    spread: Spread,
    unit: &'static str,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Held {
    fn holds(&self) -> bool {
        match self.target {
            Target::AtLeast(least) => self.spread.median >= least,
            Target::AtMost(most) => self.spread.median <= most,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::from_process();
    let tools = match Tools::build() {
        Ok(tools) => tools,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match lines(&options, &tools) {
        Ok(lines) => print(&options, &lines),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn lines(options: &Options, tools: &Tools) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    if options.wants("throughput", "get walk gosnmp raw") {
        lines.extend(rounds::lines(tools, options.quick)?);
    }
    if options.wants("decoder", "varbinds") {
        lines.push(own::decoder(options.quick));
    }
    if options.wants("submit", "fetch_add") {
        lines.push(own::submit(Plan::new(options.quick)));
    }
    if options.wants("stuck", "one stuck target") {
        lines.extend(stuck::lines(tools, options.quick)?);
    }
    if options.wants("memory", "100,000 targets") {
        lines.extend(memory::lines(tools, options.quick)?);
    }
    Ok(lines)
}

fn print(options: &Options, lines: &[Line]) {
    if options.json {
        let rows: Vec<Value> = lines.iter().map(json_of).collect();
        let all = json!({
            "schema_version": 1,
            "bench": "snmp",
            "machine": machine(),
            "quick": options.quick,
            "rows": rows,
        });
        println!("{all:#}");
        return;
    }
    println!("{}\n", machine());
    let head = [
        "part",
        "what",
        "figure",
        "held against the target",
        "min..max",
        "target",
        "holds",
    ];
    let cells: Vec<Vec<String>> = lines.iter().map(cells_of).collect();
    println!("{}", table(&head, &cells));
}

fn cells_of(line: &Line) -> Vec<String> {
    let mut cells = vec![
        line.group.to_owned(),
        line.name.clone(),
        line.figure.clone(),
    ];
    let Some(held) = &line.held else {
        cells.resize(7, String::new());
        return cells;
    };
    let (unit, spread) = (held.unit, held.spread);
    cells.push(format!("{}{unit}", amount(spread.median)));
    cells.push(format!("{}..{}", amount(spread.min), amount(spread.max)));
    cells.push(match held.target {
        Target::AtLeast(least) => format!("≥ {}{unit}", amount(least)),
        Target::AtMost(most) => format!("≤ {}{unit}", amount(most)),
    });
    cells.push(if held.holds() { "yes" } else { "NO" }.to_owned());
    cells
}

fn json_of(line: &Line) -> Value {
    json!({
        "part": line.group,
        "what": line.name,
        "figure": line.figure,
        "median": line.held.as_ref().map(|held| held.spread.median),
        "min": line.held.as_ref().map(|held| held.spread.min),
        "max": line.held.as_ref().map(|held| held.spread.max),
        "holds": line.held.as_ref().map(Held::holds),
    })
}

/// A number as it is printed: thousands and millions by their letters.
fn amount(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", digits(v / 1e6)),
        v if v >= 1e4 => format!("{}k", digits(v / 1e3)),
        v => digits(v),
    }
}
