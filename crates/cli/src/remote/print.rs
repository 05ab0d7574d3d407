//! Showing an operation's JSON to people and to programs.
//!
//! As a table: single values come first, a line each; a collection (an object of objects) becomes
//! a table whose first column is the key; a list of texts becomes lines. Strangers' characters are
//! escaped on every way out.

use std::io::{self, Write};

use serde_json::Value as Json;

use crate::output::{Format, SCHEMA_VERSION, csv_record, escaped};

/// Prints an answer.
pub(super) fn answer(answer: &Json, format: Format) -> io::Result<()> {
    let text = match format {
        Format::Json => {
            let mut whole = answer.clone();
            if let Some(object) = whole.as_object_mut() {
                object.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
            }
            format!("{whole:#}\n")
        }
        Format::Jsonl => format!("{answer}\n"),
        Format::Csv => csv(answer),
        Format::Table => table(answer),
    };
    self::text(&text)
}

/// Prints one item of a stream.
pub(super) fn line(item: &Json) -> io::Result<()> {
    text(&format!("{item}\n"))
}

/// Prints text as it is.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A list of texts as one sentence.
pub(super) fn sentences(answer: &Json, key: &str) -> String {
    let list = answer.get(key).and_then(Json::as_array);
    let texts: Vec<String> = list.into_iter().flatten().map(cell).collect();
    if texts.is_empty() {
        "all is well".to_owned()
    } else {
        texts.join("; ")
    }
}

fn table(answer: &Json) -> String {
    let Some(object) = answer.as_object() else {
        return format!("{}\n", cell(answer));
    };
    let mut out = String::new();
    let single = |value: &Json| !value.is_object() && !value.is_array();
    let width = object.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in object.iter().filter(|(_, value)| single(value)) {
        out.push_str(&format!("{key:<width$}  {}\n", cell(value)));
    }
    for (key, value) in object.iter().filter(|(_, value)| !single(value)) {
        out.push_str(&section(key, value));
    }
    out
}

fn section(key: &str, value: &Json) -> String {
    match value {
        Json::Array(list) if list.is_empty() => String::new(),
        Json::Array(list) if key == "said" => {
            list.iter().map(|one| format!("{}\n", cell(one))).collect()
        }
        Json::Array(list) => {
            let lines: String = list
                .iter()
                .map(|one| format!("  {}\n", cell(one)))
                .collect();
            format!("{key}:\n{lines}")
        }
        Json::Object(map) if map.is_empty() => format!("{key}: none\n"),
        Json::Object(map) if map.values().all(Json::is_object) => {
            format!("{key}:\n{}", grid(map))
        }
        Json::Object(map) => {
            let width = map.keys().map(String::len).max().unwrap_or(0);
            let line = |(key, value): (&String, &Json)| {
                format!("  {:<width$}  {}\n", escaped(key.as_bytes()), cell(value))
            };
            format!("{key}:\n{}", map.iter().map(line).collect::<String>())
        }
        other => format!("{key}: {}\n", cell(other)),
    }
}

/// A collection as an aligned table.
fn grid(map: &serde_json::Map<String, Json>) -> String {
    let columns = columns(map);
    let mut rows = vec![
        std::iter::once("name".to_owned())
            .chain(columns.clone())
            .collect(),
    ];
    rows.extend(map.iter().map(|(key, value)| {
        let cells = columns
            .iter()
            .map(|column| value.get(column).map(cell).unwrap_or_default());
        std::iter::once(escaped(key.as_bytes()))
            .chain(cells)
            .collect::<Vec<_>>()
    }));
    let count = columns.len() + 1;
    let width = |at: usize| {
        rows.iter()
            .map(|row: &Vec<String>| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        out.push_str(&format!("  {}\n", line.trim_end()));
    }
    out
}

/// Every column that some row has, in the order of the first row that has it.
fn columns(map: &serde_json::Map<String, Json>) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for key in map
        .values()
        .filter_map(Json::as_object)
        .flat_map(|row| row.keys())
    {
        if !columns.contains(key) {
            columns.push(key.clone());
        }
    }
    columns
}

