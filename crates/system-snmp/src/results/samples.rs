//! The last numeric value of every variable, for `/metrics`.
//!
//! The number of series is bounded: values of a series beyond the bound are counted and left out,
//! never another's in its place. A target's values leave when nothing has renewed them for an hour.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use trunkline_engine::time::WallTime;
use trunkline_wire_snmp::{OidBuf, Value};

use super::{Sink, SinkError};
use crate::poller::Record;

type Key = (Arc<str>, OidBuf);

/// The last values, shared between the sink and whoever renders them.
#[derive(Clone, Debug)]
pub struct Samples {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max_series: usize,
    values: Mutex<Values>,
    left_out: AtomicU64,
}

/// The values, and when the stale ones were last swept out.
#[derive(Debug, Default)]
struct Values {
    by_key: HashMap<Key, Sample>,
    swept_ms: u64,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The number; a Counter64 beyond 2^53 loses its last digits, as in every Prometheus sample.
    pub value: f64,
    /// When the run that found it was due.
    pub at: WallTime,
}

/// How long a value stays that nothing renews.
const STALE_MS: u64 = 3_600_000;

/// How often a full store looks for stale values: a look costs as much as the store is large.
const SWEEP_MS: u64 = 60_000;

impl Samples {
    /// No values yet, and never more than `max_series`.
    pub fn new(max_series: usize) -> Self {
        let (values, left_out) = (Mutex::default(), AtomicU64::new(0));
        Self {
            inner: Arc::new(Inner {
                max_series,
                values,
                left_out,
            }),
        }
    }

    /// Values that found no room.
    pub fn left_out(&self) -> u64 {
        self.inner.left_out.load(Ordering::Relaxed)
    }

    /// Calls `each` with every value, in order of target and OID.
    pub fn for_each(&self, mut each: impl FnMut(&str, &OidBuf, Sample)) {
        let values = self
            .inner
            .values
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all = values.by_key.iter();
        let mut sorted: Vec<(Key, Sample)> = all.map(|(k, v)| (k.clone(), *v)).collect();
        drop(values);
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        for ((target, oid), sample) in sorted {
            each(&target, &oid, sample);
        }
    }
}

impl Sink for Samples {
    fn write(&mut self, batch: &[Arc<Record>]) -> Result<(), SinkError> {
        let mut values = self
            .inner
            .values
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for record in batch {
            for varbind in record.varbinds() {
                let Some(value) = number(&varbind.value) else {
                    continue;
                };
                let key = (record.target.clone(), varbind.oid.to_owned());
                let at_ms = record.at.as_unix_millis();
                if !values.has_room(&key, self.inner.max_series, at_ms) {
                    self.inner.left_out.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                values.by_key.insert(
                    key,
                    Sample {
                        value,
                        at: record.at,
                    },
                );
            }
        }
        Ok(())
    }
}

impl Values {
    /// Whether a value of `key` may be kept.
    fn has_room(&mut self, key: &Key, max_series: usize, at_ms: u64) -> bool {
        if self.by_key.len() < max_series || self.by_key.contains_key(key) {
            return true;
        }
        if at_ms >= self.swept_ms + SWEEP_MS {
            self.swept_ms = at_ms;
            self.by_key
                .retain(|_, old| old.at.as_unix_millis() + STALE_MS > at_ms);
        }
        self.by_key.len() < max_series
    }
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(f64::from(*n)),
        Value::Counter32(n) | Value::Gauge32(n) | Value::TimeTicks(n) | Value::UInteger32(n) => {
            Some(f64::from(*n))
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sample is a double; the docs say so"
        )]
        Value::Counter64(n) => Some(*n as f64),
        Value::OpaqueFloat(x) => Some(f64::from(*x)),
        Value::OpaqueDouble(x) => Some(*x),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_wire_snmp::encode_varbinds;

    fn record(target: &str, at_ms: u64) -> Arc<Record> {
        let oid: OidBuf = "1.3.6.1.2.1.1.3.0".parse().unwrap();
        let page = encode_varbinds(&[(oid.as_oid(), Value::TimeTicks(7))]).unwrap();
        let mut record = crate::results::tests::record(target);
        record.at = WallTime::from_unix_millis(at_ms);
        record.pages.push(page);
        Arc::new(record)
    }

    fn names(samples: &Samples) -> Vec<String> {
        let mut names = Vec::new();
        samples.for_each(|target, _, _| names.push(target.to_owned()));
        names
    }

    #[test]
    fn a_full_store_keeps_its_own_and_lets_stale_ones_go() {
        let samples = Samples::new(2);
        let mut sink = samples.clone();
        let now_ms = 10 * STALE_MS;
        sink.write(&[
            record("a", now_ms),
            record("b", now_ms),
            record("c", now_ms),
        ])
        .unwrap();
        assert_eq!(
            (names(&samples), samples.left_out()),
            (vec!["a".into(), "b".into()], 1)
        );
        let later_ms = now_ms + STALE_MS / 2;
        sink.write(&[record("a", later_ms), record("c", now_ms + STALE_MS)])
            .unwrap();
        assert_eq!(
            (names(&samples), samples.left_out()),
            (vec!["a".into(), "c".into()], 1)
        );
    }
}
