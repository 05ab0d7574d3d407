//! How many bindings per second of thread CPU time each codec turns into typed values.
//!
//! The problem: a figure of one codec alone says little, and one taken minutes after another's
//! says less.
//!
//! The rule: every codec gets the same reply, a GETBULK of an interface table, from the same
//! bytes, and does for each binding what its user would have to do to hold a typed value. Codecs
//! take turns, round by round; a figure is the median of nine rounds, with the least and the
//! greatest beside it. One JSON object per line. `--check` runs one short round: does it work?
//!
//! Edge cases: async-snmp reads a `Bytes`, which is cloned by reference and not copied; rasn
//! decodes into owned types, which is all that it offers.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use trunkline_wire_snmp::{Oid, OidBuf, PduKind, Value, Version, decode, encode};

const ROUNDS: usize = 9;
/// Interface indexes of four digits, as large devices have them: two octets in BER.
const INDEXES: std::ops::RangeInclusive<u32> = 1001..=1008;

/// Decodes the reply so many times; returns the bindings read.
type Work = Box<dyn FnMut(u32) -> u64>;

struct Contestant {
    bench: &'static str,
    codec: &'static str,
    unit: &'static str,
    work: Work,
}

fn main() {
    let check = std::env::args().any(|argument| argument == "--check");
    let (rounds, budget) = if check {
        (1, Duration::from_millis(2))
    } else {
        (ROUNDS, Duration::from_millis(150))
    };
    let mut contestants = contestants();
    let sizes = contestants.iter_mut().map(|c| size(&mut c.work, budget));
    let sizes: Vec<u32> = sizes.collect();
    let mut figures = vec![Vec::new(); contestants.len()];
    for _ in 0..rounds {
        for ((contestant, &size), figures) in contestants.iter_mut().zip(&sizes).zip(&mut figures) {
            let start = cpu();
            let units = (contestant.work)(size);
            figures.push(per_second(units, cpu().saturating_sub(start)));
        }
    }
    for (contestant, figures) in contestants.iter().zip(&mut figures) {
        report(contestant, figures);
    }
}

fn report(contestant: &Contestant, figures: &mut [f64]) {
    figures.sort_by(f64::total_cmp);
    let Contestant {
        bench, codec, unit, ..
    } = contestant;
    let median = figures[figures.len() / 2];
    let (least, greatest) = (figures[0], figures[figures.len() - 1]);
    println!(
        "{{\"bench\":\"{bench}\",\"codec\":\"{codec}\",\"unit\":\"{unit}\",\"median\":{median:.0},\
         \"min\":{least:.0},\"max\":{greatest:.0},\"rounds\":{}}}",
        figures.len()
    );
}

/// How many repetitions take about that long.
fn size(work: &mut Work, budget: Duration) -> u32 {
    let mut size = 1;
    loop {
        let start = cpu();
        black_box(work(size));
        if cpu().saturating_sub(start) >= budget {
            return size;
        }
        size *= 2;
    }
}

fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn per_second(units: u64, spent: Duration) -> f64 {
    units as f64 / spent.as_secs_f64().max(1e-9)
}

fn contestants() -> Vec<Contestant> {
    let reply = interface_table();
    let decoding = |codec, work| Contestant {
        bench: "decode_varbinds",
        codec,
        unit: "varbinds/s",
        work,
    };
    let mut slot = [0; 1472];
    let theirs = Bytes::from(reply.clone());
    let (ours, envelope, rasn, snmp2) = (reply.clone(), reply.clone(), reply.clone(), reply);
    vec![
        decoding("trunkline", repeat(move || read_ours(&ours))),
        decoding("snmp2", repeat(move || read_snmp2(&snmp2))),
        decoding("async-snmp", repeat(move || read_async_snmp(&theirs))),
        decoding("rasn-snmp", repeat(move || read_rasn(&rasn))),
        Contestant {
            bench: "decode_envelope",
            codec: "trunkline",
            unit: "messages/s",
            work: repeat(move || u64::from(decode(black_box(&envelope)).is_ok())),
        },
        Contestant {
            bench: "encode_get",
            codec: "trunkline",
            unit: "messages/s",
            work: repeat(move || write_ours(&mut slot)),
        },
    ]
}

