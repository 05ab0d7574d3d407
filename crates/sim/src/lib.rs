//! A network that misbehaves on purpose, a world that runs in made-up time, and simulated peers.
//!
//! Nothing here reads a clock, opens a socket or touches a file. [`netem`] carries datagrams and
//! damages them by a seed; [`world`] runs a client machine against peer machines over it, jumping
//! from one wake-up to the next; the peers of each protocol stand behind a feature. The same
//! machines answer on real sockets when a driver moves their bytes.

pub mod netem;
#[cfg(feature = "snmp")]
pub mod snmp;
pub mod world;
