//! What a running daemon is asked wrongly: the exit code says whose mistake it is.

use crate::daemon::{Rig, text};

#[test]
fn a_mistake_in_what_is_asked_exits_2_and_names_what_is_right() {
    let rig = Rig::start("refused", 2, "");
    for (mistake, expected) in [
        (
            &["targets", "--state", "foo"][..],
            "up, down, unknown, drained, unresolved",
        ),
        (&["targets", "--system", "nobody"], "there is: core"),
        (
            &["call", "snmp", "core", "targets", r#"{"limit": "x"}"#],
            "limit",
        ),
        (
            &["routers", "--engine", "default", "--weight", "70000"],
            "65535",
        ),
    ] {
        let output = rig.place.ask(mistake);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{mistake:?}: {said}");
        assert!(said.contains(expected), "{mistake:?}: {said}");
    }
    let fine = rig.place.ask(&["targets", "--state", "down"]);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stderr));
}

#[test]
fn csv_of_single_values_has_a_header() {
    let rig = Rig::start("csv", 1, "");
    let output = rig.place.ask(&["status", "-o", "csv"]);
    let said = text(&output.stdout);
    assert!(said.starts_with("key,value\r\n"), "{said}");
    assert!(said.contains("phase,running\r\n"), "{said}");
    assert!(!said.contains(['{', '[']), "{said}");
}
