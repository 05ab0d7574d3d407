//! Encoding of messages, backwards, into a slot of fixed size.
//!
//! The problem: BER puts the length of an element before its content, so writing forwards needs
//! either a second pass or room left for a length that is not known yet.
//!
//! The rule: content is written first, from the end of the slot towards its start, then the
//! length that is now known, in its shortest form. Nothing is allocated, and a message that does
//! not fit is an error, after which the slot's content is undefined.
//!
//! Edge cases: numbers have their shortest form, so an unsigned number with its top bit set takes
//! one more octet; the lengths that [`varbind_len`] and [`message_overhead`] tell are exact, so
//! that an agent can count how many bindings fit before it writes any.

use std::ops::Range;

use crate::ber::{HIGH_TAG, tag};
use crate::message::TrapV1Header;
use crate::names::{PduKind, Version};
use crate::oid::Oid;
use crate::value::{DOUBLE, FLOAT, Value};

/// Why a message was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The slot is too small.
    #[error("the message does not fit: it needs {needed_at_least} bytes or more")]
    TooBig {
        /// How many bytes the part that was tried needs; the whole message may need more.
        needed_at_least: usize,
    },
    /// A v1 trap has another header: use [`encode_trap_v1`].
    #[error("a v1 trap needs its own header")]
    TrapV1Header,
    /// A [`Value::Unknown`] whose tag announces further tag octets.
    #[error("the tag {0:#04x} cannot be encoded in one octet")]
    HighTag(u8),
}

/// Encodes a message of any kind but a v1 trap so that it ends at the end of `slot`; returns
/// where it lies. `error_status` and `error_index` are the non-repeaters and max-repetitions of a
/// GetBulk, and 0 in every other request.
///
/// # Errors
/// When it does not fit, for [`PduKind::TrapV1`], and for an unknown value of a tag that SNMP
/// cannot have.
#[expect(
    clippy::too_many_arguments,
    reason = "they are the fields of the message, in the order of the wire"
)]
pub fn encode<'v>(
    slot: &mut [u8],
    version: Version,
    community: &[u8],
    kind: PduKind,
    request_id: i32,
    error_status: i32,
    error_index: i32,
    varbinds: impl IntoIterator<
        Item = (Oid<'v>, Value<'v>),
        IntoIter: DoubleEndedIterator<Item = (Oid<'v>, Value<'v>)>,
    >,
) -> Result<Range<usize>, EncodeError> {
    if kind == PduKind::TrapV1 {
        return Err(EncodeError::TrapV1Header);
    }
    let mut writer = Writer::new(slot);
    let end = writer.at;
    writer.varbinds(varbinds.into_iter())?;
    writer.integer(error_index)?;
    writer.integer(error_status)?;
    writer.integer(request_id)?;
    writer.header(kind.tag(), end)?;
    writer.envelope(version, community, end)
}

/// [`encode`] with bindings that are encoded already: the content of the variable-bindings list, as
/// [`VarBinds::raw`](crate::VarBinds::raw) gives it. Whoever asks many agents the same question
/// encodes it once. `numbers` are error-status and error-index, or what stands in their place.
///
/// # Errors
/// When it does not fit, and for [`PduKind::TrapV1`].
pub fn encode_raw(
    slot: &mut [u8],
    version: Version,
    community: &[u8],
    kind: PduKind,
    request_id: i32,
    numbers: (i32, i32),
    varbinds: &[u8],
) -> Result<Range<usize>, EncodeError> {
    if kind == PduKind::TrapV1 {
        return Err(EncodeError::TrapV1Header);
    }
    let mut writer = Writer::new(slot);
    let end = writer.at;
    writer.bytes(varbinds)?;
    writer.header(tag::SEQUENCE, end)?;
    writer.integer(numbers.1)?;
    writer.integer(numbers.0)?;
    writer.integer(request_id)?;
    writer.header(kind.tag(), end)?;
    writer.envelope(version, community, end)
}

