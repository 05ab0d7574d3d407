//! Each way of not answering has a message of its own that says what to do.

use std::time::{Duration, Instant};

use trunkline_wire_snmp::{PduKind, Version};

use crate::agent::{FakeAgent, Manner, ROOT, Seen, integers};
use crate::support::{Snmpd, free_port, trunkline};

const OID: &str = "1.3.6.1.4.1.9999.1.0";

#[test]
fn a_wrong_community_is_told_from_a_silent_host() {
    let snmpd = Snmpd::start();
    let name = snmpd.v4();
    let ran = trunkline(&["snmp", "get", "-c", "wrong", "-t0.3", "-r0", &name, OID]);
    assert_eq!(ran.code, Some(5));
    let expected = format!("Timeout: No Response from {name}.\nhint: the agent at {name} is alive");
    assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
    assert!(ran.stderr.contains("check -c"), "{}", ran.stderr);

    let silent = FakeAgent::start(Manner::Silent, Vec::new());
    let name = silent.name();
    let ran = trunkline(&["snmp", "walk", "-t0.2", "-r0", &name, ROOT]);
    assert_eq!(ran.code, Some(5));
    let expected = format!("Timeout: No Response from {name}\nhint: {name} is silent");
    assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
    for advice in ["firewall", "agentAddress", "this machine", "check -c"] {
        assert!(ran.stderr.contains(advice), "{}", ran.stderr);
    }
}

