//! The office of dead letters: its box and log together, and its operations through a registry.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_engine::letters::{
    Attempt, Draft, Letter, LetterCounts, LetterPolicy, OnFull, Payload, Reason,
};
use trunkline_engine::stats::Exposition;
use trunkline_engine::time::WallTime;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::letters::LogPolicy;
use trunkline_runtime::office::{Office, OfficeError};
use trunkline_runtime::operation::{
    Actor, Answer, Context, Door, ErrorKind, OperationError, Registration, Registry,
};

use crate::temp::TempDir;

fn open(dir: &Path, policy: LetterPolicy) -> Arc<Office> {
    Office::open(dir, policy, Clock::start()).unwrap().0
}

fn draft(target: &str, payload: &[u8]) -> Draft {
    Draft {
        parent: None,
        first_enqueued: WallTime::from_unix_millis(1_000),
        system: "snmp.core".into(),
        target: target.into(),
        reason: Reason::Exhausted,
        attempts: vec![Attempt {
            at: WallTime::from_unix_millis(2_000),
            target: target.into(),
            error: "no space left".into(),
            latency: Some(Duration::from_millis(3)),
        }],
        error: "no space left".into(),
        payload: Payload::new(payload, 1 << 20),
    }
}

fn check_books(office: &Office) -> LetterCounts {
    let counts = office.counts().letters;
    let gone = counts.redriven + counts.discarded + counts.expired + counts.displaced;
    let came = counts.added + counts.restored;
    assert_eq!(came, counts.present + gone, "{counts:?}");
    counts
}

/// The office's operations as a person calls them.
struct Counter {
    registry: Registry,
    runtime: tokio::runtime::Runtime,
    _registrations: Vec<Registration>,
}

impl Counter {
    fn new(office: &Arc<Office>) -> Self {
        let registry = Registry::new();
        let operations = office.operations().into_iter();
        let registrations = operations.map(|one| registry.register(one)).collect();
        Self {
            registry,
            runtime: tokio::runtime::Runtime::new().unwrap(),
            _registrations: registrations,
        }
    }

    fn call(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        self.call_within(operation, input, None)
    }

    fn call_within(
        &self,
        operation: &str,
        input: Value,
        timeout: Option<Duration>,
    ) -> Result<Value, OperationError> {
        let mut context = Context::new(Actor {
            uid: Some(1_000),
            via: Door::Socket,
        });
        if let Some(timeout) = timeout {
            context = context.timeout(timeout);
        }
        let call = self
            .registry
            .call("engine", "process", operation, input, context);
        match self.runtime.block_on(call)? {
            Answer::One(value) => Ok(value),
            Answer::Stream(_) => panic!("a stream"),
        }
    }

    fn ids(&self) -> Vec<String> {
        let list = self.call("letters", json!({})).unwrap();
        list["letters"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }
}

/// A receiver that keeps what it is sent and answers as told.
fn receiver(
    office: &Office,
    answer: impl Fn(&Letter) -> Result<(), String> + Send + Sync + 'static,
) -> Arc<Mutex<Vec<String>>> {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let notes = seen.clone();
    let redriver = move |letter: &Letter| {
        let content = String::from_utf8_lossy(letter.payload.bytes()).into_owned();
        notes.lock().unwrap().push(content);
        answer(letter)
    };
    office.add_redriver("snmp.core", Arc::new(redriver));
    seen
}

/// The targets of all letters, the oldest first.
fn targets(counter: &Counter) -> String {
    let list = counter.call("letters", json!({})).unwrap();
    let lines = list["letters"].as_object().unwrap().values();
    lines.map(|line| line["target"].as_str().unwrap()).collect()
}

/// Copies a directory as a crash at this moment would leave it.
fn crash_image(dir: &Path) -> TempDir {
    let image = TempDir::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), image.path().join(entry.file_name())).unwrap();
    }
    image
}

