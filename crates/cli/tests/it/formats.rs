//! JSON, JSON lines and CSV; several agents; scanning; the progress line.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use trunkline_wire_snmp::OwnedValue;

use crate::agent::{FakeAgent, Manner, ROOT, integers, rows};
use crate::support::{Snmpd, TempDir, free_port, trunkline};

fn mixed() -> FakeAgent {
    let text = |bytes: &[u8]| OwnedValue::OctetString(bytes.into());
    let values = [
        OwnedValue::Integer(-1),
        text(b"a, \"b\""),
        text(&[0, 0xff]),
        OwnedValue::Counter64(u64::MAX),
        OwnedValue::NoSuchInstance,
    ];
    FakeAgent::start(Manner::Good, rows(values))
}

fn oids() -> Vec<String> {
    (1..=5).map(|n| format!("{ROOT}.{n}.0")).collect()
}

fn get(format: &str, agents: &str) -> crate::support::Ran {
    let oids = oids();
    let mut words = vec!["snmp", "get", "-t0.3", "-r0", "-o", format, agents];
    words.extend(oids.iter().map(String::as_str));
    trunkline(&words)
}

#[test]
fn json_is_one_document_keyed_by_target_and_oid() {
    let agent = mixed();
    let closed = format!("127.0.0.1:{}", free_port());
    let ran = get("json", &format!("{},{closed}", agent.name()));
    assert_eq!(ran.code, Some(3));
    let document: Json = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["schema_version"], 1);
    let rows = &document["targets"][agent.name()]["rows"];
    let oids = oids();
    assert_eq!(rows[&oids[0]], json!({ "type": "integer", "value": -1 }));
    assert_eq!(
        rows[&oids[1]],
        json!({ "type": "octet-string", "value": "a, \"b\"" })
    );
    assert_eq!(rows[&oids[2]]["value"], json!({ "hex": "00ff" }));
    assert_eq!(
        rows[&oids[3]],
        json!({ "type": "counter64", "value": u64::MAX })
    );
    assert_eq!(
        rows[&oids[4]],
        json!({ "type": "no-such-instance", "value": null })
    );
    let error = &document["targets"][&closed]["error"];
    assert_eq!(error["kind"], "unreachable");
    assert!(error["hint"].as_str().unwrap().contains("nothing listens"));
}

#[test]
fn json_lines_stand_alone() {
    let agent = mixed();
    let closed = format!("127.0.0.1:{}", free_port());
    let ran = get("jsonl", &format!("{},{closed}", agent.name()));
    let lines: Vec<Json> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 6, "{}", ran.stdout);
    assert!(lines.iter().all(|line| line["schema_version"] == 1));
    let rows: Vec<_> = lines
        .iter()
        .filter(|line| line["target"] == agent.name())
        .collect();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0]["oid"], format!("{ROOT}.1.0"));
    let error = lines.iter().find(|line| line["target"] == closed).unwrap();
    assert_eq!(error["error"]["kind"], "unreachable");
}

#[test]
fn csv_has_a_header_and_quotes() {
    let agent = mixed();
    let (ran, name) = (get("csv", &agent.name()), agent.name());
    let expected = format!(
        "target,oid,type,value\r\n\
         {name},{ROOT}.1.0,integer,-1\r\n\
         {name},{ROOT}.2.0,octet-string,\"a, \"\"b\"\"\"\r\n\
         {name},{ROOT}.3.0,octet-string,0x00ff\r\n\
         {name},{ROOT}.4.0,counter64,18446744073709551615\r\n\
         {name},{ROOT}.5.0,no-such-instance,\r\n"
    );
    assert_eq!(ran.stdout, expected);
}

#[test]
fn a_walk_in_json_has_every_row_and_no_talk() {
    let agent = FakeAgent::start(Manner::Good, integers(500));
    let name = agent.name();
    let ran = trunkline(&["snmp", "bulkwalk", "-Cp", "--format", "json", &name, ROOT]);
    let document: Json = serde_json::from_str(&ran.stdout).unwrap();
    let rows = document["targets"][&name]["rows"].as_object().unwrap();
    assert_eq!((rows.len(), ran.stderr.as_str()), (500, ""));
}

