//! Messages assembled by hand from RFC 1157, RFC 3416 and X.690: each must be read as meant and,
//! where it is in the shortest form, written to the byte.

use std::net::Ipv4Addr;

use trunkline_wire_snmp::{
    ErrorStatus, Message, Oid, OidBuf, PduKind, TrapV1Header, Value, VarBind, VarBinds, Version,
    decode, encode, encode_trap_v1,
};

/// RFC 1157 section 4.1.2: a v1 get of sysDescr.0.
const GET_V1: &[u8] = &[
    0x30, 0x26, // SEQUENCE of 38: the message
    0x02, 0x01, 0x00, // INTEGER version-1(0)
    0x04, 0x06, b'p', b'u', b'b', b'l', b'i', b'c', // OCTET STRING community
    0xa0, 0x19, // [0] of 25: GetRequest-PDU
    0x02, 0x01, 0x26, // INTEGER request-id 38
    0x02, 0x01, 0x00, // INTEGER error-status noError(0)
    0x02, 0x01, 0x00, // INTEGER error-index 0
    0x30, 0x0e, // SEQUENCE of 14: the binding list
    0x30, 0x0c, // SEQUENCE of 12: a binding
    0x06, 0x08, 0x2b, 6, 1, 2, 1, 1, 1, 0, // OBJECT IDENTIFIER 1.3.6.1.2.1.1.1.0
    0x05, 0x00, // NULL
];

/// RFC 1157 section 4.1.6: a v1 coldStart trap without bindings.
const TRAP_V1: &[u8] = &[
    0x30, 0x28, // SEQUENCE of 40: the message
    0x02, 0x01, 0x00, // INTEGER version-1(0)
    0x04, 0x06, b'p', b'u', b'b', b'l', b'i', b'c', // OCTET STRING community
    0xa4, 0x1b, // [4] of 27: Trap-PDU
    0x06, 0x08, 0x2b, 6, 1, 4, 1, 0xbf, 0x08, 3, // enterprise 1.3.6.1.4.1.8072.3
    0x40, 0x04, 192, 0, 2, 1, // IpAddress agent-addr 192.0.2.1
    0x02, 0x01, 0x00, // INTEGER generic-trap coldStart(0)
    0x02, 0x01, 0x00, // INTEGER specific-trap 0
    0x43, 0x01, 0x05, // TimeTicks time-stamp 5
    0x30, 0x00, // SEQUENCE of 0: no bindings
];

/// RFC 3416 section 4.2.3: a get-bulk with non-repeaters 0 and max-repetitions 200.
const GET_BULK: &[u8] = &[
    0x30, 0x24, // SEQUENCE of 36
    0x02, 0x01, 0x01, // INTEGER version 1 (v2c)
    0x04, 0x02, b'r', b'o', // OCTET STRING community
    0xa5, 0x1b, // [5] of 27: GetBulkRequest-PDU
    0x02, 0x04, 0x7f, 0xff, 0xff, 0xff, // INTEGER request-id 2147483647
    0x02, 0x01, 0x00, // INTEGER non-repeaters 0
    0x02, 0x02, 0x00, 0xc8, // INTEGER max-repetitions 200
    0x30, 0x0c, // SEQUENCE of 12
    0x30, 0x0a, // SEQUENCE of 10
    0x06, 0x06, 0x2b, 6, 1, 2, 1, 2, // 1.3.6.1.2.1.2
    0x05, 0x00, // NULL
];

fn varbinds<'a>(message: &Message<'a>) -> Vec<VarBind<'a>> {
    let all: Result<Vec<_>, _> = message.pdu.varbinds.clone().collect();
    all.unwrap()
}

fn written(message: &Message<'_>) -> Vec<u8> {
    let mut slot = [0; 1472];
    let list: Vec<_> = varbinds(message).iter().map(|v| (v.oid, v.value)).collect();
    let pdu = &message.pdu;
    let range = match &pdu.trap {
        Some(header) => encode_trap_v1(&mut slot, message.community, header, list),
        None => encode(
            &mut slot,
            message.version,
            message.community,
            pdu.kind,
            pdu.request_id,
            pdu.error_status,
            pdu.error_index,
            list,
        ),
    };
    slot[range.unwrap()].to_vec()
}

#[test]
fn a_v1_get_is_read_and_written_to_the_byte() {
    let message = decode(GET_V1).unwrap();
    assert_eq!(message.version, Version::V1);
    assert_eq!(message.community, b"public");
    assert_eq!(message.pdu.kind, PduKind::Get);
    assert_eq!(message.pdu.request_id, 38);
    assert_eq!(message.pdu.trap, None);
    let sys_descr: OidBuf = "1.3.6.1.2.1.1.1.0".parse().unwrap();
    let expected = VarBind {
        oid: sys_descr.as_oid(),
        value: Value::Null,
    };
    assert_eq!(varbinds(&message), [expected]);
    assert_eq!(written(&message), GET_V1);
}

