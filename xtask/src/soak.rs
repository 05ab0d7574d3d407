//! `cargo xtask soak`: the functions of the suite with larger numbers.
//!
//! A test whose name contains `soak_` reads the seconds it may take from `TRUNKLINE_SOAK`; without
//! the variable it runs its short form, so the suite exercises the same code. The release profile
//! is used because a soak looks for what only shows at speed. `soak fuzz` runs the fuzz target of
//! the SNMP decoder for as long.

use std::time::Duration;

use crate::command::{self, Failure, Outcome};
use crate::nextest;
use crate::workspace;

const DEFAULT: Duration = Duration::from_secs(600);

#[derive(Debug, PartialEq, Eq)]
struct Request {
    name: Option<String>,
    length: Duration,
}

/// Runs the soaks that the words name, or all.
///
/// # Errors
/// The words make no sense, or a soak fails.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let request = parse(words)?;
    match request.name.as_deref() {
        Some("fuzz") => fuzz(request.length),
        name => tests(name, request.length),
    }
}

fn tests(name: Option<&str>, length: Duration) -> Outcome {
    let filter = format!("soak_{}", name.unwrap_or_default());
    let mut soak = if nextest::is_there() {
        let run = [
            "nextest",
            "run",
            "--workspace",
            "--release",
            "--no-fail-fast",
        ];
        let mut soak = command::cargo(&run);
        soak.args(["--config-file", nextest::CONFIG, "--profile", "soak"]);
        // One at a time: a soak measures memory and time, which neighbours would disturb.
        soak.args(["--test-threads", "1", "--no-capture"]);
        soak
    } else {
        command::cargo(&["test", "--workspace", "--release"])
    };
    soak.arg(&filter)
        .env("TRUNKLINE_SOAK", length.as_secs().to_string());
    if !nextest::is_there() {
        soak.args(["--", "--test-threads=1", "--nocapture"]);
    }
    println!("tests named {filter}*, {} s each", length.as_secs());
    command::run(&mut soak)
}

fn fuzz(length: Duration) -> Outcome {
    if !command::answers(&mut command::cargo(&["fuzz", "--version"])) {
        return Err(Failure::new(
            "cargo-fuzz is not installed; run: cargo install cargo-fuzz --locked",
        ));
    }
    let mut fuzz = command::cargo(&["fuzz", "run", "-s", "none", "decode_snmp"]);
    // The first corpus grows, the second only feeds it.
    let (grown, seeds) = ("fuzz/corpus/decode_snmp", "fuzz/seeds/decode_snmp");
    for corpus in [grown, seeds] {
        let folder = workspace::root().join(corpus);
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure::new(format!("cannot make {corpus}: {error}")))?;
        fuzz.arg(folder);
    }
    fuzz.args(["--", &format!("-max_total_time={}", length.as_secs())]);
    command::run(&mut fuzz)
}

fn parse(words: &[&str]) -> Outcome<Request> {
    let (name, rest) = match words {
        [name, rest @ ..] if !name.starts_with('-') => (Some((*name).to_owned()), rest),
        rest => (None, rest),
    };
    let length = match rest {
        [] => DEFAULT,
        ["--for", length] => duration(length)?,
        _ => {
            return Err(Failure::usage(
                "usage: cargo xtask soak [NAME] [--for 90s|10m|2h]",
            ));
        }
    };
    Ok(Request { name, length })
}

/// `90s`, `10m`, `2h`.
fn duration(text: &str) -> Outcome<Duration> {
    let bad = || Failure::usage(format!("not a time: {text}; write 90s, 10m or 2h"));
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "s" => number,
        "m" => number.saturating_mul(60),
        "h" => number.saturating_mul(3600),
        _ => return Err(bad()),
    };
    if seconds == 0 {
        return Err(bad());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soak_has_a_name_and_a_length_and_neither_is_needed() {
        let request = |name: Option<&str>, seconds| Request {
            name: name.map(str::to_owned),
            length: Duration::from_secs(seconds),
        };
        for (words, expected) in [
            (&[][..], request(None, 600)),
            (&["fuzz"], request(Some("fuzz"), 600)),
            (&["--for", "90s"], request(None, 90)),
            (
                &["blackhole", "--for", "2h"],
                request(Some("blackhole"), 7200),
            ),
        ] {
            assert_eq!(parse(words).unwrap(), expected);
        }
    }

    #[test]
    fn a_length_without_a_unit_or_of_nothing_is_refused() {
        for text in ["90", "s", "", "0s", "-1m", "1d", "ä"] {
            assert_eq!(duration(text).unwrap_err().code(), 2, "{text}");
        }
        assert!(parse(&["a", "b"]).is_err());
    }
}
