//! BER elements (tag, length, content), read forwards out of borrowed bytes.
//!
//! The rule: the common case, one tag octet and one length octet, is straight-line code that
//! inlines into its caller; every other form of length and every error is one cold function.
//!
//! Edge cases (X.690 section 8.1): padded lengths of up to eight octets are read, the indefinite
//! form is refused; numbers of no octets are zero; numbers with more octets than needed are read
//! when the value fits.

use crate::error::{DecodeError, DecodeErrorKind};

/// The tags of the values that SNMP sends (RFC 2578 section 3, RFC 1442 and RFC 1910 for the
/// obsolete ones).
pub(crate) mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OBJECT_ID: u8 = 0x06;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const IP_ADDRESS: u8 = 0x40;
    pub(crate) const COUNTER32: u8 = 0x41;
    pub(crate) const GAUGE32: u8 = 0x42;
    pub(crate) const TIME_TICKS: u8 = 0x43;
    pub(crate) const OPAQUE: u8 = 0x44;
    pub(crate) const NSAP_ADDRESS: u8 = 0x45;
    pub(crate) const COUNTER64: u8 = 0x46;
    pub(crate) const UINTEGER32: u8 = 0x47;
    pub(crate) const NO_SUCH_OBJECT: u8 = 0x80;
    pub(crate) const NO_SUCH_INSTANCE: u8 = 0x81;
    pub(crate) const END_OF_MIB_VIEW: u8 = 0x82;
}

/// The low bits of a tag octet that announce further tag octets.
pub(crate) const HIGH_TAG: u8 = 0x1f;

/// Most length octets that are read after the first.
const LENGTH_OCTETS_MAX: u8 = 8;

/// One element and where it stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    /// The offset of the tag octet.
    pub(crate) at: usize,
    pub(crate) content: &'a [u8],
    /// The offset of the first content octet.
    pub(crate) content_at: usize,
}

impl<'a> Element<'a> {
    /// Reads the elements within this one.
    #[inline(always)]
    pub(crate) const fn reader(self) -> Reader<'a> {
        Reader {
            rest: self.content,
            offset: self.content_at,
        }
    }

    #[inline(always)]
    pub(crate) fn integer(self) -> Result<i32, DecodeError> {
        integer(self.content).ok_or(DecodeError::new(
            DecodeErrorKind::IntegerRange,
            self.content_at,
        ))
    }

    #[inline(always)]
    pub(crate) fn unsigned(self) -> Result<u32, DecodeError> {
        unsigned(self.content).ok_or(DecodeError::new(
            DecodeErrorKind::UnsignedRange,
            self.content_at,
        ))
    }

    #[inline(always)]
    pub(crate) fn counter64(self) -> Result<u64, DecodeError> {
        counter64(self.content).ok_or(DecodeError::new(
            DecodeErrorKind::Counter64Range,
            self.content_at,
        ))
    }
}

/// What is still to be read, and the offset of its first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
    pub(crate) offset: usize,
}

impl<'a> Reader<'a> {
    /// The next element, whatever its tag. An error leaves the reader where it was.
    #[inline(always)]
    pub(crate) fn element(&mut self) -> Result<Element<'a>, DecodeError> {
        if let [tag, length @ 0..=0x7f, tail @ ..] = self.rest
            && tag & HIGH_TAG != HIGH_TAG
            && let Some((content, rest)) = tail.split_at_checked(usize::from(*length))
        {
            let element = Element {
                tag: *tag,
                at: self.offset,
                content,
                content_at: self.offset + 2,
            };
            self.offset += 2 + content.len();
            self.rest = rest;
            return Ok(element);
        }
        self.element_in_full()
    }

    /// The next element, which must have this tag.
    #[inline(always)]
    pub(crate) fn expect(&mut self, expected: u8) -> Result<Element<'a>, DecodeError> {
        let element = self.element()?;
        if element.tag == expected {
            return Ok(element);
        }
        let found = element.tag;
        let kind = DecodeErrorKind::UnexpectedTag { expected, found };
        Err(DecodeError::new(kind, element.at))
    }

    #[cold]
    #[inline(never)]
    fn element_in_full(&mut self) -> Result<Element<'a>, DecodeError> {
        let at = self.offset;
        let (&tag, rest) = self
            .rest
            .split_first()
            .ok_or(DecodeError::new(DecodeErrorKind::Truncated, at))?;
        if tag & HIGH_TAG == HIGH_TAG {
            return Err(DecodeError::new(DecodeErrorKind::HighTag, at));
        }
        let (declared, tail) = length(rest, at + 1)?;
        let content_at = at + self.rest.len() - tail.len();
        let overrun = DecodeErrorKind::LengthOverrun {
            declared,
            available: tail.len(),
        };
        let (content, rest) = usize::try_from(declared)
            .ok()
            .and_then(|length| tail.split_at_checked(length))
            .ok_or(DecodeError::new(overrun, at + 1))?;
        self.rest = rest;
        self.offset = content_at + content.len();
        Ok(Element {
            tag,
            at,
            content,
            content_at,
        })
    }
}

