//! Small steps on text that several parts need.
//!
//! Foreign words are cut at a bound, and never inside a character: the standard library's own
//! `floor_char_boundary` is younger than the oldest compiler that we support.

use std::fmt::{Arguments, Write};

/// The longest beginning of `text` that is at most `max` bytes and whole characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    // A character is at most four bytes, so one of four places is a boundary.
    let end = (max.saturating_sub(3)..=max)
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Appends formatted words to a string; unlike `write!` it has no error to drop.
pub(crate) fn put(out: &mut String, words: Arguments<'_>) {
    if out.write_fmt(words).is_err() {
        debug_assert!(false, "a Display implementation failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fall_between_characters() {
        let cases = [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("é", 1, ""),
            ("a€b", 3, "a"),
            ("", 0, ""),
        ];
        for (text, max, expected) in cases {
            assert_eq!(cut(text, max), expected, "{text} {max}");
        }
        assert_eq!(cut("𝄞𝄞", 7), "𝄞");
    }
}
