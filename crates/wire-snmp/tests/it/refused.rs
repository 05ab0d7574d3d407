//! Every kind of refusal, with the offset of the byte that breaks the rule.

use trunkline_wire_snmp::{
    DecodeErrorKind as Kind, EncodeError, Oid, PduKind, Value, VarBinds, Version, decode, encode,
};

/// A v2c response whose binding is 1.3 = INTEGER 5; the offset of each part is beside it.
const VALID: &[u8] = &[
    0x30, 0x1b, // 0: message
    0x02, 0x01, 0x01, // 2: version
    0x04, 0x01, b'c', // 5: community
    0xa2, 0x13, // 8: PDU
    0x02, 0x01, 0x07, // 10: request-id
    0x02, 0x01, 0x00, // 13: error-status
    0x02, 0x01, 0x00, // 16: error-index
    0x30, 0x08, // 19: binding list
    0x30, 0x06, // 21: binding
    0x06, 0x01, 0x2b, // 23: name
    0x02, 0x01, 0x05, // 26: value
];

/// Replaces the bytes from `at` on, and mends nothing.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = VALID.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    changed
}

fn unexpected(expected: u8, found: u8) -> Kind {
    Kind::UnexpectedTag { expected, found }
}

fn overrun(declared: u64, available: usize) -> Kind {
    Kind::LengthOverrun {
        declared,
        available,
    }
}

#[test]
fn broken_envelopes_are_refused_at_their_byte() {
    assert!(decode(VALID).is_ok());
    let cases: Vec<(Vec<u8>, Kind, usize)> = vec![
        (vec![], Kind::Truncated, 0),
        (vec![0x30], Kind::Truncated, 1),
        (vec![0x30, 0x82, 0x01], Kind::Truncated, 3),
        (VALID[..VALID.len() - 1].to_vec(), overrun(27, 26), 1),
        (with(1, &[0x04]), Kind::Truncated, 6),
        (with(1, &[0x05]), overrun(1, 0), 6),
        (with(0, &[0x31]), unexpected(0x30, 0x31), 0),
        (with(1, &[0x80]), Kind::IndefiniteLength, 1),
        (with(1, &[0x89]), Kind::LengthTooLong { octets: 9 }, 1),
        (with(1, &[0xff]), Kind::LengthTooLong { octets: 127 }, 1),
        (
            vec![0x30, 0x88, 0xff, 0, 0, 0, 0, 0, 0, 0],
            overrun(0xff << 56, 0),
            1,
        ),
        (with(0, &[0x1f]), Kind::HighTag, 0),
        (with(2, &[0x04]), unexpected(0x02, 0x04), 2),
        (with(4, &[0x03]), Kind::UnsupportedVersion(3), 4),
        (with(4, &[0x80]), Kind::UnsupportedVersion(-128), 4),
        (with(5, &[0x30]), unexpected(0x04, 0x30), 5),
        (with(8, &[0xa9]), Kind::UnknownPdu(0xa9), 8),
        (with(8, &[0x30]), Kind::UnknownPdu(0x30), 8),
        (with(9, &[0x14]), overrun(20, 19), 9),
        (with(10, &[0x41]), unexpected(0x02, 0x41), 10),
        (with(11, &[0x05, 1, 0, 0, 0, 0]), Kind::IntegerRange, 12),
        (with(9, &[0x09]), Kind::Truncated, 19),
        (with(19, &[0x31]), unexpected(0x30, 0x31), 19),
        (with(20, &[0x09]), overrun(9, 8), 20),
    ];
    for (bytes, kind, offset) in cases {
        let error = decode(&bytes).unwrap_err();
        assert_eq!((error.kind, error.offset), (kind, offset), "{bytes:02x?}");
    }
}

#[test]
fn broken_trap_headers_are_refused_at_their_byte() {
    let trap: &[u8] = &[
        0x30, 0x1c, 0x02, 0x01, 0x00, 0x04, 0x00, // 0: message, version, community
        0xa4, 0x15, // 7: Trap-PDU
        0x06, 0x02, 0x2b, 6, // 9: enterprise
        0x40, 0x04, 1, 2, 3, 4, // 13: agent-addr
        0x02, 0x01, 6, // 19: generic
        0x02, 0x01, 1, // 22: specific
        0x43, 0x01, 0, // 25: time-stamp
        0x30, 0x00, // 28: bindings
    ];
    assert!(decode(trap).is_ok());
    let cases: &[(usize, &[u8], Kind, usize)] = &[
        (9, &[0x04], unexpected(0x06, 0x04), 9),
        (12, &[0x81], Kind::OidUnterminated, 12),
        (13, &[0x04], unexpected(0x40, 0x04), 13),
        (14, &[0x03], Kind::AgentAddressLength(3), 15),
        (25, &[0x02], unexpected(0x43, 0x02), 25),
        (26, &[0x03, 1, 0, 0], Kind::Truncated, 30),
    ];
    for &(at, bytes, kind, offset) in cases {
        let mut changed = trap.to_vec();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        let error = decode(&changed).unwrap_err();
        assert_eq!(
            (error.kind, error.offset),
            (kind, offset),
            "{bytes:02x?} at {at}"
        );
    }
}

