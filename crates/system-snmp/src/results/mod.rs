//! Where results go: each sink has a queue and a thread of its own, and one line in the books.
//!
//! A unit is one record for one sink. It ends delivered when the sink has written it, dropped when
//! the sink's queue had no room, dead-lettered when the sink failed and the letter log took it,
//! failed when that failed too, cancelled when it was sent again and nobody waits for it any more.
//! A sink that is slow or broken delays only itself.

mod archive;
mod jsonl;
mod letters;
mod samples;

pub use archive::{decode_record, encode_record};
pub use jsonl::{JsonLines, value_json};
pub use letters::{redriver, undertaker};
pub use samples::Samples;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use trunkline_engine::lane::{Crossing, LanePolicy, LaneStats, Pushed, Refusal};
use trunkline_engine::ledger::{Balance, DropReason, Outcome, Sheet, Ticket};
use trunkline_runtime::clock::Clock;
use trunkline_runtime::queue::Queue;

use self::letters::Answer;
use crate::poller::Record;

/// Something that takes records.
pub trait Sink: Send {
    /// Takes a batch; when it returns, the records are where they belong.
    ///
    /// # Errors
    /// Why none or not all of them are there; they are dead-lettered then, and may be there twice
    /// when they are redriven.
    fn write(&mut self, batch: &[Arc<Record>]) -> Result<(), SinkError>;
}

/// Why a sink did not take a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct SinkError {
    /// What was tried.
    pub what: String,
    /// What went wrong, and what to do.
    pub why: String,
}

/// Takes records that a sink refused: true when they are safe.
pub type Undertaker = Arc<dyn Fn(&str, &Record, &SinkError) -> bool + Send + Sync>;

struct Parcel {
    record: Arc<Record>,
    ticket: Ticket,
    /// Who waits for it: it is a dead letter that is sent again.
    answer: Option<Answer>,
}

struct Line {
    name: String,
    queue: Arc<Queue<Parcel>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    errors: Arc<AtomicU64>,
    last_error: Arc<Mutex<Option<SinkError>>>,
    failing: Arc<AtomicBool>,
    pressures: AtomicU64,
}

impl Line {
    /// One event per crossing of the high-water mark.
    fn note_pressure(&self, crossing: Option<Crossing>) {
        if crossing == Some(Crossing::Reached) {
            self.pressures.fetch_add(1, Ordering::Relaxed);
            let sink = self.name.as_str();
            tracing::warn!(sink, "the sink's queue has reached its high-water mark");
        }
    }
}

/// The sheet, and the records that are in nobody's queue; one lock, so that the books balance
/// whenever they are read.
#[derive(Default)]
struct Books {
    sheet: Sheet,
    offering: u64,
    writing: u64,
}

/// The sinks of a system.
pub struct Results {
    lines: Vec<Line>,
    books: Arc<Mutex<Books>>,
    stop: Arc<AtomicBool>,
    /// Set when there is no time left to write what is queued.
    abort: Arc<AtomicBool>,
    clock: Clock,
}

impl std::fmt::Debug for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.lines.iter().map(|line| &line.name))
            .finish()
    }
}

/// One sink's figures.
#[derive(Clone, Debug)]
pub struct SinkView {
    /// Its name.
    pub name: String,
    /// Its queue.
    pub queue: LaneStats,
    /// Batches that it refused.
    pub errors: u64,
    /// The last reason.
    pub last_error: Option<String>,
    /// How often its queue reached the high-water mark.
    pub pressures: u64,
    /// Whether it refused the last batch.
    pub failing: bool,
}

/// How long a sink may be at its last batch when its time is over.
const ABORT: Duration = Duration::from_millis(500);

/// Records that a sink is given at once.
const BATCH: usize = 256;

