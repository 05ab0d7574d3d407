//! Tables for people and for the docs, JSON for programs.

use serde_json::{Value, json};

use crate::measure::{Row, Spread};

/// What is known of the machine: processor, cores, kernel. No names.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model.trim());
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Only the version: what follows it names who built the kernel.
    let kernel = release.split('-').next().unwrap_or_default().trim();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, Linux {kernel}")
}

/// The version of a package in the lock file of the benches.
pub fn version_of(package: &str) -> &'static str {
    const LOCK: &str = include_str!("../Cargo.lock");
    let head = format!("name = \"{package}\"\nversion = \"");
    let found = LOCK.split_once(&head).map(|(_, rest)| rest);
    found
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default()
}

/// A crate with its version.
pub fn named(peer: &str) -> String {
    format!("{peer} {}", version_of(peer)).trim_end().to_owned()
}

/// A Markdown table, its columns aligned.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths);
        let padded = cells.map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(&mut head.iter().copied());
    text += &line(&mut dashes.iter().map(String::as_str));
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// The rows of cases as a table.
pub fn table_of(rows: &[Row]) -> String {
    let head = [
        "primitive",
        "operation",
        "cost",
        "min..max",
        "ns",
        "target",
        "holds",
        "2 threads",
    ];
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let name = row.peer.map_or_else(
                || row.name.to_owned(),
                |peer| format!("– {}: {}", named(peer), row.name),
            );
            let holds = row
                .holds()
                .map_or("", |holds| if holds { "yes" } else { "NO" });
            vec![
                row.group.to_owned(),
                name,
                times(row.ratio.median),
                format!("{}..{}", digits(row.ratio.min), digits(row.ratio.max)),
                digits(row.nanos),
                row.target
                    .map_or_else(String::new, |target| format!("≤ {target}×")),
                holds.to_owned(),
                row.ratio_of_two
                    .map_or_else(String::new, |two| times(two.median)),
            ]
        })
        .collect();
    table(&head, &cells)
}

/// The rows of cases as JSON.
pub fn json_of(rows: &[Row]) -> Value {
    let rows = rows.iter().map(|row| {
        json!({
            "primitive": row.group,
            "operation": row.name,
            "peer": row.peer.map(named),
            "ratio": spread(row.ratio),
            "nanos": row.nanos,
            "target": row.target,
            "holds": row.holds(),
            "ratio_of_two_threads": row.ratio_of_two.map(spread),
        })
    });
    rows.collect()
}

fn spread(spread: Spread) -> Value {
    json!({ "median": spread.median, "min": spread.min, "max": spread.max })
}

/// A ratio as it is printed.
pub fn times(ratio: f64) -> String {
    format!("{}×", digits(ratio))
}

/// Three significant digits, but no more than two after the point.
pub fn digits(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_as_many_as_mean_something() {
        let cases = [
            (0.123, "0.12"),
            (9.99, "9.99"),
            (9.996, "10.0"),
            (99.96, "100"),
        ];
        for (value, text) in cases {
            assert_eq!(digits(value), text);
        }
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = [vec!["a".to_owned(), "≤ 2×".to_owned()]];
        let text = table(&["one", "b"], &rows);
        assert_eq!(text, "| one | b    |\n| --- | ---- |\n| a   | ≤ 2× |\n");
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(version_of("tower").starts_with("0.5"));
        assert_eq!(version_of("no-such-package"), "");
    }
}
