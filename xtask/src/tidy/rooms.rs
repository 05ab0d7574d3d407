//! Who may import whom: the table of rooms, held against `cargo metadata`.
//!
//! Crate boundaries are the only arrows that the compiler enforces, so the arrows are written down
//! once, here, and the page `ARCHITECTURE.md` shows the same table. For our own crates a row is
//! exhaustive, dev-dependencies included. For foreign crates it is exhaustive in `wire-*` and
//! `engine`, whose users must be able to read everything they link; elsewhere it is a list of bans,
//! each with the reason.

use super::Finding;
use crate::workspace::{Kind, Member};

struct Room {
    package: &'static str,
    /// Our own crates that it may import.
    own: &'static [&'static str],
    /// Our own crates that its tests may import besides.
    own_in_tests: &'static [&'static str],
    foreign: Foreign,
}

enum Foreign {
    /// Nothing but these.
    Only(&'static [&'static str]),
    /// Anything but these, which belong to another room; tests may use them.
    AllBut(&'static [&'static str]),
}

/// What waits, opens and speaks; nothing that must be testable with a made-up clock.
const DRIVING: &[&str] = &[
    "tokio",
    "tokio-util",
    "rustix",
    "socket2",
    "libc",
    "axum",
    "clap",
];

const ROOMS: &[Room] = &[
    Room {
        package: "trunkline-wire-snmp",
        own: &[],
        own_in_tests: &[],
        foreign: Foreign::Only(&[
            "bytes",
            "memchr",
            "thiserror",
            "proptest",
            "aes",
            "des",
            "cbc",
            "cfb-mode",
            "hmac",
            "md-5",
            "sha1",
            "sha2",
            "subtle",
            "zeroize",
        ]),
    },
    Room {
        package: "trunkline-engine",
        own: &[],
        own_in_tests: &[],
        foreign: Foreign::Only(&[
            "arc-swap",
            "parking_lot",
            "slab",
            "thiserror",
            "loom",
            "proptest",
        ]),
    },
    Room {
        package: "trunkline-config",
        own: &["trunkline-engine"],
        own_in_tests: &[],
        foreign: Foreign::AllBut(DRIVING),
    },
    Room {
        package: "trunkline-runtime",
        own: &["trunkline-engine"],
        own_in_tests: &[],
        foreign: Foreign::AllBut(&["axum", "clap", "toml"]),
    },
    Room {
        package: "trunkline-system-snmp",
        own: &[
            "trunkline-config",
            "trunkline-engine",
            "trunkline-runtime",
            "trunkline-wire-snmp",
        ],
        own_in_tests: &["trunkline-sim"],
        foreign: Foreign::AllBut(&["axum", "clap", "toml", "rustix", "socket2", "libc"]),
    },
    Room {
        package: "trunkline-admin",
        // The engine for its words only: health, faults, metrics, time.
        own: &["trunkline-config", "trunkline-engine", "trunkline-runtime"],
        own_in_tests: &[],
        foreign: Foreign::AllBut(&["clap", "toml", "socket2", "libc"]),
    },
    Room {
        package: "trunkline-sim",
        own: &["trunkline-engine", "trunkline-wire-snmp"],
        own_in_tests: &[],
        foreign: Foreign::AllBut(&[
            "tokio",
            "tokio-util",
            "rustix",
            "socket2",
            "libc",
            "axum",
            "clap",
            "rand",
        ]),
    },
    Room {
        package: "trunkline",
        own: &[
            "trunkline-admin",
            "trunkline-config",
            "trunkline-engine",
            "trunkline-runtime",
            "trunkline-sim",
            "trunkline-system-snmp",
            "trunkline-wire-snmp",
        ],
        own_in_tests: &[],
        foreign: Foreign::AllBut(&["axum", "socket2"]),
    },
    Room {
        package: "xtask",
        own: &[],
        own_in_tests: &[],
        foreign: Foreign::Only(&["proc-macro2", "serde_json"]),
    },
];

/// Crates that nobody may bring in, not even through another crate, and why.
const BANNED: &[(&str, &str)] = &[
    (
        "anyhow",
        "errors here are enums that say whose fault and what next",
    ),
    (
        "eyre",
        "errors here are enums that say whose fault and what next",
    ),
    (
        "openssl-sys",
        "a C library that every build would need; rustls and RustCrypto do it",
    ),
    (
        "native-tls",
        "a C library that every build would need; rustls does it",
    ),
    ("serde_yaml", "unmaintained; the configuration is TOML"),
    ("dashmap", "state is written by its owner alone"),
    ("async-std", "one async runtime is enough"),
    ("failure", "unmaintained; thiserror does it"),
    ("chrono", "jiff does it, and knows time zones"),
    ("time", "jiff does it, and knows time zones"),
];

