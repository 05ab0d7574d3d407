//! The parts that are equally true for every Trunkline system.
//!
//! The engine is parts, not a framework: there is no trait that all systems implement and no loop.
//! Every part is a state machine that takes the time and the dice as arguments, answers at once,
//! and says when it wants to be asked again. Nothing here reads a clock, waits, spawns, opens or
//! logs, so every test of it runs in made-up time and repeats exactly.

pub mod datagram;
pub mod fault;
pub mod rng;
pub mod time;
