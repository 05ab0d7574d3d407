//! The name of a letter: a ULID (github.com/ulid/spec), 48 bits of milliseconds and 80 of chance.
//!
//! It sorts by time, can be spoken over a phone, and two processes never make the same one. Within
//! a box ids ascend even when the wall clock goes back, so their order is the order of death.

use crate::rng::Rng;
use crate::time::WallTime;
use std::fmt;
use std::str::FromStr;

/// Crockford's base 32: no I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A letter's id; written as 26 characters of Crockford's base 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(u128);

impl LetterId {
    /// A new id for the moment `wall`, greater than `last`.
    pub(super) fn after(last: Self, wall: WallTime, rng: &mut Rng) -> Self {
        let millis = u128::from(wall.as_unix_millis() & ((1 << 48) - 1));
        let chance = u128::from(rng.next_u64()) << 16 | u128::from(rng.next_u64() >> 48);
        Self((millis << 80 | chance).max(last.0.saturating_add(1)))
    }

    /// The id with these 128 bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Its 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |place: u32| {
            let index = usize::try_from(self.0 >> (5 * place) & 31).unwrap_or(0);
            char::from(DIGITS[index])
        };
        let text: String = (0..26).rev().map(digit).collect();
        f.pad(&text)
    }
}

/// The text is not a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a letter's id is 26 characters of 0-9 and A-Z without I, L, O and U, up to 7ZZ…")]
pub struct ParseIdError;

impl FromStr for LetterId {
    type Err = ParseIdError;

    /// Lower case is accepted.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        // 26 digits carry 130 bits: the first may only use three of its five.
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err(ParseIdError);
        }
        let mut bits = 0u128;
        for byte in text.bytes() {
            let upper = byte.to_ascii_uppercase();
            let digit = DIGITS
                .iter()
                .position(|d| *d == upper)
                .ok_or(ParseIdError)?;
            bits = bits << 5 | digit as u128;
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    #[test]
    fn ids_ascend_even_when_the_wall_clock_goes_back() {
        let mut rng = Rng::seeded(1);
        let mut last = LetterId::from_bits(0);
        for millis in [5_000, 5_000, 4_000, 6_000, 0, 6_001] {
            let id = LetterId::after(last, WallTime::from_unix_millis(millis), &mut rng);
            assert!(id > last);
            last = id;
        }
        assert_eq!((last.bits() >> 80) as u64, 6_001);
    }

    #[test]
    fn known_texts() {
        // The example of the ULID specification; its time is 1469918176385 ms.
        let id: LetterId = "01ARYZ6S41TSV4RRFFQ69G5FAV".parse().unwrap();
        assert_eq!((id.bits() >> 80) as u64, 1_469_918_176_385);
        assert_eq!(
            LetterId::from_bits(u128::MAX).to_string(),
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
        );
        assert_eq!(
            LetterId::from_bits(1).to_string(),
            "00000000000000000000000001"
        );
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in [
            "",
            "1",
            "80000000000000000000000000",
            "0000000000000000000000000U",
        ] {
            assert_eq!(text.parse::<LetterId>(), Err(ParseIdError), "{text}");
        }
        assert!("ééééééééééééé".parse::<LetterId>().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn text_and_order_round_trip(a: u128, b: u128) {
            let (x, y) = (LetterId::from_bits(a), LetterId::from_bits(b));
            prop_assert_eq!(x.to_string().parse(), Ok(x));
            prop_assert_eq!(x.to_string().to_lowercase().parse(), Ok(x));
            prop_assert_eq!(x.to_string().cmp(&y.to_string()), a.cmp(&b));
        }
    }
}
