//! The dashboard's keys: a link that opens once, and what it opens.
//!
//! The link is minted over the control socket, so whoever has it was let in by the file system. It
//! is exchanged for a cookie that holds for an hour, for these pages only: the cookie opens no
//! operation, so a page of another site that makes the browser send it gains nothing. Keys are 256
//! bits from the system's generator; few are kept, and the oldest goes first.

mod page;

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_engine::time::Time;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::entropy;
use trunkline_runtime::operation::{Context, Door, Effect, ErrorKind, Operation, OperationError};

use crate::explain::codes;
use crate::http::names::is_same_secret;
use crate::http::reply::{TEXT, Turn, failure, with, wrong_method};
use crate::socket::wire::Error;

/// Where the page is.
pub(crate) const PATH: &str = "/dashboard";
/// Where a link leads.
pub(crate) const LINK_PATH: &str = "/dashboard/open";

const COOKIE: &str = "trunkline_dashboard";
/// How long a link waits to be opened.
const LINK_LIFE: Duration = Duration::from_secs(60);
/// How long what it opened stays open.
const SESSION_LIFE: Duration = Duration::from_secs(3600);
/// Links, and sessions, at once.
const KEYS_MAX: usize = 16;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A link to the dashboard.
#[derive(Serialize, JsonSchema)]
struct Link {
    /// The address to open; it works once.
    url: String,
    /// How long it waits to be opened, in seconds.
    expires_in_s: u64,
}

/// The operation that mints a link to one of the `bound` addresses.
pub(crate) fn link_operation(keys: &Arc<Keys>, bound: &[SocketAddr]) -> Operation {
    let base = bound
        .iter()
        .min_by_key(|address| !is_near(address))
        .map(reachable);
    let keys = Arc::clone(keys);
    let summary = "A link that opens the dashboard once.";
    let handler = move |context: Context, Nothing {}| {
        let minted = mint(&keys, base, &context);
        async move { minted }
    };
    let (kind, name, operation) = ("engine", "process", "dashboard-link");
    Operation::one(kind, name, operation, summary, Effect::Change, handler)
}

fn mint(keys: &Keys, base: Option<SocketAddr>, context: &Context) -> Result<Link, OperationError> {
    if context.actor.via == Door::Http {
        let message = "a link is handed out over the control socket only";
        let error = OperationError::new(ErrorKind::Refused, codes::SOCKET_ONLY, message);
        return Err(error.help("run `trunkline dashboard` on the host"));
    }
    let Some(base) = base else {
        let message = "there is no HTTP: admin.listen is empty";
        let error = OperationError::new(ErrorKind::Unavailable, codes::NO_PAGE, message);
        return Err(error.help("set admin.listen = [\"127.0.0.1:9464\"]"));
    };
    Ok(Link {
        url: format!("http://{base}{LINK_PATH}?key={}", keys.mint()),
        expires_in_s: LINK_LIFE.as_secs(),
    })
}

fn is_near(address: &SocketAddr) -> bool {
    address.ip().is_loopback() || address.ip().is_unspecified()
}

