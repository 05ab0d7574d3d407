//! The Debian packages that the conformance tests need.
//!
//! Tests compare with net-snmp's agent and commands, which nobody here wrote. They are installed
//! when that is possible without asking anybody: `apt-get` is there and we are root. Otherwise the
//! task prints the one command to run and fails: a suite that skips its conformance tests in
//! silence would prove less than it says.

use std::path::Path;
use std::process::Command;

use crate::command::{self, Failure, Outcome};

/// A package, and a program by which one sees that it is there.
struct Package {
    name: &'static str,
    program: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "snmp",
        program: "snmpbulkwalk",
    },
    Package {
        name: "snmpd",
        program: "snmpd",
    },
];

/// Where Debian puts programs; daemons are often not on a user's path.
const FOLDERS: &[&str] = &["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Installs what is missing.
///
/// # Errors
/// Something is missing and cannot be installed from here.
pub(crate) fn ensure() -> Outcome {
    let missing = missing(is_there);
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install --yes {}", missing.join(" "));
    if !is_there("apt-get") {
        return Err(Failure::new(format!(
            "the conformance tests need net-snmp's {}; this system has no apt-get, so install \
             them its own way and run this again",
            missing.join(" and ")
        )));
    }
    if !is_root()? {
        return Err(Failure::new(format!(
            "the conformance tests need Debian packages; run: sudo {install}"
        )));
    }
    println!("installing {}", missing.join(" "));
    apt_get(&["update"], &[])?;
    apt_get(&["install", "--yes", "--no-install-recommends"], &missing)
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let lacking = PACKAGES.iter().filter(|package| !is_there(package.program));
    lacking.map(|package| package.name).collect()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path);
    let usual = FOLDERS.iter().map(Into::into);
    listed
        .chain(usual)
        .any(|folder| folder.join(program).is_file())
}

/// Root is whoever owns this process' entry in `/proc`, which is its effective user.
fn is_root() -> Outcome<bool> {
    use std::os::unix::fs::MetadataExt;
    let entry = Path::new("/proc/self")
        .metadata()
        .map_err(|error| Failure::new(format!("cannot read /proc/self: {error}")))?;
    Ok(entry.uid() == 0)
}

fn apt_get(verb: &[&str], packages: &[&str]) -> Outcome {
    // Another installation may be running on a machine that has just started.
    let mut apt_get = Command::new("apt-get");
    apt_get.args(["--quiet", "-o", "DPkg::Lock::Timeout=120"]);
    apt_get.args(verb).args(packages);
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    command::run(&mut apt_get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        assert_eq!(missing(|_| true), Vec::<&str>::new());
        assert_eq!(missing(|_| false), ["snmp", "snmpd"]);
        assert_eq!(missing(|program| program == "snmpbulkwalk"), ["snmpd"]);
    }

    #[test]
    fn a_program_is_found_by_its_file() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program-anywhere"));
    }
}
