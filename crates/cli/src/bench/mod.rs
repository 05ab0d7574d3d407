//! `trunkline bench`: load on real peers, over the same code path as the daemon's own work.

mod load;
mod report;
mod snmp;

use std::process::ExitCode;

/// Load generators.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    peers: Peers,
}

#[derive(Debug, clap::Subcommand)]
enum Peers {
    /// Ask SNMP agents as fast as they answer, or at a rate, and say what that took.
    Snmp(snmp::Args),
}

/// Runs until the time is over or somebody interrupts.
pub(crate) fn run(args: &Args) -> ExitCode {
    match &args.peers {
        Peers::Snmp(args) => snmp::run(args),
    }
}
