//! Files that must not load, and exactly what a person sees of them (without the spacing lines).

use std::collections::BTreeSet;

use proptest::prelude::*;
use trunkline_config::{EXPLANATIONS, LoadOptions, codes};

use crate::sample::{parse, report};

struct Case {
    what: &'static str,
    text: &'static str,
    report: &'static str,
}

#[test]
fn broken_files_are_reported_in_full_where_they_are_broken() {
    for case in CASES {
        let found = report(&LoadOptions::from_text("t.toml", case.text));
        assert_eq!(found, case.report, "{}", case.what);
    }
}

#[test]
fn every_code_that_a_text_can_cause_is_caused() {
    // The others concern files and the environment; `files` and `layers` have them.
    let elsewhere = [
        codes::NO_FILE,
        codes::UNREADABLE,
        codes::UNSAFE_FILE,
        codes::SECRET_FILE,
        codes::SECRET_FILE_MODE,
        codes::BAD_OVERRIDE,
        codes::NOT_SCALAR,
        codes::CONTRADICTION,
    ];
    let mut caused = BTreeSet::new();
    for case in CASES {
        let problems = match parse(case.text) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => *problems,
        };
        caused.extend(problems.diagnostics().iter().map(|one| one.code));
    }
    let ours = |code: &&str| code.starts_with("T01");
    let caused: BTreeSet<&str> = caused.into_iter().filter(ours).collect();
    let explained: BTreeSet<&str> = EXPLANATIONS.iter().map(|one| one.code).collect();
    let expected = explained.iter().filter(|code| !elsewhere.contains(code));
    assert_eq!(caused, expected.copied().collect());
}

#[test]
fn a_program_gets_the_same_as_json() {
    let problems = parse("[snmp.core]\ntargets = []\ntimout = '5s'\n").unwrap_err();
    let expected = serde_json::json!({
        "schema_version": 1,
        "errors": 1,
        "warnings": 0,
        "problems": [{
            "code": "T0104",
            "severity": "error",
            "message": "[snmp.core] has no key `timout`",
            "key": "snmp.core.timout",
            "file": "t.toml",
            "line": 3,
            "column": 1,
            "span": { "start": 25, "end": 31 },
            "help": "did you mean `timeout`?",
        }],
    });
    assert_eq!(problems.to_json(), expected);
}

#[test]
fn a_type_may_refuse_many_values_and_all_are_told() {
    let tables = |n: usize| format!("[tap.t{n}]\ncommitment = 'x'\nbuffer = '1x'\n");
    let text: String = (0..40).map(tables).collect();
    assert_eq!(parse(&text).unwrap_err().diagnostics().len(), 40);
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let problems = parse(CASES[0].text).unwrap_err();
    let coloured = problems.render(true);
    assert!(coloured.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, problems.render(false));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, ..ProptestConfig::with_cases(128)
    })]

    /// Damages a good file anywhere; whatever is then said of it points into it.
    #[test]
    fn damage_never_panics_and_is_placed(
        at in any::<prop::sample::Index>(),
        cut in 0_usize..12,
        put in "[a-z0-9=\"'\\[\\]{}.,# \n\u{e4}\u{0}]{0,8}",
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        text.splice(start..end, put.chars());
        let text: String = text.into_iter().collect();
        let problems = match parse(&text) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => *problems,
        };
        for one in problems.diagnostics() {
            prop_assert!(text.get(one.span.clone()).is_some(), "{one:?}");
            prop_assert!(one.line >= 1 && one.line <= text.lines().count() + 1, "{one:?}");
        }
        prop_assert_eq!(problems.is_empty(), problems.render(false).is_empty());
    }
}

const GOOD: &str = r#"[admin]
listen = "127.0.0.1:9464"
[snmp.core]
targets = ["10.0.0.1"]
timeout = "2s"
breaker.open = "10s"
[snmp.core.retry]
factor = 1.5
[tap.main]
commitment = "x"
buffer = "64KiB"
queue = { on_full = "block", max_wait = "50ms" }
"#;

#[test]
fn the_file_that_is_damaged_above_is_good() {
    let loaded = parse(GOOD).unwrap();
    assert!(loaded.warnings.is_empty());
}

