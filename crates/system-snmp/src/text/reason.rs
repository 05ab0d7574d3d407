//! net-snmp's words for what went wrong.
//!
//! They go to stderr word for word, because scripts look for them; our own advice follows them on
//! a line of its own. The tools differ in a full stop here and there, and so does this.

use trunkline_wire_snmp::{ErrorStatus, Oid};

use super::TextStyle;

/// The sentence for an error status; numbers that no RFC defines have one in common.
pub fn reason(status: i32) -> &'static str {
    use ErrorStatus as S;
    let Some(status) = S::from_i32(status) else {
        return "Unknown Error";
    };
    match status {
        S::NoError => "(noError) No Error",
        S::TooBig => "(tooBig) Response message would have been too large.",
        S::NoSuchName => "(noSuchName) There is no such variable name in this MIB.",
        S::BadValue => "(badValue) The value given has the wrong type or length.",
        S::ReadOnly => {
            "(readOnly) The two parties used do not have access to use the specified SNMP PDU."
        }
        S::GenErr => "(genError) A general failure occured",
        S::NoAccess => "noAccess",
        S::WrongType => {
            "wrongType (The set datatype does not match the data type the agent expects)"
        }
        S::WrongLength => {
            "wrongLength (The set value has an illegal length from what the agent expects)"
        }
        S::WrongEncoding => "wrongEncoding",
        S::WrongValue => "wrongValue (The set value is illegal or unsupported in some way)",
        S::NoCreation => {
            "noCreation (That table does not support row creation or that object can not ever be \
             created)"
        }
        S::InconsistentValue => {
            "inconsistentValue (The set value is illegal or unsupported in some way)"
        }
        S::ResourceUnavailable => {
            "resourceUnavailable (This is likely a out-of-memory failure within the agent)"
        }
        S::CommitFailed => "commitFailed",
        S::UndoFailed => "undoFailed",
        S::AuthorizationError => "authorizationError (access denied to that object)",
        S::NotWritable => "notWritable (That object does not support modification)",
        S::InconsistentName => "inconsistentName (That object can not currently be created)",
    }
}

/// An error status that blames the variable `failed`. Of the tools only `snmpget` writes its first
/// line without a full stop (`stop` = false).
pub fn error_packet(
    style: &TextStyle,
    stop: bool,
    status: i32,
    failed: Option<Oid<'_>>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"Error in packet");
    out.extend_from_slice(if stop { b".\n" } else { b"\n" });
    out.extend_from_slice(b"Reason: ");
    out.extend_from_slice(reason(status).as_bytes());
    out.push(b'\n');
    if let Some(oid) = failed {
        out.extend_from_slice(b"Failed object: ");
        style.write_oid(oid, out);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Silence. `snmpget` and `snmpgetnext` end the line with a full stop, the others do not.
pub fn timeout(host: &str, stop: bool) -> String {
    let end = if stop { "." } else { "" };
    format!("Timeout: No Response from {host}{end}\n")
}

/// A walk that met an OID out of order.
pub fn not_increasing(style: &TextStyle, last: Oid<'_>, next: Oid<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Error: OID not increasing: ");
    style.write_oid(last, out);
    out.extend_from_slice(b"\n >= ");
    style.write_oid(next, out);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_wire_snmp::OidBuf;

    #[test]
    fn every_status_has_its_own_words() {
        let words: std::collections::HashSet<_> = ErrorStatus::ALL
            .iter()
            .map(|status| reason(status.as_i32()))
            .collect();
        assert_eq!(words.len(), ErrorStatus::ALL.len());
        assert_eq!(reason(19), "Unknown Error");
        assert_eq!(reason(-1), "Unknown Error");
    }

    #[test]
    fn blocks_are_laid_out_as_the_tools_do() {
        let oid: OidBuf = "1.3.6.1".parse().unwrap();
        let style = TextStyle::default();
        let mut out = Vec::new();
        error_packet(&style, false, 2, Some(oid.as_oid()), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Error in packet\nReason: (noSuchName) There is no such variable name in this MIB.\n\
             Failed object: .1.3.6.1\n\n"
        );
        let mut out = Vec::new();
        error_packet(&style, true, 6, None, &mut out);
        assert_eq!(out, b"Error in packet.\nReason: noAccess\n\n");
        let mut out = Vec::new();
        not_increasing(&style, oid.as_oid(), oid.as_oid(), &mut out);
        assert_eq!(
            out,
            b"Error: OID not increasing: .1.3.6.1\n >= .1.3.6.1\n\n"
        );
        assert_eq!(timeout("h:1", true), "Timeout: No Response from h:1.\n");
        assert_eq!(timeout("h:1", false), "Timeout: No Response from h:1\n");
    }
}
