//! What a person or a program may ask of a running process, described once.
//!
//! An [`Operation`] has a name, a typed input and output with their JSON schemas, an effect, a
//! shape, a default deadline and a handler. The control socket, HTTP, the command line and the
//! dashboard all read the one [`Registry`]; none of them knows an operation by name. Operations
//! come and go at run time: a [`Registration`] is in the list for as long as it is held.
//!
//! The registry, not the handler, keeps the promises that all operations share: the input is
//! checked and the error names the field, the deadline holds, a handler that panics is an error of
//! that one call, calls at once are bounded, and a caller who leaves takes his call with him.

mod call;
mod error;
mod input;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

pub use self::call::{Actor, Answer, Context, Door, ItemSender};
pub use self::error::{CODES, Closed, ErrorKind, OperationError};

type Result<T, E = OperationError> = std::result::Result<T, E>;
type Pending<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// Calls of all operations at once, streams included.
const CALLS_MAX: usize = 256;

/// What calling it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Looks, and disturbs nothing.
    Read,
    /// Changes the running process: its settings, or what an operator decided.
    Change,
    /// Does work that reaches peers.
    Run,
}

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// With one value.
    One,
    /// With any number of values, one after another.
    Stream,
}

/// One operation: its description and its handler.
pub struct Operation {
    kind: String,
    name: String,
    operation: String,
    summary: String,
    effect: Effect,
    shape: Shape,
    idempotent: bool,
    deadline: Duration,
    concurrency: usize,
    input: Value,
    output: Value,
    handler: Handler,
}

enum Handler {
    One(OneHandler),
    Stream(StreamHandler),
}

type OneHandler = Arc<dyn Fn(Context, Value) -> Pending<Value> + Send + Sync>;
type StreamHandler = Arc<dyn Fn(Context, Value, RawSender) -> Pending<()> + Send + Sync>;
type RawSender = mpsc::Sender<Result<Value>>;

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            name,
            operation,
            ..
        } = self;
        write!(f, "Operation({kind}/{name}/{operation})")
    }
}

impl Operation {
    /// Deadline of an operation that answers with one value, unless it sets another.
    pub const DEADLINE: Duration = Duration::from_secs(5);
    /// Deadline of a stream, unless it sets another: it ends when its reader leaves.
    pub const STREAM_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);
    /// Calls of one operation at once, unless it sets another number.
    pub const CONCURRENCY: usize = 32;

    /// An operation that answers with one value. `kind` is a system's kind or `engine`, `name` the
    /// instance (`core` of `[snmp.core]`), `operation` the verb.
    ///
    /// It counts as idempotent when it only reads.
    pub fn one<In, Out, F, Fut>(
        kind: impl Into<String>,
        name: impl Into<String>,
        operation: impl Into<String>,
        summary: impl Into<String>,
        effect: Effect,
        handler: F,
    ) -> Self
    where
        In: DeserializeOwned + JsonSchema,
        Out: Serialize + JsonSchema,
        F: Fn(Context, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out>> + Send + 'static,
    {
        let input = schema::<In>();
        let checked = input.clone();
        let handler = move |context: Context, input: Value| -> Pending<Value> {
            match input::parse::<In>(&checked, input) {
                Err(error) => Box::pin(std::future::ready(Err(error))),
                Ok(input) => {
                    let answer = handler(context, input);
                    Box::pin(async move { input::render(&answer.await?) })
                }
            }
        };
        Self {
            kind: kind.into(),
            name: name.into(),
            operation: operation.into(),
            summary: summary.into(),
            effect,
            shape: Shape::One,
            idempotent: effect == Effect::Read,
            deadline: Self::DEADLINE,
            concurrency: Self::CONCURRENCY,
            input,
            output: schema::<Out>(),
            handler: Handler::One(Arc::new(handler)),
        }
    }

    /// An operation that answers with items, as fast as its reader takes them.
    pub fn stream<In, Item, F, Fut>(
        kind: impl Into<String>,
        name: impl Into<String>,
        operation: impl Into<String>,
        summary: impl Into<String>,
        effect: Effect,
        handler: F,
    ) -> Self
    where
        In: DeserializeOwned + JsonSchema,
        Item: Serialize + JsonSchema,
        F: Fn(Context, In, ItemSender<Item>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let input = schema::<In>();
        let checked = input.clone();
        let handler = move |context: Context, input: Value, tx: RawSender| -> Pending<()> {
            match input::parse::<In>(&checked, input) {
                Err(error) => Box::pin(std::future::ready(Err(error))),
                Ok(input) => Box::pin(handler(context, input, ItemSender::new(tx))),
            }
        };
        Self {
            kind: kind.into(),
            name: name.into(),
            operation: operation.into(),
            summary: summary.into(),
            effect,
            shape: Shape::Stream,
            idempotent: effect == Effect::Read,
            deadline: Self::STREAM_DEADLINE,
            concurrency: Self::CONCURRENCY,
            input,
            output: schema::<Item>(),
            handler: Handler::Stream(Arc::new(handler)),
        }
    }

    /// Says whether calling it twice is the same as calling it once.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Sets the deadline of calls that bring none.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how many calls may run at once; at least 1.
    #[must_use]
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }

    fn description(&self) -> Description {
        Description {
            kind: self.kind.clone(),
            name: self.name.clone(),
            operation: self.operation.clone(),
            summary: self.summary.clone(),
            effect: self.effect,
            shape: self.shape,
            idempotent: self.idempotent,
            deadline_ms: u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            input: self.input.clone(),
            output: self.output.clone(),
        }
    }
}

