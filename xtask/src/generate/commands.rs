//! The page of commands: the help of every verb, found by following the help of the one above.

use std::fmt::Write;

use super::Program;
use crate::command::Outcome;

const HEAD: &str = "\
# Commands

<!-- Written by `cargo xtask generate`; change the help in the code instead. -->
";

/// The most verbs below each other.
const DEPTH_MAX: usize = 4;

pub(super) fn page(program: &Program) -> Outcome<String> {
    let mut page = String::from(HEAD);
    verb(program, &[], &mut page)?;
    Ok(page)
}

fn verb(program: &Program, words: &[&str], page: &mut String) -> Outcome {
    let mut asked = words.to_vec();
    asked.push("--help");
    let help = program.ask(&asked)?;
    let heading = ["trunkline"]
        .iter()
        .chain(words)
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    // What clap wraps may end in blanks, which editors take away.
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let _infallible = write!(
        page,
        "\n## `{heading}`\n\n```text\n{}\n```\n",
        lines.join("\n")
    );
    if words.len() < DEPTH_MAX {
        for below in verbs(&help) {
            let below: Vec<&str> = words.iter().copied().chain([below]).collect();
            verb(program, &below, page)?;
        }
    }
    Ok(())
}

/// The first words of the lines below `Commands:`.
fn verbs(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // Deeper lines go on with the description of the verb above them.
    let named = listed.filter_map(|line| {
        line.strip_prefix("  ")
            .filter(|line| !line.starts_with(' '))
    });
    named
        .filter_map(|line| line.split(' ').next())
        .filter(|verb| *verb != "help")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_that_the_help_lists() {
        let help = "About.\n\nUsage: x <COMMAND>\n\nCommands:\n  run   Runs,\n        for long\n  \
                    stop  Stops\n  help  Helps\n\nOptions:\n  -h, --help\n";
        assert_eq!(verbs(help), ["run", "stop"]);
        assert!(verbs("Usage: x\n\nOptions:\n  -h\n").is_empty());
    }
}
