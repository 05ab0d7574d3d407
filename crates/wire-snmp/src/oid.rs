//! Object identifiers, kept and compared as the BER bytes that they arrived in.
//!
//! The problem: OIDs are most of what a walk carries, and turning each into numbers and back is
//! most of what slow pollers do.
//!
//! The rule: an [`Oid`] is its content octets, checked once. A filler octet is refused, so one OID
//! has one form: equality and prefix are those of bytes, and of two sub-identifiers the one with
//! more octets is the greater, so that order needs no arithmetic either.
//!
//! Edge cases: the first two arcs share the first sub-identifier (40·x + y, X.690 section
//! 8.19.4), which may need several octets under 2; arcs above 2^64-1 are kept and compared
//! exactly, but read and shown as 2^64-1; an OID of no octets, which some agents send for `0.0`,
//! is kept as it is: it has no arcs, is less than every other, and shows as `0.0`.

use std::cmp::Ordering;
use std::fmt;

use crate::error::{DecodeError, DecodeErrorKind};
use crate::oid_buf::OidBuf;

/// Most octets of one sub-identifier: ten carry 70 bits, enough for any 64-bit arc.
const ARC_OCTETS_MAX: usize = 10;

/// The bit that says that a sub-identifier goes on.
pub(crate) const MORE: u8 = 0x80;
const MORE_OF_EIGHT: u64 = u64::from_ne_bytes([MORE; 8]);

/// A borrowed object identifier. `Ord` is the lexicographic order of the arcs (RFC 3416 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Oid<'a>(&'a [u8]);

impl<'a> Oid<'a> {
    /// The OID with these content octets (without tag and length).
    ///
    /// # Errors
    /// When a sub-identifier is cut, has a filler octet, or has more than ten octets; the offset
    /// is that of its first octet.
    pub const fn from_ber(ber: &'a [u8]) -> Result<Self, DecodeError> {
        match check(ber) {
            Ok(()) => Ok(Self(ber)),
            Err((kind, at)) => Err(DecodeError::new(kind, at)),
        }
    }

    /// The OID with these content octets, for constants: `Oid::from_static(&[0x2b, 6, 1])` is
    /// 1.3.6.1.
    ///
    /// # Panics
    /// When [`Oid::from_ber`] would refuse it; in a `const` this stops the build.
    pub const fn from_static(ber: &'static [u8]) -> Oid<'static> {
        match check(ber) {
            Ok(()) => Oid(ber),
            Err(_) => panic!("these bytes are not the content of a BER object identifier"),
        }
    }

    /// As [`Oid::from_ber`], with the offset counted from `at`; the hot path of decoding.
    #[inline(always)]
    pub(crate) fn from_content(content: &'a [u8], at: usize) -> Result<Self, DecodeError> {
        if has_long_arc(content) {
            let short = short_arcs(content);
            if let Err((kind, within)) = check(&content[short..]) {
                return Err(DecodeError::new(kind, at + short + within));
            }
        }
        Ok(Self(content))
    }

    /// For bytes that this crate has encoded or checked before.
    #[inline]
    pub(crate) const fn from_checked(content: &'a [u8]) -> Self {
        Self(content)
    }

    /// The content octets.
    #[inline]
    pub const fn as_ber(self) -> &'a [u8] {
        self.0
    }

    /// Whether it has no octets at all; see the module's edge cases.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The arcs, from the root; those above 2^64-1 as 2^64-1.
    pub const fn arcs(self) -> Arcs<'a> {
        Arcs {
            rest: self.0,
            root: true,
            second: None,
        }
    }

    /// Whether `prefix` is this OID or one of its ancestors. Everything is under the empty OID.
    #[inline]
    pub fn starts_with<'p>(self, prefix: impl Into<Oid<'p>>) -> bool {
        self.0.starts_with(prefix.into().0)
    }

    /// The arcs below `prefix`, such as the index of a table's column; `None` when `prefix` is
    /// neither this OID nor one of its ancestors.
    pub fn strip_prefix<'p>(self, prefix: impl Into<Oid<'p>>) -> Option<Arcs<'a>> {
        let rest = self.0.strip_prefix(prefix.into().0)?;
        Some(Arcs {
            rest,
            root: rest.len() == self.0.len(),
            second: None,
        })
    }

    /// The OID without its last arc; `None` when it has two arcs or none, which cannot be parted.
    pub fn parent(self) -> Option<Self> {
        let (_, before) = self.0.split_last()?;
        let end = before.iter().rposition(|&octet| octet & MORE == 0)? + 1;
        before.get(..end).map(Self)
    }

    /// The OID with one more arc.
    pub fn child(self, arc: u32) -> OidBuf {
        OidBuf::of_child(self, arc)
    }

    /// A copy that owns its bytes.
    pub fn to_owned(self) -> OidBuf {
        OidBuf::from(self)
    }
}

