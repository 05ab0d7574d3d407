//! What a configuration type itself gets wrong, for a test of whoever defines it.
//!
//! A bound that does not parse bounds nothing, a default out of range cannot be written down, a
//! hint that names a key which is gone sends people astray, and a key without a sentence is not
//! documented. None of these shows until a user meets it, so a test asks for all of them.

use serde_json::Value;

use crate::diagnostic::Path;
use crate::load::Root;
use crate::schema::{Schema, Shape};
use crate::value::measure;

/// Everything that is wrong with the type `T`, one sentence each; a test expects none.
///
/// Every key has a description and a shape that the checks understand; bounds parse and hold for
/// defaults; [`Root::RENAMED`] and [`Root::RESTART`] name keys that exist.
pub fn audit<T: Root>() -> Vec<String> {
    let schema = Schema::of::<T>();
    let mut found = Vec::new();
    visit(&schema, schema.root(), &mut Vec::new(), &mut found);
    for (old, ours) in T::RENAMED {
        let last = ours.rsplit('.').next().unwrap_or(ours);
        if schema.owners(last).is_empty() {
            found.push(format!("`{old}` is sent to `{ours}`, which does not exist"));
        }
    }
    for rule in T::RESTART {
        let path: Vec<&str> = rule.split('.').collect();
        if !exists(&schema, schema.root(), &path) {
            found.push(format!(
                "a restart is asked for `{rule}`, which does not exist"
            ));
        }
    }
    found
}

fn visit(schema: &Schema, node: &Value, path: &mut Path, found: &mut Vec<String>) {
    // The same cap as that of the index of keys.
    if path.len() > 12 {
        return;
    }
    match schema.node(node).shape {
        Shape::Table { properties, .. } => {
            for (key, node) in properties {
                path.push(key.clone());
                key_faults(schema, node, &path.join("."), found);
                visit(schema, node, path, found);
                path.pop();
            }
        }
        Shape::Named { value, .. } => {
            path.push("*".to_owned());
            visit(schema, value, path, found);
            path.pop();
        }
        _ => {}
    }
}

fn key_faults(schema: &Schema, node: &Value, key: &str, found: &mut Vec<String>) {
    let shape = schema.node(node).shape;
    let described = node.get("description").and_then(Value::as_str);
    if described.is_none_or(str::is_empty) {
        found.push(format!("`{key}` has no description"));
    }
    if matches!(shape, Shape::Any) {
        found.push(format!("`{key}` has a shape that cannot be checked"));
    }
    if let Shape::Text { kind, min, max } = shape {
        for bound in [min, max].into_iter().flatten() {
            if measure(kind.unwrap_or_default(), bound).is_none() {
                found.push(format!(
                    "`{key}` has the bound \"{bound}\", which does not parse"
                ));
            }
        }
    }
    let default = node.get("default").filter(|value| !value.is_null());
    if default.is_some_and(|default| !allows(&shape, default)) {
        found.push(format!("`{key}` has a default that is out of its range"));
    }
}

fn allows(shape: &Shape<'_>, value: &Value) -> bool {
    match (shape, value) {
        (Shape::Choice(choices), Value::String(text)) => choices.contains(&text.as_str()),
        (Shape::Integer { min, max }, Value::Number(number)) => number
            .as_i64()
            .is_some_and(|value| (*min..=*max).contains(&i128::from(value))),
        (Shape::Number { min, max, .. }, Value::Number(number)) => number
            .as_f64()
            .is_some_and(|value| (*min..=*max).contains(&value)),
        (Shape::Text { kind, min, max }, Value::String(text)) => {
            let size = |text: &str| measure(kind.unwrap_or_default(), text);
            let value = size(text);
            min.is_none_or(|min| size(min) <= value) && max.is_none_or(|max| size(max) >= value)
        }
        _ => true,
    }
}

fn exists(schema: &Schema, node: &Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    match schema.node(node).shape {
        Shape::Table { properties, .. } => properties
            .get(*first)
            .is_some_and(|node| exists(schema, node, rest)),
        Shape::Named { value, .. } => *first == "*" && exists(schema, value, rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{At, Check, Duration};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    #[derive(Default, Deserialize, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Bad {
        bare: bool,
        /// Bounded by nothing.
        #[schemars(extend("x-min" = "1 second"))]
        bound: Duration,
        /// Below its own range.
        #[schemars(range(min = 1))]
        low: u32,
        /// Below its own range too.
        #[schemars(extend("x-min" = "1s"))]
        short: Duration,
        /// Anything.
        any: Anything,
    }

    #[derive(Default, Deserialize, Serialize, JsonSchema)]
    #[serde(untagged)]
    enum Anything {
        #[default]
        Nothing,
        Number(u8),
        Text(String),
    }

    impl Check for Bad {
        fn check(&self, _: &mut At<'_>) {}
    }

    impl Root for Bad {
        const RENAMED: &'static [(&'static str, &'static str)] =
            &[("old", "low"), ("older", "table.gone")];
        const RESTART: &'static [&'static str] = &["low", "low.er", "gone"];
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        let expected = [
            "`any` has a shape that cannot be checked",
            "`bare` has no description",
            "`bound` has the bound \"1 second\", which does not parse",
            "`low` has a default that is out of its range",
            "`short` has a default that is out of its range",
            "`older` is sent to `table.gone`, which does not exist",
            "a restart is asked for `low.er`, which does not exist",
            "a restart is asked for `gone`, which does not exist",
        ];
        assert_eq!(audit::<Bad>(), expected);
    }
}
