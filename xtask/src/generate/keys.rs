//! The page of configuration keys, from the JSON schema.
//!
//! Every table of the file is a heading and every key a row, with its values, its default and the
//! sentence that the code has for it. Tables under a name that the operator chooses are shown with
//! `NAME` for it. Beyond the standard words the schema has `x-kind` for strings with a form, and
//! `x-min` and `x-max` for their bounds.

use std::fmt::Write;

use serde_json::{Map, Value};

const HEAD: &str = "\
# Configuration keys

<!-- Written by `cargo xtask generate`; change the doc comments in the code instead. -->

Every key of the file. NAME is a name of your choice: a small letter, then up to 31 small letters,
digits and hyphens. A table that is not there has the defaults.
";

/// The most tables below each other; a schema that refers to itself ends here.
const DEPTH_MAX: usize = 12;

pub(super) fn page(schema: &Value) -> String {
    let mut page = String::from(HEAD);
    let keys = Keys { root: schema };
    keys.table(schema, &[], "", &mut page);
    page
}

struct Keys<'s> {
    root: &'s Value,
}

impl<'s> Keys<'s> {
    /// One table, and then the tables below it.
    fn table(&self, node: &'s Value, path: &[&str], about: &str, page: &mut String) {
        let node = self.resolved(node);
        let Some(properties) = node["properties"].as_object() else {
            if let Some(named) = named(node) {
                self.below("NAME", named, path, about, page);
            }
            return;
        };
        let is_table = |value: &Value| self.is_table(value);
        let (tables, keys): (Vec<_>, Vec<_>) =
            properties.iter().partition(|(_, value)| is_table(value));
        if !keys.is_empty() {
            let _infallible = write!(page, "\n## `[{}]`\n\n", path.join("."));
            if !about.is_empty() {
                let _infallible = write!(page, "{about}\n\n");
            }
            page.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
            for (key, value) in keys {
                page.push_str(&self.row(key, value));
            }
        }
        for (key, value) in tables {
            self.below(key, value, path, &text(value, "description"), page);
        }
    }

    fn below(&self, key: &str, node: &'s Value, path: &[&str], about: &str, page: &mut String) {
        if path.len() < DEPTH_MAX {
            let below: Vec<&str> = path.iter().copied().chain([key]).collect();
            self.table(node, &below, about, page);
        }
    }

    fn row(&self, key: &str, value: &'s Value) -> String {
        let default = match value.get("default") {
            None | Some(Value::Null) => String::new(),
            Some(default) => format!("`{default}`"),
        };
        let (kind, meaning) = (self.kind(value), text(value, "description"));
        format!("| `{key}` | {kind} | {default} | {meaning} |\n")
    }

    /// What may be written, in words.
    fn kind(&self, value: &'s Value) -> String {
        let node = self.resolved(value);
        if let Some(choices) = choices(node) {
            return choices.join(", ");
        }
        let word = |name: &str| value.get(name).or_else(|| node.get(name));
        let named = word("x-kind").and_then(Value::as_str).map(str::to_owned);
        let standard = || match type_of(node) {
            "array" => format!(
                "list of {}",
                node.get("items")
                    .map_or("anything".into(), |one| self.kind(one))
            ),
            "" => "anything".to_owned(),
            other => other.to_owned(),
        };
        let mut kind = named.unwrap_or_else(standard);
        let bound = |names: [&str; 2]| names.iter().find_map(|name| word(name)).map(plain);
        match (bound(["x-min", "minimum"]), bound(["x-max", "maximum"])) {
            (Some(min), Some(max)) => kind.push_str(&format!(", {min} to {max}")),
            (Some(min), None) => kind.push_str(&format!(", at least {min}")),
            (None, Some(max)) => kind.push_str(&format!(", at most {max}")),
            (None, None) => {}
        }
        kind
    }

    fn is_table(&self, value: &'s Value) -> bool {
        let node = self.resolved(value);
        node.get("properties").is_some_and(Value::is_object) || named(node).is_some()
    }

