//! The built binary against real and hostile peers.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, helpers included"
)]

mod agent;
mod daemon;
mod demo;
mod diagnosis;
mod exits;
mod formats;
mod refused;
mod sim;
mod snmpd;
mod support;
mod values;
