//! The codec against the RFCs, against itself, and against hostile bytes.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod generate;
mod golden;
mod hostile;
mod order;
mod refused;
mod round_trip;
