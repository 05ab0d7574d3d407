//! The commands' end of the control socket.
//!
//! A client opens a connection when a call needs one and keeps it for the next. A call that is
//! given up (its future dropped, its stream not read to the end) takes its connection with it: the
//! daemon sees it close and cancels the call, so nothing is left running that nobody waits for.
//! What the daemon sends is bounded too: whoever can take the socket's place cannot fill the
//! command's memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout_at};
use trunkline_engine::fault::{Blame, Fault, Place, Retry};
use trunkline_runtime::operation::{Description, ErrorKind};

use crate::explain::codes;
use crate::json;
use crate::socket::wire::{Id, Lines, NoLine, RawRequest};

/// How much later than the call's deadline its answer may come: the daemon says itself what the
/// deadline cut off, and says it better.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);
/// How long connecting may take: the daemon only has to accept.
const CONNECT: Duration = Duration::from_secs(2);
/// How long the list may take.
const LIST: Duration = Duration::from_secs(5);
/// How long one line may take from its first byte to its last.
const LINE: Duration = Duration::from_secs(60);
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
        self.ask(request, deadline.saturating_add(ANSWER_MARGIN))
            .await
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
        let patience = Patience::new(deadline.map(|d| d.saturating_add(ANSWER_MARGIN)));
        let mut connection = self.connection().await?;
        let request = request(kind, name, operation, input, deadline);
        let sending = Patience::new(Some(CONNECT));
        connection.send(&request, &sending).await?;
        Ok(Items {
            connection: Some(connection),
            patience,
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
        let patience = Patience::new(Some(patience));
        let mut connection = self.connection().await?;
        if let Err(error) = connection.send(&request, &patience).await {
            // Whoever is turned away is told why before the connection is closed to him.
            let said = connection.receive(&patience).await;
            return Err(said.err().filter(is_remote).unwrap_or(error));
        }
        match connection.receive(&patience).await? {
            Said::Result(value) => {
                let value = T::deserialize(value).map_err(|error| connection.lost(error))?;
                // A connection is kept only when its call was answered in full.
                *self.resting() = Some(connection);
                Ok(value)
            }
            Said::Item(_) | Said::Done => {
                Err(connection.lost("the operation answers with a stream, not with one value"))
            }
        }
    }

    async fn connection(&self) -> Result<Connection, CallError> {
        let resting = self.resting().take();
        match resting.filter(Connection::is_open) {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.path).await,
        }
    }

    fn resting(&self) -> MutexGuard<'_, Option<Connection>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The items of a stream. Dropping it ends the call.
#[derive(Debug)]
pub struct Items {
    /// `None` once the stream has ended.
    connection: Option<Connection>,
    patience: Patience,
}

impl Items {
    /// The next item; `None` at the end. An error is the last that comes. A future that is dropped
    /// loses nothing.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn next(&mut self) -> Option<Result<Value, CallError>> {
        let connection = self.connection.as_mut()?;
        let said = connection.receive(&self.patience).await;
        let ended = match said {
            Ok(Said::Item(item)) => return Some(Ok(item)),
            Ok(Said::Done) => None,
            Ok(Said::Result(_)) => {
                Some(Err(connection.lost("the operation answers with one value")))
            }
            Err(error) => Some(Err(error)),
        };
        self.connection = None;
        ended
    }
}

/// Until when to wait, and since when.
#[derive(Clone, Copy, Debug)]
struct Patience {
    begun: Instant,
    until: Option<Instant>,
}

impl Patience {
    /// `None`, or more than the clock can say, is for ever.
    fn new(patience: Option<Duration>) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            until: patience.and_then(|patience| begun.checked_add(patience)),
        }
    }

    async fn wait<F: Future>(&self, path: &Path, work: F) -> Result<F::Output, CallError> {
        let Some(until) = self.until else {
            return Ok(work.await);
        };
        timeout_at(until, work)
            .await
            .map_err(|_| CallError::NoAnswer {
                path: path.to_owned(),
                waited: self.begun.elapsed(),
            })
    }
}

#[derive(Debug)]
struct Connection {
    path: PathBuf,
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// What a line of the daemon says, errors apart.
#[derive(Debug)]
enum Said {
    Result(Value),
    Item(Value),
    Done,
}

#[derive(Deserialize)]
struct RawAnswer {
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    item: Option<Value>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    error: Option<RemoteError>,
}

impl Connection {
    async fn open(path: &Path) -> Result<Self, CallError> {
        let connected = Patience::new(Some(CONNECT))
            .wait(path, UnixStream::connect(path))
            .await?;
        let stream = connected.map_err(|source| CallError::NoDaemon {
            path: path.to_owned(),
            source,
        })?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            path: path.to_owned(),
            lines: Lines::new(reader, ANSWER_BYTES_MAX, LINE),
            writer,
        })
    }

    /// Whether the daemon has neither closed it nor said anything that nobody asked for.
    fn is_open(&self) -> bool {
        let silent = self.lines.reader().try_read(&mut [0]);
        let silent = silent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        silent && !self.lines.is_begun()
    }

    async fn send(&mut self, request: &RawRequest, patience: &Patience) -> Result<(), CallError> {
        let mut line = json::line(request, usize::MAX).unwrap_or_default();
        line.push(b'\n');
        let written = patience.wait(&self.path, self.writer.write_all(&line));
        written.await?.map_err(|error| self.lost(error))
    }

    async fn receive(&mut self, patience: &Patience) -> Result<Said, CallError> {
        let line = patience.wait(&self.path, self.lines.next()).await?;
        let line = line.map_err(|why| match why {
            NoLine::End => self.lost("the daemon closed it"),
            NoLine::TooLong => self.lost("the answer is too long"),
            NoLine::TooSlow => self.lost("the answer stopped in the middle"),
            NoLine::Broken(error) => self.lost(error),
        })?;
        let answer =
            serde_json::from_slice::<RawAnswer>(&line).map_err(|error| self.lost(error))?;
        match answer {
            RawAnswer {
                error: Some(error), ..
            } => Err(error.into()),
            RawAnswer {
                result: Some(value),
                ..
            } => Ok(Said::Result(value)),
            RawAnswer {
                item: Some(value), ..
            } => Ok(Said::Item(value)),
            RawAnswer { done: true, .. } => Ok(Said::Done),
            _ => Err(self.lost("the answer says nothing")),
        }
    }

    fn lost(&self, what: impl ToString) -> CallError {
        CallError::Lost {
            path: self.path.clone(),
            what: what.to_string(),
        }
    }
}

fn request(
    kind: &str,
    name: &str,
    operation: &str,
    input: Value,
    deadline: Option<Duration>,
) -> RawRequest {
    let deadline = deadline.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    RawRequest {
        id: Id::Number(0),
        list: None,
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        operation: Some(operation.to_owned()),
        input,
        deadline_ms: deadline,
    }
}

fn is_remote(error: &CallError) -> bool {
    matches!(error, CallError::Remote(_))
}

/// A value that is there, though it may be null.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// A kind that this version does not know is a failure like others.
fn known_kind<'de, D: Deserializer<'de>>(from: D) -> Result<ErrorKind, D::Error> {
    let kind = Value::deserialize(from)?;
    Ok(ErrorKind::deserialize(kind).unwrap_or(ErrorKind::Failed))
}
