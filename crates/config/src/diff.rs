//! What differs between two configurations, for a reload.
//!
//! Compared is what is effective, not what is written: moving a key or writing out a default is no
//! change. Secrets compare as equal: those of the environment cannot change under a running
//! process, and those in files are read anew by whoever uses them.

use serde::Serialize;
use toml::Value;

use crate::load::Root;
use crate::show::effective;

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The dotted path of the key.
    pub key: String,
    /// The old value as TOML; none when it was not there.
    pub from: Option<String>,
    /// The new value as TOML; none when it is gone.
    pub to: Option<String>,
    /// Whether it takes effect only after a restart ([`Root::RESTART`]).
    pub restart: bool,
}

/// The keys whose effective values differ, in the order of their paths.
pub fn diff<T: Root>(old: &T, new: &T) -> Vec<Change> {
    let mut changes = Vec::new();
    let (old, new) = (effective(old), effective(new));
    compare(Some(&old), Some(&new), &mut Vec::new(), &mut changes);
    for change in &mut changes {
        change.restart = T::RESTART.iter().any(|rule| covers(rule, &change.key));
    }
    changes
}

fn compare<'v>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    path: &mut Vec<&'v str>,
    changes: &mut Vec<Change>,
) {
    let table = |value: Option<&'v Value>| value.and_then(Value::as_table);
    if old.is_none_or(Value::is_table) && new.is_none_or(Value::is_table) {
        let keys = table(old)
            .into_iter()
            .chain(table(new))
            .flat_map(|t| t.keys());
        let mut keys: Vec<&str> = keys.map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        // An empty table that came or went is a change of its own; else its keys tell.
        if keys.is_empty() && old.is_some() != new.is_some() {
            changes.push(change(old, new, path));
        }
        for key in keys {
            path.push(key);
            let inner = |value| table(value).and_then(|table| table.get(key));
            compare(inner(old), inner(new), path, changes);
            path.pop();
        }
    } else if old != new {
        changes.push(change(old, new, path));
    }
}

fn change(old: Option<&Value>, new: Option<&Value>, path: &[&str]) -> Change {
    Change {
        key: path.join("."),
        from: old.map(Value::to_string),
        to: new.map(Value::to_string),
        restart: false,
    }
}

fn covers(rule: &str, key: &str) -> bool {
    let mut parts = key.split('.');
    rule.split('.').all(|wanted| {
        let part = parts.next();
        part.is_some_and(|part| wanted == "*" || wanted == part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_its_key_and_what_is_in_it() {
        for (rule, key, covered) in [
            ("snmp.*.bind", "snmp.core.bind", true),
            ("snmp.*.bind", "snmp.core.bind.port", true),
            ("snmp.*.bind", "snmp.core.bindings", false),
            ("snmp.*.bind", "snmp.core", false),
            ("admin", "admin.http", true),
            ("admin", "snmp.admin", false),
        ] {
            assert_eq!(covers(rule, key), covered, "{rule} {key}");
        }
    }
}
