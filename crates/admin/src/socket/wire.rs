//! The lines of the control protocol.
//!
//! A request is one line of JSON: a call (`id`, `kind`, `name`, `operation`, `input`,
//! `deadline_ms`) or `{"id", "list": true}`. Answers carry the request's id: one `result`; or any
//! number of `item`s and a `done`; or an `error`, which is always the last. What could not be read
//! is answered with the id null.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use trunkline_runtime::operation::{ErrorKind, OperationError};

use crate::explain::codes;

/// The longest id that is text, in bytes.
const ID_BYTES_MAX: usize = 64;

/// What a caller tells his requests apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Id {
    /// A number.
    Number(u64),
    /// A short text.
    Text(String),
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// The list of operations.
    List,
    /// A call.
    Call(Call),
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) operation: String,
    pub(crate) input: Value,
    pub(crate) deadline: Option<Duration>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRequest {
    pub(crate) id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) list: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operation: Option<String>,
    #[serde(default)]
    pub(crate) input: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_ms: Option<u64>,
}

/// Reads a request; what cannot be one comes back as the error to answer with, and its id if it
/// has one.
pub(crate) fn parse(line: &[u8]) -> Result<(Id, Ask), (Option<Id>, Error)> {
    // serde would take a list as an object whose keys are left out.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err((None, Error::bad_request("that is no JSON object")));
    }
    let raw: RawRequest = serde_json::from_slice(line).map_err(|error| {
        let value = serde_json::from_slice::<Value>(line).ok();
        let id = value.and_then(|value| Id::deserialize(value.get("id")?).ok());
        let message = format!("that is no request: {error}");
        (id.filter(Id::is_short), Error::bad_request(message))
    })?;
    let RawRequest {
        id,
        list,
        kind,
        name,
        operation,
        input,
        deadline_ms,
    } = raw;
    if !id.is_short() {
        let message = format!("an id of text has at most {ID_BYTES_MAX} bytes");
        return Err((None, Error::bad_request(message)));
    }
    let ask = match (list, kind, name, operation) {
        (Some(true), None, None, None) => Ask::List,
        (None | Some(false), Some(kind), Some(name), Some(operation)) => Ask::Call(Call {
            kind,
            name,
            operation,
            input,
            deadline: deadline_ms.map(Duration::from_millis),
        }),
        _ => {
            let message = "a request has kind, name and operation, or list = true";
            return Err((Some(id), Error::bad_request(message)));
        }
    };
    Ok((id, ask))
}

impl Id {
    fn is_short(&self) -> bool {
        match self {
            Self::Number(_) => true,
            Self::Text(text) => text.len() <= ID_BYTES_MAX,
        }
    }
}

/// An error on its way out, over either door.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Error {
    pub(crate) code: &'static str,
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            kind,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadInput, codes::BAD_REQUEST, message)
    }

    pub(crate) fn shutting_down() -> Self {
        let message = "the process is shutting down";
        Self::new(ErrorKind::Unavailable, codes::SHUTTING_DOWN, message)
    }

    pub(crate) fn answer_too_long(bytes_max: usize) -> Self {
        let message = format!("the answer is longer than {bytes_max} bytes");
        Self::new(ErrorKind::Failed, codes::ANSWER_TOO_LONG, message).help("ask for less at once")
    }
}

impl From<OperationError> for Error {
    fn from(error: OperationError) -> Self {
        Self {
            code: error.code,
            kind: error.kind,
            message: error.message,
            help: error.help,
        }
    }
}

/// An answer.
#[derive(Debug, Serialize)]
pub(crate) struct Reply<'a, T> {
    pub(crate) id: Option<&'a Id>,
    #[serde(flatten)]
    pub(crate) body: Body<'a, T>,
}

