//! OpenMetrics 1.0 text.
//!
//! Histograms get fixed bounds per unit, so that series stay the same from scrape to scrape and
//! from process to process. The bounds are round numbers; ours end elsewhere, so a bucket may
//! count up to 3.2 % of its bound's values too few, never too many. `+Inf` equals `_count`.
//!
//! Values are escaped as the format wants (backslash, quote, line feed). Other control characters
//! are legal there and still dangerous in a terminal, so they become the text `\x1b`.

use super::HistogramSnapshot;
use super::exposition::{Exposition, Family, Kind, Labels, Number, Point, Unit};

impl Exposition {
    /// The content type of [`Self::open_metrics`].
    pub const OPEN_METRICS_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// The exposition as OpenMetrics 1.0 text, ending with `# EOF`. Families without a sample are
    /// left out.
    pub fn open_metrics(&self) -> String {
        let mut text = Text(String::with_capacity(self.series() * 96 + 64));
        for (name, family) in &self.families {
            if !family.points.is_empty() {
                text.family(name, family);
            }
        }
        text.put(format_args!("# EOF\n"));
        text.0
    }
}

struct Text(String);

impl Text {
    fn put(&mut self, words: std::fmt::Arguments<'_>) {
        crate::text::put(&mut self.0, words);
    }

    fn family(&mut self, name: &str, family: &Family) {
        self.put(format_args!("# TYPE {name} {}\n", family.kind.as_str()));
        if family.unit != Unit::None {
            self.put(format_args!("# UNIT {name} {}\n", family.unit.as_str()));
        }
        if !family.help.is_empty() {
            self.put(format_args!("# HELP {name} "));
            self.escape(&family.help);
            self.0.push('\n');
        }
        let suffix = match family.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        for (labels, point) in &family.points {
            match point {
                Point::Number(number) => {
                    self.series(name, suffix, labels, None);
                    self.number(*number);
                }
                Point::Histogram(snapshot) => self.histogram(name, labels, family.unit, snapshot),
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &Labels, unit: Unit, all: &HistogramSnapshot) {
        for raw in limits(unit) {
            let limit = format!("{:?}", unit.of_raw(raw as f64));
            self.series(name, "_bucket", labels, Some(&limit));
            self.number(all.count_at_most(raw).into());
        }
        let count = all.count();
        self.series(name, "_bucket", labels, Some("+Inf"));
        self.number(count.into());
        self.series(name, "_count", labels, None);
        self.number(count.into());
        self.series(name, "_sum", labels, None);
        self.number(unit.of_raw(all.sum() as f64).into());
    }

    fn series(&mut self, name: &str, suffix: &str, labels: &Labels, limit: Option<&str>) {
        self.put(format_args!("{name}{suffix}"));
        let mut before = '{';
        for (label, value) in labels {
            self.put(format_args!("{before}{label}=\""));
            self.escape(value);
            self.0.push('"');
            before = ',';
        }
        if let Some(limit) = limit {
            self.put(format_args!("{before}le=\"{limit}\""));
            before = ',';
        }
        self.0.push_str(if before == '{' { " " } else { "} " });
    }

    fn number(&mut self, number: Number) {
        match number {
            Number::Unsigned(value) => self.put(format_args!("{value}\n")),
            Number::Signed(value) => self.put(format_args!("{value}\n")),
            Number::Float(value) if value.is_nan() => self.put(format_args!("NaN\n")),
            Number::Float(value) if value.is_infinite() => {
                let sign = if value > 0.0 { '+' } else { '-' };
                self.put(format_args!("{sign}Inf\n"));
            }
            Number::Float(value) => self.put(format_args!("{value:?}\n")),
        }
    }

    fn escape(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c if c.is_control() => self.put(format_args!("\\\\x{:02x}", u32::from(c))),
                c => self.0.push(c),
            }
        }
    }
}

