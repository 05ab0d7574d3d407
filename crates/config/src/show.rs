//! The effective configuration, with who set each value.

use toml::{Table, Value};

use crate::load::{Loaded, Root};
use crate::source::Origin;

/// The effective configuration as TOML: every key, secrets as `***`, and beside each value a
/// comment that says where it came from. It can be read back, except for secrets.
pub fn show<T: Root>(loaded: &Loaded<T>) -> String {
    let mut out = String::new();
    if let Value::Table(root) = effective(&loaded.value) {
        let origin = |path: &[&str]| loaded.origin(&path.join("."));
        write_table(&mut out, &root, &mut Vec::new(), &origin);
    }
    out
}

/// The configuration as a tree of values; an empty one for a type that TOML cannot express.
pub(crate) fn effective<T: Root>(value: &T) -> Value {
    Value::try_from(value).unwrap_or_else(|_| Value::Table(Table::new()))
}

fn write_table<'t>(
    out: &mut String,
    table: &'t Table,
    path: &mut Vec<&'t str>,
    origin: &dyn Fn(&[&str]) -> Origin,
) {
    let scalars = || table.iter().filter(|(_, value)| !value.is_table());
    let width = scalars().map(|(key, value)| line(key, value).len()).max();
    let width = width.unwrap_or(0).min(48);
    if !path.is_empty() && (scalars().next().is_some() || table.is_empty()) {
        let lead = if out.is_empty() { "" } else { "\n" };
        let names: Vec<String> = path.iter().map(|name| quoted(name)).collect();
        out.push_str(&format!("{lead}[{}]\n", names.join(".")));
    }
    for (key, value) in scalars() {
        path.push(key);
        let comment = format!("{:width$}  # {}\n", line(key, value), origin(path));
        out.push_str(&comment);
        path.pop();
    }
    for (key, value) in table {
        if let Value::Table(inner) = value {
            path.push(key);
            write_table(out, inner, path, origin);
            path.pop();
        }
    }
}

fn line(key: &str, value: &Value) -> String {
    format!("{} = {value}", quoted(key))
}

fn quoted(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) {
        key.to_owned()
    } else {
        Value::String(key.to_owned()).to_string()
    }
}
