//! How an answer reaches the one who waits for it.
//!
//! A shard never waits for a reader: it appends to the reader's [`Inbox`] once a turn, under one
//! lock per inbox. What an inbox holds is bounded by what its owner submitted, one ending each,
//! plus the pages of walks, which are bounded by a credit: a walk whose reader is behind asks for
//! no further page until the reader catches up, and only that walk slows.
//!
//! A request whose shard dies still ends: dropping its reply address delivers
//! [`SnmpError::ShardDied`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use trunkline_wire_snmp::{ErrorStatus, VarBinds};

use crate::error::SnmpError;
use crate::walk::WalkEnd;

/// What an agent answered, as bytes that the reader decodes when it likes.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The address that answered.
    pub from: SocketAddr,
    /// The error status (0: noError).
    pub status: i32,
    /// The index of the variable that the status blames, from 1.
    pub index: i32,
    /// From the last datagram sent to this answer.
    pub rtt: Duration,
    /// Datagrams sent.
    pub attempts: u32,
    /// The BER varbind list, validated.
    pub bytes: Box<[u8]>,
}

impl Reply {
    /// The variables, decoded one by one.
    pub fn varbinds(&self) -> VarBinds<'_> {
        VarBinds::from_raw(&self.bytes)
    }

    /// The error status by name; `None` for a number that no RFC defines.
    pub fn error_status(&self) -> Option<ErrorStatus> {
        ErrorStatus::from_i32(self.status)
    }
}

/// News about one request.
#[derive(Debug)]
pub enum Event {
    /// The answer to a single exchange; its last event.
    Reply(Reply),
    /// Rows of a walk; more follows.
    Page(Reply, PageCredit),
    /// The end of a walk; its last event.
    End(WalkEnd),
    /// The request has no answer; its last event.
    Failed(SnmpError),
}

impl Event {
    /// Whether nothing follows.
    pub const fn is_last(&self) -> bool {
        !matches!(self, Self::Page(..))
    }
}

/// News for the holder of an inbox.
#[derive(Debug)]
pub struct Completion {
    /// The number under which the request was submitted.
    pub token: u64,
    /// What happened.
    pub event: Event,
}

/// Where answers arrive.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: Mutex<VecDeque<Completion>>,
    filled: Condvar,
    notify: Notify,
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What has arrived, without waiting.
    pub fn try_take(&self) -> Option<Completion> {
        self.lock().pop_front()
    }

    /// Moves all that has arrived to `out`, without waiting.
    pub fn take_all(&self, out: &mut Vec<Completion>) {
        out.extend(self.lock().drain(..));
    }

    /// Moves all that has arrived to `out`; waits up to `patience` when there is nothing.
    pub fn wait_all(&self, patience: Duration, out: &mut Vec<Completion>) {
        let queue = self.lock();
        let (mut queue, _) = self
            .filled
            .wait_timeout_while(queue, patience, |queue| queue.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        out.extend(queue.drain(..));
    }

    /// The next arrival.
    pub async fn take(&self) -> Completion {
        loop {
            let notified = self.notify.notified();
            if let Some(completion) = self.try_take() {
                return completion;
            }
            notified.await;
        }
    }

    fn put(&self, batch: impl Iterator<Item = Completion>) {
        let mut queue = self.lock();
        let was_empty = queue.is_empty();
        queue.extend(batch);
        drop(queue);
        if was_empty {
            self.filled.notify_one();
            self.notify.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Completion>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one request's news goes.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    inbox: Option<Arc<Inbox>>,
    token: u64,
}

impl ReplyTo {
    pub(crate) fn new(inbox: Arc<Inbox>, token: u64) -> Self {
        Self {
            inbox: Some(inbox),
            token,
        }
    }

    /// Adds the last event to `done`.
    pub(crate) fn finish(mut self, event: Event, done: &mut Done) {
        if let Some(inbox) = self.inbox.take() {
            done.push(
                inbox,
                Completion {
                    token: self.token,
                    event,
                },
            );
        }
    }

    /// Adds a page to `done`.
    pub(crate) fn page(&self, reply: Reply, credit: PageCredit, done: &mut Done) {
        if let Some(inbox) = &self.inbox {
            let event = Event::Page(reply, credit);
            done.push(
                inbox.clone(),
                Completion {
                    token: self.token,
                    event,
                },
            );
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            let event = Event::Failed(SnmpError::ShardDied);
            inbox.put(std::iter::once(Completion {
                token: self.token,
                event,
            }));
        }
    }
}

/// What a turn completed, delivered when the turn is over.
#[derive(Debug, Default)]
pub(crate) struct Done {
    inboxes: Vec<(Arc<Inbox>, Vec<Completion>)>,
    spare: Vec<Vec<Completion>>,
}

/// Inboxes that one turn groups its completions by; beyond it a completion is delivered alone.
const GROUPS_MAX: usize = 16;

impl Done {
    fn push(&mut self, inbox: Arc<Inbox>, completion: Completion) {
        let known = self
            .inboxes
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, &inbox));
        if let Some((_, batch)) = known {
            batch.push(completion);
        } else if self.inboxes.len() == GROUPS_MAX {
            inbox.put(std::iter::once(completion));
        } else {
            let mut batch = self.spare.pop().unwrap_or_default();
            batch.push(completion);
            self.inboxes.push((inbox, batch));
        }
    }

    /// Delivers everything.
    pub(crate) fn flush(&mut self) {
        for (inbox, mut batch) in self.inboxes.drain(..) {
            inbox.put(batch.drain(..));
            self.spare.push(batch);
        }
    }
}

