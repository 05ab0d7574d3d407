//! From a query string to an operation's input, typed by its schema.
//!
//! A query has text only; the schema says what a field is. A field that may be several things
//! becomes the first that the text fits: a number, a truth value, null, text. A key given several
//! times, or once where a list is wanted, is a list. What is an object is written as JSON.

use serde_json::{Map, Value};

use crate::socket::wire::Error;

/// References that are followed, and schemas that are opened, at most.
const DEPTH_MAX: usize = 8;

/// The input that `pairs` stand for.
///
/// # Errors
/// A text that does not fit its field, named.
pub(crate) fn input(schema: &Value, pairs: Vec<(String, String)>) -> Result<Value, Error> {
    if pairs.is_empty() {
        return Ok(Value::Null);
    }
    let mut texts: Vec<(String, Vec<String>)> = Vec::new();
    for (key, text) in pairs {
        match texts.iter_mut().find(|(known, _)| *known == key) {
            Some((_, all)) => all.push(text),
            None => texts.push((key, vec![text])),
        }
    }
    let mut input = Map::new();
    for (key, texts) in texts {
        let field = schema.get("properties").and_then(|all| all.get(&key));
        // Who does not know the key says so, with those that it knows.
        let field = field.unwrap_or(&Value::Null);
        let value = value(schema, field, &texts).ok_or_else(|| {
            let message = format!("the text of {key:?} does not fit its field");
            Error::bad_request(message).help("GET /api/v1/operations shows the schema")
        })?;
        input.insert(key, value);
    }
    Ok(Value::Object(input))
}

fn value(root: &Value, field: &Value, texts: &[String]) -> Option<Value> {
    let mut fits = Fits::default();
    fits.learn(root, field, 0);
    match (texts, fits.items) {
        (texts, Some(items)) => {
            let items = texts.iter().map(|text| one(root, items, text));
            items.collect::<Option<Vec<_>>>().map(Value::Array)
        }
        ([text], None) => fits.convert(text),
        _ => None,
    }
}

fn one(root: &Value, field: &Value, text: &str) -> Option<Value> {
    let mut fits = Fits::default();
    fits.learn(root, field, 0);
    fits.convert(text)
}

/// What a field may be.
#[derive(Default)]
struct Fits<'a> {
    integer: bool,
    number: bool,
    boolean: bool,
    null: bool,
    string: bool,
    object: bool,
    items: Option<&'a Value>,
}

impl<'a> Fits<'a> {
    fn learn(&mut self, root: &'a Value, field: &'a Value, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        match field.get("type") {
            Some(Value::String(kind)) => self.add(field, kind),
            Some(Value::Array(kinds)) => {
                for kind in kinds.iter().filter_map(Value::as_str) {
                    self.add(field, kind);
                }
            }
            _ => {}
        }
        let choices = field.get("enum").and_then(Value::as_array);
        let choices = choices.into_iter().flatten().chain(field.get("const"));
        self.string |= choices.into_iter().any(Value::is_string);
        for key in ["anyOf", "oneOf", "allOf"] {
            for part in field
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                self.learn(root, part, depth + 1);
            }
        }
        let target = field.get("$ref").and_then(Value::as_str);
        if let Some(target) = target.and_then(|path| root.pointer(path.strip_prefix('#')?)) {
            self.learn(root, target, depth + 1);
        }
    }

    fn add(&mut self, field: &'a Value, kind: &str) {
        match kind {
            "integer" => self.integer = true,
            "number" => self.number = true,
            "boolean" => self.boolean = true,
            "null" => self.null = true,
            "string" => self.string = true,
            "array" => self.items = Some(field.get("items").unwrap_or(&Value::Null)),
            _ => self.object = true,
        }
    }

    fn convert(&self, text: &str) -> Option<Value> {
        let parsed = || serde_json::from_str::<Value>(text).ok();
        let is_nothing_known = !(self.integer
            || self.number
            || self.boolean
            || self.null
            || self.string
            || self.object);
        let typed = parsed().filter(|value| match value {
            Value::Number(number) => self.number || (self.integer && !number.is_f64()),
            Value::Bool(_) => self.boolean,
            Value::Null => self.null,
            Value::Object(_) => self.object,
            Value::String(_) | Value::Array(_) => false,
        });
        let as_text = || Value::String(text.to_owned());
        typed.or_else(|| (self.string || is_nothing_known).then(as_text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "count": {"type": "integer"},
                "ratio": {"type": ["number", "null"]},
                "deep": {"type": "boolean"},
                "target": {"type": "string"},
                "level": {"anyOf": [{"$ref": "#/$defs/Level"}, {"type": "null"}]},
                "names": {"type": "array", "items": {"type": "string"}},
                "ports": {"type": ["array", "null"], "items": {"type": "integer"}},
                "filter": {"$ref": "#/$defs/Filter"},
                "loop": {"$ref": "#/properties/loop"},
                "any": true,
            },
            "$defs": {
                "Level": {"enum": ["low", "high"]},
                "Filter": {"type": "object", "properties": {"a": {"type": "integer"}}},
            },
        })
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Value, Error> {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        input(&schema(), pairs.collect())
    }

    #[test]
    fn text_becomes_what_the_schema_says() {
        let cases: [(&[(&str, &str)], Value); 15] = [
            (&[], Value::Null),
            (&[("count", "7")], json!({"count": 7})),
            (&[("count", "-7")], json!({"count": -7})),
            (&[("ratio", "0.5")], json!({"ratio": 0.5})),
            (&[("ratio", "null")], json!({"ratio": null})),
            (&[("deep", "true")], json!({"deep": true})),
            (&[("target", "7")], json!({"target": "7"})),
            (&[("target", "true")], json!({"target": "true"})),
            (&[("target", "{}")], json!({"target": "{}"})),
            (&[("level", "low")], json!({"level": "low"})),
            (&[("names", "7")], json!({"names": ["7"]})),
            (&[("ports", "1"), ("ports", "2")], json!({"ports": [1, 2]})),
            (&[("filter", "{\"a\":1}")], json!({"filter": {"a": 1}})),
            (
                &[("loop", "x"), ("any", "1")],
                json!({"loop": "x", "any": "1"}),
            ),
            (&[("unknown", "1")], json!({"unknown": "1"})),
        ];
        for (pairs, wanted) in cases {
            assert_eq!(read(pairs).unwrap(), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases: [&[(&str, &str)]; 6] = [
            &[("count", "x")],
            &[("count", "1.5")],
            &[("deep", "1")],
            &[("count", "1"), ("count", "2")],
            &[("ports", "1"), ("ports", "x")],
            &[("filter", "[")],
        ];
        for pairs in cases {
            let error = read(pairs).unwrap_err();
            assert!(error.message.contains(pairs[0].0), "{pairs:?}: {error:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(256)
        })]
        #[test]
        fn no_text_panics(key in "[a-z]{0,6}|count|filter|ports", text in "(?s).{0,40}") {
            drop(read(&[(&key, &text)]));
        }
    }
}
