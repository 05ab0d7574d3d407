//! What happened in the last minute, in the last hour.
//!
//! A ladder keeps the differences between successive readings of a cumulative value, in rungs of
//! (step, count): by default 60 steps of 1 s and 360 of 10 s. Recording does not know about it; a
//! collector calls [`Ladder::collect`] about once per finest step. A window is the sum of the
//! newest differences, so it holds what happened in that span and nothing older.
//!
//! Collectors are late, or early. Steps lie on a fixed grid; a step in which no reading came is
//! part of the next difference. A window therefore states the span that it really covers, at
//! least the one asked for when the ladder is that old, and rates are per second of that span.
//! A cumulative value that shrank belongs to a new owner: all of it is new.
//!
//! Memory: at most the sum of the counts and two more per rung, each one difference (10 bytes per
//! bucket that was hit, for a histogram).

use super::HistogramSnapshot;
use crate::time::{Time, nanos};
use std::collections::VecDeque;
use std::time::Duration;

/// A value whose readings can be subtracted.
pub trait Cumulative: Clone {
    /// What lies between two readings.
    type Delta: Clone + Default;

    /// What happened from the reading `earlier` to this one.
    fn since(&self, earlier: &Self) -> Self::Delta;

    /// Appends `later` to `delta`, which ended where `later` began.
    fn append(delta: &mut Self::Delta, later: &Self::Delta);

    /// How many events a difference stands for.
    fn events(delta: &Self::Delta) -> u64;
}

impl Cumulative for u64 {
    type Delta = Self;

    fn since(&self, earlier: &Self) -> Self {
        self.checked_sub(*earlier).unwrap_or(*self)
    }

    fn append(delta: &mut Self, later: &Self) {
        *delta = delta.saturating_add(*later);
    }

    fn events(delta: &Self) -> u64 {
        *delta
    }
}

impl Cumulative for HistogramSnapshot {
    type Delta = Self;

    fn since(&self, earlier: &Self) -> Self {
        self.delta(earlier)
    }

    fn append(delta: &mut Self, later: &Self) {
        delta.merge(later);
    }

    fn events(delta: &Self) -> u64 {
        delta.count()
    }
}

/// A gauge's value at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeReading(pub i64);

/// The readings of a gauge over a span. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GaugeSpan {
    /// How many readings.
    pub readings: u64,
    /// The newest.
    pub last: i64,
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
    sum: i128,
}

impl GaugeSpan {
    /// The mean of the readings; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        (self.readings > 0).then(|| self.sum as f64 / self.readings as f64)
    }
}

impl Cumulative for GaugeReading {
    type Delta = GaugeSpan;

    fn since(&self, _earlier: &Self) -> GaugeSpan {
        GaugeSpan {
            readings: 1,
            last: self.0,
            min: self.0,
            max: self.0,
            sum: i128::from(self.0),
        }
    }

    fn append(span: &mut GaugeSpan, later: &GaugeSpan) {
        if span.readings == 0 {
            *span = *later;
        } else if later.readings > 0 {
            *span = GaugeSpan {
                readings: span.readings + later.readings,
                last: later.last,
                min: span.min.min(later.min),
                max: span.max.max(later.max),
                sum: span.sum.saturating_add(later.sum),
            };
        }
    }

    fn events(span: &GaugeSpan) -> u64 {
        span.readings
    }
}

/// One resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The width of a step.
    pub step: Duration,
    /// How many steps are kept.
    pub count: usize,
}

/// The resolutions, the finest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderPolicy {
    /// Steps ascending, 1 to 8 rungs, 1 to 4096 steps in total.
    pub rungs: Vec<Rung>,
}

impl Default for LadderPolicy {
    /// A minute by seconds, an hour by ten seconds.
    fn default() -> Self {
        let rung = |seconds, count| Rung {
            step: Duration::from_secs(seconds),
            count,
        };
        Self {
            rungs: vec![rung(1, 60), rung(10, 360)],
        }
    }
}

