//! Metrics that are named at run time, with time, summary, window and reset.
//!
//! A name has one type for ever: asking for it as another is an error value, and the metric goes
//! on. Whoever records keeps the handle; the set is asked only by name when something is looked
//! up, collected or shown.
//!
//! - `time` records how long something took, in a histogram of nanoseconds.
//! - `window` is what happened in the last so many seconds (see [`Ladder`]), as differences.
//! - `summary` is what happened since the baseline: the start, or the last `reset`.
//! - `reset` opens a new baseline for people. The handles' values go on, so a scraper that reads
//!   the export sees counters that only grow, and never a false restart.

use super::exposition::{ExpositionFault, check_name, family_name};
use super::ladder::Cumulative;
use super::{
    Counter, Exposition, Gauge, GaugeReading, GaugeSpan, Histogram, HistogramSnapshot, Hub, Kind,
    Ladder, LadderPolicy, PolicyError, Subscription, TooManySubscribers, Unit,
};
use crate::time::{Time, nanos};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Why a metric cannot be had under a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The name belongs to a metric of another kind or unit.
    #[error("`{name}` is a {is} already and cannot be a {asked} (or has another unit)")]
    Type {
        /// The name.
        name: String,
        /// What it is.
        is: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// The name is not one that can be exported.
    #[error(transparent)]
    Name(#[from] ExpositionFault),
    /// The set is full.
    #[error("the set holds {limit} metrics already")]
    Full {
        /// Its bound.
        limit: usize,
    },
}

/// What a metric did in a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricView {
    /// How much a counter grew.
    Counter(u64),
    /// A gauge's readings.
    Gauge(GaugeSpan),
    /// What was recorded, with its percentiles.
    Histogram(HistogramSnapshot),
}

/// What all metrics of a set did in a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The begin of the span.
    pub from: Time,
    /// Its end.
    pub until: Time,
    /// By name.
    pub metrics: BTreeMap<String, MetricView>,
}

impl Summary {
    /// Events per second of `name` (counters and histograms); 0 when the span is empty or the name
    /// unknown.
    pub fn rate(&self, name: &str) -> f64 {
        let count = match self.metrics.get(name) {
            Some(MetricView::Counter(count)) => *count,
            Some(MetricView::Histogram(snapshot)) => snapshot.count(),
            Some(MetricView::Gauge(_)) | None => return 0.0,
        };
        let span = self.until.saturating_since(self.from);
        if span.is_zero() {
            return 0.0;
        }
        count as f64 / span.as_secs_f64()
    }
}

/// A bounded set of named metrics; any number of threads may use it.
#[derive(Debug)]
pub struct MetricSet {
    policy: LadderPolicy,
    limit: usize,
    state: Mutex<State>,
    hub: Hub<Summary>,
}

#[derive(Debug)]
struct State {
    metrics: BTreeMap<String, Metric>,
    baseline_at: Time,
    collected_at: Time,
}

#[derive(Debug)]
struct Metric {
    help: String,
    unit: Unit,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Counter(Tracked<Counter, u64>),
    Gauge(Tracked<Gauge, GaugeReading>),
    Histogram(Tracked<Histogram, HistogramSnapshot>),
}

/// A metric, its windows, and what it did since the baseline.
#[derive(Debug)]
struct Tracked<M, S: Cumulative> {
    handle: Arc<M>,
    read: fn(&M) -> S,
    ladder: Ladder<S>,
    baseline: S,
    since: S::Delta,
}

impl MetricSet {
    /// A set of at most `limit` metrics, its baseline at `now`.
    ///
    /// # Errors
    /// The policy breaks its rules.
    pub fn new(policy: LadderPolicy, limit: usize, now: Time) -> Result<Self, PolicyError> {
        policy.validate()?;
        Ok(Self {
            policy,
            limit,
            state: Mutex::new(State {
                metrics: BTreeMap::new(),
                baseline_at: now,
                collected_at: now,
            }),
            hub: Hub::default(),
        })
    }

    /// The counter `name` (with or without `_total`), made when it does not exist.
    ///
    /// # Errors
    /// The name is another type's or no metric name, or the set is full.
    pub fn counter(&self, name: &str, help: &str, unit: Unit) -> Result<Arc<Counter>, MetricError> {
        let make = |ladder| Body::Counter(Tracked::new(Counter::value, ladder));
        self.find(
            name,
            help,
            unit,
            Kind::Counter,
            0,
            make,
            |body| match body {
                Body::Counter(tracked) => Some(Arc::clone(&tracked.handle)),
                _ => None,
            },
        )
    }

