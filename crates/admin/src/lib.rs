//! Both ends of the control protocol, and HTTP.
//!
//! Everything that a person or a program may ask is an operation in the runtime's registry; this
//! crate carries calls to it and answers back, and knows no operation by its meaning. It has two
//! doors: a Unix socket, open to those whom the file system lets in, and HTTP, where all but the
//! probes needs a token. What a foreign caller sends is bounded in bytes, time and number, and
//! whatever foreign words go out again are escaped for the reader that they go to.

mod client;
mod config;
mod counters;
mod dashboard;
mod explain;
mod http;
mod json;
mod limits;
mod pace;
mod server;
mod socket;

pub use client::{CallError, ControlClient, Items, RemoteError};
pub use config::{AdminConfig, MetricsAccess};
pub use explain::{EXPLANATIONS, codes};
pub use limits::Limits;
pub use server::{AdminError, AdminServer, HealthReport};
pub use socket::socket_path;
