//! A length of time with its unit: `"250ms"`, `"1m30s"`.
//!
//! Units are `d h m s ms us ns`, largest first, each at most once, whole numbers only, so that one
//! length has few spellings and none is ambiguous. Zero needs a unit too (`"0s"`). The largest is
//! what 64 bits of nanoseconds hold (584 years), because the engine's clock counts in those.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// A length of time, written as a string with units; 1 ns resolution, at most 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl Duration {
    /// Nothing.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// `seconds` whole seconds; more than 584 years are cut to that.
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_nanos(seconds.saturating_mul(1_000_000_000))
    }

    /// `millis` whole milliseconds; more than 584 years are cut to that.
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// `nanos` nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(std::time::Duration::from_nanos(nanos))
    }

    /// The same as the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whether it is nothing at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut rest = text;
        let mut total = 0_u64;
        let mut smallest_seen = 0;
        if text.is_empty() {
            return Err(ValueError::new("an empty string is no duration").help(EXAMPLE));
        }
        while !rest.is_empty() {
            let (digits, after) = split(rest, |c| c.is_ascii_digit());
            let (unit, after) = split(after, |c| !c.is_ascii_digit());
            if digits.is_empty() || unit.is_empty() {
                return Err(malformed(text, digits, unit));
            }
            let found = UNITS.iter().position(|(name, _)| *name == unit);
            let Some(place) = found else {
                return Err(malformed(text, digits, unit));
            };
            if place < smallest_seen {
                let message = format!("the units of \"{text}\" are not in order");
                return Err(
                    ValueError::new(message).help("write the largest unit first, each once")
                );
            }
            smallest_seen = place + 1;
            total = digits
                .parse::<u64>()
                .ok()
                .and_then(|count| count.checked_mul(UNITS[place].1))
                .and_then(|nanos| total.checked_add(nanos))
                .ok_or_else(|| ValueError::new(format!("\"{text}\" is longer than 584 years")))?;
            rest = after;
        }
        Ok(Self::from_nanos(total))
    }
}

const EXAMPLE: &str =
    "write a number and a unit (ns, us, ms, s, m, h, d), as in \"250ms\" or \"1m30s\"";

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn malformed(text: &str, digits: &str, unit: &str) -> ValueError {
    if !digits.is_empty() && unit.is_empty() {
        let message = format!("\"{text}\" has no unit after {digits}");
        return ValueError::new(message).help(EXAMPLE);
    }
    if digits.is_empty() {
        return ValueError::new(format!("\"{text}\" is no duration")).help(EXAMPLE);
    }
    let message = format!("\"{text}\" has the unknown unit \"{unit}\"");
    ValueError::new(message).help(match unit {
        "." => "write a whole number of a smaller unit, as in \"1500ms\"",
        "\u{b5}s" | "\u{3bc}s" => "microseconds are written \"us\"",
        "sec" | "secs" | "second" | "seconds" => "seconds are written \"s\"",
        "min" | "mins" | "minute" | "minutes" => "minutes are written \"m\"",
        "hour" | "hours" => "hours are written \"h\"",
        "day" | "days" => "days are written \"d\"",
        _ => EXAMPLE,
    })
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut rest = self.0.as_nanos();
        for (unit, nanos) in UNITS {
            let nanos = u128::from(nanos);
            if rest >= nanos {
                write!(f, "{}{unit}", rest / nanos)?;
                rest %= nanos;
            }
        }
        Ok(())
    }
}

super::text_value!(
    Duration,
    "duration",
    "a duration such as \"250ms\" or \"1m30s\"",
    ["250ms", "1m30s"]
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_the_written_forms() {
        for (text, nanos) in [
            ("0s", 0),
            ("1ns", 1),
            ("7us", 7_000),
            ("250ms", 250_000_000),
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("2h", 7_200_000_000_000),
            ("1d2h3m4s5ms6us7ns", 93_784_005_006_007),
            ("18446744073709551615ns", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, message) in [
            ("", "an empty string is no duration"),
            ("5", "\"5\" has no unit after 5"),
            ("1m30", "\"1m30\" has no unit after 30"),
            ("s", "\"s\" is no duration"),
            ("-5s", "\"-5s\" is no duration"),
            ("5 s", "\"5 s\" has the unknown unit \" s\""),
            ("1.5s", "\"1.5s\" has the unknown unit \".\""),
            ("5sec", "\"5sec\" has the unknown unit \"sec\""),
            ("5S", "\"5S\" has the unknown unit \"S\""),
            ("30s1m", "the units of \"30s1m\" are not in order"),
            ("1s1s", "the units of \"1s1s\" are not in order"),
            ("300000d", "\"300000d\" is longer than 584 years"),
            (
                "99999999999999999999s",
                "\"99999999999999999999s\" is longer than 584 years",
            ),
        ] {
            let error = text.parse::<Duration>().unwrap_err();
            assert_eq!(error.message, message);
        }
        let help = "1.5s".parse::<Duration>().unwrap_err().help;
        assert!(help.unwrap().contains("1500ms"));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::with_cases(256)
        })]

        #[test]
        fn prints_what_it_parses(nanos in any::<u64>(), shift in 0_u32..64) {
            let duration = Duration::from_nanos(nanos >> shift);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn never_panics(text in "[0-9dhmsun.\u{b5} -]{0,24}") {
            if let Ok(duration) = text.parse::<Duration>() {
                prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            }
        }
    }
}
