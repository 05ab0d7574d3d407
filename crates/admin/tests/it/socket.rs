//! Calls over the control socket, by the client and by hand.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::span;
use trunkline_admin::{CallError, ControlClient, codes};
use trunkline_engine::fault::{Blame, Fault, Retry};
use trunkline_runtime::operation::ErrorKind;

use crate::world::{EVIL, SOON, TempDir, World};

async fn hand(
    world: &World,
) -> (
    BufReader<tokio::net::unix::OwnedReadHalf>,
    tokio::net::unix::OwnedWriteHalf,
) {
    let (reader, writer) = UnixStream::connect(world.socket())
        .await
        .unwrap()
        .into_split();
    (BufReader::new(reader), writer)
}

pub(crate) async fn line<R: AsyncBufReadExt + Unpin>(reader: &mut R) -> Value {
    let mut text = String::new();
    timeout(SOON, reader.read_line(&mut text))
        .await
        .unwrap()
        .unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text:?}"))
}

fn remote(error: CallError) -> (ErrorKind, String) {
    match error {
        CallError::Remote(error) => (error.kind, error.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn calls_are_answered_by_their_ids_and_side_by_side() {
    let world = World::start().await;
    let (mut reader, mut writer) = hand(&world).await;
    let requests = concat!(
        r#"{"id":1,"kind":"demo","name":"one","operation":"wait","input":{},"deadline_ms":300}"#,
        "\n",
        r#"{"id":"b","kind":"demo","name":"one","operation":"echo","input":{"text":"x"}}"#,
        "\n",
    );
    writer.write_all(requests.as_bytes()).await.unwrap();
    let echo = json!({"text": "x", "times": 0});
    assert_eq!(line(&mut reader).await, json!({"id": "b", "result": echo}));
    let late = line(&mut reader).await;
    assert_eq!(
        (&late["id"], &late["error"]["kind"]),
        (&json!(1), &json!("timeout"))
    );
    writer
        .write_all(b"{\"id\":2,\"list\":true}\n")
        .await
        .unwrap();
    let list = line(&mut reader).await;
    assert_eq!(list["result"].as_array().unwrap().len(), 12);
    let count = r#"{"id":3,"kind":"demo","name":"one","operation":"count","input":{"size":2}}"#;
    writer
        .write_all(format!("{count}\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(line(&mut reader).await, json!({"id": 3, "item": 0}));
    assert_eq!(line(&mut reader).await, json!({"id": 3, "item": 1}));
    assert_eq!(line(&mut reader).await, json!({"id": 3, "done": true}));
}

#[tokio::test]
async fn the_client_calls_streams_and_lists() {
    let world = World::start().await;
    let client = world.client().await;
    let call = async |operation: &str, input: Value| {
        client.call("demo", "one", operation, input, SOON).await
    };
    assert_eq!(
        call("echo", json!({"text": EVIL})).await.unwrap()["text"],
        EVIL
    );
    assert_eq!(call("none", Value::Null).await.unwrap(), Value::Null);
    assert_eq!(
        call("big", json!({"size": 2_000_000}))
            .await
            .unwrap()
            .as_str()
            .unwrap()
            .len(),
        2_000_000
    );
    let error = remote(call("echo", json!({})).await.unwrap_err());
    assert_eq!(error, (ErrorKind::BadInput, "T0601".into()));
    let error = remote(call("nothing", json!({})).await.unwrap_err());
    assert_eq!(error.0, ErrorKind::NotFound);
    let error = call("fail", json!({})).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("T0999", EVIL));
    assert_eq!((error.blame(), error.retry()), (Blame::Peer, Retry::NEVER));
    assert!(matches!(
        call("count", json!({"size": 1})).await,
        Err(CallError::Lost { .. })
    ));
    let mut items = client
        .stream("demo", "one", "count", json!({"size": 3}), None)
        .await
        .unwrap();
    let mut seen = Vec::new();
    while let Some(item) = items.next().await {
        seen.push(item.unwrap());
    }
    assert_eq!(seen, [0, 1, 2]);
    assert!(items.next().await.is_none());
    let list = client.list().await.unwrap();
    assert!(list.iter().any(|one| one.operation == "echo"));
    // Calls one after another use one connection: those above that ended well opened none.
    let uid = world.traces.callers.lock().unwrap().len();
    call("set", json!({})).await.unwrap();
    let callers = world.traces.callers.lock().unwrap();
    assert_eq!(callers[uid], Some(geteuid().as_raw()));
}

#[tokio::test]
async fn a_deadline_ends_the_call_here_and_there() {
    let world = World::start().await;
    let client = world.client().await;
    let begun = Instant::now();
    let short = Duration::from_millis(200);
    let error = client
        .call("demo", "one", "wait", json!({}), short)
        .await
        .unwrap_err();
    assert!(error.is_timeout() && !error.is_no_daemon());
    assert_eq!(remote(error), (ErrorKind::Timeout, "T0603".into()));
    assert!(begun.elapsed() >= short);
    world.traces.until_running(0).await;
    let mut items = client
        .stream("demo", "one", "quiet", json!({}), Some(short))
        .await
        .unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), 1);
    assert!(items.next().await.unwrap().unwrap_err().is_timeout());
    world.traces.until_running(0).await;
}

#[tokio::test]
async fn a_daemon_that_says_nothing_is_a_timeout() {
    let dir = TempDir::new();
    let path = dir.path().join("mute.sock");
    let _mute = tokio::net::UnixListener::bind(&path).unwrap();
    let client = ControlClient::connect(&path).await.unwrap();
    let short = Duration::from_millis(50);
    let error = client
        .call("a", "b", "c", json!({}), short)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CallError::NoAnswer { waited, .. } if *waited >= short),
        "{error:?}"
    );
    assert_eq!((error.code(), error.is_timeout()), (codes::NO_ANSWER, true));
}

