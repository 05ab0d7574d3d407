//! The JSON schema of the root, and what the checks read from it.
//!
//! The schema is derived from the configuration types, so the keys that are known, their types and
//! their ranges have one source. Beyond the standard words it uses three of its own: `x-kind` names
//! a string form (`duration`, `size`, `secret`, …), `x-min` and `x-max` bound it in that form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::diagnostic::Path;

/// The JSON schema (draft 2020-12) of the file whose root is `T`, for editors and the reference.
pub fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// The schema with an index of its keys.
#[derive(Debug)]
pub(crate) struct Schema {
    root: Value,
    /// For each key the tables that know it, with `*` for a name.
    owners: BTreeMap<String, Vec<Path>>,
    secrets: BTreeSet<String>,
}

/// What a node of the schema asks for.
#[derive(Clone, Debug)]
pub(crate) struct Node<'s> {
    pub(crate) shape: Shape<'s>,
    /// It may be absent, and its absence means something.
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Shape<'s> {
    Table {
        properties: &'s Map<String, Value>,
        required: Vec<&'s str>,
    },
    Named {
        pattern: Option<&'s str>,
        value: &'s Value,
    },
    Choice(Vec<&'s str>),
    Text {
        kind: Option<&'s str>,
        min: Option<&'s str>,
        max: Option<&'s str>,
    },
    Integer {
        min: i128,
        max: i128,
    },
    Number {
        kind: Option<&'s str>,
        min: f64,
        max: f64,
    },
    Boolean,
    List {
        items: Option<&'s Value>,
        min: u64,
        max: u64,
    },
    Any,
}

impl Schema {
    pub(crate) fn of<T: JsonSchema>() -> Self {
        let mut schema = Self {
            root: schema::<T>(),
            owners: BTreeMap::new(),
            secrets: BTreeSet::new(),
        };
        let mut found = Vec::new();
        schema.collect(&schema.root, &mut Vec::new(), &mut found);
        for (table, key, secret) in found {
            if secret {
                schema.secrets.insert(key.clone());
            }
            schema.owners.entry(key).or_default().push(table);
        }
        schema
    }

    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// The tables that know `key`.
    pub(crate) fn owners(&self, key: &str) -> &[Path] {
        self.owners.get(key).map_or(&[], Vec::as_slice)
    }

    /// The keys that hold secrets anywhere.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(String::as_str)
    }

    /// Follows references and "or nothing" to what `node` asks for.
    pub(crate) fn node<'s>(&'s self, node: &'s Value) -> Node<'s> {
        let mut chain = vec![node];
        let mut optional = false;
        // A chain of references is as long as the types are nested; the cap ends a circle.
        while chain.len() < 16 {
            let Some(next) = self.follow(chain[chain.len() - 1], &mut optional) else {
                break;
            };
            chain.push(next);
        }
        let last = chain[chain.len() - 1];
        optional |= type_names(last).any(|name| name == "null");
        Node {
            shape: shape(&chain),
            optional,
        }
    }

    fn follow<'s>(&'s self, node: &'s Value, optional: &mut bool) -> Option<&'s Value> {
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            return self.root.pointer(reference.strip_prefix('#')?);
        }
        let choices = node.get("anyOf").and_then(Value::as_array)?;
        let is_null = |choice: &&Value| type_names(choice).eq(["null"]);
        let mut others = choices.iter().filter(|choice| !is_null(choice));
        // Several make an untagged enum, which errors could not be placed in.
        let only = others.next().filter(|_| others.next().is_none());
        *optional |= choices.iter().any(|choice| is_null(&choice));
        only
    }

    fn collect(&self, node: &Value, path: &mut Path, found: &mut Vec<(Path, String, bool)>) {
        // Configuration nests a handful of levels; the cap ends a type that contains itself.
        if path.len() > 12 {
            return;
        }
        match self.node(node).shape {
            Shape::Table { properties, .. } => {
                for (key, node) in properties {
                    let shape = self.node(node).shape;
                    let secret = matches!(
                        shape,
                        Shape::Text {
                            kind: Some("secret"),
                            ..
                        }
                    );
                    found.push((path.clone(), key.clone(), secret));
                    path.push(key.clone());
                    self.collect(node, path, found);
                    path.pop();
                }
            }
            Shape::Named { value, .. } => {
                path.push("*".to_owned());
                self.collect(value, path, found);
                path.pop();
            }
            Shape::List {
                items: Some(items), ..
            } => self.collect(items, path, found),
            _ => {}
        }
    }
}

