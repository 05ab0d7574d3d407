//! The books: every unit of work ends exactly once, and everybody can check.
//!
//! A unit is what a caller waits for or a source delivered. It is begun on its owner's [`Sheet`],
//! travels as part of a [`Ticket`], and ends in one [`Outcome`]:
//!
//! `opening + submitted = delivered + failed + rejected + filtered + dropped + cancelled
//! + dead_lettered + spooled + in_flight`
//!
//! - The owner alone writes its sheet, in plain integers; [`Sheet::publish`] copies it into a page
//!   of atomics under a sequence lock (Boehm, "Can seqlocks get along with programming language
//!   memory models?", 2012), so that a reader sees one moment and never half of one.
//! - `in_flight` is what the owner counted in the tables that hold the work, never a difference:
//!   otherwise a forgotten unit would look like one that is still running.
//! - A ticket that is dropped with units in it has lost them. They are counted as `leaked` on the
//!   sheet that began them and stay missing from the equation, so [`Balance::imbalance`] shows
//!   them too. What a dead owner's tables lose is on the dead sheet; [`Sheet::carry`] has it again.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Index};
use std::sync::atomic::AtomicU64 as LeakCell;
use std::sync::{Arc, Mutex, PoisonError};

use crate::sync::{AtomicU64, Ordering, fence, yield_now};

/// How a unit of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The caller or the sink has its result.
    Delivered,
    /// It was tried and failed; the caller was told.
    Failed,
    /// It was refused at the door: the caller was told before anything was tried.
    Rejected,
    /// A rule that the user wrote said not to deliver it.
    Filtered,
    /// It was given up without the peer or the sink being to blame.
    Dropped(DropReason),
    /// Its caller no longer wanted it.
    Cancelled,
    /// It became a dead letter, and can be looked at and redriven.
    DeadLettered,
    /// It was written to disk and opens the books of a later run.
    Spooled,
}

/// Why a unit was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The queue that it had to enter was full.
    QueueFull,
    /// A full queue gave its place to newer or more important work.
    Displaced,
    /// Its deadline passed before it was sent.
    Deadline,
    /// It was still waiting when a shutdown or reload ran out of time.
    Shutdown,
    /// Its target was taken out of the configuration.
    TargetRemoved,
    /// Nobody is left to take the result: the subscriber or the sink has gone.
    NoReceiver,
    /// The part that held it died (a shard, a reader, a process).
    OwnerLost,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = 7;
    /// Every reason, in the order in which they are listed and exported.
    pub const ALL: [Self; Self::COUNT] = [
        Self::QueueFull,
        Self::Displaced,
        Self::Deadline,
        Self::Shutdown,
        Self::TargetRemoved,
        Self::NoReceiver,
        Self::OwnerLost,
    ];

    /// The reason as it is written in exports and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Displaced => "displaced",
            Self::Deadline => "deadline",
            Self::Shutdown => "shutdown",
            Self::TargetRemoved => "target_removed",
            Self::NoReceiver => "no_receiver",
            Self::OwnerLost => "owner_lost",
        }
    }
}

/// One owner's books.
#[derive(Debug)]
pub struct Sheet {
    /// All but `in_flight` and `leaked`, which are filled in when somebody asks.
    totals: Balance,
    /// What [`Self::carry`] found between the totals and the units of its ticket.
    offset: u64,
    leaks: &'static LeakCell,
    page: Arc<Page<{ Balance::FIELDS }>>,
}

impl Default for Sheet {
    fn default() -> Self {
        Self::new()
    }
}

impl Sheet {
    /// An empty sheet.
    pub fn new() -> Self {
        Self {
            totals: Balance::default(),
            offset: 0,
            leaks: take_leak_cell(),
            page: Arc::default(),
        }
    }

    /// The sheet of an owner that takes over from a dead one: it continues the totals of the last
    /// balance that the dead one published, and the ticket holds what was in flight then, to be
    /// ended as it turns out (as a rule [`DropReason::OwnerLost`]). Leaks start from 0.
    pub fn carry(last: &Balance) -> (Self, Ticket) {
        let mut sheet = Self::new();
        sheet.totals = Balance {
            in_flight: 0,
            leaked: 0,
            ..*last
        };
        sheet.offset = last.in_flight.wrapping_sub(sheet.totals.unended());
        let ticket = sheet.ticket(last.in_flight);
        (sheet, ticket)
    }

    /// Takes over `n` units that an earlier run left behind, such as spooled ones.
    pub fn open(&mut self, n: u64) -> Ticket {
        self.totals.opening += n;
        self.ticket(n)
    }