const CASES: &[Case] = &[
    Case {
        what: "a slip of the pen",
        text: r#"[snmp.core]
targets = []
timout = "5s"
"#,
        report: r#"error[T0104]: [snmp.core] has no key `timout`
 --> t.toml:3:1
3 | timout = "5s"
  | ^^^^^^
  = help: did you mean `timeout`?
1 error; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "no such key at all",
        text: r#"[tap.main]
commitment = 'x'
zzzz = 1
"#,
        report: r#"error[T0104]: [tap.main] has no key `zzzz`
 --> t.toml:3:1
3 | zzzz = 1
  | ^^^^
  = help: its keys are `buffer`, `commitment`, `queue`, `share`, `stdout`, `tls`, `weight`
1 error; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "every wrong type",
        text: r#"[admin]
verbose = "yes"
hosts = "a"
[snmp.core]
targets = []
timeout = 5
port = "161"
[tap.main]
commitment = 7
buffer = 64
weight = "x"
queue = 4
"#,
        report: r#"error[T0105]: `verbose` wants true or false, not a string
 --> t.toml:2:11
2 | verbose = "yes"
  |           ^^^^^
  = help: write true without quotes
error[T0105]: `hosts` wants a list, not a string
 --> t.toml:3:9
3 | hosts = "a"
  |         ^^^
  = help: write ["a"]
error[T0105]: `timeout` wants a duration such as "250ms" or "1m30s", not a whole number
 --> t.toml:6:11
6 | timeout = 5
  |           ^
  = help: write "5s" or "5ms"
error[T0105]: `port` wants a whole number, not a string
 --> t.toml:7:8
7 | port = "161"
  |        ^^^^^
  = help: write 161 without quotes
error[T0105]: `commitment` wants a string, not a whole number
 --> t.toml:9:14
9 | commitment = 7
  |              ^
  = help: write "7"
error[T0105]: `buffer` wants a size such as "64KiB" or "10MB", not a whole number
  --> t.toml:10:10
10 | buffer = 64
   |          ^^
   = help: write "64B" or "64KiB"
error[T0105]: `weight` wants a number, not a string
  --> t.toml:11:10
11 | weight = "x"
   |          ^^^
error[T0105]: `queue` wants a table, not a whole number
  --> t.toml:12:9
12 | queue = 4
   |         ^
8 errors; more about one: trunkline explain T0105"#,
    },
    Case {
        what: "every bad value, whoever judges it",
        text: r#"[snmp.core]
targets = ['10.0.0.1', 'x']
timeout = '2h'
port = 0
version = 'v2'
[snmp.edge]
targets = ['y']
timeout = '5sec'
[tap.main]
commitment='x'
buffer = '64kib'
share = 80
[admin]
listen='nowhere'"#,
        report: r#"error[T0106]: `targets` cannot be 'x': invalid IP address syntax
 --> t.toml:2:24
2 | targets = ['10.0.0.1', 'x']
  |                        ^^^
error[T0106]: `timeout` cannot be "2h"
 --> t.toml:3:11
3 | timeout = '2h'
  |           ^^^^
  = help: it is from "10ms" to "1m"
error[T0106]: `port` cannot be 0
 --> t.toml:4:8
4 | port = 0
  |        ^
  = help: it is from 1 to 65535
error[T0106]: `version` cannot be "v2"
 --> t.toml:5:11
5 | version = 'v2'
  |           ^^^^
  = help: did you mean "v2c"?
error[T0106]: `targets` cannot be 'y': invalid IP address syntax
 --> t.toml:7:12
7 | targets = ['y']
  |            ^^^
error[T0106]: `timeout`: "5sec" has the unknown unit "sec"
 --> t.toml:8:11
8 | timeout = '5sec'
  |           ^^^^^^
  = help: seconds are written "s"
error[T0106]: `buffer`: "64kib" has the unknown unit "kib"
  --> t.toml:11:10
11 | buffer = '64kib'
   |          ^^^^^^^
   = help: did you mean "KiB"?
error[T0106]: `listen` cannot be 'nowhere': invalid socket address syntax
  --> t.toml:14:8
14 | listen='nowhere'
   |        ^^^^^^^^^
8 errors; more about one: trunkline explain T0106"#,
    },
    Case {
        what: "a required key, also of a table that is only implied",
        text: r#"[snmp.core]
port = 1
[snmp.core.breaker]
probes=0
[snmp.edge.retry]
attempts=1"#,
        report: r#"error[T0107]: [snmp.core] needs the key `targets`
 --> t.toml:1:7
1 | [snmp.core]
  |       ^^^^
error[T0106]: `probes` cannot be 0
 --> t.toml:4:8
4 | probes=0
  |        ^
  = help: it is from 1 to 63
error[T0107]: [snmp.edge] needs the key `targets`
 --> t.toml:5:7
5 | [snmp.edge.retry]
  |       ^^^^
3 errors; more about one: trunkline explain T0106"#,
    },
    Case {
        what: "keys of another product",
        text: r#"[snmp.core]
targets = []
retries = 3
failure_threshold = 2
[tap.main]
commitment='x'
failure_threshold = 2
retries=1
"#,
        report: r#"error[T0108]: `retries` is called `retry.attempts` here
 --> t.toml:3:1
3 | retries = 3
  | ^^^^^^^
  = help: write `retry.attempts`
error[T0108]: `failure_threshold` is called `breaker.consecutive_failures` here
 --> t.toml:4:1
4 | failure_threshold = 2
  | ^^^^^^^^^^^^^^^^^
  = help: write `breaker.consecutive_failures`
error[T0104]: [tap.main] has no key `failure_threshold`
 --> t.toml:7:1
7 | failure_threshold = 2
  | ^^^^^^^^^^^^^^^^^
  = help: its keys are `buffer`, `commitment`, `queue`, `share`, `stdout`, `tls`, `weight`
error[T0109]: `retries` is called `retry.attempts` here, and is not used by tap
 --> t.toml:8:1
8 | retries=1
  | ^^^^^^^
  = help: take `retries` out
4 errors; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "keys of other tables and systems",
        text: r#"timeout = '1s'
[snmp.core]
targets = []
attempts = 3
buffer = '1MB'
[tap.main]
commitment='x'
attempts=1
[tap.main.breaker]
open='1s'
"#,
        report: r#"error[T0109]: `timeout` is not used at the top of the file
 --> t.toml:1:1
1 | timeout = '1s'
  | ^^^^^^^
  = help: it is a key of [snmp.NAME]
error[T0109]: `attempts` is not used in [snmp.core]
 --> t.toml:4:1
4 | attempts = 3
  | ^^^^^^^^
  = help: it is a key of [snmp.core.retry]
error[T0109]: `buffer` is not used by snmp
 --> t.toml:5:1
5 | buffer = '1MB'
  | ^^^^^^
  = help: it is a key of [tap.NAME]
error[T0109]: `attempts` is not used by tap
 --> t.toml:8:1
8 | attempts=1
  | ^^^^^^^^
  = help: it is a key of [snmp.NAME.retry]
error[T0109]: `breaker` is not used by tap
 --> t.toml:9:11
9 | [tap.main.breaker]
  |           ^^^^^^^
  = help: it is a key of [snmp.NAME]
5 errors; more about one: trunkline explain T0109"#,
    },
    Case {
        what: "a name out of rule",
        text: r#"[snmp.Core_1]
targets = []
"#,
        report: r#"error[T0110]: "Core_1" is no name
 --> t.toml:1:7
1 | [snmp.Core_1]
  |       ^^^^^^
  = help: names are a small letter, then at most 31 of a-z, 0-9 and -, as in "core-1"
1 error; more about one: trunkline explain T0110"#,
    },
    Case {
        what: "secrets in the file, also under a wrong key, are not shown",
        text: r#"[admin]
token = "hunter2"
tokn = "hunter3"
auth_token='hunter4'
[snmp.core]
targets=[]
token='hunter5'"#,
        report: r#"error[T0111]: `token` is a secret and must not stand in the file
 --> t.toml:2:9
2 | token = *********
  |         ^^^^^^^^^
  = help: name a file with `token_file = "..."`, or set TRUNKLINE__ADMIN__TOKEN
error[T0104]: [admin] has no key `tokn`
 --> t.toml:3:1
3 | tokn = *********
  | ^^^^
  = help: did you mean `token`?
error[T0108]: `auth_token` is called `token` here
 --> t.toml:4:1
4 | auth_token=*********
  | ^^^^^^^^^^
  = help: write `token`
error[T0109]: `token` is not used by snmp
 --> t.toml:7:1
7 | token=*********
  | ^^^^^
  = help: it is a key of [admin]
4 errors; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "what only the recovery from a broken line sees twice",
        text: "[admin]\nhosts = 1 2\nhosts = 3\n",
        report: r#"error[T0100]: string values must be quoted, expected literal string
 --> t.toml:2:9
2 | hosts = 1 2
  |         ^^^
1 error; more about one: trunkline explain T0100"#,
    },
    Case {
        what: "bounds that cross, judged by the engine's policies",
        text: r#"[snmp.core]
targets = []
limits.in_flight_max = 2
limits.in_flight_min = 3
retry.cap = '1ms'
"#,
        report: r#"error[T0106]: `in_flight_min` must be between 1 and 2, but is 3
 --> t.toml:4:24
4 | limits.in_flight_min = 3
  |                        ^
error[T0106]: `base` must be between 1ns and 1ms, but is 100ms
 --> t.toml:5:1
5 | retry.cap = '1ms'
  | ^^^^^
2 errors; more about one: trunkline explain T0106"#,
    },
    Case {
        what: "a list that is too long",
        text: "[admin]\nhosts = ['a', 'b', 'c']\n",
        report: r#"error[T0106]: `hosts` has 3 elements
 --> t.toml:2:9
2 | hosts = ['a', 'b', 'c']
  |         ^^^^^^^^^^^^^^^
  = help: the number of elements is from 0 to 2
1 error; more about one: trunkline explain T0106"#,
    },
    Case {
        what: "a key twice",
        text: "[admin]\nverbose = true\nverbose = true\n",
        report: r#"error[T0100]: duplicate key
 --> t.toml:3:1
3 | verbose = true
  | ^^^^^^^
1 error; more about one: trunkline explain T0100"#,
    },
    Case {
        what: "a key that several tables have is sent to the nearest",
        text: "[tap.main]\ncommitment = 'x'\nca = 'x'\n[tap.main.stdout.out]\nx = 1\n",
        report: r#"error[T0109]: `ca` is not used in [tap.main]
 --> t.toml:3:1
3 | ca = 'x'
  | ^^
  = help: it is a key of [tap.main.tls]
error[T0104]: [tap.main.stdout.out] has no key `x`
 --> t.toml:5:1
5 | x = 1
  | ^
  = help: it has no keys
2 errors; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "a secret of the wrong type",
        text: "[admin]\ntoken = 12345\n",
        report: r#"error[T0111]: `token` is a secret and must not stand in the file
 --> t.toml:2:9
2 | token = *****
  |         ^^^^^
  = help: name a file with `token_file = "..."`, or set TRUNKLINE__ADMIN__TOKEN
1 error; more about one: trunkline explain T0111"#,
    },
    Case {
        what: "syntax",
        text: r#"[admin]
token = "hunter2
[snmp.core
targets = [
"#,
        report: r#"error[T0100]: invalid basic string, expected `"`
 --> t.toml:2:17
2 | token = ********
  |                 ^
error[T0100]: unclosed table, expected `]`
 --> t.toml:3:11
3 | [snmp.core
  |           ^
error[T0100]: unclosed array, expected `]`
 --> t.toml:4:12
4 | targets = [
  |            ^
3 errors; more about one: trunkline explain T0100"#,
    },
    Case {
        what: "rules between keys",
        text: r#"[snmp.core]
targets = []
[snmp.core.breaker]
open = '10m'
slow_call='1s'
probe_lease = '1s'
[snmp.core.retry]
backoff='fixed'
factor=2
budget_ratio=3
[snmp.core.limits]
burst = 5
adaptive=false
in_flight_min=3
[tap.main.queue]
max_wait='1s'
[tap.two.queue]
on_full='block'
high_water=0.0
"#,
        report: r#"error[T0106]: `open` must be between 1ms and 300s, but is 600s
 --> t.toml:4:8
4 | open = '10m'
  |        ^^^^^
error[T0116]: `slow_call` has no effect without the table `slow_rate`
 --> t.toml:5:11
5 | slow_call='1s'
  |           ^^^^
  = help: set the table `slow_rate`, or take `slow_call` out
error[T0201]: `probe_lease` is not longer than a call may take
 --> t.toml:6:15
6 | probe_lease = '1s'
  |               ^^^^
error[T0116]: `factor` has no effect without `backoff = "exponential"`
 --> t.toml:9:8
9 | factor=2
  |        ^
  = help: set `backoff = "exponential"`, or take `factor` out
error[T0116]: `burst` has no effect without `per_second`
  --> t.toml:12:9
12 | burst = 5
   |         ^
   = help: set `per_second`, or take `burst` out
error[T0116]: `in_flight_min` has no effect without `adaptive = true`
  --> t.toml:14:15
14 | in_flight_min=3
   |               ^
   = help: set `adaptive = true`, or take `in_flight_min` out
warning[T0202]: no commitment is set
  --> t.toml:15:6
15 | [tap.main.queue]
   |      ^^^^
   = note: the server decides
error[T0116]: `max_wait` has no effect without `on_full = "block"`
  --> t.toml:16:10
16 | max_wait='1s'
   |          ^^^^
   = help: set `on_full = "block"`, or take `max_wait` out
warning[T0202]: no commitment is set
  --> t.toml:17:6
17 | [tap.two.queue]
   |      ^^^
   = note: the server decides
error[T0116]: `on_full = "block"` needs `max_wait`
  --> t.toml:18:9
18 | on_full='block'
   |         ^^^^^^^
   = help: say how long a producer may wait, as in max_wait = "50ms"
error[T0106]: `high_water` must be above 0, or producers could never go on
  --> t.toml:19:12
19 | high_water=0.0
   |            ^^^
9 errors, 2 warnings; more about one: trunkline explain T0106"#,
    },
    Case {
        what: "what may only follow from another mistake is left out",
        text: r#"[snmp.core]
targets = []
[snmp.core.breaker]
open = '10min'
open_max = '1s'
"#,
        report: r#"error[T0106]: `open`: "10min" has the unknown unit "min"
 --> t.toml:4:8
4 | open = '10min'
  |        ^^^^^^^
  = help: minutes are written "m"
1 error; more about one: trunkline explain T0106"#,
    },
    Case {
        what: "a key that would command a terminal",
        text: r#"[admin]
"a\u001b[31m" = 1
"#,
        report: r#"error[T0104]: [admin] has no key `a\u{1b}[31m`
 --> t.toml:2:1
2 | "a\u001b[31m" = 1
  | ^^^^^^^^^^^^^
  = help: its keys are `hosts`, `listen`, `token`, `token_file`, `verbose`
1 error; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "unknown tables",
        text: r#"[snpm.core]
targets = []
[snmp.core.tls]
ca = 1
[snmp.core.tls.x]
y = 1
"#,
        report: r#"error[T0104]: the top of the file has no key `snpm`
 --> t.toml:1:2
1 | [snpm.core]
  |  ^^^^
  = help: did you mean `snmp`?
error[T0107]: [snmp.core] needs the key `targets`
 --> t.toml:3:7
3 | [snmp.core.tls]
  |       ^^^^
error[T0105]: `ca` wants a string, not a whole number
 --> t.toml:4:6
4 | ca = 1
  |      ^
  = help: write "1"
error[T0104]: [snmp.core.tls] has no key `x`
 --> t.toml:5:16
5 | [snmp.core.tls.x]
  |                ^
  = help: its keys are `ca`
4 errors; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "the top of the file",
        text: r#"zzz = 1
"#,
        report: r#"error[T0104]: the top of the file has no key `zzz`
 --> t.toml:1:1
1 | zzz = 1
  | ^^^
  = help: its keys are `admin`, `snmp`, `tap`
1 error; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "a byte order mark and foreign line ends",
        text: "\u{feff}[admin]\r\nverbos = true\r\n",
        report: r#"error[T0104]: [admin] has no key `verbos`
 --> t.toml:2:1
2 | verbos = true
  | ^^^^^^
  = help: did you mean `verbose`?
1 error; more about one: trunkline explain T0104"#,
    },
    Case {
        what: "tables that are none",
        text: r#"snmp = 3
[[tap.main]]
"#,
        report: r#"error[T0105]: `snmp` wants a table, not a whole number
 --> t.toml:1:8
1 | snmp = 3
  |        ^
error[T0105]: `main` wants a table, not a list
 --> t.toml:2:1
2 | [[tap.main]]
  | ^^^^^^^^^^^^
2 errors; more about one: trunkline explain T0105"#,
    },
];
