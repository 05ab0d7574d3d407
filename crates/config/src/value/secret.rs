//! Values that must not be seen, and the files that they come from.
//!
//! A [`Secret`] shows `***` wherever it is printed or serialised. It never stands in the
//! configuration file, which people copy, commit and mail; it comes from the file that a `*_file`
//! key names, or from the environment. Comparing two secrets takes a time that depends on them:
//! whoever checks a foreign token must compare in constant time himself.
//!
//! A secret file that anybody else may write, or that everybody may read, is refused. One that its
//! group may read is accepted with a warning, because that is how orchestrators mount secrets.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ValueError;

/// A string that prints and serialises as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The string itself. Whoever calls this must not print, log or serialise it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for Secret {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(Self::new(text))
    }
}

super::text_value!(Secret, "secret", "a string", []);

/// The path of a file that holds one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(PathBuf);

/// A secret as it was read, with what is questionable about its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsealed {
    /// The content without the line break at its end.
    pub secret: Secret,
    /// What to tell the operator, when the file could be kept better.
    pub warning: Option<String>,
}

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Others may read or change it.
    #[error("{} has mode {mode:04o}: {what}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Who may do what.
        what: &'static str,
    },
    /// It is empty, too long, of several lines, not text or not a file.
    #[error("{} {what}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// In which way.
        what: &'static str,
    },
}

const BYTES_MAX: u64 = 64 << 10;

impl SecretFile {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the secret; one line break at the end is not part of it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is empty, longer than 64 KiB, of more than one line or not
    /// UTF-8, or when its mode lets others read it or anybody but its owner write it.
    pub fn read(&self) -> Result<Unsealed, SecretFileError> {
        let unreadable = |reason| SecretFileError::Unreadable {
            path: self.0.clone(),
            reason,
        };
        let unfit = |what| SecretFileError::Unfit {
            path: self.0.clone(),
            what,
        };
        // Looked at before opening, because opening a pipe would wait for its writer.
        if !std::fs::metadata(&self.0).map_err(unreadable)?.is_file() {
            return Err(unfit("is not a regular file"));
        }
        let file = File::open(&self.0).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
        if let Some(what) = exposure(mode) {
            return Err(SecretFileError::Exposed {
                path: self.0.clone(),
                mode,
                what,
            });
        }
        let mut bytes = Vec::new();
        let mut limited = file.take(BYTES_MAX + 1);
        limited.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(unfit("is longer than 64 KiB"));
        }
        let mut text = String::from_utf8(bytes).map_err(|_| unfit("is not UTF-8 text"))?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err(unfit("is empty"));
        }
        if text.contains(['\n', '\r']) {
            return Err(unfit(
                "holds more than one line; write the secret alone, on one line",
            ));
        }
        Ok(Unsealed {
            secret: Secret(text),
            warning: (mode & 0o040 != 0).then(|| {
                let path = self.0.display();
                format!("{path} has mode {mode:04o}: its group may read it")
            }),
        })
    }
}

fn exposure(mode: u32) -> Option<&'static str> {
    match mode {
        mode if mode & 0o002 != 0 => Some("everybody may change it"),
        mode if mode & 0o004 != 0 => Some("everybody may read it"),
        mode if mode & 0o020 != 0 => Some("its group may change it"),
        _ => None,
    }
}

impl FromStr for SecretFile {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Err(ValueError::new("an empty string is no path"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

super::text_value!(
    SecretFile,
    "secret-file",
    "the path of a file",
    ["/etc/trunkline/token"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nowhere() {
        let secret = Secret::new("hunter2");
        let json = serde_json::to_string(&secret).unwrap();
        for shown in [format!("{secret}"), format!("{secret:?}"), json] {
            assert!(
                shown.contains("***") && !shown.contains("hunter2"),
                "{shown}"
            );
        }
        assert_eq!(secret.expose(), "hunter2");
        let unsealed = Unsealed {
            secret,
            warning: None,
        };
        assert!(!format!("{unsealed:?}").contains("hunter2"));
    }

    #[test]
    fn exposure_follows_the_mode() {
        for (mode, exposed) in [
            (0o600, false),
            (0o400, false),
            (0o440, false),
            (0o640, false),
            (0o660, true),
            (0o604, true),
            (0o602, true),
            (0o644, true),
        ] {
            assert_eq!(exposure(mode).is_some(), exposed, "{mode:o}");
        }
    }
}