/// An address that a browser on this host can open.
fn reachable(address: &SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The keys that are valid now.
#[derive(Debug)]
pub(crate) struct Keys {
    clock: Clock,
    rings: Mutex<Rings>,
}

#[derive(Debug, Default)]
struct Rings {
    links: Ring,
    sessions: Ring,
}

#[derive(Default)]
struct Ring(VecDeque<(String, Time)>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl Keys {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            rings: Mutex::default(),
        }
    }

    /// A key that opens one session.
    fn mint(&self) -> String {
        self.lock().links.add(self.clock.now(), LINK_LIFE)
    }

    /// The session that `key` opens, the first time.
    fn redeem(&self, key: &str) -> Option<String> {
        let now = self.clock.now();
        let mut rings = self.lock();
        let at = rings.links.find(key, now)?;
        rings.links.0.remove(at);
        Some(rings.sessions.add(now, SESSION_LIFE))
    }

    /// Whether `session` is open.
    fn is_open(&self, session: &str) -> bool {
        let now = self.clock.now();
        self.lock().sessions.find(session, now).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn add(&mut self, now: Time, life: Duration) -> String {
        if self.0.len() >= KEYS_MAX {
            self.0.pop_front();
        }
        let key = random();
        self.0.push_back((key.clone(), now + life));
        key
    }

    fn find(&mut self, key: &str, now: Time) -> Option<usize> {
        self.0.retain(|(_, until)| now < *until);
        let is_it = |one: &(String, Time)| is_same_secret(key.as_bytes(), one.0.as_bytes());
        self.0.iter().position(is_it)
    }
}

/// 256 bits that nobody can predict, in hexadecimal.
fn random() -> String {
    let mut text = String::with_capacity(64);
    for _ in 0..4 {
        // Writing to a string cannot fail.
        write!(text, "{:016x}", entropy::seed()).ok();
    }
    text
}

/// Exchanges a link's key for a session.
pub(crate) async fn open(Extension(turn): Extension<Turn>, request: Request) -> Response {
    // A HEAD, as link previews send it, must not use the link up.
    if request.method() != Method::GET {
        return wrong_method("GET");
    }
    let query = request.uri().query().unwrap_or_default();
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key="));
    let Some(session) = key.and_then(|key| turn.shared.keys.redeem(key)) else {
        return locked();
    };
    let life = SESSION_LIFE.as_secs();
    let cookie =
        format!("{COOKIE}={session}; Path={PATH}; Max-Age={life}; HttpOnly; SameSite=Strict");
    let mut response = with(StatusCode::SEE_OTHER, TEXT, Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static(PATH));
    let no_referrer = HeaderValue::from_static("no-referrer");
    headers.insert(header::REFERRER_POLICY, no_referrer);
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

/// The page.
pub(crate) async fn page(
    Extension(turn): Extension<Turn>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET {
        return wrong_method("GET");
    }
    if !session(&headers).is_some_and(|session| turn.shared.keys.is_open(session)) {
        return locked();
    }
    page::show(&turn, &random()).await
}

fn locked() -> Response {
    let message = "this link is spent, or the session is over";
    let error = Error::new(ErrorKind::Refused, codes::LINK_SPENT, message)
        .help("run `trunkline dashboard` for a new link");
    failure(StatusCode::FORBIDDEN, &error)
}

fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_once_and_a_session_is_no_key() {
        let keys = Keys::new(Clock::start());
        let key = keys.mint();
        assert_eq!((key.len(), keys.redeem("")), (64, None));
        let session = keys.redeem(&key).unwrap();
        assert!(keys.is_open(&session) && !keys.is_open(&key));
        assert_eq!(keys.redeem(&key), None);
        assert_eq!(keys.redeem(&session), None);
    }

    #[test]
    fn keys_run_out_and_the_oldest_makes_room() {
        let mut ring = Ring::default();
        let life = Duration::from_secs(60);
        let first = ring.add(Time::ZERO, life);
        assert!(ring.find(&first, Time::from_millis(59_999)).is_some());
        assert_eq!(ring.find(&first, Time::from_millis(60_000)), None);
        assert!(ring.0.is_empty(), "what has run out is not kept");
        let first = ring.add(Time::ZERO, life);
        let second = ring.add(Time::ZERO, life);
        for _ in 0..KEYS_MAX - 1 {
            ring.add(Time::ZERO, life);
        }
        assert_eq!(
            (ring.find(&first, Time::ZERO), ring.0.len()),
            (None, KEYS_MAX)
        );
        assert!(ring.find(&second, Time::ZERO).is_some());
    }

    #[test]
    fn links_lead_where_a_browser_can_go() {
        for (bound, wanted) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.5:1", "10.0.0.5:1"),
        ] {
            assert_eq!(reachable(&bound.parse().unwrap()).to_string(), wanted);
        }
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        let cookie = "a=1; trunkline_dashboardx=2; trunkline_dashboard=3";
        headers.append(header::COOKIE, HeaderValue::from_static(cookie));
        assert_eq!(session(&headers), Some("3"));
    }
}