#[test]
fn a_v1_trap_is_read_and_written_to_the_byte() {
    let message = decode(TRAP_V1).unwrap();
    let enterprise: OidBuf = "1.3.6.1.4.1.8072.3".parse().unwrap();
    let header = TrapV1Header {
        enterprise: enterprise.as_oid(),
        agent_address: Ipv4Addr::new(192, 0, 2, 1),
        generic: 0,
        specific: 0,
        timestamp: 5,
    };
    assert_eq!(message.pdu.kind, PduKind::TrapV1);
    assert_eq!(message.pdu.trap, Some(header));
    assert_eq!(message.pdu.varbinds.raw(), []);
    assert_eq!(written(&message), TRAP_V1);
}

#[test]
fn a_get_bulk_keeps_its_two_counts() {
    let message = decode(GET_BULK).unwrap();
    assert_eq!(message.version, Version::V2c);
    assert_eq!(message.pdu.kind, PduKind::GetBulk);
    assert_eq!(message.pdu.request_id, i32::MAX);
    assert_eq!(
        (message.pdu.error_status, message.pdu.error_index),
        (0, 200)
    );
    assert_eq!(written(&message), GET_BULK);
}

#[test]
fn every_pdu_kind_with_a_common_header_differs_in_its_tag_only() {
    for (kind, tag) in PduKind::ALL.into_iter().zip(0xa0..) {
        if kind == PduKind::TrapV1 {
            continue;
        }
        let mut bytes = GET_V1.to_vec();
        bytes[13] = tag;
        let message = decode(&bytes).unwrap();
        assert_eq!(message.pdu.kind, kind);
        assert_eq!(written(&message), bytes);
    }
}

#[test]
fn an_error_response_names_its_binding() {
    let mut bytes = GET_V1.to_vec();
    bytes[13] = 0xa2; // GetResponse-PDU
    bytes[20] = 2; // error-status noSuchName
    bytes[23] = 1; // error-index
    let message = decode(&bytes).unwrap();
    let status = ErrorStatus::from_i32(message.pdu.error_status);
    assert_eq!(status, Some(ErrorStatus::NoSuchName));
    assert_eq!(message.pdu.error_index, 1);
}