fn type_names(node: &Value) -> impl Iterator<Item = &str> {
    let kind = node.get("type");
    let several = kind.and_then(Value::as_array).into_iter().flatten();
    kind.filter(|kind| kind.is_string())
        .into_iter()
        .chain(several)
        .filter_map(Value::as_str)
}

fn shape<'s>(chain: &[&'s Value]) -> Shape<'s> {
    let last = chain[chain.len() - 1];
    // Bounds and kinds may stand beside a reference as well as behind it; the nearer one counts.
    let word = |name: &str| chain.iter().find_map(|node| node.get(name));
    let text = |name: &str| word(name).and_then(Value::as_str);
    if let Some(choices) = choices(last) {
        return Shape::Choice(choices);
    }
    match type_names(last).find(|name| *name != "null") {
        Some("object") => table(last),
        Some("string") => Shape::Text {
            kind: text("x-kind"),
            min: text("x-min"),
            max: text("x-max"),
        },
        Some("integer") => {
            let (min, max) = format_range(text("format").unwrap_or_default());
            let bound = |name| word(name).and_then(whole);
            Shape::Integer {
                min: bound("minimum").unwrap_or(min),
                max: bound("maximum").unwrap_or(max),
            }
        }
        Some("number") => Shape::Number {
            kind: text("x-kind"),
            min: word("minimum").and_then(Value::as_f64).unwrap_or(f64::MIN),
            max: word("maximum").and_then(Value::as_f64).unwrap_or(f64::MAX),
        },
        Some("boolean") => Shape::Boolean,
        Some("array") => Shape::List {
            items: last.get("items").filter(|items| items.is_object()),
            min: word("minItems").and_then(Value::as_u64).unwrap_or(0),
            max: word("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX),
        },
        _ => Shape::Any,
    }
}

/// The strings of a unit-only enum, which has one of two forms in the schema.
fn choices(node: &Value) -> Option<Vec<&str>> {
    if let Some(values) = node.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter_map(Value::as_str).collect());
    }
    let variants = node.get("oneOf").and_then(Value::as_array)?;
    let mut names = Vec::new();
    for variant in variants {
        match variant.get("const").and_then(Value::as_str) {
            Some(name) => names.push(name),
            // A group of undocumented variants stands as an `enum` among the documented ones.
            None => names.extend(choices(variant)?),
        }
    }
    Some(names)
}

static NO_KEYS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

fn table(node: &Value) -> Shape<'_> {
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        let required = node.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        return Shape::Table {
            properties,
            required: required.collect(),
        };
    }
    let patterns = node.get("patternProperties").and_then(Value::as_object);
    if let Some((pattern, value)) = patterns.and_then(|patterns| patterns.iter().next()) {
        return Shape::Named {
            pattern: Some(pattern),
            value,
        };
    }
    match node.get("additionalProperties") {
        // A struct without fields, as of a sink that has nothing to set.
        Some(Value::Bool(false)) => Shape::Table {
            properties: &NO_KEYS,
            required: Vec::new(),
        },
        Some(value) if value.is_object() => Shape::Named {
            pattern: None,
            value,
        },
        _ => Shape::Any,
    }
}

fn whole(value: &Value) -> Option<i128> {
    value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from))
}

fn format_range(format: &str) -> (i128, i128) {
    match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, u64::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}
