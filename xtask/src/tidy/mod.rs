//! `cargo xtask tidy`: the rules of `CONTRIBUTING.md` that no compiler checks.
//!
//! A rule that is only written down drifts, so each of them is executed, here and as a test of this
//! crate. A rule says what is wrong, where, and what to do about it. All findings are printed at
//! once.

mod hygiene;
mod names;
mod ratchet;
mod rooms;
mod sizes;
mod source;
mod trace;
mod tree;

use std::fmt;

use crate::command::{Failure, Outcome};
use crate::workspace;
use ratchet::Ratchet;
use tree::Tree;

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line.max(1), self.what)
    }
}

/// Applies every rule to the whole tree.
///
/// # Errors
/// The findings, one per line.
pub(crate) fn run() -> Outcome {
    let findings = findings()?;
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(Failure::new(format!(
        "{}\n\ntidy: {} findings",
        lines.join("\n"),
        lines.len()
    )))
}

fn findings() -> Outcome<Vec<Finding>> {
    let tree = Tree::read(workspace::root())?;
    let metadata = workspace::metadata()?;
    let mut ratchet = Ratchet::default();
    let mut findings = rooms::check(&metadata.members);
    findings.extend(rooms::check_lock(&lock_file()?));
    findings.extend(sizes::check(&tree, &mut ratchet));
    findings.extend(hygiene::check(&tree));
    findings.extend(names::check(&tree));
    findings.extend(trace::check(&tree, &mut ratchet));
    findings.extend(ratchet::check(&tree, &ratchet));
    findings.sort();
    Ok(findings)
}

fn lock_file() -> Outcome<String> {
    std::fs::read_to_string(workspace::root().join("Cargo.lock"))
        .map_err(|error| Failure::new(format!("cannot read Cargo.lock: {error}")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        if let Err(failure) = super::run() {
            panic!("{failure}");
        }
    }
}
