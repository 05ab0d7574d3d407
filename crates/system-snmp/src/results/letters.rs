//! Dead letters of results: how a record becomes one, and how it goes back to its sink.
//!
//! A record that a sink refused is archived in a letter whose target is the sink. Sent again, it is
//! a new unit in the books for that one sink. It gives way to fresh results: a queue that is more
//! than half full takes none. It is not buried a second time, because its letter is still there;
//! one that nobody waits for any more is not written.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use trunkline_engine::letters::{Attempt, Draft, Payload, Reason};
use trunkline_runtime::office::{Office, Redriver};

use super::archive::{decode_record, encode_record};
use super::{Parcel, Results, Undertaker, lock};
use crate::poller::Record;

/// How long a sink may take to write a record that is sent again; well below a redrive's lease.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the fate of a redelivered record is told.
pub(super) struct Answer {
    told: SyncSender<Result<(), String>>,
    /// Gone when nobody waits any more.
    waiter: Weak<()>,
}

impl Answer {
    pub(super) fn tell(self, fate: Result<(), String>) {
        // There is room for one, and whoever does not wait any more needs none.
        self.told.try_send(fate).ok();
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.waiter.strong_count() > 0
    }
}

impl Results {
    /// Hands a record to one sink once more and waits until the sink has written it, up to
    /// `patience` after it has a place in the queue.
    ///
    /// # Errors
    /// Why it is not written, in one sentence: no such sink, a queue that is more than half full,
    /// what the sink says, or no news in time. In the last case it is not written later either,
    /// unless the sink is at it already.
    pub fn redeliver(&self, sink: &str, record: Record, patience: Duration) -> Result<(), String> {
        let line = self.lines.iter().find(|line| line.name == sink);
        let line = line.ok_or_else(|| format!("there is no sink {sink:?} now"))?;
        let lane = line.queue.lane();
        if lane.len() > lane.policy().items / 2 {
            return Err(format!(
                "the queue of sink {sink:?} is more than half full; try again later"
            ));
        }
        let (told, fate) = sync_channel(1);
        let waiter = Arc::new(());
        let answer = Answer {
            told,
            waiter: Arc::downgrade(&waiter),
        };
        let ticket = {
            let mut books = lock(&self.books);
            books.offering += 1;
            books.sheet.begin(1)
        };
        let parcel = Parcel {
            record: Arc::new(record),
            ticket,
            answer: Some(answer),
        };
        self.push(line, parcel);
        let fate = fate.recv_timeout(patience).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => {
                    format!("sink {sink:?} did not write it within {patience:?}")
                }
                RecvTimeoutError::Disconnected => format!("sink {sink:?} died with it"),
            })
        });
        drop(waiter);
        fate
    }
}

/// Puts the records that sinks of `[snmp.NAME]` refuse into the office, as letters of `snmp.NAME`.
pub fn undertaker(office: Arc<Office>, name: &str) -> Undertaker {
    let system = format!("snmp.{name}");
    Arc::new(move |sink, record, error| {
        let attempt = Attempt {
            at: office.clock().wall(),
            target: sink.to_owned(),
            error: error.to_string(),
            latency: None,
        };
        office.bury(Draft {
            parent: None,
            first_enqueued: record.at,
            system: system.clone(),
            target: sink.to_owned(),
            reason: Reason::Exhausted,
            attempts: vec![attempt],
            error: error.to_string(),
            payload: Payload::new(&encode_record(record), usize::MAX),
        })
    })
}

