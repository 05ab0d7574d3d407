//! The effective configuration, differences between two, and the schema.

use trunkline_config::{Change, LoadOptions, audit, diff, load, schema, show};

use crate::sample::{Sample, parse};

const FILE: &str = "[snmp.core]\ntargets = ['10.0.0.1']\ntimeout = '2s'\n\
    breaker.open_max = '4m'\n[tap.main]\ncommitment = \"x\\u001b\"\n";

#[test]
fn every_effective_value_is_shown_with_its_source() {
    let mut options = LoadOptions::from_text("t.toml", FILE);
    let token = "TRUNKLINE__ADMIN__TOKEN";
    options.environment.push((token.into(), "hunter2".into()));
    let loaded = load::<Sample>(&options).unwrap();
    let shown = show(&loaded);
    for line in [
        "[admin]",
        "token = \"***\"              # TRUNKLINE__ADMIN__TOKEN",
        "verbose = false            # default",
        "[snmp.core]",
        "targets = [\"10.0.0.1\"]  # t.toml:2",
        "timeout = \"2s\"          # t.toml:3",
        "[snmp.core.breaker]",
        "open_max = \"4m\"           # t.toml:4",
        "open = \"30s\"              # default",
        "commitment = \"x\\u001B\"  # t.toml:6",
        "[tap.main.queue]",
        "bytes = \"64MiB\"     # default",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line}\nin\n{shown}"
        );
    }
    assert!(!shown.contains("hunter2") && !shown.contains('\u{1b}'));
}

#[test]
fn what_is_shown_can_be_read_back() {
    let mut text = FILE.to_owned();
    text.push_str("[snmp.edge]\ntargets = []\n[snmp.edge.tls]\nca = 'a'\n[tap.main.stdout.out]\n");
    let loaded = parse(&text).unwrap();
    let again = parse(&show(&loaded)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(again.value, loaded.value);
    assert_eq!(show(&again).lines().count(), show(&loaded).lines().count());
}

#[test]
fn a_difference_names_its_key_and_whether_it_needs_a_restart() {
    let old = parse("[snmp.core]\ntargets = []\ntimeout = '2s'\n[tap.a]\ncommitment = 'x'\n");
    let new = parse(
        "[admin]\nverbose = true\n[snmp.core]\ntargets = ['::1']\ntimeout = '2000ms'\nport = 7\n",
    );
    let changes = diff(&old.unwrap().value, &new.unwrap().value);
    let change = |key: &str, from: Option<&str>, to: Option<&str>, restart| Change {
        key: key.to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        restart,
    };
    let expected = [
        change("admin.verbose", Some("false"), Some("true"), true),
        change("snmp.core.port", Some("161"), Some("7"), true),
        change("snmp.core.targets", Some("[]"), Some("[\"::1\"]"), false),
    ];
    assert_eq!(changes[..3], expected);
    let gone = |change: &Change| change.key.starts_with("tap.a.") && change.to.is_none();
    assert!(
        changes.len() > 3 && changes[3..].iter().all(gone),
        "{changes:?}"
    );
    let text = |sink: &str| {
        parse(&format!("[tap.a]\ncommitment = 'x'\n{sink}"))
            .unwrap()
            .value
    };
    let added = diff(&text(""), &text("[tap.a.stdout.out]\n"));
    assert_eq!(added, [change("tap.a.stdout.out", None, Some("{}"), false)]);
    let same = parse(FILE).unwrap().value;
    assert_eq!(diff(&same, &same.clone()), []);
}

#[test]
fn the_schema_describes_every_key_of_the_blocks() {
    let schema = schema::<Sample>();
    for block in [
        "BreakerBlock",
        "RateRuleBlock",
        "RetryBlock",
        "QueueBlock",
        "LimitsBlock",
    ] {
        let block = &schema["$defs"][block];
        assert_eq!(block["additionalProperties"], false);
        for (key, node) in block["properties"].as_object().unwrap() {
            let text = node["description"].as_str().unwrap_or_default();
            assert!(text.ends_with('.') && text.len() > 10, "{key}: {node}");
        }
    }
    let timeout = &schema["$defs"]["Snmp"]["properties"]["timeout"];
    assert_eq!(timeout["x-kind"], "duration");
    assert_eq!(
        (&timeout["x-min"], &timeout["x-max"]),
        (&"10ms".into(), &"1m".into())
    );
}

#[test]
fn the_sample_and_the_shared_blocks_pass_the_audit() {
    assert_eq!(audit::<Sample>(), Vec::<String>::new());
}
