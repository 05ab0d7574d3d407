//! The page of error codes, from what `trunkline explain --all` prints.
//!
//! Each code is a heading of its own, so that a link can point at it.

use std::fmt::Write;

const HEAD: &str = "\
# Error codes

<!-- Written by `cargo xtask generate`; change the explanations in the code instead. -->

Errors about the configuration, and those of a running daemon, carry a code. `trunkline explain
CODE` says what follows here.
";

/// Turns `CODE  title` with its indented lines into headings and paragraphs.
pub(super) fn page(printed: &str) -> String {
    let mut page = String::from(HEAD);
    for line in printed.lines() {
        let code = line.split_once("  ").filter(|(code, _)| is_code(code));
        let _infallible = match code {
            Some((code, title)) => write!(page, "\n## `{code}`\n\n**{title}**\n"),
            None => write!(page, "\n{}\n", line.trim()),
        };
    }
    page
}

fn is_code(text: &str) -> bool {
    let digits = text.strip_prefix('T').unwrap_or_default();
    digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_a_heading_with_its_paragraphs() {
        let page = page("T0100  Not TOML.\n  Cause: a quote.\n  Remedy: mend it.\n");
        let expected = "\n## `T0100`\n\n**Not TOML.**\n\nCause: a quote.\n\nRemedy: mend it.\n";
        assert!(page.ends_with(expected), "{page}");
    }
}
