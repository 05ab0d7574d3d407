//! What verbs share when they print: the formats, escaping, CSV, and a progress line.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Lines for people, and for scripts that know net-snmp.
    #[default]
    Table,
    /// One JSON document at the end.
    Json,
    /// One JSON object a line, as it comes.
    Jsonl,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
}

/// The version that JSON output carries.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Writes to stderr; whoever closed it does not want to know.
pub(crate) fn talk(text: &str) {
    io::stderr().write_all(text.as_bytes()).ok();
}

/// Bytes of a stranger as one line of text: valid UTF-8 stays, control characters and the rest are
/// escaped, so that they cannot steer the terminal.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if c.is_control() || is_bidi(c) => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            write!(text, "\\x{byte:02x}").ok();
        }
    }
    text
}

/// Characters that reorder what stands beside them.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends one CSV record.
pub(crate) fn csv_record(fields: &[&str], out: &mut Vec<u8>) {
    for (n, field) in fields.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        if field.contains(['"', ',', '\n', '\r']) {
            out.push(b'"');
            out.extend_from_slice(field.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(field.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A line on stderr that counts, while stderr is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    total: usize,
    done: usize,
    good: usize,
    shown: bool,
    last: Option<Instant>,
    enabled: bool,
}

impl Progress {
    /// A count of `total`; silent when that is one, or when nobody watches.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            done: 0,
            good: 0,
            shown: false,
            last: None,
            enabled: total > 1 && io::stderr().is_terminal(),
        }
    }

    /// One more is done.
    pub(crate) fn step(&mut self, good: bool) {
        self.done += 1;
        self.good += usize::from(good);
        let due = self
            .last
            .is_none_or(|last| last.elapsed() >= Duration::from_millis(100));
        if self.enabled && due {
            self.last = Some(Instant::now());
            self.shown = true;
            talk(&format!(
                "\r{} of {} asked, {} answered ",
                self.done, self.total, self.good
            ));
        }
    }

    /// Takes the line away, before something else is printed.
    pub(crate) fn clear(&mut self) {
        if self.shown {
            self.shown = false;
            talk("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_cannot_steer_the_terminal() {
        assert_eq!(escaped(b"\x1b[31mred\r\n"), "\\u{1b}[31mred\\r\\n");
        assert_eq!(escaped("Zürich \u{202e}".as_bytes()), "Zürich \\u{202e}");
        assert_eq!(escaped(b"a\xffb"), "a\\xffb");
    }

    #[test]
    fn csv_fields_are_quoted_when_they_must_be() {
        let mut out = Vec::new();
        csv_record(&["plain", "a,b", "say \"hi\"", "two\nlines", ""], &mut out);
        let expected = "plain,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
