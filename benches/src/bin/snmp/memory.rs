//! What 100,000 polled targets take: memory and file descriptors of a daemon that runs.

use std::fmt::Write as _;
use std::time::Duration;

use benches::measure::Spread;

use crate::tools::{Running, Tools};
use crate::{Held, Line, Target};

const TARGETS: u32 = 100_000;

pub(crate) fn lines(tools: &Tools, quick: bool) -> Result<Vec<Line>, String> {
    let agents = format!("127.1.0.1+{TARGETS}:16202");
    let _agents = tools.simulate(&["--agents", &agents, "--model", "minimal"])?;
    let path = tools.directory.join("trunkline.toml");
    std::fs::write(&path, config(tools, &agents)).map_err(|error| error.to_string())?;
    let daemon = tools.run(&path)?;
    // Two intervals: everybody has been polled, and the first polls' garbage is gone or is not.
    let seconds = if quick { 15 } else { 125 };
    std::thread::sleep(Duration::from_secs(seconds));
    let peak = status(&daemon, "VmHWM:")? / 1024.0;
    let now = status(&daemon, "VmRSS:")? / 1024.0;
    let fds = std::fs::read_dir(format!("/proc/{}/fd", daemon.0.id()));
    let fds = fds.map_err(|error| error.to_string())?.count();
    let line = |name: &str, figure, value: f64, unit, most| Line {
        group: "memory",
        name: name.to_owned(),
        figure,
        held: Spread::of(vec![value]).map(|spread| Held {
            spread,
            unit,
            target: Target::AtMost(most),
        }),
    };
    let resident = format!("peak {peak:.0} MB after {seconds} s");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(vec![
        line(
            "100,000 targets polled every 60 s, resident",
            resident,
            now,
            " MB",
            150.0,
        ),
        line(
            "file descriptors of that daemon",
            format!("{cores} cores"),
            fds as f64,
            "",
            32.0 + 4.0 * cores as f64,
        ),
    ])
}

fn config(tools: &Tools, agents: &str) -> String {
    let (mut text, directory) = (String::new(), tools.directory.display());
    // Writing to a string cannot fail.
    write!(
        text,
        "[trunkline]\nstate_dir = \"{directory}/state\"\n\
         [admin]\nlisten = []\nsocket = \"{directory}/control.sock\"\n\
         [snmp.core]\nmax_targets = {TARGETS}\n\
         [snmp.core.target.agent]\naddress = \"{agents}\"\n\
         [snmp.core.job.uptime]\ninterval = \"60s\"\nget = [\"1.3.6.1.2.1.1.3.0\"]\n\
         [snmp.core.sink.jsonl.nowhere]\npath = \"/dev/null\"\n"
    )
    .ok();
    text
}

/// A number of kB in the daemon's status.
fn status(daemon: &Running, key: &str) -> Result<f64, String> {
    let path = format!("/proc/{}/status", daemon.0.id());
    let text = std::fs::read_to_string(path).map_err(|_| "the daemon has ended".to_owned())?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("no {key} in its status: the daemon has ended"))
}