/// Reads a length whose first octet is at `at`; returns it with the bytes behind it.
fn length(bytes: &[u8], at: usize) -> Result<(u64, &[u8]), DecodeError> {
    let truncated = |at| DecodeError::new(DecodeErrorKind::Truncated, at);
    let (&first, tail) = bytes.split_first().ok_or(truncated(at))?;
    let octets = first & 0x7f;
    match first {
        0..=0x7f => return Ok((u64::from(first), tail)),
        0x80 => return Err(DecodeError::new(DecodeErrorKind::IndefiniteLength, at)),
        _ if octets > LENGTH_OCTETS_MAX => {
            let kind = DecodeErrorKind::LengthTooLong { octets };
            return Err(DecodeError::new(kind, at));
        }
        _ => {}
    }
    let (digits, tail) = tail
        .split_at_checked(usize::from(octets))
        .ok_or(truncated(at + bytes.len()))?;
    let value = digits
        .iter()
        .fold(0u64, |value, &digit| value << 8 | u64::from(digit));
    Ok((value, tail))
}

/// A two's complement number of any number of octets whose value fits 32 bits.
#[inline(always)]
fn integer(content: &[u8]) -> Option<i32> {
    match *content {
        [a] => Some(i32::from(i8::from_be_bytes([a]))),
        [a, b] => Some(i32::from(i16::from_be_bytes([a, b]))),
        [a, b, c] => Some(i32::from_be_bytes([a, b, c, 0]) >> 8),
        [a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d])),
        [] => Some(0),
        [ref fill @ .., a, b, c, d] => {
            let value = i32::from_be_bytes([a, b, c, d]);
            let sign = if value < 0 { 0xff } else { 0 };
            fill.iter().all(|&octet| octet == sign).then_some(value)
        }
    }
}