#[test]
fn what_was_buried_survives_a_kill_and_a_restart() {
    let temp = TempDir::new();
    let dir = temp.path().join("letters");
    let office = open(&dir, LetterPolicy::default());
    for target in ["a", "b", "c"] {
        assert!(office.bury(draft(target, target.as_bytes())));
    }
    let before = Counter::new(&office).ids();
    // Nothing has been closed, dropped or flushed.
    let killed = crash_image(&dir);
    let survivor = open(killed.path(), LetterPolicy::default());
    assert_eq!(Counter::new(&survivor).ids(), before);
    drop(office);
    let office = open(&dir, LetterPolicy::default());
    assert_eq!(Counter::new(&office).ids(), before);
    assert_eq!(check_books(&office).restored, 3);
    assert!(office.bury(draft("d", b"")), "it goes on");
}

#[test]
fn a_full_box_lets_the_oldest_go_or_refuses_and_a_restart_agrees() {
    for (on_full, accepted, present) in [
        (OnFull::DropOldest, true, "bc"),
        (OnFull::Reject, false, "ab"),
    ] {
        let temp = TempDir::new();
        let policy = LetterPolicy {
            count_max: 2,
            on_full,
            ..LetterPolicy::default()
        };
        let office = open(temp.path(), policy);
        assert!(office.bury(draft("a", b"")) && office.bury(draft("b", b"")));
        assert_eq!(office.bury(draft("c", b"")), accepted);
        let counts = check_books(&office);
        let ends = (counts.present, counts.displaced, counts.refused);
        assert_eq!(ends, (2, u64::from(accepted), u64::from(!accepted)));
        drop(office);
        let wide = LetterPolicy::default();
        let office = open(temp.path(), wide);
        let targets = targets(&Counter::new(&office));
        assert_eq!(targets, present, "the log agrees with the box");
    }
}

fn small_log() -> LogPolicy {
    LogPolicy {
        segment_bytes: 4_096,
        bytes_max: 16_384,
        linger: Duration::ZERO,
        ..LogPolicy::default()
    }
}

#[test]
fn a_full_disk_refuses_counts_and_leaves_everything_as_it_was() {
    let temp = TempDir::new();
    // The box has room for more than the disk does.
    let policy = LetterPolicy {
        count_max: 12,
        ..LetterPolicy::default()
    };
    let clock = Clock::start();
    let (office, _) = Office::open_with(temp.path(), policy, small_log(), clock).unwrap();
    let mut refused = 0;
    for n in 0..40_u64 {
        let is_safe = office.bury(draft(&format!("t{n}"), &[b'x'; 2_000]));
        refused += u64::from(!is_safe);
        let counts = check_books(&office);
        assert_eq!((counts.added, counts.refused), (n + 1 - refused, refused));
    }
    assert!(refused > 0, "{office:?}");
    let counter = Counter::new(&office);
    let before = counter.ids();
    assert_eq!(before.len() as u64, office.counts().letters.present);
    let image = crash_image(temp.path());
    let (after, _) = Office::open_with(image.path(), policy, small_log(), clock).unwrap();
    assert_eq!(
        Counter::new(&after).ids(),
        before,
        "what was refused is nowhere"
    );

    let mut scrape = Exposition::new();
    office.export(&mut scrape);
    let text = scrape.open_metrics();
    let line = format!("trunkline_letters_refused_total{{reason=\"log-full\"}} {refused}");
    assert!(text.contains(&line) && scrape.faults().is_empty(), "{text}");
    let purged = counter
        .call("letters-purge", json!({ "all": true }))
        .unwrap();
    assert_eq!(purged["purged"], before.len());
    assert!(office.bury(draft("room", &[b'x'; 2_000])), "{office:?}");
    check_books(&office);
}

