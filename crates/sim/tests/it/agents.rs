//! What a sound agent answers, by the letter of RFC 1157, RFC 3416 and RFC 3584.

use std::time::Duration;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::time::Time;
use trunkline_sim::snmp::{
    Fleet, FleetError, FleetSpec, Mib, MibBuilder, SETS_MAX, SETS_PER_AGENT_MAX, Silence, Source,
    models,
};
use trunkline_sim::world::Death;
use trunkline_wire_snmp::{ErrorStatus, OwnedValue, PduKind};

use crate::asking::{
    OWN, Question, ask, ask_raw, assert_balanced, assert_silent, fleet, oid, spec, text,
};

const NOW: Time = Time::from_millis(5_000);

fn small() -> Mib {
    let mut mib = MibBuilder::new();
    mib.fixed(oid("1.3.6.1.2.1.1.1.0"), text("box"))
        .row(oid("1.3.6.1.2.1.1.3.0"), Source::Uptime)
        .writable(oid("1.3.6.1.2.1.1.5.0"), Source::Fixed(text("name")))
        .fixed(oid("1.3.6.1.2.1.2.2.1.1.1"), OwnedValue::Integer(1))
        .fixed(oid("1.3.6.1.2.1.2.2.1.1.2"), OwnedValue::Integer(2))
        .fixed(oid("1.3.6.1.2.1.31.1.1.1.6.1"), OwnedValue::Counter64(1))
        .fixed(oid("1.3.6.1.2.1.31.1.1.1.6.2"), OwnedValue::Counter64(2))
        .writable(oid("1.3.6.1.2.1.31.1.1.1.18.1"), Source::Fixed(text("a")));
    mib.build().expect("a MIB")
}

#[test]
fn get_answers_each_binding_by_itself_in_v2c() {
    let mut fleet = fleet(small());
    let question = Question::get(&[
        "1.3.6.1.2.1.1.1.0",
        "1.3.6.1.2.1.1.1.1",
        "1.3.6.1.2.1.1.9.0",
        "1.3.6.1.2.1.31.1.1.1.6.2",
    ]);
    let answer = ask(&mut fleet, NOW, &question);
    assert_eq!((answer.status, answer.index), (ErrorStatus::NoError, 0));
    assert_eq!(
        (answer.request_id, answer.from),
        (77, fleet.address(0).ip())
    );
    let wanted = [
        text("box"),
        OwnedValue::NoSuchInstance,
        OwnedValue::NoSuchObject,
        OwnedValue::Counter64(2),
    ];
    assert_eq!(answer.values(), wanted);
    let asked: Vec<_> = question
        .bindings
        .iter()
        .map(|(oid, _)| oid.clone())
        .collect();
    let told: Vec<_> = answer.rows.into_iter().map(|(oid, _)| oid).collect();
    assert_eq!(told, asked);
}

#[test]
fn get_fails_as_a_whole_in_v1_and_hides_counter64() {
    let mut fleet = fleet(small());
    for missing in ["1.3.6.1.2.1.1.9.0", "1.3.6.1.2.1.31.1.1.1.6.2"] {
        let question = Question::get(&["1.3.6.1.2.1.1.1.0", missing]).v1();
        let answer = ask(&mut fleet, NOW, &question);
        assert_eq!((answer.status, answer.index), (ErrorStatus::NoSuchName, 2));
        assert_eq!(answer.rows, question.bindings, "v1 echoes the request");
    }
}

#[test]
fn get_next_walks_to_the_end_in_both_versions() {
    let mut fleet = fleet(small());
    let asked = [
        "1.3",
        "1.3.6.1.2.1.2.2.1.1.1.5",
        "1.3.6.1.2.1.31.1.1.1.18.1",
    ];
    let answer = ask(&mut fleet, NOW, &Question::next(&asked));
    let names = ["1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.2.2.1.1.2", asked[2]];
    assert_eq!(answer.names(), names);
    assert_eq!(answer.values()[2], OwnedValue::EndOfMibView);
    let end = ask(&mut fleet, NOW, &Question::next(&asked).v1());
    assert_eq!((end.status, end.index), (ErrorStatus::NoSuchName, 3));
    let over = Question::next(&["1.3.6.1.2.1.2.2.1.1.2"]);
    let shown = ask(&mut fleet, NOW, &over.clone());
    assert_eq!(shown.names(), ["1.3.6.1.2.1.31.1.1.1.6.1"]);
    let hidden = ask(&mut fleet, NOW, &over.v1());
    assert_eq!(
        hidden.names(),
        ["1.3.6.1.2.1.31.1.1.1.18.1"],
        "v1 steps over Counter64"
    );
}

