//! The text that `snmpwalk -On` prints: `.1.3.6.1.2.1.1.5.0 = STRING: "box"`.
//!
//! The rule: as for [`recording`](super::recording), every line is loaded or refused with its
//! number and the reason. A line that does not start with an OID continues the value before it:
//! strings with line breaks and long Hex-STRINGs are printed so.
//!
//! Edge cases: `iso.` may stand for the first arc; enumerations print as `up(1)`, which is 1;
//! units behind a number are dropped; a bare number is TimeTicks (`-Ot`); what net-snmp prints
//! when there is nothing ("No Such Object", "No more variables left") is refused: it is no value.

use trunkline_wire_snmp::{OidBuf, OwnedValue};

use super::recording::{Collector, Recording, Refusal, parse_hex, parse_number, parse_oid};

/// Parses the output of `snmpwalk -On`.
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

/// Parses the output of `snmpwalk -On` and leaves out what it refuses.
pub fn parse_leniently(text: &str) -> Recording {
    let mut collector = Collector::default();
    let mut open: Option<(usize, OidBuf, String)> = None;
    for (line, row) in (1..).zip(text.lines()) {
        match (start_of_row(row), &mut open) {
            (Some((oid, value)), _) => {
                let next = (line, oid, value.to_owned());
                close(open.replace(next), &mut collector);
            }
            (None, Some((_, _, value))) => {
                value.push('\n');
                value.push_str(row);
            }
            (None, None) if row.trim().is_empty() => {}
            (None, None) => collector.take(line, Err("not of the form OID = TYPE: VALUE".into())),
        }
    }
    close(open, &mut collector);
    collector.recording
}

fn close(open: Option<(usize, OidBuf, String)>, collector: &mut Collector) {
    if let Some((line, oid, value)) = open {
        collector.take(line, parse_value(&value).map(|value| (oid, value)));
    }
}

fn start_of_row(row: &str) -> Option<(OidBuf, &str)> {
    let (name, value) = row.split_once(" = ").or_else(|| row.split_once(" ="))?;
    let name = match name.strip_prefix("iso.") {
        Some(rest) => format!("1.{rest}"),
        None => name.to_owned(),
    };
    let starts = name.starts_with(|c: char| c == '.' || c.is_ascii_digit());
    let oid = parse_oid(&name).ok().filter(|_| starts)?;
    Some((oid, value))
}

fn parse_value(text: &str) -> Result<OwnedValue, String> {
    if text.trim() == "\"\"" || text.trim().is_empty() {
        return Ok(OwnedValue::OctetString([].into()));
    }
    if text.trim() == "NULL" {
        return Ok(OwnedValue::Null);
    }
    // With -Ot, TimeTicks are the only values that net-snmp prints as a bare number.
    if let Ok(ticks) = text.trim().parse() {
        return Ok(OwnedValue::TimeTicks(ticks));
    }
    let (kind, value) = text
        .split_once(':')
        .ok_or_else(|| format!("{text:?} is no value"))?;
    let value = value.strip_prefix(' ').unwrap_or(value);
    Ok(match kind.trim() {
        "INTEGER" => OwnedValue::Integer(parse_number(number_of(value), "INTEGER")?),
        "STRING" => OwnedValue::OctetString(unquote(value).into()),
        "Hex-STRING" => OwnedValue::OctetString(parse_hex(value)?.into()),
        "BITS" => OwnedValue::OctetString(parse_hex(&bits_of(value))?.into()),
        "OID" => OwnedValue::ObjectId(parse_oid(&value.replacen("iso.", "1.", 1))?),
        "IpAddress" => OwnedValue::IpAddress(parse_number(value, "IpAddress")?),
        "Network Address" => {
            let octets = parse_hex(&value.replace(':', " "))?;
            OwnedValue::IpAddress(super::recording::parse_octets(&octets)?)
        }
        "Counter32" => OwnedValue::Counter32(parse_number(number_of(value), "Counter32")?),
        "Gauge32" | "Unsigned32" => OwnedValue::Gauge32(parse_number(number_of(value), "Gauge32")?),
        "Counter64" => OwnedValue::Counter64(parse_number(number_of(value), "Counter64")?),
        "Timeticks" => OwnedValue::TimeTicks(parse_number(number_of(value), "Timeticks")?),
        "Opaque" => return parse_opaque(value),
        other => return Err(format!("{other:?} is no type that snmpwalk prints")),
    })
}

fn parse_opaque(text: &str) -> Result<OwnedValue, String> {
    let (kind, value) = text
        .split_once(':')
        .ok_or_else(|| format!("{text:?} is no Opaque"))?;
    match kind.trim() {
        "Float" => parse_number(value, "Float").map(OwnedValue::OpaqueFloat),
        "Double" => parse_number(value, "Double").map(OwnedValue::OpaqueDouble),
        other => Err(format!("Opaque of {other:?} is not read")),
    }
}

