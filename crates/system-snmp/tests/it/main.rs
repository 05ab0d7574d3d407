//! The SNMP manager against simulated agents, in virtual time and on loopback sockets.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, a failure is what a panic is for"
)]

mod rig;
mod sockets;
mod world;
