//! The world and the simulated peers, seen from outside.

#[cfg(feature = "snmp")]
mod agents;
#[cfg(feature = "snmp")]
mod asking;
#[cfg(feature = "snmp")]
mod faults;
#[cfg(feature = "snmp")]
mod fleets;
#[cfg(feature = "snmp")]
mod walks;
mod worlds;
