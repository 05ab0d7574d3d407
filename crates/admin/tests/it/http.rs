//! Operations, probes, streams and metrics over HTTP.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use trunkline_admin::codes;

use crate::world::{EVIL, TOKEN, World, parse, read_to_end, unready};

#[tokio::test]
async fn reads_take_their_input_from_the_query_and_changes_from_the_body() {
    let world = World::start().await;
    let answer = world
        .ask("GET /api/v1/demo/one/echo?text=7%20%26&times=3")
        .await;
    assert_eq!(answer.json(), json!({"text": "7 &", "times": 3}));
    let answer = world
        .post("/api/v1/demo/one/echo", &json!({"text": "a"}))
        .await;
    assert_eq!(answer.json(), json!({"text": "a", "times": 0}));
    assert_eq!(world.ask("GET /api/v1/demo/one/none").await.body, "null");
    assert_eq!(
        world.post("/api/v1/demo/one/set", &json!({})).await.body,
        "1"
    );
    assert_eq!(world.ask("POST /api/v1/demo/one/set").await.body, "2");
    // HTTP does not know the user.
    assert_eq!(*world.traces.callers.lock().unwrap(), [None, None]);
}

#[tokio::test]
async fn errors_have_a_status_a_code_and_what_to_do() {
    let world = World::start().await;
    let of = async |line: &str| {
        let answer = world.ask(line).await;
        (answer.status, answer.code())
    };
    assert_eq!(of("GET /api/v1/demo/one/echo").await, (400, "T0601".into()));
    let unknown = "GET /api/v1/demo/one/echo?text=a&tims=1";
    assert_eq!(of(unknown).await, (400, "T0601".into()));
    let misfit = "GET /api/v1/demo/one/echo?text=a&times=x";
    assert_eq!(of(misfit).await, (400, codes::BAD_REQUEST.into()));
    let both = "POST /api/v1/demo/one/echo?text=a";
    assert_eq!(of(both).await, (400, codes::BAD_REQUEST.into()));
    let failed = world.ask("POST /api/v1/demo/one/fail").await;
    assert_eq!(failed.status, 500);
    let error = json!({"code": "T0999", "kind": "failed", "message": EVIL, "help": "do else"});
    assert_eq!(failed.json(), json!({"error": error}));
    assert!(
        !failed.body.contains(['\u{1b}', '\u{9b}', '\u{202e}']),
        "{failed:?}"
    );
}

