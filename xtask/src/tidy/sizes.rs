//! Functions of at most 70 lines, files of at most 600, lines of at most 100 columns.
//!
//! Tests and constant tables do not count. A function is counted from `fn` to its closing brace.
//! One that reads better in one piece (a state machine, most often) says so above itself:
//! `// tidy: long because …`; a file says it below its `//!`. At most 1 % of the functions and 2 %
//! of the files may, and the ratchet keeps their number from growing. Lines have no escape: an
//! address or a text that cannot be broken goes into a constant.

use super::Finding;
use super::ratchet::Ratchet;
use super::source::{Facts, Function};
use super::tree::{File, Tree};

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 600;
const COLUMNS: usize = 100;
const ESCAPE: &str = "// tidy: long because ";
/// Of a hundred, how many may be longer.
const FUNCTIONS_LONG_PERCENT: usize = 1;
const FILES_LONG_PERCENT: usize = 2;

/// Measures every file, and counts the exceptions for the ratchet.
pub(crate) fn check(tree: &Tree, ratchet: &mut Ratchet) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut functions, mut files) = (0, 0);
    for (file, facts) in tree.sources() {
        files += usize::from(!file.test);
        functions += facts
            .functions
            .iter()
            .filter(|function| counts(file, function))
            .count();
        findings.extend(lines(file, facts));
        findings.extend(file_length(file, facts, ratchet));
        findings.extend(function_lengths(file, facts, ratchet));
    }
    let shares = [
        (
            "functions",
            ratchet.long_functions,
            functions,
            FUNCTIONS_LONG_PERCENT,
        ),
        ("files", ratchet.long_files, files, FILES_LONG_PERCENT),
    ];
    for (what, long, all, percent) in shares {
        if long * 100 > all * percent {
            findings.push(Finding::new(
                "xtask/ratchet.toml",
                1,
                format!("{long} of {all} {what} are too long, more than {percent} %: cut some"),
            ));
        }
    }
    findings
}

fn counts(file: &File, function: &Function) -> bool {
    !file.test && !function.test
}

fn lines(file: &File, facts: &Facts) -> Vec<Finding> {
    let table = |line: usize| facts.tables.iter().any(|lines| lines.contains(&line));
    let long = |(index, text): (usize, &str)| {
        let (line, columns) = (index + 1, text.chars().count());
        let counts = columns > COLUMNS && !file.is_test(line) && !table(line);
        counts.then(|| {
            let what = format!("{columns} columns, at most {COLUMNS}: break the line");
            Finding::new(&file.path, line, what)
        })
    };
    file.text.lines().enumerate().filter_map(long).collect()
}

fn file_length(file: &File, facts: &Facts, ratchet: &mut Ratchet) -> Option<Finding> {
    if file.test {
        return None;
    }
    let table = |line: usize| facts.tables.iter().any(|lines| lines.contains(&line));
    let counted = |line: &usize| !file.is_test(*line) && !table(*line);
    let length = (1..=file.text.lines().count()).filter(counted).count();
    if length <= FILE_LINES {
        return None;
    }
    let mut head = file
        .text
        .lines()
        .take_while(|line| !line.starts_with("use "));
    if head.any(|line| line.starts_with(ESCAPE)) {
        ratchet.long_files += 1;
        return None;
    }
    let what = format!(
        "{length} lines without tests and tables, at most {FILE_LINES}: cut along what changes \
         together, or say `{ESCAPE}…` below the `//!`"
    );
    Some(Finding::new(&file.path, 1, what))
}

fn function_lengths(file: &File, facts: &Facts, ratchet: &mut Ratchet) -> Vec<Finding> {
    let text: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for function in facts
        .functions
        .iter()
        .filter(|function| counts(file, function))
    {
        let (first, last) = (*function.lines.start(), *function.lines.end());
        let length = last + 1 - first;
        if length <= FUNCTION_LINES {
            continue;
        }
        if is_escaped(&text, first) {
            ratchet.long_functions += 1;
            continue;
        }
        let what = format!(
            "`{}` has {length} lines, at most {FUNCTION_LINES}: give a part of it a name, or say \
             `{ESCAPE}…` above it",
            function.path
        );
        findings.push(Finding::new(&file.path, first, what));
    }
    findings
}

/// Whether the comments and attributes directly above a function excuse its length.
fn is_escaped(text: &[&str], first: usize) -> bool {
    let above = text.iter().take(first.saturating_sub(1)).rev();
    above
        .map(|line| line.trim_start())
        .take_while(|line| line.starts_with("//") || line.starts_with("#["))
        .any(|line| line.starts_with(ESCAPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(text: &str) -> (Vec<String>, Ratchet) {
        // So many short functions that a long one is below one percent of them.
        let others = "fn f() {}\n".repeat(200);
        let mut files = vec![File::new("crates/a/src/lib.rs", text)];
        files.extend((0..60).map(|n| File::new(&format!("crates/b/src/f{n}.rs"), "")));
        files.push(File::new("crates/c/src/lib.rs", &others));
        let mut ratchet = Ratchet::default();
        let found = check(&Tree::of(files), &mut ratchet);
        (found.iter().map(ToString::to_string).collect(), ratchet)
    }

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    x();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_71_lines_is_too_long() {
        assert!(measured(&function(70)).0.is_empty());
        let (found, _) = measured(&function(71));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("crates/a/src/lib.rs:1: `long` has 71 lines"),
            "{found:?}"
        );
    }

    #[test]
    fn a_long_function_with_a_reason_is_counted_instead() {
        let text = format!(
            "/// Doc.\n// tidy: long because one table.\n#[inline]\n{}",
            function(90)
        );
        let (found, ratchet) = measured(&text);
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(ratchet.long_functions, 1);
        let elsewhere = format!(
            "// tidy: long because one table.\nfn f() {{}}\n{}",
            function(90)
        );
        assert_eq!(measured(&elsewhere).0.len(), 1);
    }

    #[test]
    fn too_many_reasons_are_no_reason() {
        let text = format!("// tidy: long because one table.\n{}", function(90)).repeat(3);
        let (found, ratchet) = measured(&text);
        assert_eq!(ratchet.long_functions, 3);
        assert!(
            found[0].contains("3 of 203 functions are too long"),
            "{found:?}"
        );
    }

    #[test]
    fn a_file_is_counted_without_tests_and_tables() {
        let line = "struct S;\n";
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(700));
        let table = format!("const T: &[u8] = &[\n{}];\n", "    1,\n".repeat(700));
        let code = line.repeat(600);
        let both = format!("{code}{table}{tests}");
        assert!(measured(&both).0.is_empty());
        let (found, _) = measured(&format!("{line}{both}"));
        assert!(
            found[0].starts_with("crates/a/src/lib.rs:1: 601 lines"),
            "{found:?}"
        );
        let reason = "//! Doc.\n// tidy: long because one state machine.\n";
        let (found, ratchet) = measured(&format!("{reason}{line}{both}"));
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(ratchet.long_files, 1);
    }

    #[test]
    fn a_line_of_101_columns_is_too_long_unless_it_is_a_test() {
        let line = |length: usize| format!("// {}\n", "ä".repeat(length - 3));
        assert!(measured(&line(100)).0.is_empty());
        assert_eq!(measured(&line(101)).0.len(), 1);
        let test = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line(101));
        assert!(measured(&test).0.is_empty());
    }
}
