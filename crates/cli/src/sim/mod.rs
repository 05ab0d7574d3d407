//! `trunkline sim`: peers that do not exist, on sockets that do.
//!
//! What simulates is `trunkline-sim`, which knows no socket; what moves bytes is `runtime`, which
//! knows no peer. Here one is plugged into the other.

mod fleet;
mod snmp;

pub(crate) use fleet::Server;

use crate::exit::{CliError, Exit};

/// Simulated peers.
#[derive(Debug, clap::Args)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    peers: Peers,
}

#[derive(Debug, clap::Subcommand)]
enum Peers {
    /// Answer as thousands of SNMP agents on one socket, told apart by the address that is asked.
    Snmp(snmp::Args),
}

/// Runs until the time is over or somebody interrupts.
///
/// # Errors
/// Why it could not begin.
pub(crate) fn run(args: &SimArgs) -> Result<Exit, CliError> {
    match &args.peers {
        Peers::Snmp(args) => snmp::run(args),
    }
}
