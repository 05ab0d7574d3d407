//! Reading a configuration from all its sources; the steps are described in the crate's root.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::DeTable;

use crate::diagnostic::{At, Check, Problems};
use crate::find::{FileChoice, Places, find};
use crate::nearest::nearest;
pub use crate::overrides::ENV_PREFIX;
use crate::overrides::{Setting, apply, span_of};
use crate::schema::Schema;
use crate::source::{Origin, SourceName};
use crate::value::HELP_MARK;
use crate::walk::Walk;
use crate::{codes, tree};

/// The type of a whole configuration file.
///
/// Its tables are structs with `deny_unknown_fields` and maps from [`crate::Name`]; no flattening,
/// no enums with data. Every field has a default, or its absence is an error of its own.
pub trait Root: DeserializeOwned + Serialize + JsonSchema + Check {
    /// Keys of other products and ours for them: `("kind.key", "ours")` for one kind of system,
    /// `("key", "ours")` for all. `ours` is a dotted path, from the table or from the top.
    const RENAMED: &'static [(&'static str, &'static str)] = &[];
    /// The keys that a reload cannot change, as dotted paths with `*` for any one part; a table
    /// stands for everything in it.
    const RESTART: &'static [&'static str] = &[];
}

/// One value set on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The dotted path of the key.
    pub path: String,
    /// The value as it was typed.
    pub value: String,
}

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Which file.
    pub file: FileChoice,
    /// The environment; only `TRUNKLINE_CONFIG`, `TRUNKLINE__*`, `XDG_CONFIG_HOME` and `HOME` are
    /// looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// Values of flags; a later one wins over an earlier one.
    pub flags: Vec<Override>,
    /// The directory that `./trunkline.toml` is looked for in.
    pub current_dir: PathBuf,
    /// The directory of the machine's own file.
    pub system_dir: PathBuf,
}

impl LoadOptions {
    /// The file of this choice, with the environment and directories of this process.
    pub fn from_process(file: FileChoice) -> Self {
        Self {
            file,
            environment: std::env::vars_os().collect(),
            flags: Vec::new(),
            current_dir: PathBuf::from("."),
            system_dir: PathBuf::from("/etc/trunkline"),
        }
    }

    /// Only this text under this name: no environment, no flags.
    pub fn from_text(name: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            file: FileChoice::Text {
                name: name.into(),
                text: text.into(),
            },
            environment: Vec::new(),
            flags: Vec::new(),
            current_dir: PathBuf::from("."),
            system_dir: PathBuf::from("/etc/trunkline"),
        }
    }
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// The file that it came from, when there was one.
    pub path: Option<PathBuf>,
    /// Who set each key that anybody set, by dotted path; the rest is [`Origin::Default`].
    pub sources: BTreeMap<String, Origin>,
    /// What should be looked at.
    pub warnings: Problems,
}

impl<T> Loaded<T> {
    /// Who set the key at this dotted path.
    pub fn origin(&self, path: &str) -> Origin {
        self.sources.get(path).cloned().unwrap_or(Origin::Default)
    }
}

/// Reads a configuration: flags over environment over file over defaults.
///
/// # Errors
///
/// All problems at once, warnings included, when there is at least one error.
pub fn load<T: Root>(options: &LoadOptions) -> Result<Loaded<T>, Box<Problems>> {
    let mut problems = Box::<Problems>::default();
    let places = Places {
        current: &options.current_dir,
        system: &options.system_dir,
        environment: &options.environment,
    };
    let found = find(&options.file, &places, &mut problems);
    if problems.has_errors() {
        return Err(problems);
    }
    let (path, text) = found.unzip();
    let text = text.unwrap_or_default();
    let value = read::<T>(path.clone(), &text, options, &mut problems);
    problems.settle();
    match value {
        Some(value) if !problems.has_errors() => {
            let keys = problems.spots.keys();
            let sources = keys.map(|path| (path.join("."), problems.origin(path)));
            Ok(Loaded {
                sources: sources.collect(),
                value,
                path,
                warnings: *problems,
            })
        }
        _ => Err(problems),
    }
}

fn read<T: Root>(
    path: Option<PathBuf>,
    text: &str,
    options: &LoadOptions,
    problems: &mut Problems,
) -> Option<T> {
    let schema = Schema::of::<T>();
    if let Some(path) = path {
        problems.sources.add(SourceName::File(path), text);
    }
    let (mut tree, errors) = DeTable::parse_recoverable(text);
    problems.spots = tree::spots(tree.get_ref());
    cover_secrets(&schema, T::RENAMED, problems);
    if !errors.is_empty() {
        report_syntax(errors, problems);
        return None;
    }
    for setting in settings(options, problems) {
        if apply(tree.get_mut(), &schema, &setting, problems) {
            let span = span_of(setting.base, setting.text);
            problems.sources.cover(&span);
        }
    }
    problems.spots = tree::spots(tree.get_ref());
    Walk::new(&schema, T::RENAMED, problems).document(tree.get_ref());
    for path in problems.refused() {
        tree::cut(tree.get_mut(), path);
    }
    let value = typed::<T>(tree, problems)?;
    value.check(&mut At::root(problems));
    Some(value)
}

