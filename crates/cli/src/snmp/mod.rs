//! `trunkline snmp …`: net-snmp's tools on this engine, for one agent or for thousands.
//!
//! Flags, defaults and output are net-snmp's where they do not collide with ours, so that a script
//! can change the command's name and nothing else. What differs is said in the help: the version
//! defaults to 2c and the community to public, exit codes are ours, names need numbers since no
//! MIBs are loaded, and errors are followed by a line that says what to do.

mod agents;
mod args;
mod assign;
mod diagnose;
mod exchange;
mod oid;
mod print;
mod scan;
mod session;
mod walk;

use crate::exit::{CliError, Exit};

use args::SnmpVerb;
pub(crate) use args::join_end_oid;

/// Asks SNMP agents. No daemon and no configuration are needed.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct SnmpArgs {
    #[command(subcommand)]
    verb: SnmpVerb,
}

/// Runs one verb.
pub(crate) fn run(args: SnmpArgs) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("starting the event loop: {error}")))?;
    let ended = runtime.block_on(async {
        match args.verb {
            SnmpVerb::Get(args) => exchange::get(args).await,
            SnmpVerb::Getnext(args) => exchange::getnext(args).await,
            SnmpVerb::Getbulk(args) => exchange::getbulk(args).await,
            SnmpVerb::Set(args) => exchange::set(args).await,
            SnmpVerb::Walk(args) => walk::walk(args).await,
            SnmpVerb::Bulkwalk(args) => walk::bulkwalk(args).await,
            SnmpVerb::Scan(args) => scan::scan(args).await,
        }
    });
    // A resolver that hangs must not hold up the end.
    runtime.shutdown_background();
    ended
}
