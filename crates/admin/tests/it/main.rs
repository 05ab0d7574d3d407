//! Both doors on a real kernel: loopback, a temporary directory, made-up operations.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod auth;
mod dashboard;
mod hostile;
mod http;
mod lifecycle;
mod place;
mod socket;
mod world;
