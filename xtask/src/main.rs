//! The project's own tasks, started as `cargo xtask <task>`.
//!
//! There are three verbs with three budgets: `test` is what every change must pass, `soak` runs the
//! same functions with larger numbers, `bench` compares. `tidy` and `generate` are the parts of
//! `test` that are worth running alone. A task stops at the first failure and says in one line what
//! failed and how to run that step by itself.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task talks to the person who started it"
)]

mod bench;
mod command;
mod generate;
mod nextest;
mod packages;
mod soak;
mod suite;
mod tidy;
mod workspace;

use std::process::ExitCode;

use command::{Failure, Outcome};

const USAGE: &str = "\
usage: cargo xtask <task>

  test                    format, lints, tidy, unit and integration tests, doc tests, loom
  tidy                    the rules of CONTRIBUTING.md that no compiler checks
  generate [--check]      write the reference pages, or check that they are as written
  bench engine|snmp       one comparison table, from a release build
  soak [NAME] [--for D]   tests named soak_NAME... for D (default 10m); `soak fuzz` fuzzes
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(arguments: &[String]) -> Outcome {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => suite::run(),
        ["tidy"] => tidy::run(),
        ["generate"] => generate::run(generate::Mode::Write),
        ["generate", "--check"] => generate::run(generate::Mode::Check),
        ["bench", table, rest @ ..] => bench::run(table, rest),
        ["soak", rest @ ..] => soak::run(rest),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        [] => Err(Failure::usage(USAGE)),
        _ => Err(Failure::usage(format!(
            "not a task: {}\n\n{USAGE}",
            words.join(" ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_task_is_a_usage_error() {
        for words in [&["tset"][..], &["bench"], &["generate", "--chekc"], &[]] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(run(&words).unwrap_err().code(), 2, "{words:?}");
        }
    }
}