#[test]
fn letters_that_made_room_for_one_that_the_disk_refused_come_back() {
    let temp = TempDir::new();
    let policy = LetterPolicy {
        count_max: 3,
        ..LetterPolicy::default()
    };
    let clock = Clock::start();
    let (office, _) = Office::open_with(temp.path(), policy, small_log(), clock).unwrap();
    for target in ["a", "b", "c"] {
        assert!(office.bury(draft(target, b"")));
    }
    let before = Counter::new(&office).ids();
    assert!(!office.bury(draft("huge", &[b'x'; 20_000])));
    assert_eq!(Counter::new(&office).ids(), before);
    let counts = check_books(&office);
    assert_eq!(
        (counts.displaced, counts.refused, counts.present),
        (0, 1, 3)
    );
    drop(office);
    let (office, _) = Office::open_with(temp.path(), policy, small_log(), clock).unwrap();
    assert_eq!(Counter::new(&office).ids(), before);
}

#[tokio::test]
async fn an_office_with_tighter_bounds_opens_in_a_task_and_lets_the_oldest_go() {
    let temp = TempDir::new();
    let dir = temp.path().to_owned();
    let fill = std::thread::spawn(move || {
        let office = open(&dir, LetterPolicy::default());
        (0..5).all(|_| office.bury(draft("a", b"")))
    });
    assert!(fill.join().unwrap());
    let tight = LetterPolicy {
        count_max: 2,
        ..LetterPolicy::default()
    };
    let office = open(temp.path(), tight);
    let counts = check_books(&office);
    assert_eq!((counts.present, counts.displaced), (2, 3));
    drop(office);
    let counts = open(temp.path(), tight).counts().letters;
    assert_eq!(
        (counts.restored, counts.displaced),
        (2, 0),
        "their ends were written"
    );
}

#[test]
fn a_letter_under_way_does_not_give_way_and_a_restart_remembers_that() {
    let temp = TempDir::new();
    let policy = LetterPolicy {
        count_max: 2,
        ..LetterPolicy::default()
    };
    let office = open(temp.path(), policy);
    assert!(office.bury(draft("a", b"")) && office.bury(draft("b", b"")));
    let weak = Arc::downgrade(&office);
    receiver(&office, move |_| {
        let office = weak.upgrade().unwrap();
        assert!(office.bury(draft("c", b"")));
        Err("no".into())
    });
    let counter = Counter::new(&office);
    let input = json!({ "target": "a" });
    let report = counter.call("letters-redrive", input).unwrap();
    assert_eq!(report["errors"], json!({ "no": 1 }));
    let before = targets(&counter);
    assert_eq!(before, "ac");
    drop((counter, office));
    let office = open(temp.path(), policy);
    assert_eq!(targets(&Counter::new(&office)), before);
    let counts = check_books(&office);
    assert_eq!((counts.restored, counts.displaced), (2, 0));
}

#[test]
fn letters_that_come_and_go_for_long_leave_a_small_log() {
    let temp = TempDir::new();
    let clock = Clock::start();
    let policy = LetterPolicy {
        count_max: 4,
        ..LetterPolicy::default()
    };
    let (office, _) = Office::open_with(temp.path(), policy, small_log(), clock).unwrap();
    for n in 0..300 {
        assert!(
            office.bury(draft(&format!("t{n}"), &[b'y'; 500])),
            "{n}: {office:?}"
        );
        if n % 10 == 0 {
            office.expire();
        }
    }
    let counts = office.counts();
    assert!(
        counts.log.bytes <= 16_384 + 4_096 && counts.unwritten == 0,
        "{counts:?}"
    );
    assert_eq!(check_books(&office).displaced, 296);
}

