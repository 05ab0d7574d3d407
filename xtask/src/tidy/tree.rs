//! The files of the project, read once for all rules.
//!
//! Whatever lies in the folder counts, tracked or not, so that a rule fires before a commit and
//! not after. Left out are build output, what `.gitignore` names, and what Cargo writes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::source::Facts;
use crate::command::{Failure, Outcome};

/// A text file, and what is in it when it is Rust.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the workspace, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Only of `.rs` files.
    pub(crate) facts: Option<Facts>,
    /// Every line of it is test code.
    pub(crate) test: bool,
}

impl File {
    /// A file as the rules see it; `test` is settled later, by the file that names the module.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let facts = path.ends_with(".rs").then(|| Facts::of(text)).flatten();
        let folders = path.split('/');
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            facts,
            test: path.ends_with(".rs") && folders.rev().skip(1).any(|name| name == "tests"),
        }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The folder of the package: `crates/engine`, `xtask`.
    pub(crate) fn package(&self) -> &str {
        let until = self
            .path
            .find("/src/")
            .or_else(|| self.path.find("/tests/"));
        until.map_or("", |end| &self.path[..end])
    }

    /// The path of the module that the file is, within its binary: `it::books`, `guard`, nothing.
    pub(crate) fn module(&self) -> String {
        let inside = self.path.strip_prefix(self.package()).unwrap_or(&self.path);
        let inside = inside.trim_start_matches('/');
        let inside = inside
            .strip_prefix("src/")
            .or_else(|| inside.strip_prefix("tests/"));
        let inside = inside.unwrap_or_default().trim_end_matches(".rs");
        let named = |part: &&str| !matches!(*part, "mod" | "lib" | "main");
        inside
            .split('/')
            .filter(named)
            .collect::<Vec<_>>()
            .join("::")
    }

    /// Whether a line is test code.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        let tests = self.facts.as_ref().map_or(&[][..], |facts| &facts.tests);
        self.test || tests.iter().any(|lines| lines.contains(&line))
    }
}

/// All files, sorted by path.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the project below `root`.
    ///
    /// # Errors
    /// A file or folder cannot be read.
    pub(crate) fn read(root: &Path) -> Outcome<Self> {
        let mut paths = Vec::new();
        list(root, root, &mut paths)?;
        let mut files = Vec::new();
        for path in paths {
            let bytes = std::fs::read(root.join(&path)).map_err(|error| {
                Failure::new(format!("cannot read {}: {error}", path.display()))
            })?;
            // What is not text has no lines to keep tidy.
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File::new(&path.display().to_string(), &text));
            }
        }
        Ok(Self::of(files))
    }

    pub(crate) fn of(mut files: Vec<File>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let tests: BTreeSet<String> = files.iter().flat_map(test_modules).collect();
        for file in &mut files {
            let module = format!("{}::{}", file.package(), file.module());
            file.test |= tests.iter().any(|test| {
                module
                    .strip_prefix(test)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            });
        }
        Self { files }
    }

    /// The file at this path.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust files, each with what is in it.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&File, &Facts)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.facts.as_ref()?)))
    }
}

/// The test modules that a file declares, each as `crates/engine::guard::tests`.
fn test_modules(file: &File) -> Vec<String> {
    let declared = file.facts.iter().flat_map(|facts| &facts.test_modules);
    let module = file.module();
    let here = [file.package(), module.as_str()];
    let here = here
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("::");
    declared.map(|name| format!("{here}::{name}")).collect()
}

fn list(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> Outcome {
    let unreadable =
        |error: std::io::Error| Failure::new(format!("cannot list {}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let path = entry.path();
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            let left_out = ["target", ".git", "artifacts", "coverage", "node_modules"];
            let corpus = folder.ends_with("fuzz") && name == "corpus";
            if !corpus && !left_out.iter().any(|left_out| name == *left_out) {
                list(root, &path, paths)?;
            }
        } else if kind.is_file() && name != "Cargo.lock" {
            paths.push(path.strip_prefix(root).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_module_a_file_is() {
        for (path, package, module) in [
            ("crates/engine/src/lib.rs", "crates/engine", ""),
            (
                "crates/engine/src/guard/books.rs",
                "crates/engine",
                "guard::books",
            ),
            (
                "crates/engine/src/letters/mod.rs",
                "crates/engine",
                "letters",
            ),
            ("crates/engine/tests/it/main.rs", "crates/engine", "it"),
            (
                "crates/engine/tests/it/books.rs",
                "crates/engine",
                "it::books",
            ),
            ("xtask/src/main.rs", "xtask", ""),
        ] {
            let file = File::new(path, "");
            assert_eq!(
                (file.package(), file.module().as_str()),
                (package, module),
                "{path}"
            );
        }
    }

    #[test]
    fn a_module_is_test_code_when_its_parent_says_so() {
        let tree = Tree::of(vec![
            File::new(
                "crates/a/src/lib.rs",
                "mod b;\n#[cfg(test)]\nmod check;\nmod checks;",
            ),
            File::new("crates/a/src/b.rs", "#[cfg(test)] mod model;"),
            File::new("crates/a/src/b/model.rs", "fn f() {}"),
            File::new("crates/a/src/check/deep.rs", "fn f() {}"),
            File::new("crates/a/src/checks.rs", "fn f() {}"),
            File::new("crates/a/tests/it/main.rs", "fn f() {}"),
        ]);
        let tests: Vec<_> = tree.files.iter().filter(|file| file.test).collect();
        let tests: Vec<_> = tests.iter().map(|file| file.path.as_str()).collect();
        let expected = [
            "crates/a/src/b/model.rs",
            "crates/a/src/check/deep.rs",
            "crates/a/tests/it/main.rs",
        ];
        assert_eq!(tests, expected);
    }
}