/// Covers every string of the file whose key is, or was meant to be, that of a secret; also where
/// the key is misplaced, so that showing the mistake does not show the secret.
fn cover_secrets(schema: &Schema, renamed: &[(&str, &str)], problems: &mut Problems) {
    let mut secrets: Vec<&str> = schema.secrets().collect();
    let foreign = renamed.iter().filter_map(|(old, ours)| {
        let secret = secrets
            .iter()
            .any(|key| ours.rsplit('.').next() == Some(key));
        secret.then(|| old.rsplit('.').next().unwrap_or(old))
    });
    let foreign: Vec<&str> = foreign.collect();
    secrets.extend(foreign);
    let is_secret = |key: &str| {
        let known = !schema.owners(key).is_empty() && !secrets.contains(&key);
        !known && nearest(key, secrets.iter().copied()).is_some()
    };
    let spots = problems.spots.iter();
    let spans: Vec<_> = spots
        .filter(|(path, spot)| !spot.table && path.iter().any(|key| is_secret(key)))
        .map(|(_, spot)| spot.value.clone())
        .collect();
    for span in spans {
        problems.sources.cover(&span);
    }
}

fn report_syntax(mut errors: Vec<toml::de::Error>, problems: &mut Problems) {
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    // Recovery guesses where a broken line ended, and then often sees a key for the second time.
    let only_duplicates = errors
        .iter()
        .all(|error| error.message() == "duplicate key");
    for error in errors {
        if error.message() != "duplicate key" || only_duplicates {
            problems.error_at(codes::SYNTAX, &[], error.span(), error.message());
        }
    }
}

/// The overrides in the order in which they win: environment by name, then flags.
fn settings<'o>(options: &'o LoadOptions, problems: &mut Problems) -> Vec<Setting<'o>> {
    let mut list = Vec::new();
    let mut variables: Vec<_> = options.environment.iter().collect();
    variables.sort();
    for (name, value) in variables {
        let Some(name) = name.to_str() else {
            continue;
        };
        let Some(path) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let Some(text) = value.to_str() else {
            let message = format!("the value of {name} is not UTF-8 text");
            problems.error_at(codes::BAD_OVERRIDE, &[], None, message);
            continue;
        };
        let source = SourceName::Environment(name.to_owned());
        list.push(Setting {
            path: path.split("__").map(str::to_owned).collect(),
            folded: true,
            text,
            base: problems.sources.add(source, text),
        });
    }
    for flag in &options.flags {
        let source = SourceName::Flag(flag.path.clone());
        list.push(Setting {
            path: flag.path.split('.').map(str::to_owned).collect(),
            folded: false,
            text: &flag.value,
            base: problems.sources.add(source, &flag.value),
        });
    }
    list
}

/// Rounds of the typed parse: each reports one refusal by a type, so this many are reported at
/// most. The walk has reported everything else by then.
const ROUNDS_MAX: usize = 64;

fn typed<T: Root>(mut tree: Spanned<DeTable<'_>>, problems: &mut Problems) -> Option<T> {
    for _ in 0..ROUNDS_MAX {
        let error = match T::deserialize(toml::de::Deserializer::from(tree.clone())) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let path = error
            .span()
            .and_then(|span| tree::path_of(&problems.spots, &span))
            .unwrap_or_default();
        if !problems.is_doubtful(&path) {
            report_refusal(&error, &path, problems);
        }
        problems.refuse(&path);
        if !tree::cut(tree.get_mut(), &path) {
            return None;
        }
    }
    None
}

fn report_refusal(error: &toml::de::Error, path: &[String], problems: &mut Problems) {
    let (message, help) = match error.message().split_once(HELP_MARK) {
        Some((message, help)) => (message, Some(help.to_owned())),
        None => (error.message(), None),
    };
    let key = path
        .iter()
        .rev()
        .find(|part| part.parse::<usize>().is_err());
    let span = error.span().filter(|_| !path.is_empty());
    let written = span.as_ref().and_then(|span| problems.sources.text(span));
    // Types of ours quote the value themselves; those of others only name the rule.
    let written = written.filter(|text| {
        let bare = text.trim_matches(['"', '\'']);
        let quoted = message.starts_with(bare) || message.contains(&format!("\"{bare}"));
        text.len() <= 60 && !text.contains('\n') && !quoted
    });
    let message = match (key, written) {
        (Some(key), Some(written)) => format!("`{key}` cannot be {written}: {message}"),
        (Some(key), None) => format!("`{key}`: {message}"),
        (None, _) => message.to_owned(),
    };
    let one = problems.error_at(codes::BAD_VALUE, path, span, message);
    one.help = help;
}
