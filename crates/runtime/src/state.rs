//! The state directory: one daemon's own place on disk.
//!
//! It is 0700 and its files are 0600. A lock file names the process that holds it, so a second
//! daemon is refused with the first one's number instead of corrupting its files; the lock is the
//! kernel's, so a crash leaves nothing to clean up. Small files (what operators forced, which
//! members were drained) are replaced as a whole and synced: after a crash there is the old one or
//! the new one.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

/// The largest small file: what is larger was not written here.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Neither configured nor to be found from the environment.
    #[error(
        "there is no place for state: set state_dir in [trunkline], or STATE_DIRECTORY, \
         XDG_STATE_HOME or HOME in the environment"
    )]
    NoPlace,
    /// Another process holds it.
    #[error("{} is held by {owner}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as he wrote into it.
        owner: String,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {uid}, not to the user that runs this", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A name of a file that is not lower-case letters, digits, dots and dashes.
    #[error("{0:?} is not a name for a state file")]
    Name(String),
    /// A file that is larger than any that is written here.
    #[error("{} is larger than 16 MiB", .0.display())]
    TooLarge(PathBuf),
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was being used.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// A lock file, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock at `path` and writes this process's number into it.
    ///
    /// # Errors
    /// [`StateError::Locked`], naming the holder; or the file cannot be made.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        let at = |source| failed(path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(at)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(at(error.into()));
            }
            return Err(StateError::Locked {
                path: path.to_owned(),
                owner: owner(&mut file),
            });
        }
        file.set_len(0).map_err(at)?;
        file.rewind().map_err(at)?;
        writeln!(file, "{}", std::process::id()).map_err(at)?;
        Ok(Self { _file: file })
    }
}

/// The state directory, locked.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: FileLock,
}

impl StateDir {
    /// Where state goes: `configured`, else `$STATE_DIRECTORY` (its first entry), else
    /// `$XDG_STATE_HOME/trunkline`, which defaults to `~/.local/state/trunkline`. `env` looks up a
    /// variable.
    ///
    /// # Errors
    /// [`StateError::NoPlace`].
    pub fn resolve(
        configured: Option<&Path>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<PathBuf, StateError> {
        if let Some(path) = configured {
            return Ok(path.to_owned());
        }
        let path = |name: &str| {
            env(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        if let Some(list) = env("STATE_DIRECTORY") {
            let first = std::env::split_paths(&list).next();
            if let Some(first) = first.filter(|path| path.is_absolute()) {
                return Ok(first);
            }
        }
        let home = || path("HOME").map(|home| home.join(".local/state"));
        let base = path("XDG_STATE_HOME").or_else(home);
        Ok(base.ok_or(StateError::NoPlace)?.join("trunkline"))
    }

    /// Makes the directory if need be, closes it to others, and locks it.
    ///
    /// # Errors
    /// Another process holds it, it belongs to another user, or the file system says no.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        private_dir(path)?;
        let lock = FileLock::take(&path.join("lock"))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory of its own inside, made if need be.
    ///
    /// # Errors
    /// A bad name, or the file system says no.
    pub fn subdir(&self, name: &str) -> Result<PathBuf, StateError> {
        let path = self.path.join(checked(name)?);
        private_dir(&path)?;
        Ok(path)
    }

    /// Replaces the file `name` by `bytes`; once this returns, it survives a power cut.
    ///
    /// # Errors
    /// A bad name, or the file system says no: then the old file is still there.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.path.join(checked(name)?);
        let temporary = self.path.join(format!("{name}~"));
        write_synced(&temporary, bytes).map_err(|source| {
            // What was written is worth nothing; the error is the one to tell.
            fs::remove_file(&temporary).ok();
            failed(&temporary, source)
        })?;
        fs::rename(&temporary, &path).map_err(|source| failed(&path, source))?;
        let dir = File::open(&self.path).and_then(|dir| dir.sync_all());
        dir.map_err(|source| failed(&self.path, source))
    }

    /// The file `name`, or `None` when there is none.
    ///
    /// # Errors
    /// A bad name, a file over 16 MiB, or the file system says no.
    pub fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path.join(checked(name)?);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(&path, source)),
        };
        let mut bytes = Vec::new();
        let mut limited = file.take(FILE_BYTES_MAX + 1);
        limited
            .read_to_end(&mut bytes)
            .map_err(|source| failed(&path, source))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(StateError::TooLarge(path));
        }
        Ok(Some(bytes))
    }
}

