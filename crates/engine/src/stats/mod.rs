//! Counting and measuring, and handing the numbers out.
//!
//! Recording is a few relaxed atomic steps and never waits; everything that costs (windows,
//! percentiles, text) happens where somebody asks. A reader sees cumulative values; windows are
//! made of deltas between them, so one reader never disturbs another and nothing needs a reset.

mod csv;
mod errors;
mod exposition;
mod histogram;
mod hub;
mod json;
mod ladder;
mod open_metrics;
mod set;
mod top_k;
mod value;

pub use errors::{ErrorCount, ErrorEntry, ErrorRing};
pub use exposition::{Exposition, ExpositionFault, FamilyWriter, Kind, Number, Unit};
pub use histogram::{Histogram, HistogramSnapshot, LazyHistogram};
pub use hub::{Hub, Subscription, TooManySubscribers};
pub use ladder::{Cumulative, GaugeReading, GaugeSpan, Ladder, LadderPolicy, PolicyError};
pub use ladder::{Rung, Window};
pub use set::{MetricError, MetricSet, MetricView, Summary};
pub use top_k::TopK;
pub use value::{Counter, Gauge};
