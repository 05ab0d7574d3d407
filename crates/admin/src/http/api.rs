//! Operations over HTTP.
//!
//! A read is a GET with its input in the query, or a POST when the input does not fit into one;
//! everything else is a POST with a JSON body, so that no link, image or prefetch ever changes
//! anything. The body has a bound and a time to arrive. A caller who leaves takes his call with
//! him.

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::timeout;
use trunkline_runtime::operation::{Actor, Answer, Context, Description, Door, Effect, ErrorKind};

use super::query;
use super::reply::{StreamForm, Turn, failure, operation_failure, wrong_method};
use crate::counters::Refusal;
use crate::explain::codes;
use crate::socket::wire::Error;

pub(crate) async fn operations(Extension(turn): Extension<Turn>, method: Method) -> Response {
    if method != Method::GET {
        return wrong_method("GET");
    }
    turn.value(&json!({"schema_version": 1, "operations": turn.shared.registry.list()}))
}

pub(crate) async fn call(
    Extension(turn): Extension<Turn>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    request: Request,
) -> Response {
    let (Ok(Path((kind, name, operation))), Ok(Query(query))) = (path, query) else {
        let error = Error::bad_request("the path or the query cannot be decoded");
        return failure(StatusCode::BAD_REQUEST, &error);
    };
    let registry = &turn.shared.registry;
    let is_meant =
        |one: &Description| (&one.kind, &one.name, &one.operation) == (&kind, &name, &operation);
    let Some(description) = registry.list().into_iter().find(is_meant) else {
        let message = format!("there is no operation {kind}/{name}/{operation}");
        let error = Error::new(ErrorKind::NotFound, codes::NO_PAGE, message)
            .help("GET /api/v1/operations lists those that are");
        return failure(StatusCode::NOT_FOUND, &error);
    };
    let form = StreamForm::wanted(request.headers().get(header::ACCEPT));
    let input = match (request.method(), description.effect) {
        (&Method::GET, Effect::Read) => query::input(&description.input, query)
            .map_err(|error| failure(StatusCode::BAD_REQUEST, &error)),
        (&Method::POST, _) if query.is_empty() => body(&turn, request).await,
        (&Method::POST, _) => {
            let error = Error::bad_request("the input of a POST goes into its body");
            Err(failure(StatusCode::BAD_REQUEST, &error))
        }
        (_, Effect::Read) => Err(wrong_method("GET, POST")),
        _ => Err(wrong_method("POST")),
    };
    let input = match input {
        Ok(input) => input,
        Err(response) => return response,
    };
    let via = Door::Http;
    let context = Context::new(Actor { uid: None, via });
    match registry
        .call(&kind, &name, &operation, input, context)
        .await
    {
        Ok(Answer::One(value)) => turn.value(&value),
        Ok(Answer::Stream(items)) => turn.stream(items, form),
        Err(error) => operation_failure(error),
    }
}

/// The input from the body; none at all is null.
async fn body(turn: &Turn, request: Request) -> Result<Value, Response> {
    let limits = &turn.shared.limits;
    let counters = turn.shared.counters.door(Door::Http);
    let is_json = is_json(request.headers());
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_long = || {
        counters.refused(Refusal::Oversize);
        let message = format!("a body has at most {} bytes", limits.request_bytes);
        let error = Error::new(ErrorKind::Refused, codes::TOO_LONG, message);
        failure(StatusCode::PAYLOAD_TOO_LARGE, &error)
    };
    if length.is_some_and(|length| length > limits.request_bytes as u64) {
        return Err(too_long());
    }
    let read = axum::body::to_bytes(request.into_body(), limits.request_bytes);
    let bytes = match timeout(limits.receive, read).await {
        Ok(Ok(bytes)) => bytes,
        // A body that broke off has nobody to answer to; what is left is one that was too long.
        Ok(Err(_)) => return Err(too_long()),
        Err(_) => {
            counters.refused(Refusal::SlowSender);
            let message = "the body did not arrive in time";
            let error = Error::new(ErrorKind::Timeout, codes::TOO_SLOW, message);
            return Err(failure(StatusCode::REQUEST_TIMEOUT, &error));
        }
    };
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if !is_json {
        let error = Error::new(ErrorKind::BadInput, codes::NOT_JSON, "the body is not JSON")
            .help("send the content type application/json");
        return Err(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the body is not JSON: {error}");
        let error = Error::new(ErrorKind::BadInput, codes::NOT_JSON, message);
        failure(StatusCode::BAD_REQUEST, &error)
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE);
    let text = text
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
