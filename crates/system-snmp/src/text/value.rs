//! One value.

use std::io::Write as _;

use trunkline_wire_snmp::Value;

use super::flags::{Quick, StringStyle, TextStyle};

/// Bytes on one hexadecimal line.
const HEX_LINE: usize = 16;

impl TextStyle {
    /// Appends a value, without a line end.
    pub fn write_value(&self, value: &Value<'_>, out: &mut Vec<u8>) {
        match *value {
            Value::Integer(n) => self.plain("INTEGER: ", n, out),
            Value::OctetString(bytes) => self.octets(bytes, out),
            Value::Null => out.extend_from_slice(b"NULL"),
            Value::ObjectId(oid) => {
                self.label("OID: ", out);
                self.write_oid(oid, out);
            }
            Value::IpAddress(ip) => self.plain("IpAddress: ", ip, out),
            Value::Counter32(n) => self.plain("Counter32: ", n, out),
            Value::Gauge32(n) => self.plain("Gauge32: ", n, out),
            Value::TimeTicks(ticks) => self.ticks(ticks, out),
            Value::Opaque(bytes) => self.opaque(bytes, out),
            Value::OpaqueFloat(x) => self.plain("Opaque: Float: ", CFloat(x.into()), out),
            Value::OpaqueDouble(x) => self.plain("Opaque: Float: ", CFloat(x), out),
            Value::Counter64(n) => self.plain("Counter64: ", n, out),
            // The one type that net-snmp prints without its name.
            Value::UInteger32(n) => self.plain("", n, out),
            Value::BitString(bytes) => self.bits(bytes, out),
            Value::NoSuchObject => {
                out.extend_from_slice(b"No Such Object available on this agent at this OID");
            }
            Value::NoSuchInstance => {
                out.extend_from_slice(b"No Such Instance currently exists at this OID");
            }
            Value::EndOfMibView => out.extend_from_slice(
                b"No more variables left in this MIB View \
                  (It is past the end of the MIB tree)",
            ),
            Value::NsapAddress(_) | Value::Unknown { .. } => {
                out.extend_from_slice(b"Variable has bad type");
            }
        }
    }

    fn label(&self, label: &str, out: &mut Vec<u8>) {
        if self.quick == Quick::No {
            out.extend_from_slice(label.as_bytes());
        }
    }

    fn plain(&self, label: &str, value: impl std::fmt::Display, out: &mut Vec<u8>) {
        self.label(label, out);
        // Writing to a vector cannot fail.
        write!(out, "{value}").ok();
    }

    fn octets(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let hex = match self.strings {
            StringStyle::Guess => !bytes.iter().copied().all(is_text),
            StringStyle::Text => false,
            StringStyle::Hex => true,
        };
        if bytes.is_empty() {
            out.extend_from_slice(b"\"\"");
        } else if hex {
            self.quoted_when_quick("Hex-STRING: ", bytes, out);
        } else {
            self.label("STRING: ", out);
            out.push(b'"');
            for &byte in bytes {
                match byte {
                    b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                    byte => out.push(if is_text(byte) { byte } else { b'.' }),
                }
            }
            out.push(b'"');
        }
    }

    fn quoted_when_quick(&self, label: &str, bytes: &[u8], out: &mut Vec<u8>) {
        if self.quick == Quick::No {
            out.extend_from_slice(label.as_bytes());
            self.hex(bytes, out);
        } else {
            out.push(b'"');
            self.hex(bytes, out);
            out.push(b'"');
        }
    }

    fn hex(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if bytes.is_empty() && self.hex_text {
            out.extend_from_slice(b"  []");
        }
        for (n, line) in bytes.chunks(HEX_LINE).enumerate() {
            if n > 0 {
                out.push(b'\n');
            }
            for byte in line {
                write!(out, "{byte:02X} ").ok();
            }
            if self.hex_text {
                out.extend_from_slice(b"  [");
                out.extend(line.iter().map(|&b| if is_text(b) { b } else { b'.' }));
                out.push(b']');
            }
        }
    }

