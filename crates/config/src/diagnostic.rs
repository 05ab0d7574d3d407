//! Problems: what is wrong, where it stands, and what to do about it.
//!
//! Semantic checks name the *key path* of what they complain about; the collection knows where that
//! stands. A key that nobody wrote is pointed at by the nearest table that exists. Complaints that
//! may only follow from another one (a neighbour was refused and its default looked at instead) are
//! left out, so that mending one line never makes two errors vanish.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::source::{Origin, Sources};
use crate::value::{Secret, SecretFile};
use crate::{codes, render};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing loads.
    Error,
    /// It loads, and should be looked at.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The stable code that `trunkline explain` knows.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The path of the key, dotted; empty for the file as a whole.
    pub key: String,
    /// The file, variable or flag; empty when it is none of them.
    pub file: String,
    /// The line, from 1; 0 when there is no place.
    pub line: usize,
    /// The column in characters, from 1; 0 when there is no place.
    pub column: usize,
    /// The bytes in `file`.
    pub span: Range<usize>,
    /// What stands beside the caret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What else to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip)]
    pub(crate) source: Option<usize>,
    /// Said where something else is already refused; dropped at the end.
    #[serde(skip)]
    moot: bool,
}

impl Diagnostic {
    /// Adds what to do.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what else to know.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.note = Some(note.into());
        self
    }

    /// Adds what stands beside the caret.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }
}

/// Where the parts of a key stand.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
    pub(crate) table: bool,
}

pub(crate) type Path = Vec<String>;

/// All that is wrong with a configuration. As an error it prints in full, without colours.
#[derive(Clone, Default)]
pub struct Problems {
    pub(crate) sources: Sources,
    pub(crate) spots: BTreeMap<Path, Spot>,
    /// What was cut out of the tree, or should have stood in it.
    refused: Vec<Path>,
    list: Vec<Diagnostic>,
}

impl Problems {
    /// Reports an error about the key at `path`, which may be a table or unset.
    pub fn error(
        &mut self,
        code: &'static str,
        path: &[&str],
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.about(Severity::Error, code, path, message.into())
    }

    /// Reports a warning about the key at `path`, which may be a table or unset.
    pub fn warning(
        &mut self,
        code: &'static str,
        path: &[&str],
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.about(Severity::Warning, code, path, message.into())
    }

    /// What was found, in the order of the sources; errors and warnings mixed.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Whether anything is wrong enough that nothing loads.
    pub fn has_errors(&self) -> bool {
        self.list
            .iter()
            .any(|one| one.severity == Severity::Error && !one.moot)
    }

    /// Whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Everything for a terminal: source lines with carets, help, and a count at the end.
    pub fn render(&self, colours: bool) -> String {
        render::render(self, colours)
    }

    /// Everything for a program.
    pub fn to_json(&self) -> serde_json::Value {
        let count = |severity| self.list.iter().filter(|d| d.severity == severity).count();
        serde_json::json!({
            "schema_version": 1,
            "errors": count(Severity::Error),
            "warnings": count(Severity::Warning),
            "problems": self.list,
        })
    }

    pub(crate) fn origin(&self, path: &[String]) -> Origin {
        self.spots
            .get(path)
            .map_or(Origin::Default, |spot| self.sources.origin(&spot.value))
    }

