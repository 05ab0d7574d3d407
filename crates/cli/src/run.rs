//! `trunkline run`, as a person sees it.

use clap::Args;
use trunkline_engine::shutdown::{Forced, Report};

use crate::config::{FileArgs, tell};
use crate::daemon::{self, Ended, RunError};
use crate::exit::{CliError, Exit};
use crate::output::talk;

/// `trunkline run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    file: FileArgs,
}

pub(crate) fn run(args: &RunArgs) -> Result<Exit, CliError> {
    let started = |loaded: &trunkline_config::Loaded<daemon::RootConfig>, bound: &[String]| {
        // A warning that cannot be shown on stderr has nowhere else to go.
        tell(&loaded.warnings, false).ok();
        let path = loaded.path.as_ref();
        let path = path.map_or("no file".to_owned(), |path| path.display().to_string());
        talk(&format!(
            "trunkline {} with {path}\n",
            env!("CARGO_PKG_VERSION")
        ));
        for place in bound {
            talk(&format!("  listening on {place}\n"));
        }
    };
    match daemon::run(args.file.choice(), started) {
        Ok(ended) => Ok(account(&ended)),
        Err(RunError::Config(problems)) => {
            tell(&problems, false)?;
            Ok(Exit::Usage)
        }
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

/// Shows how the daemon ended; the exit code is 0 only when the books balance and no work was
/// given up.
fn account(ended: &Ended) -> Exit {
    talk(&phases(&ended.report));
    talk(&daemon::sheet::render(&ended.books));
    if ended.report.forced == Some(Forced::Signal) {
        return Exit::Interrupted;
    }
    let balances = ended.books.iter().all(daemon::sheet::Book::balances);
    let dropped = ended.books.iter().any(daemon::sheet::Book::dropped_work);
    if balances && !dropped {
        Exit::Done
    } else {
        Exit::Failed
    }
}

fn phases(report: &Report) -> String {
    let mut text = String::from("stopped");
    for (phase, took) in &report.phases {
        text.push_str(&format!(
            "; {} took {} ms",
            phase.as_str(),
            took.as_millis()
        ));
    }
    text.push('\n');
    for left in &report.leftovers {
        let (part, left, phase) = (&left.part, left.left, left.phase.as_str());
        // Requests, runs and results together: one word for them all would be wrong.
        text.push_str(&format!(
            "{part} had {left} left when {phase} ended (requests, runs and results)\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_engine::shutdown::{Leftover, Phase};

    use super::*;

    #[test]
    fn what_is_left_over_is_told_in_words() {
        let leftover = |left, phase| Leftover {
            part: "snmp.core".into(),
            phase,
            left,
        };
        let report = Report {
            total: Duration::from_millis(9),
            phases: [(Phase::Draining, Duration::from_millis(5)); 3],
            forced: None,
            hooks: Vec::new(),
            leftovers: vec![leftover(408, Phase::Draining), leftover(1, Phase::Closing)],
        };
        let text = phases(&report);
        let (_, left) = text.split_once('\n').unwrap();
        assert_eq!(
            left,
            "snmp.core had 408 left when draining ended (requests, runs and results)\n\
             snmp.core had 1 left when closing ended (requests, runs and results)\n"
        );
    }
}
