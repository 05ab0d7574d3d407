//! The dead letter log on a real disk, with the engine's box in front of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use trunkline_engine::letters::{
    Draft, Filter, Letter, LetterBox, LetterId, LetterPolicy, Payload, Reason, Record,
};
use trunkline_engine::rng::Rng;
use trunkline_engine::time::{Time, WallTime};
use trunkline_runtime::letters::{AppendError, LetterLog, LogPolicy, Opened};

use crate::temp::TempDir;

const WALL: WallTime = WallTime::from_unix_millis(1_700_000_000_000);

/// A box with its log, as a system has them.
struct Post {
    letters: LetterBox,
    rng: Rng,
}

impl Post {
    fn new() -> Self {
        let letters = LetterBox::new(LetterPolicy::default()).unwrap();
        let rng = Rng::seeded(5);
        Self { letters, rng }
    }

    fn bury(&mut self, payload: &[u8]) -> Letter {
        let draft = Draft {
            parent: None,
            first_enqueued: WALL,
            system: "snmp.core".into(),
            target: "192.0.2.1".into(),
            reason: Reason::ALL[0],
            attempts: Vec::new(),
            error: "no answer".into(),
            payload: Payload::new(payload, 1 << 20),
        };
        let inserted = self.letters.insert(draft, Time::ZERO, WALL, &mut self.rng);
        self.letters.letter(inserted.unwrap().id).unwrap().clone()
    }

    /// What a log must hold after these records.
    fn restored(records: &[Record]) -> Vec<LetterId> {
        let mut post = Self::new();
        for record in records {
            post.letters.restore(record.clone(), Time::ZERO, WALL);
        }
        let page = post.letters.list(&Filter::default(), None, 1_000);
        page.letters.iter().map(|listed| listed.letter.id).collect()
    }
}

fn open(dir: &Path, policy: &LogPolicy) -> Opened {
    LetterLog::open(dir, policy.clone()).unwrap()
}

