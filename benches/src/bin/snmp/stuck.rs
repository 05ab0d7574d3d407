//! What one target that never answers costs the others.
//!
//! Requests start at a rate, whatever the answers do, and latencies count from the intended start.
//! The two runs of a pair differ in one more target, which is dead; its own requests fail and are
//! in no percentile.

use benches::measure::Spread;

use crate::tools::{Tools, number};
use crate::{Held, Line, Target};

const TARGETS: &str = "127.1.0.1+1000:16200";
const STUCK: &str = "127.2.0.1:16201";
/// A fifth of what the machine bears, so that queues do not drown what is looked for.
const RATE: &str = "20000";

pub(crate) fn lines(tools: &Tools, quick: bool) -> Result<Vec<Line>, String> {
    let (pairs, lasting) = if quick { (3, "2s") } else { (15, "3s") };
    let _agents = tools.simulate(&["--agents", TARGETS])?;
    let _stuck = tools.simulate(&["--agents", STUCK, "--faults", "dead=100%"])?;
    let healthy = ["--targets", TARGETS, "--rate", RATE, "--for", lasting];
    let with_stuck = [&["--targets", STUCK], &healthy[..]].concat();
    let (mut p50, mut p99, mut us) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for pair in 0..pairs {
        // Whoever comes first meets a colder machine, so they take turns.
        let (alone, beside) = if pair % 2 == 0 {
            let alone = tools.bench(&healthy)?;
            (alone, tools.bench(&with_stuck)?)
        } else {
            let beside = tools.bench(&with_stuck)?;
            (tools.bench(&healthy)?, beside)
        };
        if number(&beside, "timeouts") < 1.0 {
            return Err("the stuck target answered".to_owned());
        }
        let latency = |figures: &serde_json::Value, key| number(&figures["latency_us"], key);
        p50.push(latency(&beside, "p50") / latency(&alone, "p50"));
        p99.push(latency(&beside, "p99") / latency(&alone, "p99"));
        us[0].push(latency(&alone, "p50"));
        us[1].push(latency(&alone, "p99"));
    }
    let [alone50, alone99] = us.map(|us| Spread::of(us).unwrap_or_default().median);
    let line = |name: &str, ratios: Vec<f64>, alone: f64, most| Line {
        group: "stuck target",
        name: format!("{name} of the others, with one stuck / without ({pairs} pairs)"),
        figure: format!("{alone:.0} us without"),
        held: Spread::of(ratios).map(|spread| Held {
            spread,
            unit: "×",
            target: Target::AtMost(most),
        }),
    };
    Ok(vec![
        line("p50", p50, alone50, 1.05),
        line("p99", p99, alone99, 1.25),
    ])
}
