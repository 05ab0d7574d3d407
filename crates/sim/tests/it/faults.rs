//! Each fault, shown by what a client would see.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::time::Time;
use trunkline_sim::snmp::{DeviceFault, FaultPlan, Fleet, Mib, MibBuilder, Silence};
use trunkline_wire_snmp::{ErrorStatus, OwnedValue, decode};

use crate::asking::{
    OWN, Question, ask, ask_raw, assert_balanced, assert_silent, collect, oid, read, spec,
};

const NOW: Time = Time::from_millis(5_000);
const COLUMN: &str = "1.3.6.1.2.1.2.2.1.1";

/// One column of 40 rows: `COLUMN.1` to `COLUMN.40`, rows 0 to 39 of the MIB.
fn column() -> Mib {
    let mut mib = MibBuilder::new();
    for row in 1..=40 {
        mib.fixed(
            oid(COLUMN).child(row),
            OwnedValue::Integer(row.cast_signed()),
        );
    }
    mib.build().expect("a MIB")
}

fn with(faults: FaultPlan) -> Fleet {
    let mut spec = spec(column());
    spec.faults = faults;
    Fleet::new(spec).expect("a fleet")
}

fn all(fault: DeviceFault) -> Fleet {
    with(FaultPlan::all(fault))
}

fn row(number: u32) -> String {
    format!("{COLUMN}.{number}")
}

/// The row numbers of a bulk answer.
fn bulk(fleet: &mut Fleet, after: u32, repetitions: i32) -> Vec<i32> {
    let answer = ask(fleet, NOW, &Question::bulk(0, repetitions, &[&row(after)]));
    assert_eq!(answer.status, ErrorStatus::NoError);
    let numbers = answer.rows.iter().map(|(_, value)| match value {
        OwnedValue::Integer(n) => *n,
        _ => -1,
    });
    numbers.collect()
}

fn next(fleet: &mut Fleet, after: u32) -> String {
    ask(fleet, NOW, &Question::next(&[&row(after)])).names()[0].clone()
}

/// Everything that the fleet sends by `now`.
fn flush(fleet: &mut Fleet, now: Time) -> Vec<(IpAddr, Vec<u8>)> {
    let mut tx = TxBatch::new(16);
    fleet.flush(now, &mut tx);
    collect(&tx)
}

#[test]
fn dead_never_answers() {
    let mut fleet = all(DeviceFault::Dead);
    assert_silent(&mut fleet, NOW, &Question::get(&[&row(1)]));
    assert_eq!(fleet.counters().silent_by(Silence::Dead), 1);
}

#[test]
fn slow_answers_after_its_delay_and_not_before() {
    let mut fleet = all(DeviceFault::Slow(Duration::from_millis(200)));
    assert_silent(&mut fleet, NOW, &Question::get(&[&row(3)]));
    let due = NOW + Duration::from_millis(200);
    assert_eq!((fleet.waiting(), fleet.next_wakeup()), (1, Some(due)));
    assert_balanced(&fleet);
    assert_eq!(flush(&mut fleet, due - Duration::from_nanos(1)), []);
    let answers = flush(&mut fleet, due);
    let answer = read(answers[0].0, &answers[0].1);
    assert_eq!(answer.values(), [OwnedValue::Integer(3)]);
    assert_eq!(answer.from, fleet.address(0).ip());
    assert_eq!((fleet.waiting(), fleet.next_wakeup()), (0, None));
    assert_balanced(&fleet);
}

#[test]
fn late_answers_half_of_the_time_after_the_client_gave_up() {
    let mut fleet = all(DeviceFault::Late(Duration::from_secs(5)));
    let question = Question::get(&[&row(3)]);
    let prompt: usize = (0..400)
        .map(|_| ask_raw(&mut fleet, NOW, &question).len())
        .sum();
    assert!((150..250).contains(&prompt), "{prompt} of 400");
    assert_eq!(fleet.waiting(), 400 - prompt);
    let mut late = 0;
    loop {
        match flush(&mut fleet, NOW + Duration::from_secs(5)).len() {
            0 => break,
            n => late += n,
        }
    }
    assert_eq!(late, 400 - prompt);
    assert_balanced(&fleet);
}

