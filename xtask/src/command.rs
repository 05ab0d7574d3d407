//! Starting other programs, and what it means when one fails.
//!
//! A child never reads from the terminal: a task must not stop at a prompt on a machine where
//! nobody sits. What it prints goes straight through, unless the caller wants to read it.

use std::fmt;
use std::process::{Command, Stdio};

/// Why a task stopped, in words for the person who started it.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    code: u8,
}

/// What a task comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Something was done and came out wrong: exit code 1.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            code: 1,
        }
    }

    /// What was asked for makes no sense: exit code 2.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            code: 2,
        }
    }

    pub(crate) const fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// `cargo` with these arguments: the one that runs this task, or the one on the path.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments);
    command.current_dir(crate::workspace::root());
    command
}

/// Runs a program to its end; its output goes where ours goes.
///
/// # Errors
/// It cannot be started, or it ends with anything but success.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Failure::new(format!("cannot start `{}`: {error}", shown(command))))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{}`: {status}", shown(command))))
    }
}

/// Runs a program to its end and returns what it wrote to its standard output.
///
/// # Errors
/// As [`run`], and when the output is not UTF-8.
pub(crate) fn read(command: &mut Command) -> Outcome<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("cannot start `{}`: {error}", shown(command))))?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "`{}`: {}",
            shown(command),
            output.status
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::new(format!("`{}` does not write UTF-8", shown(command))))
}

/// Whether a program answers `--version`, that is, whether it is there.
pub(crate) fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_as_one_would_type_it() {
        let failure = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(
            failure.to_string().starts_with("`sh -c exit 3`: "),
            "{failure}"
        );
        let failure = run(&mut Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(failure.to_string().contains("cannot start"), "{failure}");
    }

    #[test]
    fn output_is_read_and_input_is_empty() {
        assert_eq!(
            read(Command::new("sh").args(["-c", "cat; echo x"])).unwrap(),
            "x\n"
        );
    }
}
