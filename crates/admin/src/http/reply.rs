//! Answers over HTTP.
//!
//! Short ones are handed over whole. Long ones, and streams, pass through a small pipe, so that
//! what waits for a slow reader is that pipe and one item, and so that an answer that is cut off
//! is seen to be: the chunked body lacks its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, duplex};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_util::io::ReaderStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use trunkline_engine::fault::{Fault, Place};
use trunkline_runtime::operation::{Door, ErrorKind, OperationError};

use super::link::Busy;
use crate::counters::Refusal;
use crate::json;
use crate::pace::{self, Unread};
use crate::server::Shared;
use crate::socket::wire::{Body, Error};

/// The size of the pipe, and of what needs none.
const PIPE_BYTES: usize = 64 << 10;
/// How often a quiet event stream says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(crate) const JSON: &str = "application/json";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One request: what is needed to answer it.
#[derive(Clone)]
pub(crate) struct Turn {
    pub(crate) shared: Arc<Shared>,
    pub(crate) busy: Arc<Busy>,
}

/// An answer of any kind.
pub(crate) fn with(status: StatusCode, content_type: &'static str, body: HttpBody) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// An error of ours.
pub(crate) fn failure(status: StatusCode, error: &Error) -> Response {
    let body = json::line(&Body::<()>::Error(error), usize::MAX).unwrap_or_default();
    with(status, JSON, HttpBody::from(body))
}

/// The method does not fit; `allowed` is what does.
pub(crate) fn wrong_method(allowed: &'static str) -> Response {
    let message = "this method does not fit here";
    let error = Error::new(ErrorKind::Refused, crate::codes::WRONG_METHOD, message)
        .help(format!("use {allowed}"));
    let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, &error);
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// An operation's error.
pub(crate) fn operation_failure(error: OperationError) -> Response {
    failure(status(&error), &error.into())
}

fn status(error: &OperationError) -> StatusCode {
    match error.kind {
        ErrorKind::BadInput => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        // A limit passes, a prohibition does not.
        ErrorKind::Refused if error.retry().place != Place::Nowhere => {
            StatusCode::TOO_MANY_REQUESTS
        }
        ErrorKind::Refused => StatusCode::FORBIDDEN,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Turn {
    /// One value as JSON.
    pub(crate) fn value<T: Serialize>(&self, value: &T) -> Response {
        let bytes_max = self.shared.limits.answer_bytes;
        match json::line(value, bytes_max) {
            Some(bytes) => with(StatusCode::OK, JSON, self.body(bytes, None)),
            None => {
                let counters = self.shared.counters.door(Door::Http);
                counters.refused(Refusal::LongAnswer);
                let error = Error::answer_too_long(bytes_max);
                failure(StatusCode::INTERNAL_SERVER_ERROR, &error)
            }
        }
    }

    /// A body; `permit` is given back when it has been taken by the reader, but for a pipe full.
    pub(crate) fn body(&self, bytes: Vec<u8>, permit: Option<OwnedSemaphorePermit>) -> HttpBody {
        if bytes.len() <= PIPE_BYTES {
            return HttpBody::from(bytes);
        }
        let (mut writer, body) = self.pipe();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            if writer.write(&bytes, &shared).await {
                writer.complete();
            }
            drop(permit);
        });
        body
    }

    /// A stream, as lines of JSON or as server-sent events.
    pub(crate) fn stream(
        &self,
        items: mpsc::Receiver<Result<Value, OperationError>>,
        form: StreamForm,
    ) -> Response {
        let (writer, body) = self.pipe();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(pump(items, form, writer, shared));
        with(StatusCode::OK, form.content_type(), body)
    }

    fn pipe(&self) -> (PipeWriter, HttpBody) {
        let (writer, reader) = duplex(PIPE_BYTES);
        let left = CancellationToken::new();
        let complete = Arc::new(AtomicBool::new(false));
        let reader = PipeReader {
            pipe: reader,
            complete: Arc::clone(&complete),
            _left: left.clone().drop_guard(),
            _busy: Arc::clone(&self.busy),
        };
        let writer = PipeWriter {
            pipe: writer,
            complete,
            left,
        };
        (writer, HttpBody::from_stream(ReaderStream::new(reader)))
    }
}

/// How the items of a stream look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamForm {
    /// `{"item": …}` per line, at last `{"done": true}` or `{"error": …}`.
    Lines,
    /// Server-sent events; the last has the type `done` or `error`.
    Events,
}

