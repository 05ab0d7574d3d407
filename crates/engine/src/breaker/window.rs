//! A failure rate over the last while, from ten exact buckets.
//!
//! Buckets and not a moving average: a burst gives each sample of an average almost no weight, so
//! a fast outage can hide in it. A bucket is one word, epoch (24 bits), bad (20), total (20); a
//! count is one relaxed addition. A bucket of another epoch is started anew by compare-and-swap.
//!
//! Edge cases. A total near its 20 bits is halved together with its bad count, so nothing carries
//! into the neighbour and the rate stays true. Epochs are equal again after 2^24 buckets: `head`
//! holds the newest epoch in full, and a gap of ten buckets or more clears the ring. A thread that
//! is late by less than the window still counts in the bucket of its own time. A ring keeps the
//! length that it was made for, so that its epochs mean one thing. Racing with a turn
//! of the ring may misplace one call per thread, which no threshold is fine enough to notice.

use super::{BreakerPolicy, RateRule};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::time::Time;
use std::num::NonZeroU64;

const BUCKETS: usize = 10;
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const EPOCH_SHIFT: u32 = 2 * COUNT_BITS;
const EPOCH_MASK: u64 = (1 << 24) - 1;
const TOTALS: u64 = (1 << EPOCH_SHIFT) - 1;
/// Halve from here: what lies above is room for as many threads that add at the same moment.
const TOTAL_HIGH: u64 = COUNT_MASK - 4096;

/// Bad calls among all calls of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that failed, or that were slow.
    pub bad: u32,
    /// All calls.
    pub total: u32,
}

impl Tally {
    /// The share of bad calls; 0 without calls.
    pub fn rate(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        f64::from(self.bad) / f64::from(self.total)
    }

    /// In whole millionths, so that a threshold of 0.1 is met by 10 of 100 (0.1 as `f32` is more).
    pub(super) fn exceeds(&self, rule: &RateRule) -> bool {
        let millionths = (f64::from(rule.threshold) * 1e6).round() as u64;
        let enough = self.total >= rule.min_calls.max(1);
        enough && u64::from(self.bad) * 1_000_000 >= millionths.max(1) * u64::from(self.total)
    }
}

/// The windows that a policy asks for.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) failures: Option<Ring>,
    pub(super) slow: Option<Box<Ring>>,
}

impl Windows {
    pub(super) fn for_policy(policy: &BreakerPolicy) -> Option<Box<Self>> {
        let windows = Self {
            failures: policy.failure_rate.as_ref().map(Ring::new),
            slow: policy
                .slow_rate
                .as_ref()
                .map(|rule| Box::new(Ring::new(rule))),
        };
        let any = windows.failures.is_some() || windows.slow.is_some();
        any.then(|| Box::new(windows))
    }

    /// Whether there is a ring of the right length for each rule of `policy`.
    pub(super) fn fit(windows: Option<&Self>, policy: &BreakerPolicy) -> bool {
        let failures = windows.and_then(|w| w.failures.as_ref());
        let slow = windows.and_then(|w| w.slow.as_deref());
        let fits = |ring: Option<&Ring>, rule: &Option<RateRule>| {
            rule.as_ref()
                .is_none_or(|rule| ring.is_some_and(|ring| ring.fits(rule)))
        };
        fits(failures, &policy.failure_rate) && fits(slow, &policy.slow_rate)
    }

    /// Counts a call that was neither failed nor slow.
    #[inline]
    pub(super) fn count_good(&self, now: Time) {
        if let Some(ring) = &self.failures {
            ring.add(false, now);
        }
        if let Some(ring) = &self.slow {
            ring.add(false, now);
        }
    }

    pub(super) fn clear(&self) {
        self.failures.iter().for_each(Ring::clear);
        self.slow.iter().for_each(|ring| ring.clear());
    }
}

