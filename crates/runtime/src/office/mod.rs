//! The office of dead letters: the engine's box, kept on disk, and what people may do with it.
//!
//! [`LetterBox`] decides, [`LetterLog`] remembers; the office holds both and promises:
//! - What [`Office::bury`] answered with true survives a power cut. What it answered with false is
//!   neither in the box nor in its numbers, and the letters that had made room are back.
//! - The log has the changes of one letter in the box's order: they are handed to it under the
//!   box's lock, which is never held while the disk writes or a letter is sent again.
//! - A log that is full of what is over is compacted: letters that keep an old segment alive are
//!   written anew.
//! - A letter is sent again only after the log says so, so one that kills the process does not do
//!   so for ever; it leaves the box only after its receiver acknowledged it.
//!
//! A change that the disk refuses stays in force and is counted as unwritten: after a restart it
//! has not happened. So redriving is at least once.

mod desk;
mod disk;
mod export;
mod operations;
mod redrive;
mod report;

use std::collections::{BTreeMap, HashSet};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_engine::letters::{
    Change, Draft, Letter, LetterBox, LetterCounts, LetterId, LetterPolicy, PolicyError, Record,
    RefusedWhy,
};

use crate::clock::Clock;
use crate::entropy;
use crate::letters::{
    AppendError, LetterLog, LogCounts, LogPolicy, OpenLogError, Opened, Receipt, Recovery,
};

use self::desk::Desk;
pub use self::operations::CODES;

/// Sends a letter again, and returns when its receiver has acknowledged it. It may wait; the error
/// says in one sentence why the letter is not there.
pub type Redriver = Arc<dyn Fn(&Letter) -> Result<(), String> + Send + Sync>;

/// Why an office cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfficeError {
    /// A bound makes no sense.
    #[error("the bounds of the dead letters: {0}")]
    Policy(#[from] PolicyError),
    /// The directory cannot be made.
    #[error("the directory of the dead letters, {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] OpenLogError),
}

/// The numbers of an office.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfficeCounts {
    /// The box's. Drafts that the disk refused count as refused and as nothing else.
    pub letters: LetterCounts,
    /// The log's.
    pub log: LogCounts,
    /// Changes that the disk refused: at the next start they have not happened.
    pub unwritten: u64,
}

/// Dead letters, on disk. Shared by all systems of a process.
pub struct Office {
    desk: Mutex<Desk>,
    log: LetterLog,
    clock: Clock,
    redrivers: Mutex<BTreeMap<String, Redriver>>,
    /// Held while segments are made free, by one thread at a time.
    compacting: Mutex<()>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    unwritten: AtomicU64,
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Office({:?})", self.counts())
    }
}

/// Why a draft did not become a letter.
#[derive(Clone, Debug, thiserror::Error)]
enum BuryError {
    #[error(transparent)]
    Box(#[from] RefusedWhy),
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Office {
    /// Opens the office in `dir`, which is made when it is missing, and reads its letters. Nobody
    /// else may have it open: `dir` lies in a locked state directory. It reads files, and may do so
    /// in a task: it happens once, at start.
    ///
    /// # Errors
    /// A bound makes no sense, or the file system says no.
    pub fn open(
        dir: &Path,
        policy: LetterPolicy,
        clock: Clock,
    ) -> Result<(Arc<Self>, Recovery), OfficeError> {
        let log = LogPolicy::default();
        // Four times what lives there, so that compacting a half-full log always frees half of it.
        let living = u64::try_from(policy.bytes_max).unwrap_or(u64::MAX);
        let bytes_max = log.bytes_max.max(living.saturating_mul(4));
        Self::open_with(dir, policy, LogPolicy { bytes_max, ..log }, clock)
    }

    /// Opens the office with other bounds of its log than those that suit the box.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        dir: &Path,
        policy: LetterPolicy,
        log: LogPolicy,
        clock: Clock,
    ) -> Result<(Arc<Self>, Recovery), OfficeError> {
        let mut letters = LetterBox::new(policy)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| OfficeError::Directory {
            path: dir.to_owned(),
            source,
        })?;
        let Opened {
            log,
            records,
            recovery,
        } = LetterLog::open(dir, log)?;
        let (now, wall) = (clock.now(), clock.wall());
        let displaced: Vec<Change> = living(records)
            .flat_map(|record| letters.restore(record, now, wall))
            .collect();
        let office = Self {
            desk: Mutex::new(Desk::new(letters, entropy::seed())),
            log,
            clock,
            redrivers: Mutex::default(),
            compacting: Mutex::default(),
            refused: Mutex::default(),
            unwritten: AtomicU64::new(0),
        };
        office.settle_in(dir, &displaced)?;
        Ok((Arc::new(office), recovery))
    }