#[test]
fn get_bulk_repeats_what_repeats() {
    let mut fleet = fleet(small());
    let columns = [
        "1.3.6.1.2.1.1.3",
        "1.3.6.1.2.1.2.2.1.1",
        "1.3.6.1.2.1.31.1.1.1.6",
    ];
    let answer = ask(&mut fleet, NOW, &Question::bulk(1, 3, &columns));
    let wanted = [
        "1.3.6.1.2.1.1.3.0",
        "1.3.6.1.2.1.2.2.1.1.1",
        "1.3.6.1.2.1.31.1.1.1.6.1",
        "1.3.6.1.2.1.2.2.1.1.2",
        "1.3.6.1.2.1.31.1.1.1.6.2",
        "1.3.6.1.2.1.31.1.1.1.6.1",
        "1.3.6.1.2.1.31.1.1.1.18.1",
    ];
    assert_eq!(answer.names(), wanted);
    let zero = ask(&mut fleet, NOW, &Question::bulk(1, 0, &columns));
    assert_eq!(zero.names(), ["1.3.6.1.2.1.1.3.0"], "max-repetitions 0");
    let negative = ask(&mut fleet, NOW, &Question::bulk(-1, -1, &columns));
    assert_eq!(
        (negative.status, negative.rows.len()),
        (ErrorStatus::NoError, 0)
    );
    let all = ask(
        &mut fleet,
        NOW,
        &Question::bulk(i32::MAX, i32::MAX, &columns),
    );
    assert_eq!(all.rows.len(), 3, "everything is a non-repeater");
}

#[test]
fn get_bulk_tells_the_end_under_the_last_name_and_stops_when_all_ended() {
    let mut fleet = fleet(small());
    let last = "1.3.6.1.2.1.31.1.1.1.18.1";
    let one = ask(
        &mut fleet,
        NOW,
        &Question::bulk(0, 10, &["1.3.6.1.2.1.31.1.1.1.6.2"]),
    );
    assert_eq!(one.names(), [last, last]);
    assert_eq!(one.values()[1], OwnedValue::EndOfMibView);
    let two = ask(
        &mut fleet,
        NOW,
        &Question::bulk(0, 10, &["1.3.6.1.2.1.31.1.1.1.6.2", "1.4"]),
    );
    assert_eq!(two.names(), [last, "1.4", last, "1.4"]);
    let ends = two
        .values()
        .iter()
        .filter(|v| **v == OwnedValue::EndOfMibView)
        .count();
    assert_eq!(ends, 3);
}

#[test]
fn bulk_in_v1_is_no_request_and_a_trap_is_none_either() {
    let mut fleet = fleet(small());
    assert_silent(&mut fleet, NOW, &Question::bulk(0, 1, &["1.3"]).v1());
    assert_silent(&mut fleet, NOW, &Question::new(PduKind::TrapV2, &["1.3"]));
    assert_eq!(fleet.counters().silent_by(Silence::NotARequest), 2);
    assert_balanced(&fleet);
}

