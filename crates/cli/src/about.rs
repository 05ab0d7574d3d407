//! `trunkline completion`, `man` and `help TOPIC`: what the command says about itself.

use std::io::Write;

use clap::{Args, CommandFactory, ValueEnum};

use crate::exit::{CliError, Exit};

/// `trunkline completion`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionArgs {
    /// For which shell.
    shell: clap_complete::Shell,
}

/// `trunkline help`.
#[derive(Clone, Debug, Args)]
pub(crate) struct HelpArgs {
    /// About what.
    topic: Topic,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Topic {
    /// What each exit code means.
    ExitCodes,
    /// Which environment variables are read.
    Environment,
    /// How output is shaped.
    Output,
}

const EXIT_CODES: &str = "\
0    Everything that was asked was done. A daemon that was stopped by a signal ended with books that
     balance and gave up no work. A closed pipe is success too.
1    It failed, or the daemon stopped with work given up.
2    The command line or the configuration is wrong; nothing was done.
3    Part of it was done, or the daemon is degraded.
4    No daemon answers at the control socket.
5    A peer or the daemon did not answer in time.
130  Interrupted a second time: ended at once.
`trunkline check --nagios` uses a monitoring plugin's codes instead: 0 well, 1 warning, 2 critical,
3 unknown.
";

const ENVIRONMENT: &str = "\
TRUNKLINE_CONFIG              The configuration file, when --config does not name one.
TRUNKLINE__SECTION__KEY=VALUE A value of the configuration; it wins over the file. Tables with names
                              must stand in the file: TRUNKLINE__SNMP__CORE__TIMEOUT=2s.
STATE_DIRECTORY, XDG_STATE_HOME      Where state is kept.
RUNTIME_DIRECTORY, XDG_RUNTIME_DIR   Where the control socket is.
XDG_CONFIG_HOME, HOME                Where a configuration file is looked for.
NO_COLOR                      Plain text, whatever the terminal can show.
NOTIFY_SOCKET, WATCHDOG_USEC  Set by a service manager, which is told of readiness and life.
";

const OUTPUT: &str = "\
Data goes to standard output, everything else to standard error, so a pipe gets data only.
-o table   For people. Characters that could steer a terminal are escaped.
-o json    One document with `schema_version`; collections are objects keyed by name.
-o jsonl   One object a line, as it comes.
-o csv     RFC 4180, with a header.
Progress and colours appear only on a terminal.
";

pub(crate) fn completion<C: CommandFactory>(args: &CompletionArgs) -> Result<Exit, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "trunkline", &mut text);
    out(&text)
}

pub(crate) fn man<C: CommandFactory>() -> Result<Exit, CliError> {
    let mut text = Vec::new();
    clap_mangen::Man::new(C::command()).render(&mut text)?;
    out(&text)
}

pub(crate) fn help(args: &HelpArgs) -> Result<Exit, CliError> {
    let text = match args.topic {
        Topic::ExitCodes => EXIT_CODES,
        Topic::Environment => ENVIRONMENT,
        Topic::Output => OUTPUT,
    };
    out(text.as_bytes())
}

fn out(text: &[u8]) -> Result<Exit, CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text)?;
    out.flush()?;
    Ok(Exit::Done)
}