#[test]
fn broken_bindings_are_refused_at_their_byte_and_not_before() {
    let cases: &[(usize, &[u8], Kind, usize)] = &[
        (21, &[0x02], unexpected(0x30, 0x02), 21),
        (22, &[0x07], overrun(7, 6), 22),
        (22, &[0x03], Kind::Truncated, 26),
        (22, &[0x80], Kind::IndefiniteLength, 22),
        (23, &[0x04], unexpected(0x06, 0x04), 23),
        (24, &[0x05], overrun(5, 4), 24),
        (25, &[0xab], Kind::OidUnterminated, 25),
        (24, &[0x02, 0x80, 0x01, 0x05, 0x00], Kind::OidArcPadded, 25),
        (26, &[0x1f], Kind::HighTag, 26),
        (26, &[0x5f], Kind::HighTag, 26),
        (27, &[0x02], overrun(2, 1), 27),
    ];
    for &(at, bytes, kind, offset) in cases {
        let changed = with(at, bytes);
        let message = decode(&changed).unwrap();
        let error = message.pdu.varbinds.clone().next().unwrap().unwrap_err();
        assert_eq!(
            (error.kind, error.offset),
            (kind, offset),
            "{bytes:02x?} at {at}"
        );
    }
}

#[test]
fn broken_values_are_refused_at_their_first_octet() {
    let cases: &[(&[u8], Kind, usize)] = &[
        (&[0x02, 5, 0, 0x80, 0, 0, 0], Kind::IntegerRange, 7),
        (&[0x41, 5, 1, 0, 0, 0, 0], Kind::UnsignedRange, 7),
        (&[0x42, 6, 0, 0, 0, 0, 0, 1], Kind::UnsignedRange, 7),
        (
            &[0x43, 5, 0xff, 0xff, 0xff, 0xff, 0xff],
            Kind::UnsignedRange,
            7,
        ),
        (&[0x47, 5, 2, 0, 0, 0, 0], Kind::UnsignedRange, 7),
        (
            &[0x46, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            Kind::Counter64Range,
            7,
        ),
        (&[0x06, 3, 0x2b, 6, 0x81], Kind::OidUnterminated, 9),
        (
            &[
                0x06, 12, 0x2b, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0,
            ],
            Kind::OidArcTooLong,
            8,
        ),
    ];
    for &(value, kind, offset) in cases {
        let len = u8::try_from(value.len() + 3).unwrap();
        let bytes = [&[0x30, len, 0x06, 0x01, 0x2b], value].concat();
        let error = VarBinds::from_raw(&bytes).next().unwrap().unwrap_err();
        assert_eq!((error.kind, error.offset), (kind, offset), "{value:02x?}");
    }
}

#[test]
fn a_binding_that_is_wrong_within_itself_does_not_hide_its_neighbours() {
    let list = [
        0x30, 0x06, 0x06, 0x01, 0x2b, 0x02, 0x01, 0x05, // 1.3 = 5
        0x30, 0x06, 0x06, 0x01, 0xab, 0x02, 0x01, 0x05, // a cut name
        0x30, 0x06, 0x06, 0x01, 0x2b, 0x02, 0x01, 0x06, // 1.3 = 6
        0x30, 0x7f, 0x06, 0x01, 0x2b, 0x02, 0x01, 0x07, // a length beyond the list
        0x30, 0x06, 0x06, 0x01, 0x2b, 0x02, 0x01, 0x08, // can no longer be found
    ];
    let read: Vec<_> = VarBinds::from_raw(&list)
        .map(|varbind| varbind.map(|v| v.value).map_err(|e| e.offset))
        .collect();
    let expected = [
        Ok(Value::Integer(5)),
        Err(12),
        Ok(Value::Integer(6)),
        Err(25),
    ];
    assert_eq!(read, expected);
}

#[test]
fn labels_are_distinct_and_messages_say_where() {
    let kinds = [
        Kind::Truncated,
        overrun(1, 0),
        Kind::IndefiniteLength,
        Kind::LengthTooLong { octets: 9 },
        Kind::HighTag,
        unexpected(1, 2),
        Kind::UnknownPdu(1),
        Kind::UnsupportedVersion(3),
        Kind::IntegerRange,
        Kind::UnsignedRange,
        Kind::Counter64Range,
        Kind::OidUnterminated,
        Kind::OidArcPadded,
        Kind::OidArcTooLong,
        Kind::AgentAddressLength(1),
    ];
    let labels: std::collections::BTreeSet<_> = kinds.iter().map(|kind| kind.label()).collect();
    assert_eq!(labels.len(), kinds.len());
    let error = decode(&with(8, &[0xa9])).unwrap_err();
    assert_eq!(error.to_string(), "unknown PDU tag 0xa9 (byte 8)");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut slot = [0; 64];
    let oid = Oid::from_static(&[0x2b, 6]);
    let mut attempt =
        |kind, value| encode(&mut slot, Version::V2c, b"c", kind, 1, 0, 0, [(oid, value)]);
    assert_eq!(
        attempt(PduKind::TrapV1, Value::Null),
        Err(EncodeError::TrapV1Header)
    );
    let high = Value::Unknown {
        tag: 0x9f,
        bytes: &[],
    };
    assert_eq!(attempt(PduKind::Get, high), Err(EncodeError::HighTag(0x9f)));
    let long = Value::OctetString(&[0; 70]);
    let too_big = EncodeError::TooBig {
        needed_at_least: 70,
    };
    assert_eq!(attempt(PduKind::Get, long), Err(too_big));
    assert!(attempt(PduKind::Get, Value::OctetString(&[0; 20])).is_ok());
}