/// How far a walk may run ahead of its reader.
pub(crate) const PAGES_AHEAD: u32 = 32;

/// The pages of one walk that its reader has not taken yet.
pub(crate) struct Credit {
    unread: AtomicU32,
    parked: AtomicBool,
    resume: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Credit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credit({:?} unread)", self.unread)
    }
}

impl Credit {
    /// A credit that calls `resume` when a parked walk may go on.
    pub(crate) fn new(resume: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            unread: AtomicU32::new(0),
            parked: AtomicBool::new(false),
            resume,
        })
    }

    /// Counts a page as unread.
    pub(crate) fn charge(self: &Arc<Self>) -> PageCredit {
        self.unread.fetch_add(1, Ordering::AcqRel);
        PageCredit(self.clone())
    }

    /// Whether the walk must wait for its reader; if so, `resume` will be called.
    pub(crate) fn park(&self) -> bool {
        if self.unread.load(Ordering::Acquire) < PAGES_AHEAD {
            return false;
        }
        self.parked.store(true, Ordering::SeqCst);
        // The reader may have taken the pages between the load and the store, and then nobody else
        // will call.
        if self.unread.load(Ordering::SeqCst) < PAGES_AHEAD / 2 {
            return !self.parked.swap(false, Ordering::SeqCst);
        }
        true
    }
}

/// One unread page; dropping it tells the walk that its reader took it.
#[derive(Debug)]
pub struct PageCredit(Arc<Credit>);

impl Drop for PageCredit {
    fn drop(&mut self) {
        let left = self.0.unread.fetch_sub(1, Ordering::SeqCst) - 1;
        if left < PAGES_AHEAD / 2 && self.0.parked.swap(false, Ordering::SeqCst) {
            (self.0.resume)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_dropped_reply_address_still_ends_the_request() {
        let inbox = Inbox::new();
        drop(ReplyTo::new(inbox.clone(), 7));
        let completion = inbox.try_take().unwrap();
        assert_eq!(completion.token, 7);
        assert!(matches!(
            completion.event,
            Event::Failed(SnmpError::ShardDied)
        ));
        assert!(inbox.try_take().is_none());
    }

    #[test]
    fn a_turn_with_many_inboxes_delivers_to_each_once() {
        let inboxes: Vec<_> = (0..GROUPS_MAX + 5).map(|_| Inbox::new()).collect();
        let mut done = Done::default();
        for (token, inbox) in inboxes.iter().enumerate() {
            let to = ReplyTo::new(inbox.clone(), token as u64);
            to.finish(Event::Failed(SnmpError::Cancelled), &mut done);
        }
        done.flush();
        for (token, inbox) in inboxes.iter().enumerate() {
            assert_eq!(inbox.try_take().unwrap().token, token as u64);
            assert!(inbox.try_take().is_none());
        }
    }

    #[test]
    fn a_reader_that_catches_up_resumes_a_parked_walk_once() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let credit = Credit::new(Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        let mut pages: Vec<_> = (0..PAGES_AHEAD - 1).map(|_| credit.charge()).collect();
        assert!(!credit.park(), "below the bound it goes on");
        pages.push(credit.charge());
        assert!(credit.park());
        drop(pages);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(!credit.park());
    }

    #[test]
    fn a_waiting_thread_is_woken() {
        let inbox = Inbox::new();
        let sender = inbox.clone();
        let thread = std::thread::spawn(move || drop(ReplyTo::new(sender, 1)));
        let mut out = Vec::new();
        inbox.wait_all(Duration::from_secs(10), &mut out);
        thread.join().unwrap();
        assert_eq!(out.len(), 1);
    }
}
