//! The document held against the schema: unknown keys, types, ranges, missing keys.
//!
//! serde stops at the first mistake; this walk does not. What it refuses it also cuts out, so that
//! the typed parse after it sees only what is left to be judged by the types themselves. It words
//! its help from the whole schema: a key that another table knows is sent there, a name from a
//! foreign product is translated, a slip of the pen is corrected.

use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::codes;
use crate::diagnostic::{Diagnostic, Path, Problems};
use crate::nearest::nearest;
use crate::overrides::variable;
use crate::schema::{Schema, Shape};
use crate::value::{Name, expectation, measure};

pub(crate) struct Walk<'a> {
    pub(crate) schema: &'a Schema,
    /// Names of other products and ours for them.
    pub(crate) renamed: &'a [(&'a str, &'a str)],
    pub(crate) problems: &'a mut Problems,
    path: Path,
}

type Item<'i> = Spanned<DeValue<'i>>;

impl<'a> Walk<'a> {
    pub(crate) fn new(
        schema: &'a Schema,
        renamed: &'a [(&'a str, &'a str)],
        problems: &'a mut Problems,
    ) -> Self {
        Self {
            schema,
            renamed,
            problems,
            path: Vec::new(),
        }
    }

    /// Reports everything that the schema does not allow.
    pub(crate) fn document(&mut self, root: &DeTable<'_>) {
        match self.schema.node(self.schema.root()).shape {
            Shape::Table {
                properties,
                required,
            } => self.table(root, properties, &required, None),
            Shape::Named { pattern, value } => self.named(root, pattern, value),
            _ => {}
        }
    }

    fn table(
        &mut self,
        table: &DeTable<'_>,
        properties: &'a Map<String, Value>,
        required: &[&str],
        header: Option<Range<usize>>,
    ) {
        for (key, item) in table {
            self.path.push(key.get_ref().to_string());
            match properties.get(key.get_ref().as_ref()) {
                Some(node) => self.item(node, item),
                None => self.unknown(key, properties),
            }
            self.path.pop();
        }
        for key in required.iter().filter(|key| !table.contains_key(**key)) {
            let message = format!("{} needs the key `{key}`", self.header());
            self.problems
                .error_at(codes::MISSING_KEY, &self.path, header.clone(), message);
            let mut path = self.path.clone();
            path.push((*key).to_owned());
            self.problems.refuse(&path);
        }
    }

    fn named(&mut self, table: &DeTable<'_>, pattern: Option<&str>, node: &'a Value) {
        for (key, item) in table {
            let name = key.get_ref();
            self.path.push(name.to_string());
            if pattern == Some(Name::PATTERN)
                && let Err(error) = name.parse::<Name>()
            {
                self.refuse(codes::BAD_NAME, key.span(), error.message).help = error.help;
            }
            self.item(node, item);
            self.path.pop();
        }
    }

    fn item(&mut self, node: &'a Value, item: &Item<'_>) {
        let shape = self.schema.node(node).shape;
        match (&shape, item.get_ref()) {
            (
                Shape::Table {
                    properties,
                    required,
                },
                DeValue::Table(table),
            ) => {
                let header = self.problems.spots.get(&self.path).map(|s| s.key.clone());
                self.table(table, properties, required, header);
            }
            (Shape::Named { pattern, value }, DeValue::Table(table)) => {
                self.named(table, *pattern, value);
            }
            (Shape::List { items, min, max }, DeValue::Array(array)) => {
                self.count(array.len() as u64, *min, *max, item.span());
                for (index, item) in array.iter().enumerate() {
                    self.path.push(index.to_string());
                    if let Some(node) = items {
                        self.item(node, item);
                    }
                    self.path.pop();
                }
            }
            // Whatever it is: it was meant as the secret.
            (
                Shape::Text {
                    kind: Some("secret"),
                    ..
                },
                _,
            ) if self.in_file(item) => {
                self.inline_secret(item.span());
            }
            (Shape::Choice(choices), DeValue::String(text)) => {
                self.choice(choices, text, item.span());
            }
            (Shape::Text { kind, min, max }, DeValue::String(text)) => {
                self.text(*kind, *min, *max, text, item.span());
            }
            (Shape::Integer { min, max }, DeValue::Integer(number)) => {
                match i128::from_str_radix(number.as_str(), number.radix()) {
                    Ok(value) if (*min..=*max).contains(&value) => {}
                    _ => self.range(item, &between(*min, *max)),
                }
            }
            (Shape::Number { kind, min, max }, DeValue::Integer(_) | DeValue::Float(_)) => {
                self.number(*kind, *min, *max, item);
            }
            (Shape::Boolean, DeValue::Boolean(_)) | (Shape::Any, _) => {}
            _ => self.wrong_type(&shape, item),
        }
    }

    fn choice(&mut self, choices: &[&str], text: &str, span: Range<usize>) {
        if choices.contains(&text) {
            return;
        }
        let message = format!("`{}` cannot be \"{text}\"", self.key());
        let help = match nearest(text, choices.iter().copied()) {
            Some(choice) => format!("did you mean \"{choice}\"?"),
            None => format!("it is {}", one_of(choices)),
        };
        self.refuse(codes::BAD_VALUE, span, message).help(help);
    }