/// An unsigned number of 32 bits. Five octets need a leading zero; a negative number, which some
/// agents send for the upper half of the range, is its 32-bit pattern, as net-snmp reads it.
#[inline(always)]
fn unsigned(content: &[u8]) -> Option<u32> {
    match *content {
        [0, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        [_, _, _, _, _, ..] => None,
        _ => integer(content).map(i32::cast_unsigned),
    }
}

/// An unsigned number of 64 bits, by the rules of [`unsigned`].
#[inline(always)]
fn counter64(content: &[u8]) -> Option<u64> {
    let digits = match *content {
        [0, ref digits @ ..] if digits.len() <= 8 => digits,
        [_, _, _, _, _, _, _, _, _, ..] => return None,
        _ => content,
    };
    let negative = content.first().is_some_and(|&first| first >= 0x80);
    let start = if negative { u64::MAX } else { 0 };
    Some(
        digits
            .iter()
            .fold(start, |value, &digit| value << 8 | u64::from(digit)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_keep_their_sign() {
        let cases: &[(&[u8], Option<i32>)] = &[
            (&[], Some(0)),
            (&[0x7f], Some(127)),
            (&[0xff], Some(-1)),
            (&[0x00, 0x80], Some(128)),
            (&[0xff, 0x7f], Some(-129)),
            (&[0x00, 0x80, 0x00], Some(0x8000)),
            (&[0x80, 0x00, 0x00], Some(-0x0080_0000)),
            (&[0x7f, 0xff, 0xff, 0xff], Some(i32::MAX)),
            (&[0x80, 0x00, 0x00, 0x00], Some(i32::MIN)),
            (&[0x00, 0x7f, 0xff, 0xff, 0xff], Some(i32::MAX)),
            (&[0xff, 0x80, 0x00, 0x00, 0x00], Some(i32::MIN)),
            (&[0, 0, 0, 0, 0, 0, 0, 5], Some(5)),
            (&[0x00, 0x80, 0x00, 0x00, 0x00], None),
            (&[0xff, 0x7f, 0xff, 0xff, 0xff], None),
            (&[0x01, 0x00, 0x00, 0x00, 0x00], None),
        ];
        for &(content, expected) in cases {
            assert_eq!(integer(content), expected, "{content:02x?}");
        }
    }

    #[test]
    fn unsigned_numbers_take_a_leading_zero_or_a_sign() {
        let cases: &[(&[u8], Option<u32>)] = &[
            (&[], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x00, 0xff], Some(255)),
            (&[0xff], Some(u32::MAX)),
            (&[0xff, 0xff, 0xff, 0xff], Some(u32::MAX)),
            (&[0x80, 0x00, 0x00, 0x00], Some(0x8000_0000)),
            (&[0x00, 0xff, 0xff, 0xff, 0xff], Some(u32::MAX)),
            (&[0x00, 0x00, 0x00, 0x00, 0x01], Some(1)),
            (&[0x01, 0x00, 0x00, 0x00, 0x00], None),
            (&[0x00, 0x00, 0x00, 0x00, 0x00, 0x01], None),
        ];
        for &(content, expected) in cases {
            assert_eq!(unsigned(content), expected, "{content:02x?}");
        }
    }

    #[test]
    fn counter64_takes_eight_octets_and_a_leading_zero() {
        let cases: &[(&[u8], Option<u64>)] = &[
            (&[], Some(0)),
            (&[0x00], Some(0)),
            (&[0x00, 0x80], Some(128)),
            (&[0xff], Some(u64::MAX)),
            (&[0xff; 8], Some(u64::MAX)),
            (
                &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Some(u64::MAX),
            ),
            (&[0x00, 0x01, 0, 0, 0, 0, 0, 0, 0], Some(1 << 56)),
            (&[0x12, 0x34, 0x56, 0x78, 0x9a], Some(0x12_3456_789a)),
            (&[0x01, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0; 10], None),
        ];
        for &(content, expected) in cases {
            assert_eq!(counter64(content), expected, "{content:02x?}");
        }
    }

    #[test]
    fn padded_lengths_are_read_and_leave_the_reader_behind_the_content() {
        let cases: &[(&[u8], &[u8], usize)] = &[
            (&[0x04, 0x01, 0xaa, 0x99], &[0xaa], 2),
            (&[0x04, 0x81, 0x01, 0xaa, 0x99], &[0xaa], 3),
            (&[0x04, 0x84, 0, 0, 0, 1, 0xaa, 0x99], &[0xaa], 6),
            (
                &[0x04, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 0xaa, 0x99],
                &[0xaa],
                10,
            ),
            (&[0x04, 0x00, 0x99], &[], 2),
        ];
        for &(bytes, content, content_at) in cases {
            let mut reader = Reader {
                rest: bytes,
                offset: 100,
            };
            let element = reader.element().unwrap();
            assert_eq!(element.content, content);
            assert_eq!(element.content_at, 100 + content_at);
            assert_eq!(reader.rest, [0x99]);
            assert_eq!(reader.offset, 100 + bytes.len() - 1);
        }
    }

    #[test]
    fn an_error_leaves_the_reader_where_it_was() {
        let mut reader = Reader {
            rest: &[0x04, 0x05, 0x01],
            offset: 7,
        };
        let error = reader.element().unwrap_err();
        assert_eq!(error.offset, 8);
        assert_eq!((reader.rest.len(), reader.offset), (3, 7));
    }
}