/// Why a ladder cannot be built so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No rung, or more than eight.
    #[error("a ladder has 1 to 8 rungs, not {0}")]
    Rungs(usize),
    /// A step is zero or not longer than the one of the rung before.
    #[error("the step of rung {0} must be longer than that of the rung before it")]
    Step(usize),
    /// No step, or more than 4096 in all.
    #[error("each rung has at least 1 step and all together at most 4096, not {0}")]
    Count(usize),
}

impl LadderPolicy {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if !(1..=8).contains(&self.rungs.len()) {
            return Err(PolicyError::Rungs(self.rungs.len()));
        }
        let mut before = Duration::ZERO;
        let mut total = 0usize;
        for (index, rung) in self.rungs.iter().enumerate() {
            if rung.step <= before {
                return Err(PolicyError::Step(index));
            }
            before = rung.step;
            total = total.saturating_add(rung.count);
            if rung.count == 0 || total > 4096 {
                return Err(PolicyError::Count(total));
            }
        }
        Ok(())
    }
}

/// What happened in a span that ended at the last collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window<D> {
    /// Where it begins.
    pub from: Time,
    /// Where it ends.
    pub until: Time,
    /// What happened in between.
    pub delta: D,
}

impl<D> Window<D> {
    /// The span that it really covers.
    pub fn span(&self) -> Duration {
        self.until.saturating_since(self.from)
    }
}

impl Window<u64> {
    /// How many.
    pub fn count(&self) -> u64 {
        self.delta
    }

    /// How many per second; 0 for an empty span.
    pub fn rate(&self) -> f64 {
        per_second(self.delta, self.span())
    }
}

impl Window<HistogramSnapshot> {
    /// How many.
    pub fn count(&self) -> u64 {
        self.delta.count()
    }

    /// How many per second; 0 for an empty span.
    pub fn rate(&self) -> f64 {
        per_second(self.delta.count(), self.span())
    }

    /// P50, P95, P99 and P99.9; `None` when nothing happened.
    pub fn percentiles(&self) -> Option<[u64; 4]> {
        let [a, b, c, d] = [0.5, 0.95, 0.99, 0.999].map(|q| self.delta.quantile(q));
        Some([a?, b?, c?, d?])
    }
}

fn per_second(count: u64, span: Duration) -> f64 {
    if span.is_zero() {
        return 0.0;
    }
    count as f64 / span.as_secs_f64()
}

/// Sliding windows over one cumulative value.
#[derive(Clone, Debug)]
pub struct Ladder<S: Cumulative> {
    rungs: Vec<RungState<S::Delta>>,
    last: S,
    at: Time,
}

#[derive(Clone, Debug)]
struct RungState<D> {
    rung: Rung,
    windows: VecDeque<Window<D>>,
}

impl<S: Cumulative> Ladder<S> {
    /// A ladder whose first window begins at `now`, when the value read `baseline`.
    ///
    /// # Errors
    /// As [`LadderPolicy::validate`].
    pub fn new(policy: &LadderPolicy, now: Time, baseline: S) -> Result<Self, PolicyError> {
        policy.validate()?;
        Ok(Self::begin(policy, now, baseline))
    }

    /// As [`Self::new`] with a policy that is known to be valid.
    pub(super) fn begin(policy: &LadderPolicy, now: Time, baseline: S) -> Self {
        let state = |rung: &Rung| RungState {
            rung: *rung,
            windows: VecDeque::new(),
        };
        Self {
            rungs: policy.rungs.iter().map(state).collect(),
            last: baseline,
            at: now,
        }
    }

    /// Takes a reading made at `now`. A reading that is not newer than the last one only replaces
    /// its value.
    pub fn collect(&mut self, now: Time, reading: S) {
        let delta = reading.since(&self.last);
        for rung in &mut self.rungs {
            rung.append::<S>(self.at, now, &delta);
        }
        self.last = reading;
        self.at = self.at.max(now);
    }

    /// When the last reading was made.
    pub fn collected_at(&self) -> Time {
        self.at
    }

    /// The last reading.
    pub fn last(&self) -> &S {
        &self.last
    }

