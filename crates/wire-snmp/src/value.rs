//! The values of variable bindings, borrowed and owned.
//!
//! The rule: a value is what its tag says, decoded when the binding is read. What a device sends
//! that no RFC allows but that is not ambiguous keeps its bytes as [`Value::Unknown`].
//!
//! Edge cases: floats and doubles hide within an Opaque (net-snmp's convention, tags 0x9f78 and
//! 0x9f79); an Opaque of the same bytes cannot be told from them. An IpAddress of other than four
//! bytes is `Unknown` with tag 0x40. A NULL with content, and an exception with content, are read
//! as if it were empty.

use std::net::Ipv4Addr;

use crate::ber::{Element, tag};
use crate::error::DecodeError;
use crate::oid::Oid;
use crate::oid_buf::OidBuf;

/// What a float within an Opaque begins with: its tag and its length.
pub(crate) const FLOAT: [u8; 3] = [0x9f, 0x78, 4];
/// What a double within an Opaque begins with.
pub(crate) const DOUBLE: [u8; 3] = [0x9f, 0x79, 8];

/// A value within a datagram (RFC 2578 section 7.1, RFC 3416 section 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// INTEGER, Integer32.
    Integer(i32),
    /// OCTET STRING.
    OctetString(&'a [u8]),
    /// NULL, which requests carry in place of a value.
    Null,
    /// OBJECT IDENTIFIER.
    ObjectId(Oid<'a>),
    /// IpAddress.
    IpAddress(Ipv4Addr),
    /// Counter32 (Counter in v1).
    Counter32(u32),
    /// Gauge32, Unsigned32 (Gauge in v1).
    Gauge32(u32),
    /// TimeTicks, in hundredths of a second.
    TimeTicks(u32),
    /// Opaque, of anything but a float or a double.
    Opaque(&'a [u8]),
    /// A float within an Opaque.
    OpaqueFloat(f32),
    /// A double within an Opaque.
    OpaqueDouble(f64),
    /// NsapAddress (RFC 1442, obsolete).
    NsapAddress(&'a [u8]),
    /// Counter64.
    Counter64(u64),
    /// UInteger32 (RFC 1442, obsolete).
    UInteger32(u32),
    /// BIT STRING (RFC 1442, obsolete): the content, the count of unused bits first.
    BitString(&'a [u8]),
    /// The exception noSuchObject.
    NoSuchObject,
    /// The exception noSuchInstance.
    NoSuchInstance,
    /// The exception endOfMibView.
    EndOfMibView,
    /// Any other tag, and an IpAddress that is not four bytes long.
    Unknown {
        /// The tag octet.
        tag: u8,
        /// The content.
        bytes: &'a [u8],
    },
}

impl<'a> Value<'a> {
    #[inline(always)]
    pub(crate) fn from_element(element: Element<'a>) -> Result<Self, DecodeError> {
        let bytes = element.content;
        Ok(match element.tag {
            tag::INTEGER => Self::Integer(element.integer()?),
            tag::OCTET_STRING => Self::OctetString(bytes),
            tag::OBJECT_ID => Self::ObjectId(Oid::from_content(bytes, element.content_at)?),
            tag::COUNTER32 => Self::Counter32(element.unsigned()?),
            tag::GAUGE32 => Self::Gauge32(element.unsigned()?),
            tag::TIME_TICKS => Self::TimeTicks(element.unsigned()?),
            tag::COUNTER64 => Self::Counter64(element.counter64()?),
            tag::NULL => Self::Null,
            tag::IP_ADDRESS => match *bytes {
                [a, b, c, d] => Self::IpAddress(Ipv4Addr::new(a, b, c, d)),
                _ => Self::Unknown {
                    tag: tag::IP_ADDRESS,
                    bytes,
                },
            },
            tag::OPAQUE => opaque(bytes),
            tag::NSAP_ADDRESS => Self::NsapAddress(bytes),
            tag::UINTEGER32 => Self::UInteger32(element.unsigned()?),
            tag::BIT_STRING => Self::BitString(bytes),
            tag::NO_SUCH_OBJECT => Self::NoSuchObject,
            tag::NO_SUCH_INSTANCE => Self::NoSuchInstance,
            tag::END_OF_MIB_VIEW => Self::EndOfMibView,
            tag => Self::Unknown { tag, bytes },
        })
    }

    /// The tag octet that it has on the wire.
    pub const fn tag(&self) -> u8 {
        match self {
            Self::Integer(_) => tag::INTEGER,
            Self::OctetString(_) => tag::OCTET_STRING,
            Self::Null => tag::NULL,
            Self::ObjectId(_) => tag::OBJECT_ID,
            Self::IpAddress(_) => tag::IP_ADDRESS,
            Self::Counter32(_) => tag::COUNTER32,
            Self::Gauge32(_) => tag::GAUGE32,
            Self::TimeTicks(_) => tag::TIME_TICKS,
            Self::Opaque(_) | Self::OpaqueFloat(_) | Self::OpaqueDouble(_) => tag::OPAQUE,
            Self::NsapAddress(_) => tag::NSAP_ADDRESS,
            Self::Counter64(_) => tag::COUNTER64,
            Self::UInteger32(_) => tag::UINTEGER32,
            Self::BitString(_) => tag::BIT_STRING,
            Self::NoSuchObject => tag::NO_SUCH_OBJECT,
            Self::NoSuchInstance => tag::NO_SUCH_INSTANCE,
            Self::EndOfMibView => tag::END_OF_MIB_VIEW,
            Self::Unknown { tag, .. } => *tag,
        }
    }

    /// Whether it is one of the three exceptions of v2c, which stand in place of a value.
    pub const fn is_exception(&self) -> bool {
        matches!(
            self,
            Self::NoSuchObject | Self::NoSuchInstance | Self::EndOfMibView
        )
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> OwnedValue {
        match *self {
            Self::Integer(number) => OwnedValue::Integer(number),
            Self::OctetString(bytes) => OwnedValue::OctetString(bytes.into()),
            Self::Null => OwnedValue::Null,
            Self::ObjectId(oid) => OwnedValue::ObjectId(oid.into()),
            Self::IpAddress(address) => OwnedValue::IpAddress(address),
            Self::Counter32(number) => OwnedValue::Counter32(number),
            Self::Gauge32(number) => OwnedValue::Gauge32(number),
            Self::TimeTicks(ticks) => OwnedValue::TimeTicks(ticks),
            Self::Opaque(bytes) => OwnedValue::Opaque(bytes.into()),
            Self::OpaqueFloat(number) => OwnedValue::OpaqueFloat(number),
            Self::OpaqueDouble(number) => OwnedValue::OpaqueDouble(number),
            Self::NsapAddress(bytes) => OwnedValue::NsapAddress(bytes.into()),
            Self::Counter64(number) => OwnedValue::Counter64(number),
            Self::UInteger32(number) => OwnedValue::UInteger32(number),
            Self::BitString(bytes) => OwnedValue::BitString(bytes.into()),
            Self::NoSuchObject => OwnedValue::NoSuchObject,
            Self::NoSuchInstance => OwnedValue::NoSuchInstance,
            Self::EndOfMibView => OwnedValue::EndOfMibView,
            Self::Unknown { tag, bytes } => OwnedValue::Unknown {
                tag,
                bytes: bytes.into(),
            },
        }
    }
}

/// A [`Value`] that owns its bytes; the variants mean the same.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedValue {
    /// See [`Value::Integer`].
    Integer(i32),
    /// See [`Value::OctetString`].
    OctetString(Box<[u8]>),
    /// See [`Value::Null`].
    Null,
    /// See [`Value::ObjectId`].
    ObjectId(OidBuf),
    /// See [`Value::IpAddress`].
    IpAddress(Ipv4Addr),
    /// See [`Value::Counter32`].
    Counter32(u32),
    /// See [`Value::Gauge32`].
    Gauge32(u32),
    /// See [`Value::TimeTicks`].
    TimeTicks(u32),
    /// See [`Value::Opaque`].
    Opaque(Box<[u8]>),
    /// See [`Value::OpaqueFloat`].
    OpaqueFloat(f32),
    /// See [`Value::OpaqueDouble`].
    OpaqueDouble(f64),
    /// See [`Value::NsapAddress`].
    NsapAddress(Box<[u8]>),
    /// See [`Value::Counter64`].
    Counter64(u64),
    /// See [`Value::UInteger32`].
    UInteger32(u32),
    /// See [`Value::BitString`].
    BitString(Box<[u8]>),
    /// See [`Value::NoSuchObject`].
    NoSuchObject,
    /// See [`Value::NoSuchInstance`].
    NoSuchInstance,
    /// See [`Value::EndOfMibView`].
    EndOfMibView,
    /// See [`Value::Unknown`].
    Unknown {
        /// The tag octet.
        tag: u8,
        /// The content.
        bytes: Box<[u8]>,
    },
}

impl OwnedValue {
    /// A view of it.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Self::Integer(number) => Value::Integer(*number),
            Self::OctetString(bytes) => Value::OctetString(bytes),
            Self::Null => Value::Null,
            Self::ObjectId(oid) => Value::ObjectId(oid.as_oid()),
            Self::IpAddress(address) => Value::IpAddress(*address),
            Self::Counter32(number) => Value::Counter32(*number),
            Self::Gauge32(number) => Value::Gauge32(*number),
            Self::TimeTicks(ticks) => Value::TimeTicks(*ticks),
            Self::Opaque(bytes) => Value::Opaque(bytes),
            Self::OpaqueFloat(number) => Value::OpaqueFloat(*number),
            Self::OpaqueDouble(number) => Value::OpaqueDouble(*number),
            Self::NsapAddress(bytes) => Value::NsapAddress(bytes),
            Self::Counter64(number) => Value::Counter64(*number),
            Self::UInteger32(number) => Value::UInteger32(*number),
            Self::BitString(bytes) => Value::BitString(bytes),
            Self::NoSuchObject => Value::NoSuchObject,
            Self::NoSuchInstance => Value::NoSuchInstance,
            Self::EndOfMibView => Value::EndOfMibView,
            Self::Unknown { tag, bytes } => Value::Unknown { tag: *tag, bytes },
        }
    }
}

fn opaque(bytes: &[u8]) -> Value<'_> {
    if let Some(digits) = bytes.strip_prefix(&FLOAT)
        && let &[a, b, c, d] = digits
    {
        return Value::OpaqueFloat(f32::from_be_bytes([a, b, c, d]));
    }
    if let Some(digits) = bytes.strip_prefix(&DOUBLE)
        && let &[a, b, c, d, e, f, g, h] = digits
    {
        return Value::OpaqueDouble(f64::from_be_bytes([a, b, c, d, e, f, g, h]));
    }
    Value::Opaque(bytes)
}
