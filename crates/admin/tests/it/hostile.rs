//! Callers who mean no good, or do not know what they do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use trunkline_admin::{Limits, codes};
use trunkline_engine::rng::Rng;

use crate::socket::line;
use crate::world::{SOON, TOKEN, World, exchange, parse, read_to_end};

const MOMENT: Duration = Duration::from_millis(300);

async fn impatient() -> World {
    World::with(|_, limits: &mut Limits| {
        limits.receive = MOMENT;
        limits.stall = MOMENT;
    })
    .await
}

fn assert_unharmed(world: &World) {
    assert_eq!(world.sets(), 0);
}

async fn assert_serves(world: &World) {
    let client = world.client().await;
    let answer = client.call("demo", "one", "echo", json!({"text": "a"}), SOON);
    assert_eq!(answer.await.unwrap()["text"], "a");
    assert_eq!(
        world.ask("GET /api/v1/demo/one/echo?text=a").await.status,
        200
    );
}

/// Bytes of several degrees of plausibility.
fn junk(rng: &mut Rng) -> Vec<u8> {
    let pieces: [&[u8]; 16] = [
        b"{\"id\":1,",
        b"\"list\":true}",
        b"\n",
        b"GET ",
        b"/api/v1/demo/one/set",
        b" HTTP/1.1",
        b"\r\n",
        b"\r\n\r\n",
        b"Host: localhost",
        b"\0",
        b"\xff\xfe",
        b"[[[[",
        b"}}",
        b"Content-Length: 18446744073709551616",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffff",
        b"POST ",
    ];
    let mut bytes = Vec::new();
    for _ in 0..rng.below(12) {
        if rng.chance(0.3) {
            let count = rng.below(200);
            bytes.extend((0..count).map(|_| u8::try_from(rng.below(256)).unwrap()));
        } else {
            let index = usize::try_from(rng.below(pieces.len() as u64)).unwrap();
            bytes.extend_from_slice(pieces[index]);
        }
    }
    bytes
}

#[tokio::test]
async fn arbitrary_bytes_change_nothing_but_counters() {
    let world = impatient().await;
    for seed in 0..150 {
        let mut rng = Rng::seeded(seed);
        let bytes = junk(&mut rng);
        let mut tcp = TcpStream::connect(world.address()).await.unwrap();
        tcp.write_all(&bytes).await.ok();
        tcp.shutdown().await.ok();
        read_to_end(&mut tcp).await;
        let mut unix = UnixStream::connect(world.socket()).await.unwrap();
        unix.write_all(&bytes).await.ok();
        unix.shutdown().await.ok();
        let mut answer = Vec::new();
        timeout(SOON, unix.read_to_end(&mut answer))
            .await
            .expect("it closes")
            .ok();
        assert_unharmed(&world);
    }
    assert!(world.refused("http", "garbage") > 20);
    assert!(world.refused("socket", "garbage") > 20);
    assert_serves(&world).await;
}

#[tokio::test]
async fn garbage_on_the_socket_is_answered_and_the_connection_lives() {
    let world = World::start().await;
    let (reader, mut writer) = UnixStream::connect(world.socket())
        .await
        .unwrap()
        .into_split();
    let mut reader = BufReader::new(reader);
    for text in ["what?\n", "\n", "{\"id\":5,\"lsit\":true}\n"] {
        writer.write_all(text.as_bytes()).await.unwrap();
        let answer = line(&mut reader).await;
        assert_eq!(answer["error"]["code"], codes::BAD_REQUEST, "{answer}");
        let id = if text.contains('5') {
            json!(5)
        } else {
            json!(null)
        };
        assert_eq!(answer["id"], id);
    }
    let wait = "{\"id\":1,\"kind\":\"demo\",\"name\":\"one\",\"operation\":\"wait\"}\n";
    writer.write_all(wait.repeat(2).as_bytes()).await.unwrap();
    let twice = line(&mut reader).await;
    assert!(
        twice["error"]["message"]
            .as_str()
            .unwrap()
            .contains("under way"),
        "{twice}"
    );
    writer
        .write_all(b"{\"id\":2,\"list\":true}\n")
        .await
        .unwrap();
    assert!(line(&mut reader).await["result"].is_array());
    assert_eq!(world.refused("socket", "garbage"), 4);
}

