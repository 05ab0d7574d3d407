//! How a quantity is distributed, in 10 KB and with a known error.
//!
//! Log-linear buckets: values below 32 have a bucket each, and every power of two above is cut
//! into 32 equal ones, so a bucket is at most 1/32 of its values wide and any value read back is
//! within 3.2 % of the one recorded (half of that, as we report the middle of a bucket). The range
//! ends at 2^42 - 1 (73 minutes in nanoseconds, 4 TiB in bytes): what is larger lands in the last
//! bucket, still counted, still exact in sum and maximum.
//!
//! A record is one locked step. The count is the sum of the buckets, and the sum of the values is
//! that of the buckets' middles: neither is stored, so no interleaving of writers and readers can
//! make them disagree, and both only grow. The sum is exact for values below 64 and beyond the
//! range; any other value adds 1/64 (1.6 %) too much or too little at most, and over many values
//! the two nearly cancel. The minimum, the maximum and the sum beyond the range are read at
//! slightly other moments than the buckets and may be ahead of them by the records in flight.
//!
//! A snapshot holds only buckets that were hit. Between two snapshots of one histogram,
//! [`HistogramSnapshot::delta`] gives the distribution of what was recorded in between; its
//! minimum and maximum are known only to the bucket.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// log2 of the sub-buckets per power of two.
const SUB_BITS: u32 = 5;
const SUBS: usize = 1 << SUB_BITS;
/// log2 of the first value that is out of range.
const TOP_BITS: u32 = 42;
const BUCKETS: usize = (TOP_BITS - SUB_BITS + 1) as usize * SUBS;

/// The bucket of `value`; the last one for all that is out of range.
fn bucket_of(value: u64) -> usize {
    if value < SUBS as u64 {
        return value as usize;
    }
    let exponent = value.ilog2();
    if exponent >= TOP_BITS {
        return BUCKETS - 1;
    }
    let shift = exponent - SUB_BITS;
    // The top six bits are 32..=63, so row `shift` starts at 32 * shift.
    shift as usize * SUBS + (value >> shift) as usize
}

/// The smallest and largest value of bucket `index`.
fn bounds(index: usize) -> (u64, u64) {
    if index < SUBS {
        return (index as u64, index as u64);
    }
    let shift = index / SUBS - 1;
    let low = ((index - shift * SUBS) as u64) << shift;
    (low, low + (1 << shift) - 1)
}

/// A shared histogram of `u64` values; 9.7 KB.
///
/// The unit is the caller's; spans are recorded in nanoseconds.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    /// What the values out of range have more than the middle of the last bucket, doubled.
    beyond: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            beyond: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }

    /// Records `value`; any number of threads may do so.
    #[inline]
    pub fn record(&self, value: u64) {
        // Rarely true after the first few values, so the locked step is rare too.
        if value > self.max.load(Relaxed) {
            self.max.fetch_max(value, Relaxed);
        }
        if value < self.min.load(Relaxed) {
            self.min.fetch_min(value, Relaxed);
        }
        if value > LAST_END {
            self.beyond.fetch_add(doubled_excess(value), Relaxed);
        }
        self.buckets[bucket_of(value)].fetch_add(1, Relaxed);
    }

    /// Records `value` by loads and stores. Only the histogram's one owner may call it: beside
    /// another writer records get lost (nothing worse).
    #[inline]
    pub fn record_owned(&self, value: u64) {
        let bucket = &self.buckets[bucket_of(value)];
        bucket.store(bucket.load(Relaxed) + 1, Relaxed);
        if value > LAST_END {
            let beyond = self.beyond.load(Relaxed);
            self.beyond
                .store(beyond.wrapping_add(doubled_excess(value)), Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.store(value, Relaxed);
        }
        if value < self.min.load(Relaxed) {
            self.min.store(value, Relaxed);
        }
    }

    /// What has been recorded so far.
    pub fn snapshot(&self) -> HistogramSnapshot {
        // The extremes first: whatever the buckets show was recorded after them or is in them,
        // and `of` widens them to the buckets where a record was between its two steps.
        let (min, max) = (self.min.load(Relaxed), self.max.load(Relaxed));
        let mut snapshot = HistogramSnapshot {
            beyond: self.beyond.load(Relaxed),
            ..HistogramSnapshot::default()
        };
        for (index, bucket) in self.buckets.iter().enumerate() {
            let count = bucket.load(Relaxed);
            if count > 0 {
                snapshot.push(index, count);
            }
        }
        snapshot.set_extremes(min, max);
        snapshot
    }
}

