//! The office of dead letters: its box and log together, through restarts and on a full disk.

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

mod operations;

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

fn small_log() -> LogPolicy {
    LogPolicy {
        segment_bytes: 4_096,
        bytes_max: 16_384,
        linger: Duration::ZERO,
        ..LogPolicy::default()
    }
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