    /// Begins `n` units.
    pub fn begin(&mut self, n: u32) -> Ticket {
        self.totals.submitted += u64::from(n);
        self.ticket(u64::from(n))
    }

    /// Ends all units of a ticket, which this sheet must have begun.
    pub fn end(&mut self, mut ticket: Ticket, outcome: Outcome) {
        debug_assert!(
            std::ptr::eq(ticket.leaks, self.leaks),
            "a ticket ends on the sheet that began it"
        );
        *self.totals.cell(outcome) += std::mem::take(&mut ticket.count);
    }

    /// The books at this moment, with what the owner counted as in flight.
    pub fn balance(&self, in_flight: u64) -> Balance {
        Balance {
            in_flight,
            leaked: self.leaks.load(Ordering::Relaxed),
            ..self.totals
        }
    }

    /// Shows the books to the readers, with what the owner counted as in flight. Call it between
    /// two steps, when every unit is in a table or ended.
    pub fn publish(&mut self, in_flight: u64) {
        self.page.write(&self.balance(in_flight).to_words());
    }

    /// A view of what is published, for other threads; all zeros before the first publication.
    pub fn reader(&self) -> SheetReader {
        SheetReader {
            page: Arc::clone(&self.page),
        }
    }

    fn ticket(&self, count: u64) -> Ticket {
        Ticket {
            leaks: self.leaks,
            count,
        }
    }
}

impl Drop for Sheet {
    /// Gives the leak cell back if no ticket can still write to it.
    fn drop(&mut self) {
        let leaked = self.leaks.load(Ordering::Relaxed);
        if self.totals.unended().wrapping_add(self.offset) == leaked {
            return_leak_cell(self.leaks);
        }
    }
}

/// Units of work on their way to an outcome.
#[must_use = "units that no ticket holds have leaked"]
#[derive(Debug)]
pub struct Ticket {
    /// Where it reports what it loses. The cell outlives sheet and tickets, so that a ticket is two
    /// words and its drop touches no reference count.
    leaks: &'static LeakCell,
    count: u64,
}

impl Ticket {
    /// How many units it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes `n` units out into a ticket of their own; fewer when it holds fewer.
    pub fn split(&mut self, n: u32) -> Self {
        let count = self.count.min(u64::from(n));
        self.count -= count;
        Self {
            leaks: self.leaks,
            count,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.count != 0 {
            self.leaks.fetch_add(self.count, Ordering::Relaxed);
        }
    }
}

/// Reads the balance that a sheet published last.
#[derive(Clone, Debug)]
pub struct SheetReader {
    page: Arc<Page<{ Balance::FIELDS }>>,
}

impl SheetReader {
    /// The balance of one moment. It tries again while the owner is publishing, which takes the
    /// owner some nanoseconds.
    pub fn read(&self) -> Balance {
        loop {
            if let Some(words) = self.page.try_read() {
                return Balance::from_words(words);
            }
            yield_now();
        }
    }
}

/// Books at one moment, in units of work. Totals are since the sheet was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Taken over from an earlier run.
    pub opening: u64,
    /// Begun.
    pub submitted: u64,
    /// Ended as [`Outcome::Delivered`].
    pub delivered: u64,
    /// Ended as [`Outcome::Failed`].
    pub failed: u64,
    /// Ended as [`Outcome::Rejected`].
    pub rejected: u64,
    /// Ended as [`Outcome::Filtered`].
    pub filtered: u64,
    /// Ended as [`Outcome::Dropped`], by reason.
    pub dropped: DropCounts,
    /// Ended as [`Outcome::Cancelled`].
    pub cancelled: u64,
    /// Ended as [`Outcome::DeadLettered`].
    pub dead_lettered: u64,
    /// Ended as [`Outcome::Spooled`].
    pub spooled: u64,
    /// Found in the owner's tables.
    pub in_flight: u64,
    /// Lost with a ticket that was dropped; not part of the equation. Must be 0.
    pub leaked: u64,
}

impl Balance {
    /// How many numbers [`Self::fields`] lists.
    pub const FIELDS: usize = 11 + DropReason::COUNT;

    /// How many units are unaccounted for: positive when some were lost, negative when some ended
    /// or were counted twice, 0 when the books balance.
    pub fn imbalance(&self) -> i64 {
        self.unended().wrapping_sub(self.in_flight).cast_signed()
    }

