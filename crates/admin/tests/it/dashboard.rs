//! The dashboard: minted over the socket, opened once, harmless to look at.

use serde_json::json;

use crate::world::{SOON, TOKEN, World, unready};

async fn mint(world: &World) -> String {
    let client = world.client().await;
    let link = client
        .call("engine", "process", "dashboard-link", json!({}), SOON)
        .await
        .unwrap();
    let url = link["url"].as_str().unwrap();
    let base = format!("http://{}", world.address());
    url.strip_prefix(&base).unwrap().to_owned()
}

#[tokio::test]
async fn a_link_opens_once_and_the_page_shows_what_is() {
    let world = World::with(|config, _| config.token_file = None).await;
    let _part = unready(&world);
    let link = mint(&world).await;
    // A preview does not use it up.
    assert_eq!(
        world.ask_with(&format!("HEAD {link}"), "", "").await.status,
        405
    );
    let opened = world.ask_with(&format!("GET {link}"), "", "").await;
    assert_eq!(
        (opened.status, opened.header("location")),
        (303, Some("/dashboard"))
    );
    let cookie = opened.header("set-cookie").unwrap();
    for wanted in [
        "HttpOnly",
        "SameSite=Strict",
        "Path=/dashboard",
        "Max-Age=3600",
    ] {
        assert!(cookie.contains(wanted), "{cookie}");
    }
    assert_eq!(
        world.ask_with(&format!("GET {link}"), "", "").await.status,
        403,
        "once"
    );

    let session = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_page(&world, &session).await;
}

async fn assert_page(world: &World, session: &str) {
    let page = world.ask_with("GET /dashboard", session, "").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'nonce-"),
        "{policy}"
    );
    let nonce = policy.split('\'').nth(3).unwrap();
    assert!(
        page.body
            .contains(&format!("<style nonce=\"{}\">", &nonce[6..])),
        "{policy}"
    );
    assert!(
        page.body.contains("demo/part") && page.body.contains("unready"),
        "{page:?}"
    );
    assert!(page.body.contains("demo/one status"), "{page:?}");
    assert!(
        page.body.contains("&lt;script&gt;") && !page.body.contains("<script"),
        "{page:?}"
    );
    assert!(!page.body.contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    // The cookie opens the page and nothing else.
    for path in ["/", "/api/v1/demo/one/status"] {
        assert_eq!(
            world
                .ask_with(&format!("GET {path}"), session, "")
                .await
                .status,
            403
        );
    }
    let again = world.ask_with("GET /dashboard", session, "").await;
    assert_ne!(
        again.header("content-security-policy"),
        Some(policy),
        "a nonce is used once"
    );
    let forged = session.replace("dashboard=", "dashboard=0");
    assert_eq!(
        world.ask_with("GET /dashboard", &forged, "").await.status,
        403
    );
}

#[tokio::test]
async fn links_are_not_handed_out_over_http() {
    let world = World::start().await;
    let answer = world
        .post("/api/v1/engine/process/dashboard-link", &json!({}))
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, trunkline_admin::codes::SOCKET_ONLY)
    );
    assert!(!answer.body.contains(TOKEN));
}
