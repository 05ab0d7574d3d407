//! `cargo xtask generate`: the reference pages that the program writes about itself.
//!
//! What can be asked of the program is not written by hand a second time: configuration keys from
//! the schema, error codes from `explain`, commands from `--help`, topics from `help`. `--check`
//! compares without writing, so a page cannot drift from the code. The debug binary that the tests
//! built is used.

mod commands;
mod errors;
mod keys;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command::{self, Failure, Outcome};
use crate::{nextest, workspace};

/// Whether the pages are written or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// A file, and how it is made by asking the program.
struct Page {
    path: &'static str,
    write: fn(&Program) -> Outcome<String>,
}

const PAGES: &[Page] = &[
    Page {
        path: "docs/reference/trunkline.schema.json",
        write: |program| program.ask(&["config", "schema"]),
    },
    Page {
        path: "docs/reference/config.md",
        write: |program| Ok(keys::page(&program.schema()?)),
    },
    Page {
        path: "docs/reference/errors.md",
        write: |program| Ok(errors::page(&program.ask(&["explain", "--all"])?)),
    },
    Page {
        path: "docs/reference/cli.md",
        write: commands::page,
    },
    Page {
        path: "docs/reference/exit-codes.md",
        write: |program| topic(program, "Exit codes", "exit-codes"),
    },
    Page {
        path: "docs/reference/environment.md",
        write: |program| topic(program, "Environment variables", "environment"),
    },
    Page {
        path: "docs/reference/output.md",
        write: |program| topic(program, "Output", "output"),
    },
];

/// Writes or compares every page.
///
/// # Errors
/// A command fails, or a page is not what it would be now.
pub(crate) fn run(mode: Mode) -> Outcome {
    let program = Program::built()?;
    let mut drifted = Vec::new();
    for page in PAGES {
        let text = (page.write)(&program)?;
        let path = workspace::root().join(page.path);
        if mode == Mode::Write {
            write(&path, &text)?;
        } else if std::fs::read_to_string(&path).map_or(true, |written| written != text) {
            drifted.push(page.path);
        }
    }
    if drifted.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{}: not what the program says; run `cargo xtask generate` and read the difference",
        drifted.join(", ")
    )))
}

/// A page that is one of the help's topics.
fn topic(program: &Program, title: &str, topic: &str) -> Outcome<String> {
    let text = program.ask(&["help", topic])?;
    let note = "<!-- Written by `cargo xtask generate`; change the help in the code instead. -->";
    Ok(format!(
        "# {title}\n\n{note}\n\n```text\n{}\n```\n",
        text.trim_end()
    ))
}

fn write(path: &Path, text: &str) -> Outcome {
    let failed = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

/// The `trunkline` binary of this tree.
#[derive(Debug)]
struct Program {
    path: PathBuf,
}

impl Program {
    /// The one that the tests start, because it is built already: building it for itself would
    /// choose other features for shared dependencies and compile those again.
    fn built() -> Outcome<Self> {
        nextest::build()?;
        let path = workspace::metadata()?
            .target_directory
            .join("debug/trunkline");
        Ok(Self { path })
    }

    /// What it prints, as to a pipe: no colours, 100 columns, no configuration of this machine.
    fn ask(&self, arguments: &[&str]) -> Outcome<String> {
        let mut program = Command::new(&self.path);
        program
            .args(arguments)
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100");
        program.env_remove("TRUNKLINE_CONFIG");
        command::read(&mut program)
    }

    fn schema(&self) -> Outcome<Value> {
        serde_json::from_str(&self.ask(&["config", "schema"])?)
            .map_err(|error| Failure::new(format!("the schema is not JSON: {error}")))
    }
}