    fn text(
        &mut self,
        kind: Option<&str>,
        min: Option<&str>,
        max: Option<&str>,
        text: &str,
        span: Range<usize>,
    ) {
        let kind = kind.unwrap_or_default();
        // A malformed one is left to its type, which knows best what is wrong with it.
        let Some(size) = measure(kind, text) else {
            return;
        };
        let bound = |bound: Option<&str>| bound.and_then(|bound| measure(kind, bound));
        let low = bound(min).is_some_and(|min| size < min);
        let high = bound(max).is_some_and(|max| size > max);
        if low || high {
            let message = format!("`{}` cannot be \"{text}\"", self.key());
            let help = match (min, max) {
                (Some(min), Some(max)) => format!("it is from \"{min}\" to \"{max}\""),
                (Some(min), None) => format!("it is at least \"{min}\""),
                (None, max) => format!("it is at most \"{}\"", max.unwrap_or_default()),
            };
            self.refuse(codes::BAD_VALUE, span, message).help(help);
        }
    }

    fn in_file(&self, item: &Item<'_>) -> bool {
        self.problems.sources.is_file(&item.span())
    }

    fn inline_secret(&mut self, span: Range<usize>) {
        let key = self.key().to_owned();
        let variable = variable(&self.path);
        let file_key = format!("{key}_file");
        let has_file_key = !self.schema.owners(&file_key).is_empty();
        let message = format!("`{key}` is a secret and must not stand in the file");
        let help = if has_file_key {
            format!("name a file with `{file_key} = \"...\"`, or set {variable}")
        } else {
            format!("set the environment variable {variable}")
        };
        self.refuse(codes::INLINE_SECRET, span, message).help(help);
    }

    fn number(&mut self, kind: Option<&str>, min: f64, max: f64, item: &Item<'_>) {
        let written = match item.get_ref() {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map(|value| value as f64)
                .ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            _ => None,
        };
        // A fraction is left to its type, which explains percentages.
        let fits = written.is_some_and(|value| (min..=max).contains(&value));
        if !fits && kind != Some("fraction") {
            let range = match (min > f64::MIN, max < f64::MAX) {
                (true, true) => format!("from {min} to {max}"),
                (true, false) => format!("at least {min}"),
                (false, true) => format!("at most {max}"),
                (false, false) => "a finite number".to_owned(),
            };
            self.range(item, &range);
        }
    }

    fn range(&mut self, item: &Item<'_>, range: &str) {
        let message = format!("`{}` cannot be {}", self.key(), written(item));
        self.refuse(codes::BAD_VALUE, item.span(), message)
            .help(format!("it is {range}"));
    }

    fn count(&mut self, count: u64, min: u64, max: u64, span: Range<usize>) {
        if (min..=max).contains(&count) {
            return;
        }
        let message = format!("`{}` has {count} elements", self.key());
        let range = between(min.into(), max.into());
        self.refuse(codes::BAD_VALUE, span, message)
            .help(format!("the number of elements is {range}"));
    }

    fn wrong_type(&mut self, shape: &Shape<'_>, item: &Item<'_>) {
        let wanted = match shape {
            Shape::Table { .. } | Shape::Named { .. } => "a table".to_owned(),
            Shape::Choice(choices) => one_of(choices),
            Shape::Text { kind, .. } => expectation(kind.unwrap_or_default()).to_owned(),
            Shape::Integer { .. } => "a whole number".to_owned(),
            Shape::Number { .. } => "a number".to_owned(),
            Shape::Boolean => "true or false".to_owned(),
            Shape::List { .. } => "a list".to_owned(),
            Shape::Any => "something else".to_owned(),
        };
        let found = match item.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let help = repair(shape, item);
        let message = format!("`{}` wants {wanted}, not {found}", self.key());
        self.refuse(codes::WRONG_TYPE, item.span(), message).help = help;
    }

    fn unknown(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, known: &Map<String, Value>) {
        let name = key.get_ref().as_ref();
        if let Some(ours) = self.renamed(name) {
            self.translate(name, ours, key.span(), known);
            return;
        }
        let keys = known.keys().map(String::as_str);
        if let Some((message, help)) = self.elsewhere(name) {
            self.refuse(codes::MISPLACED_KEY, key.span(), message)
                .help(help);
            return;
        }
        let table = self.parent();
        let help = match nearest(name, keys.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if known.is_empty() => "it has no keys".to_owned(),
            None if known.len() <= 16 => {
                let list: Vec<String> = keys.map(|key| format!("`{key}`")).collect();
                format!("its keys are {}", list.join(", "))
            }
            None => "its keys are listed by `trunkline config schema`".to_owned(),
        };
        let message = format!("{table} has no key `{name}`");
        self.refuse(codes::UNKNOWN_KEY, key.span(), message)
            .help(help);
    }

