//! The flags of the remote verbs, and the calls that they stand for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Call;
use crate::output::Format;

/// How to reach the daemon and how to print.
#[derive(Clone, Debug, Args)]
pub(crate) struct RemoteArgs {
    /// The daemon's control socket; found by itself as `trunkline run` chooses it.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Seconds to wait for the answer.
    #[arg(long, default_value = "10", value_name = "SECONDS")]
    #[arg(value_parser = parse_timeout, allow_negative_numbers = true)]
    pub(crate) timeout: Duration,
    /// How to print.
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    pub(crate) format: Format,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.001..=86_400.0).contains(seconds));
    let seconds = seconds.ok_or("write seconds from 0.001 to 86400, such as 0.5")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Which system.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// The system's name, when there are several.
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

/// `trunkline targets`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetsArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only names that contain this.
    name: Option<String>,
    /// Only this state: up, down, unknown, drained or unresolved.
    #[arg(long)]
    state: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

impl TargetsArgs {
    pub(crate) fn call(&self) -> Call {
        let input = json!({ "name": self.name, "state": self.state, "limit": self.limit });
        Call::new("snmp", self.which.system.as_deref(), "targets", input)
    }
}

/// `trunkline breakers`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BreakersArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Closed ones too.
    #[arg(long)]
    all: bool,
    /// Force this target's breaker instead of listing.
    #[arg(long, value_name = "TARGET", requires = "to")]
    force: Option<String>,
    /// To this: open, closed, half-open or auto.
    #[arg(long, value_name = "STATE", requires = "force")]
    to: Option<String>,
}

impl BreakersArgs {
    pub(crate) fn call(&self) -> Call {
        let system = self.which.system.as_deref();
        match &self.force {
            Some(target) => {
                let input = json!({ "target": target, "state": self.to });
                Call::new("engine", system, "breaker", input)
            }
            None => Call::new("engine", system, "breakers", json!({ "all": self.all })),
        }
    }
}

/// `trunkline routers`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RoutersArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// The engine to act on.
    #[arg(long)]
    engine: Option<String>,
    /// Mark it: up, down or auto.
    #[arg(long, requires = "engine")]
    mark: Option<String>,
    /// Give it this weight.
    #[arg(long, requires = "engine")]
    weight: Option<u32>,
    /// Take it out of service (true) or put it back (false).
    #[arg(long, requires = "engine")]
    drain: Option<bool>,
    /// Change the strategy.
    #[arg(long)]
    strategy: Option<String>,
}

impl RoutersArgs {
    pub(crate) fn call(&self) -> Call {
        let system = self.which.system.as_deref();
        if self.engine.is_none() && self.strategy.is_none() {
            return Call::new("engine", system, "routers", json!({}));
        }
        let input = json!({
            "engine": self.engine,
            "mark": self.mark,
            "weight": self.weight,
            "drain": self.drain,
            "strategy": self.strategy,
        });
        Call::new("engine", system, "router", input)
    }
}

/// `trunkline drain` and `trunkline resume`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// The target.
    target: String,
}

impl DrainArgs {
    pub(crate) fn call(&self, verb: &str) -> Call {
        let input = json!({ "target": self.target });
        Call::new("snmp", self.which.system.as_deref(), verb, input)
    }
}

/// A verb about one system that takes nothing more.
#[derive(Clone, Debug, Args)]
pub(crate) struct SystemArgs {
    #[command(flatten)]
    pub(crate) which: Which,
}

impl SystemArgs {
    pub(crate) fn call(&self, kind: &'static str, operation: &str) -> Call {
        Call::new(kind, self.which.system.as_deref(), operation, json!({}))
    }
}

/// `trunkline check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// One line and the exit codes of a Nagios plugin: 0, 1, 2, 3.
    #[arg(long)]
    pub(crate) nagios: bool,
}

/// `trunkline call`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CallArgs {
    /// Its kind.
    pub(crate) kind: String,
    /// Its instance.
    pub(crate) name: String,
    /// Its name.
    pub(crate) operation: String,
    /// The input, as JSON.
    pub(crate) input: Option<String>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

/// `trunkline letters`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LettersArgs {
    #[command(subcommand)]
    verb: LettersVerb,
}

#[derive(Clone, Debug, Subcommand)]
enum LettersVerb {
    /// List dead letters.
    Ls {
        #[command(flatten)]
        filter: LetterFilter,
    },
    /// Show one letter with its history.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Send letters again.
    Redrive {
        #[command(flatten)]
        filter: LetterFilter,
        /// At most so many per second.
        #[arg(long, default_value_t = 10.0)]
        rate: f64,
        /// Say what would be sent, and send nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Throw letters away.
    Purge {
        #[command(flatten)]
        filter: LetterFilter,
        /// Really all, when no filter is given.
        #[arg(long)]
        all: bool,
    },
}

/// Which letters.
#[derive(Clone, Debug, Args)]
pub(crate) struct LetterFilter {
    /// Of this system, such as snmp.core.
    #[arg(long)]
    of: Option<String>,
    /// For this target.
    #[arg(long)]
    target: Option<String>,
    /// With this reason.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl LetterFilter {
    fn input(&self) -> serde_json::Map<String, serde_json::Value> {
        let pairs = [
            ("system", &self.of),
            ("target", &self.target),
            ("reason", &self.reason),
        ];
        let set = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)));
        set.map(|(key, value)| (key.to_owned(), json!(value)))
            .collect()
    }
}

impl LettersArgs {
    pub(crate) fn call(&self) -> (RemoteArgs, Call) {
        let process = Some("process");
        match &self.verb {
            LettersVerb::Ls { filter } => {
                let call = Call::new("engine", process, "letters", filter.input().into());
                (filter.remote.clone(), call)
            }
            LettersVerb::Show { id, remote } => (
                remote.clone(),
                Call::new("engine", process, "letter", json!({ "id": id })),
            ),
            LettersVerb::Redrive {
                filter,
                rate,
                dry_run,
            } => {
                let mut input = filter.input();
                input.insert("per_second".into(), json!(rate));
                input.insert("dry_run".into(), json!(dry_run));
                let call = Call::new("engine", process, "letters-redrive", input.into());
                (filter.remote.clone(), call)
            }
            LettersVerb::Purge { filter, all } => {
                let mut input = filter.input();
                if *all {
                    input.insert("all".into(), json!(true));
                }
                let call = Call::new("engine", process, "letters-purge", input.into());
                (filter.remote.clone(), call)
            }
        }
    }
}
