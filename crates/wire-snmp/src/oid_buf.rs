//! Object identifiers that own their bytes.
//!
//! The rule: up to 38 octets lie within the value, which covers nearly every OID of a real device
//! without an allocation; longer ones are boxed. Where they lie is not visible.
//!
//! Edge cases: text and arcs follow X.660: at least two arcs, the first at most 2, the second below
//! 40 under 0 and 1. SNMP's limits of 128 arcs and of 2^32-1 for each (RFC 2578 section 7.1.3) hold
//! for text and arcs, not for what a device sent, whose text may not parse back. The empty OID of
//! [`Oid`]'s edge cases can be owned too; its text, `0.0`, does not parse back to it but to the
//! well-formed `0.0`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::oid::{Arcs, MORE, Oid};

/// Octets that are kept without an allocation.
const INLINE: usize = 38;

/// Most arcs of an OID that a person or a program writes (RFC 3416 section 4.1).
const ARCS_MAX: usize = 128;

/// Most octets of one sub-identifier of 71 bits or fewer.
const ARC_OCTETS: usize = 11;

/// An owned object identifier; equality, order and hash are those of [`Oid`].
#[derive(Clone)]
pub struct OidBuf(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

/// Why text or arcs are no OID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OidError {
    /// Fewer than two arcs; BER cannot encode fewer.
    #[error("an OID needs at least two arcs, such as 1.3")]
    TooFewArcs,
    /// More than 128 arcs.
    #[error("an OID has at most 128 arcs")]
    TooManyArcs,
    /// An arc that is not a decimal number.
    #[error("arc {position} of the OID is not a number")]
    InvalidArc {
        /// Which arc, from 1.
        position: usize,
    },
    /// An arc above 2^32-1.
    #[error("arc {position} of the OID is above 4294967295, SNMP's limit (RFC 2578 section 7.1.3)")]
    ArcTooLarge {
        /// Which arc, from 1.
        position: usize,
    },
    /// The first arc is above 2.
    #[error("the first arc of an OID is 0, 1 or 2, not {0}")]
    FirstArc(u64),
    /// The second arc is above 39 under 0 or 1.
    #[error("the second arc of an OID under 0 or 1 is at most 39, not {0}")]
    SecondArc(u64),
}

impl OidBuf {
    /// The OID with these arcs.
    ///
    /// # Errors
    /// When there are fewer than 2 or more than 128, or when the first two do not exist (X.660).
    pub fn from_arcs(arcs: &[u32]) -> Result<Self, OidError> {
        encode(arcs.iter().map(|&arc| Ok(u64::from(arc))))
    }

    /// A view of it.
    #[inline]
    pub fn as_oid(&self) -> Oid<'_> {
        Oid::from_checked(self.as_ber())
    }

    /// The content octets.
    #[inline]
    pub fn as_ber(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }

    /// The arcs, as [`Oid::arcs`].
    pub fn arcs(&self) -> Arcs<'_> {
        self.as_oid().arcs()
    }

    /// Whether `prefix` is this OID or one of its ancestors, as [`Oid::starts_with`].
    pub fn starts_with<'p>(&self, prefix: impl Into<Oid<'p>>) -> bool {
        self.as_oid().starts_with(prefix)
    }

    /// The OID with one more arc.
    pub fn child(&self, arc: u32) -> Self {
        self.as_oid().child(arc)
    }

    pub(crate) fn of_child(parent: Oid<'_>, arc: u32) -> Self {
        let mut octets = [0; ARC_OCTETS];
        let last = arc_octets(u128::from(arc), &mut octets);
        Self::concat(parent.as_ber(), last)
    }

    fn concat(head: &[u8], tail: &[u8]) -> Self {
        let len = head.len() + tail.len();
        let mut bytes = [0; INLINE];
        match (u8::try_from(len), bytes.get_mut(..len)) {
            (Ok(len), Some(room)) => {
                let (first, second) = room.split_at_mut(head.len());
                first.copy_from_slice(head);
                second.copy_from_slice(tail);
                Self(Repr::Inline { len, bytes })
            }
            _ => Self(Repr::Heap([head, tail].concat().into_boxed_slice())),
        }
    }
}

impl From<Oid<'_>> for OidBuf {
    fn from(oid: Oid<'_>) -> Self {
        Self::concat(oid.as_ber(), &[])
    }
}

impl<'a> From<&'a OidBuf> for Oid<'a> {
    fn from(oid: &'a OidBuf) -> Self {
        oid.as_oid()
    }
}

impl FromStr for OidBuf {
    type Err = OidError;

    /// Reads `1.3.6.1` or `.1.3.6.1`.
    fn from_str(text: &str) -> Result<Self, OidError> {
        let text = text.strip_prefix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(OidError::TooFewArcs);
        }
        encode(text.split('.').zip(1..).map(|(digits, position)| {
            // The standard parser would take a plus sign.
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(OidError::InvalidArc { position });
            }
            let arc = digits.parse::<u32>().map(u64::from);
            arc.map_err(|_| OidError::ArcTooLarge { position })
        }))
    }
}

impl PartialEq for OidBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_oid() == other.as_oid()
    }
}

impl Eq for OidBuf {}

