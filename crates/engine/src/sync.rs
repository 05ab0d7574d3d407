//! The atomics of the shared words, exchanged for loom's when its tests run.
//!
//! Only the crate's own test build with the feature `loom` is exchanged: a library built with the
//! feature still runs outside of `loom::model`.

#[cfg(all(test, feature = "loom"))]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(all(test, feature = "loom"))]
pub(crate) use loom::thread::yield_now;

#[cfg(not(all(test, feature = "loom")))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(all(test, feature = "loom")))]
pub(crate) use std::thread::yield_now;
