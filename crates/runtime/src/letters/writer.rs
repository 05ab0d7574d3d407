//! The log's thread: everything that waits, one write, one sync, all receipts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use trunkline_engine::letters::LetterId;

use super::store::Store;
use super::{AppendError, LogPolicy, Shared, frame};

/// What a record says of a letter's life in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// This is its newest form.
    Born(LetterId),
    /// It is gone.
    Gone(LetterId),
    /// Neither.
    Noted,
}

/// Something for the thread to do.
#[derive(Debug)]
pub(super) enum Job {
    Append {
        life: Life,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<(), AppendError>>,
    },
    Pinned(oneshot::Sender<Vec<LetterId>>),
}

pub(super) fn spawn(
    store: Store,
    queue: Receiver<Job>,
    policy: LogPolicy,
    shared: Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    let writer = Writer {
        store,
        queue,
        policy,
        shared,
        last_sync: None,
        frames: Vec::new(),
        waiting: Vec::new(),
    };
    writer.publish();
    std::thread::Builder::new()
        .name("letters".into())
        .spawn(move || writer.run())
}

struct Writer {
    store: Store,
    queue: Receiver<Job>,
    policy: LogPolicy,
    shared: Arc<Shared>,
    last_sync: Option<Instant>,
    frames: Vec<u8>,
    waiting: Vec<(Life, oneshot::Sender<Result<(), AppendError>>)>,
}

impl Writer {
    fn run(mut self) {
        // Until every sender is gone and the queue is empty.
        while let Ok(first) = self.queue.recv() {
            self.take(first);
            let open = self.gather();
            self.commit();
            if !open {
                return;
            }
        }
    }

    /// Takes what comes until the batch is large enough or its time is over; false when no more
    /// can come.
    fn gather(&mut self) -> bool {
        let until = self.last_sync.map(|last| last + self.policy.linger);
        while self.frames.len() < self.policy.batch_bytes {
            let now = Instant::now();
            let patience =
                until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            match self.queue.recv_timeout(patience) {
                Ok(job) => self.take(job),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Append { life, bytes, reply } => {
                self.shared
                    .queued_bytes
                    .fetch_sub(bytes.len(), Ordering::Relaxed);
                let planned = self.store.bytes() + self.frames.len() as u64;
                let size = frame::size(bytes.len()) as u64;
                if planned + size > self.bound_for(life) {
                    let bytes_max = self.policy.bytes_max;
                    self.refuse(reply, AppendError::Full { bytes_max });
                    return;
                }
                frame::put(&mut self.frames, &bytes);
                self.waiting.push((life, reply));
            }
            Job::Pinned(reply) => {
                let half_full = self.store.bytes() >= self.policy.bytes_max / 2;
                let ids = if half_full {
                    self.store.pinned()
                } else {
                    Vec::new()
                };
                // Whoever asked may have gone.
                reply.send(ids).ok();
            }
        }
    }

    /// What makes room is let in beyond the bound: without it the log would stay full for ever.
    fn bound_for(&self, life: Life) -> u64 {
        let Self { policy, store, .. } = self;
        let makes_room = match life {
            Life::Gone(_) => true,
            Life::Born(id) => store.holds(id),
            Life::Noted => false,
        };
        policy.bytes_max + if makes_room { policy.segment_bytes } else { 0 }
    }

    fn commit(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let result = self
            .store
            .append(&self.frames)
            .map_err(|error| explain(&error));
        self.last_sync = Some(Instant::now());
        self.frames.clear();
        self.frames.shrink_to(2 * self.policy.batch_bytes);
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        let waiting = std::mem::take(&mut self.waiting);
        if result.is_ok() {
            waiting.iter().for_each(|(life, _)| self.store.note(*life));
            let appended = waiting.len() as u64;
            self.shared.appended.fetch_add(appended, Ordering::Relaxed);
            if let Err(error) = self.store.delete_dead() {
                tracing::warn!(%error, "a dead segment of the letter log cannot be deleted");
            }
        }
        self.publish();
        // Last, so that whoever waits for a receipt finds the numbers that go with it.
        for (_, reply) in waiting {
            match &result {
                // Whoever appended may not care to know.
                Ok(()) => drop(reply.send(Ok(()))),
                Err(error) => self.refuse(reply, error.clone()),
            }
        }
    }

    fn refuse(&self, reply: oneshot::Sender<Result<(), AppendError>>, error: AppendError) {
        self.shared.failed.fetch_add(1, Ordering::Relaxed);
        reply.send(Err(error)).ok();
    }

    fn publish(&self) {
        let (bytes, segments) = (self.store.bytes(), self.store.count() as u64);
        self.shared.bytes.store(bytes, Ordering::Relaxed);
        self.shared.segments.store(segments, Ordering::Relaxed);
    }
}

fn explain(error: &io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::NoSpace,
        _ => AppendError::Io(error.to_string()),
    }
}
