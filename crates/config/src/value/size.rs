//! A number of bytes with its unit: `"64KiB"`, `"10MB"`.
//!
//! Decimal and binary units are both there and mean what the standards say: `1kB` is 1000 bytes,
//! `1KiB` is 1024 (IEC 80000-13). `KB` is taken for `kB`. A small `b` would be bits and is refused.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// A number of bytes, written as a string with a unit; at most 8 EiB − 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

const EXAMPLE: &str = "write a number and a unit (B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB), \
     as in \"64KiB\"";

impl ByteSize {
    /// `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `kib` times 1024 bytes, saturating.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1 << 10))
    }

    /// `mib` times 1,048,576 bytes, saturating.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as the length of something in memory, saturating.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let end = text.find(|c: char| !c.is_ascii_digit());
        let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
        if digits.is_empty() {
            return Err(ValueError::new(format!("\"{text}\" is no size")).help(EXAMPLE));
        }
        if unit.is_empty() {
            let message = format!("\"{text}\" has no unit after {digits}");
            return Err(ValueError::new(message).help(EXAMPLE));
        }
        let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(text, unit));
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(*bytes))
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or_else(|| ValueError::new(format!("\"{text}\" is more than 8 EiB")))
    }
}

fn unknown_unit(text: &str, unit: &str) -> ValueError {
    let error = ValueError::new(format!("\"{text}\" has the unknown unit \"{unit}\""));
    let meant = UNITS.iter().find(|(name, _)| {
        name.eq_ignore_ascii_case(unit) || name.strip_suffix('B').is_some_and(|n| n == unit)
    });
    match (unit, meant) {
        (".", _) => error.help("write a whole number of a smaller unit, as in \"1536KiB\""),
        (_, Some((name, _))) => error.help(format!("did you mean \"{name}\"?")),
        _ => error.help(EXAMPLE),
    }
}

impl fmt::Display for ByteSize {
    /// The unit that divides it with the smallest count; bytes when none does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let divides = |unit: u64| unit > 1 && bytes >= unit && bytes.is_multiple_of(unit);
        // The first of equals counts, and binary units stand before decimal ones of their size.
        let unit = UNITS
            .iter()
            .filter(|(_, unit)| divides(*unit))
            .min_by_key(|(_, unit)| bytes / unit);
        match unit {
            Some((name, unit)) => write!(f, "{}{name}", bytes / unit),
            None => write!(f, "{bytes}B"),
        }
    }
}

super::text_value!(
    ByteSize,
    "size",
    "a size such as \"64KiB\" or \"10MB\"",
    ["64KiB", "10MB"]
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_and_prints_the_written_forms() {
        for (text, bytes, printed) in [
            ("0B", 0, "0B"),
            ("512B", 512, "512B"),
            ("64KiB", 65_536, "64KiB"),
            ("10MB", 10_000_000, "10MB"),
            ("1kB", 1_000, "1kB"),
            ("1KB", 1_000, "1kB"),
            ("1024B", 1_024, "1KiB"),
            ("3GiB", 3 << 30, "3GiB"),
            ("2TB", 2_000_000_000_000, "2TB"),
            ("1500B", 1_500, "1500B"),
            ("1000KiB", 1_024_000, "1000KiB"),
        ] {
            let size = text.parse::<ByteSize>().unwrap();
            assert_eq!(size.get(), bytes, "{text}");
            assert_eq!(size.to_string(), printed);
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, message, help) in [
            ("", "\"\" is no size", "as in \"64KiB\""),
            ("KiB", "\"KiB\" is no size", "as in \"64KiB\""),
            ("64", "\"64\" has no unit after 64", "as in \"64KiB\""),
            (
                "64kib",
                "\"64kib\" has the unknown unit \"kib\"",
                "did you mean \"KiB\"?",
            ),
            (
                "64Ki",
                "\"64Ki\" has the unknown unit \"Ki\"",
                "did you mean \"KiB\"?",
            ),
            (
                "1.5MB",
                "\"1.5MB\" has the unknown unit \".5MB\"",
                "as in \"64KiB\"",
            ),
            (
                "64 KiB",
                "\"64 KiB\" has the unknown unit \" KiB\"",
                "as in \"64KiB\"",
            ),
            (
                "64bit",
                "\"64bit\" has the unknown unit \"bit\"",
                "as in \"64KiB\"",
            ),
        ] {
            let error = text.parse::<ByteSize>().unwrap_err();
            assert_eq!(error.message, message);
            assert!(error.help.unwrap().ends_with(help), "{text}");
        }
        for text in [
            "9999999TiB",
            "99999999999999999999B",
            "9223372036854775808B",
        ] {
            let error = text.parse::<ByteSize>().unwrap_err();
            assert_eq!(error.message, format!("\"{text}\" is more than 8 EiB"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::with_cases(256)
        })]

        #[test]
        fn prints_what_it_parses(bytes in 0..=i64::MAX as u64, shift in 0_u32..40, up in 0_u32..7) {
            let unit = 1_000_u64.pow(up);
            let size = ByteSize::from_bytes((bytes >> shift) / unit * unit);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn never_panics(text in "[0-9KkMGTiB. ]{0,24}") {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }
}