fn private_dir(path: &Path) -> Result<(), StateError> {
    let at = |source| failed(path, source);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(at)?;
    let meta = fs::metadata(path).map_err(at)?;
    if meta.uid() != geteuid().as_raw() {
        return Err(StateError::NotOurs {
            path: path.to_owned(),
            uid: meta.uid(),
        });
    }
    // An existing one may be wider, as a service manager makes it by default.
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(at)?;
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Who holds a lock file, from what he wrote.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = Read::take(file, 64).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

fn checked(name: &str) -> Result<&str, StateError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let good = !name.is_empty() && name.len() <= 100 && !name.starts_with('.');
    if good && name.chars().all(fits) && name != "lock" {
        Ok(name)
    } else {
        Err(StateError::Name(name.to_owned()))
    }
}

fn failed(path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn the_place_is_the_first_that_is_set() {
        let env = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(*value))
            }
        };
        let place = |set| StateDir::resolve(None, env(set)).unwrap();
        let configured = StateDir::resolve(Some(Path::new("/c")), env(&[])).unwrap();
        assert_eq!(configured, Path::new("/c"));
        let all = &[("STATE_DIRECTORY", "/s:/t"), ("XDG_STATE_HOME", "/x")];
        assert_eq!(place(all), Path::new("/s"));
        let xdg = &[("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(place(xdg), Path::new("/x/trunkline"));
        let relative = &[("XDG_STATE_HOME", "x"), ("HOME", "/h")];
        assert_eq!(place(relative), Path::new("/h/.local/state/trunkline"));
        assert!(matches!(
            StateDir::resolve(None, env(&[])),
            Err(StateError::NoPlace)
        ));
    }

    #[test]
    fn files_are_private_and_replaced_as_a_whole() {
        let temp = TempDir::new();
        let path = temp.path().join("a/b");
        let dir = StateDir::open(&path).unwrap();
        assert_eq!(dir.load("forced.json").unwrap(), None);
        dir.save("forced.json", b"one").unwrap();
        dir.save("forced.json", b"2").unwrap();
        assert_eq!(dir.load("forced.json").unwrap().unwrap(), b"2");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("forced.json")), 0o600);
        assert_eq!(mode(&path.join("lock")), 0o600);
        assert_eq!(mode(&dir.subdir("letters").unwrap()), 0o700);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "no leftovers");
    }

    #[test]
    fn a_save_that_fails_keeps_the_old_file() {
        let temp = TempDir::new();
        let dir = StateDir::open(temp.path()).unwrap();
        dir.save("x", b"old").unwrap();
        fs::create_dir(temp.path().join("x~")).unwrap();
        assert!(matches!(dir.save("x", b"new"), Err(StateError::Io { .. })));
        assert_eq!(dir.load("x").unwrap().unwrap(), b"old");
    }

    #[test]
    fn names_stay_inside() {
        let temp = TempDir::new();
        let dir = StateDir::open(temp.path()).unwrap();
        for name in [
            "", "..", "../x", "a/b", ".hidden", "lock", "UP", "x~", "a b",
        ] {
            assert!(
                matches!(dir.save(name, b""), Err(StateError::Name(_))),
                "{name}"
            );
            assert!(matches!(dir.load(name), Err(StateError::Name(_))), "{name}");
        }
    }

    #[test]
    fn a_wide_directory_is_closed() {
        let temp = TempDir::new();
        fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
        StateDir::open(temp.path()).unwrap();
        assert_eq!(fs::metadata(temp.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_second_is_refused_by_the_name_of_the_first() {
        let temp = TempDir::new();
        let first = StateDir::open(temp.path()).unwrap();
        // flock belongs to the open file, so this process can play both.
        let error = StateDir::open(temp.path()).unwrap_err();
        let wanted = format!("held by process {}", std::process::id());
        assert!(error.to_string().ends_with(&wanted), "{error}");
        drop(first);
        StateDir::open(temp.path()).unwrap();
    }
}
