//! Tests of the engine's parts together, through the public interface alone.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, helpers included"
)]

mod books;
mod distribution;
mod hot_swap;