/// Holds the table against the manifests.
pub(crate) fn check(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let finding = |what: String| Finding::new(&member.manifest, 1, what);
        let Some(room) = ROOMS.iter().find(|room| room.package == member.name) else {
            findings.push(finding(format!(
                "{} is in no room: add it to the table in xtask/src/tidy/rooms.rs and to \
                 ARCHITECTURE.md, or make it a module",
                member.name
            )));
            continue;
        };
        for dependency in &member.dependencies {
            let name = dependency.name.as_str();
            let in_tests = dependency.kind == Kind::Dev && room.own_in_tests.contains(&name);
            if dependency.own && !room.own.contains(&name) && !in_tests {
                findings.push(finding(format!(
                    "{} may not import {name}: move what it needs to a room that both may import",
                    member.name
                )));
            }
            if !dependency.own && !room.foreign.permits(name, dependency.kind) {
                findings.push(finding(format!(
                    "{} may not use {name}: it belongs to another room (see ARCHITECTURE.md)",
                    member.name
                )));
            }
        }
    }
    findings
}

/// Holds the bans against everything that Cargo would build.
pub(crate) fn check_lock(lock: &str) -> Vec<Finding> {
    let names = lock.lines().enumerate().filter_map(|(index, line)| {
        let name = line.strip_prefix("name = \"")?.strip_suffix('"')?;
        Some((index + 1, name))
    });
    names
        .filter_map(|(line, name)| {
            let (_, reason) = BANNED.iter().find(|(banned, _)| *banned == name)?;
            let what =
                format!("{name} is banned: {reason}; `cargo tree -i {name}` shows who brings it");
            Some(Finding::new("Cargo.lock", line, what))
        })
        .collect()
}

impl Foreign {
    fn permits(&self, name: &str, kind: Kind) -> bool {
        match self {
            Self::Only(names) => names.contains(&name),
            Self::AllBut(names) => kind == Kind::Dev || !names.contains(&name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn found(package: &str, name: &str, kind: Kind) -> Vec<String> {
        let member = Member {
            name: package.to_owned(),
            manifest: "crates/x/Cargo.toml".to_owned(),
            dependencies: vec![Dependency {
                name: name.to_owned(),
                kind,
                own: name.starts_with("trunkline"),
            }],
        };
        check(&[member]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_arrow_that_the_table_has_not_is_found_in_every_kind_of_dependency() {
        for kind in [Kind::Normal, Kind::Build, Kind::Dev] {
            let found = found("trunkline-engine", "trunkline-sim", kind);
            assert_eq!(found.len(), 1);
            let start = "crates/x/Cargo.toml:1: trunkline-engine may not import trunkline-sim";
            assert!(found[0].starts_with(start), "{}", found[0]);
        }
        assert!(found("trunkline-system-snmp", "trunkline-sim", Kind::Dev).is_empty());
        assert_eq!(
            found("trunkline-system-snmp", "trunkline-sim", Kind::Normal).len(),
            1
        );
    }

    #[test]
    fn foreign_crates_are_listed_for_the_core_and_banned_by_name_elsewhere() {
        for (package, name, bad) in [
            ("trunkline-engine", "tokio", true),
            ("trunkline-engine", "serde", true),
            ("trunkline-engine", "arc-swap", false),
            ("trunkline-wire-snmp", "itoa", true),
            ("trunkline-sim", "tokio", true),
            ("trunkline-sim", "itoa", false),
            ("trunkline-system-snmp", "axum", true),
            ("trunkline-admin", "axum", false),
        ] {
            let found = found(package, name, Kind::Normal);
            assert_eq!(!found.is_empty(), bad, "{package} {name}");
        }
        assert!(found("trunkline-system-snmp", "toml", Kind::Dev).is_empty());
        assert_eq!(found("trunkline-engine", "tokio", Kind::Dev).len(), 1);
    }

    #[test]
    fn a_crate_without_a_room_is_found() {
        assert_eq!(found("trunkline-helpers", "serde", Kind::Normal).len(), 1);
    }

    #[test]
    fn a_banned_crate_is_found_wherever_it_comes_from() {
        let lock = "[[package]]\nname = \"anyhow\"\n\n[[package]]\nname = \"anyhow-free\"\n";
        let found = check_lock(lock);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .to_string()
                .starts_with("Cargo.lock:2: anyhow is banned")
        );
    }
}