/// The number in `5`, `up(5)`, `(5) 0:00:00.05` and `5 octets`.
fn number_of(text: &str) -> &str {
    let inner = text
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    let number = inner.map_or(text, |(inner, _)| inner);
    number.split_whitespace().next().unwrap_or("")
}

/// The octets in `80 00 first(0)`: everything before the names of the bits.
fn bits_of(text: &str) -> String {
    let is_octet = |word: &&str| word.len() == 2 && word.chars().all(|c| c.is_ascii_hexdigit());
    text.split_whitespace().take_while(is_octet).collect()
}

fn unquote(text: &str) -> Vec<u8> {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let Some(inner) = inner else {
        return text.as_bytes().to_vec();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for byte in inner.bytes() {
        if byte == b'\\' && !escaped {
            escaped = true;
            continue;
        }
        if escaped && byte != b'"' && byte != b'\\' {
            bytes.push(b'\\');
        }
        escaped = false;
        bytes.push(byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> OwnedValue {
        let recording = parse(&format!(".1.3.6.1.9 = {text}\n")).unwrap();
        recording.rows[0].1.clone()
    }

    fn text(bytes: &[u8]) -> OwnedValue {
        OwnedValue::OctetString(bytes.into())
    }

    #[test]
    fn every_type_is_read() {
        let cases = [
            ("STRING: \"a \\\"b\\\" c\"", text(b"a \"b\" c")),
            ("STRING: eth0", text(b"eth0")),
            ("STRING: \"two\nlines\"", text(b"two\nlines")),
            ("\"\"", text(b"")),
            ("Hex-STRING: 00 1B \n21 FF ", text(&[0, 0x1b, 0x21, 0xff])),
            ("BITS: 80 01 first(0) last(15)", text(&[0x80, 1])),
            ("INTEGER: up(1)", OwnedValue::Integer(1)),
            ("INTEGER: -7 dBm", OwnedValue::Integer(-7)),
            (
                "OID: .1.3.6.1",
                OwnedValue::ObjectId("1.3.6.1".parse().unwrap()),
            ),
            (
                "IpAddress: 10.1.2.3",
                OwnedValue::IpAddress([10, 1, 2, 3].into()),
            ),
            (
                "Network Address: 0A:01:02:03",
                OwnedValue::IpAddress([10, 1, 2, 3].into()),
            ),
            ("Counter32: 4294967295", OwnedValue::Counter32(u32::MAX)),
            ("Gauge32: 100 percent", OwnedValue::Gauge32(100)),
            (
                "Counter64: 18446744073709551615",
                OwnedValue::Counter64(u64::MAX),
            ),
            ("Timeticks: (1234) 0:00:12.34", OwnedValue::TimeTicks(1234)),
            ("121722922", OwnedValue::TimeTicks(121_722_922)),
            ("Opaque: Float: 1.500000", OwnedValue::OpaqueFloat(1.5)),
        ];
        for (printed, wanted) in cases {
            assert_eq!(value(printed), wanted, "{printed}");
        }
    }

    #[test]
    fn names_with_iso_and_rows_behind_each_other() {
        let walk = "iso.3.6.1.2.1.1.3.0 = Timeticks: (5) 0:00:00.05\n\
                    .1.3.6.1.2.1.1.5.0 = STRING: \"a\n = b\"\n\
                    .1.3.6.1.2.1.1.6.0 = \"\"\n";
        let rows = parse(walk).unwrap().rows;
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].0.as_oid().to_string(), "1.3.6.1.2.1.1.3.0");
        assert_eq!(rows[1].1, text(b"a\n = b"));
    }

    #[test]
    fn what_is_no_value_is_refused_by_line() {
        let cases = [
            (
                "No Such Object available on this agent at this OID",
                "is no value",
            ),
            (
                "No more variables left in this MIB View (It is past the end)",
                "is no value",
            ),
            ("Counter32: ", "an empty Counter32"),
            ("INTEGER: up", "\"up\" is no INTEGER"),
            ("Wrong Type (should be INTEGER): Gauge32: 5", "is no type"),
            ("Hex-STRING: 0", "odd number"),
        ];
        for (printed, reason) in cases {
            let walk = format!(".1.3.6.1.1 = INTEGER: 1\n.1.3.6.1.9 = {printed}\n");
            let refusal = parse(&walk).unwrap_err();
            assert_eq!(refusal.line, 2);
            assert!(refusal.reason.contains(reason), "{printed}: {refusal}");
        }
        assert_eq!(parse("Timeout: No Response\n").unwrap_err().line, 1);
    }
}
