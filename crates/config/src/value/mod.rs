//! Values that a person writes as a string with a unit or a rule.
//!
//! Each is a newtype that parses strictly, prints the form that it parses, and describes itself in
//! the schema with `x-kind`, by which the loader words its help. A plain number is refused where a
//! unit is due: `timeout = 5` meant seconds to one reader and milliseconds to the next.

mod duration;
mod fraction;
mod name;
mod secret;
mod size;

pub use duration::Duration;
pub use fraction::Fraction;
pub use name::Name;
pub use secret::{Secret, SecretFile, SecretFileError, Unsealed};
pub use size::ByteSize;

/// Why a text is not a value of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    /// What is wrong, as half a sentence that quotes the text.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Parts message and help on their way through serde, which carries one string.
pub(crate) const HELP_MARK: &str = "\nhelp: ";

impl ValueError {
    /// An error without help.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// The same with what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Hands the error to serde so that the loader finds message and help again.
    pub fn into_serde<E: serde::de::Error>(self) -> E {
        match self.help {
            Some(help) => E::custom(format!("{}{HELP_MARK}{help}", self.message)),
            None => E::custom(self.message),
        }
    }
}

/// Implements serde and schema for a type that has `FromStr<Err = ValueError>` and `Display`.
macro_rules! text_value {
    ($type:ident, $kind:literal, $expecting:literal, [$($example:literal),*]) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err($crate::value::ValueError::into_serde)
                    }
                }
                from.deserialize_str(Text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "x-kind": $kind,
                    "examples": [$($example),*],
                })
            }
        }
    };
}
use text_value;

/// The size of `text` on the scale of `kind` (nanoseconds, bytes), when it is such a value.
pub(crate) fn measure(kind: &str, text: &str) -> Option<u128> {
    match kind {
        "duration" => text.parse().ok().map(|d: Duration| d.get().as_nanos()),
        "size" => text.parse().ok().map(|s: ByteSize| u128::from(s.get())),
        _ => None,
    }
}

/// What a value of `kind` is called in "wants …".
pub(crate) fn expectation(kind: &str) -> &'static str {
    match kind {
        "duration" => "a duration such as \"250ms\" or \"1m30s\"",
        "size" => "a size such as \"64KiB\" or \"10MB\"",
        "name" => "a name such as \"core\"",
        "secret-file" => "the path of a file",
        _ => "a string",
    }
}