#[test]
fn several_agents_have_their_name_on_each_row() {
    let agents = [(); 3].map(|()| FakeAgent::start(Manner::Good, integers(20)));
    let dir = TempDir::new("agents");
    let file = dir.0.join("agents");
    let list: String = agents
        .iter()
        .map(|agent| format!("{} # one\n", agent.name()))
        .collect();
    std::fs::write(&file, list).unwrap();
    let word = format!("@{}", file.display());
    for parallel in ["1", "3"] {
        let ran = trunkline(&["snmp", "bulkwalk", "--parallel", parallel, &word, ROOT]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        for agent in &agents {
            let own: Vec<&str> = ran
                .stdout
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("{} ", agent.name())))
                .collect();
            assert_eq!(own.len(), 21, "{parallel}: twenty rows and endOfMibView");
            assert_eq!(own[4], format!(".{ROOT}.5.0 = INTEGER: 5"));
        }
        let switches = ran
            .stdout
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .fold((0, ""), |(n, last), name| {
                (n + usize::from(name != last), name)
            })
            .0;
        assert!(
            parallel != "1" || switches == 3,
            "one after the other: {switches}"
        );
    }
}

#[test]
fn a_scan_finds_agents_at_its_pace() {
    let snmpd = Snmpd::start();
    let port = snmpd.v4().split(':').nth(1).unwrap().to_owned();
    let network = format!("127.0.0.0/26:{port}");
    let begun = Instant::now();
    let scan = ["snmp", "scan", "-t0.5", "-r0", "--rate", "100", &network];
    let ran = trunkline(&scan);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // The last of 62 addresses is due 610 ms after the first.
    assert!(
        begun.elapsed() >= Duration::from_millis(600),
        "{:?}",
        begun.elapsed()
    );
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 1, "{ran:?}");
    for part in [
        snmpd.v4().as_str(),
        " ms ",
        "box",
        "a switch \"of\" \\ tests",
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    assert!(ran.stderr.contains("1 of 62 addresses"), "{}", ran.stderr);

    let ran = trunkline(&["snmp", "scan", "-o", "json", &snmpd.v4()]);
    let document: Json = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["agents"][snmpd.v4()]["sys_name"], "box");
    let ran = trunkline(&["snmp", "scan", "-o", "csv", &snmpd.v4()]);
    assert!(
        ran.stdout
            .starts_with("agent,rtt_us,sys_name,sys_descr\r\n"),
        "{}",
        ran.stdout
    );

    let nobody = format!("127.0.0.1-127.0.0.4:{}", free_port());
    let ran = trunkline(&["snmp", "scan", "-t0.2", "-r0", &nobody]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(5), ""), "{ran:?}");
    assert!(
        ran.stderr.contains("0 of 4") && ran.stderr.contains("hint: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_an_agent_calls_itself_cannot_steer_the_terminal() {
    let name: trunkline_wire_snmp::OidBuf = "1.3.6.1.2.1.1.5.0".parse().unwrap();
    let evil = OwnedValue::OctetString((*b"\x1b[2Jbox\r\nfake line").into());
    let agent = FakeAgent::start(Manner::Good, vec![(name, evil)]);
    let ran = trunkline(&["snmp", "scan", &agent.name()]);
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    assert!(
        ran.stdout.contains("\\u{1b}[2Jbox\\r\\nfake line"),
        "{}",
        ran.stdout
    );
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let agents = [(); 2].map(|()| FakeAgent::start(Manner::Good, integers(1)));
    let words = format!("{},{} {ROOT}.1.0", agents[0].name(), agents[1].name());
    let binary = env!("CARGO_BIN_EXE_trunkline");
    let shell = format!("{binary} snmp get {words} >/dev/null");
    // util-linux's `script` lends its child a terminal.
    let output = Command::new("script")
        .args(["-qec", &shell, "/dev/null"])
        .output()
        .expect("script is missing; install it: apt-get install -y bsdutils");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("of 2 asked"), "{text:?}");
    assert!(
        text.ends_with("\r\u{1b}[K"),
        "the line is taken away: {text:?}"
    );
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(output.stderr.is_empty());
}