    /// Every number with its name, for exporters.
    pub fn fields(&self) -> [(&'static str, u64); Self::FIELDS] {
        let words = self.to_words();
        std::array::from_fn(|i| (FIELD_NAMES[i], words[i]))
    }

    /// What was begun and has not ended, as the totals have it.
    fn unended(&self) -> u64 {
        let ended = self.delivered
            + self.failed
            + self.rejected
            + self.filtered
            + self.dropped.total()
            + self.cancelled
            + self.dead_lettered
            + self.spooled;
        (self.opening + self.submitted).wrapping_sub(ended)
    }

    fn cell(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Delivered => &mut self.delivered,
            Outcome::Failed => &mut self.failed,
            Outcome::Rejected => &mut self.rejected,
            Outcome::Filtered => &mut self.filtered,
            Outcome::Dropped(reason) => &mut self.dropped.0[reason as usize],
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::DeadLettered => &mut self.dead_lettered,
            Outcome::Spooled => &mut self.spooled,
        }
    }

    /// The numbers in the order of [`FIELD_NAMES`].
    fn to_words(self) -> Words {
        let [
            full,
            displaced,
            deadline,
            shutdown,
            removed,
            receiver,
            owner,
        ] = self.dropped.0;
        [
            self.opening,
            self.submitted,
            self.delivered,
            self.failed,
            self.rejected,
            self.filtered,
            full,
            displaced,
            deadline,
            shutdown,
            removed,
            receiver,
            owner,
            self.cancelled,
            self.dead_lettered,
            self.spooled,
            self.in_flight,
            self.leaked,
        ]
    }

    fn from_words(words: Words) -> Self {
        let [
            opening,
            submitted,
            delivered,
            failed,
            rejected,
            filtered,
            dropped @ ..,
            cancelled,
            dead_lettered,
            spooled,
            in_flight,
            leaked,
        ] = words;
        Self {
            opening,
            submitted,
            delivered,
            failed,
            rejected,
            filtered,
            dropped: DropCounts(dropped),
            cancelled,
            dead_lettered,
            spooled,
            in_flight,
            leaked,
        }
    }
}

impl Add for Balance {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (mine, theirs) = (self.to_words(), other.to_words());
        Self::from_words(std::array::from_fn(|i| mine[i] + theirs[i]))
    }
}

impl AddAssign for Balance {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Balance {
    fn sum<I: Iterator<Item = Self>>(balances: I) -> Self {
        balances.fold(Self::default(), Add::add)
    }
}

/// Units that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::COUNT]);

impl DropCounts {
    /// For all reasons together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.0)
    }
}

impl Index<DropReason> for DropCounts {
    type Output = u64;

    fn index(&self, reason: DropReason) -> &u64 {
        &self.0[reason as usize]
    }
}

type Words = [u64; Balance::FIELDS];

const FIELD_NAMES: [&str; Balance::FIELDS] = [
    "opening",
    "submitted",
    "delivered",
    "failed",
    "rejected",
    "filtered",
    "dropped_queue_full",
    "dropped_displaced",
    "dropped_deadline",
    "dropped_shutdown",
    "dropped_target_removed",
    "dropped_no_receiver",
    "dropped_owner_lost",
    "cancelled",
    "dead_lettered",
    "spooled",
    "in_flight",
    "leaked",
];

