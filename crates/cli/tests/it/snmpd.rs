//! Our verbs against a real snmpd, beside net-snmp's tools under the same flags.

use std::collections::BTreeMap;

use crate::support::{Ran, Snmpd, net_snmp, trunkline};

/// Runs both, and holds our output against theirs. Theirs may be followed by a hint on stderr.
fn same(tool: &str, words: &[&str], code: i32) -> Ran {
    let theirs = net_snmp(tool, words);
    let verb = tool.strip_prefix("snmp").unwrap();
    let verb = if verb == "bulkget" { "getbulk" } else { verb };
    let ours = trunkline(&[&["snmp", verb], words].concat());
    let case = format!("{tool} {}", words.join(" "));
    assert_eq!(ours.stdout, theirs.stdout, "{case}: {}", ours.stderr);
    let added = ours.stderr.strip_prefix(&theirs.stderr);
    let added = added.unwrap_or_else(|| panic!("{case}: {ours:?} against {theirs:?}"));
    assert!(
        added.is_empty() || added.starts_with("hint: "),
        "{case}: {added}"
    );
    assert_eq!(ours.code, Some(code), "{case}: {}", ours.stderr);
    ours
}

#[test]
fn get_getnext_and_getbulk_print_what_net_snmp_prints() {
    let snmpd = Snmpd::start();
    let (v4, v6) = (snmpd.v4(), snmpd.v6());
    let (descr, name) = ("1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.5.0");
    for host in [&v4, &v6, &format!("udp:{v4}")] {
        same(
            "snmpget",
            &["-v2c", "-c", "public", "-On", host, descr, name],
            0,
        );
    }
    let v2 = ["-v2c", "-cpublic", "-On", &v4];
    let with = |more: &[&'static str]| -> Vec<String> {
        v2.iter()
            .copied()
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    for (tool, more, code) in [
        ("snmpget", &[".1.3.6.1.2.1.1.1.0"][..], 0),
        (
            "snmpget",
            &["1.3.6.1.2.1.1.5.0", "1.3.6.1.2.1.1.99.0", "1.3.7.1"],
            0,
        ),
        (
            "snmpget",
            &["1.3.6.1.4.1.9999.1.0", "1.3.6.1.4.1.9999.2.0"],
            0,
        ),
        (
            "snmpgetnext",
            &["1.3.6.1.2.1.1", "1.3.6.1.2.1.1.5", "1.3.7"],
            0,
        ),
        ("snmpbulkget", &["1.3.6.1.2.1.1.4"], 0),
        (
            "snmpbulkget",
            &["-Cr2", "1.3.6.1.2.1.1.4", "1.3.6.1.4.1.9999"],
            0,
        ),
        (
            "snmpbulkget",
            &["-Cn1", "-Cr2", "1.3.6.1.2.1.1.4", "1.3.6.1.4.1.9999"],
            0,
        ),
        (
            "snmpbulkget",
            &["-Cn1r2", "1.3.6.1.2.1.1.4", "1.3.6.1.4.1.9999"],
            0,
        ),
        ("snmpbulkget", &["-Cr0", "1.3.6.1.2.1.1.4"], 0),
        ("snmpbulkget", &["-Cr3", "1.3.6.1.6.3.16.1.5.2.1.6.6"], 0),
    ] {
        let words = with(more);
        // Options stand before the host in net-snmp's tools, ours take them anywhere.
        let (options, rest): (Vec<_>, Vec<_>) = words.iter().partition(|w| w.starts_with('-'));
        let words: Vec<&str> = options
            .into_iter()
            .chain(rest)
            .map(String::as_str)
            .collect();
        same(tool, &words, code);
    }
}

#[test]
fn a_v1_error_leaves_out_the_variable_that_it_blames() {
    let snmpd = Snmpd::start();
    let v4 = snmpd.v4();
    let (name, none) = ("1.3.6.1.2.1.1.5.0", "1.3.6.1.2.1.1.99.0");
    let v1 = [
        "-v1",
        "-c",
        "public",
        "-On",
        &v4,
        name,
        none,
        "1.3.6.1.2.1.1.6.0",
    ];
    same("snmpget", &v1, 3);
    same("snmpget", &[&["-Cf"], &v1[..]].concat(), 1);
    same("snmpget", &["-v1", "-c", "public", "-On", &v4, none], 1);
    same(
        "snmpgetnext",
        &["-v1", "-c", "public", "-On", &v4, "2.5", "1.3.6.1.2.1.1.5"],
        3,
    );
}

#[test]
fn set_prints_and_does_what_net_snmp_does() {
    let snmpd = Snmpd::start();
    let v4 = snmpd.v4();
    let (fixed, number, words) = (
        "1.3.6.1.4.1.9999.1.0",
        "1.3.6.1.4.1.9999.2.0",
        "1.3.6.1.4.1.9999.3.0",
    );
    let rw = ["-v2c", "-c", "private", "-On", &v4];
    let set = |more: &[&str], code| same("snmpset", &[&rw[..], more].concat(), code);
    set(&[number, "i", "7"], 0);
    set(&[number, "i", "-7"], 0);
    set(&[words, "s", "two words"], 0);
    set(&[words, "x", "00 1a 2B FF"], 0);
    set(&[words, "d", "1 2 255"], 0);
    set(&[number, "i", "8", words, "s", "both"], 0);
    set(&[fixed, "s", "no"], 1);
    set(&[number, "s", "wrong type"], 1);
    same(
        "snmpset",
        &["-v2c", "-c", "private", "-On", "-Cq", &v4, number, "i", "9"],
        0,
    );
    same(
        "snmpset",
        &["-v1", "-c", "private", "-On", &v4, fixed, "s", "no"],
        1,
    );
    let denied = same(
        "snmpset",
        &["-v2c", "-c", "public", "-On", &v4, number, "i", "1"],
        1,
    );
    assert!(denied.stderr.contains("noAccess") && denied.stderr.contains("hint: "));
    // What net-snmp reads back is what we wrote, and not what was denied.
    let ours = trunkline(&[&["snmp", "set"], &rw[..], &[number, "i", "42"]].concat());
    assert_eq!(ours.code, Some(0), "{ours:?}");
    let back = net_snmp("snmpget", &["-v2c", "-c", "public", "-Onqv", &v4, number]);
    assert_eq!(back.stdout, "42\n");
}

#[test]
fn walks_print_what_net_snmp_prints() {
    let snmpd = Snmpd::start();
    let v4 = snmpd.v4();
    let run = |tool, options: &[&str], root: &[&str]| {
        let words = [options, &["-On", "-cpublic", &v4], root].concat();
        same(tool, &words, 0)
    };
    let vacm = "1.3.6.1.6.3.16";
    for tool in ["snmpwalk", "snmpbulkwalk"] {
        for root in [
            vacm,
            "1.3.6.1.4.1.9999",
            "1.3.6.1.2.1.1.5.0", // an instance: nothing below it, so it is fetched itself
            "1.3.6.1.2.1.1.5",   // an object
            "1.3.6.1.2.1.1.99",  // nothing
            "1.3.6.1.6.3.16.1.5", // ends with the end of the MIB
            "1.3.6.1.7",         // past the end
        ] {
            run(tool, &["-v2c"], &[root]);
            run(tool, &["-v2c", "-Cp"], &[root]);
            run(tool, &["-v2c", "-Ci", "-Cc"], &[root]);
        }
    }
    for root in [vacm, "1.3.6.1.2.1.1.99", "1.3.6.1.6.3.16.1.5", "1.3.6.1.8"] {
        run("snmpwalk", &["-v1", "-Cp"], &[root]);
        run("snmpwalk", &["-v1", "-Ci"], &[root]);
    }
    run("snmpwalk", &["-v2c", "-CI"], &["1.3.6.1.2.1.1.5.0"]);
    run(
        "snmpwalk",
        &["-v2c", "-CE", "1.3.6.1.4.1.9999.2.0"],
        &["1.3.6.1.4.1.9999"],
    );
    run("snmpbulkwalk", &["-v2c", "-Cr3"], &[vacm]);
    run("snmpbulkwalk", &["-v2c", "-Cr60"], &[vacm]);
    run("snmpbulkwalk", &["-v2c", "-Cn1", "-Cr60"], &[vacm]);
}

#[test]
fn a_timed_walk_shows_its_times() {
    let snmpd = Snmpd::start();
    let v4 = snmpd.v4();
    let ours = trunkline(&["snmp", "walk", "-Ct", "-CT", &v4, "1.3.6.1.4.1.9999"]);
    assert!(
        ours.stderr.starts_with("Total traversal time = 0."),
        "{ours:?}"
    );
    for line in ours.stdout.lines() {
        let (seconds, row) = line.split_once(" s: ").unwrap();
        assert!(
            seconds.parse::<f64>().unwrap() < 5.0 && row.starts_with(".1.3.6"),
            "{line}"
        );
    }
}

/// The rows of a walk, by OID; a value may have several lines.
fn by_oid(text: &str) -> BTreeMap<Vec<u32>, String> {
    let mut rows: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        match rows.last_mut() {
            Some(last) if !line.starts_with(".1.") => last.push_str(line),
            _ => rows.push(line.to_owned()),
        }
    }
    let key = |row: &String| -> Vec<u32> {
        let oid = row.split(' ').next().unwrap();
        oid[1..]
            .split('.')
            .map(|arc| arc.parse().unwrap())
            .collect()
    };
    rows.iter().map(|row| (key(row), row.clone())).collect()
}

