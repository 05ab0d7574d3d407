//! Recordings of real devices in snmpsim's format: `OID|TAG|VALUE`, one row per line.
//!
//! The problem: public recordings are many and dirty: empty counters, odd hexadecimal digits,
//! values that do not fit their type, rows twice. The rule: every line is loaded or refused with
//! its number and the reason; nothing is guessed. [`parse`] stops at the first refusal,
//! [`parse_leniently`] keeps going and lists them.
//!
//! Edge cases: tags are the decimal numbers of the BER tags, with `x` when the value is
//! hexadecimal (`4x|00ff`); rows may come in any order; empty lines and lines that start with `#`
//! say nothing; a tag with a variation module (`2:numeric`) is refused, because it is a program
//! and not a value.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use trunkline_wire_snmp::{OidBuf, OwnedValue};

use super::mib::{Mib, MibBuilder, MibError, ROWS_MAX};

/// Refusals that a lenient parse lists at most; it counts all.
pub const REFUSALS_MAX: usize = 1_000;

/// The rows of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Names and values, in the order of the file.
    pub rows: Vec<(OidBuf, OwnedValue)>,
    /// Lines that were refused, at most [`REFUSALS_MAX`].
    pub refused: Vec<Refusal>,
    /// How many lines were refused.
    pub refused_total: usize,
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Refusal {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

impl Recording {
    /// A MIB of these rows, all read-only.
    ///
    /// # Errors
    /// When there are too many rows.
    pub fn into_mib(self) -> Result<Mib, MibError> {
        let mut builder = MibBuilder::new();
        for (oid, value) in self.rows {
            builder.fixed(oid, value);
        }
        builder.build()
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused_total += 1;
        if self.refused.len() < REFUSALS_MAX {
            self.refused.push(refusal);
        }
    }
}

/// Parses the text of a `.snmprec` file.
///
/// # Errors
/// The first line that is refused.
pub fn parse(text: &str) -> Result<Recording, Refusal> {
    let recording = parse_leniently(text);
    match recording.refused.first() {
        Some(refusal) => Err(refusal.clone()),
        None => Ok(recording),
    }
}

/// Parses the text of a `.snmprec` file and leaves out what it refuses.
pub fn parse_leniently(text: &str) -> Recording {
    let mut collector = Collector::default();
    for (line, row) in (1..).zip(text.lines()) {
        let row = row.trim_end_matches('\r');
        if !row.trim().is_empty() && !row.starts_with('#') {
            collector.take(line, parse_row(row));
        }
    }
    collector.recording
}

/// Collects rows and sees to it that each name comes once.
#[derive(Default)]
pub(super) struct Collector {
    pub(super) recording: Recording,
    lines: HashMap<OidBuf, usize>,
}

impl Collector {
    pub(super) fn take(&mut self, line: usize, row: Result<(OidBuf, OwnedValue), String>) {
        let kept = row.and_then(|(oid, value)| {
            if self.recording.rows.len() >= ROWS_MAX {
                return Err(format!("more than {ROWS_MAX} rows"));
            }
            if let Some(first) = self.lines.get(&oid) {
                return Err(format!("{} stands in line {first} already", oid.as_oid()));
            }
            self.lines.insert(oid.clone(), line);
            self.recording.rows.push((oid, value));
            Ok(())
        });
        if let Err(reason) = kept {
            self.recording.refuse(Refusal { line, reason });
        }
    }
}

fn parse_row(row: &str) -> Result<(OidBuf, OwnedValue), String> {
    let mut fields = row.splitn(3, '|');
    let (Some(oid), Some(tag), Some(value)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("not of the form OID|TAG|VALUE".to_owned());
    };
    let oid = parse_oid(oid)?;
    let digits = tag.find(|c: char| !c.is_ascii_digit()).unwrap_or(tag.len());
    let (number, modifier) = tag.split_at(digits);
    let bytes = match modifier {
        "" => value.as_bytes().to_vec(),
        "x" => parse_hex(value)?,
        _ if modifier.contains(':') => {
            return Err(format!(
                "tag {tag:?} names a variation module, which is not run"
            ));
        }
        _ => return Err(format!("tag {tag:?} has an unknown modifier {modifier:?}")),
    };
    let value = parse_value(number, value, &bytes, modifier == "x")?;
    Ok((oid, value))
}

fn parse_value(tag: &str, text: &str, bytes: &[u8], is_hex: bool) -> Result<OwnedValue, String> {
    if is_hex && !matches!(tag, "4" | "64" | "68" | "69") {
        return Err(format!("tag {tag} cannot be hexadecimal"));
    }
    Ok(match tag {
        "2" => OwnedValue::Integer(parse_number(text, "Integer32")?),
        "4" => OwnedValue::OctetString(bytes.into()),
        "5" => OwnedValue::Null,
        "6" => OwnedValue::ObjectId(parse_oid(text)?),
        // Four bytes are too few for dotted text: snmpsim writes printable addresses as they are.
        "64" if is_hex || bytes.len() == 4 => OwnedValue::IpAddress(parse_octets(bytes)?),
        "64" => OwnedValue::IpAddress(parse_number(text, "IpAddress")?),
        "65" => OwnedValue::Counter32(parse_number(text, "Counter32")?),
        "66" => OwnedValue::Gauge32(parse_number(text, "Gauge32")?),
        "67" => OwnedValue::TimeTicks(parse_number(text, "TimeTicks")?),
        "68" => OwnedValue::Opaque(bytes.into()),
        "69" => OwnedValue::NsapAddress(bytes.into()),
        "70" => OwnedValue::Counter64(parse_number(text, "Counter64")?),
        "71" => OwnedValue::UInteger32(parse_number(text, "UInteger32")?),
        "" => return Err("the tag is missing".to_owned()),
        _ => return Err(format!("tag {tag} is no SNMP type")),
    })
}

pub(super) fn parse_oid(text: &str) -> Result<OidBuf, String> {
    let parsed = text.trim().parse::<OidBuf>();
    parsed.map_err(|error| format!("{text:?} is no OID: {error}"))
}

/// Parses a number or an address, as strictly as its type is.
pub(super) fn parse_number<T: FromStr>(text: &str, kind: &str) -> Result<T, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(format!("an empty {kind}"));
    }
    trimmed
        .parse()
        .map_err(|_| format!("{trimmed:?} is no {kind}"))
}

