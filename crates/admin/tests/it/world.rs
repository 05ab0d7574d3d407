//! A server with made-up operations, and a plain HTTP client.

use std::future::pending;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use trunkline_admin::{AdminConfig, AdminServer, ControlClient, Limits};
use trunkline_config::SecretFile;
use trunkline_engine::health::{Health, Need, ResourceLimits, Resources};
use trunkline_runtime::clock::Clock;
use trunkline_runtime::metrics::{BuildInfo, MetricRegistry};
use trunkline_runtime::operation::{
    Context, Effect, ErrorKind, ItemSender, Operation, OperationError, Registration, Registry,
};

pub(crate) const TOKEN: &str = "a-token-of-some-length";
/// Longer than anything here may take.
pub(crate) const SOON: Duration = Duration::from_secs(5);

pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trunkline-admin-it-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// What handlers leave behind for tests to look at.
#[derive(Default)]
pub(crate) struct Traces {
    /// Calls of `set`.
    pub(crate) sets: AtomicU64,
    /// Handlers of `wait` and `flood` that are under way.
    pub(crate) running: AtomicI64,
    /// The callers of `who`.
    pub(crate) callers: Mutex<Vec<Option<u32>>>,
}

struct Running(Arc<Traces>);

impl Running {
    fn new(traces: &Arc<Traces>) -> Self {
        traces.running.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(traces))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Traces {
    pub(crate) async fn until_running(&self, wanted: i64) {
        for _ in 0..500 {
            if self.running.load(Ordering::SeqCst) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let found = self.running.load(Ordering::SeqCst);
        panic!("{found} handlers are under way, not {wanted}");
    }
}

pub(crate) struct World {
    pub(crate) server: Option<AdminServer>,
    pub(crate) metrics: MetricRegistry,
    pub(crate) traces: Arc<Traces>,
    pub(crate) health: Health,
    pub(crate) config: AdminConfig,
    pub(crate) dir: TempDir,
    _operations: Vec<Registration>,
}

/// One address on loopback, a token, a socket in `dir`.
pub(crate) fn config_in(dir: &Path) -> AdminConfig {
    let token = dir.join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    AdminConfig {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        token_file: Some(SecretFile::new(token)),
        socket: Some(dir.join("control.sock")),
        ..AdminConfig::default()
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut AdminConfig, &mut Limits)) -> Self {
        let dir = TempDir::new();
        let mut config = config_in(dir.path());
        let mut limits = Limits::default();
        change(&mut config, &mut limits);
        let clock = Clock::start();
        let build = BuildInfo {
            version: "0".into(),
            commit: "0".into(),
        };
        let metrics = MetricRegistry::new(clock, build);
        let registry = Registry::new();
        let traces = Arc::new(Traces::default());
        let operations = operations(&registry, &traces);
        let health = Health::new(ResourceLimits::default());
        let asked = health.clone();
        let report = Arc::new(move || asked.report(clock.now(), &Resources::default()));
        let server =
            AdminServer::start_within(limits, &config, registry, metrics.clone(), report, clock);
        Self {
            server: Some(server.await.unwrap()),
            metrics,
            traces,
            health,
            config,
            dir,
            _operations: operations,
        }
    }

    pub(crate) fn server(&self) -> &AdminServer {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server().bound()[0]
    }

    pub(crate) fn socket(&self) -> &Path {
        self.config.socket.as_deref().unwrap()
    }

    pub(crate) async fn client(&self) -> ControlClient {
        ControlClient::connect(self.socket()).await.unwrap()
    }

    pub(crate) fn sets(&self) -> u64 {
        self.traces.sets.load(Ordering::SeqCst)
    }

    /// The counter of what was turned away.
    pub(crate) fn refused(&self, door: &str, reason: &str) -> u64 {
        let start =
            format!("trunkline_admin_refused_total{{door=\"{door}\",reason=\"{reason}\"}} ");
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap().parse().unwrap()
    }

    pub(crate) async fn until_refused(&self, door: &str, reason: &str, wanted: u64) {
        for _ in 0..500 {
            if self.refused(door, reason) >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{door} {reason}: {}", self.refused(door, reason));
    }

    /// A request with the token.
    pub(crate) async fn ask(&self, line: &str) -> Answer {
        self.ask_with(line, &format!("Authorization: Bearer {TOKEN}\r\n"), "")
            .await
    }

    /// A request with exactly these headers beside Host, and this body.
    pub(crate) async fn ask_with(&self, line: &str, headers: &str, body: &str) -> Answer {
        let address = self.address();
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}{length}\r\n{body}"
        );
        exchange(address, request.as_bytes()).await
    }

    /// A POST of JSON with the token.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers =
            format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
        self.ask_with(&format!("POST {path}"), &headers, &body.to_string())
            .await
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has everything.
    stream.write_all(request).await.ok();
    let bytes = read_to_end(&mut stream).await;
    parse(&bytes)
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut bytes)).await;
    drop(read.expect("the server closes in time"));
    bytes
}

pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let is_chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    Answer {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body: if is_chunked {
            unchunk(body)
        } else {
            body.to_owned()
        },
    }
}

/// The content of chunks; `<cut>` at its end when the last chunk is missing.
fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return text;
        }
        let Some(chunk) = rest.get(..size) else { break };
        text.push_str(chunk);
        body = rest[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    text + "<cut>"
}

#[derive(Deserialize, JsonSchema)]
struct Echo {
    text: String,
    #[serde(default)]
    times: u32,
}

#[derive(Deserialize, JsonSchema)]
struct Size {
    size: usize,
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

pub(crate) const EVIL: &str = "<script>\u{1b}[2J\u{9b}31m\u{202e}";

#[expect(clippy::too_many_lines, reason = "a list of small handlers")]
fn operations(registry: &Registry, traces: &Arc<Traces>) -> Vec<Registration> {
    let one = ("demo", "one");
    let (read, change, run) = (Effect::Read, Effect::Change, Effect::Run);
    let echo = |_: Context, input: Echo| async move {
        Ok(json!({"text": input.text, "times": input.times}))
    };
    let big = |_: Context, input: Size| async move { Ok("x".repeat(input.size)) };
    let status =
        |_: Context, _: Nothing| async move { Ok(json!({"peers": {EVIL: {"state": EVIL}}})) };
    let none = |_: Context, _: Nothing| async move { Ok(()) };
    let fail = |_: Context, _: Nothing| async move {
        let error = OperationError::new(ErrorKind::Failed, "T0999", EVIL);
        Err::<(), _>(error.help("do else"))
    };
    let set = traces_of(traces, |traces, context: Context, _: Nothing| async move {
        traces.callers.lock().unwrap().push(context.actor.uid);
        Ok(traces.sets.fetch_add(1, Ordering::SeqCst) + 1)
    });
    let wait = traces_of(traces, |traces, _: Context, _: Nothing| async move {
        let _running = Running::new(&traces);
        pending::<()>().await;
        Ok(())
    });
    let count = |_: Context, input: Size, to: ItemSender<usize>| async move {
        for n in 0..input.size {
            to.send(&n).await?;
        }
        Ok(())
    };
    let held = Arc::clone(traces);
    let flood = move |_: Context, input: Size, to: ItemSender<String>| {
        let running = Running::new(&held);
        async move {
            let _running = running;
            let item = "x".repeat(input.size.max(1));
            loop {
                to.send(&item).await?;
            }
        }
    };
    let held = Arc::clone(traces);
    let quiet = move |_: Context, _: Nothing, to: ItemSender<u8>| {
        let running = Running::new(&held);
        async move {
            let _running = running;
            to.send(&1).await?;
            pending().await
        }
    };
    let what = "A made-up operation.";
    let name = |operation: &'static str| (one.0, one.1, operation);
    macro_rules! one {
        ($name:literal, $effect:expr, $handler:expr) => {{
            let (kind, name, operation) = name($name);
            registry.register(Operation::one(
                kind, name, operation, what, $effect, $handler,
            ))
        }};
    }
    macro_rules! stream {
        ($name:literal, $handler:expr) => {{
            let (kind, name, operation) = name($name);
            registry.register(Operation::stream(
                kind, name, operation, what, read, $handler,
            ))
        }};
    }
    vec![
        one!("echo", read, echo),
        one!("big", read, big),
        one!("status", read, status),
        one!("none", read, none),
        one!("fail", run, fail),
        one!("set", change, set),
        one!("wait", run, wait),
        one!("look", read, wait_read(traces)),
        stream!("count", count),
        stream!("flood", flood),
        stream!("quiet", quiet),
    ]
}

fn traces_of<F, I, Fut>(
    traces: &Arc<Traces>,
    handler: F,
) -> impl Fn(Context, I) -> Fut + Send + Sync + 'static
where
    F: Fn(Arc<Traces>, Context, I) -> Fut + Send + Sync + 'static,
{
    let traces = Arc::clone(traces);
    move |context, input| handler(Arc::clone(&traces), context, input)
}

fn wait_read(
    traces: &Arc<Traces>,
) -> impl Fn(Context, Nothing) -> BoxedAnswer + Send + Sync + 'static + use<> {
    let traces = Arc::clone(traces);
    move |_, _| {
        let running = Running::new(&traces);
        Box::pin(async move {
            let _running = running;
            pending().await
        })
    }
}

type BoxedAnswer =
    std::pin::Pin<Box<dyn Future<Output = Result<(), OperationError>> + Send + 'static>>;

/// A component that makes the process unready until it is told otherwise.
pub(crate) fn unready(world: &World) -> trunkline_engine::health::Component {
    let now = trunkline_engine::time::Time::ZERO;
    let part = world
        .health
        .component("demo/part", Need::Required, None, now);
    let part = part.unwrap();
    part.set_unready([EVIL]);
    part
}
