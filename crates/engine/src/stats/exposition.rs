//! All metrics at one moment, before they become text.
//!
//! Collectors add to one [`Exposition`]; it is then rendered as OpenMetrics, JSON or CSV. A family
//! appears once even when several collectors add to it (one per system, say), families and series
//! come out sorted, so two scrapes compare line by line.
//!
//! One bad name makes a whole scrape unreadable to its reader, so what would break the format is
//! left out and noted as a fault: a bad or clashing name, a unit that the name does not end with,
//! a series given twice, a counter that is negative. Faults are mistakes in our own code; the
//! process that renders exports their number, and tests demand that there are none.
//!
//! Label *names* come from our code, label *values* from anywhere: each is cut to 256 bytes here
//! and escaped by each rendering, control characters too, because people read scrapes in terminals.

use super::HistogramSnapshot;
use crate::text::cut;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest label value, in bytes.
const VALUE_MAX: usize = 256;
/// The most series in one exposition.
const SERIES_MAX: usize = 100_000;
/// The most faults that are kept in words.
const FAULTS_MAX: usize = 64;

/// What a family's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its sample is called `<family>_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
    /// Facts in labels, always 1; its sample is called `<family>_info`.
    Info,
}

impl Kind {
    /// OpenMetrics' word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// The endings of the sample names that a family of this kind owns.
    const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Gauge => &[""],
            Self::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
            Self::Info => &["", "_info"],
        }
    }
}

/// What a family's numbers are counted in; the family's name ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, or nothing.
    None,
    /// Seconds. Histograms hold nanoseconds and are converted when rendered.
    Seconds,
    /// Bytes.
    Bytes,
    /// A fraction of 1.
    Ratio,
}

impl Unit {
    /// The ending of the family's name, without its underscore; empty for none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }

    /// A histogram's value in this unit.
    pub(super) fn of_raw(self, raw: f64) -> f64 {
        if self == Self::Seconds {
            raw / 1e9
        } else {
            raw
        }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Exact, at least 0.
    Unsigned(u64),
    /// Exact.
    Signed(i64),
    /// Anything else.
    Float(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self::Unsigned(value.into())
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::Unsigned(value as u64)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<bool> for Number {
    /// 1 or 0.
    fn from(value: bool) -> Self {
        Self::Unsigned(value.into())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Duration> for Number {
    /// In seconds.
    fn from(value: Duration) -> Self {
        Self::Float(value.as_secs_f64())
    }
}

impl Number {
    fn is_counted(self) -> bool {
        match self {
            Self::Unsigned(_) => true,
            Self::Signed(value) => value >= 0,
            Self::Float(value) => value >= 0.0 && value.is_finite(),
        }
    }
}

/// Why something was left out of an exposition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpositionFault {
    /// The family's name is not `[a-zA-Z_][a-zA-Z0-9_]*`.
    #[error("`{family}` is not a metric name")]
    Name {
        /// The name given.
        family: String,
    },
    /// The family's name does not end with its unit.
    #[error("`{family}` must end with `_{unit}`")]
    Unit {
        /// The name given.
        family: String,
        /// The unit given.
        unit: &'static str,
    },
    /// The family exists with another kind or unit, or owns a sample name of another family.
    #[error("`{family}` clashes with `{with}`")]
    Clash {
        /// The name given.
        family: String,
        /// The family that was there first.
        with: String,
    },
    /// A label's name is malformed, reserved (`le`, `quantile`) or given twice.
    #[error("`{family}` cannot have the label `{label}` (malformed, reserved or given twice)")]
    Label {
        /// The family.
        family: String,
        /// The label.
        label: &'static str,
    },
    /// The series was given before; the first one stays.
    #[error("`{family}` has one series twice: {labels}")]
    Twice {
        /// The family.
        family: String,
        /// The series.
        labels: String,
    },
    /// The value does not suit the family's kind.
    #[error("`{family}` is a {kind} and cannot take this value")]
    Value {
        /// The family.
        family: String,
        /// Its kind.
        kind: &'static str,
    },
    /// The bound on the number of series is reached.
    #[error("`{family}` has no more room: one scrape holds {SERIES_MAX} series")]
    Full {
        /// The family.
        family: String,
    },
}

/// Pairs of name and value, sorted by name.
pub(super) type Labels = Vec<(&'static str, Box<str>)>;

#[derive(Debug)]
pub(super) enum Point {
    Number(Number),
    Histogram(HistogramSnapshot),
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) help: String,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) points: BTreeMap<Labels, Point>,
}

/// All metrics at one moment.
#[derive(Debug, Default)]
pub struct Exposition {
    pub(super) families: BTreeMap<String, Family>,
    /// Every sample name, and the family that owns it.
    owners: BTreeMap<String, String>,
    notes: Notes,
}

#[derive(Debug, Default)]
struct Notes {
    series: usize,
    faults: Vec<ExpositionFault>,
    faults_total: u64,
}

impl Notes {
    fn fault(&mut self, fault: ExpositionFault) {
        self.faults_total += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

/// Adds samples to one family of an [`Exposition`].
#[derive(Debug)]
pub struct FamilyWriter<'a> {
    name: String,
    /// `None` when the family itself was refused: its samples go nowhere.
    family: Option<&'a mut Family>,
    notes: &'a mut Notes,
}

impl Exposition {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The family `name`, made when it does not exist yet. A counter may be named with or without
    /// `_total`; `help` is one sentence, and the first one given stays.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind, unit: Unit) -> FamilyWriter<'_> {
        let name = family_name(name, kind);
        let admitted = self.admit(name, kind, unit);
        if let Err(fault) = admitted {
            self.notes.fault(fault);
            return FamilyWriter {
                name: name.to_owned(),
                family: None,
                notes: &mut self.notes,
            };
        }
        let family = self
            .families
            .entry(name.to_owned())
            .or_insert_with(|| Family {
                help: help.to_owned(),
                kind,
                unit,
                points: BTreeMap::new(),
            });
        FamilyWriter {
            name: name.to_owned(),
            family: Some(family),
            notes: &mut self.notes,
        }
    }

    /// What was left out, in words; at most 64.
    pub fn faults(&self) -> &[ExpositionFault] {
        &self.notes.faults
    }

    /// How often something was left out.
    pub fn faults_total(&self) -> u64 {
        self.notes.faults_total
    }

    /// How many series it holds; a histogram is one.
    pub fn series(&self) -> usize {
        self.notes.series
    }

    fn admit(&mut self, name: &str, kind: Kind, unit: Unit) -> Result<(), ExpositionFault> {
        check_name(name, unit)?;
        let family = || name.to_owned();
        if let Some(known) = self.families.get(name) {
            if known.kind == kind && known.unit == unit {
                return Ok(());
            }
            return Err(ExpositionFault::Clash {
                family: family(),
                with: family(),
            });
        }
        let samples: Vec<_> = kind
            .suffixes()
            .iter()
            .map(|s| format!("{name}{s}"))
            .collect();
        if let Some(owner) = samples.iter().find_map(|sample| self.owners.get(sample)) {
            return Err(ExpositionFault::Clash {
                family: family(),
                with: owner.clone(),
            });
        }
        self.owners
            .extend(samples.into_iter().map(|sample| (sample, family())));
        Ok(())
    }
}

impl FamilyWriter<'_> {
    /// Adds one series of a counter, gauge or info (whose value must be 1).
    pub fn sample(
        &mut self,
        labels: &[(&'static str, &str)],
        value: impl Into<Number>,
    ) -> &mut Self {
        let value = value.into();
        let suits = match self.family.as_ref().map(|family| family.kind) {
            None | Some(Kind::Gauge) => true,
            Some(Kind::Counter) => value.is_counted(),
            Some(Kind::Info) => value == Number::Unsigned(1),
            Some(Kind::Histogram) => false,
        };
        self.add(labels, suits, Point::Number(value))
    }

    /// Adds one series of a histogram.
    pub fn histogram(
        &mut self,
        labels: &[(&'static str, &str)],
        snapshot: &HistogramSnapshot,
    ) -> &mut Self {
        let suits = self
            .family
            .as_ref()
            .is_none_or(|f| f.kind == Kind::Histogram);
        self.add(labels, suits, Point::Histogram(snapshot.clone()))
    }

    fn add(&mut self, labels: &[(&'static str, &str)], suits: bool, point: Point) -> &mut Self {
        let Some(family) = self.family.as_deref_mut() else {
            return self;
        };
        let name = || self.name.clone();
        let fault = if !suits {
            let kind = family.kind.as_str();
            Some(ExpositionFault::Value {
                family: name(),
                kind,
            })
        } else if self.notes.series >= SERIES_MAX {
            Some(ExpositionFault::Full { family: name() })
        } else {
            match normal(labels) {
                Err(label) => Some(ExpositionFault::Label {
                    family: name(),
                    label,
                }),
                Ok(labels) if family.points.contains_key(&labels) => {
                    let labels = format!("{labels:?}");
                    Some(ExpositionFault::Twice {
                        family: name(),
                        labels,
                    })
                }
                Ok(labels) => {
                    family.points.insert(labels, point);
                    self.notes.series += 1;
                    None
                }
            }
        };
        if let Some(fault) = fault {
            self.notes.fault(fault);
        }
        self
    }
}

/// Sorts and checks label names, and cuts values; the name at fault otherwise.
fn normal(labels: &[(&'static str, &str)]) -> Result<Labels, &'static str> {
    let pair = |(name, value): &(&'static str, &str)| (*name, cut(value, VALUE_MAX).into());
    let mut sorted: Labels = labels.iter().map(pair).collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    let bad = |name: &str| !is_name(name) || name == "le" || name == "quantile";
    if let Some((name, _)) = sorted.iter().find(|(name, _)| bad(name)) {
        return Err(name);
    }
    match sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(pair[0].0),
        None => Ok(sorted),
    }
}

/// The family's name: without the ending that its sample gets from its kind.
pub(super) fn family_name(name: &str, kind: Kind) -> &str {
    match kind {
        Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
        Kind::Info => name.strip_suffix("_info").unwrap_or(name),
        Kind::Gauge | Kind::Histogram => name,
    }
}

/// Whether a family may be called so.
pub(super) fn check_name(name: &str, unit: Unit) -> Result<(), ExpositionFault> {
    let family = || name.to_owned();
    if !is_name(name) {
        return Err(ExpositionFault::Name { family: family() });
    }
    let suffix = unit.as_str();
    let stem = name
        .strip_suffix(suffix)
        .and_then(|stem| stem.strip_suffix('_'));
    if unit != Unit::None && stem.is_none_or(str::is_empty) {
        return Err(ExpositionFault::Unit {
            family: family(),
            unit: suffix,
        });
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(exposition: &Exposition) -> Vec<String> {
        exposition
            .faults()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn bad_families_are_left_out_and_named() {
        let mut all = Exposition::new();
        all.family("9x", "", Kind::Gauge, Unit::None)
            .sample(&[], 1u64);
        all.family("x_second", "", Kind::Gauge, Unit::Seconds)
            .sample(&[], 1u64);
        all.family("_seconds", "", Kind::Gauge, Unit::Seconds);
        assert_eq!(all.series(), 0);
        let expected = [
            "`9x` is not a metric name",
            "`x_second` must end with `_seconds`",
            "`_seconds` must end with `_seconds`",
        ];
        assert_eq!(faults(&all), expected);
    }

    #[test]
    fn names_that_a_reader_would_confuse_clash() {
        let kinds = [
            ("x", Kind::Counter, "x_total", Kind::Gauge, true),
            ("x", Kind::Histogram, "x_count", Kind::Gauge, true),
            ("x_sum", Kind::Gauge, "x", Kind::Histogram, true),
            ("x", Kind::Gauge, "x", Kind::Counter, true),
            ("x_count", Kind::Counter, "x", Kind::Histogram, true),
            ("x", Kind::Gauge, "x_count", Kind::Gauge, false),
            ("x_total", Kind::Counter, "x", Kind::Counter, false),
        ];
        for (first, first_kind, second, second_kind, clash) in kinds {
            let mut all = Exposition::new();
            all.family(first, "", first_kind, Unit::None);
            all.family(second, "", second_kind, Unit::None);
            assert_eq!(all.faults_total() == 1, clash, "{first} {second}");
        }
    }

    #[test]
    fn bad_samples_are_left_out_and_the_others_stay() {
        let mut all = Exposition::new();
        let mut counter = all.family("c", "", Kind::Counter, Unit::None);
        counter
            .sample(&[], -1i64)
            .sample(&[], f64::NAN)
            .sample(&[("le", "1")], 1u64);
        counter
            .sample(&[("a", "1"), ("a", "2")], 1u64)
            .sample(&[("a-b", "1")], 1u64);
        counter.histogram(&[], &HistogramSnapshot::default());
        counter.sample(&[("b", "2"), ("a", "1")], 1u64);
        counter.sample(&[("a", "1"), ("b", "2")], 7u64);
        all.family("i", "", Kind::Info, Unit::None)
            .sample(&[], 2u64);
        all.family("h", "", Kind::Histogram, Unit::None)
            .sample(&[], 2u64);
        assert_eq!((all.series(), all.faults_total()), (1, 9));
        let twice = faults(&all)
            .into_iter()
            .filter(|f| f.contains("twice:"))
            .count();
        assert_eq!(twice, 1);
    }

    #[test]
    fn series_and_faults_are_bounded() {
        let mut all = Exposition::new();
        let mut gauge = all.family("g", "", Kind::Gauge, Unit::None);
        for n in 0..SERIES_MAX + 100 {
            gauge.sample(&[("n", &n.to_string())], true);
        }
        assert_eq!((all.series(), all.faults_total()), (SERIES_MAX, 100));
        assert_eq!(all.faults().len(), FAULTS_MAX);
    }

    #[test]
    fn long_label_values_are_cut() {
        let mut all = Exposition::new();
        let long = "ü".repeat(300);
        all.family("g", "", Kind::Gauge, Unit::None)
            .sample(&[("v", &long)], 1u64);
        let text = all.open_metrics();
        assert_eq!(text.matches('ü').count(), VALUE_MAX / 2);
    }
}