    /// Puts a letter into the box and waits until it is on disk. True when it is safe; the ends of
    /// letters that made room for it have been written too, or are counted as unwritten. False when
    /// the box or the disk is full: then nothing has changed, and the refusal is counted.
    pub fn bury(&self, draft: Draft) -> bool {
        let (system, target) = (draft.system.clone(), draft.target.clone());
        let Err(error) = self.try_bury(draft) else {
            return true;
        };
        let why = error.label();
        *lock(&self.refused).entry(why).or_default() += 1;
        tracing::warn!(system, target, %error, "a dead letter was refused and is lost");
        false
    }

    /// The clock that its times are of.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Says how the letters of `system` (`snmp.core`) are sent again; an earlier way is replaced.
    pub fn add_redriver(&self, system: &str, redriver: Redriver) {
        lock(&self.redrivers).insert(system.to_owned(), redriver);
    }

    /// Throws away what is too old, ends redrives of which nothing was heard, and makes room in the
    /// log. To be called every few seconds, from a thread that may wait for the disk. Returns how
    /// many letters left.
    pub fn expire(&self) -> usize {
        let (gone, noted) = {
            let mut desk = self.desk();
            let changes = desk.letters.expire(self.clock.now(), self.clock.wall());
            let (gone, noted): (Vec<_>, Vec<_>) = changes
                .into_iter()
                .partition(|change| change.gone.is_some());
            let noted = noted.into_iter().map(|change| {
                let receipt = self.log.append_event(change.id, &change.event);
                (change, receipt)
            });
            (gone, noted.collect::<Vec<_>>())
        };
        for (change, receipt) in noted {
            // Its failure is counted; there is nobody here to tell.
            self.settle(&change, receipt).ok();
        }
        self.write_gone(&gone);
        self.compact();
        gone.len()
    }

    /// The numbers as they stand.
    pub fn counts(&self) -> OfficeCounts {
        let desk = self.desk();
        let letters = desk.counts();
        OfficeCounts {
            letters,
            log: self.log.counts(),
            unwritten: self.unwritten.load(Ordering::Relaxed),
        }
    }

    /// Writes what a restart changed. It waits for the disk on a thread of its own, because an
    /// office may be opened by a task, which must not wait.
    fn settle_in(&self, dir: &Path, displaced: &[Change]) -> Result<(), OpenLogError> {
        let work = || {
            self.write_gone(displaced);
            self.expire();
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("letters-open".to_owned());
            match thread.spawn_scoped(scope, work) {
                // A panic there is a defect that the log names; the letters are read.
                Ok(thread) => drop(thread.join()),
                Err(source) => {
                    let path = dir.to_owned();
                    return Err(OpenLogError { path, source });
                }
            }
            Ok(())
        })
    }

    fn try_bury(&self, draft: Draft) -> Result<(), BuryError> {
        let (id, victims, receipt) = {
            let mut desk = self.desk();
            let (id, victims) = desk.insert(draft, self.clock.now(), self.clock.wall())?;
            (id, victims, self.append_present(&desk, id))
        };
        let mut written = receipt.and_then(Receipt::wait);
        if let Err(AppendError::Full { .. }) = written {
            self.compact();
            written = self.rewrite(id);
        }
        if written.is_ok() {
            self.write_gone(&victims);
        }
        let victims: Vec<_> = victims.iter().map(|victim| victim.id).collect();
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let pushed_out = self
            .desk()
            .conclude(id, written.is_ok(), &victims, now, wall);
        self.write_gone(&pushed_out);
        Ok(written?)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }

    fn redriver(&self, system: &str) -> Option<Redriver> {
        lock(&self.redrivers).get(system).cloned()
    }
}

impl BuryError {
    /// The word in labels.
    const fn label(&self) -> &'static str {
        match self {
            Self::Box(RefusedWhy::TooLarge) | Self::Log(AppendError::TooLarge) => "too-large",
            Self::Box(_) => "box-full",
            Self::Log(AppendError::NoSpace) => "disk-full",
            Self::Log(AppendError::Full { .. }) => "log-full",
            Self::Log(AppendError::QueueFull) => "disk-slow",
            Self::Log(_) => "disk-error",
        }
    }
}

/// The records of letters that have not left. The log has a letter before the end of the one that
/// made room for it, so a box that met both would be too full for a moment, and would let go of
/// another one than it did then.
fn living(records: Vec<Record>) -> impl Iterator<Item = Record> {
    let end = |record: &Record| match record {
        Record::Event { id, event } if event.kind.is_final() => Some(*id),
        _ => None,
    };
    let gone: HashSet<LetterId> = records.iter().filter_map(end).collect();
    records.into_iter().filter(move |record| match record {
        Record::Letter(letter) => !gone.contains(&letter.id),
        Record::Event { id, .. } => !gone.contains(id),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
