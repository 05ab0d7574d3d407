//! The exposition as JSON, for programs that do not speak OpenMetrics.
//!
//! Families are keyed by name. Numbers that JSON has no word for (NaN, the infinities) are null.
//! A histogram is given by its figures (in the family's unit), not by its buckets.

use super::HistogramSnapshot;
use super::exposition::{Exposition, Family, Labels, Number, Point, Unit};
use crate::text::put;

impl Exposition {
    /// The exposition as one JSON object:
    /// `{"schema_version":1,"families":{NAME:{"kind","unit","help","samples":[…]}}}`, where a
    /// sample has `labels` and either `value` or a histogram's figures.
    pub fn json(&self) -> String {
        let mut out = String::from("{\"schema_version\":1,\"families\":{");
        let families = self
            .families
            .iter()
            .filter(|(_, family)| !family.points.is_empty());
        for (index, (name, family)) in families.enumerate() {
            comma(&mut out, index);
            text(&mut out, name);
            out.push(':');
            write_family(&mut out, family);
        }
        out.push_str("}}\n");
        out
    }
}

/// A histogram's figures in the family's unit, by name; `None` where it is empty.
pub(super) fn figures(
    snapshot: &HistogramSnapshot,
    unit: Unit,
) -> [(&'static str, Option<f64>); 9] {
    let raw = |value: Option<u64>| value.map(|v| unit.of_raw(v as f64));
    let quantile = |q| raw(snapshot.quantile(q));
    [
        ("sum", Some(unit.of_raw(snapshot.sum() as f64))),
        ("mean", snapshot.mean().map(|v| unit.of_raw(v))),
        ("deviation", snapshot.deviation().map(|v| unit.of_raw(v))),
        ("min", raw(snapshot.min())),
        ("max", raw(snapshot.max())),
        ("p50", quantile(0.5)),
        ("p95", quantile(0.95)),
        ("p99", quantile(0.99)),
        ("p999", quantile(0.999)),
    ]
}

fn write_family(out: &mut String, family: &Family) {
    for (key, value) in [
        ("{\"kind\":", family.kind.as_str()),
        (",\"unit\":", family.unit.as_str()),
        (",\"help\":", &family.help),
    ] {
        out.push_str(key);
        text(out, value);
    }
    out.push_str(",\"samples\":[");
    for (index, (labels, point)) in family.points.iter().enumerate() {
        comma(out, index);
        write_labels(out, labels);
        match point {
            Point::Number(value) => {
                out.push_str(",\"value\":");
                number(out, *value);
            }
            Point::Histogram(snapshot) => {
                put(out, format_args!(",\"count\":{}", snapshot.count()));
                for (name, value) in figures(snapshot, family.unit) {
                    put(out, format_args!(",\"{name}\":"));
                    number(out, value.unwrap_or(f64::NAN).into());
                }
            }
        }
        out.push('}');
    }
    out.push_str("]}");
}

fn write_labels(out: &mut String, labels: &Labels) {
    out.push_str("{\"labels\":{");
    for (index, (name, value)) in labels.iter().enumerate() {
        comma(out, index);
        text(out, name);
        out.push(':');
        text(out, value);
    }
    out.push('}');
}

fn comma(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

fn number(out: &mut String, number: Number) {
    match number {
        Number::Unsigned(value) => put(out, format_args!("{value}")),
        Number::Signed(value) => put(out, format_args!("{value}")),
        Number::Float(value) if value.is_finite() => put(out, format_args!("{value:?}")),
        Number::Float(_) => out.push_str("null"),
    }
}

/// RFC 8259 section 7; DEL and the C1 controls are escaped too, for terminals.
fn text(out: &mut String, value: &str) {
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use crate::stats::{Exposition, Histogram, Kind, Unit};

    #[test]
    fn families_are_keyed_by_name_with_labels_and_values() {
        let mut all = Exposition::new();
        all.family("g_ratio", "Help.", Kind::Gauge, Unit::Ratio)
            .sample(&[("a", "1"), ("b", "x\"\\\n\u{7f}")], 0.5)
            .sample(&[], f64::NAN);
        all.family("c", "", Kind::Counter, Unit::None)
            .sample(&[], u64::MAX);
        let expected = concat!(
            r#"{"schema_version":1,"families":{"#,
            r#""c":{"kind":"counter","unit":"","help":"","#,
            r#""samples":[{"labels":{},"value":18446744073709551615}]},"#,
            r#""g_ratio":{"kind":"gauge","unit":"ratio","help":"Help.","samples":["#,
            r#"{"labels":{},"value":null},"#,
            r#"{"labels":{"a":"1","b":"x\"\\\u000a\u007f"},"value":0.5}]}}}"#,
            "\n"
        );
        assert_eq!(all.json(), expected);
    }

    #[test]
    fn histograms_have_their_figures_in_the_unit() {
        let histogram = Histogram::new();
        (0..4).for_each(|_| histogram.record(2_000_000_000));
        let mut all = Exposition::new();
        let mut family = all.family("h_seconds", "", Kind::Histogram, Unit::Seconds);
        family.histogram(&[], &histogram.snapshot());
        family.histogram(&[("e", "")], &Histogram::new().snapshot());
        let json = all.json();
        // The sum is that of the buckets' middles; the rest is exact, for all values are equal.
        let figures = "\"count\":4,\"sum\":7.985954814,\"mean\":2.0,\"deviation\":0.0,\"min\":2.0,\
            \"max\":2.0,\"p50\":2.0,\"p95\":2.0,\"p99\":2.0,\"p999\":2.0}";
        assert!(json.contains(figures), "{json}");
        assert!(
            json.contains("\"count\":0,\"sum\":0.0,\"mean\":null"),
            "{json}"
        );
    }
}