pub(super) fn parse_octets(bytes: &[u8]) -> Result<Ipv4Addr, String> {
    let octets: Result<[u8; 4], _> = bytes.try_into();
    let address = octets.map(Ipv4Addr::from);
    address.map_err(|_| format!("an IpAddress of {} bytes, where 4 are due", bytes.len()))
}

/// Parses pairs of hexadecimal digits, with or without spaces between them.
pub(super) fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for c in text.chars().filter(|c| !c.is_ascii_whitespace()) {
        let digit = c
            .to_digit(16)
            .ok_or_else(|| format!("{c:?} is no hexadecimal digit"))?;
        // A digit is below 16, so two make one octet.
        high = match high {
            None => Some(digit),
            Some(high) => {
                bytes.push((high << 4 | digit) as u8);
                None
            }
        };
    }
    if high.is_some() {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read() {
        let text = "1.3.6.1.2.1.1.1.0|4|Box, 9 | ports\n\
                    .1.3.6.1.2.1.1.2.0|6|0.0\r\n\
                    # a comment\n\
                    \n\
                    1.3.6.1.2.1.1.3.0|67|4294967295\n\
                    1.3.6.1.4.1.1.1|2|-5\n\
                    1.3.6.1.4.1.1.2|4x|00fF\n\
                    1.3.6.1.4.1.1.3|64|10.0.0.1\n\
                    1.3.6.1.4.1.1.4|64x|0a000002\n\
                    1.3.6.1.4.1.1.4.1|64|J}M}\n\
                    1.3.6.1.4.1.1.5|65|7\n\
                    1.3.6.1.4.1.1.6|66| 8\n\
                    1.3.6.1.4.1.1.7|70|18446744073709551615\n\
                    1.3.6.1.4.1.1.8|68x|9f78 04 3f800000\n\
                    1.3.6.1.4.1.1.9|5|\n\
                    1.3.6.1.4.1.1.10|4|\n";
        let rows = parse(text).unwrap().rows;
        let values: Vec<_> = rows.into_iter().map(|(_, value)| value).collect();
        let wanted = [
            OwnedValue::OctetString((*b"Box, 9 | ports").into()),
            OwnedValue::ObjectId("0.0".parse().unwrap()),
            OwnedValue::TimeTicks(u32::MAX),
            OwnedValue::Integer(-5),
            OwnedValue::OctetString([0, 0xff].into()),
            OwnedValue::IpAddress(Ipv4Addr::new(10, 0, 0, 1)),
            OwnedValue::IpAddress(Ipv4Addr::new(10, 0, 0, 2)),
            OwnedValue::IpAddress(Ipv4Addr::new(74, 125, 77, 125)),
            OwnedValue::Counter32(7),
            OwnedValue::Gauge32(8),
            OwnedValue::Counter64(u64::MAX),
            OwnedValue::Opaque([0x9f, 0x78, 4, 0x3f, 0x80, 0, 0].into()),
            OwnedValue::Null,
            OwnedValue::OctetString([].into()),
        ];
        assert_eq!(values, wanted);
    }

    #[test]
    fn dirt_is_refused_by_line_and_reason() {
        let cases = [
            ("1.3.6.1.1|65|", "an empty Counter32"),
            ("1.3.6.1.1|65|4294967296", "\"4294967296\" is no Counter32"),
            ("1.3.6.1.1|66|-1", "\"-1\" is no Gauge32"),
            ("1.3.6.1.1|2|up", "\"up\" is no Integer32"),
            ("1.3.6.1.1|4x|abc", "an odd number of hexadecimal digits"),
            ("1.3.6.1.1|4x|zz", "'z' is no hexadecimal digit"),
            ("1.3.6.1.1|64|10.0.0", "is no IpAddress"),
            ("1.3.6.1.1|64x|0a00", "an IpAddress of 2 bytes"),
            ("1.3.6.1.1|6|iso", "\"iso\" is no OID"),
            ("1|4|x", "\"1\" is no OID"),
            ("|4|x", "is no OID"),
            ("1.3.6.1.1|2:numeric|min=1", "names a variation module"),
            ("1.3.6.1.1|4e|x", "unknown modifier \"e\""),
            ("1.3.6.1.1|2x|05", "tag 2 cannot be hexadecimal"),
            ("1.3.6.1.1||x", "the tag is missing"),
            ("1.3.6.1.1|99|x", "tag 99 is no SNMP type"),
            ("1.3.6.1.1|4", "not of the form"),
            ("1.3.6.1.9|4|again", "1.3.6.1.9 stands in line 1 already"),
        ];
        for (line, reason) in cases {
            let text = format!("1.3.6.1.9|4|good\n{line}\n1.3.6.1.8|4|good too\n");
            let refusal = parse(&text).unwrap_err();
            assert_eq!(refusal.line, 2, "{line}");
            assert!(refusal.reason.contains(reason), "{line}: {refusal}");
            let lenient = parse_leniently(&text);
            assert_eq!((lenient.rows.len(), lenient.refused_total), (2, 1));
            assert_eq!(lenient.refused, [refusal]);
        }
    }

    #[test]
    fn a_file_of_nothing_but_dirt_keeps_its_list_short() {
        let lenient = parse_leniently(&"x\n".repeat(REFUSALS_MAX + 5));
        assert_eq!(lenient.refused.len(), REFUSALS_MAX);
        assert_eq!(lenient.refused_total, REFUSALS_MAX + 5);
    }

    #[test]
    fn a_recording_becomes_a_mib_in_order() {
        let mib = parse("1.3.6.2|2|2\n1.3.6.1|2|1\n")
            .unwrap()
            .into_mib()
            .unwrap();
        let names: Vec<_> = mib.names().iter().map(|n| n.as_oid().to_string()).collect();
        assert_eq!(names, ["1.3.6.1", "1.3.6.2"]);
    }
}
