//! `trunkline sim snmp`: what to simulate, from flags; what happened, at the end.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use trunkline_sim::snmp::{FaultPlan, FleetSpec, Mib, Silence, models, recording, walktext};
use trunkline_system_snmp::{Address, expand};

use super::fleet::{ServeError, Served, Server};
use crate::exit::{CliError, Exit};
use crate::interrupt::Interrupt;
use crate::output::{SCHEMA_VERSION, talk};

/// `trunkline sim snmp`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Addresses of the agents: ADDRESS+COUNT, FIRST-LAST or NETWORK/BITS, IPv4; all of 127/8 is
    /// there without configuration
    #[arg(long, value_name = "ADDRESSES", default_value = "127.1.0.1+1000")]
    agents: String,
    /// UDP port of all agents
    #[arg(long, default_value_t = 16200)]
    port: u16,
    /// Models of device, by turns: switch48, switch:interfaces=N, router:interfaces=N, ups, sensor,
    /// minimal
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,
    /// A recorded device instead of, or beside, a model: FILE.snmprec, or the text of
    /// `snmpwalk -On`
    #[arg(long, value_name = "FILE")]
    recording: Vec<PathBuf>,
    /// Who misbehaves and how, such as "dead=10%,slow=5%:200ms,loss=2%"
    #[arg(long, value_name = "LIST", default_value = "")]
    faults: FaultPlan,
    /// Community that may read
    #[arg(long, default_value = "public")]
    community: String,
    /// Community that may read and write
    #[arg(long, default_value = "private")]
    write_community: String,
    /// From which all dice follow: the same requests in the same order meet the same fate
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after this time, such as 30s; without it, at SIGINT or SIGTERM
    #[arg(long = "for", value_name = "DURATION")]
    lasting: Option<trunkline_config::Duration>,
    /// How to print the counters at the end
    #[arg(
        short = 'o',
        long = "output",
        alias = "format",
        default_value = "table"
    )]
    output: Output,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
