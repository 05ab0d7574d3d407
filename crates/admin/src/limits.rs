//! How much, how many and how long: the bounds of both doors.
//!
//! They protect the process from its callers and are no knobs for operators: nobody who stays
//! within reason meets them. A test does, with smaller ones.

use std::time::Duration;

/// The bounds of both doors; reaching one is counted and answered where an answer is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections to the control socket at once.
    pub socket_connections: usize,
    /// Calls in flight per connection to the control socket.
    pub calls_per_connection: usize,
    /// The longest request line of the control socket, and the longest HTTP body, in bytes.
    pub request_bytes: usize,
    /// The longest answer, or item of a stream, in bytes.
    pub answer_bytes: usize,
    /// Connections over HTTP at once.
    pub http_connections: usize,
    /// The longest head of an HTTP request, in bytes.
    pub head_bytes: usize,
    /// How long a request may take to arrive: a line, an HTTP head, an HTTP body each.
    pub receive: Duration,
    /// How long a connection may rest between two requests.
    pub idle: Duration,
    /// How long a reader may take none of what is written to him.
    pub stall: Duration,
    /// How long one answer, or one item of a stream, may take to be read as a whole.
    pub answer: Duration,
    /// Scrapes of the metrics at once.
    pub scrapes: usize,
}

impl Default for Limits {
    /// 64 connections with 16 calls each; 256 over HTTP; requests of 1 MiB, answers of 64 MiB,
    /// heads of 32 KiB; 10 s to receive, 10 s of stall, 60 s for a long answer, 5 min of rest.
    fn default() -> Self {
        Self {
            socket_connections: 64,
            calls_per_connection: 16,
            request_bytes: 1 << 20,
            answer_bytes: 64 << 20,
            http_connections: 256,
            head_bytes: 32 << 10,
            receive: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            stall: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            scrapes: 4,
        }
    }
}
