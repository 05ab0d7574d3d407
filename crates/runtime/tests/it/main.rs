//! The runtime on a real kernel: loopback sockets, files, signals.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod child;
mod letters;
mod office;
mod operation;
mod shutdown;
mod temp;
mod udp;