/// Encodes bindings alone, for [`encode_raw`].
///
/// # Errors
/// For an unknown value of a tag that SNMP cannot have.
pub fn encode_varbinds(varbinds: &[(Oid<'_>, Value<'_>)]) -> Result<Box<[u8]>, EncodeError> {
    let len = varbinds
        .iter()
        .map(|(oid, value)| varbind_len(*oid, value))
        .sum();
    let mut list = vec![0; len];
    let mut writer = Writer::new(&mut list);
    for (oid, value) in varbinds.iter().rev() {
        let end = writer.at;
        writer.value(*value)?;
        writer.value(Value::ObjectId(*oid))?;
        writer.header(tag::SEQUENCE, end)?;
    }
    Ok(list.into())
}

/// Encodes a v1 trap so that it ends at the end of `slot`; returns where it lies.
///
/// # Errors
/// When it does not fit, and for an unknown value of a tag that SNMP cannot have.
pub fn encode_trap_v1<'v>(
    slot: &mut [u8],
    community: &[u8],
    header: &TrapV1Header<'_>,
    varbinds: impl IntoIterator<
        Item = (Oid<'v>, Value<'v>),
        IntoIter: DoubleEndedIterator<Item = (Oid<'v>, Value<'v>)>,
    >,
) -> Result<Range<usize>, EncodeError> {
    let mut writer = Writer::new(slot);
    let end = writer.at;
    writer.varbinds(varbinds.into_iter())?;
    writer.value(Value::TimeTicks(header.timestamp))?;
    writer.integer(header.specific)?;
    writer.integer(header.generic)?;
    writer.value(Value::IpAddress(header.agent_address))?;
    writer.value(Value::ObjectId(header.enterprise))?;
    writer.header(PduKind::TrapV1.tag(), end)?;
    writer.envelope(Version::V1, community, end)
}

/// How many bytes one binding takes within a message.
pub fn varbind_len(oid: Oid<'_>, value: &Value<'_>) -> usize {
    element_len(element_len(oid.as_ber().len()) + element_len(content_len(value)))
}

/// How many bytes a message that [`encode`] writes has besides its bindings, when those take
/// `varbinds_len` bytes together. A message of either version fits a slot when this and
/// `varbinds_len` do.
pub fn message_overhead(
    community: &[u8],
    request_id: i32,
    error_status: i32,
    error_index: i32,
    varbinds_len: usize,
) -> usize {
    let fields = [request_id, error_status, error_index];
    let fields_len: usize = fields.map(|field| 2 + integer_len(field)).iter().sum();
    let pdu_len = element_len(fields_len + element_len(varbinds_len));
    let version_len = 3;
    element_len(version_len + element_len(community.len()) + pdu_len) - varbinds_len
}

/// The free part of a slot is `slot[..at]`; what is written grows downwards from its end.
struct Writer<'s> {
    slot: &'s mut [u8],
    at: usize,
}

impl<'s> Writer<'s> {
    fn new(slot: &'s mut [u8]) -> Self {
        let at = slot.len();
        Self { slot, at }
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let room = self
            .at
            .checked_sub(bytes.len())
            .and_then(|at| self.slot.get_mut(at..self.at));
        let Some(room) = room else {
            let needed_at_least = self.slot.len() - self.at + bytes.len();
            return Err(EncodeError::TooBig { needed_at_least });
        };
        room.copy_from_slice(bytes);
        self.at -= bytes.len();
        Ok(())
    }

