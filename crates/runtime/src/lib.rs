//! What awaits, spawns, opens and reads the clock.
//!
//! The engine's state machines answer at once and say when they want to be asked again; this crate
//! holds the other halves: the clock, the socket driver, the operation registry, signals and the
//! shutdown run, the log, metrics, state on disk and the dead letter log. Unsafe code lives under
//! `sys`, one small file per facility, and nowhere else.

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("Trunkline runs on Linux 5.10 or later, on x86-64 and aarch64.");

pub mod clock;
pub mod doorbell;
pub mod entropy;
pub mod letters;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod office;
pub mod operation;
pub mod process;
pub mod queue;
pub mod shutdown;
pub mod state;
pub mod thread;
pub mod udp;

mod sys;
#[cfg(test)]
mod testing;
