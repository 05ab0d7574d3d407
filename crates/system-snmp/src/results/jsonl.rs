//! Records as JSON, one line each.
//!
//! A line is an object with `schema_version`, the time, target, job, outcome, errors and `values`:
//! a list of `{oid, type, value}`. Numbers are JSON numbers; a Counter64 that a double cannot hold
//! is still written out in digits, as JSON allows. Octet strings are text where they are printable
//! UTF-8 and `{"hex": …}` otherwise, so that no byte of a device reaches a terminal raw.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use trunkline_wire_snmp::{Value, VarBind};

use super::{Sink, SinkError};
use crate::poller::Record;

/// The version of the lines' shape.
const SCHEMA_VERSION: u32 = 1;

/// Writes records to a file or to standard output.
#[derive(Debug)]
pub struct JsonLines {
    path: Option<PathBuf>,
    file: Option<File>,
    text: Vec<u8>,
}

impl JsonLines {
    /// A sink that appends to `path`, or writes to standard output. The file is opened at the first
    /// record, and again after an error, so that a full disk or a moved file mends itself.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            file: None,
            text: Vec::new(),
        }
    }

    fn put(&mut self) -> std::io::Result<()> {
        let Some(path) = &self.path else {
            let mut out = std::io::stdout().lock();
            out.write_all(&self.text)?;
            return out.flush();
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().append(true).create(true).open(path)?),
        };
        file.write_all(&self.text)
    }
}

impl Sink for JsonLines {
    fn write(&mut self, batch: &[Arc<Record>]) -> Result<(), SinkError> {
        self.text.clear();
        for record in batch {
            self.text
                .extend_from_slice(line(record).to_string().as_bytes());
            self.text.push(b'\n');
        }
        self.put().map_err(|error| {
            self.file = None;
            let place = self.path.as_ref().map_or("standard output".into(), |path| {
                format!("\"{}\"", path.display())
            });
            SinkError {
                what: format!("writing results to {place}"),
                why: error.to_string(),
            }
        })
    }
}

/// A record as JSON.
pub(crate) fn line(record: &Record) -> Json {
    let values: Vec<Json> = record
        .varbinds()
        .map(|varbind| value_json(&varbind))
        .collect();
    json!({
        "schema_version": SCHEMA_VERSION,
        "time_ms": record.at.as_unix_millis(),
        "system": &*record.system,
        "target": &*record.target,
        "address": &*record.address,
        "job": &*record.job,
        "outcome": record.outcome.as_str(),
        "took_us": u64::try_from(record.took.as_micros()).unwrap_or(u64::MAX),
        "errors": record.errors,
        "values": values,
    })
}

/// A variable as JSON: `{oid, type, value}`.
pub fn value_json(varbind: &VarBind<'_>) -> Json {
    let (kind, value) = typed(&varbind.value);
    json!({ "oid": varbind.oid.to_string(), "type": kind, "value": value })
}

fn typed(value: &Value<'_>) -> (&'static str, Json) {
    match value {
        Value::Integer(n) => ("integer", json!(n)),
        Value::OctetString(bytes) => ("octet-string", octets(bytes)),
        Value::Null => ("null", Json::Null),
        Value::ObjectId(oid) => ("object-id", json!(oid.to_string())),
        Value::IpAddress(ip) => ("ip-address", json!(ip.to_string())),
        Value::Counter32(n) => ("counter32", json!(n)),
        Value::Gauge32(n) => ("gauge32", json!(n)),
        Value::TimeTicks(n) => ("timeticks", json!(n)),
        Value::Opaque(bytes) => ("opaque", hex(bytes)),
        Value::OpaqueFloat(x) => ("float", float(f64::from(*x))),
        Value::OpaqueDouble(x) => ("double", float(*x)),
        Value::NsapAddress(bytes) => ("nsap-address", hex(bytes)),
        Value::Counter64(n) => ("counter64", json!(n)),
        Value::UInteger32(n) => ("uinteger32", json!(n)),
        Value::BitString(bytes) => ("bit-string", hex(bytes)),
        Value::NoSuchObject => ("no-such-object", Json::Null),
        Value::NoSuchInstance => ("no-such-instance", Json::Null),
        Value::EndOfMibView => ("end-of-mib-view", Json::Null),
        Value::Unknown { bytes, .. } => ("unknown", hex(bytes)),
    }
}

/// JSON has no infinities; a device that sends one gets it back as text.
fn float(x: f64) -> Json {
    if x.is_finite() {
        json!(x)
    } else {
        json!(x.to_string())
    }
}

fn octets(bytes: &[u8]) -> Json {
    let printable = |text: &&str| {
        !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
    };
    std::str::from_utf8(bytes)
        .ok()
        .filter(printable)
        .map_or_else(|| hex(bytes), Json::from)
}

fn hex(bytes: &[u8]) -> Json {
    json!({ "hex": super::archive::hex(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_text_only_where_a_terminal_can_bear_them() {
        assert_eq!(octets("Gi0/1 – ü".as_bytes()), json!("Gi0/1 – ü"));
        assert_eq!(octets(b"\x1b[31mred"), json!({ "hex": "1b5b33316d726564" }));
        assert_eq!(octets(&[0xff, 0]), json!({ "hex": "ff00" }));
    }

    #[test]
    fn a_counter_keeps_all_its_digits() {
        let (kind, value) = typed(&Value::Counter64(u64::MAX));
        assert_eq!(
            (kind, value.to_string()),
            ("counter64", u64::MAX.to_string())
        );
        assert_eq!(typed(&Value::OpaqueFloat(f32::INFINITY)).1, json!("inf"));
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut sink = JsonLines::new(Some("/dev/full".into()));
        let record = crate::results::tests::record("t");
        let error = sink.write(&[Arc::new(record)]).unwrap_err().to_string();
        assert!(error.contains("/dev/full"), "{error}");
    }
}