    /// Writes tag and length of the element whose content lies from here to `end`.
    #[inline(always)]
    fn header(&mut self, tag: u8, end: usize) -> Result<(), EncodeError> {
        let length = end - self.at;
        if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
            return self.bytes(&[tag, short]);
        }
        let digits = length.to_be_bytes();
        let count = length_octets(length);
        self.bytes(&digits[digits.len() - count..])?;
        let [.., count] = count.to_be_bytes();
        self.bytes(&[tag, 0x80 | count])
    }

    #[inline]
    fn integer(&mut self, number: i32) -> Result<(), EncodeError> {
        self.value(Value::Integer(number))
    }

    fn varbinds<'v>(
        &mut self,
        varbinds: impl DoubleEndedIterator<Item = (Oid<'v>, Value<'v>)>,
    ) -> Result<(), EncodeError> {
        let list_end = self.at;
        for (oid, value) in varbinds.rev() {
            let end = self.at;
            self.value(value)?;
            self.value(Value::ObjectId(oid))?;
            self.header(tag::SEQUENCE, end)?;
        }
        self.header(tag::SEQUENCE, list_end)
    }

    fn envelope(
        mut self,
        version: Version,
        community: &[u8],
        end: usize,
    ) -> Result<Range<usize>, EncodeError> {
        self.value(Value::OctetString(community))?;
        self.integer(version.number())?;
        self.header(tag::SEQUENCE, end)?;
        Ok(self.at..end)
    }

    #[inline(always)]
    fn value(&mut self, value: Value<'_>) -> Result<(), EncodeError> {
        let end = self.at;
        match value {
            Value::Integer(number) => {
                let digits = number.to_be_bytes();
                self.bytes(&digits[4 - integer_len(number)..])?;
            }
            Value::Counter32(number)
            | Value::Gauge32(number)
            | Value::TimeTicks(number)
            | Value::UInteger32(number) => self.unsigned(u64::from(number))?,
            Value::Counter64(number) => self.unsigned(number)?,
            Value::OctetString(bytes)
            | Value::Opaque(bytes)
            | Value::NsapAddress(bytes)
            | Value::BitString(bytes) => self.bytes(bytes)?,
            Value::ObjectId(oid) => self.bytes(oid.as_ber())?,
            Value::IpAddress(address) => self.bytes(&address.octets())?,
            Value::OpaqueFloat(number) => {
                self.bytes(&number.to_be_bytes())?;
                self.bytes(&FLOAT)?;
            }
            Value::OpaqueDouble(number) => {
                self.bytes(&number.to_be_bytes())?;
                self.bytes(&DOUBLE)?;
            }
            Value::Null | Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => {}
            Value::Unknown { tag, .. } if tag & HIGH_TAG == HIGH_TAG => {
                return Err(EncodeError::HighTag(tag));
            }
            Value::Unknown { bytes, .. } => self.bytes(bytes)?,
        }
        self.header(value.tag(), end)
    }

    #[inline]
    fn unsigned(&mut self, number: u64) -> Result<(), EncodeError> {
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        let digits = [0, a, b, c, d, e, f, g, h];
        self.bytes(&digits[digits.len() - unsigned_len(number)..])
    }
}

fn content_len(value: &Value<'_>) -> usize {
    match value {
        Value::Integer(number) => integer_len(*number),
        Value::Counter32(number)
        | Value::Gauge32(number)
        | Value::TimeTicks(number)
        | Value::UInteger32(number) => unsigned_len(u64::from(*number)),
        Value::Counter64(number) => unsigned_len(*number),
        Value::OctetString(bytes)
        | Value::Opaque(bytes)
        | Value::NsapAddress(bytes)
        | Value::BitString(bytes)
        | Value::Unknown { bytes, .. } => bytes.len(),
        Value::ObjectId(oid) => oid.as_ber().len(),
        Value::IpAddress(_) => 4,
        Value::OpaqueFloat(_) => FLOAT.len() + 4,
        Value::OpaqueDouble(_) => DOUBLE.len() + 8,
        Value::Null | Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => 0,
    }
}

/// How many octets the shortest two's complement form has: 1 to 4.
#[inline]
fn integer_len(number: i32) -> usize {
    match number {
        -0x80..=0x7f => 1,
        -0x8000..=0x7fff => 2,
        -0x0080_0000..=0x007f_ffff => 3,
        _ => 4,
    }
}

/// How many octets the shortest form has that does not look negative: 1 to 9.
#[inline]
fn unsigned_len(number: u64) -> usize {
    match number {
        0..0x80 => 1,
        0x80..0x8000 => 2,
        0x8000..0x80_0000 => 3,
        0x80_0000..0x8000_0000 => 4,
        0x8000_0000..0x80_0000_0000 => 5,
        0x80_0000_0000..0x8000_0000_0000 => 6,
        0x8000_0000_0000..0x80_0000_0000_0000 => 7,
        0x80_0000_0000_0000..0x8000_0000_0000_0000 => 8,
        0x8000_0000_0000_0000.. => 9,
    }
}

/// How many octets the digits of a length above 127 have.
fn length_octets(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros();
    bits.div_ceil(8).try_into().unwrap_or(size_of::<usize>())
}

/// How many bytes an element with that much content takes.
fn element_len(content_len: usize) -> usize {
    let length_len = if content_len < 0x80 {
        1
    } else {
        1 + length_octets(content_len)
    };
    1 + length_len + content_len
}
