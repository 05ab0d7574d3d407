//! Who may do what over HTTP: the whole table.

use serde_json::json;
use trunkline_admin::{MetricsAccess, codes};

use crate::world::{TOKEN, World, exchange};

const READ: &str = "/api/v1/demo/one/echo?text=a";
const CHANGE: &str = "/api/v1/demo/one/set";

/// Path, method, token, Host, Origin: the status wanted.
type Row = (&'static str, &'static str, Token, Host, Origin, u16);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    None,
    Wrong,
    Right,
}

#[derive(Clone, Copy, Debug)]
enum Host {
    Bound,
    Localhost,
    Listed,
    Foreign,
    Missing,
    Twice,
    Target,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    None,
    Same,
    Foreign,
    Null,
}

use Host::{Bound, Foreign, Listed, Localhost, Missing, Target, Twice};
use Origin::{Null, Same};
use Token::{Right, Wrong};

const NO: Token = Token::None;
const NONE: Origin = Origin::None;
const ELSE: Origin = Origin::Foreign;

const ROWS: &[Row] = &[
    // Open to everybody, for looking only.
    ("/livez", "GET", NO, Bound, NONE, 200),
    ("/livez", "HEAD", NO, Bound, NONE, 200),
    ("/livez", "GET", NO, Localhost, NONE, 200),
    ("/livez", "GET", NO, Listed, NONE, 200),
    ("/livez", "GET", Wrong, Bound, ELSE, 200),
    ("/livez", "POST", NO, Bound, NONE, 405),
    ("/livez", "POST", NO, Bound, ELSE, 403),
    ("/readyz", "GET", NO, Bound, NONE, 200),
    ("/readyz?verbose", "GET", NO, Bound, NONE, 200),
    ("/health/live", "GET", NO, Bound, NONE, 200),
    ("/health/ready", "GET", NO, Bound, NONE, 200),
    ("/health", "GET", NO, Bound, NONE, 200),
    ("/metrics", "GET", NO, Bound, NONE, 200),
    ("/metrics", "DELETE", Right, Bound, NONE, 405),
    // Everything else needs the token, whether it exists or not.
    ("/", "GET", NO, Bound, NONE, 401),
    ("/", "GET", Right, Bound, NONE, 200),
    ("/", "PUT", Right, Bound, NONE, 405),
    ("/nothing", "GET", NO, Bound, NONE, 401),
    ("/nothing", "GET", Right, Bound, NONE, 404),
    ("/livez/", "GET", NO, Bound, NONE, 401),
    ("//livez", "GET", NO, Bound, NONE, 401),
    ("/api/v1/operations", "GET", NO, Bound, NONE, 401),
    ("/api/v1/operations", "GET", Wrong, Bound, NONE, 401),
    ("/api/v1/operations", "GET", Right, Bound, NONE, 200),
    ("/api/v1/operations", "POST", Right, Bound, NONE, 405),
    (READ, "GET", NO, Bound, NONE, 401),
    (READ, "GET", Wrong, Bound, NONE, 401),
    (READ, "GET", Right, Bound, NONE, 200),
    (READ, "GET", Right, Localhost, ELSE, 200),
    (READ, "GET", Right, Listed, NONE, 200),
    (READ, "HEAD", Right, Bound, NONE, 405),
    (READ, "PATCH", Right, Bound, NONE, 405),
    (CHANGE, "POST", NO, Bound, NONE, 401),
    (CHANGE, "POST", Wrong, Bound, Same, 401),
    (CHANGE, "POST", Right, Bound, NONE, 200),
    (CHANGE, "POST", Right, Bound, Same, 200),
    (CHANGE, "POST", Right, Bound, ELSE, 403),
    (CHANGE, "POST", Right, Bound, Null, 403),
    (CHANGE, "GET", Right, Bound, NONE, 405),
    (CHANGE, "GET", NO, Bound, NONE, 401),
    (CHANGE, "HEAD", Right, Bound, NONE, 405),
    (CHANGE, "DELETE", Right, Bound, NONE, 405),
    (CHANGE, "OPTIONS", Right, Bound, ELSE, 403),
    ("/api/v1/demo/one/nothing", "POST", Right, Bound, NONE, 404),
    ("/api/v1/%ff/one/set", "POST", Right, Bound, NONE, 400),
    // Another host is nobody's business here, whatever the path or the token.
    ("/livez", "GET", NO, Foreign, NONE, 421),
    ("/metrics", "GET", Right, Foreign, NONE, 421),
    (CHANGE, "POST", Right, Foreign, NONE, 421),
    ("/livez", "GET", NO, Missing, NONE, 400),
    ("/livez", "GET", NO, Twice, NONE, 400),
    ("/livez", "GET", NO, Target, NONE, 421),
    // The dashboard has keys of its own; the token is none.
    ("/dashboard", "GET", NO, Bound, NONE, 403),
    ("/dashboard", "GET", Right, Bound, NONE, 403),
    ("/dashboard", "POST", NO, Bound, NONE, 405),
    ("/dashboard/open", "GET", NO, Bound, NONE, 403),
    ("/dashboard/open?key=", "GET", NO, Bound, NONE, 403),
];