#[test]
fn an_answer_that_outgrows_a_message_is_too_big_but_a_bulk_is_cut() {
    let mut spec = spec(models::switch(60).build().unwrap());
    spec.message_bytes_max = 500;
    let mut fleet = Fleet::new(spec).unwrap();
    let names: Vec<String> = (1..=20)
        .map(|i| format!("1.3.6.1.2.1.31.1.1.1.18.{i}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let v2c = ask(&mut fleet, NOW, &Question::get(&names));
    assert_eq!((v2c.status, v2c.index), (ErrorStatus::TooBig, 0));
    assert_eq!(v2c.rows, [], "RFC 3416 section 4.2.1: no bindings");
    let v1 = ask(&mut fleet, NOW, &Question::get(&names).v1());
    assert_eq!(
        (v1.status, v1.rows.len()),
        (ErrorStatus::TooBig, 20),
        "v1 echoes the request"
    );
    let bulk = ask(
        &mut fleet,
        NOW,
        &Question::bulk(0, 60, &["1.3.6.1.2.1.31.1.1.1.18"]),
    );
    assert_eq!(bulk.status, ErrorStatus::NoError);
    assert!((5..20).contains(&bulk.rows.len()), "{}", bulk.rows.len());
    assert!((440..=500).contains(&bulk.len), "{} bytes of 500", bulk.len);
}

#[test]
fn a_bulk_of_which_no_row_fits_is_too_big() {
    let mut mib = MibBuilder::new();
    mib.fixed(oid("1.3.6.1.1"), text(&"x".repeat(600)));
    let mut spec = spec(mib.build().unwrap());
    spec.message_bytes_max = 484;
    let mut fleet = Fleet::new(spec).unwrap();
    for columns in [&["1.3"][..], &["1.3", "1.3"]] {
        let answer = ask(&mut fleet, NOW, &Question::bulk(0, 5, columns));
        assert_eq!(answer.status, ErrorStatus::TooBig);
    }
}

#[test]
fn a_wrong_community_is_silence_and_counted() {
    let mut fleet = fleet(small());
    let mut question = Question::get(&["1.3.6.1.2.1.1.1.0"]);
    question.community = "Public";
    assert_silent(&mut fleet, NOW, &question);
    assert_eq!(fleet.counters().silent_by(Silence::WrongCommunity), 1);
    question.community = "private";
    ask(&mut fleet, NOW, &question);
    fleet.set_community(0, Some(b"changed"));
    assert_silent(&mut fleet, NOW, &question);
    question.community = "changed";
    ask(&mut fleet, NOW, &question);
    assert_silent(&mut fleet, NOW, &question.clone().to(1));
    fleet.set_community(0, None);
    assert_silent(&mut fleet, NOW, &question);
    assert_balanced(&fleet);
}

#[test]
fn set_writes_what_can_be_written_for_one_agent_alone() {
    let mut fleet = fleet(small());
    let name = "1.3.6.1.2.1.1.5.0";
    let alias = "1.3.6.1.2.1.31.1.1.1.18.1";
    let set = Question::set(&[(name, text("new name")), (alias, text(""))]);
    let answer = ask(&mut fleet, NOW, &set);
    assert_eq!(
        (answer.status, &answer.rows),
        (ErrorStatus::NoError, &set.bindings)
    );
    let read = Question::get(&[name, alias]);
    assert_eq!(ask(&mut fleet, NOW, &read).rows, set.bindings);
    let walked = ask(
        &mut fleet,
        NOW,
        &Question::bulk(0, 9, &["1.3.6.1.2.1.1.3.0"]),
    );
    assert_eq!(walked.values()[0], text("new name"), "a bulk sees it too");
    let other = ask(&mut fleet, NOW, &read.clone().to(1));
    assert_eq!(other.values(), [text("name"), text("a")]);
    fleet.restart(0, NOW);
    assert_eq!(
        ask(&mut fleet, NOW, &read).values(),
        [text("name"), text("a")]
    );
}

#[test]
fn set_refuses_as_a_whole_with_the_code_of_each_version() {
    use ErrorStatus::{BadValue, NoAccess, NoCreation, NoSuchName, NotWritable, WrongType};
    let mut fleet = fleet(small());
    let good = ("1.3.6.1.2.1.1.5.0", text("changed"));
    let cases = [
        (("1.3.6.1.2.1.1.1.0", text("x")), NotWritable, NoSuchName),
        (
            ("1.3.6.1.2.1.1.5.0", OwnedValue::Integer(1)),
            WrongType,
            BadValue,
        ),
        (
            ("1.3.6.1.2.1.31.1.1.1.18.9", text("x")),
            NoCreation,
            NoSuchName,
        ),
        (("1.3.6.1.9.9", text("x")), NotWritable, NoSuchName),
    ];
    for (bad, v2c, v1) in cases {
        let set = Question::set(&[good.clone(), bad]);
        for (question, status) in [(set.clone(), v2c), (set.v1(), v1)] {
            let answer = ask(&mut fleet, NOW, &question);
            assert_eq!((answer.status, answer.index), (status, 2), "{question:?}");
            assert_eq!(answer.rows, question.bindings);
        }
    }
    let mut reader = Question::set(&[good]);
    reader.community = "public";
    assert_eq!(ask(&mut fleet, NOW, &reader).status, NoAccess);
    assert_eq!(ask(&mut fleet, NOW, &reader.v1()).status, NoSuchName);
    let name = ask(&mut fleet, NOW, &Question::get(&["1.3.6.1.2.1.1.5.0"]));
    assert_eq!(
        name.values(),
        [text("name")],
        "nothing was written by halves"
    );
}

#[test]
fn values_that_were_set_are_bounded_per_agent() {
    let mut fleet = fleet(models::switch(100).build().unwrap());
    for port in 1..=100 {
        let name = format!("1.3.6.1.2.1.31.1.1.1.18.{port}");
        let answer = ask(&mut fleet, NOW, &Question::set(&[(&name, text("x"))]));
        let full = port > SETS_PER_AGENT_MAX;
        let wanted = [ErrorStatus::NoError, ErrorStatus::ResourceUnavailable][usize::from(full)];
        assert_eq!(answer.status, wanted, "port {port}");
    }
    let again = Question::set(&[("1.3.6.1.2.1.31.1.1.1.18.1", text("y"))]);
    assert_eq!(ask(&mut fleet, NOW, &again).status, ErrorStatus::NoError);
}

#[test]
fn values_that_were_set_are_bounded_in_all_and_a_restart_frees_them() {
    let mut spec = spec(models::switch(64).build().unwrap());
    let full = u32::try_from(SETS_MAX / SETS_PER_AGENT_MAX).unwrap();
    spec.count = full + 1;
    spec.message_bytes_max = 65_507;
    let mut fleet = Fleet::new(spec).unwrap();
    let names = (1..=64).map(|port| format!("1.3.6.1.2.1.31.1.1.1.18.{port}"));
    let names: Vec<String> = names.collect();
    let values: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), text("x")))
        .collect();
    let set = Question::set(&values);
    for agent in 0..full {
        let answer = ask(&mut fleet, NOW, &set.clone().to(agent));
        assert_eq!(answer.status, ErrorStatus::NoError, "agent {agent}");
    }
    let last = set.to(full);
    assert_eq!(
        ask(&mut fleet, NOW, &last).status,
        ErrorStatus::ResourceUnavailable
    );
    fleet.restart(7, NOW);
    assert_eq!(ask(&mut fleet, NOW, &last).status, ErrorStatus::NoError);
}

