//! What a message says, in one form for both codecs.

use async_snmp::compatibility::DecodeConfig;
use async_snmp::error::{DecodeErrorKind, Error};
use async_snmp::message::{CommunityMessage, CommunityPdu};
use async_snmp::pdu::Pdu;
use async_snmp::{Value as TheirValue, VarBind as TheirVarBind, Version as TheirVersion};
use bytes::Bytes;
use trunkline_wire_snmp::{DecodeError, Value, Version, decode};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) v2c: bool,
    pub(crate) community: Vec<u8>,
    pub(crate) kind: String,
    /// Request id and the two fields behind it; 0 for v1 traps.
    pub(crate) numbers: [i64; 3],
    pub(crate) trap: Option<Trap>,
    pub(crate) varbinds: Vec<Binding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trap {
    enterprise: String,
    address: [u8; 4],
    generic: i32,
    specific: i32,
    pub(crate) ticks: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) tag: u8,
    pub(crate) value: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Nothing,
    Signed(i32),
    Unsigned(u64),
    Bytes(Vec<u8>),
    Name(String),
}

pub(crate) fn ours(bytes: &[u8]) -> Result<Seen, DecodeError> {
    let message = decode(bytes)?;
    let pdu = message.pdu;
    let varbinds = pdu.varbinds.map(|varbind| {
        let varbind = varbind?;
        Ok(Binding {
            name: varbind.oid.to_string(),
            tag: varbind.value.tag(),
            value: our_content(varbind.value),
        })
    });
    Ok(Seen {
        v2c: message.version == Version::V2c,
        community: message.community.to_vec(),
        kind: format!("{:?}", pdu.kind),
        numbers: [pdu.request_id, pdu.error_status, pdu.error_index].map(i64::from),
        trap: pdu.trap.map(|header| Trap {
            enterprise: header.enterprise.to_string(),
            address: header.agent_address.octets(),
            generic: header.generic,
            specific: header.specific,
            ticks: header.timestamp,
        }),
        varbinds: varbinds.collect::<Result<_, DecodeError>>()?,
    })
}

fn our_content(value: Value<'_>) -> Content {
    match value {
        Value::Integer(number) => Content::Signed(number),
        Value::Counter32(number)
        | Value::Gauge32(number)
        | Value::TimeTicks(number)
        | Value::UInteger32(number) => Content::Unsigned(number.into()),
        Value::Counter64(number) => Content::Unsigned(number),
        Value::ObjectId(oid) => Content::Name(oid.to_string()),
        Value::IpAddress(address) => Content::Bytes(address.octets().to_vec()),
        // They leave what is within an Opaque to another call.
        Value::OpaqueFloat(number) => {
            Content::Bytes([&[0x9f, 0x78, 4][..], &number.to_be_bytes()].concat())
        }
        Value::OpaqueDouble(number) => {
            Content::Bytes([&[0x9f, 0x79, 8][..], &number.to_be_bytes()].concat())
        }
        Value::OctetString(bytes)
        | Value::Opaque(bytes)
        | Value::NsapAddress(bytes)
        | Value::BitString(bytes)
        | Value::Unknown { bytes, .. } => Content::Bytes(bytes.to_vec()),
        Value::Null | Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => {
            Content::Nothing
        }
    }
}

pub(crate) fn their_message(bytes: &[u8]) -> Result<CommunityMessage, DecodeErrorKind> {
    let decoded = CommunityMessage::decode(Bytes::copy_from_slice(bytes), DecodeConfig::STRICT);
    match decoded {
        Ok(outcome) => Ok(outcome.value),
        Err(error) => match *error {
            Error::Decode(error) => Err(error.kind),
            other => panic!("not a decode error: {other}"),
        },
    }
}

pub(crate) fn theirs(bytes: &[u8]) -> Result<Seen, DecodeErrorKind> {
    let message = their_message(bytes)?;
    let (numbers, trap) = match message.pdu() {
        CommunityPdu::Standard(pdu) => (their_numbers(pdu), None),
        CommunityPdu::TrapV1(trap) => {
            let trap = Trap {
                enterprise: trap.enterprise().to_string(),
                address: trap.agent_addr().to_owned(),
                generic: trap.generic_trap().as_i32(),
                specific: trap.specific_trap(),
                ticks: trap.time_stamp(),
            };
            ([0; 3], Some(trap))
        }
    };
    let varbinds = match message.pdu() {
        CommunityPdu::Standard(pdu) => pdu.varbinds(),
        CommunityPdu::TrapV1(trap) => trap.varbinds(),
    };
    Ok(Seen {
        v2c: message.version() == TheirVersion::V2c,
        community: message.community().as_bytes().to_vec(),
        kind: their_kind(message.pdu()),
        numbers,
        trap,
        varbinds: varbinds.iter().map(their_binding).collect(),
    })
}

fn their_numbers(pdu: &Pdu) -> [i64; 3] {
    let id = i64::from(pdu.request_id());
    match (pdu.get_bulk_fields(), pdu.error_fields()) {
        (Some((repeaters, repetitions)), _) => [id, repeaters.into(), repetitions.into()],
        (None, Some((status, index))) => [id, status.into(), index.into()],
        (None, None) => panic!("a PDU without its two fields"),
    }
}

fn their_kind(pdu: &CommunityPdu) -> String {
    use async_snmp::pdu::PduType;
    let kind = match pdu.pdu_type() {
        PduType::GetRequest => "Get",
        PduType::GetNextRequest => "GetNext",
        PduType::Response => "Response",
        PduType::SetRequest => "Set",
        PduType::TrapV1 => "TrapV1",
        PduType::GetBulkRequest => "GetBulk",
        PduType::InformRequest => "Inform",
        PduType::TrapV2 => "TrapV2",
        PduType::Report => "Report",
    };
    kind.to_owned()
}

fn their_binding(varbind: &TheirVarBind) -> Binding {
    let bytes = |bytes: &Bytes| Content::Bytes(bytes.to_vec());
    let (tag, value) = match &varbind.value {
        TheirValue::Integer(number) => (0x02, Content::Signed(*number)),
        TheirValue::OctetString(string) => (0x04, bytes(string)),
        TheirValue::Null => (0x05, Content::Nothing),
        TheirValue::ObjectIdentifier(oid) => (0x06, Content::Name(oid.to_string())),
        TheirValue::IpAddress(address) => (0x40, Content::Bytes(address.to_vec())),
        TheirValue::Counter32(number) => (0x41, Content::Unsigned((*number).into())),
        TheirValue::Gauge32(number) => (0x42, Content::Unsigned((*number).into())),
        TheirValue::TimeTicks(number) => (0x43, Content::Unsigned((*number).into())),
        TheirValue::Opaque(content) => (0x44, bytes(content)),
        TheirValue::Nsap(address) => (0x45, bytes(address)),
        TheirValue::Counter64(number) => (0x46, Content::Unsigned(*number)),
        TheirValue::UInteger32(number) => (0x47, Content::Unsigned((*number).into())),
        TheirValue::NoSuchObject => (0x80, Content::Nothing),
        TheirValue::NoSuchInstance => (0x81, Content::Nothing),
        TheirValue::EndOfMibView => (0x82, Content::Nothing),
        TheirValue::Unknown { tag, data } => (*tag, bytes(data)),
        other => panic!("a value that we do not know: {other:?}"),
    };
    Binding {
        name: varbind.oid.to_string(),
        tag,
        value,
    }
}
