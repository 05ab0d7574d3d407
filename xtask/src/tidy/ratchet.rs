//! Figures that may only shrink.
//!
//! `xtask/ratchet.toml` holds how many exceptions there are. Each figure must be exactly what is
//! counted: one more is a new exception, and one less must be written down, so that it stays. The
//! last change of the file may not have raised a figure; where there is no history to compare with
//! (an archive, a shallow clone) that part is left to whoever has one.

use std::fmt::Write;
use std::process::{Command, Stdio};

use super::Finding;
use super::tree::Tree;
use crate::workspace;

const PATH: &str = "xtask/ratchet.toml";

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ratchet {
    /// Functions that excuse their length.
    pub(crate) long_functions: usize,
    /// Files that excuse their length.
    pub(crate) long_files: usize,
    /// Rows of `docs/requirements/` that name no test.
    pub(crate) requirements_without_test: usize,
}

impl Ratchet {
    fn figures(&self) -> [(&'static str, usize); 3] {
        [
            ("long_functions", self.long_functions),
            ("long_files", self.long_files),
            ("requirements_without_test", self.requirements_without_test),
        ]
    }
}

/// Compares the count with the file, and the file with its own past.
pub(crate) fn check(tree: &Tree, counted: &Ratchet) -> Vec<Finding> {
    let Some(file) = tree.file(PATH) else {
        let what = format!("is missing; it should say:\n{}", text(counted));
        return vec![Finding::new(PATH, 1, what)];
    };
    let mut findings = compare(counted, &file.text);
    for before in earlier(&file.text) {
        findings.extend(raised(&before, &file.text));
    }
    findings
}

fn compare(counted: &Ratchet, file: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, count) in counted.figures() {
        let what = match figure(file, name) {
            Some((_, allowed)) if allowed == count => continue,
            Some((_, allowed)) if count > allowed => {
                format!("{name}: {count}, but only {allowed} are allowed: remove the new one")
            }
            Some((_, allowed)) => {
                format!("{name}: {count}, fewer than {allowed}: write {name} = {count}")
            }
            None => format!("{name} is missing: write {name} = {count}"),
        };
        let line = figure(file, name).map_or(1, |(line, _)| line);
        findings.push(Finding::new(PATH, line, what));
    }
    findings
}

/// The line and the value of a figure.
fn figure(file: &str, name: &str) -> Option<(usize, usize)> {
    let values = file.lines().enumerate().filter_map(|(index, line)| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name)
            .then(|| value.trim().parse().ok())?
            .map(|value| (index + 1, value))
    });
    values.last()
}

fn raised(before: &str, after: &str) -> Vec<Finding> {
    let figures = Ratchet::default().figures();
    figures
        .iter()
        .filter_map(|(name, _)| {
            let (_, old) = figure(before, name)?;
            let (line, new) = figure(after, name)?;
            let what = format!("{name} was {old} and is {new} now: a ratchet only shrinks");
            (new > old).then(|| Finding::new(PATH, line, what))
        })
        .collect()
}

/// The file as it was committed last, and as it was before that commit, where git knows.
fn earlier(now: &str) -> Vec<String> {
    let Some(last) = git(&["log", "-1", "--format=%H", "--", PATH]) else {
        return Vec::new();
    };
    let last = last.trim();
    let shown = |commit: String| git(&["show", &format!("{commit}:{PATH}")]);
    let committed = shown(last.to_owned());
    // What is not committed yet is compared with what is.
    if committed.as_deref() != Some(now) {
        return committed.into_iter().collect();
    }
    shown(format!("{last}~1")).into_iter().collect()
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(workspace::root());
    let output = git
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn text(ratchet: &Ratchet) -> String {
    ratchet
        .figures()
        .iter()
        .fold(String::new(), |mut text, (name, value)| {
            let _infallible = writeln!(text, "{name} = {value}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "# Doc.\nlong_functions = 2\nlong_files = 1\nrequirements_without_test = 3\n";

    fn found(counted: [usize; 3]) -> Vec<String> {
        let counted = Ratchet {
            long_functions: counted[0],
            long_files: counted[1],
            requirements_without_test: counted[2],
        };
        compare(&counted, FILE)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_figure_must_be_exactly_what_is_counted() {
        assert!(found([2, 1, 3]).is_empty());
        let more = found([3, 1, 3]);
        assert!(more[0].starts_with("xtask/ratchet.toml:2: long_functions: 3, but only 2"));
        let fewer = found([2, 1, 0]);
        assert!(
            fewer[0].contains("write requirements_without_test = 0"),
            "{fewer:?}"
        );
    }

    #[test]
    fn a_missing_figure_is_asked_for() {
        let counted = Ratchet::default();
        assert_eq!(
            compare(&counted, "long_files = 0\nlong_functions = 0\n").len(),
            1
        );
    }

    #[test]
    fn raising_a_figure_is_found_and_lowering_is_not() {
        let lower = FILE.replace("= 3", "= 1");
        assert!(raised(FILE, &lower).is_empty());
        let found = raised(&lower, FILE);
        assert!(
            found[0]
                .to_string()
                .contains("requirements_without_test was 1 and is 3"),
            "{found:?}"
        );
        assert!(raised("", FILE).is_empty());
    }
}
