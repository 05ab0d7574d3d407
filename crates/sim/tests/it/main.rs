//! The world and the simulated peers, seen from outside.

mod agents;
mod asking;
mod faults;
mod walks;
mod worlds;
