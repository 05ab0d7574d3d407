//! `trunkline bench snmp`: shards, targets and questions as the poller has them, and a reader.
//!
//! Targets get the policies of a default configuration, breaker and adaptive limits included, so
//! the figures are those of the product and not of a stripped loop.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use trunkline_runtime::clock::Clock;
use trunkline_runtime::process::cpu_time;
use trunkline_system_snmp::{
    Address, AddressError, Ask, Exchange, Inbox, Method, OnDeath, PlanError, SnmpConfig, SnmpError,
    SourcePolicy, SystemPlan, TargetId, TargetPolicy, TargetSpec, WalkSpec, Wire, WireError,
    WirePlan, expand,
};
use trunkline_wire_snmp::{EncodeError, OidBuf, Value, Version, encode_varbinds};

use super::load::{Load, Pace};
use super::report::{Report, Totals};
use crate::exit::{CliError, Exit};
use crate::interrupt::Interrupt;
use crate::output::talk;

/// `trunkline bench snmp`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Agents: ADDRESS+COUNT, FIRST-LAST, NETWORK/BITS, HOST; may be given several times
    #[arg(long, value_name = "ADDRESSES", required = true)]
    targets: Vec<String>,
    /// UDP port of the agents that name none
    #[arg(long, default_value_t = 161)]
    port: u16,
    /// What one request is
    #[arg(long, value_enum, default_value = "get")]
    mode: Mode,
    /// What to ask: all of them in one GET, or each as a subtree to walk [default: sysUpTime.0;
    /// ifTable and ifXTable]
    #[arg(long, value_name = "OID")]
    oid: Vec<OidBuf>,
    /// Requests under way at once [default: 512; with --rate 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: Option<u32>,
    /// Requests per second; latency then counts from the moment a request was meant to start
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Rows that one GETBULK asks for
    #[arg(long, value_name = "N", default_value_t = 25)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_535))]
    max_repetitions: u32,
    /// Community of all agents
    #[arg(long, default_value = "public")]
    community: String,
    /// Threads that do SNMP
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: u16,
    /// How long
    #[arg(long = "for", value_name = "DURATION", default_value = "5s")]
    lasting: trunkline_config::Duration,
    /// How to print the figures
    #[arg(
        short = 'o',
        long = "output",
        alias = "format",
        default_value = "table"
    )]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// One GET of all OIDs.
    Get,
    /// A bulk walk of one subtree.
    Walk,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("--targets {text}: {error}")]
    Targets { text: String, error: AddressError },
    #[error("--rate {0}: write a number of requests per second, 0.1 to 10000000")]
    Rate(f64),
    #[error("--oid: {0}; ask for fewer at once")]
    Oids(#[from] EncodeError),
    #[error("taking on {addr}: {error}")]
    Target { addr: String, error: SnmpError },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        let text = error.to_string();
        match error {
            BenchError::Targets { .. } | BenchError::Rate(_) | BenchError::Oids(_) => {
                Self::Usage(text)
            }
            _ => Self::Failed(text),
        }
    }
}

pub(super) fn run(args: &Args) -> Result<Exit, CliError> {
    let report = measure(args)?;
    let text = match args.output {
        Output::Table => report.table(),
        Output::Json => report.json(),
    };
    io::stdout().write_all(text.as_bytes())?;
    if report.requests() == 0 {
        talk("no agent answered\n");
        return Ok(Exit::NoAnswer);
    }
    Ok(Exit::Done)
}

fn measure(args: &Args) -> Result<Report, BenchError> {
    let pace = pace(args)?;
    let asks = asks(args)?;
    let addresses = addresses(args)?;
    let interrupt = Interrupt::watch().map_err(BenchError::Signals)?;
    let clock = Clock::start();
    let plan = WirePlan {
        name: "bench".to_owned(),
        shards: args.shards,
        ..WirePlan::default()
    };
    let on_death: OnDeath = Arc::new(|death| {
        let (thread, reason) = (&death.thread, &death.reason);
        talk(&format!(
            "the thread {thread} died: {reason}; it is restarted\n"
        ));
    });
    let wire = Wire::start(&plan, clock, &on_death)?;
    let targets = take_on(args, &wire, &addresses, pace)?;
    let inbox = Inbox::new();
    let before = Totals::read(&wire);
    let mut load = Load::new(clock, wire.client(), &inbox, &targets, &asks, pace);
    let (began, cpu) = (clock.now(), cpu_time());
    load.run(args.lasting.get(), &interrupt);
    let cpu = cpu_time().saturating_sub(cpu);
    let elapsed = clock.now().saturating_since(began);
    let totals = Totals::read(&wire).since(&before);
    let mode = match args.mode {
        Mode::Get => "get",
        Mode::Walk => "walk",
    };
    let report = Report::new(mode, &load, totals, elapsed, cpu);
    wire.stop();
    Ok(report)
}

