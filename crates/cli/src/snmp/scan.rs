//! `scan`: which addresses of a network are SNMP agents, found at a steady pace.
//!
//! Every address gets one GET of sysDescr.0 and sysName.0, in the order of the addresses, at most
//! `--rate` a second, so that neither a router's ARP queue nor a security device is overrun. An
//! agent that answers with an error is an agent, too.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Stdout, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use trunkline_system_snmp::{Exchange, Reply, SnmpError, SourcePolicy};
use trunkline_wire_snmp::{Oid, OwnedValue, Value};

use crate::exit::{CliError, Exit};
use crate::output::{Format, Progress, SCHEMA_VERSION, csv_record, escaped, talk};

use super::agents::{self, Agent};
use super::args::ScanArgs;
use super::session::{Manner, Session, encode};

const SYS_DESCR: Oid<'static> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 1, 1, 0]);
const SYS_NAME: Oid<'static> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 1, 5, 0]);

/// Agents that may be waited for at the same time; more hold up the pace.
const WAITED_MAX: usize = 100_000;

/// `snmp scan`.
pub(crate) async fn scan(args: ScanArgs) -> Result<Exit, CliError> {
    let agents = agents::read(&args.networks)?;
    let session = Arc::new(Session::start(Manner {
        version: args.version,
        community: args.community.clone(),
        timeout: args.timeout,
        retries: args.retries,
        source: SourcePolicy::Strict,
    })?);
    let names = [SYS_DESCR, SYS_NAME].map(|oid| (oid.to_owned(), OwnedValue::Null));
    let question = Exchange::get(encode(&names)?);
    let asked = agents.len();
    let mut report = Report::new(args.format, asked);
    let mut running = JoinSet::new();
    let begun = Instant::now();
    for (turn, agent) in (0u32..).zip(agents) {
        let due = begun + Duration::from_secs(1) * turn / args.rate;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due), if running.len() < WAITED_MAX => break,
                Some(ended) = running.join_next() => report.take(ended)?,
            }
        }
        running.spawn(ask(session.clone(), agent, question.clone()));
    }
    while let Some(ended) = running.join_next().await {
        report.take(ended)?;
    }
    report.finish()
}

/// What one address turned out to be.
enum Finding {
    Agent(Found),
    /// Somebody else answered in its place.
    Elsewhere,
    /// Nothing that answers.
    Nobody,
    /// Our own failure, or a name that does not exist.
    Trouble(String),
}

struct Found {
    addr: SocketAddr,
    rtt: Duration,
    name: Option<String>,
    descr: Option<String>,
}

async fn ask(session: Arc<Session>, agent: Agent, question: Exchange) -> Finding {
    let addr = match agent.resolve().await {
        Ok(addr) => addr,
        Err(error) => return Finding::Trouble(error.to_string()),
    };
    let target = match session.add(addr).await {
        Ok(target) => target,
        Err(error) => return Finding::Trouble(format!("{addr}: {error}")),
    };
    let answer = session.ask(target, question).await;
    session.remove(target).await;
    match answer {
        Ok(reply) => Finding::Agent(Found {
            addr,
            rtt: reply.rtt,
            name: text_of(&reply, SYS_NAME),
            descr: text_of(&reply, SYS_DESCR),
        }),
        Err(SnmpError::Timeout {
            stranger: Some(_), ..
        }) => Finding::Elsewhere,
        Err(SnmpError::Timeout { .. } | SnmpError::Unreachable { .. }) => Finding::Nobody,
        Err(error) => Finding::Trouble(format!("{addr}: {error}")),
    }
}

fn text_of(reply: &Reply, oid: Oid<'_>) -> Option<String> {
    if reply.status != 0 {
        return None;
    }
    let row = reply.varbinds().flatten().find(|row| row.oid == oid)?;
    match row.value {
        Value::OctetString(bytes) => Some(escaped(bytes)),
        _ => None,
    }
}

struct Report {
    out: BufWriter<Stdout>,
    format: Format,
    progress: Progress,
    header_due: bool,
    asked: usize,
    found: usize,
    elsewhere: usize,
    troubles: usize,
    held: BTreeMap<SocketAddr, serde_json::Value>,
}