fn small_segments() -> LogPolicy {
    LogPolicy {
        segment_bytes: 4_096,
        ..LogPolicy::default()
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let (temp, mut post) = (TempDir::new(), Post::new());
    let policy = LogPolicy::default();
    let Opened {
        log,
        records,
        recovery,
    } = open(temp.path(), &policy);
    assert_eq!((records.len(), recovery.segments), (0, 0));
    let (kept, gone) = (post.bury(b"kept"), post.bury(b"gone"));
    for letter in [&kept, &gone] {
        log.append_letter(letter).unwrap().wait().unwrap();
    }
    let looked = post.letters.inspect(kept.id, "uid 0", WALL).unwrap();
    log.append_event(looked.id, &looked.event)
        .unwrap()
        .wait()
        .unwrap();
    let started = post
        .letters
        .start_redrive(gone.id, "uid 0", Time::ZERO, WALL)
        .unwrap();
    let done = post.letters.mark_redriven(gone.id, "uid 0", WALL).unwrap();
    // The last two are only dropped with the log, which writes them first.
    let late = (
        log.append_event(started.id, &started.event).unwrap(),
        log.append_event(done.id, &done.event).unwrap(),
    );
    drop(log);
    assert_eq!((late.0.wait(), late.1.wait()), (Ok(()), Ok(())));

    let Opened {
        records, recovery, ..
    } = open(temp.path(), &policy);
    assert_eq!((recovery.records, recovery.bytes_cut()), (5, 0));
    assert_eq!(records[0], Record::Letter(Box::new(kept.clone())));
    assert_eq!(Post::restored(&records), [kept.id]);
}

#[test]
fn cut_or_spoilt_at_any_byte_every_whole_record_before_it_comes_back() {
    let (temp, mut post) = (TempDir::new(), Post::new());
    let policy = LogPolicy::default();
    let Opened { log, .. } = open(temp.path(), &policy);
    let mut ends = Vec::new();
    for payload in [b"one".as_slice(), b""] {
        log.append_letter(&post.bury(payload))
            .unwrap()
            .wait()
            .unwrap();
        ends.push(fs::metadata(&segments(temp.path())[0]).unwrap().len() as usize);
    }
    drop(log);
    let name = segments(temp.path())[0].file_name().unwrap().to_owned();
    let whole = fs::read(temp.path().join(&name)).unwrap();
    let crash = TempDir::new();
    let path = crash.path().join(&name);
    for at in 0..whole.len() {
        let before = ends.iter().filter(|end| **end <= at).count();
        let mut spoilt = whole.clone();
        spoilt[at] ^= 0x40;
        let after = if at < 16 { 0 } else { before };
        // Frames alone are spoilt at every byte in the unit tests; here every sixth will do.
        let spoilt = (at % 6 == 0).then_some((spoilt.as_slice(), after));
        for (bytes, expected) in std::iter::once((&whole[..at], before)).chain(spoilt) {
            fs::write(&path, bytes).unwrap();
            let Opened {
                log,
                records,
                recovery,
            } = open(crash.path(), &policy);
            assert_eq!(records.len(), expected, "at byte {at}");
            let left = match expected {
                0 => 0,
                n => ends[n - 1],
            };
            let cut = bytes.len() - left;
            let header_only = left == 0 && bytes.len() == 16;
            let told = if left == 0 && cut > 16 && at >= 16 {
                cut - 16
            } else {
                cut
            };
            assert!(
                header_only || recovery.bytes_cut() == told as u64,
                "{at}: {recovery:?}"
            );
            drop(log);
            fs::remove_file(&path).ok();
        }
    }
}

#[test]
fn a_cut_log_goes_on() {
    let (temp, mut post) = (TempDir::new(), Post::new());
    let policy = LogPolicy::default();
    let (first, second) = (post.bury(b"first"), post.bury(b"second"));
    let Opened { log, .. } = open(temp.path(), &policy);
    log.append_letter(&first).unwrap().wait().unwrap();
    drop(log);
    let path = &segments(temp.path())[0];
    let mut bytes = fs::read(path).unwrap();
    bytes.extend(b"torn");
    fs::write(path, bytes).unwrap();
    let Opened { log, recovery, .. } = open(temp.path(), &policy);
    assert_eq!((recovery.bytes_cut(), recovery.cuts.len()), (4, 1));
    log.append_letter(&second).unwrap().wait().unwrap();
    drop(log);
    let Opened {
        records, recovery, ..
    } = open(temp.path(), &policy);
    assert_eq!(
        (Post::restored(&records), recovery.bytes_cut()),
        (vec![first.id, second.id], 0)
    );
}

#[test]
fn many_appends_share_a_sync() {
    let (temp, mut post) = (TempDir::new(), Post::new());
    let Opened { log, .. } = open(temp.path(), &LogPolicy::default());
    let letters: Vec<Letter> = (0..500).map(|_| post.bury(&[7; 100])).collect();
    let receipts: Vec<_> = letters
        .iter()
        .map(|l| log.append_letter(l).unwrap())
        .collect();
    for receipt in receipts {
        receipt.wait().unwrap();
    }
    let counts = log.counts();
    assert_eq!((counts.appended, counts.failed), (500, 0));
    assert!(counts.batches < 100, "{counts:?}");
}

#[test]
fn segments_go_with_their_letters_the_oldest_first() {
    let (temp, mut post) = (TempDir::new(), Post::new());
    let Opened { log, .. } = open(temp.path(), &small_segments());
    let letters: Vec<Letter> = (0..20).map(|_| post.bury(&[1; 1_000])).collect();
    for letter in &letters {
        log.append_letter(letter).unwrap().wait().unwrap();
    }
    let before = log.counts().segments;
    assert!(before >= 5, "{before}");
    let discard = |post: &mut Post| {
        let gone = post.letters.purge(&Filter::default(), "uid 0", WALL);
        assert_eq!(gone.len(), 20);
        gone
    };
    let changes = discard(&mut post);
    // All but the very first: the oldest segment stays, and so do all after it.
    for change in &changes[1..] {
        log.append_event(change.id, &change.event)
            .unwrap()
            .wait()
            .unwrap();
    }
    assert!(log.counts().segments >= before);
    let last = &changes[0];
    log.append_event(last.id, &last.event)
        .unwrap()
        .wait()
        .unwrap();
    assert!(log.counts().segments <= 2, "{:?}", log.counts());
    drop(log);
    let Opened { records, .. } = open(temp.path(), &small_segments());
    assert_eq!(Post::restored(&records), []);
}

#[test]
fn a_full_log_refuses_and_what_makes_room_is_let_in() {
    let (temp, mut post) = (TempDir::new(), Post::new());
    let policy = LogPolicy {
        bytes_max: 20_000,
        ..small_segments()
    };
    let Opened { log, .. } = open(temp.path(), &policy);
    let oldest = post.bury(&[1; 1_000]);
    log.append_letter(&oldest).unwrap().wait().unwrap();
    assert_eq!(log.pinned().unwrap().wait(), [], "there is room");
    let refused = loop {
        let last = post.bury(&[2; 1_000]);
        if let Err(error) = log.append_letter(&last).unwrap().wait() {
            break error;
        }
        // All but the oldest letter leave at once, yet it pins every segment.
        let redrive = post
            .letters
            .start_redrive(last.id, "t", Time::ZERO, WALL)
            .unwrap();
        let gone = post.letters.mark_redriven(redrive.id, "t", WALL).unwrap();
        log.append_event(gone.id, &gone.event)
            .unwrap()
            .wait()
            .unwrap();
    };
    assert_eq!(refused, AppendError::Full { bytes_max: 20_000 });
    let full = log.counts().bytes;
    let pinned = log.pinned().unwrap().wait();
    assert_eq!(pinned, [oldest.id]);
    log.append_letter(&oldest).unwrap().wait().unwrap();
    assert!(log.counts().bytes < full / 2, "{:?}", log.counts());
    log.append_letter(&post.bury(b"room again"))
        .unwrap()
        .wait()
        .unwrap();
    drop(log);
    let Opened { records, .. } = open(temp.path(), &policy);
    assert_eq!(Post::restored(&records).len(), 2);
    assert_eq!(Post::restored(&records)[0], oldest.id);
}

#[tokio::test]
async fn a_receipt_can_be_awaited_and_the_queue_is_bounded() {
    let (temp, mut post) = (TempDir::new(), Post::new());
    let policy = LogPolicy {
        queue_bytes: 10_000,
        linger: Duration::from_millis(50),
        ..LogPolicy::default()
    };
    let Opened { log, .. } = open(temp.path(), &policy);
    log.append_letter(&post.bury(b"x")).unwrap().await.unwrap();
    let mut receipts = Vec::new();
    let refused = loop {
        match log.append_letter(&post.bury(&[0; 9_000])) {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => break error,
        }
        assert!(receipts.len() < 100_000, "never full");
    };
    assert_eq!(refused, AppendError::QueueFull);
    for receipt in receipts {
        receipt.await.unwrap();
    }
}
