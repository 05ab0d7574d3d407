//! The dead letter log: what [`trunkline_engine::letters`] decides, kept on disk.
//!
//! Records are appended to segment files in frames with a checksum. One thread writes: it takes all
//! that waits, writes it at once and syncs once, so a hundred letters cost little more than one. A
//! receipt resolves after the sync: what was acknowledged survives a power cut at any byte. What
//! was not acknowledged may survive too, so the box of letters is at least once.
//!
//! A full disk is an answer, not an end: the append fails, what it wrote is cut off, and the next
//! append tries again. At start each segment is cut at its first bad frame, and the bytes cut are
//! said. A segment is deleted when it is the oldest and all its letters are gone; letters that
//! outlive it are written anew by their owner ([`LetterLog::pinned`]), because only he has their
//! present form.

mod frame;
mod store;
mod writer;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use trunkline_engine::letters::{
    AuditEvent, Letter, LetterId, Record, encode_event, encode_letter,
};

use self::store::Store;
use self::writer::Job;

/// The bounds of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPolicy {
    /// A segment that has grown to this is closed and a new one begun.
    pub segment_bytes: u64,
    /// The most bytes of all segments; beyond it appends are refused.
    pub bytes_max: u64,
    /// A batch of this many bytes is synced without waiting for more.
    pub batch_bytes: usize,
    /// The least time between two syncs of smaller batches, and so the longest that a receipt
    /// waits for others on purpose. Zero needs no waiting: what comes during one sync is the next
    /// batch. More spares a disk that many small appends would wear.
    pub linger: Duration,
    /// Appends that may wait for the disk.
    pub queue_items: usize,
    /// Bytes that may wait for the disk.
    pub queue_bytes: usize,
}

impl Default for LogPolicy {
    /// 8 MiB, 256 MiB, 64 KiB, no lingering, 1,024 appends, 16 MiB.
    fn default() -> Self {
        Self {
            segment_bytes: 8 << 20,
            bytes_max: 256 << 20,
            batch_bytes: 64 << 10,
            linger: Duration::ZERO,
            queue_items: 1_024,
            queue_bytes: 16 << 20,
        }
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the dead letter log {}: {source}", path.display())]
pub struct OpenLogError {
    /// The directory or file.
    pub path: PathBuf,
    /// What the file system said.
    pub source: io::Error,
}

/// Why a record is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The disk is full, or the user's share of it.
    #[error("there is no space left on the disk of the dead letter log")]
    NoSpace,
    /// All segments together have reached their bound.
    #[error("the dead letter log has reached its bound of {bytes_max} bytes")]
    Full {
        /// The bound.
        bytes_max: u64,
    },
    /// A single record larger than any that is read back.
    #[error("the record is larger than {} bytes", frame::PAYLOAD_MAX)]
    TooLarge,
    /// The disk does not keep up.
    #[error("too many dead letters wait for the disk")]
    QueueFull,
    /// The log is closed, or its thread is dead.
    #[error("the dead letter log is closed")]
    Closed,
    /// The file system said no.
    #[error("the dead letter log cannot be written: {0}")]
    Io(String),
}

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Where a segment was cut, by its file's name.
    pub cuts: Vec<Cut>,
    /// Whole frames whose record this program cannot read (another version); they are kept.
    pub unreadable: u64,
}

impl Recovery {
    /// Bytes cut from all segments.
    pub fn bytes_cut(&self) -> u64 {
        self.cuts.iter().map(|cut| cut.bytes).sum()
    }
}

/// The end of a segment that was cut off because it was not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment's file.
    pub file: PathBuf,
    /// Where the first bad frame began.
    pub offset: u64,
    /// How much was cut.
    pub bytes: u64,
}

/// An opened log and what it held.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: LetterLog,
    /// Its records in order, for [`trunkline_engine::letters::LetterBox::restore`].
    pub records: Vec<Record>,
    /// What was found.
    pub recovery: Recovery,
}

/// The log. Appends from any thread; dropping it writes what waits and ends its thread.
#[derive(Debug)]
pub struct LetterLog {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    queue_bytes: usize,
    shared: Arc<Shared>,
}

/// What the log's thread publishes.
#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    bytes: AtomicU64,
    segments: AtomicU64,
    batches: AtomicU64,
    appended: AtomicU64,
    failed: AtomicU64,
}

/// The numbers of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Syncs.
    pub batches: u64,
    /// Records synced.
    pub appended: u64,
    /// Records that could not be written.
    pub failed: u64,
}

