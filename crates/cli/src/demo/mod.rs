//! `trunkline demo`: the main job, without root, configuration or network.
//!
//! A thousand simulated devices answer on a real loopback socket, a fifth of them dead or faulty,
//! and the daemon's own SNMP system polls them: shards, breakers, retries, poller and sinks as in
//! production. At the end everything that was asked must have an outcome; the sheet shows it, and
//! the exit code says whether it balances.

mod sheet;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::entropy;
use trunkline_sim::snmp::{FleetSpec, models};
use trunkline_system_snmp::{OnDeath, SnmpConfig, System, SystemPlan, Undertaker};

use crate::exit::{CliError, Exit};
use crate::interrupt::Interrupt;
use crate::output::talk;
use crate::sim::Server;
use view::{Screen, View};

/// `trunkline demo`
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// How long to poll
    #[arg(long = "for", value_name = "DURATION", default_value = "20s")]
    lasting: trunkline_config::Duration,
    /// How many devices
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// Which of them misbehave, and how
    #[arg(long, value_name = "LIST", default_value = FAULTS)]
    faults: String,
}

/// A fifth of all devices; a device has one fault.
const FAULTS: &str = "dead=8%,slow=4%:120ms,garbage=2%,wrong-source=2%,too-big=2%:30,loop=1%:4,\
                      empty-bulk=1%,loss=0.5%";
/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(500);
/// How often a line is printed elsewhere.
const LINE: Duration = Duration::from_secs(2);
/// How long work under way may go on after the end: longer than any job's deadline.
const DRAIN: Duration = Duration::from_secs(4);

/// Runs the demo.
///
/// # Errors
/// Why it could not begin, or could not print.
pub(crate) fn run(args: &DemoArgs) -> Result<Exit, CliError> {
    let failed = |what: &'static str| {
        move |error: &dyn std::fmt::Display| CliError::Failed(format!("{what}: {error}"))
    };
    let interrupt = Interrupt::watch().map_err(|error| failed("signals")(&error))?;
    let spec = devices(args)?;
    let server = Server::start(spec).map_err(|error| failed("the devices")(&error))?;
    let config = config(args.devices, &server.first().to_string())?;
    let plan = SystemPlan::new("demo", &config).map_err(|error| failed("the plan")(&error))?;
    let on_death: OnDeath = Arc::new(|death| {
        talk(&format!(
            "the thread {} died: {}\n",
            death.thread, death.reason
        ));
    });
    // The only sink keeps values in memory and refuses none.
    let undertaker: Undertaker = Arc::new(|_, _, _| false);
    let system = System::start(plan, Clock::start(), &undertaker, &on_death)
        .map_err(|error| failed("the poller")(&error))?;
    let show = Show {
        lasting: args.lasting.get(),
        faults: args.faults.clone(),
        first: server.first(),
        last: server.last(),
        devices: args.devices,
    };
    let shown = show.run(&system, &interrupt);
    drain(&system);
    let view = View::of(&system);
    let (requests, results) = system.stop(Duration::from_secs(10));
    let served = server
        .stop()
        .map_err(|error| failed("the devices")(&error))?;
    // A reader that has gone does not make the demo a failure, so the books are closed before.
    shown?;
    let mut text = view.summary(&served.counters);
    text.push_str(&sheet::render(&requests, &results));
    let balanced = [requests, results].iter().all(sheet::balances);
    text.push_str(if balanced {
        "The books balance.\n"
    } else {
        "THE BOOKS DO NOT BALANCE.\n"
    });
    io::stdout().write_all(text.as_bytes())?;
    Ok(if balanced { Exit::Done } else { Exit::Failed })
}

fn devices(args: &DemoArgs) -> Result<FleetSpec, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("a model: {error}"));
    let faults = args
        .faults
        .parse()
        .map_err(|error| CliError::Usage(format!("--faults: {error}")))?;
    let mut kinds = Vec::new();
    for (name, weight) in [("switch48", 7), ("router", 2), ("switch:interfaces=24", 1)] {
        let mib = models::by_name(name).map_err(|error| failed(&error))?;
        kinds.push((Arc::new(mib), weight));
    }
    let (first, count) = (kinds[0].0.clone(), args.devices);
    Ok(FleetSpec {
        models: kinds,
        port: 0,
        faults,
        seed: entropy::seed(),
        ..FleetSpec::new(first, count)
    })
}

/// What an operator would write for this, as a value.
fn config(devices: u32, first: &str) -> Result<SnmpConfig, CliError> {
    let config = json!({
        "target": { "device": { "address": format!("{first}+{devices}") } },
        "job": {
            "system": {
                "interval": "1s",
                "get": ["1.3.6.1.2.1.1.3.0", "1.3.6.1.2.1.1.5.0", "1.3.6.1.2.1.2.1.0"],
            },
            "interfaces": {
                "interval": "5s",
                "deadline": "2s",
                "walk": ["1.3.6.1.2.1.2.2.1.8", "1.3.6.1.2.1.2.2.1.10", "1.3.6.1.2.1.2.2.1.16"],
            },
        },
        "sink": { "metrics": { "last": { "max_series": 1_000_000 } } },
    });
    serde_json::from_value(config)
        .map_err(|error| CliError::Failed(format!("the configuration: {error}")))
}

/// Starts nothing more and waits until what is under way has ended.
fn drain(system: &System) {
    let until = Instant::now() + DRAIN;
    system.drain();
    while !system.is_idle() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is shown while it runs.
struct Show {
    lasting: Duration,
    faults: String,
    first: std::net::SocketAddr,
    last: std::net::SocketAddr,
    devices: u32,
}

impl Show {
    fn run(&self, system: &System, interrupt: &Interrupt) -> io::Result<()> {
        let mut out = io::stdout();
        let live = out.is_terminal();
        let title = format!(
            "{} simulated devices on {} to {}, port {}, polled over real sockets",
            self.devices,
            self.first.ip(),
            self.last.ip(),
            self.first.port()
        );
        writeln!(out, "{title}\nfaults {}", self.faults)?;
        let mut screen = live.then(|| Screen::new(std::env::var_os("NO_COLOR").is_none()));
        let (mut view, step) = (View::of(system), if live { REDRAW } else { LINE });
        let began = system.clock().now();
        loop {
            let elapsed = system.clock().now().saturating_since(began);
            let left = self.lasting.saturating_sub(elapsed);
            if left.is_zero() || interrupt.wait(left.min(step)) {
                return out.flush();
            }
            let next = View::of(system);
            let elapsed = next.at.saturating_since(began);
            match &mut screen {
                Some(screen) => screen.draw(&mut out, &next, &view, elapsed, self.lasting)?,
                None => writeln!(out, "{}", next.line(&view, elapsed))?,
            }
            view = next;
        }
    }
}