#[tokio::test]
async fn no_daemon_is_said_with_the_path() {
    let dir = TempDir::new();
    let path = dir.path().join("nobody.sock");
    let error = ControlClient::connect(&path).await.unwrap_err();
    assert!(
        error.is_no_daemon() && error.to_string().contains("nobody.sock"),
        "{error}"
    );
    assert_eq!(error.code(), codes::NO_DAEMON);
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled() {
    let world = World::start().await;
    let client = world.client().await;
    let call = client.call("demo", "one", "wait", json!({}), SOON);
    tokio::select! {
        _ = call => panic!("it waits for ever"),
        () = world.traces.until_running(1) => {}
    }
    world.traces.until_running(0).await;
    let mut items = client
        .stream("demo", "one", "quiet", json!({}), None)
        .await
        .unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), 1);
    world.traces.until_running(1).await;
    drop(items);
    world.traces.until_running(0).await;
}

#[tokio::test]
async fn who_sends_no_more_still_gets_his_answers() {
    let world = World::start().await;
    let mut stream = UnixStream::connect(world.socket()).await.unwrap();
    let wait =
        r#"{"id":1,"kind":"demo","name":"one","operation":"wait","input":{},"deadline_ms":200}"#;
    stream.write_all(wait.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    timeout(SOON, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    assert!(
        text.contains("\"timeout\"") && text.ends_with("}\n"),
        "{text}"
    );
    // Who is gone altogether gets nothing, and his call ends.
    let mut stream = UnixStream::connect(world.socket()).await.unwrap();
    let wait = r#"{"id":1,"kind":"demo","name":"one","operation":"wait","deadline_ms":60000}"#;
    stream.write_all(wait.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    world.traces.until_running(1).await;
    drop(stream);
    world.traces.until_running(0).await;
}

#[tokio::test]
async fn the_client_finds_a_daemon_that_came_back() {
    let mut world = World::start().await;
    let client = world.client().await;
    client.list().await.unwrap();
    world.server.take().unwrap().shutdown(SOON).await;
    // Its resting connection is closed now, and nobody listens.
    assert!(client.list().await.unwrap_err().is_no_daemon());
}

#[tokio::test]
async fn the_file_lets_in_whom_it_should() {
    let world = World::start().await;
    let mode = |world: &World| {
        std::fs::metadata(world.socket())
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&world), 0o600);
    let group = rustix::process::getegid().as_raw().to_string();
    let grouped = World::with(|config, _| config.socket_group = Some(group)).await;
    assert_eq!(mode(&grouped), 0o660);
}

/// Another user's attempt is made by this test itself in a process of its own, as root only can.
#[test]
fn another_user_is_kept_out() {
    const PATH: &str = "TRUNKLINE_TEST_SOCKET";
    if let Some(path) = std::env::var_os(PATH) {
        let error = std::os::unix::net::UnixStream::connect(path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        return;
    }
    if !geteuid().is_root() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(World::start());
    // The directory lets him pass, so that it is the socket that does not.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(world.dir.path(), open).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "socket::another_user_is_kept_out"])
        .env(PATH, world.socket())
        .uid(65_534)
        .gid(65_534)
        .output();
    match child {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && text.contains("1 passed"),
                "{output:?}"
            );
        }
        // Where the test's own binary is out of his reach, there is nothing to try.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
    let _entered = runtime.enter();
    drop(world);
}

#[test]
fn a_change_leaves_an_audit_line_with_the_uid() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let audit = Audit::default();
    let lines = Arc::clone(&audit.0);
    tracing::subscriber::with_default(audit, || {
        runtime.block_on(async {
            let world = World::start().await;
            let client = world.client().await;
            client
                .call("demo", "one", "set", json!({}), SOON)
                .await
                .unwrap();
            client
                .call("demo", "one", "none", json!({}), SOON)
                .await
                .unwrap();
        });
    });
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let uid = format!("uid={}", geteuid().as_raw());
    assert!(
        lines[0].contains(&uid) && lines[0].contains("operation=\"set\""),
        "{lines:?}"
    );
}

/// Keeps the audit's lines.
#[derive(Default)]
struct Audit(Arc<Mutex<Vec<String>>>);

struct Fields<'a>(&'a mut String);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        *self.0 += &format!("{field}={value:?} ");
    }
}

impl tracing::Subscriber for Audit {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "trunkline::audit"
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = String::new();
        event.record(&mut Fields(&mut line));
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