/// What a sheet publishes: an odd `sequence` means that the words are being written.
#[derive(Debug)]
struct Page<const N: usize> {
    sequence: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Default for Page<N> {
    fn default() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl<const N: usize> Page<N> {
    /// Only the owner of the sheet writes, so the sequence needs no read-modify-write.
    fn write(&self, words: &[u64; N]) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // A reader that sees one of the words below also sees the odd sequence.
        fence(Ordering::Release);
        for (shared, word) in self.words.iter().zip(words) {
            shared.store(*word, Ordering::Relaxed);
        }
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    fn try_read(&self) -> Option<[u64; N]> {
        let before = self.sequence.load(Ordering::Acquire);
        let words = std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
        // Pairs with the fence of the writer whose word was read.
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(words)
    }
}

/// Cells whose sheets are gone and had no ticket left.
static SPARE_LEAK_CELLS: Mutex<Vec<&'static LeakCell>> = Mutex::new(Vec::new());

fn take_leak_cell() -> &'static LeakCell {
    let spare = SPARE_LEAK_CELLS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop();
    spare.unwrap_or_else(|| Box::leak(Box::default()))
}

fn return_leak_cell(cell: &'static LeakCell) {
    cell.store(0, Ordering::Relaxed);
    SPARE_LEAK_CELLS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(cell);
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OUTCOMES: [Outcome; 14] = [
        Outcome::Delivered,
        Outcome::Failed,
        Outcome::Rejected,
        Outcome::Filtered,
        Outcome::Cancelled,
        Outcome::DeadLettered,
        Outcome::Spooled,
        Outcome::Dropped(DropReason::QueueFull),
        Outcome::Dropped(DropReason::Displaced),
        Outcome::Dropped(DropReason::Deadline),
        Outcome::Dropped(DropReason::Shutdown),
        Outcome::Dropped(DropReason::TargetRemoved),
        Outcome::Dropped(DropReason::NoReceiver),
        Outcome::Dropped(DropReason::OwnerLost),
    ];

    #[test]
    fn every_outcome_is_counted_once_under_its_name_and_balances() {
        for (i, outcome) in OUTCOMES.into_iter().enumerate() {
            let mut sheet = Sheet::new();
            let ticket = sheet.begin(3);
            assert_eq!(sheet.balance(3).imbalance(), 0);
            sheet.end(ticket, outcome);
            let balance = sheet.balance(0);
            assert_eq!(
                (balance.imbalance(), balance.submitted),
                (0, 3),
                "{outcome:?}"
            );
            let name = match outcome {
                Outcome::Delivered => "delivered".to_owned(),
                Outcome::Failed => "failed".to_owned(),
                Outcome::Rejected => "rejected".to_owned(),
                Outcome::Filtered => "filtered".to_owned(),
                Outcome::Cancelled => "cancelled".to_owned(),
                Outcome::DeadLettered => "dead_lettered".to_owned(),
                Outcome::Spooled => "spooled".to_owned(),
                Outcome::Dropped(reason) => format!("dropped_{}", reason.as_str()),
            };
            let named = |(field, count): &(&str, u64)| *count == 3 && *field != "submitted";
            let hits: Vec<_> = balance.fields().into_iter().filter(named).collect();
            assert_eq!(hits, [(name.as_str(), 3)], "outcome {i}");
        }
    }

    #[test]
    fn drops_are_told_apart_by_reason() {
        let mut sheet = Sheet::new();
        for (reason, n) in DropReason::ALL.into_iter().zip(1..) {
            let ticket = sheet.begin(n);
            sheet.end(ticket, Outcome::Dropped(reason));
        }
        let dropped = sheet.balance(0).dropped;
        assert_eq!((dropped.total(), dropped[DropReason::Deadline]), (28, 3));
        assert!(dropped.iter().eq(DropReason::ALL.into_iter().zip(1..)));
    }

    #[test]
    fn a_dropped_ticket_shows_as_leaked_and_as_imbalance() {
        let (mut sheet, other) = (Sheet::new(), Sheet::new());
        let mut ticket = sheet.begin(5);
        drop(ticket.split(2));
        assert_eq!((ticket.count(), sheet.balance(3).leaked), (3, 2));
        sheet.end(ticket, Outcome::Delivered);
        assert_eq!(
            (sheet.balance(0).imbalance(), other.balance(0).leaked),
            (2, 0)
        );
    }

    #[test]
    fn a_miscounted_table_shows_as_imbalance_of_its_sign() {
        let mut sheet = Sheet::new();
        let ticket = sheet.begin(4);
        assert_eq!(sheet.balance(3).imbalance(), 1);
        assert_eq!(sheet.balance(6).imbalance(), -2);
        sheet.end(ticket, Outcome::Failed);
    }

    #[test]
    fn a_split_takes_no_more_than_there_is() {
        let mut sheet = Sheet::new();
        let mut ticket = sheet.begin(3);
        let all = ticket.split(9);
        assert_eq!((all.count(), ticket.count()), (3, 0));
        sheet.end(all, Outcome::Delivered);
        drop(ticket);
        assert_eq!(
            (sheet.balance(0).imbalance(), sheet.balance(0).leaked),
            (0, 0)
        );
        assert!(size_of::<Ticket>() <= 16);
    }

    #[test]
    fn a_restarted_owner_carries_the_totals_and_what_was_in_flight() {
        let mut dead = Sheet::new();
        let (done, lost) = (dead.begin(7), dead.begin(2));
        dead.end(done, Outcome::Delivered);
        dead.publish(2);
        let last = dead.reader().read();
        drop(lost);
        drop(dead);
        let (mut sheet, ticket) = Sheet::carry(&last);
        assert_eq!((ticket.count(), sheet.balance(2)), (2, last));
        sheet.end(ticket, Outcome::Dropped(DropReason::OwnerLost));
        let balance = sheet.balance(0);
        assert_eq!(
            (balance.imbalance(), balance.leaked, balance.submitted),
            (0, 0, 9)
        );
        assert_eq!(balance.dropped[DropReason::OwnerLost], 2);
    }

    #[test]
    fn units_of_an_earlier_run_open_the_books() {
        let mut sheet = Sheet::new();
        let ticket = sheet.open(1 << 33);
        assert_eq!(sheet.balance(1 << 33).imbalance(), 0);
        sheet.end(ticket, Outcome::Delivered);
        let balance = sheet.balance(0);
        assert_eq!((balance.imbalance(), balance.opening), (0, 1 << 33));
        assert_eq!(balance.submitted, 0);
    }

    #[test]
    fn a_late_loss_never_lands_on_another_sheet() {
        let mut gone = Sheet::new();
        let ticket = gone.begin(1);
        drop(gone);
        let sheets: Vec<Sheet> = (0..64).map(|_| Sheet::new()).collect();
        drop(ticket);
        assert!(sheets.iter().all(|sheet| sheet.balance(0).leaked == 0));
    }

    #[test]
    fn a_reader_sees_what_was_published_and_nothing_newer() {
        let mut sheet = Sheet::new();
        let reader = sheet.reader();
        let ticket = sheet.begin(1);
        assert_eq!(reader.read(), Balance::default());
        sheet.publish(1);
        sheet.end(ticket, Outcome::Filtered);
        assert_eq!(
            (reader.read().in_flight, reader.clone().read().filtered),
            (1, 0)
        );
        sheet.publish(0);
        assert_eq!((reader.read().in_flight, reader.read().filtered), (0, 1));
    }

    #[test]
    fn readers_on_other_threads_see_balanced_books_only() {
        let mut sheet = Sheet::new();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let reader = sheet.reader();
                scope.spawn(move || {
                    let mut last = Balance::default();
                    while last.submitted < 40_000 {
                        let balance = reader.read();
                        assert_eq!(balance.imbalance(), 0, "{balance:?}");
                        assert!(balance.submitted >= last.submitted);
                        last = balance;
                    }
                });
            }
            for i in 0..20_000_usize {
                let mut ticket = sheet.begin(2);
                let half = ticket.split(1);
                sheet.end(half, OUTCOMES[i % OUTCOMES.len()]);
                sheet.publish(1);
                sheet.end(ticket, Outcome::Delivered);
            }
            sheet.publish(0);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn books_balance_after_every_step(
            steps in prop::collection::vec((0..3_u8, 0..20_u32, 0..14_usize), 1..80),
        ) {
            let mut sheets = [Sheet::new(), Sheet::new()];
            let mut tables: [Vec<Ticket>; 2] = [Vec::new(), Vec::new()];
            for (i, (what, n, outcome)) in steps.into_iter().enumerate() {
                let (sheet, table) = (&mut sheets[i % 2], &mut tables[i % 2]);
                match (what, table.pop()) {
                    (0, Some(ticket)) => sheet.end(ticket, OUTCOMES[outcome]),
                    (1, Some(mut ticket)) => {
                        table.push(ticket.split(n));
                        table.push(ticket);
                    }
                    (_, back) => {
                        table.extend(back);
                        table.push(sheet.begin(n));
                    }
                }
                sheet.publish(table.iter().map(Ticket::count).sum());
                let all: Balance = sheets.iter().map(|sheet| sheet.reader().read()).sum();
                prop_assert_eq!((all.imbalance(), all.leaked), (0, 0));
                let held = tables.iter().flatten().map(Ticket::count).sum::<u64>();
                prop_assert_eq!(all.in_flight, held);
            }
            for (sheet, table) in sheets.iter_mut().zip(tables) {
                table.into_iter().for_each(|ticket| sheet.end(ticket, Outcome::Cancelled));
            }
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use loom::sync::Arc;

    use super::Page;

    /// Two publications, one reader: whatever it sees is one of the three published states.
    #[test]
    fn a_reader_never_sees_a_torn_page() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let page = Arc::new(Page::<2>::default());
            let reader = Arc::clone(&page);
            let reading = loom::thread::spawn(move || {
                if let Some([a, b]) = reader.try_read() {
                    assert_eq!(b, a * 10, "torn");
                }
            });
            page.write(&[1, 10]);
            page.write(&[2, 20]);
            reading.join().unwrap();
            assert_eq!(page.try_read(), Some([2, 20]));
        });
    }
}
