//! The fault network, the world in virtual time, and simulated peers as machines.
