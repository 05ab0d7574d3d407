//! Which file is read, when a found one is refused, and secrets in files of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use trunkline_config::{FileChoice, LoadOptions, SecretFile, SecretFileError, codes, load};

use crate::sample::Sample;

/// A directory of its own for one test, 0700, gone at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trunkline-config-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        let dir = Self(path);
        dir.mode("", 0o700);
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        self.mode(name, 0o600);
        path
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// A search that sees only this directory.
    fn search(&self) -> LoadOptions {
        LoadOptions {
            file: FileChoice::Search,
            environment: vec![("XDG_CONFIG_HOME".into(), self.path("xdg").into())],
            flags: Vec::new(),
            current_dir: self.path("cwd"),
            system_dir: self.path("etc"),
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no reason to fail a test.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The port that the loaded file says, or the code and message of the first problem.
fn port(options: &LoadOptions) -> Result<u16, (String, String)> {
    match load::<Sample>(options) {
        Ok(loaded) => Ok(loaded.value.admin.listen.port()),
        Err(problems) => {
            let one = &problems.diagnostics()[0];
            Err((one.code.to_owned(), one.message.clone()))
        }
    }
}

fn file(port: u16) -> String {
    format!("[admin]\nlisten = '127.0.0.1:{port}'\n")
}

#[test]
fn the_first_place_that_has_a_file_wins() {
    let dir = Dir::new();
    let none = load::<Sample>(&dir.search()).unwrap_err();
    let one = &none.diagnostics()[0];
    assert_eq!(
        (one.code, one.message.as_str()),
        (codes::NO_FILE, "there is no configuration file")
    );
    let note = one.note.clone().unwrap();
    for place in [
        "cwd/trunkline.toml",
        "xdg/trunkline/trunkline.toml",
        "etc/trunkline.toml",
    ] {
        assert!(note.contains(dir.path(place).to_str().unwrap()), "{note}");
    }
    dir.write("etc/trunkline.toml", file(1));
    assert_eq!(port(&dir.search()), Ok(1));
    dir.write("xdg/trunkline/trunkline.toml", file(2));
    assert_eq!(port(&dir.search()), Ok(2));
    dir.write("cwd/trunkline.toml", file(3));
    assert_eq!(port(&dir.search()), Ok(3));
    let mut options = dir.search();
    let named = dir.write("named.toml", file(4));
    options
        .environment
        .push(("TRUNKLINE_CONFIG".into(), named.into()));
    assert_eq!(port(&options), Ok(4));
    options.file = FileChoice::Explicit(dir.write("explicit.toml", file(5)));
    assert_eq!(port(&options), Ok(5));
    assert_eq!(
        load::<Sample>(&options).unwrap().path,
        Some(dir.path("explicit.toml"))
    );
}

#[test]
fn a_found_file_that_others_can_change_is_refused() {
    for (culprit, mode) in [
        ("cwd/trunkline.toml", 0o602),
        ("cwd", 0o707),
        ("cwd", 0o1777),
    ] {
        let dir = Dir::new();
        dir.write("etc/trunkline.toml", file(1));
        let path = dir.write("cwd/trunkline.toml", file(3));
        dir.mode("cwd", 0o700);
        assert_eq!(port(&dir.search()), Ok(3));
        dir.mode(culprit, mode);
        let (code, message) = port(&dir.search()).unwrap_err();
        assert_eq!(code, codes::UNSAFE_FILE);
        let culprit = dir.path(culprit);
        let (path, culprit) = (path.display(), culprit.display());
        let expected = format!("{path} is not read: {culprit} can be changed by everybody");
        assert_eq!(message, expected, "and the next place is not tried instead");
        let named = FileChoice::Explicit(dir.path("cwd/trunkline.toml"));
        let options = LoadOptions {
            file: named,
            ..dir.search()
        };
        assert_eq!(port(&options), Ok(3), "who names it trusts it");
    }
}

#[test]
fn a_link_is_judged_by_where_it_leads() {
    let dir = Dir::new();
    let target = dir.write("shared/real.toml", file(7));
    fs::create_dir(dir.path("cwd")).unwrap();
    dir.mode("cwd", 0o700);
    dir.mode("shared", 0o700);
    symlink(&target, dir.path("cwd/trunkline.toml")).unwrap();
    assert_eq!(port(&dir.search()), Ok(7));
    dir.mode("shared", 0o777);
    let (code, message) = port(&dir.search()).unwrap_err();
    assert_eq!(code, codes::UNSAFE_FILE);
    assert!(
        message.contains("shared can be changed by everybody"),
        "{message}"
    );
    fs::remove_file(target).unwrap();
    let (code, _) = port(&dir.search()).unwrap_err();
    assert_eq!(code, codes::UNREADABLE, "a dangling link is not passed by");
}

fn fifo(dir: &Dir) -> PathBuf {
    let path = dir.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    path
}

#[test]
fn what_cannot_be_read_says_why() {
    let dir = Dir::new();
    let long = dir.path("long.toml");
    fs::File::create(&long)
        .unwrap()
        .set_len((16 << 20) + 1)
        .unwrap();
    for (path, reason) in [
        (
            dir.path("none.toml"),
            "No such file or directory (os error 2)",
        ),
        (dir.0.clone(), "it is no regular file"),
        // Opening it would wait for a writer that never comes.
        (fifo(&dir), "it is no regular file"),
        (
            dir.write("latin.toml", b"# a\n# \xe4\n"),
            "line 2 is not UTF-8 text",
        ),
        (long, "it is longer than 16 MiB"),
    ] {
        let expected = format!("cannot read {}: {reason}", path.display());
        let mut options = dir.search();
        options.file = FileChoice::Explicit(path);
        assert_eq!(
            port(&options),
            Err((codes::UNREADABLE.to_owned(), expected))
        );
    }
    fs::create_dir_all(dir.path("cwd/trunkline.toml")).unwrap();
    let (code, message) = port(&dir.search()).unwrap_err();
    assert_eq!(code, codes::UNREADABLE);
    assert!(message.ends_with("it is no regular file"), "{message}");
}

#[test]
fn a_secret_file_is_read_only_when_it_is_kept() {
    let dir = Dir::new();
    let path = dir.write("token", "hunter2\r\n");
    let read = |mode| {
        dir.mode("token", mode);
        SecretFile::new(&path).read()
    };
    for mode in [0o600, 0o400] {
        let unsealed = read(mode).unwrap();
        assert_eq!(
            (unsealed.secret.expose(), unsealed.warning),
            ("hunter2", None)
        );
    }
    let warning = read(0o640).unwrap().warning.unwrap();
    assert!(
        warning.ends_with("has mode 0640: its group may read it"),
        "{warning}"
    );
    for mode in [0o644, 0o602, 0o620] {
        let error = read(mode).unwrap_err();
        assert!(matches!(error, SecretFileError::Exposed { mode: m, .. } if m == mode));
    }
}

const TWO_LINES: &str = "holds more than one line; write the secret alone, on one line";

#[test]
fn a_file_that_holds_no_secret_is_refused() {
    let dir = Dir::new();
    for (path, end) in [
        (dir.write("empty", "\n"), "is empty"),
        (dir.write("two", "old\nnew\n"), TWO_LINES),
        (dir.write("blank", "one\n\n"), TWO_LINES),
        (dir.write("first", "\r\none"), TWO_LINES),
        (dir.write("latin", b"\xff"), "is not UTF-8 text"),
        (
            dir.write("long", vec![b'a'; (64 << 10) + 1]),
            "is longer than 64 KiB",
        ),
        (dir.0.clone(), "is not a regular file"),
        (dir.path("none"), "No such file or directory (os error 2)"),
    ] {
        let error = SecretFile::new(&path).read().unwrap_err().to_string();
        assert!(error.ends_with(end), "{error}");
    }
}

#[test]
fn secret_files_are_judged_while_loading() {
    let dir = Dir::new();
    let token = dir.write("token", "hunter2");
    let text = format!("[admin]\ntoken_file = '{}'\n", token.display());
    let found = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let problems = match load::<Sample>(&LoadOptions::from_text("t.toml", text.as_str())) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => *problems,
        };
        assert!(!problems.render(false).contains("hunter2"));
        let list = problems.diagnostics().iter();
        let list: Vec<(&str, usize, usize)> =
            list.map(|one| (one.code, one.line, one.column)).collect();
        list
    };
    assert_eq!(found(&token, 0o600), []);
    assert_eq!(found(&token, 0o640), [(codes::SECRET_FILE_MODE, 2, 14)]);
    assert_eq!(found(&token, 0o644), [(codes::SECRET_FILE, 2, 14)]);
}