#[tokio::test]
async fn lines_and_heads_end_somewhere() {
    let world = World::start().await;
    let mut unix = UnixStream::connect(world.socket()).await.unwrap();
    let mut long = vec![b'x'; 1 << 20];
    long.push(b'\n');
    unix.write_all(&long).await.unwrap();
    let mut unix = BufReader::new(unix);
    assert_eq!(
        line(&mut unix).await["error"]["code"],
        codes::BAD_REQUEST,
        "1 MiB is allowed"
    );
    long.insert(0, b'x');
    unix.get_mut().write_all(&long).await.ok();
    assert_eq!(line(&mut unix).await["error"]["code"], codes::TOO_LONG);
    assert_eq!(
        unix.read_to_end(&mut Vec::new()).await.unwrap_or(0),
        0,
        "then it closes"
    );
    assert_eq!(world.refused("socket", "oversize"), 1);

    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    tcp.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        .await
        .unwrap();
    let header = format!("X-Long: {}\r\n", "x".repeat(1000));
    let mut sent = 0;
    while tcp.write_all(header.as_bytes()).await.is_ok() && sent < 10_000 {
        sent += 1;
    }
    assert!(sent < 10_000, "it never ended");
    world.until_refused("http", "oversize", 1).await;
    let many = format!(
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "A: b\r\n".repeat(150)
    );
    let answer = exchange(world.address(), many.as_bytes()).await;
    assert_eq!(answer.status, 431);
    assert_serves(&world).await;
}

#[tokio::test]
async fn who_sends_slowly_is_not_waited_for() {
    let world = impatient().await;
    // A byte now and then does not help: it is the whole head that has a time.
    let begun = Instant::now();
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaa" {
        if tcp.write_all(&[*byte]).await.is_err() || begun.elapsed() > SOON {
            break;
        }
        sleep(MOMENT / 10).await;
    }
    assert!(begun.elapsed() < SOON, "it was waited for");
    world.until_refused("http", "slow-sender", 1).await;

    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    tcp.write_all(b"GET /liv").await.unwrap();
    let answer = parse(&read_to_end(&mut tcp).await);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, codes::TOO_SLOW)
    );

    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    let head = format!(
        "POST /api/v1/demo/one/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\
         Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Connection: close\r\n\r\n{{"
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let answer = parse(&read_to_end(&mut tcp).await);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, codes::TOO_SLOW)
    );

    // Nothing at all is no request; the connection just ends.
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    assert!(read_to_end(&mut tcp).await.is_empty());

    let mut unix = BufReader::new(UnixStream::connect(world.socket()).await.unwrap());
    unix.get_mut().write_all(b"{\"id\":").await.unwrap();
    assert_eq!(line(&mut unix).await["error"]["code"], codes::TOO_SLOW);
    assert_eq!(world.refused("socket", "slow-sender"), 1);
    assert_unharmed(&world);
    assert_serves(&world).await;
}

#[tokio::test]
async fn who_rests_too_long_is_closed() {
    let world = World::with(|_, limits| limits.idle = MOMENT).await;
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    tcp.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(parse(&read_to_end(&mut tcp).await).status, 200);
    let mut unix = UnixStream::connect(world.socket()).await.unwrap();
    let end = timeout(SOON, unix.read_to_end(&mut Vec::new())).await;
    assert_eq!(end.unwrap().unwrap(), 0);
    // A call under way is no rest.
    let client = world.client().await;
    let long = MOMENT * 3;
    let error = client
        .call("demo", "one", "wait", json!({}), long)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "T0603");
}