/// net-snmp's own cache states flip between walks, also back to what they were.
const FLIPPING: [u32; 9] = [1, 3, 6, 1, 4, 1, 8072, 1, 5];

#[test]
fn the_whole_tree_is_walked_row_by_row_as_net_snmp_walks_it() {
    let snmpd = Snmpd::start();
    let v4 = snmpd.v4();
    let words = ["-v2c", "-c", "public", "-On", &v4, "1.3.6.1"];
    let before = by_oid(&net_snmp("snmpbulkwalk", &words).stdout);
    let ours = trunkline(&[&["snmp", "bulkwalk"], &words[..]].concat());
    let other_root = trunkline(&["snmp", "bulkwalk", "-Cr50", &v4, "1"]);
    let after = by_oid(&net_snmp("snmpbulkwalk", &words).stdout);
    // Rows that come, go or change between the two walks say nothing about ours.
    let stable: BTreeMap<_, _> = before
        .iter()
        .filter(|(oid, row)| after.get(*oid) == Some(row) && !oid.starts_with(&FLIPPING))
        .collect();
    assert!(
        stable.len() > 500 && stable.len() * 10 > before.len() * 8,
        "{} of {}",
        stable.len(),
        before.len()
    );
    for (what, ran) in [("1.3.6.1", ours), ("1", other_root)] {
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), ""),
            "bulkwalk {what}"
        );
        let rows = by_oid(&ran.stdout);
        for (oid, row) in &stable {
            assert_eq!(rows.get(*oid), Some(*row), "bulkwalk {what}");
        }
        let order: Vec<_> = ran.stdout.lines().filter_map(oid_of).collect();
        assert!(order.is_sorted(), "bulkwalk {what}: rows in order");
    }
}

/// The OID that a line begins with; a value's further lines have none.
fn oid_of(line: &str) -> Option<Vec<u32>> {
    let (oid, _) = line.split_once(" = ")?;
    let arcs = oid.strip_prefix('.')?.split('.');
    arcs.map(|arc| arc.parse().ok()).collect()
}
