//! The name of a system, a sink, a group: `[a-z][a-z0-9-]{0,31}`.
//!
//! Names become metric labels, URL segments, socket arguments and parts of environment variables
//! (with `_` for `-`), so the alphabet is what is plain in all of them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;

use super::ValueError;

/// A name: a small letter, then at most 31 small letters, digits or hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The rule as a regular expression, as it stands in the schema.
    pub const PATTERN: &str = "^[a-z][a-z0-9-]{0,31}$";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= 32
            && text.chars().all(plain);
        if good {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.escape_debug().take(40).collect();
        let error = ValueError::new(format!("\"{shown}\" is no name"));
        let mended: String = text
            .to_ascii_lowercase()
            .replace(['_', ' ', '.'], "-")
            .chars()
            .filter(|c| plain(*c))
            .skip_while(|c| !c.is_ascii_lowercase())
            .take(32)
            .collect();
        Err(error.help(if mended.is_empty() {
            RULE.to_owned()
        } else {
            format!("{RULE}, as in \"{mended}\"")
        }))
    }
}

const RULE: &str = "names are a small letter, then at most 31 of a-z, 0-9 and -";

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(ValueError::into_serde)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "x-kind": "name",
            "pattern": Self::PATTERN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_pattern_takes() {
        let long = "a".repeat(32);
        for good in ["a", "core", "dc-1", "x9-", long.as_str()] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let longer = "a".repeat(33);
        let bad = [
            "",
            "A",
            "Core",
            "1a",
            "-a",
            "a_b",
            "a.b",
            "\u{e4}",
            "a\u{1b}",
            longer.as_str(),
        ];
        for bad in bad {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn proposes_a_mended_name() {
        let help = |text: &str| text.parse::<Name>().unwrap_err().help.unwrap();
        assert!(help("DC_East 1").ends_with("as in \"dc-east-1\""));
        assert_eq!(help("99"), RULE);
    }
}
