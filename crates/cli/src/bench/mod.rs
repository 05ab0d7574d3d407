//! `trunkline bench`: load on real peers, over the same code path as the daemon's own work.

mod load;
mod report;
mod snmp;

use crate::exit::{CliError, Exit};

/// Load generators.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    peers: Peers,
}

#[derive(Debug, clap::Subcommand)]
enum Peers {
    /// Ask SNMP agents as fast as they answer, or at a rate, and say what that took.
    Snmp(snmp::Args),
}

/// Runs until the time is over or somebody interrupts.
///
/// # Errors
/// Why it could not begin.
pub(crate) fn run(args: &BenchArgs) -> Result<Exit, CliError> {
    match &args.peers {
        Peers::Snmp(args) => snmp::run(args),
    }
}
