//! The built binary against real and hostile peers.

mod agent;
mod diagnosis;
mod exits;
mod formats;
mod snmpd;
mod support;
mod values;
