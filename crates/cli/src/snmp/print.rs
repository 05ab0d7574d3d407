//! Rows of many agents to stdout, problems to stderr, in every format.
//!
//! The table is net-snmp's text; with several agents each line begins with the agent. JSON is one
//! document `{schema_version, targets: {NAME: {rows: {OID: {type, value}}, error}}}`, so it is held
//! back until the end; the other formats stream.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufWriter, Stdout, Write as _};
use std::time::Duration;

use serde_json::{Value as Json, json};
use trunkline_system_snmp::text::TextStyle;
use trunkline_system_snmp::value_json;
use trunkline_wire_snmp::{OidBuf, VarBind};

use crate::output::{Format, Progress, SCHEMA_VERSION, csv_record, talk};

use super::diagnose::Problem;

/// The printer of one command.
#[derive(Debug)]
pub(crate) struct Printer {
    out: BufWriter<Stdout>,
    format: Format,
    style: TextStyle,
    many: bool,
    progress: Progress,
    header_due: bool,
    held: BTreeMap<String, Held>,
    line: Vec<u8>,
}

/// One agent's part of the JSON document.
#[derive(Debug, Default)]
struct Held {
    /// The members of `rows`, in the order in which they came.
    rows: Vec<u8>,
    known: HashSet<OidBuf>,
    error: Option<Json>,
}

impl Printer {
    pub(crate) fn new(format: Format, style: TextStyle, agents: usize) -> Self {
        Self {
            out: BufWriter::with_capacity(64 << 10, io::stdout()),
            format,
            style,
            many: agents > 1,
            progress: Progress::new(agents),
            header_due: true,
            held: BTreeMap::new(),
            line: Vec::new(),
        }
    }

    /// How variables are printed.
    pub(crate) fn style(&self) -> &TextStyle {
        &self.style
    }

    /// One variable; `took` is printed in front of it in the table.
    pub(crate) fn row(
        &mut self,
        agent: &str,
        row: &VarBind<'_>,
        took: Option<Duration>,
    ) -> io::Result<()> {
        self.line.clear();
        match self.format {
            Format::Table => {
                if self.many {
                    self.line.extend_from_slice(agent.as_bytes());
                    self.line.push(b' ');
                }
                if let Some(took) = took {
                    write!(self.line, "{:.6} s: ", took.as_secs_f64())?;
                }
                self.style.write_row(row.oid, &row.value, &mut self.line);
            }
            Format::Json => return self.hold(agent, row),
            Format::Jsonl => {
                let mut object = value_json(row);
                object["schema_version"] = json!(SCHEMA_VERSION);
                object["target"] = json!(agent);
                writeln!(self.line, "{object}")?;
            }
            Format::Csv => {
                if std::mem::take(&mut self.header_due) {
                    csv_record(&["target", "oid", "type", "value"], &mut self.line);
                }
                let object = value_json(row);
                let value = match &object["value"] {
                    Json::Null => String::new(),
                    Json::String(text) => text.clone(),
                    Json::Object(bytes) => {
                        let hex = bytes.get("hex").and_then(Json::as_str).unwrap_or_default();
                        format!("0x{hex}")
                    }
                    other => other.to_string(),
                };
                let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
                csv_record(
                    &[agent, &text("oid"), &text("type"), &value],
                    &mut self.line,
                );
            }
        }
        self.progress.clear();
        self.out.write_all(&self.line)
    }

    fn hold(&mut self, agent: &str, row: &VarBind<'_>) -> io::Result<()> {
        let held = self.held.entry(agent.to_owned()).or_default();
        if !held.known.insert(row.oid.to_owned()) {
            return Ok(());
        }
        let mut object = value_json(row);
        let oid = object["oid"].take();
        if let Some(members) = object.as_object_mut() {
            members.remove("oid");
        }
        if !held.rows.is_empty() {
            held.rows.push(b',');
        }
        write!(held.rows, "{oid}:{object}")
    }

    /// A line of the table that is no variable; the other formats leave it out.
    pub(crate) fn note(&mut self, agent: &str, text: &str) -> io::Result<()> {
        if self.format != Format::Table {
            return Ok(());
        }
        self.progress.clear();
        if self.many {
            write!(self.out, "{agent} ")?;
        }
        writeln!(self.out, "{text}")
    }

    /// What was printed so far reaches the reader now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Talk on stderr, after what was printed before it.
    pub(crate) fn talk(&mut self, text: &str) -> io::Result<()> {
        self.out.flush()?;
        self.progress.clear();
        talk(text);
        Ok(())
    }

    /// A problem of one agent.
    pub(crate) fn problem(&mut self, agent: &str, problem: &Problem) -> io::Result<()> {
        let Problem {
            kind,
            message,
            words,
            hint,
            ..
        } = problem;
        let text = match (self.many, words, hint) {
            (false, Some(words), Some(hint)) => format!("{words}hint: {hint}\n"),
            (false, Some(words), None) => words.clone(),
            (false, None, Some(hint)) => format!("Error: {agent}: {message}\nhint: {hint}\n"),
            (false, None, None) => format!("Error: {agent}: {message}\n"),
            (true, _, Some(hint)) => format!("{agent}: {message}; {hint}\n"),
            (true, _, None) => format!("{agent}: {message}\n"),
        };
        self.talk(&text)?;
        let mut error = json!({ "kind": kind, "message": message });
        if let Some(hint) = hint {
            error["hint"] = json!(hint);
        }
        match self.format {
            Format::Table | Format::Csv => Ok(()),
            Format::Json => {
                self.held.entry(agent.to_owned()).or_default().error = Some(error);
                Ok(())
            }
            Format::Jsonl => {
                let object = json!({
                    "schema_version": SCHEMA_VERSION,
                    "target": agent,
                    "error": error,
                });
                writeln!(self.out, "{object}")
            }
        }
    }

    /// One agent is done.
    pub(crate) fn step(&mut self, good: bool) {
        self.progress.step(good);
    }

    /// All agents are done.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.progress.clear();
        if self.format == Format::Csv && self.header_due {
            self.line.clear();
            csv_record(&["target", "oid", "type", "value"], &mut self.line);
            self.out.write_all(&self.line)?;
        }
        if self.format == Format::Json {
            self.document()?;
        }
        self.out.flush()
    }

    fn document(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let out = &mut self.out;
        write!(out, "{{\"schema_version\":{SCHEMA_VERSION},\"targets\":{{")?;
        for (n, (agent, held)) in held.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(out, "{comma}{}:{{\"rows\":{{", json!(agent))?;
            out.write_all(&held.rows)?;
            out.write_all(b"}")?;
            if let Some(error) = &held.error {
                write!(out, ",\"error\":{error}")?;
            }
            out.write_all(b"}")?;
        }
        out.write_all(b"}}\n")
    }
}
