//! How the benches measure and print.
//!
//! A figure is the median of interleaved rounds by thread CPU time, with its spread, and a ratio to
//! one uncontended relaxed `fetch_add` that was measured just before and just after it. So it means
//! the same on another machine, and a machine that is busy or changes its clock speed during the
//! run disturbs both sides alike.

pub mod clock;
pub mod measure;
pub mod options;
pub mod report;
