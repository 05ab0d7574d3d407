//! One redrive: letters sent again by a few threads, at a limited rate, within a deadline.
//!
//! The engine's machine says which letter is next and when; the threads wait in the receivers. A
//! letter whose system has no way back now, or that the disk does not have yet, is left out before
//! the machine sees it. When the caller leaves or the time is over nothing more is sent; what is on
//! its way then ends by itself and is noted as usual.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trunkline_engine::letters::{
    Filter, Letter, LetterError, LetterId, LetterState, Redrive, RedriveError, RedrivePlan,
    RedriveProgress, Settled,
};

use super::disk::ChangeError;
use super::{Office, Redriver, lock};

/// Threads of one redrive.
pub(super) const IN_FLIGHT_MAX: usize = 64;
/// The longest that a thread sleeps before it looks whether it should stop.
const NAP: Duration = Duration::from_millis(20);
/// Different errors that a report names; further ones count as "others".
const ERRORS_MAX: usize = 16;
/// Letters that a dry run names.
const NAMED_MAX: usize = 100;

/// A redrive under way.
#[derive(Debug)]
pub(super) struct Run {
    machine: Mutex<Redrive>,
    actor: String,
    cancel: CancellationToken,
    left_out: BTreeMap<&'static str, u64>,
    errors: Mutex<BTreeMap<String, u64>>,
    sent: AtomicU64,
}

/// What became of a redrive so far.
#[derive(Debug)]
pub(super) struct RunReport {
    pub(super) progress: RedriveProgress,
    pub(super) sent: u64,
    pub(super) left_out: BTreeMap<&'static str, u64>,
    pub(super) errors: BTreeMap<String, u64>,
    /// The first whose turn is to come.
    pub(super) waiting: Vec<LetterId>,
}

/// Why one letter was not delivered.
enum Miss {
    /// It was sent in vain, or the disk did not let it.
    Failed(String),
    /// It may not be sent (any more).
    Gone,
}

impl Office {
    /// A redrive of the letters that match; [`Self::drive`] runs it. `None` when there is nothing
    /// to send, with the reasons.
    pub(super) fn plan(
        &self,
        plan: RedrivePlan,
        actor: String,
        cancel: CancellationToken,
    ) -> Result<Run, RedriveError> {
        let mut left_out = BTreeMap::new();
        let desk = self.desk();
        let redrivers = lock(&self.redrivers);
        let page = desk.letters.list(&plan.filter, None, usize::MAX);
        let mut ids = BTreeSet::new();
        for listed in page.letters {
            let Letter {
                id,
                system,
                payload,
                ..
            } = listed.letter;
            let reason = match listed.state {
                LetterState::Redriving => "redriving",
                LetterState::Quarantined => "quarantined",
                LetterState::Waiting if desk.is_unsettled(*id) => "being-written",
                LetterState::Waiting if !payload.is_whole() => "not-whole",
                LetterState::Waiting if !redrivers.contains_key(system) => "no-way-back",
                LetterState::Waiting => {
                    ids.insert(*id);
                    continue;
                }
            };
            *left_out.entry(reason).or_default() += 1;
        }
        if ids.is_empty() {
            // An empty set would not restrict at all; an id that no letter has matches none.
            ids.insert(LetterId::from_bits(0));
        }
        let filter = Filter {
            ids,
            ..Filter::default()
        };
        let plan = RedrivePlan { filter, ..plan };
        let machine = desk.letters.plan_redrive(plan, self.clock.now())?;
        Ok(Run {
            machine: Mutex::new(machine),
            actor,
            cancel,
            left_out,
            errors: Mutex::default(),
            sent: AtomicU64::new(0),
        })
    }

    /// Sends until all is sent or the run is stopped; `threads` letters at once.
    pub(super) fn drive(self: &Arc<Self>, run: &Arc<Run>, threads: usize) {
        let helpers: Vec<_> = (1..threads.min(IN_FLIGHT_MAX))
            .filter_map(|n| {
                let (office, run) = (Arc::clone(self), Arc::clone(run));
                let thread = std::thread::Builder::new().name(format!("redrive-{n}"));
                // Without it the others do its work.
                thread.spawn(move || office.work(&run)).ok()
            })
            .collect();
        self.work(run);
        for helper in helpers {
            // A receiver's panic is caught, and nothing else panics.
            helper.join().ok();
        }
    }