impl Ord for Oid<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = behind_common(self.0, other.0);
        let (Some(&a), Some(&b)) = (left.first(), right.first()) else {
            return left.len().cmp(&right.len());
        };
        // These octets lie at the same place in two sub-identifiers that agree before it, and
        // neither has a filler: the one that goes on further is the greater.
        match (a & MORE == 0, b & MORE == 0) {
            (true, true) => a.cmp(&b),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => (arc_octets(left), a).cmp(&(arc_octets(right), b)),
        }
    }
}

impl PartialOrd for Oid<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<&Self> for Oid<'_> {
    fn from(oid: &Self) -> Self {
        *oid
    }
}

impl fmt::Display for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arcs = self.arcs();
        let Some(first) = arcs.next() else {
            return f.write_str("0.0");
        };
        write!(f, "{first}")?;
        arcs.try_for_each(|arc| write!(f, ".{arc}"))
    }
}

impl fmt::Debug for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

/// The arcs of an OID, or those below a prefix.
#[derive(Clone, Debug)]
pub struct Arcs<'a> {
    rest: &'a [u8],
    /// The next sub-identifier holds the first two arcs.
    root: bool,
    second: Option<u64>,
}

impl Iterator for Arcs<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if let Some(second) = self.second.take() {
            return Some(second);
        }
        let mut value = 0u128;
        loop {
            let (&octet, rest) = self.rest.split_first()?;
            self.rest = rest;
            value = value << 7 | u128::from(octet & !MORE);
            if octet & MORE == 0 {
                break;
            }
        }
        if !std::mem::take(&mut self.root) {
            return Some(saturate(value));
        }
        let first = (value / 40).min(2);
        self.second = Some(saturate(value - first * 40));
        Some(saturate(first))
    }
}

impl std::iter::FusedIterator for Arcs<'_> {}

fn saturate(arc: u128) -> u64 {
    u64::try_from(arc).unwrap_or(u64::MAX)
}

/// What is left of each behind the bytes that both begin with.
#[inline]
fn behind_common<'l, 'r>(left: &'l [u8], right: &'r [u8]) -> (&'l [u8], &'r [u8]) {
    let (left_chunks, _) = left.as_chunks::<8>();
    let (right_chunks, _) = right.as_chunks::<8>();
    let equal = |(a, b): &(&[u8; 8], &[u8; 8])| a == b;
    let chunks = left_chunks
        .iter()
        .zip(right_chunks)
        .take_while(equal)
        .count();
    let (left, right) = (&left[chunks * 8..], &right[chunks * 8..]);
    let equal = |(a, b): &(&u8, &u8)| a == b;
    let common = left.iter().zip(right).take_while(equal).count();
    (&left[common..], &right[common..])
}

/// How many octets are left of the sub-identifier that this begins in.
fn arc_octets(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&octet| octet & MORE != 0).count()
}

/// Whether any sub-identifier has more than one octet; without one there is nothing to check.
#[inline(always)]
fn has_long_arc(ber: &[u8]) -> bool {
    let (chunks, tail) = ber.as_chunks::<8>();
    let wide = chunks
        .iter()
        .fold(0, |seen, chunk| seen | u64::from_ne_bytes(*chunk));
    let narrow = tail.iter().fold(0, |seen, octet| seen | octet);
    wide & MORE_OF_EIGHT != 0 || narrow & MORE != 0
}

/// How many sub-identifiers of one octet it begins with, by eights: the columns of most tables.
#[inline(always)]
fn short_arcs(ber: &[u8]) -> usize {
    let (chunks, _) = ber.as_chunks::<8>();
    let short = |chunk: &&[u8; 8]| u64::from_ne_bytes(**chunk) & MORE_OF_EIGHT == 0;
    chunks.iter().take_while(short).count() * 8
}

