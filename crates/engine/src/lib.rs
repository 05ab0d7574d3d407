//! The parts that are equally true for every Trunkline system.
//!
//! The engine is parts, not a framework: there is no trait that all systems implement and no loop.
//! Every part is a state machine that takes the time and the dice as arguments, answers at once,
//! and says when it wants to be asked again. Nothing here reads a clock, waits, spawns, opens or
//! logs, so every test of it runs in made-up time and repeats exactly.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod correlate;
pub mod datagram;
pub mod fault;
pub mod guard;
pub mod health;
pub mod lane;
pub mod ledger;
pub mod letters;
pub mod limit;
pub mod policy;
pub mod retry;
pub mod rng;
pub mod router;
pub mod shutdown;
pub mod stats;
mod sync;
pub(crate) mod text;
pub mod time;
pub mod wheel;