#[test]
fn a_closed_port_fails_at_once() {
    let name = format!("127.0.0.1:{}", free_port());
    let begun = Instant::now();
    let ran = trunkline(&["snmp", "get", "-t5", &name, OID]);
    assert_eq!(ran.code, Some(1));
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it waited for a timeout"
    );
    assert!(ran.stderr.contains("port closed"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("nothing listens on its UDP port"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_answer_from_elsewhere_is_refused_explained_and_accepted_on_demand() {
    let agent = FakeAgent::start(Manner::Elsewhere, integers(3));
    let name = agent.name();
    let ran = trunkline(&["snmp", "get", "-t0.3", "-r1", &name, OID]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(5), ""));
    assert!(
        ran.stderr.contains(&format!("in place of {name}")),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("--source learn"), "{}", ran.stderr);
    for policy in ["learn", "any"] {
        let ran = trunkline(&["snmp", "walk", "--source", policy, &name, ROOT]);
        assert_eq!(ran.code, Some(0), "{policy}: {ran:?}");
        assert_eq!(ran.stdout.lines().count(), 4, "{policy}: {ran:?}");
    }
}

#[test]
fn a_looping_agent_ends_the_walk_with_the_rows_so_far() {
    for (manner, rows) in [(Manner::Loops, 6), (Manner::StandsStill, 1)] {
        let agent = FakeAgent::start(manner, integers(8));
        let name = agent.name();
        for verb in ["walk", "bulkwalk"] {
            let strict = trunkline(&["snmp", verb, &name, ROOT]);
            assert_eq!(strict.code, Some(1), "{manner:?}: {strict:?}");
            assert_eq!(
                strict.stdout.lines().count(),
                rows,
                "{manner:?}: {strict:?}"
            );
            let last = format!(".{ROOT}.{rows}.0");
            let expected = format!("Error: OID not increasing: {last}\n >= .{ROOT}.");
            assert!(strict.stderr.starts_with(&expected), "{}", strict.stderr);
            assert!(strict.stderr.contains("\n\nhint: "), "{}", strict.stderr);

            let relaxed = trunkline(&["snmp", verb, "-Cc", &name, ROOT]);
            assert_eq!(relaxed.code, Some(1), "{manner:?}: {relaxed:?}");
            assert_eq!(
                relaxed.stdout.lines().count(),
                rows,
                "{manner:?}: {relaxed:?}"
            );
            assert!(relaxed.stderr.contains("came twice"), "{}", relaxed.stderr);
        }
    }
}

#[test]
fn an_agent_that_dies_during_a_walk_leaves_the_rows_so_far() {
    for (verb, rows) in [("walk", 2), ("bulkwalk", 20)] {
        let agent = FakeAgent::start(Manner::Dies(2), integers(50));
        let name = agent.name();
        let ran = trunkline(&["snmp", verb, "-Cp", "-t0.1", "-r1", &name, ROOT]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), rows + 1, "{ran:?}");
        assert!(
            ran.stdout.ends_with(&format!("Variables found: {rows}\n")),
            "{ran:?}"
        );
        let expected = format!("Timeout: No Response from {name}\n");
        assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
    }
}

#[test]
fn a_name_that_does_not_exist_is_no_timeout() {
    let ran = trunkline(&["snmp", "get", "no-such-host.invalid", OID]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("cannot be resolved"), "{}", ran.stderr);
}

#[test]
fn many_silent_agents_have_a_line_each() {
    let silent = FakeAgent::start(Manner::Silent, Vec::new());
    let closed = format!("127.0.0.1:{}", free_port());
    let agents = format!("{},{closed}", silent.name());
    let ran = trunkline(&["snmp", "get", "-t0.2", "-r0", &agents, OID]);
    assert_eq!(
        (ran.code, ran.stderr.lines().count()),
        (Some(1), 2),
        "{ran:?}"
    );
    assert!(
        ran.stderr
            .contains(&format!("{}: no answer within", silent.name())),
        "{ran:?}"
    );
    assert!(
        ran.stderr
            .contains(&format!("{closed}: no answer: port closed")),
        "{ran:?}"
    );
}

#[test]
fn retries_and_timeouts_are_what_was_asked() {
    let silent = FakeAgent::start(Manner::Silent, Vec::new());
    let begun = Instant::now();
    let ran = trunkline(&["snmp", "get", "-t0.2", "-r2", &silent.name(), OID]);
    assert_eq!(ran.code, Some(5));
    assert!(
        begun.elapsed() >= Duration::from_millis(600),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(silent.seen().len(), 3, "one try and two retries");

    let lossy = FakeAgent::start(Manner::Drops(2), integers(1));
    let ran = trunkline(&["snmp", "get", "-t0.2", "-r2", &lossy.name(), OID]);
    assert_eq!((ran.code, lossy.seen().len()), (Some(0), 3), "{ran:?}");
}

#[test]
fn a_set_is_sent_once() {
    let silent = FakeAgent::start(Manner::Silent, Vec::new());
    let ran = trunkline(&["snmp", "set", "-t0.2", "-r5", &silent.name(), OID, "i", "1"]);
    assert_eq!((ran.code, silent.seen().len()), (Some(5), 1), "{ran:?}");
}

#[test]
fn version_community_and_bulk_sizes_reach_the_wire() {
    let agent = FakeAgent::start(Manner::Good, integers(3));
    let name = agent.name();
    let run = |words: &[&str]| {
        let ran = trunkline(&[&["snmp"], words].concat());
        assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        agent.seen().pop().unwrap()
    };
    let seen = |version, community: &str, kind, numbers| Seen {
        version,
        community: community.to_owned(),
        kind,
        numbers,
    };
    let (v1, v2) = (Version::V1, Version::V2c);
    for (words, expected) in [
        (
            &["get", &name, OID][..],
            seen(v2, "public", PduKind::Get, (0, 0)),
        ),
        (
            &["get", "-v1", "-cx", &name, OID],
            seen(v1, "x", PduKind::Get, (0, 0)),
        ),
        (
            &["getnext", &name, ROOT],
            seen(v2, "public", PduKind::GetNext, (0, 0)),
        ),
        (
            &["getbulk", &name, ROOT],
            seen(v2, "public", PduKind::GetBulk, (0, 10)),
        ),
        (
            &["getbulk", "-Cn2", "-Cr7", &name, ROOT],
            seen(v2, "public", PduKind::GetBulk, (2, 7)),
        ),
        (
            &["bulkwalk", &name, ROOT],
            seen(v2, "public", PduKind::GetBulk, (0, 10)),
        ),
        (
            &["bulkwalk", "-Cr25", &name, ROOT],
            seen(v2, "public", PduKind::GetBulk, (0, 25)),
        ),
        (
            &["walk", &name, ROOT],
            seen(v2, "public", PduKind::GetNext, (0, 0)),
        ),
    ] {
        assert_eq!(run(words), expected, "{words:?}");
    }
}
