//! Dead letters: the box's clean-up passes, and the log against the bare disk.

use std::fs::{File, create_dir_all, remove_dir_all};
use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use benches::clock::wall_nanos_of;
use benches::measure::{Case, Plan, Spread};
use benches::report::{digits, table, times};
use serde_json::{Value, json};
use trunkline_engine::letters::{
    Draft, Letter, LetterBox, LetterPolicy, Payload, Reason, encode_letter,
};
use trunkline_engine::rng::Rng;
use trunkline_engine::time::WallTime;
use trunkline_runtime::letters::{LetterLog, LogPolicy};

use crate::support::{START, Ticker};

const WALL: WallTime = WallTime::from_unix_millis(1_700_000_000_000);
const PAYLOAD_BYTES: usize = 1024;

pub(crate) fn cases() -> Vec<Case> {
    vec![insert(), expire_idle(), expire_all()]
}

fn draft() -> Draft {
    Draft {
        parent: None,
        first_enqueued: WALL,
        system: "snmp.core".to_owned(),
        target: "sink.file.out".to_owned(),
        reason: Reason::Exhausted,
        attempts: Vec::new(),
        error: "no space left on the device".to_owned(),
        payload: Payload::new(&[7; PAYLOAD_BYTES], PAYLOAD_BYTES),
    }
}

fn full_box() -> LetterBox {
    let mut letters = LetterBox::new(LetterPolicy::default()).expect("the policy is valid");
    fill(&mut letters);
    letters
}

fn fill(letters: &mut LetterBox) {
    let mut rng = Rng::seeded(9);
    for _ in 0..1_000 {
        black_box(letters.insert(draft(), START, WALL, &mut rng).is_ok());
    }
}

/// A letter of 1 KiB, with the draft and the oldest letter that makes room.
fn insert() -> Case {
    let (mut letters, mut rng) = (full_box(), Rng::seeded(9));
    let name = "box: make and insert a letter of 1 KiB, full";
    Case::of("letters", name).solo(move || {
        black_box(letters.insert(draft(), START, WALL, &mut rng).is_ok());
    })
}

fn expire_idle() -> Case {
    let (mut letters, mut clock) = (full_box(), Ticker::steps(1_000));
    let name = "clean-up pass: expire, 1,000 letters, none due";
    Case::of("letters", name).solo(move || {
        black_box(letters.expire(clock.tick(), WALL).is_empty());
    })
}

fn expire_all() -> Case {
    let late = START + Duration::from_secs(8 * 86_400);
    let name = "clean-up pass: expire, all 1,000 due, per letter";
    let letters = LetterBox::new(LetterPolicy::default()).expect("the policy is valid");
    Case::of("letters", name).blocks(1_000, letters, fill, move |letters| {
        black_box(letters.expire(late, WALL).len());
    })
}

/// The log beside the same bytes written and synced without it.
pub(crate) struct LogRow {
    ratio: Spread,
    raw_micros: f64,
    log_micros: f64,
}

/// The target of the design.
const LOG_TARGET: f64 = 1.2;
/// Letters of a sample: some 16 batches.
const LETTERS: usize = 1_000;

/// Appends letters to the log, and writes the same bytes to a file and syncs it once per batch;
/// by wall time, since both wait for the disk.
pub(crate) fn log(plan: Plan) -> LogRow {
    let dir = scratch();
    let letters = letters();
    let policy = LogPolicy {
        // The producer never pauses here, so batches fill while the disk works.
        linger: Duration::ZERO,
        ..LogPolicy::default()
    };
    let opened = LetterLog::open(&dir, policy.clone()).expect("a fresh directory");
    let mut raw = File::create(dir.join("raw")).expect("a fresh directory");
    let (mut ratios, mut raws, mut logs) = (Vec::new(), Vec::new(), Vec::new());
    // More rounds than elsewhere, since a disk is less steady than a core; the first is not
    // counted, as it finds the files empty.
    for round in 0..=3 * plan.rounds {
        let before = opened.log.counts();
        let ours = wall_nanos_of(|| append(&opened.log, &letters));
        let after = opened.log.counts();
        let batches = after.batches - before.batches;
        let bytes = vec![7; batch_bytes(&letters) / usize::try_from(batches).unwrap_or(1)];
        let theirs = wall_nanos_of(|| {
            for _ in 0..batches {
                raw.write_all(&bytes)
                    .and_then(|()| raw.sync_data())
                    .expect("the disk has room");
            }
        });
        if round > 0 {
            ratios.push(ours as f64 / theirs as f64);
            raws.push(theirs as f64 / 1e3 / LETTERS as f64);
            logs.push(ours as f64 / 1e3 / LETTERS as f64);
        }
    }
    drop(opened);
    remove_dir_all(&dir).ok();
    LogRow {
        ratio: Spread::of(ratios).unwrap_or_default(),
        raw_micros: Spread::of(raws).unwrap_or_default().median,
        log_micros: Spread::of(logs).unwrap_or_default().median,
    }
}

fn scratch() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("trunkline-bench-{}", std::process::id()));
    create_dir_all(&dir).expect("the directory for temporary files can be written");
    dir
}

fn letters() -> Vec<Letter> {
    let (mut letters, mut rng) = (full_box(), Rng::seeded(10));
    let mut make = || {
        letters
            .insert(draft(), START, WALL, &mut rng)
            .expect("it displaces")
            .id
    };
    let ids: Vec<_> = (0..LETTERS).map(|_| make()).collect();
    let found = ids.iter().filter_map(|id| letters.letter(*id));
    found.cloned().collect()
}

fn batch_bytes(letters: &[Letter]) -> usize {
    let mut bytes = Vec::new();
    letters
        .iter()
        .for_each(|letter| encode_letter(letter, &mut bytes));
    bytes.len() + 8 * letters.len()
}

fn append(log: &LetterLog, letters: &[Letter]) {
    let append = |letter| log.append_letter(letter).expect("the queue has room");
    let receipts: Vec<_> = letters.iter().map(append).collect();
    for receipt in receipts {
        receipt.wait().expect("the disk has room");
    }
}

impl LogRow {
    pub(crate) fn table(&self) -> String {
        let head = [
            "dead letter log",
            "cost",
            "min..max",
            "µs",
            "raw µs",
            "target",
            "holds",
        ];
        let holds = if self.ratio.median <= LOG_TARGET {
            "yes"
        } else {
            "NO"
        };
        let row = vec![
            "append 1,000 letters of 1 KiB and wait, per letter, to raw append + fdatasync".into(),
            times(self.ratio.median),
            format!("{}..{}", digits(self.ratio.min), digits(self.ratio.max)),
            digits(self.log_micros),
            digits(self.raw_micros),
            format!("≤ {LOG_TARGET}×"),
            holds.to_owned(),
        ];
        table(&head, &[row])
    }

    pub(crate) fn json(&self) -> Value {
        let Spread { median, min, max } = self.ratio;
        json!({
            "ratio_to_raw": { "median": median, "min": min, "max": max },
            "log_micros_per_letter": self.log_micros,
            "raw_micros_per_letter": self.raw_micros,
            "target": LOG_TARGET,
            "holds": median <= LOG_TARGET,
        })
    }
}
