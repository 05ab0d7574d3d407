//! What no file may contain.
//!
//! Rust files open with `//!`, hold no `todo!`, no ignored test and no bare `allow`, and keep
//! unsafe code in `runtime::sys`, where each block has its proof. Systems use the engine's guard
//! and not the parts that it composes: a breaker beside the guard would not be in its books. No
//! file names a folder of one machine, or the programs with which somebody wrote it.

use super::Finding;
use super::source::{Facts, Word};
use super::tree::{File, Tree};

/// Where unsafe code may be.
const UNSAFE_HOME: &str = "crates/runtime/src/sys/";

/// A name that must not be used, and what to do instead.
type Ban = (&'static str, &'static str);

const MACROS: &[Ban] = &[
    (
        "todo",
        "finish it, or leave it out and say so in docs/requirements",
    ),
    (
        "unimplemented",
        "finish it, or leave it out and say so in docs/requirements",
    ),
    ("dbg", "take it out"),
];

const ATTRIBUTES: &[Ban] = &[
    (
        "allow",
        "write #[expect(lint, reason = \"…\")], which ends when the reason does",
    ),
    (
        "ignore",
        "make the test quick and reliable, or name it soak_… and give it a short form",
    ),
];

/// The parts that `engine::guard` composes. Policy types are no parts.
const GUARD_PARTS: &[&str] = &["Breaker", "WindowedBreaker", "Flight", "Gcra"];

/// Folders of one machine. In two pieces, so that this file does not name them either.
const FOLDERS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/", "t-"),
];

/// Programs with which text and code are written.
const PROGRAMS: &[&str] = &[
    concat!("cla", "ude"),
    concat!("anth", "ropic"),
    concat!("chat", "gpt"),
    concat!("open", "ai"),
    concat!("copi", "lot"),
    concat!("co-authored", "-by"),
    concat!("language", " model"),
];

/// Reads every file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        findings.extend(words(file));
        if !file.is_rust() {
            continue;
        }
        if !file.text.starts_with("//!") {
            let what = "begins without `//!`: say what problem the file solves, and its rule";
            findings.push(Finding::new(&file.path, 1, what));
        }
        match &file.facts {
            Some(facts) => findings.extend(rust(file, facts)),
            None => findings.push(Finding::new(&file.path, 1, "cannot be read as Rust")),
        }
    }
    findings
}

fn rust(file: &File, facts: &Facts) -> Vec<Finding> {
    let mut findings = banned(file, &facts.macros, MACROS, |name| format!("`{name}!`"));
    findings.extend(banned(file, &facts.attributes, ATTRIBUTES, |name| {
        format!("`#[{name}]`")
    }));
    if !file.path.starts_with(UNSAFE_HOME) {
        for word in facts.words.iter().filter(|word| word.text == "unsafe") {
            let what = format!("unsafe code lives in {UNSAFE_HOME}: use or add a facility there");
            findings.push(Finding::new(&file.path, word.line, what));
        }
    }
    if file.path.starts_with("crates/system-") {
        let parts = facts
            .words
            .iter()
            .filter(|word| GUARD_PARTS.contains(&word.text.as_str()));
        for part in parts.filter(|word| !word.test && !file.test) {
            let what = format!(
                "`{}` is a part of engine::guard: go through the guard",
                part.text
            );
            findings.push(Finding::new(&file.path, part.line, what));
        }
    }
    findings
}

fn banned(file: &File, found: &[Word], bans: &[Ban], show: fn(&str) -> String) -> Vec<Finding> {
    let hits = found.iter().filter_map(|word| {
        let (name, instead) = bans.iter().find(|(name, _)| *name == word.text)?;
        let what = format!("{}: {instead}", show(name));
        Some(Finding::new(&file.path, word.line, what))
    });
    hits.collect()
}

fn words(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let finding = |what: String| Finding::new(&file.path, index + 1, what);
        if let Some(folder) = FOLDERS.iter().find(|folder| line.contains(**folder)) {
            findings.push(finding(format!(
                "{folder}… is a folder of one machine: take it out"
            )));
        }
        let lower = line.to_lowercase();
        if let Some(program) = PROGRAMS.iter().find(|program| lower.contains(**program)) {
            findings.push(finding(format!(
                "`{program}`: say what the project does, not what wrote it"
            )));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(vec![File::new(path, text)]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_bad_example_is_found_where_it_stands() {
        let path = "crates/a/src/b.rs";
        for (text, line, start) in [
            ("fn f() {}", 1, "begins without"),
            ("//! D.\nfn f() { todo!() }", 2, "`todo!`"),
            (
                "//! D.\nfn f() { g(unimplemented!()) }",
                2,
                "`unimplemented!`",
            ),
            ("//! D.\n#[test]\n#[ignore]\nfn f() {}", 3, "`#[ignore]`"),
            ("//! D.\n#![allow(dead_code)]", 2, "`#[allow]`"),
            (
                "//! D.\nfn f() {\n  #[allow(x)] let a = 1;\n}",
                3,
                "`#[allow]`",
            ),
            (
                "//! D.\nfn f() { unsafe { g() } }",
                2,
                "unsafe code lives in",
            ),
            ("//! D.\nfn f( {", 1, "cannot be read as Rust"),
        ] {
            let found = found(path, text);
            let expected = format!("{path}:{line}: {start}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn what_only_looks_bad_is_left_alone() {
        for (path, text) in [
            (
                "crates/runtime/src/sys/a.rs",
                "//! D.\nfn f() { unsafe { g() } }",
            ),
            (
                "crates/a/src/b.rs",
                "//! todo!() unsafe #[allow]\n#[expect(x, reason = \"y\")] fn f() {}",
            ),
            (
                "crates/a/src/b.rs",
                "//! D.\nfn f() -> &'static str { \"todo!() unsafe #[ignore]\" }",
            ),
            ("docs/a.md", "no //! here"),
        ] {
            assert_eq!(found(path, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn systems_go_through_the_guard_but_may_name_its_policies() {
        let text = "//! D.\nuse trunkline_engine::breaker::{Breaker, BreakerPolicy};";
        assert_eq!(found("crates/system-snmp/src/a.rs", text).len(), 1);
        assert_eq!(found("crates/engine/src/a.rs", text).len(), 0);
        let test = "//! D.\n#[cfg(test)]\nmod tests { use trunkline_engine::limit::Gcra; }";
        assert_eq!(found("crates/system-snmp/src/a.rs", test).len(), 0);
    }

    #[test]
    fn folders_of_one_machine_and_names_of_programs_are_found_in_any_file() {
        for word in FOLDERS.iter().chain(PROGRAMS) {
            let found = found("docs/a.md", &format!("first\nsee {word}."));
            assert!(found[0].starts_with("docs/a.md:2: "), "{word}: {found:?}");
        }
        let shouted = PROGRAMS[0].to_uppercase();
        assert_eq!(found("docs/a.md", &shouted).len(), 1);
    }
}