#[tokio::test]
async fn bodies_are_json_and_bounded() {
    let world = World::with(|_, limits| limits.request_bytes = 1000).await;
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let json_type = format!("{token}Content-Type: application/json; charset=utf-8\r\n");
    let line = "POST /api/v1/demo/one/echo";
    let long = json!({"text": "x".repeat(1000)}).to_string();
    let deep = "[".repeat(900);
    for (headers, body, status, code) in [
        (&json_type, r#"{"text":"a"}"#, 200, ""),
        (&token, r#"{"text":"a"}"#, 415, codes::NOT_JSON),
        (&json_type, "{", 400, codes::NOT_JSON),
        (&json_type, &deep, 400, codes::NOT_JSON),
        (&json_type, &long, 413, codes::TOO_LONG),
    ] {
        let answer = world.ask_with(line, headers, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status != 200 {
            assert_eq!(answer.code(), code);
        }
    }
    // One without a length is bounded as it arrives.
    let chunks = format!("{json_type}Transfer-Encoding: chunked\r\n");
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    let host = world.address();
    let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{chunks}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
        .write_all(format!("{:x}\r\n{long}\r\n", long.len()).as_bytes())
        .await
        .unwrap();
    assert_eq!(parse(&read_to_end(&mut stream).await).status, 413);
    assert_eq!(world.refused("http", "oversize"), 2);
}

#[tokio::test]
async fn streams_are_lines_or_events() {
    let world = World::start().await;
    let lines = world.ask("GET /api/v1/demo/one/count?size=3").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let wanted = "{\"item\":0}\n{\"item\":1}\n{\"item\":2}\n{\"done\":true}\n";
    assert_eq!(lines.body, wanted);
    let headers = format!("Authorization: Bearer {TOKEN}\r\nAccept: text/event-stream\r\n");
    let events = world
        .ask_with("GET /api/v1/demo/one/count?size=2", &headers, "")
        .await;
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert_eq!(
        events.body,
        "data: 0\n\ndata: 1\n\nevent: done\ndata: {}\n\n"
    );
    // An input that does not fit is found by the handler's first turn, and said in the stream.
    let bad = world.ask("GET /api/v1/demo/one/count").await;
    assert!(
        bad.body.contains("T0601") && !bad.body.contains("done"),
        "{bad:?}"
    );
}

#[tokio::test]
async fn long_answers_arrive_whole() {
    let world = World::start().await;
    let size = 3_000_000;
    let answer = world
        .ask(&format!("GET /api/v1/demo/one/big?size={size}"))
        .await;
    assert_eq!((answer.status, answer.body.len()), (200, size + 2));
    let world = World::with(|_, limits| limits.answer_bytes = 10_000).await;
    let answer = world.ask("GET /api/v1/demo/one/big?size=10000").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (500, codes::ANSWER_TOO_LONG)
    );
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    let host = world.address();
    for last in [false, false, true] {
        let close = if last { "Connection: close\r\n" } else { "" };
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n{close}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let text = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert_eq!(world.refused("http", "garbage"), 0);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_his_call_with_him() {
    let world = World::start().await;
    for path in ["/api/v1/demo/one/look", "/api/v1/demo/one/quiet"] {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        world.traces.until_running(1).await;
        drop(stream);
        world.traces.until_running(0).await;
    }
}

#[tokio::test]
async fn probes_say_how_it_is() {
    let world = World::start().await;
    let part = unready(&world);
    let ready = world.ask_with("GET /readyz", "", "").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "not ready\n"));
    assert_eq!(world.ask_with("GET /livez", "", "").await.body, "live\n");
    let verbose = world.ask_with("GET /health?verbose", "", "").await;
    assert!(
        verbose.body.contains("[-] demo/part: <script>\\u{1b}[2J"),
        "{verbose:?}"
    );
    assert!(!verbose.body.contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    assert_eq!(
        verbose.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    part.set_ready();
    let ready = world.ask_with("GET /readyz?verbose", "", "").await;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (200, "ready\n[+] demo/part\n")
    );
    world.server().set_draining();
    let draining = world.ask_with("GET /readyz?verbose", "", "").await;
    assert_eq!(draining.status, 503);
    assert!(
        draining.body.contains("[-] shutdown: draining"),
        "{draining:?}"
    );
    assert_eq!(world.ask_with("GET /livez", "", "").await.status, 200);
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let world = World::start().await;
    let answer = world.ask_with("GET /metrics", "", "").await;
    let wanted = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(wanted));
    assert!(answer.body.ends_with("# EOF\n"), "{answer:?}");
    assert!(
        answer
            .body
            .contains("trunkline_admin_requests_total{door=\"http\"} 1\n")
    );
    assert!(
        answer
            .body
            .contains("trunkline_admin_connections_open{door=\"http\"} 1\n")
    );
    assert!(
        answer.body.contains("\ntrunkline_metrics_faults 0\n"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn the_index_lists_what_is_here() {
    let world = World::start().await;
    let text = world.ask("GET /").await.body;
    assert!(
        text.contains("\nGET  /api/v1/demo/one/echo  A made-up operation.\n"),
        "{text}"
    );
    assert!(text.contains("\nPOST /api/v1/demo/one/set  "), "{text}");
    let headers = format!("Authorization: Bearer {TOKEN}\r\nAccept: application/json\r\n");
    let index = world.ask_with("GET /", &headers, "").await.json();
    assert!(index["paths"]["/metrics"].is_string());
    let list = world.ask("GET /api/v1/operations").await.json();
    let operations = list["operations"].as_array().unwrap();
    let names: Vec<_> = operations
        .iter()
        .map(|one| one["operation"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 12);
    assert!(names.contains(&"dashboard-link") && names.contains(&"quiet"));
    assert_eq!(
        operations[0]["input"]["properties"]["size"]["type"],
        "integer"
    );
    // The very same list as over the control socket.
    let over_socket = world.client().await.list().await.unwrap();
    assert_eq!(json!(over_socket), list["operations"]);
}