fn repeat(mut once: impl FnMut() -> u64 + 'static) -> Work {
    Box::new(move |times| (0..times).map(|_| once()).sum())
}

fn read_ours(reply: &[u8]) -> u64 {
    let mut count = 0;
    if let Ok(message) = decode(black_box(reply)) {
        for varbind in message.pdu.varbinds.flatten() {
            black_box(varbind);
            count += 1;
        }
    }
    count
}

fn read_snmp2(reply: &[u8]) -> u64 {
    let mut count = 0;
    if let Ok(pdu) = snmp2::Pdu::from_bytes(black_box(reply)) {
        for varbind in pdu.varbinds {
            black_box(varbind);
            count += 1;
        }
    }
    count
}

fn read_async_snmp(reply: &Bytes) -> u64 {
    use async_snmp::{compatibility::DecodeConfig, message::CommunityMessage};
    let decoded = CommunityMessage::decode(black_box(reply.clone()), DecodeConfig::STRICT);
    let Ok(outcome) = black_box(decoded) else {
        return 0;
    };
    let pdu = outcome.value.into_pdu();
    pdu.map_or(0, |pdu| pdu.varbinds().len() as u64)
}

fn read_rasn(reply: &[u8]) -> u64 {
    use rasn_snmp::{v2::Pdus, v2c::Message};
    let decoded = rasn::ber::decode::<Message<Pdus>>(black_box(reply));
    match black_box(decoded) {
        Ok(Message {
            data: Pdus::Response(response),
            ..
        }) => response.0.variable_bindings.len() as u64,
        _ => 0,
    }
}

fn write_ours(slot: &mut [u8]) -> u64 {
    const SYS_UP_TIME: Oid<'static> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 1, 3, 0]);
    let list = [(black_box(SYS_UP_TIME), Value::Null)];
    let id = black_box(0x1234_5678);
    let range = encode(slot, Version::V2c, b"public", PduKind::Get, id, 0, 0, list);
    black_box(&*slot);
    u64::from(range.is_ok())
}

/// Eight rows of ifDescr, ifSpeed, ifOperStatus, ifInOctets and ifHCInOctets.
fn interface_table() -> Vec<u8> {
    let column = |text: &str| {
        text.parse::<OidBuf>()
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let columns = [
        column("1.3.6.1.2.1.2.2.1.2"),
        column("1.3.6.1.2.1.2.2.1.5"),
        column("1.3.6.1.2.1.2.2.1.8"),
        column("1.3.6.1.2.1.2.2.1.10"),
        column("1.3.6.1.2.1.31.1.1.1.6"),
    ];
    let row = |index: u32| {
        [
            Value::OctetString(b"GigabitEthernet0/0/1"),
            Value::Gauge32(1_000_000_000),
            Value::Integer(1),
            Value::Counter32(2_111_222_333 + index),
            Value::Counter64(7_111_222_333_444 + u64::from(index)),
        ]
    };
    let names = INDEXES.flat_map(|index| columns.each_ref().map(|oid| oid.child(index)));
    let names: Vec<OidBuf> = names.collect();
    let values: Vec<Value<'_>> = INDEXES.flat_map(row).collect();
    let list: Vec<_> = names.iter().map(OidBuf::as_oid).zip(values).collect();
    let mut slot = [0; 1472];
    encode(
        &mut slot,
        Version::V2c,
        b"public",
        PduKind::Response,
        77,
        0,
        0,
        list,
    )
    .map(|range| slot[range].to_vec())
    .unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_reads_every_binding() {
        for mut contestant in contestants() {
            let expected = match contestant.bench {
                "decode_varbinds" => INDEXES.count() as u64 * 5 * 3,
                _ => 3,
            };
            assert_eq!((contestant.work)(3), expected, "{}", contestant.codec);
        }
    }
}