/// What an answer says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Body<'a, T> {
    Result(&'a T),
    Item(&'a T),
    Done(bool),
    Error(&'a Error),
}

/// Why there is no next line.
#[derive(Debug)]
pub(crate) enum NoLine {
    /// The other side sends no more.
    End,
    /// It was longer than allowed.
    TooLong,
    /// It was begun and not finished in time.
    TooSlow,
    /// The connection broke.
    Broken(io::Error),
}

/// Lines of bounded length from a reader. Dropping the future of [`Lines::next`] loses nothing.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are known to hold no line break.
    searched: usize,
    bytes_max: usize,
    receive: Duration,
    begun: Option<Instant>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, bytes_max: usize, receive: Duration) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            searched: 0,
            bytes_max,
            receive,
            begun: None,
        }
    }

    /// The reader, for a look at its state.
    pub(crate) fn reader(&self) -> &R {
        &self.reader
    }

    /// Whether something was received that is not yet handed out.
    pub(crate) fn is_begun(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next line, without its break. A last line may lack one.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, NoLine> {
        loop {
            if let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|b| *b == b'\n')
            {
                return self.take(self.searched + at);
            }
            self.searched = self.buffer.len();
            if self.searched > self.bytes_max {
                return Err(NoLine::TooLong);
            }
            let read = match (self.begun, self.is_begun()) {
                (Some(begun), true) => {
                    timeout_at(begun + self.receive, self.reader.read_buf(&mut self.buffer))
                        .await
                        .map_err(|_| NoLine::TooSlow)?
                }
                _ => {
                    let read = self.reader.read_buf(&mut self.buffer).await;
                    self.begun = Some(Instant::now());
                    read
                }
            };
            match read {
                Err(error) => return Err(NoLine::Broken(error)),
                Ok(0) if self.is_begun() => {
                    self.searched = 0;
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Ok(0) => return Err(NoLine::End),
                Ok(_) => {}
            }
        }
    }

    fn take(&mut self, end: usize) -> Result<Vec<u8>, NoLine> {
        if end > self.bytes_max {
            return Err(NoLine::TooLong);
        }
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.truncate(end);
        self.searched = 0;
        self.begun = self.is_begun().then(Instant::now);
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::json::line;

    #[test]
    fn requests_are_read_strictly() {
        let ask = |text: &str| parse(text.as_bytes());
        let call = json!({
            "id": 7, "kind": "snmp", "name": "core", "operation": "get",
            "input": {"a": 1}, "deadline_ms": 5,
        });
        let (id, call) = ask(&call.to_string()).unwrap();
        assert_eq!(id, Id::Number(7));
        let Ask::Call(call) = call else {
            panic!("{call:?}")
        };
        assert_eq!((call.kind.as_str(), call.input), ("snmp", json!({"a": 1})));
        assert_eq!(call.deadline, Some(Duration::from_millis(5)));
        assert_eq!(
            ask(r#"{"id":"x","list":true}"#).unwrap(),
            (Id::Text("x".into()), Ask::List)
        );
        let long = format!(r#"{{"id":"{}","list":true}}"#, "x".repeat(65));
        for (text, id) in [
            ("", None),
            ("\u{0}\u{1}", None),
            ("[1]", None),
            (r#"{"list":true}"#, None),
            (r#"{"id":-1,"list":true}"#, None),
            (r#"{"id":{},"list":true}"#, None),
            (long.as_str(), None),
            (r#"{"id":1}"#, Some(Id::Number(1))),
            (r#"{"id":1,"list":false}"#, Some(Id::Number(1))),
            (r#"{"id":1,"list":true,"kind":"a"}"#, Some(Id::Number(1))),
            (r#"{"id":1,"kind":"a","name":"b"}"#, Some(Id::Number(1))),
            (r#"{"id":1,"lsit":true}"#, Some(Id::Number(1))),
            (
                r#"{"id":1,"list":true,"deadline_ms":-4}"#,
                Some(Id::Number(1)),
            ),
        ] {
            let (found, error) = ask(text).unwrap_err();
            assert_eq!((found, error.code), (id, codes::BAD_REQUEST), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!(r#"{{"id":1,"input":{}"#, "[".repeat(500_000));
        parse(deep.as_bytes()).unwrap_err();
    }

    #[test]
    fn answers_have_one_form_each() {
        let id = Id::Number(3);
        let error = Error::new(ErrorKind::NotFound, "T0602", "no").help("yes");
        let reply = |body| {
            let id = Some(&id);
            String::from_utf8(line(&Reply { id, body }, 1000).unwrap()).unwrap()
        };
        let value = json!([1]);
        assert_eq!(reply(Body::Result(&value)), r#"{"id":3,"result":[1]}"#);
        assert_eq!(reply(Body::Item(&value)), r#"{"id":3,"item":[1]}"#);
        assert_eq!(reply(Body::Done(true)), r#"{"id":3,"done":true}"#);
        assert_eq!(
            reply(Body::Error(&error)),
            r#"{"id":3,"error":{"code":"T0602","kind":"not-found","message":"no","help":"yes"}}"#
        );
    }

    #[tokio::test]
    async fn lines_end_at_their_break_and_at_their_bound() {
        let bytes: &[u8] = b"ab\n\ncdef\nghijk";
        let mut lines = Lines::new(bytes, 4, Duration::from_secs(1));
        assert_eq!(lines.next().await.unwrap(), b"ab");
        assert_eq!(lines.next().await.unwrap(), b"");
        assert_eq!(lines.next().await.unwrap(), b"cdef");
        assert!(matches!(lines.next().await, Err(NoLine::TooLong)));
        let mut lines = Lines::new(&b"last"[..], 4, Duration::from_secs(1));
        assert_eq!(lines.next().await.unwrap(), b"last");
        assert!(matches!(lines.next().await, Err(NoLine::End)));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(256)
        })]
        #[test]
        fn no_line_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&bytes));
        }
    }
}