#[test]
fn a_letter_leaves_when_its_receiver_acknowledged_it_and_stays_when_not() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    receiver(&office, |letter| match &*letter.target {
        "bad" => Err("still no space".into()),
        _ => Ok(()),
    });
    for target in ["good", "bad"] {
        assert!(office.bury(draft(target, target.as_bytes())));
    }
    let counter = Counter::new(&office);
    let input = json!({ "per_second": 1000.0, "in_flight": 2 });
    let report = counter.call("letters-redrive", input).unwrap();
    assert_eq!(
        (
            &report["matched"],
            &report["sent"],
            &report["acked"],
            &report["failed"]
        ),
        (&json!(2), &json!(2), &json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(report["errors"], json!({ "still no space": 1 }));
    assert_eq!(check_books(&office).redriven, 1);
    let ids = counter.ids();
    assert_eq!(ids.len(), 1);
    let letter = counter.call("letter", json!({ "id": ids[0] })).unwrap();
    assert_eq!(letter["last_error"], "still no space");
    let trail: Vec<_> = letter["audit"].as_array().unwrap().iter().collect();
    let events: Vec<_> = trail
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        events,
        ["created", "redrive-started", "redrive-failed", "inspected"]
    );
    assert_eq!(trail[1]["actor"], "uid 1000 (socket)");
}

#[test]
fn what_was_sent_in_vain_three_times_waits_for_a_person() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    let seen = receiver(&office, |_| Err("still no space".into()));
    assert!(office.bury(draft("bad", b"")));
    let counter = Counter::new(&office);
    let (ids, input) = (counter.ids(), json!({ "per_second": 1000.0 }));
    for failed in [1, 1, 1, 0] {
        let report = counter.call("letters-redrive", input.clone()).unwrap();
        assert_eq!(report["failed"], failed, "{report}");
        let left_out = if failed == 0 {
            json!({ "quarantined": 1 })
        } else {
            json!({})
        };
        assert_eq!(report["left_out"], left_out);
    }
    assert_eq!(seen.lock().unwrap().len(), 3);
    drop((counter, office));
    let office = open(temp.path(), LetterPolicy::default());
    let counter = Counter::new(&office);
    let list = counter
        .call("letters", json!({ "state": "quarantined" }))
        .unwrap();
    assert_eq!(list["total"], 1, "also after a restart");
    receiver(&office, |_| Ok(()));
    let released = counter
        .call("letters-release", json!({ "ids": ids }))
        .unwrap();
    assert_eq!(
        (&released["released"], &released["unwritten"]),
        (&json!(1), &json!(0))
    );
    let report = counter.call("letters-redrive", input).unwrap();
    assert_eq!(
        (&report["acked"], &report["left_out"]),
        (&json!(1), &json!({}))
    );
    assert_eq!(counter.ids().len(), 0);
    check_books(&office);
    drop((counter, office));
    let office = open(temp.path(), LetterPolicy::default());
    assert_eq!(office.counts().letters.present, 0);
}

