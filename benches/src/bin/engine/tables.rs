//! What finds a request again: the correlator by id, the wheel by time.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use benches::measure::Case;
use trunkline_engine::correlate::{Correlator, Found};
use trunkline_engine::rng::Rng;
use trunkline_engine::wheel::Wheel;

use crate::support::{START, Ticker};

/// Requests in flight beside the one that is measured.
const LIVE: usize = 1024;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        correlate().target(3.0),
        hash_map(),
        set_and_cancel(),
        fire(),
        expire_idle(),
    ]
}

/// Ids in the order of their issue; the oldest is answered next.
struct Fifo {
    ids: [u32; LIVE],
    at: usize,
}

impl Fifo {
    /// Puts an id in, takes the oldest out.
    fn exchange(&mut self, id: u32) -> u32 {
        self.at = (self.at + 1) % LIVE;
        std::mem::replace(&mut self.ids[self.at], id)
    }
}

fn correlate() -> Case {
    let mut table = Correlator::new(1 << 20, 0x5eed);
    let insert = |table: &mut Correlator<u64>| table.insert(7).expect("there is room");
    let mut fifo = Fifo {
        ids: std::array::from_fn(|_| insert(&mut table)),
        at: 0,
    };
    Case::of("correlate", "insert + find + remove, 1,024 live").solo(move || {
        let table = black_box(&mut table);
        let Ok(id) = table.insert(7) else { return };
        let id = fifo.exchange(id);
        black_box(matches!(table.find(id), Found::Live(_)));
        black_box(table.remove(id));
    })
}

/// Without generations, late replies or ids that nobody can guess.
fn hash_map() -> Case {
    let mut table: HashMap<u32, u64> = (0..1024).map(|id| (id, 7)).collect();
    let mut fifo = Fifo {
        ids: std::array::from_fn(|n| u32::try_from(n).unwrap_or_default()),
        at: LIVE - 1,
    };
    let mut next = 1024_u32;
    let name = "HashMap: insert + get + remove, 1,024 live";
    Case::of("correlate", name).by("std").solo(move || {
        let table = black_box(&mut table);
        next = next.wrapping_add(1);
        table.insert(next, 7);
        let id = fifo.exchange(next);
        black_box(table.get(&id));
        black_box(table.remove(&id));
    })
}

/// A wheel in which 10,000 timers are set for some minutes to come.
fn wheel() -> Wheel {
    let (mut wheel, mut rng) = (Wheel::new(START, Duration::from_millis(1)), Rng::seeded(6));
    for token in 0..10_000 {
        let ahead = Duration::from_secs(100_000 + rng.below(600));
        wheel.insert(START + ahead, token);
    }
    wheel
}

fn set_and_cancel() -> Case {
    let (mut wheel, mut clock) = (wheel(), Ticker::steps(1_000));
    Case::of("wheel", "set + cancel beside 10,000 others").solo(move || {
        let key = wheel.insert(clock.tick() + Duration::from_secs(2), 1);
        black_box(wheel.cancel(key));
    })
}

fn fire() -> Case {
    let mut clock = Ticker::steps(10_000);
    let (mut wheel, mut out) = (wheel(), Vec::new());
    let name = "set + fire, 1,000 of a clean-up pass, per timer";
    Case::of("wheel", name).per(1_000).solo(move || {
        let mut at = START;
        for token in 0..1_000 {
            at = clock.tick();
            wheel.insert(at, token);
        }
        out.clear();
        wheel.expire(at + Duration::from_millis(2), &mut out);
        black_box(out.len());
    })
}

/// A clean-up pass that finds nothing.
fn expire_idle() -> Case {
    let (mut wheel, mut clock, mut out) = (wheel(), Ticker::steps(1_000), Vec::new());
    let name = "clean-up pass: expire, 10,000 set, none due";
    Case::of("wheel", name).solo(move || {
        wheel.expire(clock.tick(), &mut out);
        black_box(out.is_empty());
    })
}