    /// The content octets, the count of unused bits among them, and the numbers of the bits that
    /// are set, counted over all of these.
    fn bits(&self, bytes: &[u8], out: &mut Vec<u8>) {
        self.quoted_when_quick("BITS: ", bytes, out);
        if self.quick != Quick::No {
            return;
        }
        for (at, byte) in bytes.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                write!(out, "{} ", at * 8 + bit).ok();
            }
        }
    }

    fn ticks(&self, ticks: u32, out: &mut Vec<u8>) {
        if self.ticks_numeric {
            return self.plain("", ticks, out);
        }
        let (cents, seconds) = (ticks % 100, ticks / 100);
        let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
        let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
        let clock = format!("{hours}:{minutes:02}:{seconds:02}.{cents:02}");
        match (self.quick, days) {
            (Quick::Yes | Quick::Equals, _) => write!(out, "{days}:{clock}"),
            (Quick::No, 0) => write!(out, "Timeticks: ({ticks}) {clock}"),
            (Quick::No, 1) => write!(out, "Timeticks: ({ticks}) 1 day, {clock}"),
            (Quick::No, _) => write!(out, "Timeticks: ({ticks}) {days} days, {clock}"),
        }
        .ok();
    }

    fn opaque(&self, bytes: &[u8], out: &mut Vec<u8>) {
        match *bytes {
            [0x9f, 0x76, len, ref digits @ ..] if fits(len, digits) => {
                self.plain("Opaque: Counter64: ", unsigned(digits), out);
            }
            [0x9f, 0x7a, len, ref digits @ ..] if fits(len, digits) => {
                // Sign extension: shift up to the top, and back with the sign.
                let spare = 64 - 8 * digits.len();
                let number = (unsigned(digits) << spare).cast_signed() >> spare;
                self.plain("Opaque: Int64: ", number, out);
            }
            [0x9f, 0x7b, len, ref digits @ ..] if fits(len, digits) => {
                self.plain("Opaque: UInt64: ", unsigned(digits), out);
            }
            _ => {
                self.label("OPAQUE: ", out);
                self.hex(bytes, out);
            }
        }
    }
}

/// Whether `digits` are as many as announced, and a number of at most 64 bits.
fn fits(len: u8, digits: &[u8]) -> bool {
    digits.len() == usize::from(len) && (1..=8).contains(&digits.len())
}

fn unsigned(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// C's `isprint` or `isspace` in the C locale.
fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t'..=b'\r')
}

/// A number as C's `%f`.
struct CFloat(f64);