impl Report {
    fn new(format: Format, asked: usize) -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            format,
            progress: Progress::new(asked),
            header_due: true,
            asked,
            found: 0,
            elsewhere: 0,
            troubles: 0,
            held: BTreeMap::new(),
        }
    }

    fn take(&mut self, ended: Result<Finding, tokio::task::JoinError>) -> Result<(), CliError> {
        let finding = ended.map_err(|error| CliError::Failed(format!("a task died: {error}")))?;
        self.progress.step(matches!(finding, Finding::Agent(_)));
        match finding {
            Finding::Agent(found) => {
                self.found += 1;
                self.print(&found)?;
            }
            Finding::Elsewhere => self.elsewhere += 1,
            Finding::Nobody => {}
            Finding::Trouble(text) => {
                self.troubles += 1;
                // The first few say what is wrong; a thousand equal lines would hide it.
                if self.troubles <= 10 {
                    self.progress.clear();
                    talk(&format!("{text}\n"));
                }
            }
        }
        Ok(())
    }

    fn print(&mut self, found: &Found) -> io::Result<()> {
        let Found { addr, rtt, .. } = found;
        let name = found.name.as_deref().unwrap_or_default();
        let descr = found.descr.as_deref().unwrap_or_default();
        let rtt_us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        let object = json!({ "rtt_us": rtt_us, "sys_name": found.name, "sys_descr": found.descr });
        let mut line = Vec::new();
        match self.format {
            Format::Table => {
                let ms = rtt.as_secs_f64() * 1e3;
                let (addr, name) = (addr.to_string(), if name.is_empty() { "-" } else { name });
                writeln!(line, "{addr:<21}  {ms:>8.2} ms  {name:<20}  {descr}")?;
            }
            Format::Json => {
                self.held.insert(*addr, object);
                return Ok(());
            }
            Format::Jsonl => {
                let mut object = object;
                object["schema_version"] = json!(SCHEMA_VERSION);
                object["agent"] = json!(addr.to_string());
                writeln!(line, "{object}")?;
            }
            Format::Csv => {
                self.header(&mut line);
                csv_record(
                    &[&addr.to_string(), &rtt_us.to_string(), name, descr],
                    &mut line,
                );
            }
        }
        self.progress.clear();
        self.out.write_all(&line)?;
        self.out.flush()
    }

    fn header(&mut self, line: &mut Vec<u8>) {
        if std::mem::take(&mut self.header_due) {
            csv_record(&["agent", "rtt_us", "sys_name", "sys_descr"], line);
        }
    }

    fn finish(mut self) -> Result<Exit, CliError> {
        self.progress.clear();
        match self.format {
            Format::Json => {
                let agents: serde_json::Map<_, _> = std::mem::take(&mut self.held)
                    .into_iter()
                    .map(|(addr, object)| (addr.to_string(), object))
                    .collect();
                let document = json!({ "schema_version": SCHEMA_VERSION, "agents": agents });
                writeln!(self.out, "{document}")?;
            }
            Format::Csv => {
                let mut line = Vec::new();
                self.header(&mut line);
                self.out.write_all(&line)?;
            }
            Format::Table | Format::Jsonl => {}
        }
        self.out.flush()?;
        let mut summary = format!("{} of {} addresses are agents\n", self.found, self.asked);
        if self.elsewhere > 0 {
            summary += &format!(
                "{} answered from another address; get them with --source learn\n",
                self.elsewhere
            );
        }
        if self.found == 0 {
            summary += "hint: none answered; check -c, and whether a firewall drops UDP to them\n";
        }
        if self.troubles > 10 {
            summary += &format!("{} further errors like these\n", self.troubles - 10);
        }
        talk(&summary);
        Ok(match (self.found, self.troubles) {
            (0, 0) => Exit::NoAnswer,
            (0, _) => Exit::Failed,
            (_, 0) => Exit::Done,
            _ => Exit::Partial,
        })
    }
}
