//! `docs/requirements/*.md`: each row names the tests that prove it, and they exist.
//!
//! The last column of a row holds test names in backticks, `room::module::name`, where an
//! integration test's module begins with `it`: `engine::guard::tests::a_dropped_permit_returns`,
//! `sim::it::worlds::a_stuck_target_slows_only_itself`. A row without a test says `none:` and why;
//! the ratchet counts those. Any other row is a promise that nobody keeps.

use std::collections::BTreeSet;

use super::Finding;
use super::ratchet::Ratchet;
use super::tree::{File, Tree};

const FOLDER: &str = "docs/requirements/";
const WITHOUT: &str = "none:";

/// Looks up every test that a row names.
pub(crate) fn check(tree: &Tree, ratchet: &mut Ratchet) -> Vec<Finding> {
    let tests = tests(tree);
    let pages = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with(FOLDER));
    pages.flat_map(|page| rows(page, &tests, ratchet)).collect()
}

/// Every test of the tree by its name.
fn tests(tree: &Tree) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for (file, facts) in tree.sources() {
        let room = file.package().rsplit('/').next().unwrap_or_default();
        let module = file.module();
        for function in facts.functions.iter().filter(|function| function.is_a_test) {
            let parts = [room, module.as_str(), function.path.as_str()];
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            tests.insert(parts.collect::<Vec<_>>().join("::"));
        }
    }
    tests
}

fn rows(page: &File, tests: &BTreeSet<String>, ratchet: &mut Ratchet) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_table = false;
    for (index, line) in page.text.lines().enumerate() {
        let finding = |what: String| Finding::new(&page.path, index + 1, what);
        let row = line
            .trim()
            .strip_prefix('|')
            .and_then(|row| row.strip_suffix('|'));
        let Some(row) = row else {
            in_table = false;
            continue;
        };
        // The first two lines of a table are its head and the rule below it.
        let rule = row.chars().all(|c| matches!(c, '-' | '|' | ':' | ' '));
        if rule || !in_table {
            in_table |= rule;
            continue;
        }
        let proof = row.rsplit('|').next().unwrap_or_default().trim();
        if proof.starts_with(WITHOUT) && proof.len() > WITHOUT.len() {
            ratchet.requirements_without_test += 1;
            continue;
        }
        let names: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(finding(format!(
                "names no test: name one, or say `{WITHOUT}` and why"
            )));
        }
        let missing = names.iter().filter(|name| !tests.contains(**name));
        findings.extend(missing.map(|name| {
            finding(format!(
                "there is no test `{name}`: name the one that proves this row"
            ))
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(proof: &str) -> (Vec<String>, usize) {
        let page = format!("# Trace\n\n| feature | tests |\n|---|---|\n| batch | {proof} |\n");
        let unit = "//! D.\n#[cfg(test)]\nmod tests {\n#[test]\nfn a() {}\nfn helper() {}\n}";
        let tree = Tree::of(vec![
            File::new("crates/engine/src/guard.rs", unit),
            File::new(
                "crates/sim/tests/it/worlds.rs",
                "//! D.\n#[test]\nfn b() {}",
            ),
            File::new("docs/requirements/1.md", &page),
        ]);
        let mut ratchet = Ratchet::default();
        let found = check(&tree, &mut ratchet)
            .iter()
            .map(ToString::to_string)
            .collect();
        (found, ratchet.requirements_without_test)
    }

    #[test]
    fn a_test_is_found_by_its_room_and_module() {
        for proof in [
            "`engine::guard::tests::a`",
            "`sim::it::worlds::b`, `engine::guard::tests::a`",
        ] {
            assert_eq!(found(proof), (Vec::new(), 0), "{proof}");
        }
    }

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        for proof in [
            "`engine::guard::tests::c`",
            "`engine::guard::tests::helper`",
            "`sim::worlds::b`",
        ] {
            let (found, _) = found(proof);
            assert!(
                found[0].starts_with("docs/requirements/1.md:5: there is no test"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_row_without_a_test_says_why_and_is_counted() {
        assert_eq!(found("none: nothing waits, see `docs`").1, 1);
        for proof in ["", "none", "none:", "later"] {
            let (found, _) = found(proof);
            assert!(found[0].contains("names no test"), "{proof}: {found:?}");
        }
    }
}
