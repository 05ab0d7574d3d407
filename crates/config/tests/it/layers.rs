//! Flags over environment over file over defaults, and what an override cannot do.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use trunkline_config::{
    ENV_PREFIX, FileChoice, LoadOptions, Loaded, Origin, Override, Problems, codes, load,
};

use crate::sample::{Sample, report};

const FILE: &str = "[snmp.dc-east]\ntargets = []\ntimeout = '2s'\n";

fn options(variables: &[(&str, &str)], flags: &[(&str, &str)]) -> LoadOptions {
    let mut options = LoadOptions::from_text("t.toml", FILE);
    let variable = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    options.environment = variables.iter().map(variable).collect();
    let flag = |(path, value): &(&str, &str)| Override {
        path: (*path).to_owned(),
        value: (*value).to_owned(),
    };
    options.flags = flags.iter().map(flag).collect();
    options
}

fn loaded(variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded<Sample> {
    load(&options(variables, flags)).unwrap_or_else(|problems| panic!("{problems}"))
}

const TIMEOUT: &str = "TRUNKLINE__SNMP__DC_EAST__TIMEOUT";

#[test]
fn each_layer_wins_over_the_one_below() {
    let path = "snmp.dc-east.timeout";
    for (variables, flags, timeout, origin) in [
        (vec![], vec![], "2s", "t.toml:3"),
        (vec![(TIMEOUT, "3s")], vec![], "3s", TIMEOUT),
        (
            vec![],
            vec![(path, "4s")],
            "4s",
            "flag snmp.dc-east.timeout",
        ),
        (
            vec![(TIMEOUT, "3s")],
            vec![(path, "4s")],
            "4s",
            "flag snmp.dc-east.timeout",
        ),
        (
            vec![],
            vec![(path, "4s"), (path, "5s")],
            "5s",
            "flag snmp.dc-east.timeout",
        ),
    ] {
        let loaded = loaded(&variables, &flags);
        assert_eq!(loaded.value.snmp["dc-east"].timeout.to_string(), timeout);
        assert_eq!(loaded.origin(path).to_string(), origin);
        assert_eq!(loaded.origin("snmp.dc-east.port"), Origin::Default);
    }
}

#[test]
fn the_text_is_read_as_the_key_wants_it() {
    let loaded = loaded(
        &[
            ("TRUNKLINE__ADMIN__VERBOSE", "true"),
            ("TRUNKLINE__ADMIN__TOKEN", "12345"),
            ("TRUNKLINE__SNMP__DC_EAST__PORT", " 1161 "),
            ("TRUNKLINE__SNMP__DC_EAST__VERSION", "v1"),
            ("TRUNKLINE__SNMP__DC_EAST__RETRY__ATTEMPTS", "7"),
            ("TRUNKLINE__SNMP__DC_EAST__RETRY__FACTOR", "1.5"),
            ("TRUNKLINE_OTHER", "not ours"),
            ("trunkline__admin__verbose", "not ours either"),
        ],
        &[],
    );
    let admin = &loaded.value.admin;
    assert!(admin.verbose);
    assert_eq!(admin.token.as_ref().unwrap().expose(), "12345");
    let snmp = &loaded.value.snmp["dc-east"];
    assert_eq!((snmp.port, snmp.retry.attempts), (1161, 7));
    assert_eq!(snmp.retry.factor, Some(1.5));
    assert_eq!(snmp.version, crate::sample::Version::V1);
}

#[test]
fn an_override_that_sets_nothing_is_an_error() {
    for (name, code, message, help) in [
        (
            "SNMP__CORE__TIMEOUT",
            codes::BAD_OVERRIDE,
            "there is no table [snmp.core] whose keys could be overridden",
            "add [snmp.core] to the file, or unset this",
        ),
        (
            "SNMP__DC_EAST__TLS__CA",
            codes::BAD_OVERRIDE,
            "there is no table [snmp.dc-east.tls] whose keys could be overridden",
            "add [snmp.dc-east.tls] to the file, or unset this",
        ),
        (
            "SNMP__DC_EAST__TIMOUT",
            codes::BAD_OVERRIDE,
            "[snmp.dc-east] has no key `timout`",
            "did you mean TRUNKLINE__SNMP__DC_EAST__TIMEOUT?",
        ),
        (
            "SMNP__DC_EAST__TIMEOUT",
            codes::BAD_OVERRIDE,
            "the configuration has no key `smnp`",
            "did you mean TRUNKLINE__SNMP?",
        ),
        (
            "SNMP__DC_EAST__TIMEOUT__MS",
            codes::BAD_OVERRIDE,
            "`snmp.dc-east.timeout` is a value and has no keys",
            "",
        ),
        (
            "SNMP__DC_EAST__RETRY",
            codes::NOT_SCALAR,
            "`snmp.dc-east.retry` is a table and cannot be overridden",
            "override one of its keys, as in TRUNKLINE__SNMP__DC_EAST__RETRY__KEY",
        ),
        (
            "ADMIN__HOSTS",
            codes::NOT_SCALAR,
            "`admin.hosts` is a list and cannot be overridden",
            "set it in the file",
        ),
    ] {
        let name = format!("{ENV_PREFIX}{name}");
        let problems: Box<Problems> =
            load::<Sample>(&options(&[(&name, "1")], &[])).expect_err(&name);
        let [one] = problems.diagnostics() else {
            panic!("{problems}");
        };
        let found = one.help.as_deref().unwrap_or_default();
        assert_eq!((one.code, one.message.as_str()), (code, message), "{name}");
        assert_eq!(found, help, "{name}");
        assert_eq!(one.file, name);
    }
}

#[test]
fn a_bad_value_is_shown_in_its_variable_and_a_secret_is_not() {
    let token = "TRUNKLINE__ADMIN__TOKEN";
    let mut options = options(
        &[(TIMEOUT, "soon"), (token, "hunter2")],
        &[("tap.x.share", "1")],
    );
    options.flags.push(Override {
        path: "admin.verbose".to_owned(),
        value: "maybe".to_owned(),
    });
    let expected = r#"error[T0106]: `timeout`: "soon" is no duration
 --> TRUNKLINE__SNMP__DC_EAST__TIMEOUT:1:1
1 | soon
  | ^^^^
  = help: write a number and a unit (ns, us, ms, s, m, h, d), as in "250ms" or "1m30s"
error[T0114]: there is no table [tap.x] whose keys could be overridden
 --> flag tap.x.share:1:1
1 | 1
  | ^
  = help: add [tap.x] to the file, or unset this
error[T0105]: `verbose` wants true or false, not a string
 --> flag admin.verbose:1:1
1 | maybe
  | ^^^^^
3 errors; more about one: trunkline explain T0105"#;
    assert_eq!(report(&options), expected);

    options.flags.clear();
    options.environment = vec![
        (token.into(), "#!".into()),
        ("TRUNKLINE__SNMP__DC_EAST__BREAKER__OPEN".into(), "5".into()),
    ];
    let expected = r#"error[T0203]: the token is too short
 --> TRUNKLINE__ADMIN__TOKEN:1:1
1 | **
  | ^^
error[T0106]: `open`: "5" has no unit after 5
 --> TRUNKLINE__SNMP__DC_EAST__BREAKER__OPEN:1:1
1 | 5
  | ^
  = help: write a number and a unit (ns, us, ms, s, m, h, d), as in "250ms" or "1m30s"
2 errors; more about one: trunkline explain T0106"#;
    assert_eq!(report(&options), expected);
    options.environment.reverse();
    assert_eq!(
        report(&options),
        expected,
        "the order of the environment is chance"
    );

    let file = "/does/not/exist";
    options.flags.clear();
    options.environment = vec![
        (token.into(), "hunter2".into()),
        ("TRUNKLINE__ADMIN__TOKEN_FILE".into(), file.into()),
    ];
    let shown = report(&options);
    assert!(
        shown.contains("T0117") && shown.contains("both set"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_value_that_is_no_text_is_an_error() {
    let mut options = options(&[], &[]);
    let value = OsString::from_vec(vec![0xff]);
    options.environment.push((TIMEOUT.into(), value));
    let expected = format!("error[T0114]: the value of {TIMEOUT} is not UTF-8 text");
    assert_eq!(report(&options).lines().next(), Some(expected.as_str()));
}

#[test]
fn without_a_file_the_fixed_tables_can_still_be_set() {
    let mut options = options(&[("TRUNKLINE__ADMIN__VERBOSE", "true")], &[]);
    options.file = FileChoice::None;
    let loaded = load::<Sample>(&options).unwrap();
    assert!(loaded.value.admin.verbose && loaded.value.snmp.is_empty());
    assert_eq!(loaded.path, None);
}
