//! The commands' end of the control socket.
//!
//! A client opens a connection when a call needs one and keeps it for the next. A call that is
//! given up (its future dropped, its stream not read to the end) takes its connection with it: the
//! daemon sees it close and cancels the call, so nothing is left running that nobody waits for.
//! What the daemon sends is bounded too: whoever can take the socket's place cannot fill the
//! command's memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout_at};
use trunkline_engine::fault::{Blame, Fault, Place, Retry};
use trunkline_runtime::operation::{Description, ErrorKind};

use crate::explain::codes;
use crate::json;
use crate::limits::Limits;
use crate::socket::wire::{Id, Lines, NoLine, RawRequest};

/// How much later than the call's deadline its answer may come: the daemon says itself what the
/// deadline cut off, and says it better.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);
/// How long connecting may take: the daemon only has to accept.
const CONNECT: Duration = Duration::from_secs(2);
/// How long the list may take.
const LIST: Duration = Duration::from_secs(5);
/// The longest answer: what the daemon allows itself, and its envelope.
const ANSWER_BYTES_MAX: usize = (64 << 20) + 4096;

/// What the daemon, or the operation, says is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// The code that `trunkline explain` knows.
    pub code: String,
    /// What sort of failure.
    #[serde(deserialize_with = "known_kind")]
    pub kind: ErrorKind,
    /// What happened, where and why.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody listens, or this user may not come in.
    #[error("no daemon answers at {}: {source}", path.display())]
    NoDaemon {
        /// The path of the socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing came before the deadline, not even an error.
    #[error("the daemon at {} did not answer within {waited:?}", path.display())]
    NoAnswer {
        /// The path of the socket.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The connection ended in the middle, or what came is not this protocol.
    #[error("the connection to the daemon at {} broke: {what}", path.display())]
    Lost {
        /// The path of the socket.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// The daemon answered with an error.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl CallError {
    /// The code that `trunkline explain` knows.
    pub fn code(&self) -> &str {
        match self {
            Self::NoDaemon { .. } => codes::NO_DAEMON,
            Self::NoAnswer { .. } => codes::NO_ANSWER,
            Self::Lost { .. } => codes::CONNECTION_LOST,
            Self::Remote(error) => &error.code,
        }
    }

    /// Whether there is no daemon to talk to.
    pub fn is_no_daemon(&self) -> bool {
        matches!(self, Self::NoDaemon { .. })
    }

    /// Whether a deadline has passed, here or in the daemon.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Remote(error) => error.kind == ErrorKind::Timeout,
            Self::NoDaemon { .. } | Self::Lost { .. } => false,
        }
    }
}

impl Fault for CallError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoDaemon { .. } => Blame::Local,
            Self::NoAnswer { .. } | Self::Lost { .. } => Blame::Peer,
            Self::Remote(error) => match error.kind {
                ErrorKind::BadInput | ErrorKind::NotFound => Blame::Caller,
                _ => Blame::Peer,
            },
        }
    }

    /// Only what certainly was not begun may be tried again without knowing the operation.
    fn retry(&self) -> Retry {
        match self {
            Self::NoDaemon { .. } => Retry::at(Place::SamePeer),
            _ => Retry::NEVER,
        }
    }
}

/// A way to the daemon's operations; calls may run at the same time.
#[derive(Debug)]
pub struct ControlClient {
    path: PathBuf,
    /// A connection that rests between two calls.
    resting: Mutex<Option<Connection>>,
}

impl ControlClient {
    /// Connects to the daemon whose socket is at `path`.
    ///
    /// # Errors
    /// [`CallError::NoDaemon`], and [`CallError::NoAnswer`] when it does not accept.
    pub async fn connect(path: impl Into<PathBuf>) -> Result<Self, CallError> {
        let path = path.into();
        let connection = Connection::open(&path).await?;
        Ok(Self {
            path,
            resting: Mutex::new(Some(connection)),
        })
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls an operation that answers with one value, and waits at most `deadline` and half a
    /// second.
    ///
    /// # Errors
    /// See [`CallError`]. An operation that answers with a stream is [`CallError::Lost`].
    pub async fn call(
        &self,
        kind: &str,
        name: &str,
        operation: &str,
        input: Value,
        deadline: Duration,
    ) -> Result<Value, CallError> {
        let request = request(kind, name, operation, input, Some(deadline));
        self.ask(request, deadline + ANSWER_MARGIN).await
    }

    /// Calls an operation that answers with items. Without a `deadline` it goes on until it ends
    /// by itself or the answer is dropped.
    ///
    /// # Errors
    /// Those of connecting; those of the call come with its items.
    pub async fn stream(
        &self,
        kind: &str,
        name: &str,
        operation: &str,
        input: Value,
        deadline: Option<Duration>,
    ) -> Result<Items, CallError> {
        let mut connection = self.connection().await?;
        let request = request(kind, name, operation, input, deadline);
        let until = deadline.and_then(|d| Instant::now().checked_add(d + ANSWER_MARGIN));
        connection.send(&request, Instant::now() + CONNECT).await?;
        Ok(Items {
            connection: Some(connection),
            until,
        })
    }

    /// All operations that the daemon has now.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn list(&self) -> Result<Vec<Description>, CallError> {
        let request = RawRequest {
            id: Id::Number(0),
            list: Some(true),
            kind: None,
            name: None,
            operation: None,
            input: Value::Null,
            deadline_ms: None,
        };
        self.ask(request, LIST).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: RawRequest,
        patience: Duration,
    ) -> Result<T, CallError> {
        let until = Instant::now().checked_add(patience);
        let mut connection = self.connection().await?;
        let at = until.unwrap_or_else(|| Instant::now() + CONNECT);
        connection.send(&request, at).await?;
        let answer = connection.receive(until).await?;
        let result = answer.result.map_err(|_| connection.lost("no result"))?;
        if let Some(result) = result {
            // It is kept for the next call only when this one was answered in full.
            let value = T::deserialize(result).map_err(|error| connection.lost(error));
            *self.resting() = Some(connection);
            return value;
        }
        Err(connection.lost("the operation answers with a stream, not with one value"))
    }

    async fn connection(&self) -> Result<Connection, CallError> {
        let resting = self.resting().take();
        match resting.filter(Connection::is_open) {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.path).await,
        }
    }

    fn resting(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
