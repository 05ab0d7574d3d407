//! The exposition as CSV (RFC 4180), one row per series.
//!
//! Spreadsheets run a cell that starts with `=`, `+`, `-` or `@` as a formula, so text cells that
//! do get an apostrophe in front. Labels share a cell, `name=value;name=value`, in which the
//! characters `\`, `;`, `=` and all control characters of a value are escaped with a backslash.

use super::exposition::{Exposition, Labels, Number, Point};
use super::json::figures;
use crate::text::put;

const HEADER: &str =
    "family,kind,unit,labels,value,count,sum,mean,deviation,min,max,p50,p95,p99,p999\r\n";

impl Exposition {
    /// The exposition as CSV with a header. A histogram's figures are in the family's unit; cells
    /// without a meaning are empty.
    pub fn csv(&self) -> String {
        let mut out = String::from(HEADER);
        for (name, family) in &self.families {
            for (labels, point) in &family.points {
                out.push_str(&cell(name));
                for text in [family.kind.as_str(), family.unit.as_str(), &join(labels)] {
                    out.push(',');
                    out.push_str(&cell(text));
                }
                match point {
                    Point::Number(value) => {
                        number(&mut out, *value);
                        out.push_str(&",".repeat(10));
                    }
                    Point::Histogram(snapshot) => {
                        out.push(',');
                        number(&mut out, snapshot.count().into());
                        for (_, value) in figures(snapshot, family.unit) {
                            number(&mut out, value.unwrap_or(f64::NAN).into());
                        }
                    }
                }
                out.push_str("\r\n");
            }
        }
        out
    }
}

fn number(out: &mut String, number: Number) {
    match number {
        Number::Unsigned(value) => put(out, format_args!(",{value}")),
        Number::Signed(value) => put(out, format_args!(",{value}")),
        Number::Float(value) if value.is_nan() => out.push(','),
        Number::Float(value) => put(out, format_args!(",{value:?}")),
    }
}

fn join(labels: &Labels) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        if !out.is_empty() {
            out.push(';');
        }
        out.push_str(name);
        out.push('=');
        for character in value.chars() {
            match character {
                '\\' | ';' | '=' => out.extend(['\\', character]),
                c if c.is_control() => put(&mut out, format_args!("\\x{:02x}", u32::from(c))),
                c => out.push(c),
            }
        }
    }
    out
}

/// One text cell, quoted where needed and never a formula.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    if text.contains(['"', ',', '\r', '\n']) {
        return format!("\"{guard}{}\"", text.replace('"', "\"\""));
    }
    format!("{guard}{text}")
}

#[cfg(test)]
mod tests {
    use super::cell;
    use crate::stats::{Exposition, Histogram, Kind, Unit};

    #[test]
    fn every_row_has_the_columns_of_the_header() {
        let histogram = Histogram::new();
        histogram.record(3);
        let mut all = Exposition::new();
        all.family("g", "", Kind::Gauge, Unit::None)
            .sample(&[("a", "x"), ("b", "y")], -2i64);
        let mut family = all.family("h_bytes", "", Kind::Histogram, Unit::Bytes);
        family.histogram(&[], &histogram.snapshot());
        family.histogram(&[("z", "")], &Histogram::new().snapshot());
        let csv = all.csv();
        let rows: Vec<_> = csv.split_terminator("\r\n").skip(1).collect();
        assert_eq!(rows[0], "g,gauge,,a=x;b=y,-2,,,,,,,,,,");
        assert_eq!(
            rows[1],
            "h_bytes,histogram,bytes,,,1,3.0,3.0,0.0,3.0,3.0,3.0,3.0,3.0,3.0"
        );
        assert_eq!(rows[2], "h_bytes,histogram,bytes,z=,,0,0.0,,,,,,,,");
        assert!(
            csv.split_terminator("\r\n")
                .all(|row| row.split(',').count() == 15)
        );
    }

    #[test]
    fn foreign_values_cannot_break_out_of_their_cell() {
        let mut all = Exposition::new();
        let value = "a,b;c=\"d\"\r\n\\=1+1";
        all.family("g", "", Kind::Gauge, Unit::None)
            .sample(&[("v", value)], 1u64);
        let expected = "\"v=a,b\\;c\\=\"\"d\"\"\\x0d\\x0a\\\\\\=1+1\"";
        assert!(all.csv().contains(expected), "{}", all.csv());
        let cells = [
            ("=1+1", "'=1+1"),
            ("@x", "'@x"),
            ("-1,", "\"'-1,\""),
            ("a=1", "a=1"),
        ];
        for (text, expected) in cells {
            assert_eq!(cell(text), expected);
        }
    }
}
