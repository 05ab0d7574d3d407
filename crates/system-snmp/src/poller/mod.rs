//! The poller.
mod schedule;