impl PartialEq<Oid<'_>> for OidBuf {
    fn eq(&self, other: &Oid<'_>) -> bool {
        self.as_oid() == *other
    }
}

impl PartialEq<OidBuf> for Oid<'_> {
    fn eq(&self, other: &OidBuf) -> bool {
        *self == other.as_oid()
    }
}

impl Ord for OidBuf {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_oid().cmp(&other.as_oid())
    }
}

impl PartialOrd for OidBuf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for OidBuf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_oid().hash(state);
    }
}

impl fmt::Display for OidBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_oid().fmt(f)
    }
}

impl fmt::Debug for OidBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OidBuf({self})")
    }
}

fn encode(arcs: impl Iterator<Item = Result<u64, OidError>>) -> Result<OidBuf, OidError> {
    let mut arcs = arcs;
    let mut arc = || arcs.next().transpose();
    let first = arc()?.ok_or(OidError::TooFewArcs)?;
    let second = arc()?.ok_or(OidError::TooFewArcs)?;
    match (first, second) {
        (3.., _) => return Err(OidError::FirstArc(first)),
        (0..=1, 40..) => return Err(OidError::SecondArc(second)),
        _ => {}
    }
    let mut ber = Vec::new();
    let mut octets = [0; ARC_OCTETS];
    let joined = u128::from(first) * 40 + u128::from(second);
    ber.extend_from_slice(arc_octets(joined, &mut octets));
    let mut count = 2;
    while let Some(arc) = arc()? {
        count += 1;
        if count > ARCS_MAX {
            return Err(OidError::TooManyArcs);
        }
        ber.extend_from_slice(arc_octets(u128::from(arc), &mut octets));
    }
    Ok(OidBuf::concat(&ber, &[]))
}

/// The octets of one sub-identifier, at the end of `room`.
fn arc_octets(arc: u128, room: &mut [u8; ARC_OCTETS]) -> &[u8] {
    let mut rest = arc;
    let mut more = 0;
    let mut at = ARC_OCTETS;
    while at > 0 {
        at -= 1;
        let [.., low] = rest.to_be_bytes();
        room[at] = low & !MORE | more;
        more = MORE;
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    &room[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_and_without_a_leading_dot_is_one_oid() {
        let plain: OidBuf = "1.3.6.1.2.1.1.1.0".parse().unwrap();
        assert_eq!(plain, ".1.3.6.1.2.1.1.1.0".parse::<OidBuf>().unwrap());
        assert_eq!(
            plain,
            OidBuf::from_arcs(&[1, 3, 6, 1, 2, 1, 1, 1, 0]).unwrap()
        );
        assert_eq!(plain.as_ber(), [0x2b, 6, 1, 2, 1, 1, 1, 0]);
        assert_eq!(
            format!("{plain} {plain:?}"),
            "1.3.6.1.2.1.1.1.0 OidBuf(1.3.6.1.2.1.1.1.0)"
        );
    }

    #[test]
    fn the_widest_arcs_keep_their_value() {
        for text in ["2.4294967295", "1.3.4294967295", "0.39.0", "2.47.128"] {
            let oid: OidBuf = text.parse().unwrap();
            assert_eq!(oid.to_string(), text);
            assert!(Oid::from_ber(oid.as_ber()).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_oid_is_refused_with_its_reason() {
        let many = vec!["1"; 129].join(".");
        let cases = [
            ("", OidError::TooFewArcs),
            (".", OidError::TooFewArcs),
            ("1", OidError::TooFewArcs),
            ("1.", OidError::InvalidArc { position: 2 }),
            ("..1.3", OidError::InvalidArc { position: 1 }),
            ("1.3.", OidError::InvalidArc { position: 3 }),
            ("1.3.+6", OidError::InvalidArc { position: 3 }),
            ("1.3.-6", OidError::InvalidArc { position: 3 }),
            ("1.3.six", OidError::InvalidArc { position: 3 }),
            ("1.3.4294967296", OidError::ArcTooLarge { position: 3 }),
            (
                "1.3.18446744073709551616",
                OidError::ArcTooLarge { position: 3 },
            ),
            ("3.1", OidError::FirstArc(3)),
            ("1.40", OidError::SecondArc(40)),
            (many.as_str(), OidError::TooManyArcs),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<OidBuf>(), Err(error), "{text:?}");
        }
        assert_eq!(OidBuf::from_arcs(&[1]), Err(OidError::TooFewArcs));
        assert_eq!(OidBuf::from_arcs(&[1; 129]), Err(OidError::TooManyArcs));
        assert!(OidBuf::from_arcs(&[1; 128]).is_ok());
    }

    #[test]
    fn long_oids_behave_like_short_ones() {
        let mut oid = OidBuf::from_arcs(&[1, 3]).unwrap();
        for depth in 1..100u32 {
            let child = oid.child(depth * 100);
            assert!(child.starts_with(&oid) && child > oid && child != oid);
            assert_eq!(child.as_oid().parent(), Some(oid.as_oid()));
            assert_eq!(child.arcs().last(), Some(u64::from(depth) * 100));
            assert_eq!(child, child.as_oid().to_owned());
            assert_eq!(child.as_oid(), child.clone());
            oid = child;
        }
        assert_eq!(oid.arcs().count(), 101);
    }
}
