//! Values and errors as net-snmp's tools print them, byte for byte, without MIBs.
//!
//! The problem: scripts parse what `snmpget` and `snmpwalk` print, and operators read it without
//! thinking. The rule: with the same flags, the same bytes (checked against net-snmp 5.9.3).
//! Without MIBs every OID is numeric, which is `-On`; the other name styles print the first arc by
//! name and the rest as numbers, as net-snmp does when it knows nothing.
//!
//! Edge cases. A string with a byte that is neither printable ASCII nor white space is hexadecimal,
//! 16 bytes a line; an empty one is `""` whatever the style. White space inside of a string is
//! printed as it is, line ends included; nothing else that could steer a terminal is. An Opaque of
//! net-snmp's own 64-bit types is unwrapped. A type that net-snmp has no words for is
//! `Variable has bad type`.

mod flags;
mod reason;
mod value;

pub use flags::{FlagError, NameStyle, Quick, StringStyle, TextStyle};
pub use reason::{error_packet, not_increasing, reason, timeout};

use trunkline_wire_snmp::{Oid, Value};

impl TextStyle {
    /// Appends one variable and a line end.
    pub fn write_row(&self, oid: Oid<'_>, value: &Value<'_>, out: &mut Vec<u8>) {
        if !self.values_only {
            self.write_oid(oid, out);
            out.extend_from_slice(match self.quick {
                Quick::Yes => b" ",
                Quick::No | Quick::Equals => b" = ",
            });
        }
        self.write_value(value, out);
        out.push(b'\n');
    }

    /// Appends an OID.
    pub fn write_oid(&self, oid: Oid<'_>, out: &mut Vec<u8>) {
        // net-snmp has no empty OID: it reads one as the single arc 0.
        let mut arcs = oid.arcs();
        let first = arcs.next().unwrap_or(0);
        let roots: [&[u8]; 3] = [b"ccitt", b"iso", b"joint-iso-ccitt"];
        if self.names != NameStyle::Short {
            out.push(b'.');
        }
        let named = usize::try_from(first)
            .ok()
            .and_then(|first| roots.get(first));
        match named {
            Some(name) if self.names != NameStyle::Numeric => out.extend_from_slice(name),
            _ => out.extend_from_slice(first.to_string().as_bytes()),
        }
        for arc in arcs {
            out.push(b'.');
            out.extend_from_slice(arc.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_wire_snmp::OidBuf;

    fn row(flags: &str, oid: &str, value: &Value<'_>) -> String {
        let mut style = TextStyle::default();
        style.set_flags(flags).unwrap();
        let (oid, mut out): (OidBuf, _) = (oid.parse().unwrap(), Vec::new());
        style.write_row(oid.as_oid(), value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_follow_the_flags() {
        let seven = Value::Integer(7);
        for (flags, expected) in [
            ("", ".1.3.6.1 = INTEGER: 7\n"),
            ("n", ".1.3.6.1 = INTEGER: 7\n"),
            ("q", ".1.3.6.1 7\n"),
            ("Q", ".1.3.6.1 = 7\n"),
            ("v", "INTEGER: 7\n"),
            ("qv", "7\n"),
            ("Qv", "7\n"),
            ("s", "iso.3.6.1 = INTEGER: 7\n"),
            ("S", "iso.3.6.1 = INTEGER: 7\n"),
            ("f", ".iso.3.6.1 = INTEGER: 7\n"),
            ("u", ".iso.3.6.1 = INTEGER: 7\n"),
            ("sn", ".1.3.6.1 = INTEGER: 7\n"),
            ("eEbUX0", ".1.3.6.1 = INTEGER: 7\n"),
        ] {
            assert_eq!(row(flags, "1.3.6.1", &seven), expected, "-O{flags}");
        }
    }

    #[test]
    fn the_three_roots_have_names() {
        for (oid, expected) in [
            ("0.0", "ccitt.0 = NULL\n"),
            ("1.3", "iso.3 = NULL\n"),
            ("2.999.3", "joint-iso-ccitt.999.3 = NULL\n"),
        ] {
            assert_eq!(row("s", oid, &Value::Null), expected);
        }
    }

    #[test]
    fn an_empty_oid_is_arc_zero() {
        let empty = Value::ObjectId(Oid::from_static(&[]));
        assert_eq!(row("", "1.3", &empty), ".1.3 = OID: .0\n");
        assert_eq!(row("s", "1.3", &empty), "iso.3 = OID: ccitt\n");
    }
}