/// A histogram that costs nothing until its first record.
#[derive(Debug, Default)]
pub struct LazyHistogram(OnceLock<Histogram>);

impl LazyHistogram {
    /// No memory yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The histogram, allocated by whoever asks first.
    #[inline]
    pub fn histogram(&self) -> &Histogram {
        self.0.get_or_init(Histogram::new)
    }

    /// Whether the memory has been taken.
    pub fn is_allocated(&self) -> bool {
        self.0.get().is_some()
    }

    /// What has been recorded so far; takes no memory when that is nothing.
    pub fn snapshot(&self) -> HistogramSnapshot {
        self.0
            .get()
            .map_or_else(Default::default, Histogram::snapshot)
    }
}

/// A distribution at one moment, or the difference of two. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Bucket numbers in ascending order, none of them empty.
    indices: Vec<u16>,
    /// How many values each of these buckets holds.
    counts: Vec<u64>,
    /// As in the histogram.
    beyond: u64,
    min: u64,
    max: u64,
}

impl HistogramSnapshot {
    /// How many values: the sum of the buckets.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of the values, within 1.6 % (exact below 64 and beyond the range); saturating.
    pub fn sum(&self) -> u64 {
        u64::try_from(self.doubled_sum() / 2).unwrap_or(u64::MAX)
    }

    /// With every bucket's smallest and largest value, so that nothing is lost to a rounded middle.
    fn doubled_sum(&self) -> u128 {
        let ends = |index: u16| {
            let (low, high) = bounds(usize::from(index));
            u128::from(low + high)
        };
        let buckets = self.indices.iter().zip(&self.counts);
        let inside: u128 = buckets.map(|(i, n)| ends(*i) * u128::from(*n)).sum();
        inside + u128::from(self.beyond)
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The smallest value: exact in a snapshot, the start of its bucket in a delta. `None` when
    /// empty.
    pub fn min(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.min)
    }

