//! The `trunkline` command: one variant per verb, everything else in the verb's module.
//!
//! Data goes to stdout and talk to stderr, and the exit code is an interface (see [`exit`]). A
//! reader that closes the pipe has seen enough: that is success, not an error.

mod about;
mod bench;
mod config;
mod daemon;
mod demo;
mod exit;
mod interrupt;
mod output;
mod remote;
mod run;
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
    /// Run the daemon: poll what is configured until told to stop.
    Run(run::RunArgs),
    /// Stop the daemon; a second time forces.
    Stop(remote::RemoteArgs),
    /// Check a configuration file.
    Validate(config::ValidateArgs),
    /// Write, show or describe the configuration.
    Config(config::ConfigArgs),
    /// The daemon in short.
    Status(remote::RemoteArgs),
    /// Whether the daemon is well, for people and for monitoring.
    Check(remote::CheckArgs),
    /// Every target: state, counters, round trip.
    Targets(remote::TargetsArgs),
    /// Breakers that are not closed, or force one.
    Breakers(remote::BreakersArgs),
    /// The engines, or change one.
    Routers(remote::RoutersArgs),
    /// The books.
    Ledger(remote::SystemArgs),
    /// Sockets, queues and datagrams, per shard.
    Inspect(remote::SystemArgs),
    /// Dead letters: ls, show, redrive, purge.
    Letters(remote::LettersArgs),
    /// Take a target out of service.
    Drain(remote::DrainArgs),
    /// Put a target back into service.
    Resume(remote::DrainArgs),
    /// Watch what changes, as it happens.
    Events(remote::RemoteArgs),
    /// Read the configuration file again.
    Reload(remote::RemoteArgs),
    /// List everything that the daemon can be asked.
    Operations(remote::RemoteArgs),
    /// Call any operation.
    Call(remote::CallArgs),
    /// What an error code means and what to do.
    Explain(config::ExplainArgs),
    /// Explain exit codes, environment variables or output.
    Help(about::HelpArgs),
    /// Print a completion script for a shell.
    Completion(about::CompletionArgs),
    /// Print the manual page.
    Man,
    /// Ask SNMP agents: get, set, walk, scan.
    Snmp(snmp::SnmpArgs),
    /// Poll 1,000 simulated devices, a fifth of them faulty, and show the books.
    Demo(demo::DemoArgs),
    /// Put load on real peers and measure.
    Bench(bench::BenchArgs),
    /// Answer as simulated peers.
    Sim(sim::SimArgs),
}

impl Verb {
    fn run(self) -> Result<Exit, CliError> {
        match self {
            Self::Run(args) => run::run(&args),
            Self::Stop(args) => remote::process(&args, "stop"),
            Self::Validate(args) => config::validate(&args),
            Self::Config(args) => config::config(&args),
            Self::Status(args) => remote::process(&args, "status"),
            Self::Check(args) => remote::check(&args),
            Self::Targets(args) => remote::run(&args.which.remote, args.call()),
            Self::Breakers(args) => remote::run(&args.which.remote, args.call()),
            Self::Routers(args) => remote::run(&args.which.remote, args.call()),
            Self::Ledger(args) => remote::run(&args.which.remote, args.call("engine", "ledger")),
            Self::Inspect(args) => remote::run(&args.which.remote, args.call("engine", "stats")),
            Self::Letters(args) => {
                let (remote, call) = args.call();
                remote::run(&remote, call)
            }
            Self::Drain(args) => remote::run(&args.which.remote, args.call("drain")),
            Self::Resume(args) => remote::run(&args.which.remote, args.call("resume")),
            Self::Events(args) => remote::watch(&args, "events"),
            Self::Reload(args) => remote::process(&args, "reload"),
            Self::Operations(args) => remote::operations(&args),
            Self::Call(args) => remote::call(&args.remote, &args),
            Self::Explain(args) => config::explain(&args),
            Self::Help(args) => about::help(&args),
            Self::Completion(args) => about::completion::<Cli>(&args),
            Self::Man => about::man::<Cli>(),
            Self::Snmp(args) => snmp::run(args),
            Self::Demo(args) => demo::run(&args),
            Self::Bench(args) => bench::run(&args),
            Self::Sim(args) => sim::run(&args),
        }
    }
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
    match cli.verb.run() {
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
