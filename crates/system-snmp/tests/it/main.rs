//! The SNMP manager against simulated agents, in virtual time and on loopback sockets.

mod rig;
mod sockets;
mod world;