    /// What happened in the last `span` before the last reading, from the finest rung that reaches
    /// so far back; the ladder's whole reach when none does.
    pub fn window(&self, span: Duration) -> Window<S::Delta> {
        let mut sum = Window {
            from: self.at,
            until: self.at,
            delta: S::Delta::default(),
        };
        let points = self.points(span);
        // Oldest first, since `append` cares for the order.
        for point in &points {
            S::append(&mut sum.delta, &point.delta);
        }
        sum.from = points.first().map_or(self.at, |first| first.from);
        sum
    }

    /// The steps that [`Self::window`] sums up, oldest first: a chart's points.
    pub fn points(&self, span: Duration) -> Vec<&Window<S::Delta>> {
        let reaches = |state: &&RungState<_>| {
            nanos(state.rung.step).saturating_mul(state.rung.count as u64) >= nanos(span)
        };
        let Some(rung) = self.rungs.iter().find(reaches).or(self.rungs.last()) else {
            return Vec::new();
        };
        let mut points: Vec<_> = Vec::new();
        for window in rung.windows.iter().rev() {
            points.push(window);
            if self.at.saturating_since(window.from) >= span {
                break;
            }
        }
        points.reverse();
        points
    }
}

impl<D: Clone + Default> RungState<D> {
    fn append<S: Cumulative<Delta = D>>(&mut self, from: Time, now: Time, delta: &D) {
        let step = nanos(self.rung.step).max(1);
        if let Some(open) = self.windows.back_mut() {
            // The open step ends with the first reading in a later step of the grid.
            let same_step = open.from.as_nanos() / step == from.as_nanos() / step;
            if same_step || now <= from {
                S::append(&mut open.delta, delta);
                open.until = open.until.max(now);
                return;
            }
        }
        // Two more than `count`: the oldest step may begin late and the newest is still open, and
        // the rung must reach back `count` whole steps even so.
        if self.windows.len() == self.rung.count + 2 {
            self.windows.pop_front();
        }
        self.windows.push_back(Window {
            from,
            until: now.max(from),
            delta: delta.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;
    use proptest::prelude::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(second: u64) -> Time {
        Time::from_millis(second * 1000)
    }

    fn counter() -> Ladder<u64> {
        Ladder::new(&LadderPolicy::default(), Time::ZERO, 0).unwrap()
    }

    #[test]
    fn a_window_holds_only_its_span() {
        let mut ladder = counter();
        // 100 per second for a minute, then 1 per second for ten.
        let mut total = 0;
        for second in 1..=70 {
            total += if second <= 60 { 100 } else { 1 };
            ladder.collect(at(second), total);
        }
        let last = ladder.window(seconds(10));
        assert_eq!((last.count(), last.span()), (10, seconds(10)));
        assert!((last.rate() - 1.0).abs() < 1e-9);
        assert_eq!(ladder.window(seconds(11)).count(), 110);
        assert_eq!(ladder.window(seconds(60)).count(), 5_010);
        let all = ladder.window(seconds(3600));
        assert_eq!((all.count(), all.span()), (6_010, seconds(70)));
    }

    #[test]
    fn memory_is_bounded_and_the_coarse_rung_reaches_an_hour() {
        let mut ladder = counter();
        for second in 1..=8_000 {
            ladder.collect(at(second), second);
        }
        let lengths: Vec<_> = ladder.rungs.iter().map(|r| r.windows.len()).collect();
        assert_eq!(lengths, [62, 362]);
        let hour = ladder.window(seconds(3600));
        assert!(hour.span() >= seconds(3600) && hour.span() <= seconds(3610));
        assert_eq!(hour.count(), hour.span().as_secs());
    }

    #[test]
    fn many_readings_in_one_step_take_one_place() {
        let mut ladder = counter();
        for tenth in 1..=50 {
            ladder.collect(Time::from_millis(tenth * 100), tenth);
        }
        assert_eq!(ladder.points(seconds(5)).len(), 5);
        assert_eq!(ladder.window(seconds(2)).count(), 20);
    }

    #[test]
    fn a_late_collector_widens_the_span_and_keeps_the_rate_true() {
        let mut ladder = counter();
        ladder.collect(at(1), 10);
        ladder.collect(at(31), 310);
        let window = ladder.window(seconds(5));
        assert_eq!((window.count(), window.span()), (300, seconds(30)));
        assert!((window.rate() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_value_that_shrank_is_all_new() {
        let mut ladder = counter();
        ladder.collect(at(1), 500);
        ladder.collect(at(2), 20);
        assert_eq!(ladder.window(seconds(1)).count(), 20);
        assert_eq!(ladder.window(seconds(2)).count(), 520);
    }

    #[test]
    fn a_fresh_ladder_and_a_standing_clock_give_no_rate() {
        let mut ladder = counter();
        assert_eq!(
            (
                ladder.window(seconds(5)).rate(),
                ladder.points(seconds(5)).len()
            ),
            (0.0, 0)
        );
        ladder.collect(Time::ZERO, 7);
        ladder.collect(Time::ZERO, 9);
        let window = ladder.window(seconds(5));
        assert_eq!((window.count(), window.rate()), (9, 0.0));
    }

    #[test]
    fn histogram_windows_have_their_own_percentiles() {
        let histogram = Histogram::new();
        let mut ladder =
            Ladder::new(&LadderPolicy::default(), Time::ZERO, histogram.snapshot()).unwrap();
        (0..1000).for_each(|_| histogram.record(1_000_000));
        ladder.collect(at(1), histogram.snapshot());
        (0..10).for_each(|_| histogram.record(10));
        ladder.collect(at(2), histogram.snapshot());
        let window = ladder.window(seconds(1));
        assert_eq!((window.count(), window.percentiles()), (10, Some([10; 4])));
        assert!((window.rate() - 10.0).abs() < 1e-9);
        let [p50, .., p999] = ladder.window(seconds(2)).percentiles().unwrap();
        assert!(p50 > 960_000 && p999 > 960_000);
        ladder.collect(at(3), histogram.snapshot());
        assert_eq!(ladder.window(seconds(1)).percentiles(), None);
    }

    #[test]
    fn gauge_windows_have_extremes_and_a_mean() {
        let policy = LadderPolicy::default();
        let mut ladder = Ladder::new(&policy, Time::ZERO, GaugeReading(0)).unwrap();
        for (second, value) in [(1, 99), (2, 4), (3, -2), (4, 7)] {
            ladder.collect(at(second), GaugeReading(value));
        }
        let span = ladder.window(seconds(3)).delta;
        assert_eq!(
            (span.readings, span.last, span.min, span.max),
            (3, 7, -2, 7)
        );
        assert_eq!(span.mean(), Some(3.0));
        assert_eq!(GaugeSpan::default().mean(), None);
    }

    #[test]
    fn bad_policies_are_refused() {
        let policy = |rungs: &[(u64, usize)]| LadderPolicy {
            rungs: rungs
                .iter()
                .map(|(s, count)| Rung {
                    step: seconds(*s),
                    count: *count,
                })
                .collect(),
        };
        let cases = [
            (policy(&[]), Err(PolicyError::Rungs(0))),
            (policy(&[(0, 5)]), Err(PolicyError::Step(0))),
            (policy(&[(2, 5), (2, 5)]), Err(PolicyError::Step(1))),
            (policy(&[(1, 0)]), Err(PolicyError::Count(0))),
            (policy(&[(1, 4000), (2, 97)]), Err(PolicyError::Count(4097))),
            (LadderPolicy::default(), Ok(())),
        ];
        for (policy, expected) in cases {
            assert_eq!(policy.validate(), expected, "{policy:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn windows_never_lose_or_invent_events(
            steps in proptest::collection::vec((1u64..5_000, 0u64..1000), 1..100),
            span in 1u64..120,
        ) {
            let mut ladder = counter();
            let (mut now, mut total) = (0, 0);
            let mut history = vec![(0, 0)];
            for (millis, events) in steps {
                now += millis;
                total += events;
                ladder.collect(Time::from_millis(now), total);
                history.push((now, total));
            }
            let window = ladder.window(seconds(span));
            let begin = window.from.as_millis();
            let before = history.iter().find(|(at, _)| *at == begin).unwrap().1;
            prop_assert_eq!(window.count(), total - before);
            prop_assert!(begin == 0 || now - begin >= span * 1000);
        }
    }
}