    /// Reports an error at a span, or at no place.
    pub(crate) fn error_at(
        &mut self,
        code: &'static str,
        path: &[String],
        span: Option<Range<usize>>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Error, code, path.join("."), span, message.into())
    }

    /// Notes that the value at `path` does not count.
    pub(crate) fn refuse(&mut self, path: &[String]) {
        self.refused.push(path.to_vec());
    }

    pub(crate) fn refused(&self) -> &[Path] {
        &self.refused
    }

    /// Whether a complaint about `path` may only follow from something that was refused: it is an
    /// ancestor of that, the same, or its neighbour.
    pub(crate) fn is_doubtful(&self, path: &[String]) -> bool {
        let table = path.split_last().map_or(&[][..], |(_, table)| table);
        self.refused.iter().any(|refused| {
            let beside = refused.split_last().map(|(_, table)| table) == Some(table);
            refused.starts_with(path) || (beside && !path.is_empty())
        })
    }

    /// Drops what is moot and puts the rest in the order of the sources.
    pub(crate) fn settle(&mut self) {
        self.list.retain(|one| !one.moot);
        self.list
            .sort_by_key(|one| (one.source, one.span.start, one.span.end, one.code));
    }

    fn about(
        &mut self,
        severity: Severity,
        code: &'static str,
        path: &[&str],
        message: String,
    ) -> &mut Diagnostic {
        let path: Path = path.iter().map(|part| (*part).to_owned()).collect();
        let span = self.nearest_span(&path);
        let moot = self.is_doubtful(&path);
        let one = self.add(severity, code, path.join("."), span, message);
        one.moot = moot;
        one
    }

    /// The value of a key, the header of a table, or that of the nearest table around it.
    fn nearest_span(&self, path: &[String]) -> Option<Range<usize>> {
        (1..=path.len()).rev().find_map(|length| {
            let spot = self.spots.get(&path[..length])?;
            Some(if spot.table {
                spot.key.clone()
            } else {
                spot.value.clone()
            })
        })
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        key: String,
        span: Option<Range<usize>>,
        message: String,
    ) -> &mut Diagnostic {
        let place = span.and_then(|span| self.sources.place(&span));
        let file = place
            .as_ref()
            .and_then(|place| self.sources.source(place.source))
            .map(|source| source.name.to_string());
        let index = self.list.len();
        self.list.push(Diagnostic {
            code,
            severity,
            message,
            key,
            file: file.unwrap_or_default(),
            line: place.as_ref().map_or(0, |place| place.line),
            column: place.as_ref().map_or(0, |place| place.column),
            source: place.as_ref().map(|place| place.source),
            span: place.map_or(0..0, |place| place.span),
            label: None,
            help: None,
            note: None,
            moot: false,
        });
        &mut self.list[index]
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Problems {
    /// The same: a failed `unwrap` should show a person what the file needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problems {}

/// A configuration type that can say what is wrong with its meaning.
///
/// Types and ranges that the schema states are checked before; here belong the rules between keys.
pub trait Check {
    /// Reports everything that is wrong with `self`, which stands at `at`.
    fn check(&self, at: &mut At<'_>);
}

/// A key path under which problems are reported.
#[derive(Debug)]
pub struct At<'p> {
    problems: &'p mut Problems,
    path: Path,
}

impl<'p> At<'p> {
    /// The top of the file.
    pub fn root(problems: &'p mut Problems) -> Self {
        let path = Vec::new();
        Self { problems, path }
    }

    /// The key or table `key` below this one; an array's elements are `"0"`, `"1"`, …
    pub fn key(&mut self, key: &str) -> At<'_> {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        At {
            problems: self.problems,
            path,
        }
    }

    /// The dotted path.
    pub fn path(&self) -> String {
        self.path.join(".")
    }

    /// Whether anybody set this key, in the file, the environment or by a flag.
    pub fn is_set(&self) -> bool {
        self.problems.spots.contains_key(&self.path)
    }

    /// Reports an error here.
    pub fn error(&mut self, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.say(Severity::Error, code, message.into())
    }

    /// Reports a warning here.
    pub fn warning(&mut self, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.say(Severity::Warning, code, message.into())
    }

    /// The secret of the pair of keys `key` (environment only) and `{key}_file`, when one is set;
    /// reports both being set, and a file that cannot be used or could be kept better.
    pub fn secret(
        &mut self,
        key: &str,
        value: Option<&Secret>,
        file: Option<&SecretFile>,
    ) -> Option<Secret> {
        let file_key = format!("{key}_file");
        match (value, file) {
            (Some(_), Some(_)) => {
                let message = format!("`{key}` and `{file_key}` are both set");
                self.key(&file_key)
                    .error(codes::CONTRADICTION, message)
                    .help("keep one of them");
                None
            }
            (Some(value), None) => Some(value.clone()),
            (None, Some(file)) => self.key(&file_key).unseal(file),
            (None, None) => None,
        }
    }

    fn unseal(&mut self, file: &SecretFile) -> Option<Secret> {
        let help = || format!("chmod 0600 {file}");
        match file.read() {
            Ok(unsealed) => {
                if let Some(warning) = unsealed.warning {
                    self.warning(codes::SECRET_FILE_MODE, warning).help(help());
                }
                Some(unsealed.secret)
            }
            Err(error) => {
                let exposed = matches!(error, crate::SecretFileError::Exposed { .. });
                let one = self.error(codes::SECRET_FILE, error.to_string());
                if exposed {
                    one.help(help());
                }
                None
            }
        }
    }

    fn say(&mut self, severity: Severity, code: &'static str, message: String) -> &mut Diagnostic {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        self.problems.about(severity, code, &path, message)
    }
}
