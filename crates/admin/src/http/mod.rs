//! HTTP: one gate, then a handful of paths.
//!
//! The gate decides in this order: is the request for us (`Host`), may the caller (token), and, for
//! what changes something, does it come from a page of another site (`Origin`). Only the probes,
//! and the metrics unless they are closed, are open to everybody; a path that does not exist is
//! not, so that nobody learns what does. The dashboard's pages have keys of their own.

mod api;
mod link;
pub(crate) mod names;
mod probe;
mod query;
pub(crate) mod reply;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::any;
use tokio::net::TcpListener;
use trunkline_runtime::operation::{Door, ErrorKind};

use self::link::{DoorListener, Link};
use self::reply::{Turn, failure};
use crate::config::MetricsAccess;
use crate::counters::Refusal;
use crate::dashboard;
use crate::explain::codes;
use crate::server::Shared;
use crate::socket::wire::Error;

/// Serves one address until the process stops and its connections have ended.
pub(crate) async fn run(listener: TcpListener, local: SocketAddr, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/", any(probe::index))
        .route("/livez", any(probe::live))
        .route("/health/live", any(probe::live))
        .route("/readyz", any(probe::ready))
        .route("/health/ready", any(probe::ready))
        .route("/health", any(probe::ready))
        .route("/metrics", any(probe::metrics))
        .route("/api/v1/operations", any(api::operations))
        .route("/api/v1/{kind}/{name}/{operation}", any(api::call))
        .route(dashboard::PATH, any(dashboard::page))
        .route(dashboard::LINK_PATH, any(dashboard::open))
        .fallback(missing)
        .layer(from_fn_with_state(Arc::clone(&shared), gate));
    let stop = shared.stop.clone().cancelled_owned();
    let listener = DoorListener::new(listener, local, shared);
    let service = router.into_make_service_with_connect_info::<Link>();
    let served = axum::serve(listener, service).with_graceful_shutdown(stop);
    if let Err(error) = served.await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

async fn missing() -> Response {
    let error = Error::new(
        ErrorKind::NotFound,
        codes::NO_PAGE,
        "there is nothing at this path",
    )
    .help("GET / lists what is here");
    failure(StatusCode::NOT_FOUND, &error)
}

async fn gate(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(link): ConnectInfo<Link>,
    mut request: Request,
    next: Next,
) -> Response {
    let busy = Arc::new(link.begin());
    let counters = shared.counters.door(Door::Http);
    counters.requested();
    let mut response = match admit(&shared, &link, &request) {
        Ok(()) => {
            let shared = Arc::clone(&shared);
            request.extensions_mut().insert(Turn { shared, busy });
            next.run(request).await
        }
        Err(Refused { why, status, error }) => {
            counters.refused(why);
            refusal(status, &error)
        }
    };
    let headers = response.headers_mut();
    let no_sniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refusal(status: StatusCode, error: &Error) -> Response {
    let mut response = failure(status, error);
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"trunkline\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

struct Refused {
    why: Refusal,
    status: StatusCode,
    error: Error,
}

fn admit(shared: &Shared, link: &Link, request: &Request) -> Result<(), Refused> {
    let host = admit_host(shared, link, request)?;
    admit_caller(shared, request)?;
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    if origins.all(|origin| names::is_same_origin(origin.to_str().unwrap_or_default(), &host)) {
        return Ok(());
    }
    let message = "the request comes from a page of another site";
    Err(Refused {
        why: Refusal::Origin,
        status: StatusCode::FORBIDDEN,
        error: Error::new(ErrorKind::Refused, codes::FOREIGN_ORIGIN, message),
    })
}

/// The host, with its port, that the request names, when it is ours.
fn admit_host(shared: &Shared, link: &Link, request: &Request) -> Result<String, Refused> {
    let refused = |status, kind, code, message: &str| Refused {
        why: Refusal::Host,
        status,
        error: Error::new(kind, code, message)
            .help("use an address of this process or localhost, or list the name in admin.hosts"),
    };
    let malformed = |message| {
        let (status, kind) = (StatusCode::BAD_REQUEST, ErrorKind::BadInput);
        refused(status, kind, codes::BAD_REQUEST, message)
    };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(malformed("the request needs one Host header"));
    };
    let host = host.to_str().unwrap_or_default();
    // A target in absolute form names a host too, and then it is that one that is meant.
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    for authority in [Some(host), target].into_iter().flatten() {
        let Some(name) = names::host_of(authority) else {
            return Err(malformed("the Host header is malformed"));
        };
        if !names::is_ours(name, link.local().ip(), &shared.hosts) {
            let message = "the request is for another host";
            let (status, kind) = (StatusCode::MISDIRECTED_REQUEST, ErrorKind::Refused);
            return Err(refused(status, kind, codes::WRONG_HOST, message));
        }
    }
    Ok(host.to_owned())
}

fn admit_caller(shared: &Shared, request: &Request) -> Result<(), Refused> {
    let is_free = match request.uri().path() {
        "/livez" | "/readyz" | "/health" | "/health/live" | "/health/ready" => true,
        "/metrics" => shared.metrics_access == MetricsAccess::Open,
        // Their own keys open these.
        dashboard::PATH | dashboard::LINK_PATH => true,
        _ => false,
    };
    if is_free {
        return Ok(());
    }
    let Some(token) = &shared.token else {
        let message = "without admin.token_file HTTP serves probes and open metrics only";
        return Err(Refused {
            why: Refusal::Token,
            status: StatusCode::FORBIDDEN,
            error: Error::new(ErrorKind::Refused, codes::TOKEN_UNSET, message)
                .help("set admin.token_file, or use the control socket"),
        });
    };
    if bearer(request.headers())
        .is_some_and(|given| names::is_same_secret(given, token.expose().as_bytes()))
    {
        return Ok(());
    }
    Err(Refused {
        why: Refusal::Token,
        status: StatusCode::UNAUTHORIZED,
        error: Error::new(
            ErrorKind::Refused,
            codes::NO_TOKEN,
            "the bearer token is missing or wrong",
        )
        .help("send `Authorization: Bearer` with the content of admin.token_file"),
    })
}

/// The token of the one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then_some(token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_stands_alone() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(of(&["Bearer abc"]).as_deref(), Some(&b"abc"[..]));
        assert_eq!(of(&["bearer  abc"]).as_deref(), Some(&b"abc"[..]));
        for none in [
            &[][..],
            &["Basic abc"],
            &["Bearer"],
            &["Bearer a", "Bearer b"],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
