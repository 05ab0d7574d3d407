//! The queue between two parts: items one by one, and in batches.

use std::hint::black_box;
use std::sync::Arc;

use benches::measure::Case;
use crossbeam_queue::ArrayQueue;
use tokio::sync::mpsc;
use trunkline_engine::lane::{Lane, LanePolicy, OnFull, Parcel, Pushed};

use crate::support::START;

const ITEMS: usize = 1024;
/// The same, as a count of operations.
const BLOCK: u64 = 1024;
const BATCH: usize = 64;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        push().target(4.0),
        pop().target(4.0),
        both("push + pop", OnFull::Reject, 0).target(8.0),
        both("push + pop, drop-oldest, full", OnFull::DropOldest, ITEMS).target(8.0),
        array_queue(),
        channel(),
        push_batch().target(0.5),
        pop_batch().target(0.5),
        both_batches("batch of 64: push + pop, per item", 1).target(0.5),
        both_batches("batch of 64: push + pop, 2 levels, per item", 2),
        channel_batch(),
    ]
}

fn lane(levels: u8, on_full: OnFull) -> Lane<u64> {
    Lane::new(LanePolicy {
        items: ITEMS,
        levels,
        on_full,
        high_water: 1.0,
        ..LanePolicy::default()
    })
}

struct Filled {
    lane: Lane<u64>,
    out: Vec<u64>,
    batches: Vec<Vec<Parcel<u64>>>,
}

impl Filled {
    fn new() -> Self {
        Self {
            lane: lane(1, OnFull::Reject),
            out: Vec::with_capacity(ITEMS),
            batches: (0..ITEMS / BATCH)
                .map(|_| Vec::with_capacity(BATCH))
                .collect(),
        }
    }

    fn fill(&mut self) {
        (0..BLOCK).for_each(|item| drop(self.lane.push(START, 0, 100, item)));
    }

    fn empty(&mut self) {
        self.out.clear();
        self.lane.pop_batch(ITEMS, &mut self.out);
    }

    fn load_batches(&mut self) {
        self.empty();
        self.batches.iter_mut().for_each(load);
    }
}

fn load(batch: &mut Vec<Parcel<u64>>) {
    batch.extend((0..64).map(|item| Parcel {
        level: (item & 1) as u8,
        cost_bytes: 100,
        item,
    }));
}

fn push() -> Case {
    Case::of("lane", "push").blocks(BLOCK, Filled::new(), Filled::empty, |filled| {
        for item in 0..BLOCK {
            let pushed = black_box(&filled.lane).push(START, 0, 100, item);
            black_box(matches!(pushed, Pushed::Accepted { .. }));
        }
    })
}

fn pop() -> Case {
    let prepare = |filled: &mut Filled| {
        filled.empty();
        filled.fill();
    };
    Case::of("lane", "pop").blocks(BLOCK, Filled::new(), prepare, |filled| {
        for _ in 0..BLOCK {
            filled.out.clear();
            black_box(black_box(&filled.lane).pop_batch(1, &mut filled.out));
        }
    })
}

/// One in, one out, with so many in it before.
fn both(name: &'static str, on_full: OnFull, resident: usize) -> Case {
    let lane = Arc::new(lane(1, on_full));
    for _ in 0..resident {
        drop(lane.push(START, 0, 100, 1));
    }
    let full = resident == ITEMS;
    Case::of("lane", name).shared(move || {
        let (lane, mut out) = (Arc::clone(&lane), Vec::with_capacity(8));
        move || {
            let lane = black_box(&*lane);
            black_box(matches!(lane.push(START, 0, 100, 1), Pushed::Refused(..)));
            // A full lane stays full: what is displaced is what comes out.
            if !full {
                out.clear();
                black_box(lane.pop_batch(1, &mut out).items);
            }
        }
    })
}

fn push_batch() -> Case {
    let name = "batch of 64: push, per item";
    let run = |filled: &mut Filled| {
        let mut back = Vec::new();
        for batch in &mut filled.batches {
            let pushed = black_box(&filled.lane).push_batch(START, batch, &mut back);
            black_box(pushed.accepted);
        }
    };
    Case::of("lane", name).blocks(BLOCK, Filled::new(), Filled::load_batches, run)
}

fn pop_batch() -> Case {
    let prepare = |filled: &mut Filled| {
        filled.empty();
        filled.fill();
    };
    let name = "batch of 64: pop, per item";
    Case::of("lane", name).blocks(BLOCK, Filled::new(), prepare, |filled| {
        for _ in 0..ITEMS / BATCH {
            filled.out.clear();
            black_box(black_box(&filled.lane).pop_batch(BATCH, &mut filled.out));
        }
    })
}

/// Making the batch is part of it.
fn both_batches(name: &'static str, levels: u8) -> Case {
    let lane = Arc::new(lane(levels, OnFull::Reject));
    Case::of("lane", name).per(64).shared(move || {
        let lane = Arc::clone(&lane);
        let (mut batch, mut back) = (Vec::with_capacity(BATCH), Vec::new());
        let mut out = Vec::with_capacity(BATCH);
        move || {
            let lane = black_box(&*lane);
            load(&mut batch);
            black_box(lane.push_batch(START, &mut batch, &mut back).accepted);
            out.clear();
            black_box(lane.pop_batch(BATCH, &mut out).items);
        }
    })
}

fn array_queue() -> Case {
    let queue = Arc::new(ArrayQueue::new(ITEMS));
    let name = "ArrayQueue: push + pop";
    Case::of("lane", name)
        .by("crossbeam-queue")
        .shared(move || {
            let queue = Arc::clone(&queue);
            move || {
                let queue = black_box(&*queue);
                black_box(queue.push(1_u64).is_ok());
                black_box(queue.pop());
            }
        })
}

fn channel() -> Case {
    let (sender, mut receiver) = mpsc::channel::<u64>(ITEMS);
    let name = "mpsc: try_send + try_recv";
    Case::of("lane", name).by("tokio").solo(move || {
        black_box(sender.try_send(1).is_ok());
        black_box(receiver.try_recv().is_ok());
    })
}

/// The peer's batch: one permit for all, sent one by one, taken out together.
fn channel_batch() -> Case {
    let (sender, mut receiver) = mpsc::channel::<u64>(ITEMS);
    let mut out = Vec::with_capacity(BATCH);
    let name = "mpsc, batch of 64: try_reserve_many + poll_recv_many, per item";
    Case::of("lane", name).by("tokio").per(64).solo(move || {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if let Ok(permits) = sender.try_reserve_many(BATCH) {
            permits
                .zip(0..)
                .for_each(|(permit, item)| permit.send(item));
        }
        out.clear();
        black_box(
            receiver
                .poll_recv_many(&mut context, &mut out, BATCH)
                .is_ready(),
        );
    })
}
