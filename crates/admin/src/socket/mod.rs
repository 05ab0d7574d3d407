//! The place of the control socket: where it is, whose it is, and that it is the only one.
//!
//! A lock file beside the socket, held by the kernel for as long as the process lives, says who
//! serves here; so a socket file whose lock is free was left behind and may go. It is asked all the
//! same whether anybody listens, because not everybody takes our lock. What is there and is no
//! socket is never touched. The file gets its mode between bind and listen, so that there is no
//! moment at which it accepts those whom it should not.

pub(crate) mod serve;
pub(crate) mod wire;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixSocket};
use trunkline_runtime::state::{FileLock, StateError};

use crate::server::AdminError;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;
/// The longest path that fits into a socket address, without its closing zero.
const PATH_BYTES_MAX: usize = 107;

/// Where the control socket is: `configured`, else `$RUNTIME_DIRECTORY/control.sock` (its first
/// entry), else `$XDG_RUNTIME_DIR/trunkline/control.sock`, else for root
/// `/run/trunkline/control.sock`, where a service manager puts it too. `env` looks up a variable.
/// Daemon and commands must both ask here.
///
/// # Errors
/// [`AdminError::NoSocketPlace`].
pub fn socket_path(
    configured: Option<&Path>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, AdminError> {
    if let Some(path) = configured {
        return Ok(path.to_owned());
    }
    let first = |name: &str| {
        let list = env(name)?;
        std::env::split_paths(&list)
            .next()
            .filter(|path| path.is_absolute())
    };
    let of_root = || {
        let root = geteuid().is_root();
        root.then(|| PathBuf::from("/run/trunkline"))
    };
    first("RUNTIME_DIRECTORY")
        .or_else(|| Some(first("XDG_RUNTIME_DIR")?.join("trunkline")))
        .or_else(of_root)
        .map(|dir| dir.join("control.sock"))
        .ok_or(AdminError::NoSocketPlace)
}

/// The bound socket; its file goes when this is dropped, unless somebody replaced it.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    device_and_inode: (u64, u64),
    _lock: FileLock,
}

impl Place {
    /// Takes the place and listens there, for this user and, if one is named, for `group`.
    pub(crate) fn take(
        path: &Path,
        group: Option<&str>,
    ) -> Result<(Self, UnixListener), AdminError> {
        let failed = |source| AdminError::Socket {
            path: path.to_owned(),
            source,
        };
        if path.as_os_str().as_bytes().len() > PATH_BYTES_MAX {
            let message = format!("the path has more than {PATH_BYTES_MAX} bytes");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, message)));
        }
        let gid = group.map(group_id).transpose()?;
        make_parent(path).map_err(failed)?;
        let lock = lock(path)?;
        clear(path)?;
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        let mode = if gid.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        if let (Some(gid), Some(group)) = (gid, group) {
            std::os::unix::fs::chown(path, None, Some(gid)).map_err(|source| {
                // What was bound is of no use to anybody.
                fs::remove_file(path).ok();
                AdminError::Group {
                    group: group.to_owned(),
                    what: format!("cannot be given {}: {source}", path.display()),
                }
            })?;
        }
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        let meta = fs::symlink_metadata(path).map_err(failed)?;
        let place = Self {
            path: path.to_owned(),
            device_and_inode: (meta.dev(), meta.ino()),
            _lock: lock,
        };
        Ok((place, listener))
    }

    /// The path of the socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let meta = fs::symlink_metadata(&self.path);
        if meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == self.device_and_inode) {
            // A file that stays is stale, and the next one to come clears it.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// A directory that is made here is this user's alone; one that exists is left as it is.
fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.exists()) else {
        return Ok(());
    };
    fs::DirBuilder::new().mode(0o700).create(parent)
}

fn lock(path: &Path) -> Result<FileLock, AdminError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    FileLock::take(Path::new(&lock_path)).map_err(|error| match error {
        StateError::Locked { owner, .. } => AdminError::SocketInUse {
            path: path.to_owned(),
            owner,
        },
        other => AdminError::Socket {
            path: path.to_owned(),
            source: io::Error::other(other),
        },
    })
}

/// Removes a socket file that nobody listens on.
fn clear(path: &Path) -> Result<(), AdminError> {
    let failed = |source| AdminError::Socket {
        path: path.to_owned(),
        source,
    };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !meta.file_type().is_socket() {
        let message = "something that is no socket is in its place";
        return Err(failed(io::Error::new(
            io::ErrorKind::AlreadyExists,
            message,
        )));
    }
    let me = geteuid();
    if !me.is_root() && meta.uid() != me.as_raw() {
        let message = format!("the socket there belongs to user {}", meta.uid());
        return Err(failed(io::Error::new(
            io::ErrorKind::PermissionDenied,
            message,
        )));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(AdminError::SocketInUse {
            path: path.to_owned(),
            owner: "another program".to_owned(),
        }),
    }
}

/// The number of a group: itself, or that of its name in `/etc/group`.
fn group_id(group: &str) -> Result<u32, AdminError> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let groups = fs::read("/etc/group").unwrap_or_default();
    gid_in(&String::from_utf8_lossy(&groups), group).ok_or_else(|| AdminError::Group {
        group: group.to_owned(),
        what: "is not in /etc/group".to_owned(),
    })
}

fn gid_in(groups: &str, group: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_first_that_is_set() {
        let env = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(*value))
            }
        };
        let path = |set| socket_path(None, env(set)).ok();
        let both = &[("RUNTIME_DIRECTORY", "/r:/s"), ("XDG_RUNTIME_DIR", "/x")];
        assert_eq!(path(both).as_deref(), Some(Path::new("/r/control.sock")));
        assert_eq!(
            path(&[("XDG_RUNTIME_DIR", "/x")]).as_deref(),
            Some(Path::new("/x/trunkline/control.sock"))
        );
        let root = geteuid().is_root();
        let last = root.then(|| PathBuf::from("/run/trunkline/control.sock"));
        assert_eq!(
            path(&[("XDG_RUNTIME_DIR", "x")]),
            last,
            "a relative path counts as unset"
        );
        assert_eq!(path(&[]), last);
        let configured = socket_path(Some(Path::new("/c")), env(both)).unwrap();
        assert_eq!(configured, Path::new("/c"));
    }

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let groups = "root:x:0:\nops:x:1001:a,b\nbad:x:\nopsx:x:7:\n";
        for (group, gid) in [
            ("root", Some(0)),
            ("ops", Some(1001)),
            ("bad", None),
            ("op", None),
        ] {
            assert_eq!(gid_in(groups, group), gid, "{group}");
        }
        assert_eq!(group_id("42").unwrap(), 42);
        let error = group_id("no such group").unwrap_err();
        assert_eq!(error.code(), crate::codes::STRAY_GROUP);
    }
}
