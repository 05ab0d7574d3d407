//! Walks of any MIB, through the whole fleet: what comes out is exactly what went in, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use trunkline_engine::time::Time;
use trunkline_sim::snmp::{Fleet, FleetSpec, MibBuilder, Source};
use trunkline_wire_snmp::{OidBuf, OwnedValue};

use crate::asking::{Question, ask};

const NOW: Time = Time::from_millis(1_000);

/// The naive model: arcs in their order, values as they are.
type Rows = BTreeMap<Vec<u32>, OwnedValue>;

fn arc() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0..4u32,
        2 => prop::sample::select(vec![127, 128, 16_383, 16_384, 2_097_151, 2_097_152]),
        1 => any::<u32>(),
    ]
}

fn value() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        any::<i32>().prop_map(OwnedValue::Integer),
        any::<u32>().prop_map(OwnedValue::Counter32),
        any::<u64>().prop_map(OwnedValue::Counter64),
        prop::collection::vec(any::<u8>(), 0..150)
            .prop_map(|bytes| OwnedValue::OctetString(bytes.into())),
        Just(OwnedValue::Null),
    ]
}

fn rows() -> impl Strategy<Value = Rows> {
    let name = prop::collection::vec(arc(), 1..6).prop_map(|tail| [vec![1, 3], tail].concat());
    prop::collection::btree_map(name, value(), 0..60)
}

/// Every so many rows one is live; its value is constant, so that it can be compared.
fn fleet_of(rows: &Rows, live_every: usize, message_bytes_max: usize) -> Fleet {
    let mut mib = MibBuilder::new();
    for (at, (arcs, value)) in rows.iter().enumerate() {
        let oid = OidBuf::from_arcs(arcs).expect("generated arcs are valid");
        let source = match value {
            OwnedValue::Integer(n) if at % live_every == 0 => Source::Integer {
                low: *n,
                high: *n,
                every: Duration::from_secs(1),
            },
            value => Source::Fixed(value.clone()),
        };
        mib.row(oid, source);
    }
    let mut spec = FleetSpec::new(Arc::new(mib.build().expect("a MIB")), 1);
    spec.message_bytes_max = message_bytes_max;
    Fleet::new(spec).expect("a fleet")
}

fn arcs_of(oid: &OidBuf) -> Vec<u32> {
    oid.arcs()
        .map(|arc| u32::try_from(arc).expect("32 bits"))
        .collect()
}

fn walk(fleet: &mut Fleet, mut question: Question) -> Vec<(Vec<u32>, OwnedValue)> {
    let mut seen = Vec::new();
    loop {
        let answer = ask(fleet, NOW, &question);
        assert!(!answer.rows.is_empty());
        for (oid, value) in answer.rows {
            if value == OwnedValue::EndOfMibView {
                return seen;
            }
            question.bindings[0].0 = oid.clone();
            seen.push((arcs_of(&oid), value));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn get_next_and_get_bulk_find_exactly_the_rows_in_order(
        rows in rows(),
        live_every in 1..5usize,
        repetitions in 1..70,
        message_bytes_max in 484..1_472usize,
    ) {
        let mut fleet = fleet_of(&rows, live_every, message_bytes_max);
        let wanted: Vec<_> = rows.into_iter().collect();
        let by_next = walk(&mut fleet, Question::next(&["1.3"]));
        prop_assert_eq!(&by_next, &wanted);
        let by_bulk = walk(&mut fleet, Question::bulk(0, repetitions, &["1.3"]));
        prop_assert_eq!(&by_bulk, &wanted);
    }

    #[test]
    fn any_question_is_answered_as_the_naive_model_would(
        rows in rows(),
        live_every in 1..5usize,
        asked in prop::collection::vec(prop::collection::vec(arc(), 0..5), 1..5),
        non_repeaters in 0..4usize,
        repetitions in 0..6usize,
    ) {
        let mut fleet = fleet_of(&rows, live_every, 65_507);
        let asked: Vec<Vec<u32>> = asked.into_iter().map(|a| [vec![1, 3], a].concat()).collect();
        let names = asked.iter().map(|a| OidBuf::from_arcs(a).expect("valid"));
        let bindings: Vec<_> = names.map(|name| (name, OwnedValue::Null)).collect();
        let (n, m) = (non_repeaters as i32, repetitions as i32);
        let question = Question { bindings, ..Question::bulk(n, m, &[]) };
        let told: Vec<_> = ask(&mut fleet, NOW, &question)
            .rows
            .into_iter()
            .map(|(oid, value)| (arcs_of(&oid), value))
            .collect();
        prop_assert_eq!(told, naive_bulk(&rows, &asked, non_repeaters, repetitions));
    }
}

/// RFC 3416 section 4.2.3, step by step, with a stop once a whole repetition has ended.
fn naive_bulk(
    rows: &Rows,
    asked: &[Vec<u32>],
    non_repeaters: usize,
    repetitions: usize,
) -> Vec<(Vec<u32>, OwnedValue)> {
    let next = |name: &Vec<u32>| {
        let behind = (
            std::ops::Bound::Excluded(name.clone()),
            std::ops::Bound::Unbounded,
        );
        match rows.range(behind).next() {
            Some((name, value)) => (name.clone(), value.clone()),
            None => (name.clone(), OwnedValue::EndOfMibView),
        }
    };
    let (once, repeated) = asked.split_at(non_repeaters.min(asked.len()));
    let mut told: Vec<_> = once.iter().map(next).collect();
    let mut names = repeated.to_vec();
    for _ in 0..repetitions {
        let row: Vec<_> = names.iter().map(next).collect();
        names = row.iter().map(|(name, _)| name.clone()).collect();
        let ended = row
            .iter()
            .all(|(_, value)| *value == OwnedValue::EndOfMibView);
        told.extend(row);
        if ended {
            break;
        }
    }
    told
}