/// Ten buckets of (bad, total).
#[derive(Debug)]
pub(super) struct Ring {
    width: NonZeroU64,
    head: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Ring {
    pub(super) fn new(rule: &RateRule) -> Self {
        Self {
            width: rule.bucket_nanos(),
            head: AtomicU64::new(0),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    pub(super) fn fits(&self, rule: &RateRule) -> bool {
        self.width == rule.bucket_nanos()
    }

    /// Counts one call.
    #[inline]
    pub(super) fn add(&self, bad: bool, now: Time) {
        let epoch = self.turn(now);
        let tag = (epoch & EPOCH_MASK) << EPOCH_SHIFT;
        let step = 1 | u64::from(bad) << COUNT_BITS;
        let bucket = &self.buckets[slot(epoch)];
        let seen = bucket.load(Relaxed);
        if seen & !TOTALS == tag && seen & COUNT_MASK < TOTAL_HIGH {
            bucket.fetch_add(step, Relaxed);
        } else {
            restart(bucket, seen, tag, step);
        }
    }

    /// The sum over the window that ends now.
    pub(super) fn sum(&self, now: Time) -> Tally {
        let epoch = self.turn(now);
        let mut tally = Tally::default();
        for bucket in &self.buckets {
            let word = bucket.load(Relaxed);
            let age = epoch.wrapping_sub(word >> EPOCH_SHIFT) & EPOCH_MASK;
            if age < BUCKETS as u64 {
                tally.bad += count(word >> COUNT_BITS);
                tally.total += count(word);
            }
        }
        tally
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
    }

    /// The epoch of `now`. The division is paid once per bucket: otherwise the head still holds.
    #[inline]
    fn turn(&self, now: Time) -> u64 {
        let head = self.head.load(Relaxed);
        let into = now
            .as_nanos()
            .wrapping_sub(head.wrapping_mul(self.width.get()));
        if into < self.width.get() {
            return head;
        }
        self.advance(head, now.as_nanos() / self.width)
    }

    #[cold]
    fn advance(&self, head: u64, epoch: u64) -> u64 {
        if epoch > head {
            let turned = self.head.compare_exchange(head, epoch, Relaxed, Relaxed);
            if turned.is_ok() && epoch - head >= BUCKETS as u64 {
                self.clear();
            }
        }
        epoch
    }
}

/// Starts a bucket for its new epoch, or halves a full one, and adds `step`.
#[cold]
fn restart(bucket: &AtomicU64, mut seen: u64, tag: u64, step: u64) {
    loop {
        let (bad, total) = (seen >> COUNT_BITS & COUNT_MASK, seen & COUNT_MASK);
        let next = if seen & !TOTALS != tag {
            tag + step
        } else if total >= TOTAL_HIGH {
            tag + ((bad / 2) << COUNT_BITS) + total / 2 + step
        } else {
            seen + step
        };
        match bucket.compare_exchange(seen, next, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

fn slot(epoch: u64) -> usize {
    (epoch % BUCKETS as u64) as usize
}

fn count(word: u64) -> u32 {
    (word & COUNT_MASK) as u32
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use std::time::Duration;

    const RULE: RateRule = RateRule {
        window: Duration::from_secs(1),
        min_calls: 10,
        threshold: 0.5,
    };
    const WIDTH: Duration = Duration::from_millis(100);

    fn tally(bad: u32, total: u32) -> Tally {
        Tally { bad, total }
    }

    #[test]
    fn calls_leave_the_window_bucket_by_bucket() {
        let (ring, start) = (Ring::new(&RULE), Time::from_millis(12_345));
        for step in 0..30u32 {
            let now = start + WIDTH * step;
            ring.add(step % 2 == 0, now);
            ring.add(false, now);
            let expected = match step {
                0..10 => tally(step / 2 + 1, 2 * step + 2),
                _ => tally(5, 20),
            };
            assert_eq!(ring.sum(now), expected, "step {step}");
        }
        let last = start + WIDTH * 29;
        assert_eq!(ring.sum(last + WIDTH * 9), tally(0, 2));
        assert_eq!(ring.sum(last + WIDTH * 10), tally(0, 0));
    }

    #[test]
    fn a_full_bucket_halves_and_never_carries_into_its_neighbours() {
        let (ring, now) = (Ring::new(&RULE), Time::from_millis(150));
        for call in 0..1_200_000u32 {
            ring.add(call % 4 != 0, now);
        }
        let sum = ring.sum(now);
        assert!(
            sum.total > 500_000 && u64::from(sum.total) <= COUNT_MASK,
            "{sum:?}"
        );
        assert!((sum.rate() - 0.75).abs() < 0.001, "{sum:?}");
        assert_eq!(ring.sum(now + WIDTH * 10), tally(0, 0));
    }

    #[test]
    fn a_bucket_of_only_failures_saturates_too() {
        let (ring, now) = (Ring::new(&RULE), Time::from_millis(150));
        let near = COUNT_MASK << COUNT_BITS | COUNT_MASK;
        ring.buckets[1].store(1 << EPOCH_SHIFT | near, Relaxed);
        ring.head.store(1, Relaxed);
        ring.add(true, now);
        let half = u32::try_from(COUNT_MASK / 2 + 1).unwrap();
        assert_eq!(ring.sum(now), tally(half, half));
    }

    #[test]
    fn epochs_that_are_equal_after_their_wrap_do_not_revive_old_calls() {
        for wraps in [1u64, 5] {
            let (ring, now) = (Ring::new(&RULE), Time::from_millis(100));
            ring.add(true, now);
            let gap = 100_000_000 * (EPOCH_MASK + 1) * wraps * 5;
            let later = Time::from_nanos(now.as_nanos() + gap);
            assert_eq!(slot(later.as_nanos() / 100_000_000), 1, "the same bucket");
            assert_eq!(ring.sum(later), tally(0, 0));
            ring.add(false, later);
            assert_eq!(ring.sum(later), tally(0, 1));
        }
    }

    #[test]
    fn a_thread_with_an_older_clock_counts_in_its_own_bucket() {
        let (ring, now) = (Ring::new(&RULE), Time::from_millis(2_000));
        ring.add(false, now);
        ring.add(true, now - WIDTH * 3);
        assert_eq!(ring.sum(now), tally(1, 2));
        assert_eq!(ring.sum(now + WIDTH * 7), tally(0, 1));
    }

    #[test]
    fn a_tenth_is_reached_by_ten_of_a_hundred() {
        for (threshold, bad, met) in [
            (0.1, 10, true),
            (0.1, 9, false),
            (0.7, 70, true),
            (0.3, 30, true),
            (1.0, 99, false),
            (1.0, 100, true),
        ] {
            let rule = RateRule { threshold, ..RULE };
            assert_eq!(
                tally(bad, 100).exceeds(&rule),
                met,
                "{bad} of 100 at {threshold}"
            );
        }
        assert!(!tally(9, 9).exceeds(&RULE), "below min_calls");
        assert!(
            !tally(0, 100).exceeds(&RateRule {
                threshold: 0.0,
                ..RULE
            }),
            "no failure at all"
        );
    }
}
