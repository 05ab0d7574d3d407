//! `trunkline sim` and `trunkline bench`, one against the other and against our own client.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{command, trunkline};

/// A running `trunkline sim snmp` on a port of its own.
struct Sim {
    child: Child,
    port: String,
    /// Held, so that it may go on talking.
    _talk: BufReader<ChildStderr>,
}

impl Sim {
    fn start(words: &[&str]) -> Self {
        let mut command = command();
        command
            .args(["sim", "snmp", "--port", "0", "-o", "json"])
            .args(words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut talk = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        talk.read_line(&mut line).unwrap();
        let (_, port) = line.split_once(", port ").expect(&line);
        let port = port.split([';', '\n']).next().unwrap().to_owned();
        Self {
            child,
            port,
            _talk: talk,
        }
    }

    /// Asks it to end; its exit code and its counters.
    fn stop(mut self, signal: Signal) -> (Option<i32>, Value) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let code = self.child.wait().unwrap().code();
        (code, serde_json::from_str(&text).unwrap())
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn bench(words: &[&str]) -> (Option<i32>, Value) {
    let ran = trunkline(&[&["bench", "snmp", "-o", "json"], words].concat());
    (
        ran.code,
        serde_json::from_str(&ran.stdout).expect(&ran.stderr),
    )
}

#[test]
fn every_agent_answers_from_its_own_address_until_a_signal() {
    let sim = Sim::start(&["--agents", "127.1.0.1+300", "--model", "minimal,ups"]);
    for ip in ["127.1.0.1", "127.1.1.44"] {
        let target = format!("{ip}:{}", sim.port);
        let ran = trunkline(&[
            "snmp",
            "get",
            "-v2c",
            "-c",
            "public",
            &target,
            "1.3.6.1.2.1.1.3.0",
        ]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("Timeticks"), "{ran:?}");
    }
    let beyond = format!("127.1.1.45:{}", sim.port);
    let words = ["snmp", "get", "-v2c", "-c", "public", "-t0.1", "-r0"];
    let ran = trunkline(&[&words[..], &[&beyond, "1.3.6.1.2.1.1.3.0"]].concat());
    assert_eq!(ran.code, Some(5), "no agent lives there: {ran:?}");
    let (code, report) = sim.stop(Signal::TERM);
    assert_eq!(code, Some(0));
    let counters = &report["counters"];
    assert_eq!(counters["replied"], 2, "{report}");
    assert!(counters["unknown_agent"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn a_recording_is_served_as_it_was_recorded() {
    let dir = crate::support::TempDir::new("recording");
    let path = dir.0.join("device.snmprec");
    std::fs::write(&path, "1.3.6.1.2.1.1.1.0|4|a recorded device\n").unwrap();
    let sim = Sim::start(&[
        "--agents",
        "127.1.0.1+1",
        "--recording",
        path.to_str().unwrap(),
    ]);
    let target = format!("127.1.0.1:{}", sim.port);
    let ran = trunkline(&[
        "snmp", "walk", "-v2c", "-c", "public", "-Ov", &target, "1.3.6",
    ]);
    let first = ran.stdout.lines().next();
    assert_eq!(
        (ran.code, first),
        (Some(0), Some("STRING: \"a recorded device\""))
    );
    assert_eq!(sim.stop(Signal::INT).0, Some(0));
}

#[test]
fn the_load_generator_says_what_it_did() {
    let sim = Sim::start(&["--agents", "127.1.0.1+20"]);
    let targets = format!("127.1.0.1:{}+20", sim.port);
    let (code, get) = bench(&["--targets", &targets, "--for", "300ms", "--in-flight", "40"]);
    assert_eq!(code, Some(0));
    for key in [
        "requests_per_second",
        "varbinds_per_second",
        "cpu_seconds",
        "requests",
        "varbinds",
        "requests_per_cpu_second",
        "varbinds_per_cpu_second",
    ] {
        assert!(get[key].as_f64().unwrap() > 0.0, "{key}: {get}");
    }
    assert_eq!(
        (&get["errors"], &get["timeouts"]),
        (&0.into(), &0.into()),
        "{get}"
    );
    assert_eq!(get["requests"], get["varbinds"], "one value a request");
    assert_eq!(get["latency_from"], "submission");

    let walk = [
        "--targets",
        &targets,
        "--for",
        "300ms",
        "--mode",
        "walk",
        "--in-flight",
        "20",
    ];
    let walk = bench(&walk).1;
    let per_request = walk["varbinds"].as_f64().unwrap() / walk["requests"].as_f64().unwrap();
    assert!(
        per_request > 10.0 && walk["completed"].as_u64().unwrap() > 0,
        "{walk}"
    );
}

#[test]
fn at_a_rate_latency_counts_from_the_intended_start() {
    let sim = Sim::start(&["--agents", "127.1.0.1+5", "--faults", "slow=100%:150ms"]);
    let targets = format!("127.1.0.1+5:{}", sim.port);
    // One at a time, 150 ms each, asked 20 times a second: each waits for all before it.
    let words = [
        "--targets",
        &targets,
        "--rate",
        "20",
        "--in-flight",
        "1",
        "--for",
        "1500ms",
    ];
    let (code, report) = bench(&words);
    assert_eq!(
        (code, &report["latency_from"]),
        (Some(0), &"intended start".into())
    );
    let latency = |key: &str| report["latency_us"][key].as_f64().unwrap();
    assert!(latency("min") < 300_000.0, "{report}");
    assert!(latency("max") > 500_000.0, "queueing counts: {report}");
}

#[test]
fn nobody_there_and_nonsense_have_their_own_exit_codes() {
    let sim = Sim::start(&["--agents", "127.1.0.1+1", "--faults", "dead=100%"]);
    let targets = format!("127.1.0.1:{}", sim.port);
    let (code, report) = bench(&["--targets", &targets, "--for", "200ms"]);
    assert_eq!((code, &report["requests"]), (Some(5), &0.into()));
    assert!(report["latency_us"].is_null(), "{report}");
    for words in [
        &["bench", "snmp", "--targets", "127.1.0.1+0"][..],
        &["bench", "snmp", "--targets", "127.0.0.1", "--rate", "-1"],
        &["sim", "snmp", "--agents", "::1"],
        &["sim", "snmp", "--model", "toaster"],
        &["sim", "snmp", "--faults", "dead=200%"],
        &["demo", "--faults", "dead"],
    ] {
        let ran = trunkline(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {ran:?}");
        assert!(!ran.stderr.is_empty());
    }
}