    /// The largest value: exact in a snapshot, the end of its bucket in a delta. `None` when empty.
    pub fn max(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.max)
    }

    /// The arithmetic mean, as exact as [`Self::sum`]; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        let mean = || self.doubled_sum() as f64 / 2.0 / self.count() as f64;
        // `max` and `min` instead of `clamp`: beyond 2^53 a bound is rounded, too.
        (!self.is_empty()).then(|| mean().max(self.min as f64).min(self.max as f64))
    }

    /// The standard deviation of the population, from the middles of the buckets; `None` when
    /// empty.
    pub fn deviation(&self) -> Option<f64> {
        if self.is_empty() {
            return None;
        }
        let count = self.count() as f64;
        let middles = || {
            self.buckets()
                .map(|(low, high, n)| (self.middle(low, high), n as f64))
        };
        // Around the middles' own mean, not the exact one: else a bucket's rounding is spread.
        let mean = middles().map(|(value, n)| value * n).sum::<f64>() / count;
        let squares = middles()
            .map(|(value, n)| (value - mean).powi(2) * n)
            .sum::<f64>();
        Some((squares / count).sqrt())
    }

    /// The value below or at which the fraction `q` of all values lies (nearest rank), within
    /// 3.2 %. `q` is cut to `0.0..=1.0`; `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        if rank >= count {
            return Some(self.max);
        }
        let mut seen = 0;
        for (low, high, n) in self.buckets() {
            seen += n;
            if seen >= rank {
                return Some((low + (high - low) / 2).clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// The non-empty buckets in ascending order: smallest value, largest value, how many.
    ///
    /// The last bucket of the range also holds all larger values, so its end is the maximum then.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.indices
            .iter()
            .zip(&self.counts)
            .map(|(&index, &count)| {
                let (low, high) = bounds(usize::from(index));
                let open = usize::from(index) == BUCKETS - 1;
                (low, if open { high.max(self.max) } else { high }, count)
            })
    }

    /// How many values are at most `limit`: exact when a bucket ends there, else short of it by
    /// less than that bucket.
    pub fn count_at_most(&self, limit: u64) -> u64 {
        let below = self.buckets().take_while(|(_, high, _)| *high <= limit);
        below.map(|(_, _, n)| n).sum()
    }

    /// What was recorded after `earlier` and until `self`, both of one histogram. When that
    /// histogram was replaced in between (any bucket shrank), all of `self` is new.
    pub fn delta(&self, earlier: &Self) -> Self {
        let mut delta = Self::default();
        let mut old = earlier.indices.iter().zip(&earlier.counts).peekable();
        for (&index, &count) in self.indices.iter().zip(&self.counts) {
            let before = match old.peek() {
                Some((i, n)) if **i == index => {
                    let n = **n;
                    old.next();
                    n
                }
                _ => 0,
            };
            match count.checked_sub(before) {
                None => return self.clone(),
                Some(0) => {}
                Some(n) => delta.push(usize::from(index), n),
            }
        }
        // A bucket that is missing here was never stepped over above.
        if old.peek().is_some() {
            return self.clone();
        }
        delta.beyond = self.beyond.wrapping_sub(earlier.beyond);
        delta.set_extremes_within(self.min, self.max);
        delta
    }

    /// Adds what `other` holds.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        let (old_indices, old_counts) = (
            std::mem::take(&mut self.indices),
            std::mem::take(&mut self.counts),
        );
        let mut ours = old_indices.into_iter().zip(old_counts).peekable();
        for (&index, &count) in other.indices.iter().zip(&other.counts) {
            while let Some((i, n)) = ours.next_if(|(i, _)| *i < index) {
                self.push(usize::from(i), n);
            }
            let same = ours.next_if(|(i, _)| *i == index).map_or(0, |(_, n)| n);
            self.push(usize::from(index), same + count);
        }
        for (i, n) in ours {
            self.push(usize::from(i), n);
        }
        self.beyond = self.beyond.wrapping_add(other.beyond);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    fn push(&mut self, index: usize, count: u64) {
        debug_assert!(index < BUCKETS);
        self.indices.push(index as u16);
        self.counts.push(count);
    }

    /// The start of the first and the end of the last bucket.
    fn edges(&self) -> Option<((u64, u64), (u64, u64))> {
        let first = bounds(usize::from(*self.indices.first()?));
        let last = bounds(usize::from(*self.indices.last()?));
        Some((first, last))
    }

    /// Takes `min` and `max` as exact where the buckets allow it: a record between its steps can
    /// leave them outside of the first and last bucket.
    fn set_extremes(&mut self, min: u64, max: u64) {
        if let Some((first, last)) = self.edges() {
            self.min = min.clamp(first.0, first.1);
            self.max = if last.1 == LAST_END {
                max.max(last.0)
            } else {
                max.clamp(last.0, last.1)
            };
            // In the open last bucket the first bucket may be the same one.
            self.min = if first.1 == LAST_END {
                min.clamp(first.0, self.max)
            } else {
                self.min
            };
        }
    }

    /// Takes the buckets' edges, cut to what was ever seen.
    fn set_extremes_within(&mut self, min: u64, max: u64) {
        if let Some((first, last)) = self.edges() {
            self.min = first.0.max(min);
            let end = if last.1 == LAST_END { u64::MAX } else { last.1 };
            self.max = end.min(max).max(self.min);
        }
    }

    fn middle(&self, low: u64, high: u64) -> f64 {
        (low.max(self.min) as f64 + high.min(self.max) as f64) / 2.0
    }
}

