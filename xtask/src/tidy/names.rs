//! Names that people outside see: metrics and error codes.
//!
//! A metric is `trunkline_<part>_<noun>…`, where the part is a kind of system, a primitive of the
//! engine or a facility of the process; its family is listed in `docs/reference/metrics.md`. An
//! error code is `T` and four digits, and is explained in `docs/reference/errors.md`. Both pages
//! are held against the code in both directions: a name that is gone must leave the page too.
//! Names of exported samples (`_total`, `_bucket` …) follow from the family and are not listed.

use std::collections::BTreeMap;

use super::Finding;
use super::tree::Tree;

const METRICS: &str = "docs/reference/metrics.md";
const ERRORS: &str = "docs/reference/errors.md";
const PREFIX: &str = "trunkline_";

/// What may come after `trunkline_`: systems, the engine's primitives, facilities of the process.
const PARTS: &[&str] = &[
    "snmp",
    "workers",
    "tap",
    "i3",
    "mcp",
    "guard",
    "breaker",
    "retry",
    "router",
    "correlate",
    "limit",
    "ledger",
    "lane",
    "stats",
    "letters",
    "health",
    "shutdown",
    "pool",
    "batch",
    "advice",
    "admin",
    "config",
    "log",
    "metrics",
    "process",
    "udp",
];

/// Families without a part, by custom of the field.
const PARTLESS: &[&str] = &["trunkline_build"];

/// Names of ours that are no metrics: the cookie of the dashboard.
const OTHERS: &[&str] = &["trunkline_dashboard"];

/// The name of something, and the first place that uses it.
type Names<'t> = BTreeMap<String, (&'t str, usize)>;

/// Holds the names in code against their rules and their pages.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let metrics = in_code(tree, metric);
    let mut findings = Vec::new();
    for (name, (path, line)) in &metrics {
        if !is_well_formed(name) {
            let what = format!(
                "`{name}` is not trunkline_<part>_<noun>: parts are {}",
                PARTS.join(", ")
            );
            findings.push(Finding::new(path, *line, what));
        }
    }
    let assembled =
        |text: &str| (text.starts_with(PREFIX) && text.contains('{')).then(|| text.to_owned());
    for (name, (path, line)) in in_code(tree, assembled) {
        let what = format!("`{name}`: write metric names out, so that they can be searched for");
        findings.push(Finding::new(path, line, what));
    }
    findings.extend(against_page(tree, METRICS, &metrics, metric));
    findings.extend(against_page(
        tree,
        ERRORS,
        &in_code(tree, error_code),
        error_code,
    ));
    findings
}

/// What `read` recognises among the strings of production code, test code left out.
fn in_code(tree: &Tree, read: fn(&str) -> Option<String>) -> Names<'_> {
    let mut names = Names::new();
    let sources = tree
        .sources()
        .filter(|(file, _)| file.path.starts_with("crates/") && !file.test);
    for (file, facts) in sources {
        for string in facts.strings.iter().filter(|string| !string.test) {
            if let Some(name) = read(string.text.trim_matches('"')) {
                names.entry(name).or_insert((&file.path, string.line));
            }
        }
    }
    names
}

/// The page names each thing that the code has, in backticks, and nothing that it has not.
fn against_page(
    tree: &Tree,
    page: &str,
    code: &Names<'_>,
    read: fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let text = tree.file(page).map_or("", |file| file.text.as_str());
    let lines = text.lines().enumerate();
    let listed: BTreeMap<String, usize> = lines
        .flat_map(|(index, line)| {
            let ticked = line.split('`').skip(1).step_by(2);
            ticked.filter_map(read).map(move |name| (name, index + 1))
        })
        .collect();
    let missing = code.iter().filter(|(name, _)| !listed.contains_key(*name));
    let missing = missing.map(|(name, (path, line))| {
        Finding::new(
            path,
            *line,
            format!("`{name}` is not in {page}: describe it there"),
        )
    });
    let gone = listed.iter().filter(|(name, _)| !code.contains_key(*name));
    let gone = gone.map(|(name, line)| {
        Finding::new(
            page,
            *line,
            format!("`{name}` is not in the code: take it out"),
        )
    });
    missing.chain(gone).collect()
}

/// A family of metrics: a string that is one name and nothing else.
fn metric(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    // Two underscores make it an environment variable of the configuration.
    let is_name = text.starts_with(PREFIX) && text.chars().all(plain) && !text.contains("__");
    // `trunkline_engine` and its like are crates, in log filters and paths.
    let is_crate = ["engine", "runtime", "sim", "cli", "wire", "system"]
        .iter()
        .any(|room| {
            text.strip_prefix(PREFIX)
                .is_some_and(|rest| rest.split('_').next() == Some(room))
        });
    let is_other = is_crate || OTHERS.contains(&text);
    (is_name && !is_other && text.len() > PREFIX.len()).then(|| text.to_owned())
}

fn is_well_formed(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    let named = rest
        .split_once('_')
        .is_some_and(|(part, noun)| PARTS.contains(&part) && !noun.is_empty());
    PARTLESS.contains(&name) || named
}

fn error_code(text: &str) -> Option<String> {
    let digits = text.strip_prefix('T')?;
    let is_code = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tree::File;
    use super::*;

    fn found(code: &str, page: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(vec![
            File::new("crates/a/src/b.rs", code),
            File::new(page, text),
        ]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_metric_without_a_known_part_is_found() {
        for (name, bad) in [
            ("trunkline_snmp_timeouts", false),
            ("trunkline_build", false),
            ("trunkline_timeouts", true),
            ("trunkline_poller_timeouts", true),
        ] {
            let code = format!("//! D.\nconst A: &str = \"{name}\";");
            let found = found(&code, METRICS, &format!("| `{name}` |"));
            assert_eq!(!found.is_empty(), bad, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_metric_that_the_page_does_not_describe_is_found_and_so_is_one_that_is_gone() {
        let code = "//! D.\nconst A: &str = \"trunkline_snmp_timeouts\";";
        let found = found(code, METRICS, "# Metrics\n`trunkline_snmp_retries`");
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("crates/a/src/b.rs:2: `trunkline_snmp_timeouts` is not in"));
        assert!(found[1].starts_with("docs/reference/metrics.md:2: `trunkline_snmp_retries`"));
    }

    #[test]
    fn a_metric_that_is_put_together_is_found() {
        let code = "//! D.\nfn f() { g(format!(\"trunkline_snmp_{noun}\")) }";
        let found = found(code, METRICS, "");
        assert!(found[0].starts_with("crates/a/src/b.rs:2: `trunkline_snmp_{noun}`: write"));
    }

    #[test]
    fn an_error_code_without_an_explanation_is_found() {
        let code = "//! D.\nconst A: &str = \"T0301\";\n#[cfg(test)]\nconst B: &str = \"T9999\";";
        let found = found(code, ERRORS, "## `T0100`");
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("crates/a/src/b.rs:2: `T0301` is not in docs/reference"));
        assert!(found[1].starts_with("docs/reference/errors.md:1: `T0100` is not in the code"));
    }

    #[test]
    fn what_is_no_name_is_no_metric() {
        for text in [
            "trunkline_",
            "trunkline__admin__verbose",
            "trunkline_engine",
            "trunkline_dashboard",
            "trunkline_system_snmp",
            "trunkline_udp_x_total{a}",
            "see trunkline_udp_x",
        ] {
            assert_eq!(metric(text), None, "{text}");
        }
    }
}
