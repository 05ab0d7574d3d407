//! Log lines for people: time, level, where, message, fields.

use std::fmt::{self, Write};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Text with its control characters, and those that turn its direction, written as escapes.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_unsafe) {
            let (plain, tail) = rest.split_at(at);
            f.write_str(plain)?;
            let mut chars = tail.chars();
            if let Some(c) = chars.next() {
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    other => write!(f, "{}", other.escape_unicode())?,
                }
            }
            rest = chars.as_str();
        }
        f.write_str(rest)
    }
}

/// Control characters, line separators and the marks that change the direction of text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A writer of JSON lines in which nothing moves a cursor either: JSON itself only demands that the
/// lowest control characters are escaped.
pub(super) struct JsonLines<W>(pub(super) W);

impl<W: io::Write> io::Write for JsonLines<W> {
    /// Writes all of `bytes`, which the subscriber hands over line by line.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let harmless = |c: char| c == '\n' || !is_unsafe(c);
        if text.chars().all(harmless) {
            self.0.write_all(bytes)?;
            return Ok(bytes.len());
        }
        let mut line = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            if harmless(c) {
                line.push(c);
            } else {
                // All of them are within the basic plane. Writing to a String does not fail.
                write!(line, "\\u{:04x}", u32::from(c)).map_err(io::Error::other)?;
            }
        }
        self.0.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The format of text logs.
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} {}:", meta.level(), meta.target())?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, rest } = fields;
        writeln!(writer, "{message}{rest}")
    }
}

/// An event's message and its other fields, escaped.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: &str) {
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        // Writing to a String does not fail.
        let written = match (field.name(), quoted) {
            ("message", _) => write!(self.message, " {}", Escaped(value)),
            (name, false) => write!(self.rest, " {name}={}", Escaped(value)),
            (name, true) => {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                write!(self.rest, " {name}=\"{}\"", Escaped(&value))
            }
        };
        debug_assert!(written.is_ok());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moves_the_cursor_or_turns_the_text_is_escaped() {
        for (text, wanted) in [
            ("Grüße, 世界 \u{1f600}", "Grüße, 世界 \u{1f600}"),
            ("\x1b]0;title\x07", r"\u{1b}]0;title\u{7}"),
            ("a\r\n\tb\x7f", r"a\r\n\tb\u{7f}"),
            ("\u{85}\u{2028}\u{2066}", r"\u{85}\u{2028}\u{2066}"),
            ("", ""),
        ] {
            assert_eq!(Escaped(text).to_string(), wanted);
        }
    }
}