impl std::fmt::Display for CFloat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_nan() {
            f.write_str(if self.0.is_sign_negative() {
                "-nan"
            } else {
                "nan"
            })
        } else {
            write!(f, "{:.6}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use trunkline_wire_snmp::OidBuf;

    fn text(flags: &str, value: &Value<'_>) -> String {
        let mut style = TextStyle::default();
        style.set_flags(flags).unwrap();
        let mut out = Vec::new();
        style.write_value(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// `(value, default, -Oq)`, each as net-snmp 5.9.3 prints it.
    fn check(rows: &[(Value<'_>, &str, &str)]) {
        for (value, long, quick) in rows {
            assert_eq!(text("", value), *long, "{value:?}");
            assert_eq!(text("q", value), *quick, "{value:?} -Oq");
            assert_eq!(text("Q", value), *quick, "{value:?} -OQ");
        }
    }

    #[test]
    fn numbers_and_names() {
        let oid: OidBuf = "1.3.6.1.4.1.8072".parse().unwrap();
        check(&[
            (Value::Integer(-7), "INTEGER: -7", "-7"),
            (
                Value::Counter32(u32::MAX),
                "Counter32: 4294967295",
                "4294967295",
            ),
            (Value::Gauge32(1), "Gauge32: 1", "1"),
            (
                Value::Counter64(u64::MAX),
                "Counter64: 18446744073709551615",
                "18446744073709551615",
            ),
            (Value::UInteger32(77), "77", "77"),
            (
                Value::IpAddress(Ipv4Addr::new(1, 2, 3, 4)),
                "IpAddress: 1.2.3.4",
                "1.2.3.4",
            ),
            (
                Value::ObjectId(oid.as_oid()),
                "OID: .1.3.6.1.4.1.8072",
                ".1.3.6.1.4.1.8072",
            ),
            (Value::Null, "NULL", "NULL"),
            (
                Value::NsapAddress(&[1]),
                "Variable has bad type",
                "Variable has bad type",
            ),
        ]);
    }

    #[test]
    fn strings_are_text_or_hexadecimal() {
        let sixteen = "00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F ";
        let bytes: Vec<u8> = (0..17).collect();
        check(&[
            (Value::OctetString(b""), "\"\"", "\"\""),
            (
                Value::OctetString(b"hello"),
                "STRING: \"hello\"",
                "\"hello\"",
            ),
            (
                Value::OctetString(b"a \"b\" \\ c"),
                r#"STRING: "a \"b\" \\ c""#,
                r#""a \"b\" \\ c""#,
            ),
            (
                Value::OctetString(b"line\r\nnext\ttab"),
                "STRING: \"line\r\nnext\ttab\"",
                "\"line\r\nnext\ttab\"",
            ),
            (
                Value::OctetString(b"nul\0"),
                "Hex-STRING: 6E 75 6C 00 ",
                "\"6E 75 6C 00 \"",
            ),
            (Value::OctetString(b"\x7f"), "Hex-STRING: 7F ", "\"7F \""),
            (
                Value::OctetString("ü".as_bytes()),
                "Hex-STRING: C3 BC ",
                "\"C3 BC \"",
            ),
            (
                Value::OctetString(&bytes[..16]),
                &format!("Hex-STRING: {sixteen}"),
                &format!("\"{sixteen}\""),
            ),
            (
                Value::OctetString(&bytes),
                &format!("Hex-STRING: {sixteen}\n10 "),
                &format!("\"{sixteen}\n10 \""),
            ),
        ]);
    }

    #[test]
    fn string_styles_override_the_guess() {
        assert_eq!(text("x", &Value::OctetString(b"hi")), "Hex-STRING: 68 69 ");
        assert_eq!(
            text("a", &Value::OctetString(b"\0\"\x1b")),
            r#"STRING: ".\"." "#.trim()
        );
        assert_eq!(text("x", &Value::OctetString(b"")), "\"\"");
        let line = Value::OctetString(b"\0A\n");
        assert_eq!(text("T", &line), "Hex-STRING: 00 41 0A   [.A\n]");
        assert_eq!(text("qT", &line), "\"00 41 0A   [.A\n]\"");
    }

    #[test]
    fn time_ticks_are_clocks() {
        for (ticks, long, quick) in [
            (0, "Timeticks: (0) 0:00:00.00", "0:0:00:00.00"),
            (123, "Timeticks: (123) 0:00:01.23", "0:0:00:01.23"),
            (
                8_640_000,
                "Timeticks: (8640000) 1 day, 0:00:00.00",
                "1:0:00:00.00",
            ),
            (
                17_403_456,
                "Timeticks: (17403456) 2 days, 0:20:34.56",
                "2:0:20:34.56",
            ),
            (
                u32::MAX,
                "Timeticks: (4294967295) 497 days, 2:27:52.95",
                "497:2:27:52.95",
            ),
        ] {
            let value = Value::TimeTicks(ticks);
            check(&[(value, long, quick)]);
            assert_eq!(text("t", &value), ticks.to_string());
            assert_eq!(text("qt", &value), ticks.to_string());
        }
    }

    #[test]
    fn opaque_values_are_unwrapped_where_net_snmp_does() {
        check(&[
            (
                Value::OpaqueFloat(1.5),
                "Opaque: Float: 1.500000",
                "1.500000",
            ),
            (
                Value::OpaqueDouble(-2.25),
                "Opaque: Float: -2.250000",
                "-2.250000",
            ),
            (Value::OpaqueFloat(f32::NAN), "Opaque: Float: nan", "nan"),
            (
                Value::OpaqueDouble(f64::NEG_INFINITY),
                "Opaque: Float: -inf",
                "-inf",
            ),
            (
                Value::OpaqueFloat(1e30),
                "Opaque: Float: 1000000015047466219876688855040.000000",
                "1000000015047466219876688855040.000000",
            ),
            (
                Value::Opaque(&[0x9f, 0x76, 1, 5]),
                "Opaque: Counter64: 5",
                "5",
            ),
            (
                Value::Opaque(&[0x9f, 0x7a, 1, 0x85]),
                "Opaque: Int64: -123",
                "-123",
            ),
            (
                Value::Opaque(&[0x9f, 0x7b, 1, 0x85]),
                "Opaque: UInt64: 133",
                "133",
            ),
            (Value::Opaque(&[1, 2]), "OPAQUE: 01 02 ", "01 02 "),
            (Value::Opaque(&[]), "OPAQUE: ", ""),
            (
                Value::Opaque(&[0x9f, 0x76, 0]),
                "OPAQUE: 9F 76 00 ",
                "9F 76 00 ",
            ),
        ]);
        assert_eq!(text("T", &Value::Opaque(&[])), "OPAQUE:   []");
    }

    #[test]
    fn bit_strings_name_their_bits() {
        check(&[
            (
                Value::BitString(&[0, 0xa0]),
                "BITS: 00 A0 8 10 ",
                "\"00 A0 \"",
            ),
            (Value::BitString(&[0]), "BITS: 00 ", "\"00 \""),
        ]);
    }

    #[test]
    fn exceptions_are_sentences() {
        for (value, expected) in [
            (
                Value::NoSuchObject,
                "No Such Object available on this agent at this OID",
            ),
            (
                Value::NoSuchInstance,
                "No Such Instance currently exists at this OID",
            ),
            (
                Value::EndOfMibView,
                "No more variables left in this MIB View (It is past the end of the MIB tree)",
            ),
        ] {
            check(&[(value, expected, expected)]);
        }
    }
}