/// All that a caller needs to know of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// A system's kind, or `engine`.
    pub kind: String,
    /// The instance.
    pub name: String,
    /// The verb.
    pub operation: String,
    /// One sentence for people.
    pub summary: String,
    /// What calling it does.
    pub effect: Effect,
    /// How it answers.
    pub shape: Shape,
    /// Whether calling it twice is the same as calling it once.
    pub idempotent: bool,
    /// The deadline of calls that bring none, in milliseconds.
    pub deadline_ms: u64,
    /// JSON schema of the input.
    pub input: Value,
    /// JSON schema of the answer, or of one item of the stream.
    pub output: Value,
}

/// The one list of operations; a clone is the same list.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    list: RwLock<List>,
    calls: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct List {
    entries: BTreeMap<Key, Entry>,
    next_id: u64,
}

type Key = (String, String, String);

#[derive(Clone, Debug)]
struct Entry {
    id: u64,
    operation: Arc<Operation>,
    calls: Arc<Semaphore>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty list.
    pub fn new() -> Self {
        Self::with_calls_max(CALLS_MAX)
    }

    /// An empty list whose operations run at most `calls` calls at once together.
    pub fn with_calls_max(calls: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                list: RwLock::default(),
                calls: Arc::new(Semaphore::new(calls)),
            }),
        }
    }

    /// Adds an operation for as long as the answer is held. One of the same kind, name and verb is
    /// replaced: a reloaded system registers itself before its predecessor is gone.
    #[must_use = "the operation is gone when this is dropped"]
    pub fn register(&self, operation: Operation) -> Registration {
        let key = (
            operation.kind.clone(),
            operation.name.clone(),
            operation.operation.clone(),
        );
        let mut list = self
            .inner
            .list
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let id = list.next_id;
        list.next_id += 1;
        let entry = Entry {
            id,
            calls: Arc::new(Semaphore::new(operation.concurrency)),
            operation: Arc::new(operation),
        };
        list.entries.insert(key.clone(), entry);
        Registration {
            registry: self.clone(),
            key,
            id,
        }
    }

    /// All operations, by kind, name and verb.
    pub fn list(&self) -> Vec<Description> {
        let list = self
            .inner
            .list
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let entries = list.entries.values();
        entries.map(|entry| entry.operation.description()).collect()
    }

    /// Calls an operation. The call ends when it is answered, at its deadline, or when the future
    /// (or the stream it answered with) is dropped.
    ///
    /// # Errors
    /// What the handler says; and no such operation, an input that does not fit, too many calls at
    /// once, the deadline, a handler that panicked.
    pub async fn call(
        &self,
        kind: &str,
        name: &str,
        operation: &str,
        input: Value,
        context: Context,
    ) -> Result<Answer> {
        let entry = self.find(kind, name, operation)?;
        call::run(entry, Arc::clone(&self.inner.calls), input, context).await
    }

    fn find(&self, kind: &str, name: &str, operation: &str) -> Result<Entry> {
        let key = (kind.to_owned(), name.to_owned(), operation.to_owned());
        let list = self
            .inner
            .list
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = list.entries.get(&key) {
            return Ok(entry.clone());
        }
        let with = |wanted: fn(&Key) -> &String, matches: &dyn Fn(&Key) -> bool| {
            let mut found: Vec<&str> = list
                .entries
                .keys()
                .filter(|k| matches(k))
                .map(|k| wanted(k).as_str())
                .collect();
            found.dedup();
            found.join(", ")
        };
        let verbs = with(|key| &key.2, &|key| key.0 == kind && key.1 == name);
        let names = with(|key| &key.1, &|key| key.0 == kind);
        let kinds = with(|key| &key.0, &|_| true);
        Err(error::not_found(&key, &verbs, &names, &kinds))
    }
}

/// Keeps an operation in its registry; dropping it takes the operation out. Calls under way go on.
#[derive(Debug)]
pub struct Registration {
    registry: Registry,
    key: Key,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let list = &self.registry.inner.list;
        let mut list = list.write().unwrap_or_else(PoisonError::into_inner);
        if list
            .entries
            .get(&self.key)
            .is_some_and(|entry| entry.id == self.id)
        {
            list.entries.remove(&self.key);
        }
    }
}

fn schema<T: JsonSchema>() -> Value {
    schemars::SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value()
}
