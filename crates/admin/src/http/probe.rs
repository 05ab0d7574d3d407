//! What everybody may ask: alive, ready, the metrics. And the index, for who has the token.
//!
//! A probe answers from what is known, at once. `?verbose` adds a line per component with its
//! reasons; foreign words in them are escaped.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use trunkline_engine::health::{Report, Status};
use trunkline_runtime::log::Escaped;
use trunkline_runtime::operation::{Door, Effect, ErrorKind};

use super::reply::{OPEN_METRICS, TEXT, Turn, failure, with, wrong_method};
use crate::counters::Refusal;
use crate::explain::codes;
use crate::server::Shared;
use crate::socket::wire::Error;

/// Paths beside those of the operations.
const PATHS: [(&str, &str); 6] = [
    ("/livez", "whether the loops turn"),
    (
        "/readyz",
        "whether traffic should come here; ?verbose says why not",
    ),
    ("/metrics", "OpenMetrics"),
    ("/api/v1/operations", "all operations with their schemas"),
    (
        "/api/v1/KIND/NAME/OPERATION",
        "one operation: GET when it reads, else POST",
    ),
    (
        "/dashboard",
        "a page for people; `trunkline dashboard` makes the link",
    ),
];

pub(crate) async fn live(Extension(turn): Extension<Turn>, request: Request) -> Response {
    probe(&turn, &request, "live", |_, report| report.is_live())
}

pub(crate) async fn ready(Extension(turn): Extension<Turn>, request: Request) -> Response {
    probe(&turn, &request, "ready", |shared, report| {
        report.is_ready() && !shared.draining.load(Ordering::Acquire)
    })
}

fn probe(
    turn: &Turn,
    request: &Request,
    word: &str,
    judge: fn(&Shared, &Report) -> bool,
) -> Response {
    if !is_look(request.method()) {
        return wrong_method("GET, HEAD");
    }
    let report = (turn.shared.health)();
    let good = judge(&turn.shared, &report);
    let mut text = if good {
        format!("{word}\n")
    } else {
        format!("not {word}\n")
    };
    let is_verbose = |part: &str| part == "verbose" || part.starts_with("verbose=");
    if request
        .uri()
        .query()
        .is_some_and(|query| query.split('&').any(is_verbose))
    {
        describe(&mut text, &turn.shared, &report);
    }
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    with(status, TEXT, turn.body(text.into_bytes(), None))
}

fn describe(text: &mut String, shared: &Shared, report: &Report) {
    let mut line = |sign: &str, name: &str, rest: &str| {
        // Writing to a string cannot fail.
        writeln!(text, "[{sign}] {}{}", Escaped(name), Escaped(rest)).ok();
    };
    if shared.draining.load(Ordering::Acquire) {
        line("-", "shutdown", ": draining");
    }
    for component in &report.components {
        let sign = match component.status() {
            Status::Good => "+",
            Status::Degraded => "~",
            Status::Unready | Status::Dead => "-",
        };
        let rest = match component.reasons.as_slice() {
            [] => String::new(),
            reasons => format!(": {}", reasons.join("; ")),
        };
        line(sign, &component.name, &rest);
    }
}

pub(crate) async fn metrics(Extension(turn): Extension<Turn>, method: Method) -> Response {
    if !is_look(&method) {
        return wrong_method("GET, HEAD");
    }
    let shared = Arc::clone(&turn.shared);
    let Ok(permit) = Arc::clone(&shared.scrapes).try_acquire_owned() else {
        shared.counters.door(Door::Http).refused(Refusal::InFlight);
        let message = "as many scrapes are under way as are allowed";
        let error = Error::new(ErrorKind::Refused, codes::TOO_MANY, message);
        return failure(StatusCode::TOO_MANY_REQUESTS, &error);
    };
    // A hundred thousand series take a while to print; the doors' own threads must not.
    match tokio::task::spawn_blocking(move || shared.metrics.render()).await {
        Ok(text) => {
            let body = turn.body(text.into_bytes(), Some(permit));
            with(StatusCode::OK, OPEN_METRICS, body)
        }
        // Collectors that panic are caught where they are called; what is left is the end.
        Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, &Error::shutting_down()),
    }
}

pub(crate) async fn index(
    Extension(turn): Extension<Turn>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if !is_look(&method) {
        return wrong_method("GET, HEAD");
    }
    let operations = turn.shared.registry.list();
    let accept = headers.get(header::ACCEPT).map(|value| value.as_bytes());
    let wanted = b"application/json";
    if accept.is_some_and(|accept| accept.windows(wanted.len()).any(|part| part == wanted)) {
        let paths: serde_json::Map<_, _> = PATHS
            .iter()
            .map(|(path, what)| ((*path).to_owned(), json!(what)))
            .collect();
        let operations: Vec<_> = operations
            .iter()
            .map(|one| format!("{}/{}/{}", one.kind, one.name, one.operation))
            .collect();
        let index = json!({"schema_version": 1, "paths": paths, "operations": operations});
        return turn.value(&index);
    }
    let mut text = String::from("Trunkline\n\n");
    for (path, what) in PATHS {
        writeln!(text, "{path}  {what}").ok();
    }
    text.push('\n');
    for one in operations {
        let method = if one.effect == Effect::Read {
            "GET "
        } else {
            "POST"
        };
        let path = format!("/api/v1/{}/{}/{}", one.kind, one.name, one.operation);
        let summary = Escaped(&one.summary);
        writeln!(text, "{method} {}  {summary}", Escaped(&path)).ok();
    }
    let body: Body = turn.body(text.into_bytes(), None);
    with(StatusCode::OK, TEXT, body)
}

fn is_look(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