/// The upper bounds of a unit's buckets, in the histogram's own numbers.
fn limits(unit: Unit) -> impl Iterator<Item = u64> {
    let (start, steps, rows): (u64, &[u64], u32) = match unit {
        // 10 us to 50 s.
        Unit::Seconds => (1_000, &[10, 25, 50], 7),
        // 64 B to 1 GiB.
        Unit::Bytes => (1, &[], 13),
        // 1 to 5,000,000.
        Unit::None | Unit::Ratio => (1, &[1, 2, 5], 7),
    };
    let bytes = (0..rows)
        .filter(move |_| steps.is_empty())
        .map(|row| 64 << (2 * row));
    let round = move |row: u32| steps.iter().map(move |step| start * step * 10u64.pow(row));
    (0..rows).flat_map(round).chain(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;
    use proptest::prelude::*;

    #[test]
    fn families_are_complete_sorted_and_appear_once() {
        let mut all = Exposition::new();
        let labels = |name| [("system", "snmp"), ("name", name)];
        for name in ["b", "a"] {
            all.family("t_reads_total", "Reads.", Kind::Counter, Unit::None)
                .sample(&labels(name), 7u64);
        }
        all.family("t_age_seconds", "Age.", Kind::Gauge, Unit::Seconds)
            .sample(&[], std::time::Duration::from_millis(1500));
        all.family("t_build", "Build.", Kind::Info, Unit::None)
            .sample(&[("v", "1")], 1u64);
        all.family("t_unused", "Never.", Kind::Gauge, Unit::None);
        let expected = "\
# TYPE t_age_seconds gauge
# UNIT t_age_seconds seconds
# HELP t_age_seconds Age.
t_age_seconds 1.5
# TYPE t_build info
# HELP t_build Build.
t_build_info{v=\"1\"} 1
# TYPE t_reads counter
# HELP t_reads Reads.
t_reads_total{name=\"a\",system=\"snmp\"} 7
t_reads_total{name=\"b\",system=\"snmp\"} 7
# EOF
";
        assert_eq!(all.open_metrics(), expected);
        assert!(all.faults().is_empty());
    }

    #[test]
    fn numbers_are_written_as_the_format_wants() {
        let cases: [(Number, &str); 8] = [
            (u64::MAX.into(), "18446744073709551615"),
            (i64::MIN.into(), "-9223372036854775808"),
            (f64::NAN.into(), "NaN"),
            (f64::INFINITY.into(), "+Inf"),
            (f64::NEG_INFINITY.into(), "-Inf"),
            (1e300.into(), "1e300"),
            (2.0.into(), "2.0"),
            (true.into(), "1"),
        ];
        for (number, expected) in cases {
            let mut all = Exposition::new();
            all.family("g", "", Kind::Gauge, Unit::None)
                .sample(&[], number);
            assert!(
                all.open_metrics().contains(&format!("\ng {expected}\n")),
                "{number:?}"
            );
        }
    }

    #[test]
    fn histograms_are_cumulative_in_seconds_and_end_with_the_count() {
        let histogram = Histogram::new();
        [500, 20_000, 2_000_000, 90_000_000_000]
            .iter()
            .for_each(|v| histogram.record(*v));
        let mut all = Exposition::new();
        all.family("d_seconds", "Delay.", Kind::Histogram, Unit::Seconds)
            .histogram(&[("a", "x")], &histogram.snapshot());
        let text = all.open_metrics();
        for line in [
            "d_seconds_bucket{a=\"x\",le=\"1e-5\"} 1\n",
            "d_seconds_bucket{a=\"x\",le=\"2.5e-5\"} 2\n",
            "d_seconds_bucket{a=\"x\",le=\"0.001\"} 2\n",
            "d_seconds_bucket{a=\"x\",le=\"0.0025\"} 3\n",
            "d_seconds_bucket{a=\"x\",le=\"50.0\"} 3\n",
            "d_seconds_bucket{a=\"x\",le=\"+Inf\"} 4\n",
            "d_seconds_count{a=\"x\"} 4\n",
            // 90.0020205, but within 1.6 %: the sum is that of the buckets' middles.
            "d_seconds_sum{a=\"x\"} 89.122607346\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn limits_ascend() {
        for (unit, first, last, count) in [
            (Unit::Seconds, 10_000, 50_000_000_000, 21),
            (Unit::Bytes, 64, 1 << 30, 13),
            (Unit::None, 1, 5_000_000, 21),
        ] {
            let limits: Vec<_> = limits(unit).collect();
            assert!(limits.is_sorted());
            assert_eq!(
                (limits[0], limits[count - 1], limits.len()),
                (first, last, count)
            );
        }
    }

    #[test]
    fn hostile_values_cannot_leave_their_quotes() {
        let mut all = Exposition::new();
        let value = "a\"} 1\nevil 2\\\u{1b}[31m\u{85}";
        all.family("g", "Says \"hi\"\n\\", Kind::Gauge, Unit::None)
            .sample(&[("v", value)], 1u64);
        let text = all.open_metrics();
        let expected = "g{v=\"a\\\"} 1\\nevil 2\\\\\\\\x1b[31m\\\\x85\"} 1\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("# HELP g Says \\\"hi\\\"\\n\\\\\n"), "{text}");
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn any_label_value_stays_on_one_line(value in ".{0,40}|[\\\\\"\n\r\u{1b}]{0,9}") {
            let mut all = Exposition::new();
            all.family("g", "", Kind::Gauge, Unit::None).sample(&[("v", &value)], 1u64);
            let text = all.open_metrics();
            let lines: Vec<_> = text.split('\n').collect();
            prop_assert_eq!(lines.len(), 4, "{:?}", lines);
            let inner = lines[1].strip_prefix("g{v=\"").and_then(|l| l.strip_suffix("\"} 1"));
            let inner = inner.unwrap().replace("\\\\", "");
            prop_assert!(!inner.replace("\\\"", "").contains('"'));
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
