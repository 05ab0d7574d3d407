//! `trunkline validate`, `config init|show|schema` and `explain`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use trunkline_config::{FileChoice, LoadOptions, Problems, explanation, load, schema, show};

use crate::daemon::{RootConfig, explanations};
use crate::exit::{CliError, Exit};
use crate::output::talk;

/// Which configuration file.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FileArgs {
    /// The configuration file. Without it: $TRUNKLINE_CONFIG, ./trunkline.toml,
    /// $XDG_CONFIG_HOME/trunkline/trunkline.toml, /etc/trunkline/trunkline.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FileArgs {
    pub(crate) fn choice(&self) -> FileChoice {
        self.config
            .clone()
            .map_or(FileChoice::Search, FileChoice::Explicit)
    }
}

/// `trunkline validate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Warnings too make the exit code 3.
    #[arg(long)]
    deny_warnings: bool,
    /// Print problems as JSON.
    #[arg(long)]
    json: bool,
}

/// `trunkline config`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Clone, Debug, Subcommand)]
enum ConfigVerb {
    /// Write a small file that works.
    Init {
        /// Where; standard output when not given. A file that exists is left alone.
        path: Option<PathBuf>,
    },
    /// Print the configuration as it takes effect, with each value's source.
    Show {
        #[command(flatten)]
        file: FileArgs,
    },
    /// Print the JSON schema.
    Schema,
}

/// `trunkline explain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code, such as T0107.
    #[arg(required_unless_present = "all")]
    code: Option<String>,
    /// Every code.
    #[arg(long)]
    all: bool,
}

/// A file that polls this machine's own agent.
const TEMPLATE: &str = r#"# Trunkline polls the SNMP agents below and writes what they say as JSON lines.
# `trunkline validate` checks this file; `trunkline config schema` describes every key.

[snmp.core]
# community_file = "/etc/trunkline/community"   # mode 0600; "public" without it

[snmp.core.target.localhost]
address = "127.0.0.1"          # HOST, HOST:PORT, or ADDRESS+N for N agents in a row

[snmp.core.job.system]
interval = "60s"
get = ["1.3.6.1.2.1.1.3.0"]    # sysUpTime

[snmp.core.job.interfaces]
interval = "5m"
walk = ["1.3.6.1.2.1.2.2"]     # ifTable

[snmp.core.sink.jsonl.results]
# path = "results.jsonl"       # standard output without it

[snmp.core.sink.metrics.last]  # the last numbers, in /metrics
"#;

pub(crate) fn validate(args: &ValidateArgs) -> Result<Exit, CliError> {
    match load::<RootConfig>(&LoadOptions::from_process(args.file.choice())) {
        Ok(loaded) => {
            tell(&loaded.warnings, args.json)?;
            let path = loaded
                .path
                .map_or("defaults".to_owned(), |path| path.display().to_string());
            talk(&format!("{path}: valid\n"));
            let warned = args.deny_warnings && !loaded.warnings.is_empty();
            Ok(if warned { Exit::Partial } else { Exit::Done })
        }
        Err(problems) => {
            tell(&problems, args.json)?;
            Ok(Exit::Usage)
        }
    }
}

/// Shows problems where they belong: as JSON on stdout, else as text on stderr.
pub(crate) fn tell(problems: &Problems, json: bool) -> Result<(), CliError> {
    if json {
        out(&format!("{:#}\n", problems.to_json()))?;
    } else if !problems.is_empty() {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        talk(&problems.render(colours));
    }
    Ok(())
}

pub(crate) fn config(args: &ConfigArgs) -> Result<Exit, CliError> {
    match &args.verb {
        ConfigVerb::Init { path: None } => out(TEMPLATE)?,
        ConfigVerb::Init { path: Some(path) } => init(path)?,
        ConfigVerb::Schema => out(&format!("{:#}\n", schema::<RootConfig>()))?,
        ConfigVerb::Show { file } => {
            match load::<RootConfig>(&LoadOptions::from_process(file.choice())) {
                Ok(loaded) => out(&show(&loaded))?,
                Err(problems) => {
                    tell(&problems, false)?;
                    return Ok(Exit::Usage);
                }
            }
        }
    }
    Ok(Exit::Done)
}

fn init(path: &PathBuf) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        let path = path.display();
        CliError::Failed(match error.kind() {
            std::io::ErrorKind::AlreadyExists => format!(
                "\"{path}\" exists and is left as it is; name another file, or move it away"
            ),
            _ => format!("writing \"{path}\": {error}"),
        })
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(TEMPLATE.as_bytes()).map_err(failed)?;
    talk(&format!(
        "wrote {}; try `trunkline run --config {0}`\n",
        path.display()
    ));
    Ok(())
}

pub(crate) fn explain(args: &ExplainArgs) -> Result<Exit, CliError> {
    let tables = explanations();
    if args.all {
        for one in tables.iter().flat_map(|table| table.iter()) {
            out(&text_of(one))?;
        }
        return Ok(Exit::Done);
    }
    let code = args.code.as_deref().unwrap_or_default();
    match explanation(&tables, code) {
        Some(one) => {
            out(&text_of(one))?;
            Ok(Exit::Done)
        }
        None => Err(CliError::Usage(format!(
            "there is no code \"{code}\"; `explain --all` lists them"
        ))),
    }
}

fn text_of(one: &trunkline_config::Explanation) -> String {
    format!(
        "{}  {}\n  Cause: {}\n  Remedy: {}\n",
        one.code, one.title, one.cause, one.remedy
    )
}

fn out(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_init_writes_is_valid() {
        let options = LoadOptions::from_text("init.toml", TEMPLATE);
        let loaded = load::<RootConfig>(&options).unwrap();
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }

    #[test]
    fn every_key_is_described_and_every_default_fits() {
        assert_eq!(trunkline_config_audit(), Vec::<String>::new());
    }

    fn trunkline_config_audit() -> Vec<String> {
        trunkline_config::audit::<RootConfig>()
    }

    #[test]
    fn no_two_tables_explain_one_code() {
        let mut codes: Vec<_> = explanations()
            .iter()
            .flat_map(|table| table.iter().map(|one| one.code))
            .collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
