//! From JSON to a handler's input, with errors that name the field.
//!
//! serde says what is wrong but not where. Where is found on the way to the error only: the input
//! is printed one field per line and parsed again, and the line of the error, with the lines that
//! enclose it, is the path. Keys that the schema does not know are refused, whether or not the
//! handler's type does so itself: a misspelt filter must not select everything.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::{BAD_INPUT, UNPRINTABLE};
use super::{ErrorKind, OperationError};

/// The input, held against its type's `schema`, as the handler's type. A missing input is an empty
/// object where one is wanted.
pub(super) fn parse<In: DeserializeOwned>(
    schema: &Value,
    input: Value,
) -> Result<In, OperationError> {
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    let input = match input {
        Value::Null if is_object => Value::Object(Map::new()),
        input => input,
    };
    if let Some(error) = unknown_field(schema, &input) {
        return Err(error);
    }
    // Only an input that fails is printed and parsed again.
    match In::deserialize(&input) {
        Ok(input) => Ok(input),
        Err(error) => Err(refused::<In>(&input, &error)),
    }
}

/// The answer as JSON.
pub(super) fn render<Out: Serialize>(out: &Out) -> Result<Value, OperationError> {
    serde_json::to_value(out).map_err(|error| {
        let message = format!("the answer cannot be written as JSON: {error}");
        OperationError::new(ErrorKind::Failed, UNPRINTABLE, message)
    })
}

fn unknown_field(schema: &Value, input: &Value) -> Option<OperationError> {
    let open = schema
        .get("additionalProperties")
        .is_some_and(|more| *more != Value::Bool(false))
        || ["patternProperties", "allOf", "anyOf", "oneOf", "$ref"]
            .iter()
            .any(|key| schema.get(key).is_some());
    let (false, Value::Object(input)) = (open, input) else {
        return None;
    };
    let none = Map::new();
    let known = match schema.get("properties") {
        Some(Value::Object(known)) => known,
        _ if schema.get("type").and_then(Value::as_str) == Some("object") => &none,
        _ => return None,
    };
    let unknown = input.keys().find(|key| !known.contains_key(*key))?;
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    let error = OperationError::bad_input(format!("there is no field {unknown:?} in the input"));
    Some(if names.is_empty() {
        error.help("this operation takes no input")
    } else {
        error.help(format!("its fields are: {}", names.join(", ")))
    })
}

fn refused<In: DeserializeOwned>(input: &Value, error: &serde_json::Error) -> OperationError {
    let text = serde_json::to_string_pretty(input).unwrap_or_default();
    let (mut reason, mut path) = (error.to_string(), String::new());
    if let Err(placed) = serde_json::from_str::<In>(&text) {
        path = path_of_line(&text, placed.line());
        let whole = placed.to_string();
        let place = format!(" at line {} column {}", placed.line(), placed.column());
        whole
            .strip_suffix(&place)
            .unwrap_or(&whole)
            .clone_into(&mut reason);
    }
    let message = if path.is_empty() {
        format!("the input does not fit: {reason}")
    } else {
        format!("the field {path:?} of the input does not fit: {reason}")
    };
    OperationError::new(ErrorKind::BadInput, BAD_INPUT, message)
}

/// The keys that enclose a line (from 1) of pretty-printed JSON, joined by dots.
fn path_of_line(text: &str, line: usize) -> String {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let mut keys = Vec::new();
    let mut depth = usize::MAX;
    for line in lines.iter().rev() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if indent >= depth {
            continue;
        }
        if let Some(key) = key_of(content) {
            keys.push(key);
            depth = indent;
        } else if !content.starts_with([']', '}']) {
            // An array's element: its array is further out.
            depth = indent;
        }
    }
    keys.reverse();
    keys.join(".")
}

/// The key of a line `"key": value`; `None` for a line that has none.
fn key_of(content: &str) -> Option<String> {
    let mut keys = serde_json::Deserializer::from_str(content).into_iter::<Value>();
    let Some(Ok(Value::String(key))) = keys.next() else {
        return None;
    };
    content[keys.byte_offset()..]
        .starts_with(':')
        .then_some(key)
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::operation::schema;

    fn parse<In: DeserializeOwned + JsonSchema>(input: Value) -> Result<In, OperationError> {
        super::parse(&schema::<In>(), input)
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Walk {
        target: String,
        #[serde(default)]
        limits: Limits,
        #[serde(default)]
        hops: Vec<Hop>,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    struct Limits {
        rows: u32,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Hop {
        port: u16,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Nothing {}

    #[test]
    fn what_fits_is_taken() {
        let walk: Walk =
            parse(json!({"target": "a", "limits": {"rows": 3}, "hops": [{"port": 1}]})).unwrap();
        assert_eq!((walk.target.as_str(), walk.limits.rows), ("a", 3));
        assert_eq!(walk.hops[0].port, 1);
        parse::<Nothing>(Value::Null).unwrap();
        parse::<()>(Value::Null).unwrap();
        let map: std::collections::BTreeMap<String, u8> = parse(json!({"any": 1})).unwrap();
        assert_eq!(map["any"], 1);
    }

    #[test]
    fn errors_name_the_field() {
        for (input, wanted) in [
            (json!({}), "missing field `target`"),
            (json!({"target": 5}), "\"target\""),
            (
                json!({"target": "a", "limits": {"rows": -1}}),
                "\"limits.rows\"",
            ),
            (json!({"target": "a", "limits": {}}), "\"limits\""),
            (
                json!({"target": "a", "hops": [{"port": 1}, {"port": 70_000}]}),
                "\"hops.port\"",
            ),
            (json!({"target": "a", "hops": [{"port": 1}, 7]}), "\"hops\""),
            (json!({"target": "a", "hosp": []}), "no field \"hosp\""),
            (json!([1]), "the input does not fit"),
        ] {
            let error = parse::<Walk>(input.clone()).unwrap_err();
            assert_eq!((error.kind, error.code), (ErrorKind::BadInput, BAD_INPUT));
            assert!(error.message.contains(wanted), "{input}: {error}");
            assert!(!error.message.contains(" line "), "{error}");
        }
        let error = parse::<Nothing>(json!({"a": 1})).unwrap_err();
        assert_eq!(error.help.as_deref(), Some("this operation takes no input"));
    }
}
