//! Messages: the envelope of a datagram, checked once, and its bindings, read one at a time.
//!
//! The problem: most of a reply is bindings, and who believes a reply (by its id and its source)
//! is not who reads it. Decoding everything at the door would do the reader's work on the wire's
//! thread, and do it for replies that nobody waits for.
//!
//! The rule: [`decode`] reads version, community and the four fields before the bindings (RFC
//! 1157 section 4, RFC 3416 section 3) and finds where the bindings lie. [`VarBinds`] decodes
//! them as it is iterated. Neither copies.
//!
//! Edge cases: a binding that is wrong within itself is one error, and the iteration goes on
//! behind it; a binding whose own tag or length is wrong ends the iteration, since nothing behind
//! it can be found. Bytes behind the message, behind the binding list, and behind the value of a
//! binding are ignored, as net-snmp does.

use std::iter::FusedIterator;
use std::net::Ipv4Addr;

use crate::ber::{Element, Reader, tag};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::names::{PduKind, Version};
use crate::oid::Oid;
use crate::value::Value;

/// One SNMP message, borrowed from its datagram.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The version.
    pub version: Version,
    /// The community, which may be any bytes.
    pub community: &'a [u8],
    /// What it asks or tells.
    pub pdu: Pdu<'a>,
}

/// The PDU of a message.
#[derive(Clone, Debug)]
pub struct Pdu<'a> {
    /// What it asks or tells.
    pub kind: PduKind,
    /// The id by which a response finds its request; 0 in a v1 trap, which has none.
    pub request_id: i32,
    /// error-status, for [`ErrorStatus::from_i32`](crate::ErrorStatus::from_i32); the
    /// non-repeaters of a GetBulk; 0 in a v1 trap.
    pub error_status: i32,
    /// error-index, from 1; the max-repetitions of a GetBulk; 0 in a v1 trap.
    pub error_index: i32,
    /// The bindings, not yet validated.
    pub varbinds: VarBinds<'a>,
    /// The header of a v1 trap; `None` for every other kind.
    pub trap: Option<TrapV1Header<'a>>,
}

/// What a v1 trap says before its bindings (RFC 1157 section 4.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapV1Header<'a> {
    /// The kind of device, or for generic trap 6 the owner of the specific trap.
    pub enterprise: Oid<'a>,
    /// The device's own idea of its address.
    pub agent_address: Ipv4Addr,
    /// 0 coldStart to 5 egpNeighborLoss; 6 enterpriseSpecific.
    pub generic: i32,
    /// Which trap of `enterprise` when `generic` is 6.
    pub specific: i32,
    /// sysUpTime when it was sent, in hundredths of a second.
    pub timestamp: u32,
}

/// One variable binding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VarBind<'a> {
    /// The name.
    pub oid: Oid<'a>,
    /// The value.
    pub value: Value<'a>,
}

/// Bindings that are decoded as they are iterated.
#[derive(Clone, Debug)]
pub struct VarBinds<'a> {
    reader: Reader<'a>,
}

/// Checks the envelope of a datagram and borrows a message from it. The bindings are not looked
/// at: iterating [`Pdu::varbinds`] does that.
///
/// # Errors
/// When the envelope is not that of an SNMP v1 or v2c message.
pub fn decode(datagram: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut outer = Reader {
        rest: datagram,
        offset: 0,
    };
    let mut message = outer.expect(tag::SEQUENCE)?.reader();
    let version = message.expect(tag::INTEGER)?;
    let number = version.integer()?;
    let unsupported = DecodeErrorKind::UnsupportedVersion(number);
    let version =
        Version::from_number(number).ok_or(DecodeError::new(unsupported, version.content_at))?;
    let community = message.expect(tag::OCTET_STRING)?.content;
    let pdu = message.element()?;
    let kind = PduKind::from_tag(pdu.tag).ok_or(DecodeError::new(
        DecodeErrorKind::UnknownPdu(pdu.tag),
        pdu.at,
    ))?;
    let fields = pdu.reader();
    let pdu = if kind == PduKind::TrapV1 {
        trap_v1(fields)?
    } else {
        common(kind, fields)?
    };
    Ok(Message {
        version,
        community,
        pdu,
    })
}

fn common(kind: PduKind, mut fields: Reader<'_>) -> Result<Pdu<'_>, DecodeError> {
    Ok(Pdu {
        kind,
        request_id: fields.expect(tag::INTEGER)?.integer()?,
        error_status: fields.expect(tag::INTEGER)?.integer()?,
        error_index: fields.expect(tag::INTEGER)?.integer()?,
        varbinds: VarBinds {
            reader: fields.expect(tag::SEQUENCE)?.reader(),
        },
        trap: None,
    })
}

fn trap_v1(mut fields: Reader<'_>) -> Result<Pdu<'_>, DecodeError> {
    let enterprise = fields.expect(tag::OBJECT_ID)?;
    let enterprise = Oid::from_content(enterprise.content, enterprise.content_at)?;
    let agent_address = agent_address(fields.expect(tag::IP_ADDRESS)?)?;
    let trap = TrapV1Header {
        enterprise,
        agent_address,
        generic: fields.expect(tag::INTEGER)?.integer()?,
        specific: fields.expect(tag::INTEGER)?.integer()?,
        timestamp: fields.expect(tag::TIME_TICKS)?.unsigned()?,
    };
    Ok(Pdu {
        kind: PduKind::TrapV1,
        request_id: 0,
        error_status: 0,
        error_index: 0,
        varbinds: VarBinds {
            reader: fields.expect(tag::SEQUENCE)?.reader(),
        },
        trap: Some(trap),
    })
}

fn agent_address(element: Element<'_>) -> Result<Ipv4Addr, DecodeError> {
    let octets: Result<[u8; 4], _> = element.content.try_into();
    let kind = DecodeErrorKind::AgentAddressLength(element.content.len());
    octets
        .map(Ipv4Addr::from)
        .map_err(|_| DecodeError::new(kind, element.content_at))
}

impl<'a> VarBinds<'a> {
    /// The bindings within bytes that [`VarBinds::raw`] gave. Offsets of errors then count from
    /// the start of these bytes.
    pub const fn from_raw(bytes: &'a [u8]) -> Self {
        Self {
            reader: Reader {
                rest: bytes,
                offset: 0,
            },
        }
    }

    /// The bytes of the bindings that have not been read yet: of all, before the first `next`.
    pub const fn raw(&self) -> &'a [u8] {
        self.reader.rest
    }
}

impl<'a> Iterator for VarBinds<'a> {
    type Item = Result<VarBind<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.rest.is_empty() {
            return None;
        }
        Some(match self.reader.expect(tag::SEQUENCE) {
            Ok(element) => varbind(element.reader()),
            Err(error) => {
                self.reader.rest = &[];
                Err(error)
            }
        })
    }
}

impl FusedIterator for VarBinds<'_> {}

#[inline(always)]
fn varbind(mut fields: Reader<'_>) -> Result<VarBind<'_>, DecodeError> {
    let name = fields.expect(tag::OBJECT_ID)?;
    Ok(VarBind {
        oid: Oid::from_content(name.content, name.content_at)?,
        value: Value::from_element(fields.element()?)?,
    })
}
