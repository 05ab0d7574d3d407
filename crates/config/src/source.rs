//! The texts that a configuration came from, and the places in them.
//!
//! The file and every override are laid end to end in one space of byte offsets, so that a span is
//! one range wherever its value came from, and an error in an environment variable is shown with
//! its text and a caret like one in the file. Between two texts lies a gap of one byte, so that the
//! end of one is never the start of the next.
//!
//! What is shown is a copy in which secrets are covered by stars of the same length.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

/// Where an effective value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A place in the file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line, as the key path that it sets.
    Flag(String),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(path) => write!(f, "flag {path}"),
            Self::Default => f.write_str("default"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceName {
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(path) => write!(f, "flag {path}"),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: SourceName,
    /// The text with secrets covered.
    pub(crate) shown: String,
    base: usize,
}

/// A range within one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: usize,
    pub(crate) span: Range<usize>,
    /// From 1; columns count characters.
    pub(crate) line: usize,
    pub(crate) column: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    list: Vec<Source>,
}

impl Sources {
    /// Adds a text and returns the offset of its first byte.
    pub(crate) fn add(&mut self, name: SourceName, text: &str) -> usize {
        let base = self
            .list
            .last()
            .map_or(0, |last| last.base + last.shown.len() + 1);
        self.list.push(Source {
            name,
            shown: text.to_owned(),
            base,
        });
        base
    }

    pub(crate) fn source(&self, index: usize) -> Option<&Source> {
        self.list.get(index)
    }

    pub(crate) fn place(&self, span: &Range<usize>) -> Option<Place> {
        let index = self.index(span.start)?;
        let source = &self.list[index];
        let inside = |offset: usize| {
            let mut offset = offset.saturating_sub(source.base).min(source.shown.len());
            while !source.shown.is_char_boundary(offset) {
                offset -= 1;
            }
            offset
        };
        let start = inside(span.start);
        let before = &source.shown[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some(Place {
            source: index,
            span: start..inside(span.end).max(start),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }

    /// What is shown of a span.
    pub(crate) fn text(&self, span: &Range<usize>) -> Option<&str> {
        let place = self.place(span)?;
        self.list[place.source].shown.get(place.span)
    }

    pub(crate) fn origin(&self, span: &Range<usize>) -> Origin {
        let Some(place) = self.place(span) else {
            return Origin::Default;
        };
        match &self.list[place.source].name {
            SourceName::File(path) => Origin::File {
                path: path.clone(),
                line: place.line,
            },
            SourceName::Environment(variable) => Origin::Environment(variable.clone()),
            SourceName::Flag(path) => Origin::Flag(path.clone()),
        }
    }

    /// Covers a secret: every byte of `span` but line breaks becomes a star.
    pub(crate) fn cover(&mut self, span: &Range<usize>) {
        let Some(place) = self.place(span) else {
            return;
        };
        let shown = &mut self.list[place.source].shown;
        let stars: String = shown[place.span.clone()]
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { '*' })
            .collect();
        shown.replace_range(place.span, &stars);
    }

    pub(crate) fn is_file(&self, span: &Range<usize>) -> bool {
        self.index(span.start)
            .is_some_and(|index| matches!(self.list[index].name, SourceName::File(_)))
    }

    fn index(&self, offset: usize) -> Option<usize> {
        self.list
            .partition_point(|source| source.base <= offset)
            .checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let mut sources = Sources::default();
        sources.add(SourceName::File("t.toml".into()), "a = 1\n\u{e4}b = 2\n");
        sources.add(SourceName::Environment("X".into()), "");
        sources.add(SourceName::Flag("a.b".into()), "77");
        sources
    }

    #[test]
    fn finds_source_line_and_column() {
        let sources = sources();
        // (span, source, line, column): the file has 14 bytes, then gaps of one.
        for (span, source, line, column) in [
            (0..1, 0, 1, 1),
            (4..5, 0, 1, 5),
            (6..9, 0, 2, 1),
            (8..9, 0, 2, 2),
            (14..14, 0, 3, 1),
            (15..15, 1, 1, 1),
            (16..18, 2, 1, 1),
            (17..18, 2, 1, 2),
        ] {
            let place = sources.place(&span).unwrap();
            assert_eq!(
                (place.source, place.line, place.column),
                (source, line, column),
                "{span:?}"
            );
        }
        assert_eq!(sources.origin(&(16..18)).to_string(), "flag a.b");
        assert_eq!(sources.origin(&(8..9)).to_string(), "t.toml:2");
        assert!(sources.is_file(&(0..1)) && !sources.is_file(&(15..15)));
    }

    #[test]
    fn a_span_that_lies_is_cut_to_its_text() {
        let sources = sources();
        assert_eq!(sources.place(&(7..900)).unwrap().span, 6..14);
        assert_eq!(Sources::default().place(&(0..1)), None);
    }

    #[test]
    fn covering_keeps_every_offset() {
        let mut sources = sources();
        sources.cover(&(4..8));
        assert_eq!(sources.list[0].shown, "a = *\n**b = 2\n");
    }
}