const fn check(ber: &[u8]) -> Result<(), (DecodeErrorKind, usize)> {
    let mut at = 0;
    while at < ber.len() {
        let start = at;
        if ber[start] == MORE {
            return Err((DecodeErrorKind::OidArcPadded, start));
        }
        while at < ber.len() && ber[at] & MORE != 0 {
            at += 1;
        }
        if at - start >= ARC_OCTETS_MAX {
            return Err((DecodeErrorKind::OidArcTooLong, start));
        }
        if at == ber.len() {
            return Err((DecodeErrorKind::OidUnterminated, start));
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(text: &str) -> OidBuf {
        text.parse().unwrap()
    }

    #[test]
    fn arcs_are_those_of_the_first_sub_identifier_rule() {
        let cases: &[(&[u8], &[u64], &str)] = &[
            (&[], &[], "0.0"),
            (&[0x00], &[0, 0], "0.0"),
            (&[0x27], &[0, 39], "0.39"),
            (&[0x28], &[1, 0], "1.0"),
            (&[0x2b, 6, 1], &[1, 3, 6, 1], "1.3.6.1"),
            (&[0x4f], &[1, 39], "1.39"),
            (&[0x50], &[2, 0], "2.0"),
            (&[0x78], &[2, 40], "2.40"),
            (&[0x88, 0x37, 3], &[2, 999, 3], "2.999.3"),
            (
                &[0x2b, 0x8f, 0xff, 0xff, 0xff, 0x7f],
                &[1, 3, 0xffff_ffff],
                "1.3.4294967295",
            ),
            (
                &[0x2b, 0x90, 0x80, 0x80, 0x80, 0x00],
                &[1, 3, 1 << 32],
                "1.3.4294967296",
            ),
            (
                &[
                    0x2b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
                ],
                &[1, 3, u64::MAX],
                "1.3.18446744073709551615",
            ),
        ];
        for &(ber, arcs, text) in cases {
            let oid = Oid::from_ber(ber).unwrap();
            assert_eq!(oid.arcs().collect::<Vec<_>>(), arcs, "{text}");
            assert_eq!(oid.to_string(), text);
            assert_eq!(oid.as_ber(), ber);
        }
    }

    #[test]
    fn malformed_sub_identifiers_are_refused_where_they_start() {
        let eleven = [
            0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01,
        ];
        let cases: &[(&[u8], DecodeErrorKind, usize)] = &[
            (&[0x2b, 0x06, 0x81], DecodeErrorKind::OidUnterminated, 2),
            (&[0x80, 0x01], DecodeErrorKind::OidArcPadded, 0),
            (&[0x2b, 0x80, 0x01], DecodeErrorKind::OidArcPadded, 1),
            (
                &[0x2b, 0x81, 0x80, 0x01, 0x80, 0x01],
                DecodeErrorKind::OidArcPadded,
                4,
            ),
            (&eleven, DecodeErrorKind::OidArcTooLong, 0),
            (
                &[0x2b, 6, 1, 2, 1, 2, 2, 1, 10, 0x80],
                DecodeErrorKind::OidArcPadded,
                9,
            ),
        ];
        for &(ber, kind, at) in cases {
            assert_eq!(
                Oid::from_ber(ber),
                Err(DecodeError::new(kind, at)),
                "{ber:02x?}"
            );
            let error = Oid::from_content(ber, 50).unwrap_err();
            assert_eq!(error, DecodeError::new(kind, 50 + at), "{ber:02x?}");
        }
    }

    #[test]
    fn prefixes_end_at_arcs() {
        let table = oid("1.3.6.1.2.1.2.2");
        let cell = oid("1.3.6.1.2.1.2.2.1.10.1001");
        assert!(cell.as_oid().starts_with(&table));
        assert!(table.as_oid().starts_with(&table));
        assert!(!table.as_oid().starts_with(&cell));
        assert!(!oid("1.3.6.1.2.1.2.20").as_oid().starts_with(&table));
        assert!(cell.as_oid().starts_with(Oid::default()));
        // 1.3.1 and 1.3.129 share bytes, but not an arc.
        assert!(!oid("1.3.129").as_oid().starts_with(&oid("1.3.1")));

        let index = cell.as_oid().strip_prefix(&oid("1.3.6.1.2.1.2.2.1.10"));
        assert_eq!(index.unwrap().collect::<Vec<_>>(), [1001]);
        assert!(cell.as_oid().strip_prefix(&oid("1.3.6.1.4")).is_none());
        assert_eq!(cell.as_oid().strip_prefix(&cell).unwrap().count(), 0);
        let all = cell.as_oid().strip_prefix(Oid::default()).unwrap();
        assert!(all.eq(cell.as_oid().arcs()));
    }

    #[test]
    fn parents_stop_at_the_first_two_arcs() {
        let cell = oid("1.3.6.200000.5");
        let parents = std::iter::successors(Some(cell.as_oid()), |oid| oid.parent());
        let shown: Vec<_> = parents.map(|oid| oid.to_string()).collect();
        assert_eq!(shown, ["1.3.6.200000.5", "1.3.6.200000", "1.3.6", "1.3"]);
        assert_eq!(oid("2.999").as_oid().parent(), None);
        assert_eq!(Oid::default().parent(), None);
    }

    #[test]
    fn constants_are_checked_when_they_are_built() {
        const INTERNET: Oid<'static> = Oid::from_static(&[0x2b, 6, 1]);
        assert_eq!(INTERNET, oid("1.3.6.1").as_oid());
        assert_eq!(format!("{INTERNET:?}"), "Oid(1.3.6.1)");
    }
}