/// Each value in the form that X.690, RFC 2578 and net-snmp's Opaque convention give it.
const VALUES: &[(Value<'static>, &[u8])] = &[
    (Value::Integer(0), &[0x02, 0x01, 0x00]),
    (Value::Integer(-1), &[0x02, 0x01, 0xff]),
    (Value::Integer(128), &[0x02, 0x02, 0x00, 0x80]),
    (Value::Integer(-129), &[0x02, 0x02, 0xff, 0x7f]),
    (
        Value::Integer(0x80_0000),
        &[0x02, 0x04, 0x00, 0x80, 0x00, 0x00],
    ),
    (
        Value::Integer(i32::MIN),
        &[0x02, 0x04, 0x80, 0x00, 0x00, 0x00],
    ),
    (Value::OctetString(b""), &[0x04, 0x00]),
    (Value::OctetString(b"a\0b"), &[0x04, 0x03, b'a', 0, b'b']),
    (Value::Null, &[0x05, 0x00]),
    (
        Value::ObjectId(Oid::from_static(&[0x2b, 6, 1, 4, 1, 0xbf, 8])),
        &[0x06, 0x07, 0x2b, 6, 1, 4, 1, 0xbf, 8],
    ),
    (
        Value::IpAddress(Ipv4Addr::new(10, 0, 0, 255)),
        &[0x40, 0x04, 10, 0, 0, 255],
    ),
    (Value::Counter32(127), &[0x41, 0x01, 0x7f]),
    (
        Value::Counter32(u32::MAX),
        &[0x41, 0x05, 0x00, 0xff, 0xff, 0xff, 0xff],
    ),
    (Value::Gauge32(0x8000), &[0x42, 0x03, 0x00, 0x80, 0x00]),
    (
        Value::TimeTicks(8_640_000),
        &[0x43, 0x04, 0x00, 0x83, 0xd6, 0x00],
    ),
    (
        Value::Opaque(&[0x04, 0x01, 0x00]),
        &[0x44, 0x03, 0x04, 0x01, 0x00],
    ),
    (
        Value::OpaqueFloat(1.0),
        &[0x44, 0x07, 0x9f, 0x78, 0x04, 0x3f, 0x80, 0x00, 0x00],
    ),
    (
        Value::OpaqueDouble(-2.0),
        &[0x44, 0x0b, 0x9f, 0x79, 0x08, 0xc0, 0, 0, 0, 0, 0, 0, 0],
    ),
    (Value::NsapAddress(&[0x47, 0x00]), &[0x45, 0x02, 0x47, 0x00]),
    (Value::Counter64(0), &[0x46, 0x01, 0x00]),
    (
        Value::Counter64(1 << 56),
        &[0x46, 0x08, 0x01, 0, 0, 0, 0, 0, 0, 0],
    ),
    (
        Value::Counter64(u64::MAX),
        &[
            0x46, 0x09, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ],
    ),
    (Value::UInteger32(1), &[0x47, 0x01, 0x01]),
    (Value::BitString(&[0x04, 0xf0]), &[0x03, 0x02, 0x04, 0xf0]),
    (Value::NoSuchObject, &[0x80, 0x00]),
    (Value::NoSuchInstance, &[0x81, 0x00]),
    (Value::EndOfMibView, &[0x82, 0x00]),
    (
        Value::Unknown {
            tag: 0x48,
            bytes: &[1, 2],
        },
        &[0x48, 0x02, 1, 2],
    ),
];

#[test]
fn every_value_type_has_its_bytes() {
    for &(value, bytes) in VALUES {
        let mut slot = [0; 100];
        let list = [(Oid::from_static(&[0x2b]), value)];
        let at = encode(
            &mut slot,
            Version::V2c,
            b"",
            PduKind::Response,
            1,
            0,
            0,
            list,
        )
        .unwrap();
        assert!(slot[at.clone()].ends_with(bytes), "{value:?}");
        let message = decode(&slot[at]).unwrap();
        assert_eq!(varbinds(&message)[0].value, value);
        assert_eq!(value.to_owned().as_value(), value);
        assert_eq!(value.tag(), bytes[0]);
        assert_eq!(value.is_exception(), (0x80..=0x82).contains(&bytes[0]));
    }
}

/// What real agents send that is not in the shortest form, or not in the RFCs at all.
#[test]
fn the_dirt_of_real_devices_is_read() {
    let cases: &[(&[u8], Value<'_>)] = &[
        (&[0x02, 0x00], Value::Integer(0)),
        (
            &[0x02, 0x05, 0xff, 0xff, 0xff, 0xff, 0xfe],
            Value::Integer(-2),
        ),
        (&[0x41, 0x00], Value::Counter32(0)),
        (
            &[0x41, 0x04, 0xff, 0xff, 0xff, 0xff],
            Value::Counter32(u32::MAX),
        ),
        (
            &[0x42, 0x05, 0x00, 0x00, 0x00, 0x00, 0x09],
            Value::Gauge32(9),
        ),
        (&[0x46, 0x00], Value::Counter64(0)),
        (
            &[0x46, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            Value::Counter64(u64::MAX),
        ),
        (&[0x05, 0x02, 0x12, 0x34], Value::Null),
        (&[0x82, 0x01, 0x00], Value::EndOfMibView),
        (&[0x06, 0x00], Value::ObjectId(Oid::from_static(&[]))),
        (
            &[0x40, 0x00],
            Value::Unknown {
                tag: 0x40,
                bytes: &[],
            },
        ),
        (
            &[0x40, 0x05, 1, 2, 3, 4, 5],
            Value::Unknown {
                tag: 0x40,
                bytes: &[1, 2, 3, 4, 5],
            },
        ),
        (
            &[0x44, 0x04, 0x9f, 0x78, 0x01, 0x00],
            Value::Opaque(&[0x9f, 0x78, 0x01, 0x00]),
        ),
        (&[0x04, 0x82, 0x00, 0x01, 0xaa], Value::OctetString(&[0xaa])),
    ];
    for &(value_bytes, value) in cases {
        let mut bytes = vec![0x30, 0x80, 0x06, 0x01, 0x2b];
        bytes.extend_from_slice(value_bytes);
        bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        let read: Vec<_> = VarBinds::from_raw(&bytes).map(Result::unwrap).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].value, value, "{value_bytes:02x?}");
    }
}

#[test]
fn padded_lengths_and_trailing_bytes_are_read_in_the_envelope_too() {
    // net-snmp writes every sequence with two length octets.
    let mut bytes = vec![0x30, 0x82, 0x00, 0x2c, 0x02, 0x01, 0x00];
    bytes.extend_from_slice(&GET_V1[5..13]);
    bytes.extend_from_slice(&[0xa0, 0x82, 0x00, 0x1d]);
    bytes.extend_from_slice(&GET_V1[15..24]);
    bytes.extend_from_slice(&[0x30, 0x82, 0x00, 0x10, 0x30, 0x82, 0x00, 0x0c]);
    bytes.extend_from_slice(&GET_V1[28..]);
    assert_eq!(written(&decode(&bytes).unwrap()), GET_V1);
    bytes.extend_from_slice(b"trailing");
    assert_eq!(written(&decode(&bytes).unwrap()), GET_V1);
}