#[test]
fn wrong_source_answers_from_another_address() {
    let mut fleet = all(DeviceFault::WrongSource);
    let answer = ask(&mut fleet, NOW, &Question::get(&[&row(1)]));
    assert_eq!(answer.from, "127.129.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(
        fleet.address(0).ip(),
        "127.1.0.1".parse::<IpAddr>().unwrap()
    );
    assert_eq!(answer.values(), [OwnedValue::Integer(1)]);
}

#[test]
fn too_big_counts_bindings_and_repetitions() {
    let mut fleet = all(DeviceFault::TooBig(3));
    let names = [row(1), row(2), row(3), row(4)];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let status = |fleet: &mut Fleet, question: &Question| ask(fleet, NOW, question).status;
    let cases = [
        (Question::get(&names[..3]), false),
        (Question::get(&names), true),
        (Question::next(&names), true),
        (Question::bulk(0, 3, &names[..1]), false),
        (Question::bulk(0, 4, &names[..1]), true),
        (Question::bulk(1, 2, &names[..2]), false),
        (Question::bulk(1, 3, &names[..2]), true),
    ];
    for (question, refused) in cases {
        let wanted = [ErrorStatus::NoError, ErrorStatus::TooBig][usize::from(refused)];
        assert_eq!(status(&mut fleet, &question), wanted, "{question:?}");
    }
}

#[test]
fn loop_leads_back_and_never_ends() {
    let mut fleet = all(DeviceFault::Loop(8));
    assert_eq!(next(&mut fleet, 7), row(8));
    assert_eq!(next(&mut fleet, 8), row(1));
    assert_eq!(next(&mut fleet, 16), row(9));
    let seen = bulk(&mut fleet, 5, 12);
    assert_eq!(seen, [6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1]);
}

#[test]
fn repeat_stands_still() {
    let mut fleet = all(DeviceFault::Repeat(8));
    assert_eq!(next(&mut fleet, 8), row(8));
    assert_eq!(bulk(&mut fleet, 6, 5), [7, 8, 8, 8, 8]);
}

#[test]
fn skip_rows_leaves_out_rows_of_large_bulks_only() {
    let mut fleet = all(DeviceFault::SkipRows(4));
    assert_eq!(bulk(&mut fleet, 1, 4), [2, 3, 4, 5]);
    assert_eq!(bulk(&mut fleet, 1, 10), [2, 3, 4, 5, 7, 8, 9, 10, 12, 13]);
    assert_eq!(next(&mut fleet, 5), row(6), "a re-read finds the row");
}

#[test]
fn garbage_does_not_decode_to_the_answer() {
    let mut fleet = all(DeviceFault::Garbage);
    let question = Question::get(&[&row(1)]);
    let mut kinds = HashSet::new();
    for _ in 0..200 {
        let answers = ask_raw(&mut fleet, NOW, &question);
        assert_eq!(answers.len(), 1);
        let bytes = &answers[0].1;
        assert!(!bytes.is_empty());
        kinds.insert(bytes[0] == 0x30);
        let whole = decode(bytes).is_ok_and(|m| m.pdu.varbinds.clone().all(|b| b.is_ok()));
        assert!(!whole, "{bytes:02x?}");
    }
    assert_eq!(kinds.len(), 2, "both cut messages and random bytes");
}