/// Twice what `value`, which is out of range, has more than the middle of the last bucket. Doubled
/// the middle is whole; above 2^62 the value is taken as that, far beyond all that is measured.
#[cold]
fn doubled_excess(value: u64) -> u64 {
    let (low, high) = bounds(BUCKETS - 1);
    2 * value.min(1 << 62) - (low + high)
}

/// The end of the last bucket.
const LAST_END: u64 = (1 << TOP_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::new();
        values.iter().for_each(|v| histogram.record(*v));
        histogram.snapshot()
    }

    #[test]
    fn buckets_tile_the_range_without_gap_or_overlap() {
        let mut next = 0;
        for index in 0..BUCKETS {
            let (low, high) = bounds(index);
            assert_eq!(low, next, "bucket {index}");
            assert_eq!((bucket_of(low), bucket_of(high)), (index, index));
            assert!(high - low <= low / 32, "bucket {index} is too wide");
            next = high + 1;
        }
        assert_eq!(next, 1 << TOP_BITS);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn it_fits_in_ten_kilobytes() {
        assert!(BUCKETS * 8 + size_of::<Histogram>() < 10_000);
    }

    #[test]
    fn an_empty_snapshot_has_no_figures() {
        let empty = Histogram::new().snapshot();
        assert_eq!(empty, HistogramSnapshot::default());
        assert_eq!(empty.count(), 0);
        assert_eq!(
            (empty.min(), empty.max(), empty.quantile(0.5)),
            (None, None, None)
        );
        assert_eq!((empty.mean(), empty.deviation()), (None, None));
    }

    #[test]
    fn figures_of_a_known_set() {
        let snapshot = of(&[2, 4, 4, 4, 5, 5, 7, 9]);
        assert_eq!((snapshot.count(), snapshot.sum()), (8, 40));
        assert_eq!((snapshot.min(), snapshot.max()), (Some(2), Some(9)));
        assert_eq!(snapshot.mean(), Some(5.0));
        assert_eq!(snapshot.deviation(), Some(2.0));
        let quantiles: Vec<_> = [0.0, 0.5, 0.75, 0.9, 1.0, 7.0]
            .map(|q| snapshot.quantile(q))
            .into();
        assert_eq!(quantiles, [2, 4, 5, 9, 9, 9].map(Some));
    }

    #[test]
    fn values_out_of_range_keep_count_sum_and_maximum() {
        let snapshot = of(&[1 << 50, 1 << 43, 1]);
        assert_eq!((snapshot.count(), snapshot.max()), (3, Some(1 << 50)));
        assert_eq!(snapshot.sum(), (1 << 50) + (1 << 43) + 1);
        assert_eq!(snapshot.quantile(1.0), Some(1 << 50));
        assert_eq!(of(&[1 << 50]).min(), Some(1 << 50));
    }

    #[test]
    fn equal_values_have_an_exact_mean_and_small_ones_an_exact_sum() {
        assert_eq!(of(&[1_000_003; 7]).mean(), Some(1_000_003.0));
        let small: Vec<u64> = (0..64).collect();
        assert_eq!(of(&small).sum(), 63 * 64 / 2);
    }

    #[test]
    fn both_ways_of_recording_agree() {
        let (shared, owned) = (Histogram::new(), Histogram::new());
        let mut rng = Rng::seeded(5);
        for _ in 0..1000 {
            let value = rng.next_u64() >> rng.below(64);
            shared.record(value);
            owned.record_owned(value);
        }
        assert_eq!(shared.snapshot(), owned.snapshot());
    }

    #[test]
    fn a_delta_holds_what_came_in_between() {
        let histogram = Histogram::new();
        histogram.record(10);
        histogram.record(1000);
        let early = histogram.snapshot();
        histogram.record(1000);
        histogram.record(5_000);
        let delta = histogram.snapshot().delta(&early);
        assert_eq!(delta.count(), 2);
        assert!(delta.sum().abs_diff(6_000) <= 6_000 / 64, "{}", delta.sum());
        let (min, max) = (delta.min().unwrap(), delta.max().unwrap());
        assert!((969..=1000).contains(&min), "{min}");
        assert_eq!(max, 5_000, "cut to the largest value ever seen");
        assert!(histogram.snapshot().delta(&histogram.snapshot()).is_empty());
    }

    #[test]
    fn a_replaced_histogram_counts_as_all_new() {
        let old = of(&[5, 5, 70]);
        for fresh in [of(&[5]), of(&[80]), of(&[5, 5]), of(&[1, 5, 5])] {
            assert_eq!(fresh.delta(&old), fresh);
        }
    }

    #[test]
    fn count_at_most_never_counts_too_much() {
        let snapshot = of(&[1, 31, 32, 1000, 1_000_000]);
        let cases = [(0, 0), (1, 1), (31, 2), (999, 3), (1007, 4), (u64::MAX, 5)];
        for (limit, expected) in cases {
            assert_eq!(snapshot.count_at_most(limit), expected, "at most {limit}");
        }
    }

    #[test]
    fn a_lazy_histogram_takes_memory_at_the_first_record() {
        let lazy = LazyHistogram::new();
        assert!(lazy.snapshot().is_empty());
        assert!(!lazy.is_allocated());
        lazy.histogram().record(3);
        assert_eq!((lazy.snapshot().count(), lazy.is_allocated()), (1, true));
    }

    #[test]
    fn concurrent_records_are_all_counted_and_snapshots_stay_sane() {
        let histogram = Histogram::new();
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let histogram = &histogram;
                scope.spawn(move || {
                    let mut rng = Rng::seeded(seed);
                    for _ in 0..20_000 {
                        histogram.record(rng.below(1 << 30));
                    }
                });
            }
            for _ in 0..50 {
                let snapshot = histogram.snapshot();
                if let (Some(min), Some(max)) = (snapshot.min(), snapshot.max()) {
                    let median = snapshot.quantile(0.5).unwrap();
                    assert!(min <= median && median <= max, "{min} {median} {max}");
                }
            }
        });
        assert_eq!(histogram.snapshot().count(), 60_000);
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let value = (0u32..42, any::<u64>()).prop_map(|(bits, v)| v & ((1 << bits) - 1));
        proptest::collection::vec(value, 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn quantiles_are_within_the_promised_error(mut values in values(), q in 0.0..=1.0f64) {
            let snapshot = of(&values);
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1] as f64;
            let found = snapshot.quantile(q).unwrap() as f64;
            prop_assert!((found - exact).abs() <= exact * 0.032, "{found} for {exact}");
        }

        #[test]
        fn sum_and_mean_are_within_the_promised_error(values in values()) {
            let snapshot = of(&values);
            let exact: u64 = values.iter().sum();
            let (sum, mean) = (snapshot.sum(), snapshot.mean().unwrap());
            prop_assert!(sum.abs_diff(exact) <= exact / 64 + 1, "{sum} for {exact}");
            let exact = exact as f64 / values.len() as f64;
            prop_assert!((mean - exact).abs() <= exact / 64.0 + 1e-9, "{mean} for {exact}");
            prop_assert!(mean >= snapshot.min().unwrap() as f64);
            prop_assert!(mean <= snapshot.max().unwrap() as f64);
        }

        #[test]
        fn merging_is_recording_both(a in values(), b in values()) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(&merged, &of(&[a.clone(), b.clone()].concat()));
            let delta = merged.delta(&of(&a));
            prop_assert_eq!(delta.count(), of(&b).count());
            prop_assert_eq!(delta.sum(), of(&b).sum());
        }
    }
}