/// The first collection as CSV (RFC 4180); without one, each single value by its path. A column
/// that holds anything but single values and lists of them is left out: it is no cell.
fn csv(answer: &Json) -> String {
    let collection = answer.as_object().and_then(|object| {
        let mut maps = object.values().filter_map(Json::as_object);
        maps.find(|map| map.values().all(Json::is_object))
    });
    let mut out = Vec::new();
    match collection {
        Some(map) => csv_rows(map, &mut out),
        None => {
            csv_record(&["key", "value"], &mut out);
            csv_values("", answer, &mut out);
        }
    }
    // Records of text are text.
    String::from_utf8_lossy(&out).into_owned()
}

fn csv_rows(map: &serde_json::Map<String, Json>, out: &mut Vec<u8>) {
    let fits = |column: &String| {
        let mut cells = map.values().filter_map(|row| row.get(column));
        cells.all(|value| flat(value).is_some())
    };
    let columns: Vec<String> = columns(map).into_iter().filter(fits).collect();
    let names = columns.iter().map(String::as_str);
    let header: Vec<&str> = std::iter::once("name").chain(names).collect();
    csv_record(&header, out);
    for (key, row) in map {
        let cell = |column| row.get(column).and_then(flat).unwrap_or_default();
        let name = escaped(key.as_bytes());
        let cells: Vec<String> = std::iter::once(name)
            .chain(columns.iter().map(cell))
            .collect();
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        csv_record(&cells, out);
    }
}

/// Single values, those of nested objects with their path: `requests.accepted`.
fn csv_values(path: &str, value: &Json, out: &mut Vec<u8>) {
    match (value, flat(value)) {
        (_, Some(cell)) => csv_record(&[path, &cell], out),
        (Json::Object(object), None) => {
            for (key, value) in object {
                let key = escaped(key.as_bytes());
                let dot = if path.is_empty() { "" } else { "." };
                csv_values(&format!("{path}{dot}{key}"), value, out);
            }
        }
        _ => {}
    }
}

/// A single value, or a list of them, as one cell.
fn flat(value: &Json) -> Option<String> {
    match value {
        Json::Object(_) => None,
        Json::Array(list) if list.iter().any(|one| one.is_object() || one.is_array()) => None,
        Json::Array(list) => Some(list.iter().map(cell).collect::<Vec<_>>().join("; ")),
        single => Some(cell(single)),
    }
}

fn cell(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => escaped(text.as_bytes()),
        Json::Number(number) => match number.as_f64() {
            Some(x) if number.is_f64() => format!("{x:.3}"),
            _ => number.to_string(),
        },
        other => escaped(other.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Json {
        json!({
            "total": 2,
            "targets": {
                "r1": { "state": "up", "rtt": 1.5 },
                "r2": { "state": "a,\"b\"\u{1b}[31m", "rtt": null },
            },
        })
    }

    #[test]
    fn a_collection_is_an_aligned_table_without_control_characters() {
        let text = table(&sample());
        assert!(text.starts_with("total    2\ntargets:\n"), "{text}");
        assert!(text.contains("  r1    1.500  up\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn csv_quotes_what_would_break_a_row() {
        let text = csv(&sample());
        assert!(
            text.starts_with("name,rtt,state\r\nr1,1.500,up\r\n"),
            "{text}"
        );
        assert!(text.contains("r2,-,\"a,\"\"b\"\""), "{text}");
    }

    #[test]
    fn csv_of_single_values_has_a_header_and_no_json_in_its_cells() {
        let answer = json!({
            "phase": "running",
            "reasons": ["a, b", "c"],
            "runs": { "complete": 3, "by": { "job": 1 } },
            "shards": [{ "id": 0 }],
        });
        assert_eq!(
            csv(&answer),
            "key,value\r\nphase,running\r\nreasons,\"a, b; c\"\r\nruns.by.job,1\r\n\
             runs.complete,3\r\n"
        );
        let nested = json!({ "engines": { "e": { "members": [{}], "up": true } } });
        assert_eq!(csv(&nested), "name,up\r\ne,true\r\n");
        assert_eq!(csv(&json!({ "letters": {} })), "name\r\n");
    }

    #[test]
    fn empty_collections_are_said_not_hidden() {
        assert_eq!(table(&json!({ "letters": {} })), "letters: none\n");
    }
}
