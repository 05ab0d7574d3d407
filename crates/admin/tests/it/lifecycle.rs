//! On the way down: ready first, then no new work, then the end.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use trunkline_admin::codes;

use crate::world::{SOON, TOKEN, World, parse, read_to_end};

#[tokio::test]
async fn a_quiet_server_ends_at_once() {
    let mut world = World::start().await;
    let resting = world.client().await;
    resting.list().await.unwrap();
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    tcp.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let address = world.address();
    let begun = Instant::now();
    world.server.take().unwrap().shutdown(SOON * 4).await;
    assert!(
        begun.elapsed() < SOON,
        "connections that rest hold nothing up"
    );
    read_to_end(&mut tcp).await;
    TcpStream::connect(address).await.unwrap_err();
    assert!(!world.socket().exists());
}

#[tokio::test]
async fn calls_are_answered_within_the_grace_and_streams_end_with_a_reason() {
    let mut world = World::start().await;
    let client = world.client().await;
    let mut stream = client
        .stream("demo", "one", "quiet", json!({}), None)
        .await
        .unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), 1);
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    let request = format!(
        "GET /api/v1/demo/one/quiet HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let short = Duration::from_millis(500);
    let call = client.call("demo", "one", "wait", json!({}), short);
    world.traces.until_running(2).await;
    let server = world.server.take().unwrap();
    let down = async {
        world.traces.until_running(3).await;
        server.shutdown(SOON).await;
    };
    let (answer, ()) = tokio::join!(call, down);
    assert_eq!(answer.unwrap_err().code(), "T0603", "the call had its time");
    let end = stream.next().await.unwrap().unwrap_err();
    assert_eq!(end.code(), codes::SHUTTING_DOWN);
    let over_http = parse(&read_to_end(&mut tcp).await);
    let last = over_http.body.lines().last().unwrap();
    assert!(
        last.contains(codes::SHUTTING_DOWN) && !last.contains("<cut>"),
        "{over_http:?}"
    );
    world.traces.until_running(0).await;
}

#[tokio::test]
async fn what_is_left_after_the_grace_is_cut_off() {
    let mut world = World::start().await;
    let client = world.client().await;
    let call = client.call("demo", "one", "wait", json!({}), SOON * 4);
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    let request = format!(
        "GET /api/v1/demo/one/look HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let server = world.server.take().unwrap();
    let begun = Instant::now();
    let down = async {
        world.traces.until_running(2).await;
        server.shutdown(Duration::from_millis(100)).await;
    };
    let (answer, ()) = tokio::join!(call, down);
    assert_eq!(answer.unwrap_err().code(), codes::CONNECTION_LOST);
    assert!(begun.elapsed() < SOON);
    assert!(read_to_end(&mut tcp).await.is_empty());
    world.traces.until_running(0).await;
}

#[tokio::test]
async fn dropping_the_server_ends_it_too() {
    let mut world = World::start().await;
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    let request = format!(
        "GET /api/v1/demo/one/look HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    world.traces.until_running(1).await;
    drop(world.server.take());
    world.traces.until_running(0).await;
    assert!(!world.socket().exists());
}