#[test]
fn a_dry_run_sends_nothing_and_changes_nothing() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    let seen = receiver(&office, |_| Ok(()));
    assert!(office.bury(draft("a", b"1")) && office.bury(draft("b", b"2")));
    let strange = Draft {
        system: "tap.main".into(),
        ..draft("c", b"3")
    };
    let cut = Draft {
        payload: Payload::new(b"cut off", 3),
        ..draft("d", b"")
    };
    assert!(office.bury(strange) && office.bury(cut));
    let (before, counter) = (office.counts(), Counter::new(&office));
    let ids = counter.ids();
    let report = counter
        .call("letters-redrive", json!({ "dry_run": true }))
        .unwrap();
    assert_eq!(
        (&report["matched"], &report["would_send"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(report["letters"], json!(ids[..2]));
    assert_eq!(
        report["left_out"],
        json!({ "no-way-back": 1, "not-whole": 1 })
    );
    assert_eq!((&report["sent"], office.counts()), (&json!(0), before));
    assert_eq!(seen.lock().unwrap().len(), 0);
    let report = counter
        .call("letters-redrive", json!({ "target": "c" }))
        .unwrap();
    assert_eq!(
        (&report["matched"], &report["sent"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn the_rate_and_the_letters_under_way_are_limited() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    let (busy, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, most) = (busy.clone(), peak.clone());
    receiver(&office, move |_| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    for _ in 0..12 {
        assert!(office.bury(draft("a", b"")));
    }
    let counter = Counter::new(&office);
    let input = json!({ "per_second": 1e6, "in_flight": 3 });
    let report = counter.call("letters-redrive", input).unwrap();
    assert_eq!(
        (&report["acked"], peak.load(Ordering::SeqCst)),
        (&json!(12), 3)
    );
    for _ in 0..5 {
        assert!(office.bury(draft("a", b"")));
    }
    let start = Instant::now();
    let report = counter
        .call("letters-redrive", json!({ "per_second": 20.0 }))
        .unwrap();
    assert_eq!(report["acked"], 5);
    // The first goes at once, and up to 50 ms may be caught up.
    assert!(
        start.elapsed() >= Duration::from_millis(150),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_stuck_receiver_costs_the_deadline_and_no_more() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    let (open_gate, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    receiver(&office, move |_| {
        gate.lock().unwrap().recv().ok();
        Ok(())
    });
    for _ in 0..3 {
        assert!(office.bury(draft("a", b"")));
    }
    let counter = Counter::new(&office);
    let input = json!({ "per_second": 1000.0, "in_flight": 1 });
    let timeout = Some(Duration::from_millis(400));
    let report = counter
        .call_within("letters-redrive", input, timeout)
        .unwrap();
    assert_eq!(
        (
            &report["on_their_way"],
            &report["not_reached"],
            &report["acked"]
        ),
        (&json!(1), &json!(2), &json!(0)),
        "{report}"
    );
    let purged = counter
        .call("letters-purge", json!({ "all": true }))
        .unwrap();
    assert_eq!((&purged["purged"], &purged["busy"]), (&json!(2), &json!(1)));
    drop(open_gate);
    let patience = Instant::now() + Duration::from_secs(10);
    while office.counts().letters.redriven == 0 {
        assert!(
            Instant::now() < patience,
            "its late end is noted: {office:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(check_books(&office).present, 0);
}

#[test]
fn a_receiver_that_panics_fails_its_letter_only() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    receiver(&office, |letter| match &*letter.target {
        "poison" => panic!("poisoned"),
        _ => Ok(()),
    });
    assert!(office.bury(draft("poison", b"")) && office.bury(draft("fine", b"")));
    let counter = Counter::new(&office);
    let report = counter
        .call("letters-redrive", json!({ "per_second": 1e3 }))
        .unwrap();
    assert_eq!(
        (&report["acked"], &report["failed"]),
        (&json!(1), &json!(1))
    );
    check_books(&office);
}

#[test]
fn lists_are_filtered_and_come_in_pages() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    for n in 0..5 {
        let mut draft = draft(&format!("t{n}"), b"");
        if n % 2 == 1 {
            (draft.reason, draft.system) = (Reason::Rejected, "i3.gateway".into());
        }
        assert!(office.bury(draft));
    }
    let counter = Counter::new(&office);
    let (mut after, mut ids) = (Value::Null, Vec::new());
    loop {
        let input = json!({ "limit": 2, "after": after });
        let page = counter.call("letters", input).unwrap();
        assert_eq!(page["total"], 5);
        let letters = page["letters"].as_object().unwrap();
        assert!(letters.len() <= 2);
        ids.extend(letters.keys().cloned());
        match &page["next"] {
            Value::Null => break,
            next => after = next.clone(),
        }
    }
    assert_eq!(ids, counter.ids());
    let cases = [
        (json!({ "system": "snmp" }), 3),
        (json!({ "system": "snmp.core", "target": "t2" }), 1),
        (json!({ "reason": "rejected" }), 2),
        (json!({ "state": "waiting" }), 5),
        (json!({ "state": "quarantined" }), 0),
        (json!({ "error": "no space" }), 5),
        (json!({ "since_ms": u64::MAX }), 0),
        (json!({ "before_ms": 5 }), 0),
        (json!({ "ids": [ids[3]] }), 1),
    ];
    for (input, total) in cases {
        let page = counter.call("letters", input.clone()).unwrap();
        assert_eq!(page["total"], total, "{input}");
    }
    let bad = [
        json!({ "reason": "tired" }),
        json!({ "state": "dead" }),
        json!({ "ids": ["x"] }),
        json!({ "systm": "snmp" }),
    ];
    for input in bad {
        let error = counter.call("letters", input.clone()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadInput, "{input}");
    }
}

#[test]
fn throwing_away_needs_a_condition_and_is_for_good() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    for target in ["a", "b", "b"] {
        assert!(office.bury(draft(target, b"")));
    }
    let counter = Counter::new(&office);
    for input in [
        json!({}),
        json!({ "ids": [] }),
        json!({ "all": true, "target": "b" }),
    ] {
        let error = counter.call("letters-purge", input).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadInput);
    }
    let purged = counter
        .call("letters-purge", json!({ "target": "b" }))
        .unwrap();
    assert_eq!(purged, json!({ "purged": 2, "busy": 0, "unwritten": 0 }));
    let purged = counter
        .call("letters-purge", json!({ "target": "b" }))
        .unwrap();
    assert_eq!(
        purged["purged"], 0,
        "a condition that nothing fits means nothing, not all"
    );
    let left = crash_image(temp.path());
    let after = open(left.path(), LetterPolicy::default());
    assert_eq!(Counter::new(&after).ids(), counter.ids());
    assert_eq!(check_books(&office).discarded, 2);
}

#[test]
fn a_letter_shows_everything_and_an_unknown_one_is_not_found() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    assert!(office.bury(draft("a", b"{\"line\": 1}")));
    let counter = Counter::new(&office);
    let id = counter.ids().remove(0);
    let letter = counter
        .call("letter", json!({ "id": id, "payload_bytes": 7 }))
        .unwrap();
    assert_eq!(
        (&letter["payload"]["text"], &letter["payload"]["bytes"]),
        (&json!("{\"line\""), &json!(11))
    );
    assert_eq!(
        letter["attempts"],
        json!([{ "at_ms": 2000, "target": "a", "error": "no space left", "latency_us": 3000 }])
    );
    assert_eq!(letter["first_enqueued_ms"], 1_000);
    let unknown = json!({ "id": "00000000000000000000000001" });
    let error = counter.call("letter", unknown).unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::NotFound, "T0610"));
}

#[test]
fn what_is_too_old_leaves_and_does_not_come_back() {
    let temp = TempDir::new();
    let policy = LetterPolicy {
        age_max: Duration::from_millis(50),
        ..LetterPolicy::default()
    };
    let office = open(temp.path(), policy);
    assert!(office.bury(draft("a", b"")));
    assert_eq!(office.expire(), 0);
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!((office.expire(), check_books(&office).expired), (1, 1));
    drop(office);
    let office = open(temp.path(), LetterPolicy::default());
    assert_eq!(office.counts().letters.present, 0);
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let temp = TempDir::new();
    let policy = LetterPolicy {
        count_max: 0,
        ..LetterPolicy::default()
    };
    let refused = Office::open(temp.path(), policy, Clock::start());
    assert!(matches!(refused, Err(OfficeError::Policy(_))));
    let file = temp.path().join("file");
    fs::write(&file, b"").unwrap();
    let refused = Office::open(&file.join("dir"), LetterPolicy::default(), Clock::start());
    assert!(matches!(refused, Err(OfficeError::Directory { .. })));
    let office = open(&temp.path().join("good"), LetterPolicy::default());
    let counter = Counter::new(&office);
    for input in [
        json!({ "per_second": 0.0 }),
        json!({ "in_flight": 0 }),
        json!({ "in_flight": 65 }),
    ] {
        let error = counter.call("letters-redrive", input).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadInput);
    }
}