    /// Another product's name: ours is right here, or somewhere from the top, or not used here.
    fn translate(
        &mut self,
        name: &str,
        ours: &str,
        span: Range<usize>,
        known: &Map<String, Value>,
    ) {
        let mut parts = ours.split('.');
        let first = parts.next().unwrap_or_default();
        let top = match self.schema.node(self.schema.root()).shape {
            Shape::Table { properties, .. } => properties.contains_key(first),
            _ => false,
        };
        if known.contains_key(first) || top {
            let message = format!("`{name}` is called `{ours}` here");
            self.refuse(codes::RENAMED_KEY, span, message)
                .help(format!("write `{ours}`"));
        } else {
            let kind = self.path.first().map_or("", String::as_str);
            let message = format!("`{name}` is called `{ours}` here, and is not used by {kind}");
            self.refuse(codes::MISPLACED_KEY, span, message)
                .help(format!("take `{name}` out"));
        }
    }

    fn renamed(&self, name: &str) -> Option<&'a str> {
        let kind = self.path.first().map_or("", String::as_str);
        let scoped = |old: &str| old.split_once('.') == Some((kind, name));
        let find = |fits: &dyn Fn(&str) -> bool| self.renamed.iter().find(|(old, _)| fits(old));
        find(&scoped)
            .or_else(|| find(&|old| old == name))
            .map(|(_, ours)| *ours)
    }

    /// Message and help for a key that other tables know, the likeliest table first: the one that
    /// shares most of its path with this.
    fn elsewhere(&self, name: &str) -> Option<(String, String)> {
        let here = &self.path[..self.path.len() - 1];
        let shared = |owner: &&Path| {
            let pairs = owner.iter().zip(here);
            pairs.take_while(|(a, b)| a == b || *a == "*").count()
        };
        let mut owners: Vec<&Path> = self.schema.owners(name).iter().collect();
        owners.sort_by_key(|owner| (usize::MAX - shared(owner), owner.len()));
        let owner = *owners.first()?;
        let same_kind = !here.is_empty() && shared(&owner) > 0;
        let place: Vec<&str> = owner
            .iter()
            .enumerate()
            .map(|(depth, part)| match here.get(depth) {
                Some(name) if part == "*" && depth < shared(&owner) => name,
                _ if part == "*" => "NAME",
                _ => part,
            })
            .collect();
        let place = match place.as_slice() {
            [] => "the top of the file".to_owned(),
            parts => format!("[{}]", parts.join(".")),
        };
        let message = if same_kind || here.is_empty() {
            let place = match here {
                [] => "at the top of the file".to_owned(),
                _ => format!("in {}", self.parent()),
            };
            format!("`{name}` is not used {place}")
        } else {
            format!("`{name}` is not used by {}", here[0])
        };
        Some((message, format!("it is a key of {place}")))
    }

    fn refuse(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: String,
    ) -> &mut Diagnostic {
        self.problems.refuse(&self.path);
        self.problems
            .error_at(code, &self.path, Some(span), message)
    }

    /// The last part of the path that is no index.
    fn key(&self) -> &str {
        let named = |part: &&String| part.parse::<usize>().is_err();
        self.path.iter().rev().find(named).map_or("", |key| key)
    }

    fn header(&self) -> String {
        header(&self.path)
    }

    fn parent(&self) -> String {
        header(&self.path[..self.path.len() - 1])
    }
}

fn header(path: &[String]) -> String {
    match path {
        [] => "the top of the file".to_owned(),
        path => format!("[{}]", path.join(".")),
    }
}

fn one_of(choices: &[&str]) -> String {
    let quoted: Vec<String> = choices.iter().map(|c| format!("\"{c}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

fn between(min: i128, max: i128) -> String {
    if max >= i64::MAX.into() {
        format!("at least {min}")
    } else {
        format!("from {min} to {max}")
    }
}

fn written(item: &Item<'_>) -> String {
    match item.get_ref() {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        other => other.type_str().to_owned(),
    }
}

/// The same value in the form that is wanted, when that can be guessed.
fn repair(shape: &Shape<'_>, item: &Item<'_>) -> Option<String> {
    match (shape, item.get_ref()) {
        (Shape::Text { kind, .. }, DeValue::Integer(number)) => match *kind {
            Some("duration") => Some(format!("write \"{number}s\" or \"{number}ms\"")),
            Some("size") => Some(format!("write \"{number}B\" or \"{number}KiB\"")),
            _ => Some(format!("write \"{number}\"")),
        },
        (Shape::Integer { .. } | Shape::Number { .. }, DeValue::String(text)) => text
            .parse::<f64>()
            .is_ok()
            .then(|| format!("write {text} without quotes")),
        (Shape::Boolean, DeValue::String(text)) => match text.as_ref() {
            "true" | "yes" | "on" => Some("write true without quotes".to_owned()),
            "false" | "no" | "off" => Some("write false without quotes".to_owned()),
            _ => None,
        },
        (Shape::List { .. }, DeValue::String(text)) => Some(format!("write [\"{text}\"]")),
        _ => None,
    }
}