impl LetterLog {
    /// Opens the log in `dir`, which exists, and reads it.
    ///
    /// # Errors
    /// The file system says no.
    pub fn open(dir: &Path, policy: LogPolicy) -> Result<Opened, OpenLogError> {
        let (store, records, recovery) = Store::open(dir, &policy)?;
        let shared = Arc::<Shared>::default();
        let (jobs, queue) = sync_channel(policy.queue_items);
        let queue_bytes = policy.queue_bytes;
        let thread =
            writer::spawn(store, queue, policy, Arc::clone(&shared)).map_err(|source| {
                let path = dir.to_owned();
                OpenLogError { path, source }
            })?;
        let log = Self {
            jobs: Some(jobs),
            thread: Some(thread),
            queue_bytes,
            shared,
        };
        Ok(Opened {
            log,
            records,
            recovery,
        })
    }

    /// Appends a letter: a new one, or the present form of one that is in the log already.
    ///
    /// # Errors
    /// Too many appends wait, or the log is closed. What the disk says comes with the receipt.
    pub fn append_letter(&self, letter: &Letter) -> Result<Receipt, AppendError> {
        let mut bytes = Vec::with_capacity(letter.cost_bytes());
        encode_letter(letter, &mut bytes);
        self.append(writer::Life::Born(letter.id), bytes)
    }

    /// Appends what happened to a letter.
    ///
    /// # Errors
    /// As [`Self::append_letter`].
    pub fn append_event(&self, id: LetterId, event: &AuditEvent) -> Result<Receipt, AppendError> {
        let mut bytes = Vec::new();
        encode_event(id, event, &mut bytes);
        let life = if event.kind.is_final() {
            writer::Life::Gone(id)
        } else {
            writer::Life::Noted
        };
        self.append(life, bytes)
    }

    /// Letters that keep the oldest segment from being deleted, once the log is half full. The
    /// owner appends each in its present form, and the segment goes.
    ///
    /// # Errors
    /// Too many appends wait, or the log is closed.
    pub fn pinned(&self) -> Result<Pinned, AppendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Pinned(reply))?;
        Ok(Pinned(answer))
    }

    /// The log's numbers.
    pub fn counts(&self) -> LogCounts {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        LogCounts {
            bytes: read(&self.shared.bytes),
            segments: read(&self.shared.segments),
            batches: read(&self.shared.batches),
            appended: read(&self.shared.appended),
            failed: read(&self.shared.failed),
        }
    }

    fn append(&self, life: writer::Life, bytes: Vec<u8>) -> Result<Receipt, AppendError> {
        if bytes.len() > frame::PAYLOAD_MAX {
            return Err(AppendError::TooLarge);
        }
        let (queued, size) = (&self.shared.queued_bytes, bytes.len());
        // A record larger than the queue still passes an empty one.
        let before = queued.fetch_add(size, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let sent = if before > 0 && before.saturating_add(size) > self.queue_bytes {
            Err(AppendError::QueueFull)
        } else {
            self.send(Job::Append { life, bytes, reply })
        };
        if sent.is_err() {
            queued.fetch_sub(size, Ordering::Relaxed);
        }
        sent.map(|()| Receipt(answer))
    }

    fn send(&self, job: Job) -> Result<(), AppendError> {
        let jobs = self.jobs.as_ref().ok_or(AppendError::Closed)?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => AppendError::QueueFull,
            TrySendError::Disconnected(_) => AppendError::Closed,
        })
    }
}

impl Drop for LetterLog {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has dropped its receipts, which says so.
            thread.join().ok();
        }
    }
}

/// Resolves when the record is on the disk, or says why it is not.
#[derive(Debug)]
#[must_use = "the record is safe only when the receipt says so"]
pub struct Receipt(oneshot::Receiver<Result<(), AppendError>>);

impl Receipt {
    /// Waits for it on a thread that may wait, which an asynchronous task may not.
    ///
    /// # Errors
    /// Why the record is not in the log.
    pub fn wait(self) -> Result<(), AppendError> {
        self.0.blocking_recv().unwrap_or(Err(AppendError::Closed))
    }
}

impl Future for Receipt {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(cx);
        answer.map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

/// Resolves to the letters that pin the oldest segment; empty when the log has room.
#[derive(Debug)]
pub struct Pinned(oneshot::Receiver<Vec<LetterId>>);

impl Pinned {
    /// Waits for it on a thread that may wait.
    pub fn wait(self) -> Vec<LetterId> {
        self.0.blocking_recv().unwrap_or_default()
    }
}

impl Future for Pinned {
    type Output = Vec<LetterId>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(Result::unwrap_or_default)
    }
}