#[test]
fn live_rows_with_names_of_any_length_are_encoded_like_fixed_ones() {
    let same = |value| Source::Integer {
        low: value,
        high: value,
        every: Duration::from_secs(1),
    };
    for arcs in (1..=125).step_by(4) {
        let name = (0..arcs).fold(oid("1.3"), |name, _| name.child(200));
        let (mut fixed, mut live) = (MibBuilder::new(), MibBuilder::new());
        fixed.fixed(name.clone(), OwnedValue::Integer(-70_000));
        live.row(name, same(-70_000));
        let question = Question::next(&["1.3"]);
        let [fixed, live] =
            [fixed, live].map(|mib| ask_raw(&mut fleet(mib.build().unwrap()), NOW, &question));
        assert_eq!(live, fixed, "{arcs} arcs");
    }
}

#[test]
fn live_values_move_with_time_and_differ_between_agents() {
    let mut fleet = fleet(models::switch48().build().unwrap());
    let question = Question::get(&[
        "1.3.6.1.2.1.1.3.0",
        "1.3.6.1.2.1.1.5.0",
        "1.3.6.1.2.1.2.2.1.10.1",
        "1.3.6.1.2.1.31.1.1.1.6.1",
        "1.3.6.1.2.1.2.2.1.10.5",
    ]);
    let at = |fleet: &mut Fleet, seconds: u64, agent| {
        ask(
            fleet,
            Time::from_millis(seconds * 1000),
            &question.clone().to(agent),
        )
        .values()
    };
    let (early, late) = (at(&mut fleet, 0, 0), at(&mut fleet, 10, 0));
    let number = |value: &OwnedValue| match value {
        OwnedValue::TimeTicks(n) | OwnedValue::Counter32(n) => u64::from(*n),
        OwnedValue::Counter64(n) => *n,
        other => panic!("{other:?}"),
    };
    assert_eq!(number(&late[0]) - number(&early[0]), 1000);
    assert_eq!(early[1], text("switch-127-1-0-1"));
    assert!(number(&late[3]) > number(&early[3]));
    assert_eq!(late[4], OwnedValue::Counter32(0), "port 5 is down");
    assert_ne!(at(&mut fleet, 0, 1)[..4], early[..4]);
    fleet.restart(0, Time::from_millis(20_000));
    assert_eq!(
        number(&at(&mut fleet, 21, 0)[0]),
        100,
        "uptime starts again"
    );
}