    /// The gauge `name`, made when it does not exist.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn gauge(&self, name: &str, help: &str, unit: Unit) -> Result<Arc<Gauge>, MetricError> {
        let read = |gauge: &Gauge| GaugeReading(gauge.value());
        let make = |ladder| Body::Gauge(Tracked::new(read, ladder));
        let start = GaugeReading(0);
        self.find(
            name,
            help,
            unit,
            Kind::Gauge,
            start,
            make,
            |body| match body {
                Body::Gauge(tracked) => Some(Arc::clone(&tracked.handle)),
                _ => None,
            },
        )
    }

    /// The histogram `name`, made when it does not exist.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        unit: Unit,
    ) -> Result<Arc<Histogram>, MetricError> {
        let make = |ladder| Body::Histogram(Tracked::new(Histogram::snapshot, ladder));
        let start = HistogramSnapshot::default();
        self.find(
            name,
            help,
            unit,
            Kind::Histogram,
            start,
            make,
            |body| match body {
                Body::Histogram(tracked) => Some(Arc::clone(&tracked.handle)),
                _ => None,
            },
        )
    }

    /// Records that something took from `started` to `ended` in the histogram `name`, whose unit
    /// is seconds; makes it when it does not exist.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn time(&self, name: &str, started: Time, ended: Time) -> Result<(), MetricError> {
        let histogram = self.histogram(name, "", Unit::Seconds)?;
        histogram.record(nanos(ended.saturating_since(started)));
        Ok(())
    }

    /// Reads all metrics into their windows, and publishes the summary if somebody watches. To be
    /// called once per finest step.
    pub fn collect(&self, now: Time) {
        let mut state = self.lock();
        state
            .metrics
            .values_mut()
            .for_each(|metric| metric.body.collect(now));
        state.collected_at = state.collected_at.max(now);
        drop(state);
        self.hub.publish(|| self.summary(now));
    }

    /// What happened since the baseline, with the figures of this moment.
    pub fn summary(&self, now: Time) -> Summary {
        let state = self.lock();
        state.view(state.baseline_at, now, Body::summary)
    }

    /// What happened in the last `span` before the last collection, never from before the
    /// baseline. Its begin is the earliest of the metrics' windows.
    pub fn window(&self, span: Duration) -> Summary {
        let state = self.lock();
        let mut from = state.collected_at;
        let mut summary = state.view(from, from, |body| {
            let (begin, view) = body.window(span);
            from = from.min(begin);
            view
        });
        summary.from = from;
        summary
    }

    /// Opens a new baseline: summaries and windows begin at `now`. Handles and exports go on.
    pub fn reset(&self, now: Time) {
        let mut state = self.lock();
        let policy = &self.policy;
        state
            .metrics
            .values_mut()
            .for_each(|metric| metric.body.reset(policy, now));
        state.baseline_at = now;
        state.collected_at = now;
    }

    /// Watches the summaries that [`Self::collect`] publishes.
    ///
    /// # Errors
    /// Too many watch already.
    pub fn subscribe(&self) -> Result<Subscription<Summary>, TooManySubscribers> {
        self.hub.subscribe()
    }

    /// Adds the handles' cumulative values to `exposition`, one family per metric.
    pub fn export(&self, exposition: &mut Exposition, labels: &[(&'static str, &str)]) {
        for (name, Metric { help, unit, body }) in &self.lock().metrics {
            let mut family = exposition.family(name, help, body.kind(), *unit);
            match body {
                Body::Counter(tracked) => family.sample(labels, tracked.handle.value()),
                Body::Gauge(tracked) => family.sample(labels, tracked.handle.value()),
                Body::Histogram(tracked) => family.histogram(labels, &tracked.handle.snapshot()),
            };
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the three kinds differ in all of them"
    )]
    fn find<S: Cumulative, M>(
        &self,
        name: &str,
        help: &str,
        unit: Unit,
        kind: Kind,
        start: S,
        make: impl FnOnce(Ladder<S>) -> Body,
        pick: impl Fn(&Body) -> Option<M>,
    ) -> Result<M, MetricError> {
        let name = family_name(name, kind);
        let mut state = self.lock();
        let mistaken = |body: &Body| MetricError::Type {
            name: name.to_owned(),
            is: body.kind().as_str(),
            asked: kind.as_str(),
        };
        if let Some(known) = state.metrics.get(name) {
            let handle = pick(&known.body).filter(|_| known.unit == unit);
            return handle.ok_or_else(|| mistaken(&known.body));
        }
        check_name(name, unit)?;
        if state.metrics.len() >= self.limit {
            return Err(MetricError::Full { limit: self.limit });
        }
        // Born at the last collection, so that its first window covers what the others' cover.
        let body = make(Ladder::begin(&self.policy, state.collected_at, start));
        let handle = pick(&body).ok_or_else(|| mistaken(&body))?;
        let help = help.to_owned();
        state
            .metrics
            .insert(name.to_owned(), Metric { help, unit, body });
        Ok(handle)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn view(&self, from: Time, until: Time, mut of: impl FnMut(&Body) -> MetricView) -> Summary {
        let metrics = self.metrics.iter();
        Summary {
            from,
            until,
            metrics: metrics
                .map(|(name, metric)| (name.clone(), of(&metric.body)))
                .collect(),
        }
    }
}

impl Body {
    const fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    fn collect(&mut self, now: Time) {
        match self {
            Self::Counter(tracked) => tracked.collect(now),
            Self::Gauge(tracked) => {
                tracked.collect(now);
                // A gauge has no past of its own: its readings are gathered here.
                GaugeReading::append(&mut tracked.since, &tracked.ladder.last().reading());
            }
            Self::Histogram(tracked) => tracked.collect(now),
        }
    }

    fn reset(&mut self, policy: &LadderPolicy, now: Time) {
        match self {
            Self::Counter(tracked) => tracked.reset(policy, now),
            Self::Gauge(tracked) => tracked.reset(policy, now),
            Self::Histogram(tracked) => tracked.reset(policy, now),
        }
    }

    fn summary(&self) -> MetricView {
        match self {
            Self::Counter(tracked) => MetricView::Counter(tracked.since_baseline()),
            Self::Gauge(tracked) => {
                let mut span = tracked.since;
                GaugeReading::append(&mut span, &(tracked.read)(&tracked.handle).reading());
                MetricView::Gauge(span)
            }
            Self::Histogram(tracked) => MetricView::Histogram(tracked.since_baseline()),
        }
    }

    fn window(&self, span: Duration) -> (Time, MetricView) {
        match self {
            Self::Counter(tracked) => {
                let window = tracked.ladder.window(span);
                (window.from, MetricView::Counter(window.delta))
            }
            Self::Gauge(tracked) => {
                let window = tracked.ladder.window(span);
                (window.from, MetricView::Gauge(window.delta))
            }
            Self::Histogram(tracked) => {
                let window = tracked.ladder.window(span);
                (window.from, MetricView::Histogram(window.delta))
            }
        }
    }
}

impl GaugeReading {
    fn reading(&self) -> GaugeSpan {
        self.since(self)
    }
}

impl<M: Default, S: Cumulative> Tracked<M, S> {
    fn new(read: fn(&M) -> S, ladder: Ladder<S>) -> Self {
        Self {
            handle: Arc::default(),
            read,
            baseline: ladder.last().clone(),
            ladder,
            since: S::Delta::default(),
        }
    }
}

impl<M, S: Cumulative> Tracked<M, S> {
    fn collect(&mut self, now: Time) {
        self.ladder.collect(now, (self.read)(&self.handle));
    }

    fn reset(&mut self, policy: &LadderPolicy, now: Time) {
        self.baseline = (self.read)(&self.handle);
        self.ladder = Ladder::begin(policy, now, self.baseline.clone());
        self.since = S::Delta::default();
    }

    fn since_baseline(&self) -> S::Delta {
        (self.read)(&self.handle).since(&self.baseline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> MetricSet {
        MetricSet::new(LadderPolicy::default(), 8, Time::ZERO).unwrap()
    }

    fn at(second: u64) -> Time {
        Time::from_millis(second * 1000)
    }

    fn counter_of(summary: &Summary, name: &str) -> u64 {
        match &summary.metrics[name] {
            MetricView::Counter(count) => *count,
            other => panic!("{other:?}"),
        }
    }

    fn histogram_of(summary: &Summary, name: &str) -> HistogramSnapshot {
        match &summary.metrics[name] {
            MetricView::Histogram(snapshot) => snapshot.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_name_as_two_types_is_an_error_and_the_metric_lives_on() {
        let set = set();
        let reads = set.counter("reads", "", Unit::None).unwrap();
        reads.add(2);
        let error = set.gauge("reads", "", Unit::None).unwrap_err();
        let expected = "`reads` is a counter already and cannot be a gauge (or has another unit)";
        assert_eq!(error.to_string(), expected);
        assert!(set.time("reads", Time::ZERO, at(1)).is_err());
        set.counter("reads_total", "", Unit::None).unwrap().add(3);
        assert_eq!(reads.value(), 5);
        set.gauge("size_bytes", "", Unit::Bytes).unwrap();
        assert!(set.gauge("size_bytes", "", Unit::None).is_err());
    }

    #[test]
    fn bad_names_and_a_full_set_are_refused() {
        let set = MetricSet::new(LadderPolicy::default(), 1, Time::ZERO).unwrap();
        assert!(matches!(
            set.gauge("a b", "", Unit::None),
            Err(MetricError::Name(_))
        ));
        assert!(matches!(
            set.time("took", at(0), at(1)),
            Err(MetricError::Name(_))
        ));
        set.gauge("a", "", Unit::None).unwrap();
        assert_eq!(
            set.gauge("b", "", Unit::None).err(),
            Some(MetricError::Full { limit: 1 })
        );
        assert!(set.gauge("a", "", Unit::None).is_ok());
    }

    #[test]
    fn time_summary_and_window_tell_the_truth() {
        let set = set();
        for millis in 1..=100 {
            set.time("took_seconds", Time::ZERO, Time::from_millis(millis))
                .unwrap();
        }
        set.collect(at(1));
        set.time("took_seconds", at(1), at(3)).unwrap();
        set.collect(at(2));
        let all = histogram_of(&set.summary(at(2)), "took_seconds");
        assert_eq!((all.count(), all.max()), (101, Some(2_000_000_000)));
        let median = all.quantile(0.5).unwrap() as f64;
        assert!((median / 51e6 - 1.0).abs() < 0.032, "{median}");
        let last = set.window(Duration::from_secs(1));
        assert_eq!((last.from, last.until), (at(1), at(2)));
        assert_eq!(histogram_of(&last, "took_seconds").count(), 1);
        assert!((last.rate("took_seconds") - 1.0).abs() < 1e-9);
        assert_eq!(last.rate("unknown"), 0.0);
    }

    #[test]
    fn a_reset_opens_a_new_baseline_and_scrapers_see_no_restart() {
        let set = set();
        let (reads, depth) = (
            set.counter("r", "", Unit::None).unwrap(),
            set.gauge("d", "", Unit::None).unwrap(),
        );
        let took = set.histogram("t", "", Unit::None).unwrap();
        reads.add(10);
        depth.set(9);
        took.record(1000);
        set.collect(at(1));
        set.reset(at(2));
        reads.add(1);
        depth.set(3);
        took.record(2);
        set.collect(at(3));
        for summary in [set.summary(at(3)), set.window(Duration::from_secs(60))] {
            assert_eq!((summary.from, summary.until), (at(2), at(3)));
            assert_eq!(counter_of(&summary, "r"), 1);
            assert_eq!(histogram_of(&summary, "t").max(), Some(2));
            let MetricView::Gauge(span) = &summary.metrics["d"] else {
                panic!("a gauge");
            };
            assert_eq!((span.min, span.max, span.last), (3, 3, 3));
        }
        let mut exposition = Exposition::new();
        set.export(&mut exposition, &[("system", "x")]);
        let text = exposition.open_metrics();
        assert!(text.contains("r_total{system=\"x\"} 11\n"), "{text}");
        assert!(text.contains("t_count{system=\"x\"} 2\n"), "{text}");
        assert!(exposition.faults().is_empty());
    }

    #[test]
    fn watchers_get_the_summary_of_each_collection() {
        let set = set();
        let watcher = set.subscribe().unwrap();
        set.counter("r", "", Unit::None).unwrap().add(4);
        set.collect(at(1));
        set.collect(at(2));
        let (summary, lagged) = watcher.take().unwrap();
        assert_eq!(
            (counter_of(&summary, "r"), summary.until, lagged),
            (4, at(2), 1)
        );
    }
}