#[test]
fn gen_err_hits_its_subtree_by_every_kind_of_request() {
    let mut fleet = all(DeviceFault::GenErr(oid(&row(5))));
    let cases = [
        (Question::get(&[&row(4), &row(5)]), 2),
        (Question::next(&[&row(4)]), 1),
        (Question::bulk(0, 5, &[&row(9), &row(2)]), 2),
        (Question::get(&[&row(6)]), 0),
        (Question::next(&[&row(5)]), 0),
        (Question::bulk(0, 2, &[&row(2)]), 0),
    ];
    for (question, index) in cases {
        let answer = ask(&mut fleet, NOW, &question);
        let status = [ErrorStatus::NoError, ErrorStatus::GenErr][usize::from(index > 0)];
        assert_eq!(
            (answer.status, answer.index),
            (status, index),
            "{question:?}"
        );
    }
}

#[test]
fn wrong_id_answers_another_question() {
    let mut fleet = all(DeviceFault::WrongId);
    let answer = ask(&mut fleet, NOW, &Question::get(&[&row(1)]));
    assert_eq!(answer.request_id, 78);
}

#[test]
fn empty_bulk_says_nothing_to_bulks_alone() {
    let mut fleet = all(DeviceFault::EmptyBulk);
    assert_eq!(bulk(&mut fleet, 1, 10), [0; 0]);
    assert_eq!(next(&mut fleet, 1), row(2));
}

#[test]
fn ends_early_ends_behind_every_nth_row() {
    let mut fleet = all(DeviceFault::EndsEarly(10));
    assert_eq!(bulk(&mut fleet, 7, 9), [8, 9, 10, -1]);
    assert_eq!(
        bulk(&mut fleet, 11, 3),
        [12, 13, 14],
        "the rest is there for who asks"
    );
    let v1 = ask(&mut fleet, NOW, &Question::next(&[&row(10)]).v1());
    assert_eq!(v1.status, ErrorStatus::NoSuchName);
}

#[test]
fn traffic_is_lost_duplicated_and_reordered_by_chance_and_counted() {
    let mut fleet = with("loss=10%,duplicate=5%,reorder=20%:30ms".parse().unwrap());
    let question = Question::get(&[&row(1)]);
    let mut at_once = 0;
    for _ in 0..2_000 {
        at_once += ask_raw(&mut fleet, NOW, &question).len() as u64;
    }
    let c = fleet.counters();
    assert!((150..250).contains(&c.silent_by(Silence::Lost)), "{c:?}");
    assert!((50..110).contains(&c.duplicated), "{c:?}");
    assert!((300..420).contains(&c.reordered), "{c:?}");
    assert_eq!(fleet.waiting() as u64, c.reordered);
    assert_eq!(at_once, c.replied + c.duplicated);
    assert_eq!(fleet.next_wakeup(), Some(NOW + Duration::from_millis(30)));
    assert_balanced(&fleet);
}

#[test]
fn shares_are_exact_and_a_fault_can_be_given_and_taken() {
    let mut spec = spec(column());
    spec.count = 1_000;
    spec.faults = "dead=10%,wrong-id=5%".parse().unwrap();
    let mut fleet = Fleet::new(spec).unwrap();
    let (mut rx, mut tx) = (RxBatch::with_slot_bytes(1_000, 200), TxBatch::new(1_000));
    for agent in 0..1_000 {
        let to = fleet.address(agent).ip();
        assert!(rx.push(
            OWN.parse().unwrap(),
            Some(to),
            0,
            &Question::get(&[&row(1)]).bytes(5)
        ));
    }
    fleet.handle_batch(NOW, &rx, &mut tx);
    let wrong = tx
        .iter()
        .filter(|(_, b)| decode(b).unwrap().pdu.request_id == 6);
    assert_eq!((tx.len(), wrong.count()), (900, 50));
    let dead = (0..1_000)
        .find(|a| fleet.fault(*a) == Some(&DeviceFault::Dead))
        .unwrap();
    assert!(fleet.set_fault(dead, None));
    ask(&mut fleet, NOW, &Question::get(&[&row(1)]).to(dead));
    assert!(fleet.set_fault(dead, Some(DeviceFault::TooBig(1))));
    assert_eq!(fleet.fault(dead), Some(&DeviceFault::TooBig(1)));
}