#[test]
fn a_killed_agent_is_silent_until_it_is_restarted() {
    let mut fleet = fleet(small());
    let question = Question::get(&["1.3.6.1.2.1.1.1.0"]);
    fleet.kill(0, Death::Silent);
    assert_silent(&mut fleet, NOW, &question);
    ask(&mut fleet, NOW, &question.clone().to(1));
    fleet.restart(0, NOW);
    ask(&mut fleet, NOW, &question);
    assert_eq!(fleet.counters().silent_by(Silence::Killed), 1);
    assert_balanced(&fleet);
}

#[test]
fn foreign_bytes_and_addresses_are_counted_and_harm_nothing() {
    let mut fleet = fleet(small());
    let mut rx = RxBatch::new(300);
    let mut tx = TxBatch::new(300);
    let good = Question::get(&["1.3.6.1.2.1.1.1.0"]).bytes(1);
    let own = OWN.parse().unwrap();
    let agent = Some(fleet.address(0).ip());
    for cut in 0..good.len() {
        assert!(rx.push(own, agent, 0, &good[..cut]));
    }
    let mut flipped = good.clone();
    for at in 0..good.len() {
        flipped[at] ^= 0xff;
        assert!(rx.push(own, agent, 0, &flipped));
        flipped[at] ^= 0xff;
    }
    for to in [None, Some("127.1.0.0"), Some("127.1.0.5"), Some("::1")] {
        let to = to.map(|ip| ip.parse().unwrap());
        assert!(rx.push(own, to, 0, &good));
    }
    fleet.handle_batch(NOW, &rx, &mut tx);
    assert_eq!(fleet.counters().silent_by(Silence::UnknownAgent), 4);
    assert!(fleet.counters().silent_by(Silence::Malformed) as usize >= good.len());
    assert_balanced(&fleet);
}

#[test]
fn a_full_batch_leaves_requests_unanswered_and_says_so() {
    let mut fleet = fleet(small());
    let (mut rx, mut tx) = (RxBatch::new(3), TxBatch::new(2));
    let bytes = Question::get(&["1.3.6.1.2.1.1.1.0"]).bytes(1);
    for agent in 0..3 {
        let to = fleet.address(agent).ip();
        assert!(rx.push(OWN.parse().unwrap(), Some(to), 7, &bytes));
    }
    fleet.handle_batch(NOW, &rx, &mut tx);
    let sent: Vec<_> = tx
        .iter()
        .map(|(meta, _)| (meta.socket, meta.from))
        .collect();
    let wanted = [0, 1].map(|agent| (7, Some(fleet.address(agent).ip())));
    assert_eq!(sent, wanted);
    assert_eq!(fleet.counters().silent_by(Silence::NoRoom), 1);
    assert_balanced(&fleet);
}

#[test]
fn fleets_that_make_no_sense_are_refused() {
    let base = || spec(small());
    let refused = |spec: FleetSpec| Fleet::new(spec).unwrap_err();
    let mut none = base();
    none.count = 0;
    assert!(matches!(refused(none), FleetError::Count { .. }));
    let mut beyond = base();
    beyond.first = "255.255.255.254".parse().unwrap();
    assert!(matches!(
        refused(beyond),
        FleetError::Count { count: 4, .. }
    ));
    let mut weightless = base();
    weightless.models[0].1 = 0;
    assert_eq!(refused(weightless), FleetError::Models);
    let mut tiny = base();
    tiny.message_bytes_max = 483;
    assert_eq!(refused(tiny), FleetError::MessageBytes(483));
    let mut crowded = base();
    crowded.faults = "dead=60%".parse().unwrap();
    crowded.faults.devices[0].share = 1.2;
    assert!(matches!(refused(crowded), FleetError::Faults(_)));
}

#[test]
fn a_large_fleet_costs_little_and_answers_everywhere() {
    let mut spec = spec(small());
    spec.count = 100_000;
    let mut fleet = Fleet::new(spec).unwrap();
    let question = Question::get(&["1.3.6.1.2.1.1.1.0"]);
    for agent in [0, 255, 256, 65_535, 99_999] {
        let answers = ask_raw(&mut fleet, NOW, &question.clone().to(agent));
        assert_eq!(answers[0].0, fleet.address(agent).ip());
        assert_eq!(fleet.agent_at(answers[0].0), Some(agent));
    }
}