fn request(world: &World, row: &Row) -> String {
    let (path, method, token, host, origin, _) = *row;
    let address = world.address();
    let port = address.port();
    let own = match host {
        Localhost => format!("localhost:{port}"),
        Listed => format!("Metrics.Example:{port}"),
        Foreign => format!("rebound.example:{port}"),
        _ => address.to_string(),
    };
    let target = match host {
        Target => format!("http://rebound.example{path}"),
        _ => path.to_owned(),
    };
    let mut text = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    match host {
        Missing => {}
        Twice => text += &format!("Host: {own}\r\nHost: {own}\r\n"),
        _ => text += &format!("Host: {own}\r\n"),
    }
    match token {
        Token::None => {}
        Wrong => text += "Authorization: Bearer a-token-of-some-lengthx\r\n",
        Right => text += &format!("Authorization: Bearer {TOKEN}\r\n"),
    }
    match origin {
        Origin::None => {}
        Same => text += &format!("Origin: http://{own}\r\n"),
        Origin::Foreign => text += "Origin: http://evil.example\r\n",
        Null => text += "Origin: null\r\n",
    }
    text + "\r\n"
}

#[tokio::test]
async fn the_whole_table_holds() {
    let world = World::with(|config, _| config.hosts = vec!["metrics.example".into()]).await;
    let mut sets = 0;
    for row in ROWS {
        let answer = exchange(world.address(), request(&world, row).as_bytes()).await;
        assert_eq!(answer.status, row.5, "{row:?}: {answer:?}");
        sets += u64::from(row.0 == CHANGE && row.5 == 200);
        // Nothing that was refused was carried out all the same.
        assert_eq!(world.sets(), sets, "{row:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        if row.5 >= 400 && row.1 != "HEAD" {
            let error = &answer.json()["error"];
            assert!(
                error["code"].as_str().unwrap().starts_with("T03"),
                "{error}"
            );
        }
        assert_eq!(answer.header("www-authenticate").is_some(), row.5 == 401);
        assert_eq!(answer.header("allow").is_some(), row.5 == 405, "{row:?}");
    }
    for (reason, least) in [("token", 9), ("host", 5), ("origin", 4)] {
        assert!(world.refused("http", reason) >= least, "{reason}");
    }
}

#[tokio::test]
async fn metrics_may_need_the_token_too() {
    let world = World::with(|config, _| config.metrics = MetricsAccess::Token).await;
    let closed = world.ask_with("GET /metrics", "", "").await;
    assert_eq!(
        (closed.status, closed.code().as_str()),
        (401, codes::NO_TOKEN)
    );
    assert_eq!(world.ask("GET /metrics").await.status, 200);
    assert_eq!(world.ask_with("GET /livez", "", "").await.status, 200);
}

#[tokio::test]
async fn without_a_token_file_nobody_gets_further() {
    let world = World::with(|config, _| config.token_file = None).await;
    for (path, status) in [("/livez", 200), ("/metrics", 200), ("/", 403), (READ, 403)] {
        for headers in [
            "",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer x\r\n",
        ] {
            let answer = world.ask_with(&format!("GET {path}"), headers, "").await;
            assert_eq!(answer.status, status, "{path} {headers}");
            if status == 403 {
                assert_eq!(answer.code(), codes::TOKEN_UNSET);
            }
        }
    }
    // The control socket needs none.
    let client = world.client().await;
    let answer = client
        .call("demo", "one", "set", json!({}), crate::world::SOON)
        .await
        .unwrap();
    assert_eq!(answer, 1);
}