fn pace(args: &Args) -> Result<Pace, BenchError> {
    Ok(match args.rate {
        None => Pace::Closed {
            in_flight: args.in_flight.unwrap_or(512),
        },
        Some(rate) if (0.1..=1e7).contains(&rate) => Pace::Open {
            gap: Duration::from_secs_f64(1.0 / rate),
            in_flight: args.in_flight.unwrap_or(100_000),
        },
        Some(rate) => return Err(BenchError::Rate(rate)),
    })
}

fn asks(args: &Args) -> Result<Vec<Ask>, BenchError> {
    let given = |default: &[&str]| -> Vec<OidBuf> {
        if args.oid.is_empty() {
            let default = default.iter().filter_map(|text| text.parse().ok());
            return default.collect();
        }
        args.oid.clone()
    };
    match args.mode {
        Mode::Get => {
            let oids = given(&["1.3.6.1.2.1.1.3.0"]);
            let rows: Vec<_> = oids.iter().map(|oid| (oid.as_oid(), Value::Null)).collect();
            let list = encode_varbinds(&rows)?;
            Ok(vec![Ask::Exchange(Exchange::get(list.into()))])
        }
        Mode::Walk => {
            let roots = given(&["1.3.6.1.2.1.2.2", "1.3.6.1.2.1.31.1.1"]);
            let method = Method::Bulk(args.max_repetitions);
            let walk = |root| Ask::Walk(WalkSpec::new(root, method));
            Ok(roots.into_iter().map(walk).collect())
        }
    }
}

fn addresses(args: &Args) -> Result<Vec<Address>, BenchError> {
    let mut all = Vec::new();
    for text in &args.targets {
        let refused = |error| BenchError::Targets {
            text: text.clone(),
            error,
        };
        all.extend(expand(text, args.port).map_err(refused)?);
    }
    Ok(all)
}

fn take_on(
    args: &Args,
    wire: &Wire,
    addresses: &[Address],
    pace: Pace,
) -> Result<Vec<TargetId>, BenchError> {
    let plan = SystemPlan::new("bench", &SnmpConfig::default())?;
    let mut policy = TargetPolicy::clone(&plan.policy);
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    // The load's own bound must hold, not the target's.
    let share = pace.in_flight().div_ceil(count.max(1));
    policy.guard.flight.max = policy.guard.flight.max.max(share);
    policy.queue_max = policy.queue_max.max(share as usize);
    let (policy, community) = (Arc::new(policy), Arc::from(args.community.as_bytes()));
    let mut targets = Vec::with_capacity(addresses.len());
    for address in addresses {
        let unresolved = |error| BenchError::Targets {
            text: address.to_string(),
            error,
        };
        let spec = TargetSpec {
            addr: address.resolve().map_err(unresolved)?,
            version: Version::V2c,
            community: Arc::clone(&community),
            source: SourcePolicy::Strict,
            policy: Arc::clone(&policy),
            egress: 0,
        };
        targets.push(add(wire, &spec)?);
    }
    Ok(targets)
}

/// Takes on a target; a door that is full for the moment is tried again.
fn add(wire: &Wire, spec: &TargetSpec) -> Result<TargetId, BenchError> {
    let mut tries = 0;
    loop {
        match wire.client().add_target(spec.clone()) {
            Ok(id) => return Ok(id),
            Err(SnmpError::QueueFull(_)) if tries < 5000 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => {
                let addr = spec.addr.to_string();
                return Err(BenchError::Target { addr, error });
            }
        }
    }
}
