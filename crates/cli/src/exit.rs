//! Exit codes, which scripts rely on, and the errors that end a verb early.

use std::io;
use std::process::ExitCode;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything that was asked was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was done.
    Usage = 2,
    /// Part of it was done.
    Partial = 3,
    /// No daemon answers.
    NoDaemon = 4,
    /// No answer in time.
    NoAnswer = 5,
    /// Interrupted twice.
    Interrupted = 130,
}

impl Exit {
    /// The code of several targets together: partial when only some failed.
    pub(crate) fn of_all(exits: &[Self]) -> Self {
        match exits {
            [] => Self::Done,
            [only] => *only,
            all if all.iter().all(|exit| *exit == Self::Done) => Self::Done,
            all if all
                .iter()
                .any(|exit| matches!(exit, Self::Done | Self::Partial)) =>
            {
                Self::Partial
            }
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb ended before it could say how it went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It could not begin.
    #[error("{0}")]
    Failed(String),
    /// Writing the output failed.
    #[error("writing the output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// Whether the reader of our output has gone, which is its right.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Output(_) if self.is_broken_pipe() => Exit::Done,
            Self::Failed(_) | Self::Output(_) => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_targets_are_judged_together() {
        use Exit::{Done, Failed, NoAnswer, Partial};
        for (exits, expected) in [
            (&[][..], Done),
            (&[NoAnswer], NoAnswer),
            (&[Done, Done], Done),
            (&[Done, NoAnswer], Partial),
            (&[Partial, Failed], Partial),
            (&[NoAnswer, Failed], Failed),
            (&[NoAnswer, NoAnswer], Failed),
        ] {
            assert_eq!(Exit::of_all(exits), expected, "{exits:?}");
        }
    }

    #[test]
    fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
        let closed = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.exit(), Exit::Done);
        let full = CliError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit(), Exit::Failed);
    }
}
