//! One answer under construction in a slot of fixed size.
//!
//! The rule: bindings are copied forwards behind a gap that any header fits into; when they are
//! complete the header is written backwards, right before them. So rows are never moved, and an
//! answer can stop at any row.
//!
//! Edge cases: the gap is sized for the longest header, so a page may refuse a row that would
//! have fitted with a few bytes to spare; it never exceeds its limit.

use std::ops::Range;

use trunkline_wire_snmp::Version;

use super::source::tag;

/// Header bytes at most, besides the community: three lengths of up to 3 octets, four integers.
const HEADER_MAX: usize = 4 + 3 + 4 + 4 + 6 + 6 + 6 + 4;

/// Bindings that grow, and the gap before them.
pub(super) struct Page<'s> {
    slot: &'s mut [u8],
    start: usize,
    at: usize,
    end: usize,
}

/// What the header says.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) version: Version,
    pub(super) community: &'a [u8],
    pub(super) request_id: i32,
    pub(super) status: i32,
    pub(super) index: i32,
}

impl<'s> Page<'s> {
    /// A page for a message of at most `limit` bytes; `None` when not even a header fits.
    pub(super) fn new(slot: &'s mut [u8], limit: usize, community: &[u8]) -> Option<Self> {
        let start = HEADER_MAX + community.len();
        let end = limit.min(slot.len());
        (start <= end).then_some(Self {
            slot,
            start,
            at: start,
            end,
        })
    }

    /// Appends bytes; false, and nothing appended, when they do not fit.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) -> bool {
        let Some(space) = self.slot[..self.end].get_mut(self.at..self.at + bytes.len()) else {
            return false;
        };
        space.copy_from_slice(bytes);
        self.at += bytes.len();
        true
    }

    /// Appends a binding of a name (content octets) and an encoded value.
    pub(super) fn put_binding(&mut self, name: &[u8], value: &[u8]) -> bool {
        let name_header = Header::of(0x06, name.len());
        let len = name_header.as_slice().len() + name.len() + value.len();
        let mark = self.at;
        let whole = self.put(Header::of(tag::SEQUENCE, len).as_slice())
            && self.put(name_header.as_slice())
            && self.put(name)
            && self.put(value);
        if !whole {
            self.at = mark;
        }
        whole
    }

    /// Appends a binding of a stem (see [`Live`](super::mib::Live)) and an encoded number, if its
    /// lengths take one octet and there is room to spare; [`Self::put_binding`] does the rest.
    #[inline]
    pub(super) fn put_stem(&mut self, stem: &[u8], number: &[u8; 16], len: usize) -> bool {
        let content = stem.len() + len - 2;
        let reach = self.at + stem.len() + number.len();
        if stem.is_empty() || content > 0x7f || reach > self.end {
            return false;
        }
        let space = &mut self.slot[self.at..reach];
        let (head, tail) = space.split_at_mut(stem.len());
        head.copy_from_slice(stem);
        head[1] = content as u8;
        tail.copy_from_slice(number);
        self.at += stem.len() + len;
        true
    }

    /// Bytes that still fit.
    pub(super) fn space(&self) -> usize {
        self.end - self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.start
    }

    /// Forgets all bindings.
    pub(super) fn clear(&mut self) {
        self.at = self.start;
    }

    /// Writes the header; the message lies in the slot where the range says.
    pub(super) fn seal(self, head: &Head<'_>) -> Range<usize> {
        let end = self.at;
        let mut back = Backwards {
            slot: self.slot,
            at: self.start,
        };
        back.header(tag::SEQUENCE, end);
        back.integer(head.index);
        back.integer(head.status);
        back.integer(head.request_id);
        back.header(tag::RESPONSE, end);
        back.bytes(head.community);
        let community = back.at + head.community.len();
        back.header(tag::OCTET_STRING, community);
        let version = match head.version {
            Version::V1 => 0,
            Version::V2c => 1,
        };
        back.integer(version);
        back.header(tag::SEQUENCE, end);
        back.at..end
    }
}

/// A tag and a length.
struct Header {
    bytes: [u8; 4],
    from: usize,
}

impl Header {
    /// Lengths within a datagram take at most three octets.
    fn of(tag: u8, len: usize) -> Self {
        let [.., high, low] = len.to_be_bytes();
        let (bytes, from) = match len {
            0..=0x7f => ([0, 0, tag, low], 2),
            0x80..=0xff => ([0, tag, 0x81, low], 1),
            _ => ([tag, 0x82, high, low], 0),
        };
        Self { bytes, from }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

struct Backwards<'s> {
    slot: &'s mut [u8],
    at: usize,
}

impl Backwards<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.at -= bytes.len();
        self.slot[self.at..self.at + bytes.len()].copy_from_slice(bytes);
    }

    fn header(&mut self, tag: u8, end: usize) {
        self.bytes(Header::of(tag, end - self.at).as_slice());
    }

    fn integer(&mut self, value: i32) {
        let redundant = (value ^ (value >> 31)).leading_zeros() as usize;
        let significant = (32 - redundant) / 8 + 1;
        self.bytes(&value.to_be_bytes()[4 - significant..]);
        self.bytes(&[tag::INTEGER, significant as u8]);
    }
}

#[cfg(test)]
mod tests {
    use trunkline_wire_snmp::{OidBuf, PduKind, Value, decode, encode};

    use super::*;

    #[test]
    fn a_page_is_what_the_codec_would_have_written() {
        let name: OidBuf = "1.3.6.1.4.1.99999.1".parse().unwrap();
        let long = vec![b'y'; 300];
        for (text, request_id, community) in [
            (&b"x"[..], 1, &b""[..]),
            (&long[..100], i32::MAX, b"public"),
            (&long[..], -70_000, &long[..200]),
        ] {
            let (mut slot, mut wanted) = ([0; 2000], [0; 2000]);
            let mut page = Page::new(&mut slot, 2000, community).unwrap();
            let short = Header::of(tag::OCTET_STRING, text.len());
            let value = [short.as_slice(), text].concat();
            assert!(page.put_binding(name.as_ber(), &value));
            let head = Head {
                version: Version::V2c,
                community,
                request_id,
                status: 5,
                index: 200,
            };
            let range = page.seal(&head);
            let bindings = [(name.as_oid(), Value::OctetString(text))];
            let kind = PduKind::Response;
            let same = encode(
                &mut wanted,
                Version::V2c,
                community,
                kind,
                request_id,
                5,
                200,
                bindings,
            );
            assert_eq!(slot[range.clone()], wanted[same.unwrap()]);
            assert_eq!(decode(&slot[range]).unwrap().pdu.request_id, request_id);
        }
    }

    #[test]
    fn what_does_not_fit_leaves_the_page_as_it_was() {
        let mut slot = [0; 100];
        assert!(Page::new(&mut slot, 30, b"public").is_none());
        let mut page = Page::new(&mut slot, 60, b"public").unwrap();
        let space = page.space();
        assert!(!page.put_binding(&[0x2b; 10], &vec![0; space - 13]));
        assert_eq!(page.space(), space);
        assert!(page.put_binding(&[0x2b; 10], &vec![0; space - 14]));
        assert_eq!(page.space(), 0);
        page.clear();
        assert!(page.is_empty());
    }
}
