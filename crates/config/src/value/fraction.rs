//! A share of a whole, 0 to 1.

use std::fmt;

use schemars::JsonSchema;

use super::ValueError;

/// A number from 0 to 1, both included; never NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Fraction(f64);

impl Fraction {
    /// The share `value`.
    ///
    /// # Errors
    ///
    /// When `value` is not from 0 to 1.
    pub fn new(value: f64) -> Result<Self, ValueError> {
        if (0.0..=1.0).contains(&value) {
            return Ok(Self(value));
        }
        let error = ValueError::new(format!("{value} is not from 0 to 1"));
        Err(if value > 1.0 && value <= 100.0 {
            error.help(format!(
                "if you mean {value} percent, write {}",
                value / 100.0
            ))
        } else {
            error
        })
    }

    /// `percent` hundredths, at most 100.
    pub const fn percent(percent: u8) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self(percent as f64 / 100.0)
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The number in the precision that the engine's hot paths use.
    pub const fn as_f32(self) -> f32 {
        // Seven digits are more than any threshold is known to; the range always fits.
        self.0 as f32
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> serde::Deserialize<'de> for Fraction {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(from)?).map_err(ValueError::into_serde)
    }
}

impl serde::Serialize for Fraction {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0)
    }
}

impl JsonSchema for Fraction {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fraction".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "number",
            "x-kind": "fraction",
            "minimum": 0,
            "maximum": 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_its_range() {
        for good in [0.0, 0.5, 1.0] {
            assert_eq!(Fraction::new(good).map(Fraction::get), Ok(good));
        }
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Fraction::new(bad).is_err(), "{bad}");
        }
        let help = Fraction::new(80.0).unwrap_err().help.unwrap();
        assert_eq!(help, "if you mean 80 percent, write 0.8");
        assert_eq!(Fraction::percent(80).get(), 0.8);
    }
}
