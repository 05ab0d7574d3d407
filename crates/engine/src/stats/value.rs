//! One number that many threads may read while it changes.
//!
//! Relaxed everywhere: a metric orders nothing. A counter with one writer is a load and a store,
//! which costs a fraction of a locked add; two writers on one counter must use [`Counter::add`],
//! or counts are lost. A reader may always call `value`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows (and wraps after 2^64).
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`; any number of threads may do so.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Adds `n` by load and store. Only the counter's one owner may call it: beside another writer
    /// additions get lost (nothing worse).
    #[inline]
    pub fn add_owned(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The sum so far.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Moves the value by `by`, up or down; any number of threads may do so.
    #[inline]
    pub fn shift(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_adds_from_several_threads_are_all_counted() {
        let (counter, gauge) = (Counter::new(), Gauge::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        counter.add(2);
                        gauge.shift(3);
                        gauge.shift(-2);
                    }
                });
            }
        });
        assert_eq!(counter.value(), 80_000);
        assert_eq!(gauge.value(), 40_000);
    }

    #[test]
    fn owned_adds_accumulate_and_wrap() {
        let counter = Counter::new();
        counter.add_owned(u64::MAX);
        counter.add_owned(3);
        assert_eq!(counter.value(), 2);
    }

    #[test]
    fn a_gauge_takes_any_value() {
        let gauge = Gauge::new();
        gauge.set(-5);
        gauge.shift(2);
        assert_eq!(gauge.value(), -3);
    }
}
