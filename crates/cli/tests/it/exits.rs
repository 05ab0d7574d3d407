//! Exit codes, usage errors and broken pipes: what scripts rely on.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use crate::agent::{FakeAgent, Manner, ROOT, integers};
use crate::support::{TempDir, command, free_port, trunkline};

#[test]
fn mistakes_on_the_command_line_exit_2_and_say_what_is_right() {
    let host = "127.0.0.1";
    for (words, expected) in [
        (&[][..], "Usage"),
        (&["nonsense"], "nonsense"),
        (&["snmp"], "Usage"),
        (&["snmp", "get", host], "OID"),
        (&["snmp", "get", host, "sysDescr.0"], "names need MIBs"),
        (&["snmp", "get", host, "1.3.x"], "names need MIBs"),
        (&["snmp", "get", host, "1.3.4294967296"], "4294967295"),
        (&["snmp", "get", "-v3", host, "1.3"], "not supported yet"),
        (&["snmp", "get", "-On!", host, "1.3"], "output letters"),
        (&["snmp", "get", "-t", "0", host, "1.3"], "0.001"),
        (&["snmp", "get", "-r", "1000", host, "1.3"], "99"),
        (
            &["snmp", "get", "--source", "mirror", host, "1.3"],
            "strict",
        ),
        (&["snmp", "get", "-Cz", host, "1.3"], "-Cz"),
        (&["snmp", "get", "10.0.0.9-10.0.0.1", "1.3"], "backwards"),
        (&["snmp", "get", "tcp:10.0.0.9", "1.3"], "not supported"),
        (&["snmp", "get", "@/no/such/file", "1.3"], "/no/such/file"),
        (&["snmp", "bulkwalk", "-v1", host], "no GETBULK"),
        (&["snmp", "getbulk", "-v1", host, "1.3"], "no GETBULK"),
        (&["snmp", "getbulk", "-Cr", host, "1.3"], "needs a number"),
        (&["snmp", "walk", "-Cr5", host], "-Cr5"),
        (&["status", "--timeout", "nan"], "0.001 to 86400"),
        (&["status", "--timeout", "inf"], "0.001 to 86400"),
        (&["check", "--timeout", "1e300"], "0.001 to 86400"),
        (&["targets", "--timeout", "-1"], "0.001 to 86400"),
        (&["snmp", "set", host, "1.3.6", "i"], "needs VALUE"),
        (&["snmp", "set", host, "1.3.6", "i", "x"], "whole number"),
        (&["snmp", "set", host, "1.3.6", "q", "x"], "not a type"),
    ] {
        let ran = trunkline(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{words:?}");
        assert!(ran.stderr.contains(expected), "{words:?}: {}", ran.stderr);
    }
}

#[test]
fn help_and_version_are_data() {
    for words in [
        &["--help"][..],
        &["--version"],
        &["snmp", "--help"],
        &["snmp", "walk", "--help"],
    ] {
        let ran = trunkline(words);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(ran.stdout.len() > 10, "{words:?}");
    }
}

#[test]
fn several_agents_are_judged_together() {
    let (good, also) = (
        FakeAgent::start(Manner::Good, integers(2)),
        FakeAgent::start(Manner::Good, integers(2)),
    );
    let bad = FakeAgent::start(Manner::Errs(5), Vec::new());
    let closed = format!("127.0.0.1:{}", free_port());
    let (good, also, bad) = (good.name(), also.name(), bad.name());
    let oid = format!("{ROOT}.1.0");
    for (agents, code) in [
        (good.clone(), 0),
        (format!("{good},{also}"), 0),
        (format!("{good},{closed}"), 3),
        (format!("{good},{bad}"), 3),
        (format!("{bad},{closed}"), 1),
    ] {
        let ran = trunkline(&["snmp", "get", "-t0.3", "-r0", &agents, &oid]);
        assert_eq!(ran.code, Some(code), "{agents}: {ran:?}");
        let answered = ran.stdout.lines().count();
        assert_eq!(answered > 0, code != 1, "{agents}: {ran:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_success() {
    let agent = FakeAgent::start(Manner::Good, integers(5_000));
    let name = agent.name();
    for format in ["table", "jsonl", "csv"] {
        let mut child = command()
            .args(["snmp", "bulkwalk", "-o", format, &name, ROOT])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
        reader.read_line(&mut line).unwrap();
        drop(reader);
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{format}: {stderr}");
        assert_eq!(stderr, "", "{format}");
        let asked = agent.seen().len();
        assert!(
            asked < 400,
            "{format}: the walk went on for {asked} requests"
        );
    }
}

#[test]
fn a_full_disk_is_a_failure() {
    let agent = FakeAgent::start(Manner::Good, integers(3));
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command()
        .args(["snmp", "walk", &agent.name(), ROOT])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("writing the output"), "{stderr}");
}

#[test]
fn init_leaves_a_file_that_exists_alone_and_names_the_way_out() {
    let dir = TempDir::new("init");
    let path = dir.0.join("mine.toml");
    std::fs::write(&path, "# mine\n").unwrap();
    let ran = trunkline(&["config", "init", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let expected = "name another file, or move it away";
    assert!(ran.stderr.contains(expected), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "# mine\n");
}

#[test]
fn what_the_command_says_of_itself_is_there() {
    for words in [
        &["help", "exit-codes"][..],
        &["help", "environment"],
        &["help", "output"],
        &["completion", "bash"],
        &["man"],
        &["explain", "--all"],
        &["config", "schema"],
        &["config", "init"],
    ] {
        let ran = trunkline(words);
        assert_eq!(ran.code, Some(0), "{words:?}");
        assert!(ran.stdout.len() > 100, "{words:?}");
    }
    assert_eq!(trunkline(&["explain", "T9999"]).code, Some(2));
}