enum SimError {
    #[error("--agents {text}: {why}")]
    Agents { text: String, why: String },
    #[error("--model {0}")]
    Model(#[from] models::ModelError),
    #[error("--recording {}: {why}", path.display())]
    Recording { path: PathBuf, why: String },
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
}

impl From<SimError> for CliError {
    fn from(error: SimError) -> Self {
        let text = error.to_string();
        match error {
            SimError::Agents { .. } | SimError::Model(_) | SimError::Recording { .. } => {
                Self::Usage(text)
            }
            SimError::Serve(_) | SimError::Signals(_) => Self::Failed(text),
        }
    }
}

/// How often a simulation without an end looks whether it still runs.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn run(args: &Args) -> Result<Exit, CliError> {
    let served = simulate(args)?;
    let text = match args.output {
        Output::Table => table(&served),
        Output::Json => format!("{}\n", json(&served)),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

fn simulate(args: &Args) -> Result<Served, SimError> {
    let spec = spec(args)?;
    let (count, faults) = (spec.count, spec.faults.to_string());
    let interrupt = Interrupt::watch().map_err(SimError::Signals)?;
    let server = Server::start(spec)?;
    let (first, last) = (server.first(), server.last());
    let mut line = format!(
        "{count} agents on {} to {}, port {}",
        first.ip(),
        last.ip(),
        first.port()
    );
    if !faults.is_empty() {
        line.push_str("; faults ");
        line.push_str(&faults);
    }
    line.push('\n');
    talk(&line);
    let mut left = args.lasting.map(trunkline_config::Duration::get);
    while left != Some(Duration::ZERO) && !server.is_finished() {
        let nap = left.unwrap_or(LOOK).min(LOOK);
        if interrupt.wait(nap) {
            break;
        }
        left = left.map(|left| left - nap);
    }
    Ok(server.stop()?)
}

fn spec(args: &Args) -> Result<FleetSpec, SimError> {
    let (first, count, port) = agents(&args.agents, args.port)?;
    Ok(FleetSpec {
        first,
        count,
        port,
        community: args.community.clone().into_bytes(),
        write_community: args.write_community.clone().into_bytes(),
        models: mibs(args)?,
        faults: args.faults.clone(),
        seed: args.seed,
        message_bytes_max: trunkline_engine::datagram::TX_SLOT_BYTES,
    })
}

/// The first agent, how many, and their port.
fn agents(text: &str, port: u16) -> Result<(Ipv4Addr, u32, u16), SimError> {
    let refused = |why: String| SimError::Agents {
        text: text.to_owned(),
        why,
    };
    let all = expand(text, port).map_err(|error| refused(error.to_string()))?;
    let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
    match all.first() {
        Some(Address::Ip(first)) => match first.ip() {
            IpAddr::V4(ip) => Ok((ip, count, first.port())),
            IpAddr::V6(_) => Err(refused("simulated agents have IPv4 addresses".to_owned())),
        },
        _ => Err(refused(
            "write addresses, such as 127.1.0.1+1000".to_owned(),
        )),
    }
}

fn mibs(args: &Args) -> Result<Vec<(Arc<Mib>, u32)>, SimError> {
    let mut mibs = Vec::new();
    for model in &args.model {
        mibs.push((Arc::new(models::by_name(model)?), 1));
    }
    for path in &args.recording {
        mibs.push((Arc::new(read_recording(path)?), 1));
    }
    if mibs.is_empty() {
        mibs.push((Arc::new(models::by_name("switch48")?), 1));
    }
    Ok(mibs)
}

fn read_recording(path: &Path) -> Result<Mib, SimError> {
    let refused = |why: String| SimError::Recording {
        path: path.to_owned(),
        why,
    };
    let bytes = read_regular(path).map_err(|error| refused(error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes);
    let is_snmprec = path.extension().is_some_and(|ext| ext == "snmprec");
    let parsed = if is_snmprec {
        recording::parse(&text)
    } else {
        walktext::parse(&text)
    };
    let recording = parsed.map_err(|refusal| refused(refusal.to_string()))?;
    let mib = recording.into_mib();
    mib.map_err(|error| refused(error.to_string()))
}

/// The most bytes of a recording.
const RECORDING_BYTES_MAX: u64 = 64 << 20;

fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
    // Looked at before opening, because opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(refused("it is no regular file"));
    }
    if metadata.len() > RECORDING_BYTES_MAX {
        return Err(refused("it is longer than 64 MiB"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    // What is written to it meanwhile is not read.
    file.take(metadata.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

const SILENCES: [(Silence, &str); 8] = [
    (Silence::UnknownAgent, "unknown_agent"),
    (Silence::Killed, "killed"),
    (Silence::Dead, "dead"),
    (Silence::Malformed, "malformed"),
    (Silence::NotARequest, "not_a_request"),
    (Silence::WrongCommunity, "wrong_community"),
    (Silence::Lost, "lost"),
    (Silence::NoRoom, "no_room"),
];

fn rows(served: &Served) -> Vec<(&'static str, u64)> {
    let counters = &served.counters;
    let mut rows = vec![
        ("received", counters.received),
        ("replied", counters.replied),
        ("duplicated", counters.duplicated),
        ("reordered", counters.reordered),
        ("gets", counters.gets),
        ("get_nexts", counters.get_nexts),
        ("get_bulks", counters.get_bulks),
        ("sets", counters.sets),
    ];
    rows.extend(SILENCES.map(|(why, name)| (name, counters.silent_by(why))));
    rows.push(("overflow", served.overflow));
    rows.push(("unsent", served.unsent));
    rows
}

fn table(served: &Served) -> String {
    let mut text = String::new();
    for (name, value) in rows(served) {
        // Writing to a string cannot fail.
        writeln!(text, "{name:<16} {value:>14}").ok();
    }
    text
}

fn json(served: &Served) -> serde_json::Value {
    let counters: serde_json::Map<_, _> = rows(served)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    json!({ "schema_version": SCHEMA_VERSION, "counters": counters })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_a_run_of_ipv4_addresses() {
        let first = Ipv4Addr::new(127, 1, 0, 1);
        assert_eq!(agents("127.1.0.1+1000", 9).unwrap(), (first, 1000, 9));
        assert_eq!(agents("127.1.0.1-127.1.0.4", 9).unwrap(), (first, 4, 9));
        assert_eq!(agents("127.1.0.1:7+2", 9).unwrap(), (first, 2, 7));
        for wrong in ["localhost", "::1", "127.1.0.1+0", ""] {
            let error = CliError::from(agents(wrong, 9).unwrap_err());
            assert_eq!(error.exit(), Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_recording_is_a_regular_file_of_64_mib_at_most() {
        let why = |path: &Path| read_recording(path).unwrap_err().to_string();
        let null = why(Path::new("/dev/null"));
        assert!(null.ends_with("it is no regular file"), "{null}");
        let name = format!("trunkline-long-{}.snmprec", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(RECORDING_BYTES_MAX + 1).unwrap();
        let long = why(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(long.ends_with("it is longer than 64 MiB"), "{long}");
    }

    #[test]
    fn every_reason_for_silence_has_its_own_row() {
        let mut served = Served {
            counters: Default::default(),
            overflow: 0,
            unsent: 0,
        };
        for (at, silent) in served.counters.silent.iter_mut().enumerate() {
            *silent = 100 + at as u64;
        }
        let text = table(&served);
        for at in 0..SILENCES.len() {
            assert!(text.contains(&format!(" {}\n", 100 + at)), "{text}");
        }
    }
}