/// Sends letters of records back to their sinks, as long as these results live.
pub fn redriver(results: &Arc<Results>) -> Redriver {
    let results = Arc::downgrade(results);
    Arc::new(move |letter| {
        let results = results.upgrade().ok_or("the system has stopped")?;
        let record = decode_record(letter.payload.bytes())?;
        results.redeliver(&letter.target, record, PATIENCE)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use serde_json::{Value, json};
    use trunkline_engine::lane::{LanePolicy, OnFull};
    use trunkline_engine::letters::LetterPolicy;
    use trunkline_runtime::clock::Clock;
    use trunkline_runtime::operation::{Actor, Answer, Context, Door, Registry};
    use trunkline_wire_snmp::{OidBuf, Value as Snmp, encode_varbinds};

    use super::super::jsonl::line;
    use super::super::tests::record;
    use super::super::{JsonLines, Sink, SinkError};
    use super::*;

    /// A directory that goes away.
    struct TempDir(PathBuf);

    impl TempDir {
        fn new(name: &str) -> Self {
            let name = format!("trunkline-snmp-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn start(sink: impl Sink + 'static, undertaker: &Undertaker) -> Arc<Results> {
        let policy = LanePolicy {
            items: 4,
            on_full: OnFull::DropOldest,
            ..LanePolicy::default()
        };
        let sinks: Vec<(String, Box<dyn Sink>)> = vec![("file".into(), Box::new(sink))];
        Arc::new(Results::start(sinks, &policy, Clock::start(), undertaker).unwrap())
    }

    fn lines_to(path: &Path) -> JsonLines {
        JsonLines::new(Some(path.to_owned()))
    }

    fn nobody() -> Undertaker {
        Arc::new(|_, _, _| panic!("it must not be buried"))
    }

    fn with_values(target: &str) -> Record {
        let oid: OidBuf = "1.3.6.1.2.1.1.3.0".parse().unwrap();
        let page = encode_varbinds(&[(oid.as_oid(), Snmp::TimeTicks(77))]).unwrap();
        Record {
            pages: vec![page],
            ..record(target)
        }
    }

    fn redrive(office: &Arc<Office>) -> Value {
        let registry = Registry::new();
        let operations = office.operations().into_iter();
        let _held: Vec<_> = operations.map(|one| registry.register(one)).collect();
        let actor = Actor {
            uid: None,
            via: Door::Cli,
        };
        let input = json!({ "per_second": 1000.0 });
        let context = Context::new(actor);
        let call = registry.call("engine", "process", "letters-redrive", input, context);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        match runtime.block_on(call).unwrap() {
            Answer::One(report) => report,
            Answer::Stream(_) => panic!("a stream"),
        }
    }

    /// A sink that waits at a gate and then does as told.
    struct Gated {
        gate: Arc<Mutex<()>>,
        fate: Result<(), SinkError>,
        written: Arc<Mutex<Vec<Arc<str>>>>,
    }

    impl Sink for Gated {
        fn write(&mut self, batch: &[Arc<Record>]) -> Result<(), SinkError> {
            drop(lock(&self.gate));
            let targets = batch.iter().map(|record| record.target.clone());
            lock(&self.written).extend(targets);
            self.fate.clone()
        }
    }

    fn gated(fate: Result<(), SinkError>, undertaker: &Undertaker) -> (Arc<Results>, Gated) {
        let twin = Gated {
            gate: Arc::default(),
            fate,
            written: Arc::default(),
        };
        let sink = Gated {
            gate: twin.gate.clone(),
            fate: twin.fate.clone(),
            written: twin.written.clone(),
        };
        (start(sink, undertaker), twin)
    }

    fn broken() -> Result<(), SinkError> {
        Err(SinkError {
            what: "writing".into(),
            why: "it broke".into(),
        })
    }

    #[test]
    fn a_full_disk_makes_letters_and_a_mended_one_gets_the_same_lines() {
        let temp = TempDir::new("mended");
        let (office, _) = Office::open(
            &temp.0.join("letters"),
            LetterPolicy::default(),
            Clock::start(),
        )
        .unwrap();
        let results = start(
            lines_to(Path::new("/dev/full")),
            &undertaker(office.clone(), "core"),
        );
        let records = ["a", "b", "c"].map(with_values);
        records.iter().for_each(|one| results.offer(one.clone()));
        results.close(Duration::MAX);
        let balance = results.balance();
        assert_eq!((balance.dead_lettered, balance.imbalance()), (3, 0));
        assert_eq!(office.counts().letters.present, 3);

        // The disk is still full: the letters stay, and none is buried a second time.
        let still_full = start(lines_to(Path::new("/dev/full")), &nobody());
        office.add_redriver("snmp.core", redriver(&still_full));
        let report = redrive(&office);
        assert_eq!(
            (&report["failed"], &report["acked"]),
            (&json!(3), &json!(0))
        );
        still_full.close(Duration::MAX);
        let balance = still_full.balance();
        assert_eq!((balance.failed, balance.imbalance()), (3, 0));
        assert_eq!(office.counts().letters.present, 3);

        let file = temp.0.join("results.jsonl");
        let mended = start(lines_to(&file), &nobody());
        office.add_redriver("snmp.core", redriver(&mended));
        let report = redrive(&office);
        assert_eq!(report["acked"], 3, "{report}");
        let balance = mended.balance();
        assert_eq!((balance.delivered, balance.imbalance()), (3, 0));
        let written = fs::read_to_string(&file).unwrap();
        let mut written: Vec<Value> = written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        written.sort_by_key(|line| line["target"].to_string());
        assert_eq!(written, records.map(|one| line(&one)));
        assert_eq!(office.counts().letters.present, 0);

        // The redriver does not keep a system that has stopped.
        drop(mended);
        assert!(office.bury(draft_for("file")));
        let report = redrive(&office);
        assert_eq!(report["errors"], json!({ "the system has stopped": 1 }));
    }

    fn draft_for(sink: &str) -> Draft {
        Draft {
            parent: None,
            first_enqueued: record("t").at,
            system: "snmp.core".into(),
            target: sink.into(),
            reason: Reason::Exhausted,
            attempts: Vec::new(),
            error: "broken".into(),
            payload: Payload::new(&encode_record(&record("t")), usize::MAX),
        }
    }

    #[test]
    fn a_redelivery_that_fails_is_a_failed_unit_and_says_why() {
        let (results, _) = gated(broken(), &nobody());
        let error = results.redeliver("file", record("t"), PATIENCE);
        assert_eq!(error, Err("writing: it broke".into()));
        let error = results.redeliver("elsewhere", record("t"), PATIENCE);
        assert_eq!(error, Err("there is no sink \"elsewhere\" now".into()));
        results.close(Duration::MAX);
        let error = results
            .redeliver("file", record("t"), PATIENCE)
            .unwrap_err();
        assert!(error.contains("stopping"), "{error}");
        let balance = results.balance();
        assert_eq!((balance.failed, balance.dropped.total()), (1, 1));
        assert_eq!((balance.submitted, balance.imbalance()), (2, 0));
    }

    #[test]
    fn one_that_nobody_waits_for_is_not_written_and_fresh_results_come_first() {
        let (results, twin) = gated(Ok(()), &nobody());
        let held = lock(&twin.gate);
        results.offer(record("busy"));
        while results.views()[0].queue.items > 0 {
            std::thread::yield_now();
        }
        let short = Duration::from_millis(10);
        let late = results
            .redeliver("file", record("late"), short)
            .unwrap_err();
        assert!(late.contains("within 10ms"), "{late}");
        results.offer(record("fresh-1"));
        results.offer(record("fresh-2"));
        let crowded = results
            .redeliver("file", record("r"), PATIENCE)
            .unwrap_err();
        assert!(crowded.contains("half full"), "{crowded}");
        drop(held);
        results.close(Duration::MAX);
        let written: Vec<_> = lock(&twin.written)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(written, ["busy", "fresh-1", "fresh-2"]);
        let balance = results.balance();
        assert_eq!((balance.delivered, balance.cancelled), (3, 1));
        assert_eq!((balance.leaked, balance.imbalance()), (0, 0));
    }

    #[test]
    fn one_that_fresh_results_push_out_hears_of_it_at_once() {
        let (results, twin) = gated(Ok(()), &nobody());
        let held = lock(&twin.gate);
        results.offer(record("busy"));
        while results.views()[0].queue.items > 0 {
            std::thread::yield_now();
        }
        let waiting = results.clone();
        let waiter = std::thread::spawn(move || waiting.redeliver("file", record("old"), PATIENCE));
        while results.views()[0].queue.items == 0 {
            std::thread::yield_now();
        }
        (0..4).for_each(|_| results.offer(record("fresh")));
        let error = waiter.join().unwrap().unwrap_err();
        assert!(error.contains("full"), "{error}");
        drop(held);
        results.close(Duration::MAX);
        let balance = results.balance();
        assert_eq!((balance.delivered, balance.dropped.total()), (5, 1));
        assert_eq!(balance.imbalance(), 0);
    }
}
