//! The socket's file: one server at a time, and nothing of others is touched.

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use trunkline_admin::{AdminConfig, AdminError, AdminServer, ControlClient, HealthReport, codes};
use trunkline_engine::health::{Report, Status};
use trunkline_runtime::clock::Clock;
use trunkline_runtime::metrics::{BuildInfo, MetricRegistry};
use trunkline_runtime::operation::Registry;

use crate::world::{SOON, TempDir, World, config_in};

async fn start(config: &AdminConfig) -> Result<AdminServer, AdminError> {
    let clock = Clock::start();
    let build = BuildInfo {
        version: "0".into(),
        commit: "0".into(),
    };
    let health: HealthReport = Arc::new(|| Report {
        status: Status::Good,
        components: Vec::new(),
    });
    let metrics = MetricRegistry::new(clock, build);
    AdminServer::start(config, Registry::new(), metrics, health, clock).await
}

fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    let error = UnixStream::connect(path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let dir = TempDir::new();
    let config = config_in(dir.path());
    let path = config.socket.clone().unwrap();
    leave_stale(&path);
    let server = start(&config).await.unwrap();
    ControlClient::connect(&path)
        .await
        .unwrap()
        .list()
        .await
        .unwrap();
    server.shutdown(SOON).await;
    assert!(!path.exists(), "the file goes with the server");
    // A lock file that was left behind is nobody's.
    start(&config).await.unwrap();
}

#[tokio::test]
async fn two_servers_cannot_have_one_socket() {
    let world = World::start().await;
    let error = start(&world.config).await.unwrap_err();
    assert_eq!(error.code(), codes::SOCKET_IN_USE);
    let me = format!("process {}", std::process::id());
    assert!(error.to_string().contains(&me), "{error}");
    // The first is as it was.
    let answer = world
        .client()
        .await
        .call("demo", "one", "set", json!({}), SOON)
        .await;
    assert_eq!(answer.unwrap(), 1);
}

#[tokio::test]
async fn somebody_without_our_lock_is_left_alone() {
    let dir = TempDir::new();
    let config = config_in(dir.path());
    let path = config.socket.clone().unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let error = start(&config).await.unwrap_err();
    assert!(matches!(&error, AdminError::SocketInUse { owner, .. } if owner == "another program"));
    UnixStream::connect(&path).unwrap();
    drop(other);
    start(&config).await.unwrap();
}

#[tokio::test]
async fn what_is_no_socket_is_never_touched() {
    let dir = TempDir::new();
    let config = config_in(dir.path());
    let path = config.socket.clone().unwrap();
    fs::write(&path, "precious").unwrap();
    assert_eq!(start(&config).await.unwrap_err().code(), codes::CANNOT_BIND);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(start(&config).await.unwrap_err().code(), codes::CANNOT_BIND);
    fs::remove_dir(&path).unwrap();
    let precious = dir.path().join("precious");
    std::os::unix::fs::symlink(&precious, &path).unwrap();
    assert_eq!(start(&config).await.unwrap_err().code(), codes::CANNOT_BIND);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[tokio::test]
async fn a_successor_keeps_its_file() {
    let dir = TempDir::new();
    let config = config_in(dir.path());
    let path = config.socket.clone().unwrap();
    let first = start(&config).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    first.shutdown(SOON).await;
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_door_that_cannot_open_leaves_none_open() {
    let dir = TempDir::new();
    let mut config = config_in(dir.path());
    let path = config.socket.clone().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let here = config.listen[0];
    config.listen = vec![here, taken.local_addr().unwrap()];
    let error = start(&config).await.unwrap_err();
    assert_eq!(error.code(), codes::CANNOT_BIND);
    assert!(
        error
            .to_string()
            .contains(&taken.local_addr().unwrap().to_string()),
        "{error}"
    );
    assert!(
        !path.exists(),
        "the socket was bound first and is gone again"
    );
    config.listen = vec![here];
    start(&config).await.unwrap();
}

#[tokio::test]
async fn what_the_check_refuses_does_not_start_either() {
    let dir = TempDir::new();
    let good = config_in(dir.path());
    let start_with = async |change: fn(&mut AdminConfig)| {
        let mut config = good.clone();
        change(&mut config);
        start(&config).await.unwrap_err().code()
    };
    let open = start_with(|config| {
        config.token_file = None;
        config.listen = vec![([0, 0, 0, 0], 0).into()];
    });
    assert_eq!(open.await, codes::OPEN_BIND);
    let group = start_with(|config| config.socket_group = Some("no such group".into()));
    assert_eq!(group.await, codes::STRAY_GROUP);
    let gone = start_with(|config| {
        let path = config.token_file.as_ref().unwrap().path().to_owned();
        fs::write(path, "short").unwrap();
    });
    assert_eq!(gone.await, codes::UNFIT_TOKEN);
    let long = start_with(|config| {
        config.token_file = None;
        config.socket = Some(
            config
                .socket
                .take()
                .unwrap()
                .with_file_name("x".repeat(120)),
        );
    });
    assert_eq!(long.await, codes::CANNOT_BIND);
}

#[tokio::test]
async fn no_address_is_no_http() {
    let dir = TempDir::new();
    let mut config = config_in(dir.path());
    config.listen.clear();
    config.socket = Some(dir.path().join("made/control.sock"));
    let server = start(&config).await.unwrap();
    assert!(server.bound().is_empty());
    let client = ControlClient::connect(server.socket()).await.unwrap();
    let link = client
        .call("engine", "process", "dashboard-link", json!({}), SOON)
        .await;
    assert!(
        link.unwrap_err()
            .to_string()
            .contains("admin.listen is empty")
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(dir.path().join("made")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o700);
}
