//! Which file is read, and whether it can be trusted.
//!
//! A file that somebody named is read as it is. One that was *found* (in the working directory, in
//! a home, in `/etc`) is only trusted when nobody but this user and root can change it or put
//! another in its place: running in a directory that others can write must not mean running their
//! configuration. A group that has this user as its only member counts as the user himself, because
//! many distributions make such groups and files writable by them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::codes;
use crate::diagnostic::Problems;

/// Which file to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FileChoice {
    /// None: defaults, environment and flags only. For one-shot verbs.
    None,
    /// This one, of which somebody said that it be read.
    Explicit(PathBuf),
    /// `TRUNKLINE_CONFIG`, else the first of `./trunkline.toml`,
    /// `$XDG_CONFIG_HOME/trunkline/trunkline.toml` and `/etc/trunkline/trunkline.toml` that exists.
    #[default]
    Search,
    /// This text, under this name.
    Text {
        /// What to call it in problems.
        name: PathBuf,
        /// The whole document.
        text: String,
    },
}

/// Where to search.
#[derive(Clone, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) current: &'a Path,
    pub(crate) system: &'a Path,
    pub(crate) environment: &'a [(OsString, OsString)],
}

const FILE_NAME: &str = "trunkline.toml";
const BYTES_MAX: u64 = 16 << 20;

impl Places<'_> {
    fn variable(&self, name: &str) -> Option<&OsStr> {
        let mut all = self.environment.iter();
        let (_, value) = all.find(|(key, _)| key == name)?;
        Some(value.as_os_str()).filter(|value| !value.is_empty())
    }

    fn candidates(&self) -> Vec<PathBuf> {
        // The specification tells to ignore a relative path in this variable.
        let xdg = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = || Some(Path::new(self.variable("HOME")?).join(".config"));
        let user = xdg.filter(|path| path.is_absolute()).or_else(home);
        let user = user.map(|path| path.join("trunkline").join(FILE_NAME));
        let mut all = vec![self.current.join(FILE_NAME)];
        all.extend(user);
        all.push(self.system.join(FILE_NAME));
        all
    }
}

/// The chosen file's name and text; `None` when none is wanted, or after reporting why not.
pub(crate) fn find(
    choice: &FileChoice,
    places: &Places<'_>,
    problems: &mut Problems,
) -> Option<(PathBuf, String)> {
    match choice {
        FileChoice::None => None,
        FileChoice::Text { name, text } => Some((name.clone(), text.clone())),
        FileChoice::Explicit(path) => read_named(path, problems),
        FileChoice::Search => match places.variable("TRUNKLINE_CONFIG") {
            Some(path) => read_named(Path::new(path), problems),
            None => search(places, problems),
        },
    }
}

fn read_named(path: &Path, problems: &mut Problems) -> Option<(PathBuf, String)> {
    let text = match open_regular(path) {
        Ok(file) => read(path, file, problems),
        Err(error) => unreadable(path, &error.to_string(), problems),
    };
    text.map(|text| (path.to_owned(), text))
}

/// Looks before it opens, because opening a pipe would wait for its writer.
fn open_regular(path: &Path) -> std::io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(std::io::Error::new(
            ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}

fn search(places: &Places<'_>, problems: &mut Problems) -> Option<(PathBuf, String)> {
    let candidates = places.candidates();
    // A dangling link is somebody's configuration too; only what is not there at all is passed by.
    let there = |path: &&PathBuf| fs::symlink_metadata(path).is_ok();
    let Some(path) = candidates.iter().find(there) else {
        let list: Vec<String> = candidates.iter().map(|p| p.display().to_string()).collect();
        problems
            .error_at(codes::NO_FILE, &[], None, "there is no configuration file")
            .note(format!("looked for {}", list.join(", ")))
            .help("write one with `trunkline config init`, or name yours with --config");
        return None;
    };
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) => {
            unreadable(path, &error.to_string(), problems);
            return None;
        }
    };
    if !is_safe(path, &file, problems) {
        return None;
    }
    read(path, file, problems).map(|text| (path.clone(), text))
}

fn read(path: &Path, file: File, problems: &mut Problems) -> Option<String> {
    let mut bytes = Vec::new();
    if let Err(error) = file.take(BYTES_MAX + 1).read_to_end(&mut bytes) {
        return unreadable(path, &error.to_string(), problems);
    }
    if bytes.len() as u64 > BYTES_MAX {
        return unreadable(path, "it is longer than 16 MiB", problems);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            unreadable(path, &format!("line {line} is not UTF-8 text"), problems)
        }
    }
}

fn unreadable(path: &Path, reason: &str, problems: &mut Problems) -> Option<String> {
    let message = format!("cannot read {}: {reason}", path.display());
    problems.error_at(codes::UNREADABLE, &[], None, message);
    None
}

/// Checks the opened file, the directory that it was found in and, behind a link, the one that it
/// really lies in.
fn is_safe(path: &Path, file: &File, problems: &mut Problems) -> bool {
    let me = Me::of_this_process();
    let mut found = Vec::new();
    match file.metadata() {
        Ok(metadata) => found.extend(me.danger(path, &metadata)),
        Err(_) => found.push((path.to_owned(), "cannot be examined".to_owned())),
    }
    let directory = |path: &Path| path.parent().map(Path::to_owned);
    let mut directories: Vec<PathBuf> = directory(path).into_iter().collect();
    directories.extend(fs::canonicalize(path).ok().as_deref().and_then(directory));
    for directory in directories {
        match fs::metadata(&directory) {
            Ok(metadata) => found.extend(me.danger(&directory, &metadata)),
            Err(_) => found.push((directory, "cannot be examined".to_owned())),
        }
    }
    found.dedup();
    for (culprit, danger) in &found {
        let message = format!(
            "{} is not read: {} {danger}",
            path.display(),
            culprit.display()
        );
        let remedy = match danger.starts_with("belongs") {
            true => "name it with --config if you trust it".to_owned(),
            false => format!(
                "chmod go-w {}, or name the file with --config if you trust it",
                culprit.display()
            ),
        };
        problems
            .error_at(codes::UNSAFE_FILE, &[], None, message)
            .help(remedy);
    }
    found.is_empty()
}

