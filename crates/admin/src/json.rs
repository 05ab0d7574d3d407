//! JSON that is safe to look at.
//!
//! JSON must escape the control characters below 32 only. Answers are read in terminals, so the
//! others, and the marks that turn the direction of text, are escaped as well: what a peer put into
//! its name cannot move a cursor or show a line backwards.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// `value` on one line, without a line break at the end; `None` when it cannot be written, or is
/// longer than `bytes_max`.
pub(crate) fn line<T: Serialize>(value: &T, bytes_max: usize) -> Option<Vec<u8>> {
    let mut bounded = Bounded {
        bytes: Vec::with_capacity(128),
        bytes_max,
    };
    let mut serializer = Serializer::with_formatter(&mut bounded, Careful);
    value.serialize(&mut serializer).ok()?;
    Some(bounded.bytes)
}

struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Careful;

impl Formatter for Careful {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (plain, tail) = rest.split_at(at);
            CompactFormatter.write_string_fragment(writer, plain)?;
            let mut chars = tail.chars();
            if let Some(c) = chars.next() {
                // All of them are in the first plane, so one escape is the whole character.
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = chars.as_str();
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

/// Control characters, line separators and the marks that change the direction of text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_moves_a_cursor_is_escaped_and_reads_back() {
        let value = json!({"a\u{9b}": "\u{1b}[2J\n\u{7f}\u{202e}x \u{fc}"});
        let text = String::from_utf8(line(&value, 1000).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"a\\u009b\":\"\\u001b[2J\\n\\u007f\\u202ex \u{fc}\"}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn too_much_is_none() {
        assert_eq!(line(&"abc", 5).unwrap(), b"\"abc\"");
        assert_eq!(line(&"abc", 4), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(256)
        })]
        #[test]
        fn every_string_reads_back_and_is_plain(text in "\\PC*|(?s).*") {
            let bytes = line(&text, usize::MAX).unwrap();
            let written = String::from_utf8(bytes).unwrap();
            prop_assert!(!written.contains(is_unsafe), "{written:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }
}