impl Results {
    /// Starts a thread for each sink.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        sinks: Vec<(String, Box<dyn Sink>)>,
        policy: &LanePolicy,
        clock: Clock,
        undertaker: &Undertaker,
    ) -> std::io::Result<Self> {
        let books = Arc::new(Mutex::new(Books::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let abort = Arc::new(AtomicBool::new(false));
        let mut lines = Vec::new();
        for (name, sink) in sinks {
            let line = Line {
                name,
                queue: Arc::new(Queue::new(*policy, clock)),
                thread: Mutex::default(),
                errors: Arc::default(),
                last_error: Arc::default(),
                failing: Arc::default(),
                pressures: AtomicU64::new(0),
            };
            let writer = Writer {
                name: line.name.clone(),
                sink,
                queue: line.queue.clone(),
                books: books.clone(),
                stop: stop.clone(),
                undertaker: undertaker.clone(),
                errors: line.errors.clone(),
                last_error: line.last_error.clone(),
                failing: line.failing.clone(),
                abort: abort.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("sink-{}", line.name));
            *lock(&line.thread) = Some(thread.spawn(move || writer.run())?);
            lines.push(line);
        }
        Ok(Self {
            lines,
            books,
            stop,
            abort,
            clock,
        })
    }

    /// Hands a record to every sink. It waits only where a sink's queue says `block`.
    pub fn offer(&self, record: Record) {
        let mut ticket = self.begin();
        if self.lines.is_empty() {
            self.end(ticket, Outcome::Filtered);
            return;
        }
        let record = Arc::new(record);
        for line in &self.lines {
            let parcel = Parcel {
                record: record.clone(),
                ticket: ticket.split(1),
                answer: None,
            };
            self.push(line, parcel);
        }
    }

    /// Moves a parcel from our hands into a sink's queue, or to its end.
    fn push(&self, line: &Line, mut parcel: Parcel) {
        let cost_bytes = parcel.record.cost_bytes();
        let mut until = None;
        loop {
            let mut books = lock(&self.books);
            let returned = match line.queue.try_push(0, cost_bytes, parcel, until) {
                Pushed::Full { item, until: end } => {
                    drop(books);
                    line.queue.wait_for_room(end);
                    (parcel, until) = (item, Some(end));
                    continue;
                }
                Pushed::Accepted { pressure, .. } => {
                    line.note_pressure(pressure);
                    Vec::new()
                }
                Pushed::Refused(parcel, why) => vec![(parcel, why)],
                Pushed::Displaced {
                    victim,
                    more,
                    reason,
                    ..
                } => std::iter::once(victim)
                    .chain(more)
                    .map(|parcel| (parcel, reason))
                    .collect(),
            };
            books.offering -= 1;
            for (parcel, why) in returned {
                books
                    .sheet
                    .end(parcel.ticket, Outcome::Dropped(dropped(why)));
                if let Some(answer) = parcel.answer {
                    answer.tell(Err(refusal(&line.name, why)));
                }
            }
            return;
        }
    }

    /// The books.
    pub fn balance(&self) -> Balance {
        let books = lock(&self.books);
        let queued: usize = self.lines.iter().map(|line| line.queue.lane().len()).sum();
        books
            .sheet
            .balance(books.offering + books.writing + queued as u64)
    }

    /// Records that no sink has finished with.
    pub fn in_flight(&self) -> u64 {
        self.balance().in_flight
    }

    /// Each sink's figures.
    pub fn views(&self) -> Vec<SinkView> {
        let view = |line: &Line| SinkView {
            name: line.name.clone(),
            queue: line.queue.lane().stats(),
            errors: line.errors.load(Ordering::Relaxed),
            last_error: lock(&line.last_error).as_ref().map(SinkError::to_string),
            pressures: line.pressures.load(Ordering::Relaxed),
            failing: line.failing.load(Ordering::Acquire),
        };
        self.lines.iter().map(view).collect()
    }

    /// Lets the sinks finish what is queued and ends their threads. What is not written when
    /// `patience` is over is dropped, but for the batch that a sink is at; a sink that hangs in it
    /// is left behind a moment later.
    pub fn close(&self, patience: Duration) {
        self.stop.store(true, Ordering::Release);
        for line in &self.lines {
            line.queue.close();
        }
        if !self.ended_within(patience) {
            self.abort.store(true, Ordering::Release);
            self.ended_within(ABORT);
        }
        for line in &self.lines {
            let thread = lock(&line.thread).take().filter(JoinHandle::is_finished);
            if thread.is_some_and(|thread| thread.join().is_err()) {
                line.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether all threads have ended before `patience` is over.
    fn ended_within(&self, patience: Duration) -> bool {
        let until = self.clock.now() + patience;
        let ended = |line: &Line| {
            lock(&line.thread)
                .as_ref()
                .is_none_or(JoinHandle::is_finished)
        };
        loop {
            if self.lines.iter().all(ended) {
                return true;
            }
            if self.clock.now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn begin(&self) -> Ticket {
        let units = u32::try_from(self.lines.len().max(1)).unwrap_or(u32::MAX);
        let mut books = lock(&self.books);
        books.offering += u64::from(units);
        books.sheet.begin(units)
    }

    fn end(&self, ticket: Ticket, outcome: Outcome) {
        let mut books = lock(&self.books);
        books.offering -= ticket.count();
        books.sheet.end(ticket, outcome);
    }
}

const fn dropped(why: Refusal) -> DropReason {
    match why {
        Refusal::Displaced => DropReason::Displaced,
        Refusal::Closed => DropReason::Shutdown,
        _ => DropReason::QueueFull,
    }
}

fn refusal(sink: &str, why: Refusal) -> String {
    match why {
        Refusal::Closed => format!("sink {sink:?} is stopping"),
        _ => format!("the queue of sink {sink:?} is full"),
    }
}

struct Writer {
    name: String,
    sink: Box<dyn Sink>,
    queue: Arc<Queue<Parcel>>,
    books: Arc<Mutex<Books>>,
    stop: Arc<AtomicBool>,
    undertaker: Undertaker,
    errors: Arc<AtomicU64>,
    last_error: Arc<Mutex<Option<SinkError>>>,
    failing: Arc<AtomicBool>,
    abort: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            self.queue.wait_for_item(Duration::from_millis(500));
            let mut books = lock(&self.books);
            self.queue.pop(BATCH, &mut batch);
            books.writing += batch.len() as u64;
            drop(books);
            if !batch.is_empty() {
                self.write(&mut batch);
            } else if self.stop.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn write(&mut self, batch: &mut Vec<Parcel>) {
        self.let_go(batch);
        if batch.is_empty() {
            return;
        }
        if self.abort.load(Ordering::Acquire) {
            return self.give_up(batch);
        }
        let records: Vec<Arc<Record>> = batch.iter().map(|parcel| parcel.record.clone()).collect();
        let written = self.sink.write(&records);
        self.note(&written);
        for parcel in batch.drain(..) {
            let outcome = match (&written, &parcel.answer) {
                (Ok(()), _) => Outcome::Delivered,
                // Its letter is still there.
                (Err(_), Some(_)) => Outcome::Failed,
                (Err(_), None) if self.abort.load(Ordering::Acquire) => {
                    Outcome::Dropped(DropReason::Shutdown)
                }
                (Err(error), None) => match (self.undertaker)(&self.name, &parcel.record, error) {
                    true => Outcome::DeadLettered,
                    false => Outcome::Failed,
                },
            };
            self.end(parcel.ticket, outcome);
            if let Some(answer) = parcel.answer {
                answer.tell(written.clone().map_err(|error| error.to_string()));
            }
        }
    }

    /// Ends what cannot be written any more.
    fn give_up(&self, batch: &mut Vec<Parcel>) {
        for parcel in batch.drain(..) {
            self.end(parcel.ticket, Outcome::Dropped(DropReason::Shutdown));
            if let Some(answer) = parcel.answer {
                answer.tell(Err(format!("sink {:?} is stopping", self.name)));
            }
        }
    }

    /// Keeps the state of the sink, and says when it changes.
    fn note(&self, written: &Result<(), SinkError>) {
        match written {
            Ok(()) => {
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(sink = self.name, "the sink takes results again");
                }
            }
            Err(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                *lock(&self.last_error) = Some(error.clone());
                if !self.failing.swap(true, Ordering::AcqRel) {
                    let sink = self.name.as_str();
                    tracing::warn!(sink, %error, "the sink refuses results: they become letters");
                }
            }
        }
    }

    /// Takes out what was sent again and nobody waits for any more.
    fn let_go(&self, batch: &mut Vec<Parcel>) {
        let is_idle = |parcel: &mut Parcel| {
            let answer = parcel.answer.as_ref();
            answer.is_some_and(|answer| !answer.is_awaited())
        };
        for parcel in batch.extract_if(.., is_idle) {
            self.end(parcel.ticket, Outcome::Cancelled);
        }
    }

    fn end(&self, ticket: Ticket, outcome: Outcome) {
        let mut books = lock(&self.books);
        books.writing -= 1;
        books.sheet.end(ticket, outcome);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::poller::RunOutcome;
    use trunkline_engine::lane::OnFull;
    use trunkline_engine::time::WallTime;

    pub(crate) fn record(target: &str) -> Record {
        Record {
            system: "core".into(),
            target: target.into(),
            address: "127.0.0.1:161".into(),
            job: "system".into(),
            at: WallTime::from_unix_millis(1),
            took: Duration::from_millis(2),
            outcome: RunOutcome::Complete,
            errors: Vec::new(),
            pages: Vec::new(),
        }
    }

    struct Scripted {
        fail: bool,
        seen: Arc<Mutex<Vec<Arc<str>>>>,
        gate: Arc<Mutex<()>>,
    }

    impl Sink for Scripted {
        fn write(&mut self, batch: &[Arc<Record>]) -> Result<(), SinkError> {
            let _open = lock(&self.gate);
            if self.fail {
                return Err(SinkError {
                    what: "writing".into(),
                    why: "no space left".into(),
                });
            }
            lock(&self.seen).extend(batch.iter().map(|record| record.target.clone()));
            Ok(())
        }
    }

    fn start(
        fail: bool,
        gate: &Arc<Mutex<()>>,
        undertaker: Undertaker,
    ) -> (Results, Arc<Mutex<Vec<Arc<str>>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let policy = LanePolicy {
            items: 4,
            on_full: OnFull::DropOldest,
            ..LanePolicy::default()
        };
        let sink = Scripted {
            fail,
            seen: seen.clone(),
            gate: gate.clone(),
        };
        let sinks: Vec<(String, Box<dyn Sink>)> = vec![("one".into(), Box::new(sink))];
        (
            Results::start(sinks, &policy, Clock::start(), &undertaker).unwrap(),
            seen,
        )
    }

    #[test]
    fn what_a_sink_wrote_is_delivered() {
        let (results, seen) = start(false, &Arc::default(), Arc::new(|_, _, _| false));
        results.offer(record("a"));
        results.close(Duration::MAX);
        let balance = results.balance();
        assert_eq!(
            (balance.delivered, balance.in_flight, balance.imbalance()),
            (1, 0, 0)
        );
        assert_eq!(&*lock(&seen)[0], "a");
    }

    #[test]
    fn what_a_sink_refuses_is_dead_lettered_or_failed() {
        for (safe, delivered) in [(true, (1, 0)), (false, (0, 1))] {
            let (results, _) = start(true, &Arc::default(), Arc::new(move |_, _, _| safe));
            results.offer(record("a"));
            results.close(Duration::MAX);
            let balance = results.balance();
            assert_eq!((balance.dead_lettered, balance.failed), delivered);
            assert_eq!(balance.imbalance(), 0);
            assert!(
                results.views()[0]
                    .last_error
                    .as_ref()
                    .unwrap()
                    .contains("no space left")
            );
        }
    }

    #[test]
    fn a_stuck_sink_drops_the_oldest_and_the_books_balance_at_every_look() {
        let gate = Arc::new(Mutex::new(()));
        let held = lock(&gate);
        let (results, seen) = start(false, &gate, Arc::new(|_, _, _| false));
        for number in 0..40 {
            results.offer(record(&number.to_string()));
            assert_eq!(results.balance().imbalance(), 0);
        }
        drop(held);
        results.close(Duration::MAX);
        let balance = results.balance();
        assert_eq!(balance.imbalance(), 0);
        assert_eq!(balance.delivered + balance.dropped.total(), 40);
        assert!(balance.dropped.total() >= 30, "{balance:?}");
        assert_eq!(
            lock(&seen).last().map(|last| last.to_string()),
            Some("39".to_owned())
        );
    }

    #[test]
    fn without_sinks_results_are_filtered_not_lost() {
        let none: Undertaker = Arc::new(|_, _, _| false);
        let results =
            Results::start(Vec::new(), &LanePolicy::default(), Clock::start(), &none).unwrap();
        results.offer(record("a"));
        assert_eq!(
            (results.balance().filtered, results.balance().imbalance()),
            (1, 0)
        );
    }

    #[test]
    fn a_sink_without_time_gives_up_what_is_queued_and_the_books_say_so() {
        let gate = Arc::new(Mutex::new(()));
        let held = lock(&gate);
        let (results, _) = start(false, &gate, Arc::new(|_, _, _| false));
        for number in 0..4 {
            results.offer(record(&number.to_string()));
        }
        assert!(results.views()[0].pressures <= 1);
        results.close(Duration::ZERO);
        drop(held);
        results.close(Duration::MAX);
        let balance = results.balance();
        assert_eq!((balance.imbalance(), balance.leaked), (0, 0));
        assert!(balance.dropped[DropReason::Shutdown] + balance.delivered <= 4);
    }

    #[test]
    fn reaching_the_high_water_mark_is_one_event() {
        let gate = Arc::new(Mutex::new(()));
        let held = lock(&gate);
        let (results, _) = start(false, &gate, Arc::new(|_, _, _| false));
        for number in 0..40 {
            results.offer(record(&number.to_string()));
        }
        assert_eq!(results.views()[0].pressures, 1);
        drop(held);
        results.close(Duration::MAX);
    }
}
