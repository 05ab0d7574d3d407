//! The `trunkline` command: one variant per verb, everything else in the verb's module.
//!
//! Data goes to stdout and talk to stderr, and the exit code is an interface (see [`exit`]). A
//! reader that closes the pipe has seen enough: that is success, not an error.

mod bench;
mod demo;
mod exit;
mod interrupt;
mod output;
mod sim;
mod snmp;

use std::process::ExitCode;

use clap::Parser;

use exit::{CliError, Exit};

/// A traffic engine for peers that you cannot trust to answer.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, max_term_width = 100)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Ask SNMP agents: get, set, walk, scan.
    Snmp(snmp::SnmpArgs),
    /// Poll 1,000 simulated devices, a fifth of them faulty, and show the books.
    Demo(demo::DemoArgs),
    /// Put load on real peers and measure.
    Bench(bench::BenchArgs),
    /// Answer as simulated peers.
    Sim(sim::SimArgs),
}

fn main() -> ExitCode {
    let args = snmp::join_end_oid(std::env::args_os().collect());
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // Nobody is left to tell when even this cannot be written.
            error.print().ok();
            return if asked_for { Exit::Done } else { Exit::Usage }.into();
        }
    };
    let ended = match cli.verb {
        Verb::Snmp(args) => snmp::run(args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Sim(args) => sim::run(&args),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => report(&error).into(),
    }
}

fn report(error: &CliError) -> Exit {
    if !error.is_broken_pipe() {
        output::talk(&format!("trunkline: {error}\n"));
    }
    error.exit()
}