    /// Follows references, and "this or nothing" to this.
    fn resolved(&self, node: &'s Value) -> &'s Value {
        let mut node = node;
        for _ in 0..DEPTH_MAX {
            let reference = node.get("$ref").and_then(Value::as_str);
            let target = reference.and_then(|path| self.root.pointer(path.strip_prefix('#')?));
            let choices = node.get("anyOf").or_else(|| node.get("allOf"));
            let choice = choices
                .and_then(Value::as_array)
                .and_then(|choices| choices.iter().find(|choice| type_of(choice) != "null"));
            match target.or(choice) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
}

/// What stands under a name of the operator's choice.
fn named(node: &Value) -> Option<&Value> {
    let patterns = node.get("patternProperties").and_then(Value::as_object);
    patterns.and_then(|patterns| patterns.values().next())
}

/// The words of a choice.
fn choices(node: &Value) -> Option<Vec<String>> {
    if let Some(words) = node.get("enum").and_then(Value::as_array) {
        return Some(
            words
                .iter()
                .filter(|word| !word.is_null())
                .map(ticked)
                .collect(),
        );
    }
    let each = node.get("oneOf").and_then(Value::as_array)?;
    let words = each
        .iter()
        .flat_map(|one| choices(one).unwrap_or_else(|| constant(one)));
    Some(words.collect())
}

fn constant(node: &Value) -> Vec<String> {
    node.get("const").map(ticked).into_iter().collect()
}

fn ticked(value: &Value) -> String {
    format!("`{value}`")
}

/// The first type that is not "nothing".
fn type_of(node: &Value) -> &str {
    match node.get("type") {
        Some(Value::Array(types)) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|one| *one != "null")
            .unwrap_or_default(),
        Some(one) => one.as_str().unwrap_or_default(),
        None => "",
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A sentence on one line, with nothing that would end a cell.
fn text(node: &Value, name: &str) -> String {
    let empty = Map::new();
    let node = node.as_object().unwrap_or(&empty);
    let text = node.get(name).and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{
        "properties": {
            "snmp": { "type": "object", "additionalProperties": false,
                "patternProperties": { "^[a-z]$": { "$ref": "#/$defs/Snmp" } } },
            "log": { "description": "The log.", "$ref": "#/$defs/Log" }
        },
        "$defs": {
            "Log": { "type": "object", "properties": {
                "level": { "$ref": "#/$defs/Level", "default": "info", "description": "How\n much." }
            } },
            "Level": { "oneOf": [ { "const": "info" }, { "const": "warn" } ] },
            "Snmp": { "type": "object", "properties": {
                "timeout": { "type": "string", "x-kind": "duration", "x-min": "1ms",
                    "default": "1s", "description": "First wait." },
                "shards": { "type": "integer", "minimum": 0, "maximum": 256, "default": 0 },
                "rule": { "anyOf": [ { "$ref": "#/$defs/Log" }, { "type": "null" } ] },
                "hosts": { "type": ["array", "null"], "items": { "type": "string" } }
            } }
        }
    }"##;

    #[test]
    fn every_table_is_a_heading_and_every_key_a_row() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let page = page(&schema);
        for line in [
            "## `[log]`\n\nThe log.\n",
            "| `level` | `\"info\"`, `\"warn\"` | `\"info\"` | How much. |",
            "## `[snmp.NAME]`\n",
            "| `timeout` | duration, at least 1ms | `\"1s\"` | First wait. |",
            "| `shards` | integer, 0 to 256 | `0` |  |",
            "| `hosts` | list of string |  |  |",
            "## `[snmp.NAME.rule]`\n",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema: Value = serde_json::from_str(
            r##"{ "properties": { "a": { "type": "integer" }, "b": { "$ref": "#" } } }"##,
        )
        .unwrap();
        assert_eq!(page(&schema).matches("## `[").count(), DEPTH_MAX + 1);
    }
}
