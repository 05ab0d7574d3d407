//! The books: a unit, a batch, and showing them.

use std::hint::black_box;

use benches::measure::Case;
use trunkline_engine::ledger::{Outcome, Sheet};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        units("one unit: begin + end", 1).target(2.0),
        units("batch of 64: begin + end, per item", 64)
            .per(64)
            .target(0.1),
        split(),
        publish(),
        read(),
    ]
}

fn units(name: &'static str, count: u32) -> Case {
    let mut sheet = Sheet::new();
    Case::of("ledger", name).solo(move || {
        let sheet = black_box(&mut sheet);
        let ticket = sheet.begin(black_box(count));
        sheet.end(ticket, black_box(Outcome::Delivered));
    })
}

/// A batch of which each unit ends on its own.
fn split() -> Case {
    let mut sheet = Sheet::new();
    let name = "batch of 64: begin, split and end each, per item";
    Case::of("ledger", name).per(64).solo(move || {
        let sheet = black_box(&mut sheet);
        let mut ticket = sheet.begin(64);
        for _ in 0..64 {
            let one = ticket.split(1);
            sheet.end(one, black_box(Outcome::Delivered));
        }
    })
}

fn publish() -> Case {
    let mut sheet = Sheet::new();
    Case::of("ledger", "publish").solo(move || black_box(&mut sheet).publish(0))
}

fn read() -> Case {
    let mut sheet = Sheet::new();
    sheet.publish(0);
    let reader = sheet.reader();
    Case::of("ledger", "read what is published").solo(move || {
        black_box(black_box(&reader).read());
    })
}
