//! `trunkline sim`: peers that do not exist, on sockets that do.
//!
//! What simulates is `trunkline-sim`, which knows no socket; what moves bytes is `runtime`, which
//! knows no peer. Here one is plugged into the other.

mod fleet;
mod snmp;

pub(crate) use fleet::{ServeError, Server};

use std::process::ExitCode;

/// Simulated peers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    peers: Peers,
}

#[derive(Debug, clap::Subcommand)]
enum Peers {
    /// Answer as thousands of SNMP agents on one socket, told apart by the address that is asked.
    Snmp(snmp::Args),
}

/// Runs until the time is over or somebody interrupts.
pub(crate) fn run(args: &Args) -> ExitCode {
    match &args.peers {
        Peers::Snmp(args) => snmp::run(args),
    }
}