    fn work(&self, run: &Run) {
        while let Some(turn) = run.turn(self.clock.now()) {
            let id = match turn {
                Turn::Send(id) => id,
                Turn::Sleep(span) => {
                    std::thread::sleep(span);
                    continue;
                }
            };
            let settled = match self.send_again(id, run) {
                Ok(()) => Settled::Acked,
                Err(Miss::Gone) => Settled::Gone,
                Err(Miss::Failed(error)) => {
                    run.note_error(error);
                    Settled::Failed
                }
            };
            lock(&run.machine).settle(id, settled);
        }
    }

    fn send_again(&self, id: LetterId, run: &Run) -> Result<(), Miss> {
        let actor = &run.actor;
        let started = self.change(|desk, now, wall| {
            if desk.is_unsettled(id) {
                return Err(LetterError::Busy(id));
            }
            desk.letters.start_redrive(id, actor, now, wall)
        });
        match started {
            Ok(_) => {}
            Err(ChangeError::Letter(_)) => return Err(Miss::Gone),
            Err(ChangeError::Log(error)) => {
                let why = format!("not sent, because the log cannot say so: {error}");
                // The letter may have left by its lease meanwhile; then there is nothing to abort.
                self.change(|desk, _, wall| desk.letters.abort_redrive(id, &why, actor, wall))
                    .ok();
                return Err(Miss::Failed(why));
            }
        }
        let letter = self.desk().letters.letter(id).cloned();
        let letter = letter.ok_or(Miss::Gone)?;
        let sent = self
            .redriver(&letter.system)
            .ok_or_else(|| format!("{} takes no letters back any more", letter.system))
            .and_then(|redriver| {
                run.sent.fetch_add(1, Ordering::Relaxed);
                deliver(&redriver, &letter)
            });
        // What the box or the disk says of the end changes nothing about it: a late end is late,
        // and one that is not written is counted.
        match sent {
            Ok(()) => {
                self.change(|desk, _, wall| desk.letters.mark_redriven(id, actor, wall))
                    .ok();
                Ok(())
            }
            Err(error) => {
                self.change(|desk, _, wall| desk.letters.mark_failed(id, &error, actor, wall))
                    .ok();
                Err(Miss::Failed(error))
            }
        }
    }
}

fn deliver(redriver: &Redriver, letter: &Letter) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| redriver(letter)))
        .unwrap_or_else(|_| Err("it broke the one who should have sent it".to_owned()))
}

/// What a thread does next.
enum Turn {
    Send(LetterId),
    Sleep(Duration),
}

impl Run {
    /// Sends nothing more.
    pub(super) fn stop(&self) {
        lock(&self.machine).cancel();
    }

    /// What became of it so far.
    pub(super) fn report(&self) -> RunReport {
        let machine = lock(&self.machine);
        RunReport {
            progress: machine.progress(),
            sent: self.sent.load(Ordering::Relaxed),
            left_out: self.left_out.clone(),
            errors: lock(&self.errors).clone(),
            waiting: machine.waiting().take(NAMED_MAX).collect(),
        }
    }

    /// `None` when this thread has nothing more to do.
    fn turn(&self, now: trunkline_engine::time::Time) -> Option<Turn> {
        let mut machine = lock(&self.machine);
        if self.cancel.is_cancelled() {
            machine.cancel();
        }
        if let Some(id) = machine.next(now) {
            return Some(Turn::Send(id));
        }
        machine.waiting().next()?;
        let wakeup = machine.next_wakeup()?;
        Some(Turn::Sleep(wakeup.saturating_since(now).min(NAP)))
    }

    fn note_error(&self, error: String) {
        let mut errors = lock(&self.errors);
        let known = errors.len() < ERRORS_MAX || errors.contains_key(&error);
        let key = if known { error } else { "others".to_owned() };
        *errors.entry(key).or_default() += 1;
    }
}
