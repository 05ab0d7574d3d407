//! Overrides from the environment and from flags.
//!
//! `TRUNKLINE__SNMP__CORE__TIMEOUT=2s` sets `snmp.core.timeout`: two underscores part the path,
//! case does not matter, `_` stands for the `-` of a name. An override sets one scalar of a table
//! that exists. Tables whose presence means something (a named system, an optional block) must
//! stand in the file; blocks that every system has are always there. A variable that sets nothing
//! is an error: somebody meant something by it.
//!
//! How the text is read follows from the key: a string key takes it as it is, so that no quotes are
//! needed; numbers and booleans are read as TOML.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::codes;
use crate::diagnostic::{Path, Problems};
use crate::nearest::nearest;
use crate::schema::{Schema, Shape};

/// What the name of every overriding environment variable starts with.
pub const ENV_PREFIX: &str = "TRUNKLINE__";

/// One override: the key path, as its source spells it, and the value as text.
#[derive(Clone, Debug)]
pub(crate) struct Setting<'i> {
    pub(crate) path: Path,
    /// Spelled for the environment: any case, `_` for `-`.
    pub(crate) folded: bool,
    pub(crate) text: &'i str,
    /// Where `text` lies among the sources.
    pub(crate) base: usize,
}

/// The environment variable that sets the key at `path`.
pub(crate) fn variable(path: &[String]) -> String {
    let parts: Vec<String> = path
        .iter()
        .map(|part| part.to_ascii_uppercase().replace('-', "_"))
        .collect();
    format!("{ENV_PREFIX}{}", parts.join("__"))
}

/// Puts `setting` into the tree, or reports why it cannot be. Returns whether the value that is set
/// is a secret.
pub(crate) fn apply<'i>(
    root: &mut DeTable<'i>,
    schema: &Schema,
    setting: &Setting<'i>,
    problems: &mut Problems,
) -> bool {
    let mut done = Vec::new();
    match place(root, schema, schema.root(), setting, &mut done) {
        Ok(secret) => secret,
        Err(failure) => {
            let span = setting.base..setting.base + setting.text.len();
            let one = problems.error_at(failure.code, &done, Some(span), failure.message);
            one.help = failure.help;
            false
        }
    }
}

struct Failure {
    code: &'static str,
    message: String,
    help: Option<String>,
}

fn place<'i, 's>(
    mut table: &mut DeTable<'i>,
    schema: &'s Schema,
    mut node: &'s Value,
    setting: &Setting<'i>,
    done: &mut Path,
) -> Result<bool, Failure> {
    let whole = setting.base..setting.base + setting.text.len();
    for (depth, part) in setting.path.iter().enumerate() {
        let (key, next, named) = step(table, schema, node, part, setting.folded, done)?;
        done.push(key.clone());
        node = next;
        let wanted = schema.node(node);
        let inner = matches!(wanted.shape, Shape::Table { .. } | Shape::Named { .. });
        if depth + 1 == setting.path.len() {
            let value = scalar(&wanted.shape, setting).ok_or_else(|| not_scalar(done, inner))?;
            table.insert(Spanned::new(whole, key.into()), value);
            return Ok(matches!(
                wanted.shape,
                Shape::Text {
                    kind: Some("secret"),
                    ..
                }
            ));
        }
        if !inner {
            return Err(not_a_table(done));
        }
        if !table.contains_key(key.as_str()) {
            if wanted.optional || named {
                return Err(missing_table(done));
            }
            let empty = DeValue::Table(DeTable::new());
            let key = Spanned::new(whole.clone(), key.clone().into());
            table.insert(key, Spanned::new(whole.clone(), empty));
        }
        match table.get_mut(key.as_str()).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => table = inner,
            // The walk says what is wrong with it.
            _ => return Ok(false),
        }
    }
    Err(not_scalar(done, true))
}

/// The key that `part` means in `table`, its schema, and whether it is a name.
fn step<'s>(
    table: &DeTable<'_>,
    schema: &'s Schema,
    node: &'s Value,
    part: &str,
    folded: bool,
    done: &[String],
) -> Result<(String, &'s Value, bool), Failure> {
    let fits = |key: &str| {
        if folded {
            key.replace('-', "_").eq_ignore_ascii_case(part)
        } else {
            key == part
        }
    };
    match schema.node(node).shape {
        Shape::Table { properties, .. } => match properties.iter().find(|(key, _)| fits(key)) {
            Some((key, node)) => Ok((key.clone(), node, false)),
            None => {
                let known = properties.keys().map(String::as_str);
                Err(no_such(done, part, nearest(part, known)))
            }
        },
        Shape::Named { value, .. } => {
            let mut names = table.keys().map(|key| key.get_ref().as_ref());
            match names.find(|name| fits(name)) {
                Some(name) => Ok((name.to_owned(), value, true)),
                None => {
                    let mut path = done.to_vec();
                    path.push(part.to_ascii_lowercase());
                    Err(missing_table(&path))
                }
            }
        }
        _ => Err(not_a_table(done)),
    }
}

fn scalar<'i>(shape: &Shape<'_>, setting: &Setting<'i>) -> Option<Spanned<DeValue<'i>>> {
    let whole = setting.base..setting.base + setting.text.len();
    let text = || Spanned::new(whole.clone(), DeValue::String(setting.text.into()));
    match shape {
        Shape::Text { .. } | Shape::Choice(_) => Some(text()),
        Shape::Integer { .. } | Shape::Number { .. } | Shape::Boolean => {
            let parsed = DeValue::parse(setting.text.trim()).ok();
            let parsed = parsed.map(Spanned::into_inner);
            Some(match parsed {
                Some(value @ (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_))) => {
                    Spanned::new(whole, value)
                }
                _ => text(),
            })
        }
        Shape::Table { .. } | Shape::Named { .. } | Shape::List { .. } | Shape::Any => None,
    }
}

fn no_such(done: &[String], part: &str, meant: Option<&str>) -> Failure {
    let part = part.to_ascii_lowercase();
    let place = match done {
        [] => "the configuration".to_owned(),
        done => format!("[{}]", done.join(".")),
    };
    Failure {
        code: codes::BAD_OVERRIDE,
        message: format!("{place} has no key `{part}`"),
        help: meant.map(|meant| {
            let mut path = done.to_vec();
            path.push(meant.to_owned());
            format!("did you mean {}?", variable(&path))
        }),
    }
}

fn missing_table(path: &[String]) -> Failure {
    let table = path.join(".");
    Failure {
        code: codes::BAD_OVERRIDE,
        message: format!("there is no table [{table}] whose keys could be overridden"),
        help: Some(format!("add [{table}] to the file, or unset this")),
    }
}

fn not_a_table(path: &[String]) -> Failure {
    Failure {
        code: codes::BAD_OVERRIDE,
        message: format!("`{}` is a value and has no keys", path.join(".")),
        help: None,
    }
}

fn not_scalar(path: &[String], table: bool) -> Failure {
    let what = if table { "table" } else { "list" };
    Failure {
        code: codes::NOT_SCALAR,
        message: format!("`{}` is a {what} and cannot be overridden", path.join(".")),
        help: Some(match table {
            true => format!("override one of its keys, as in {}__KEY", variable(path)),
            false => "set it in the file".to_owned(),
        }),
    }
}

/// The span of a whole text that lies at `base`.
pub(crate) fn span_of(base: usize, text: &str) -> Range<usize> {
    base..base + text.len()
}
