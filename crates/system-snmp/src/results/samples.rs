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
    values: Mutex<HashMap<Key, Sample>>,
    left_out: AtomicU64,
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
        let mut sorted: Vec<(Key, Sample)> = values.iter().map(|(k, v)| (k.clone(), *v)).collect();
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
                if values.len() >= self.inner.max_series && !values.contains_key(&key) {
                    let now_ms = record.at.as_unix_millis();
                    values.retain(|_, old| old.at.as_unix_millis() + STALE_MS > now_ms);
                    if values.len() >= self.inner.max_series {
                        self.inner.left_out.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                }
                values.insert(
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