impl StreamForm {
    /// What an `Accept` header asks for.
    pub(crate) fn wanted(accept: Option<&HeaderValue>) -> Self {
        let accept = accept.map(HeaderValue::as_bytes).unwrap_or_default();
        let events = b"text/event-stream";
        if accept
            .windows(events.len())
            .any(|part| part.eq_ignore_ascii_case(events))
        {
            Self::Events
        } else {
            Self::Lines
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    /// One item or end; `None` when it is too long.
    fn render(self, body: &Body<'_, Value>, bytes_max: usize) -> Option<Vec<u8>> {
        let (event, json) = match (self, body) {
            (Self::Lines, body) => {
                let mut line = json::line(body, bytes_max)?;
                line.push(b'\n');
                return Some(line);
            }
            (Self::Events, Body::Item(value) | Body::Result(value)) => {
                ("", json::line(value, bytes_max)?)
            }
            (Self::Events, Body::Done(_)) => ("event: done\n", json::line(&json!({}), bytes_max)?),
            (Self::Events, Body::Error(error)) => {
                ("event: error\n", json::line(error, usize::MAX)?)
            }
        };
        Some([event.as_bytes(), b"data: ", &json, b"\n\n"].concat())
    }
}

async fn pump(
    mut items: mpsc::Receiver<Result<Value, OperationError>>,
    form: StreamForm,
    mut writer: PipeWriter,
    shared: Arc<Shared>,
) {
    let bytes_max = shared.limits.answer_bytes;
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            () = writer.left.cancelled() => return,
            () = shared.stop.cancelled() => {
                writer.end(form, &Body::Error(&Error::shutting_down()), &shared).await;
                return;
            }
            () = sleep(HEARTBEAT), if form == StreamForm::Events => {
                if !writer.write(b":\n\n", &shared).await {
                    return;
                }
                continue;
            }
        };
        let value = match item {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                writer.end(form, &Body::Error(&error.into()), &shared).await;
                return;
            }
            None => return writer.end(form, &Body::Done(true), &shared).await,
        };
        let Some(bytes) = form.render(&Body::Item(&value), bytes_max) else {
            shared
                .counters
                .door(Door::Http)
                .refused(Refusal::LongAnswer);
            let error = Error::answer_too_long(bytes_max);
            return writer.end(form, &Body::Error(&error), &shared).await;
        };
        if !writer.write(&bytes, &shared).await {
            return;
        }
    }
}

struct PipeWriter {
    pipe: DuplexStream,
    complete: Arc<AtomicBool>,
    /// Cancelled when the reader has left.
    left: CancellationToken,
}

impl PipeWriter {
    /// Writes as far as the reader keeps up; false when he has left or does not read.
    async fn write(&mut self, bytes: &[u8], shared: &Shared) -> bool {
        let written = tokio::select! {
            written = pace::write(&mut self.pipe, bytes, &shared.limits) => written,
            () = self.left.cancelled() => return false,
        };
        if written == Err(Unread::Slow) {
            shared
                .counters
                .door(Door::Http)
                .refused(Refusal::SlowReader);
        }
        written.is_ok()
    }

    async fn end(&mut self, form: StreamForm, body: &Body<'_, Value>, shared: &Shared) {
        let bytes = form.render(body, usize::MAX).unwrap_or_default();
        if self.write(&bytes, shared).await {
            self.complete();
        }
    }

    fn complete(&self) {
        self.complete.store(true, Ordering::Release);
    }
}

struct PipeReader {
    pipe: DuplexStream,
    complete: Arc<AtomicBool>,
    _left: DropGuard,
    _busy: Arc<Busy>,
}

impl AsyncRead for PipeReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.pipe).poll_read(cx, buffer);
        let at_end = matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        if at_end && !self.complete.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_have_their_status() {
        let of = |kind| status(&OperationError::new(kind, "T0999", "x")).as_u16();
        assert_eq!(of(ErrorKind::BadInput), 400);
        assert_eq!(of(ErrorKind::NotFound), 404);
        assert_eq!(of(ErrorKind::Unavailable), 503);
        assert_eq!(of(ErrorKind::Timeout), 504);
        assert_eq!(of(ErrorKind::Refused), 403);
        assert_eq!(of(ErrorKind::Failed), 500);
        let busy = OperationError::new(ErrorKind::Refused, "T0604", "x");
        assert_eq!(status(&busy).as_u16(), 429);
    }

    #[test]
    fn accept_chooses_the_form() {
        let form = |text| StreamForm::wanted(Some(&HeaderValue::from_static(text)));
        assert_eq!(form("text/event-stream"), StreamForm::Events);
        assert_eq!(
            form("application/json, Text/Event-Stream;q=1"),
            StreamForm::Events
        );
        assert_eq!(form("*/*"), StreamForm::Lines);
        assert_eq!(StreamForm::wanted(None), StreamForm::Lines);
    }

    #[test]
    fn items_have_one_form_each() {
        let error = Error::new(ErrorKind::Failed, "T0001", "no");
        let item = json!("a\nb");
        let text =
            |form: StreamForm, body| String::from_utf8(form.render(&body, 1000).unwrap()).unwrap();
        let (lines, events) = (StreamForm::Lines, StreamForm::Events);
        assert_eq!(text(lines, Body::Item(&item)), "{\"item\":\"a\\nb\"}\n");
        assert_eq!(text(lines, Body::Done(true)), "{\"done\":true}\n");
        assert_eq!(text(events, Body::Item(&item)), "data: \"a\\nb\"\n\n");
        assert_eq!(text(events, Body::Done(true)), "event: done\ndata: {}\n\n");
        let ended = text(events, Body::Error(&error));
        assert!(
            ended.starts_with("event: error\ndata: {\"code\":\"T0001\""),
            "{ended}"
        );
    }
}