/// Who runs this process, and which group is his alone.
#[derive(Clone, Debug, Default)]
struct Me {
    user: u32,
    private_group: Option<u32>,
}

impl Me {
    fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let ids = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            // Real, effective, saved, file system: the effective one decides what we may do.
            line.and_then(|ids| ids.split_whitespace().nth(1)?.parse::<u32>().ok())
        };
        // Without /proc only what root alone can change is trusted.
        let user = ids("Uid:").unwrap_or(0);
        let group = ids("Gid:")
            .filter(|group| is_private(*group, user, &read("/etc/passwd"), &read("/etc/group")));
        Self {
            user,
            private_group: group,
        }
    }

    fn danger(&self, path: &Path, metadata: &Metadata) -> Option<(PathBuf, String)> {
        let danger = self.judge(metadata.uid(), metadata.gid(), metadata.mode())?;
        Some((path.to_owned(), danger))
    }

    fn judge(&self, owner: u32, group: u32, mode: u32) -> Option<String> {
        if owner != self.user && owner != 0 {
            return Some(format!("belongs to another user ({owner})"));
        }
        if mode & 0o002 != 0 {
            return Some("can be changed by everybody".to_owned());
        }
        let trusted = group == 0 || self.private_group == Some(group);
        (mode & 0o020 != 0 && !trusted).then(|| format!("can be changed by its group ({group})"))
    }
}

/// Whether `user` is the only member of `group`, as far as the local files tell.
fn is_private(group: u32, user: u32, passwd: &str, groups: &str) -> bool {
    let field = |line: &str, n: usize| line.split(':').nth(n).map(str::to_owned);
    let number = |line: &str, n: usize| field(line, n).and_then(|id| id.parse::<u32>().ok());
    let mut names = Vec::new();
    for line in passwd.lines().filter(|line| number(line, 3) == Some(group)) {
        if number(line, 2) != Some(user) {
            return false;
        }
        names.extend(field(line, 0));
    }
    let listed = groups.lines().find(|line| number(line, 2) == Some(group));
    let members = listed.and_then(|line| field(line, 3));
    !names.is_empty()
        && members.is_some_and(|members| {
            let mut members = members.split(',').filter(|name| !name.is_empty());
            members.all(|member| names.iter().any(|name| name == member))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_users_hand_is_a_danger() {
        let me = Me {
            user: 1000,
            private_group: Some(1000),
        };
        for (owner, group, mode, danger) in [
            (1000, 1000, 0o600, None),
            (1000, 1000, 0o664, None),
            (0, 0, 0o664, None),
            (0, 0, 0o644, None),
            (1000, 100, 0o640, None),
            (1000, 100, 0o660, Some("can be changed by its group (100)")),
            (1000, 1000, 0o666, Some("can be changed by everybody")),
            (0, 0, 0o1777, Some("can be changed by everybody")),
            (1001, 1001, 0o600, Some("belongs to another user (1001)")),
        ] {
            let found = me.judge(owner, group, mode);
            assert_eq!(found.as_deref(), danger, "{owner} {group} {mode:o}");
        }
    }

    #[test]
    fn a_private_group_has_one_member() {
        let passwd = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n\
            bob:x:1001:100::/home/bob:/bin/sh\neve:x:1002:100::/home/eve:/bin/sh\n";
        let groups = "root:x:0:\nusers:x:100:\nada:x:1000:\nproj:x:2000:ada\n";
        assert!(is_private(1000, 1000, passwd, groups));
        assert!(
            !is_private(100, 1001, passwd, groups),
            "two have it as their first"
        );
        assert!(
            !is_private(2000, 1000, passwd, groups),
            "nobody has it as his first"
        );
        assert!(is_private(1000, 1000, passwd, "ada:x:1000:ada\n"));
        assert!(!is_private(1000, 1000, passwd, "ada:x:1000:ada,bob\n"));
        assert!(
            !is_private(1000, 1000, passwd, ""),
            "unknown here: not ours to judge"
        );
        assert!(!is_private(1000, 1000, "", groups));
    }

    #[test]
    fn the_search_order_is_that_of_the_design() {
        let environment = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            pairs.iter().map(|(a, b)| (a.into(), b.into())).collect()
        };
        for (variables, user) in [
            (vec![("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")], Some("/x")),
            (
                vec![("XDG_CONFIG_HOME", "x"), ("HOME", "/h")],
                Some("/h/.config"),
            ),
            (
                vec![("XDG_CONFIG_HOME", ""), ("HOME", "/h")],
                Some("/h/.config"),
            ),
            (vec![], None),
        ] {
            let environment = environment(&variables);
            let places = Places {
                current: Path::new("/w"),
                system: Path::new("/etc/trunkline"),
                environment: &environment,
            };
            let mut expected = vec![PathBuf::from("/w/trunkline.toml")];
            expected.extend(user.map(|u| Path::new(u).join("trunkline/trunkline.toml")));
            expected.push("/etc/trunkline/trunkline.toml".into());
            assert_eq!(places.candidates(), expected);
        }
    }
}
