//! One call: bounded, timed, and gone when its caller is.
//!
//! The handler runs in a task of its own, so that a panic is this call's error and not its
//! transport's. The task is aborted when the caller stops waiting or the reader drops the stream;
//! what the handler itself spawned watches [`Context::cancel`], which is cancelled by then.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::error::{BUSY, Closed, PANICKED, TIMEOUT};
use super::{Effect, Entry, ErrorKind, Handler, Operation, OperationError, RawSender, Result};

/// Items of a stream that wait for its reader.
const STREAM_ITEMS: usize = 64;
/// The longest deadline that a caller may set: a year.
const DEADLINE_MAX: Duration = Operation::STREAM_DEADLINE;

/// How a call came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// The control socket.
    Socket,
    /// HTTP.
    Http,
    /// A one-shot command in this process.
    Cli,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// The caller's user id, where the door knows it.
    pub uid: Option<u32>,
    /// How the call came in.
    pub via: Door,
}

/// What a handler may know of its call.
#[derive(Clone, Debug)]
pub struct Context {
    /// When the call ends, answered or not.
    pub deadline: Instant,
    /// Who calls.
    pub actor: Actor,
    /// Cancelled when the call has ended, however it ended.
    pub cancel: CancellationToken,
    /// Whether the deadline is the caller's or still to be filled in.
    deadline_is_set: bool,
}

impl Context {
    /// A call by `actor` with the operation's own deadline.
    pub fn new(actor: Actor) -> Self {
        Self {
            deadline: Instant::now(),
            actor,
            cancel: CancellationToken::new(),
            deadline_is_set: false,
        }
    }

    /// Sets the deadline `timeout` from now, instead of the operation's own.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now() + timeout.min(DEADLINE_MAX);
        self.deadline_is_set = true;
        self
    }

    /// Time left; zero when the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// What an operation answers with.
#[derive(Debug)]
pub enum Answer {
    /// One value.
    One(Value),
    /// Items until `None`; an error is the last of them. Dropping it ends the call.
    Stream(mpsc::Receiver<Result<Value>>),
}

/// The handler's end of a stream.
#[derive(Debug)]
pub struct ItemSender<T> {
    tx: RawSender,
    items: PhantomData<fn(T)>,
}

impl<T: Serialize> ItemSender<T> {
    pub(super) fn new(tx: RawSender) -> Self {
        Self {
            tx,
            items: PhantomData,
        }
    }

    /// Sends an item, waiting while the reader is behind.
    ///
    /// # Errors
    /// [`Closed`] when the reader has left; return it, there is nobody to talk to.
    pub async fn send(&self, item: &T) -> Result<(), Closed> {
        let item = super::input::render(item);
        self.tx.send(item).await.map_err(|_| Closed)
    }
}

pub(super) async fn run(
    entry: Entry,
    all_calls: Arc<Semaphore>,
    input: Value,
    mut context: Context,
) -> Result<Answer> {
    let operation = Arc::clone(&entry.operation);
    let permits = (
        permit(&all_calls, "of all operations")?,
        permit(&entry.calls, "of this operation")?,
    );
    if !context.deadline_is_set {
        context.deadline = Instant::now() + operation.deadline.min(DEADLINE_MAX);
    }
    if operation.effect != Effect::Read {
        audit(&operation, context.actor);
    }
    match &operation.handler {
        Handler::One(handler) => {
            let (handler, deadline) = (Arc::clone(handler), context.deadline);
            let end = context.cancel.clone().drop_guard();
            let task = tokio::spawn(async move { handler(context, input).await });
            let answer = timeout_at(deadline, AbortOnDropHandle::new(task)).await;
            drop((end, permits));
            match answer {
                Ok(Ok(answer)) => answer.map(Answer::One),
                Ok(Err(_)) => Err(panicked(&operation)),
                Err(_) => Err(timed_out(&operation)),
            }
        }
        Handler::Stream(handler) => {
            let (tx, rx) = mpsc::channel(STREAM_ITEMS);
            let (handler, sender, of_call) = (Arc::clone(handler), tx.clone(), context.clone());
            let items = async move { handler(of_call, input, sender).await };
            tokio::spawn(stream(operation, items, tx, context, permits));
            Ok(Answer::Stream(rx))
        }
    }
}

async fn stream(
    operation: Arc<Operation>,
    items: impl Future<Output = Result<()>> + Send + 'static,
    tx: RawSender,
    context: Context,
    permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
) {
    let _end = context.cancel.drop_guard();
    let task = AbortOnDropHandle::new(tokio::spawn(items));
    let error = tokio::select! {
        ended = timeout_at(context.deadline, task) => match ended {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error),
            Ok(Err(_)) => Some(panicked(&operation)),
            Err(_) => Some(timed_out(&operation)),
        },
        () = tx.closed() => None,
    };
    drop(permits);
    if let Some(error) = error {
        // A reader who left needs no error.
        tx.send(Err(error)).await.ok();
    }
}

fn permit(calls: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit> {
    Arc::clone(calls).try_acquire_owned().map_err(|_| {
        let message = format!("too many calls {what} run at once");
        OperationError::new(ErrorKind::Refused, BUSY, message).help("try again when one has ended")
    })
}

fn audit(operation: &Operation, actor: Actor) {
    tracing::info!(
        target: "trunkline::audit",
        kind = operation.kind,
        name = operation.name,
        operation = operation.operation,
        effect = ?operation.effect,
        uid = actor.uid,
        via = ?actor.via,
        "operation called"
    );
}

fn panicked(operation: &Operation) -> OperationError {
    let message = format!("the handler of {operation:?} panicked");
    OperationError::new(ErrorKind::Failed, PANICKED, message)
        .help("the process goes on; the log has the panic's message")
}

fn timed_out(operation: &Operation) -> OperationError {
    let message = format!("{operation:?} did not answer before its deadline");
    OperationError::new(ErrorKind::Timeout, TIMEOUT, message).help("give it more time")
}