#[tokio::test]
async fn who_does_not_read_a_stream_loses_it() {
    let world = impatient().await;
    let mut unix = UnixStream::connect(world.socket()).await.unwrap();
    let flood = "{\"id\":1,\"kind\":\"demo\",\"name\":\"one\",\"operation\":\"flood\",\
                 \"input\":{\"size\":32768}}\n";
    unix.write_all(flood.as_bytes()).await.unwrap();
    world.traces.until_running(1).await;
    world.traces.until_running(0).await;
    world.until_refused("socket", "slow-reader", 1).await;
    // What was written is there to read, then the end.
    timeout(SOON, unix.read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .ok();

    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    let request = format!(
        "GET /api/v1/demo/one/flood?size=32768 HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    world.traces.until_running(1).await;
    world.traces.until_running(0).await;
    world.until_refused("http", "slow-reader", 1).await;
    let answer = parse(&read_to_end(&mut tcp).await);
    assert!(
        answer.body.ends_with("<cut>"),
        "the end of a cut stream looks like one"
    );
    assert_serves(&world).await;
}

#[tokio::test]
async fn who_does_not_read_a_long_answer_loses_it() {
    let world = impatient().await;
    let big = |size: usize| {
        format!(
            "{{\"id\":1,\"kind\":\"demo\",\"name\":\"one\",\"operation\":\"big\",\
             \"input\":{{\"size\":{size}}}}}\n"
        )
    };
    let mut unix = UnixStream::connect(world.socket()).await.unwrap();
    unix.write_all(big(20_000_000).as_bytes()).await.unwrap();
    world.until_refused("socket", "slow-reader", 1).await;
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    let request = format!(
        "GET /api/v1/demo/one/big?size=20000000 HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    world.until_refused("http", "slow-reader", 1).await;
    assert!(parse(&read_to_end(&mut tcp).await).body.ends_with("<cut>"));
    assert_serves(&world).await;
}

#[tokio::test]
async fn a_long_answer_has_a_time_as_a_whole() {
    let world = World::with(|_, limits| limits.answer = MOMENT).await;
    let request = "GET /api/v1/demo/one/big?size=20000000 HTTP/1.1\r\nHost: localhost\r\n";
    let request = format!("{request}Authorization: Bearer {TOKEN}\r\n\r\n");
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    // It takes something all the time, and too little.
    let until = Instant::now() + MOMENT * 2;
    while Instant::now() < until {
        sleep(MOMENT / 30).await;
        tcp.read_exact(&mut [0; 1000]).await.unwrap();
    }
    world.until_refused("http", "slow-reader", 1).await;
}

#[tokio::test]
async fn scrapes_have_a_number() {
    let world = World::with(|_, limits| limits.scrapes = 1).await;
    let _slow = world
        .metrics
        .register(Arc::new(|_| std::thread::sleep(MOMENT)));
    let (first, second) = tokio::join!(
        world.ask_with("GET /metrics", "", ""),
        world.ask_with("GET /metrics", "", ""),
    );
    let mut found = [first.status, second.status];
    found.sort_unstable();
    assert_eq!(found, [200, 429]);
    assert_eq!(world.refused("http", "in-flight"), 1);
}

#[tokio::test]
async fn connections_and_calls_have_a_number() {
    let world = World::with(|_, limits| {
        limits.http_connections = 2;
        limits.socket_connections = 2;
        limits.calls_per_connection = 2;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut tcp = TcpStream::connect(world.address()).await.unwrap();
        // Answered, so that it is known to be let in.
        tcp.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        tcp.read_exact(&mut [0; 15]).await.unwrap();
        held.push(tcp);
    }
    let mut third = TcpStream::connect(world.address()).await.unwrap();
    let answer = parse(&read_to_end(&mut third).await);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, codes::TOO_MANY)
    );
    drop(held);

    let mut first = BufReader::new(UnixStream::connect(world.socket()).await.unwrap());
    for (id, operation) in [(1, "wait"), (2, "wait"), (3, "none")] {
        let call = json!({"id": id, "kind": "demo", "name": "one", "operation": operation});
        first
            .get_mut()
            .write_all(format!("{call}\n").as_bytes())
            .await
            .unwrap();
    }
    let refused = line(&mut first).await;
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(3), &json!(codes::TOO_MANY))
    );
    world.traces.until_running(2).await;
    let _second = world.client().await;
    let refused = world.client().await.list().await.unwrap_err();
    assert_eq!(refused.code(), codes::TOO_MANY);
    assert_eq!(world.refused("socket", "in-flight"), 1);
    assert!(world.refused("socket", "connections") >= 1);
    assert_eq!(world.refused("http", "connections"), 1);
}
