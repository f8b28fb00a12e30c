//! What the service tells of itself: pages, probes, and what the operator sees.

use crate::support::{
    app::{Answer, TestApp},
    upstream::{Reply, Upstream},
};
use blueprint_decoder::{failure::Code, http::ROUTES};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::timeout;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a browser says that it accepts.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn as_a_browser(app: &TestApp, path: &str) -> Answer {
    Answer::of(app.client.get(app.url(path)).header("Accept", BROWSER)).await
}

fn assert_page(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(answer.text.starts_with("<!doctype html>"), "{answer:?}");
    assert!(!answer.text.contains("<script"), "{answer:?}");
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{policy}");
}

#[tokio::test]
async fn the_index_says_where_to_look() {
    let app = TestApp::start("").await;

    let (json, page) = (app.get("/").await, as_a_browser(&app, "/").await);

    assert_eq!(json.json()["name"], "blueprint-decoder");
    assert_eq!(json.json()["routes"][0]["route"], "POST /decode");
    assert_page(&page);
    timeout(PATIENCE, ready(&app)).await.expect("ready in time");
    for path in ["/health", "/health/ready", "/metrics", "/problems"] {
        assert!(page.text.contains(&format!("<a href=\"{path}\">")), "{page:?}");
        assert_eq!(app.get(path).await.status, 200, "{path}");
    }
    Answer::of(app.client.get(app.url("/")).header("Accept", "image/png"))
        .await
        .problem(406, "not_acceptable");
}

#[tokio::test]
async fn every_problem_has_its_page() {
    let app = TestApp::start("").await;

    let all = app.get("/problems").await.json();
    let list = as_a_browser(&app, "/problems").await;

    assert_eq!(all["problems"].as_array().map(Vec::len), Some(Code::ALL.len()));
    assert_page(&list);
    for (code, listed) in Code::ALL.into_iter().zip(all["problems"].as_array().expect("a list")) {
        let path = format!("/problems/{}", code.as_str());
        let (json, page) = (app.get(&path).await.json(), as_a_browser(&app, &path).await);
        assert_eq!((&json, &json["type"]), (listed, &Value::from(path.as_str())));
        assert_eq!(json["code"], code.as_str());
        for member in ["title", "advice", "blame"] {
            assert_ne!(json[member].as_str().unwrap_or_default(), "", "{code:?} {member}");
        }
        assert!(list.text.contains(&format!("<a href=\"{path}\">")), "{list:?}");
        assert_page(&page);
        for member in ["title", "advice"] {
            assert!(page.text.contains(json[member].as_str().expect("a text")), "{page:?}");
        }
        assert!(page.text.contains(&json["status"].to_string()), "{page:?}");
    }
}

#[tokio::test]
async fn a_problem_that_does_not_exist_is_not_found() {
    let app = TestApp::start("").await;

    for name in ["nope", "INTERNAL", "internal%20", "%ff", "%00", "<script>alert(1)<", "a%2fb"] {
        let path = format!("/problems/{name}");
        for answer in [app.get(&path).await, as_a_browser(&app, &path).await] {
            answer.problem(404, "not_found");
            assert!(!answer.text.contains("script"), "{answer:?}");
        }
    }
}

/// The answer of the moment from which on requests are wanted, which is a little after
/// the listeners are there.
async fn ready(app: &TestApp) -> Answer {
    loop {
        let answer = app.get("/health/ready").await;
        if answer.status == 200 {
            return answer;
        }
        assert_eq!((answer.status, &answer.json()["status"]), (503, &json!("not_ready")));
    }
}

#[tokio::test]
async fn probes_say_how_it_is() {
    let app = TestApp::start("").await;

    let health = app.get("/health").await;
    let ready = timeout(PATIENCE, ready(&app)).await.expect("ready in time");

    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(health["commit"], env!("DECODER_COMMIT"));
    assert!(health["uptime_seconds"].is_u64());
    assert_eq!(ready.json()["status"], "ready");
    assert_eq!(ready.json()["checks"]["serving"]["ok"], true);
    assert_eq!(ready.json()["checks"]["policy"]["ok"], true);
    assert_eq!(app.metrics().await["decoder_ready"], 1.0);
    let head = Answer::of(app.client.head(app.url("/health"))).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn what_is_the_operators_is_on_the_admin_listener_alone() {
    let app = TestApp::start("server.admin_bind = \"127.0.0.1:0\"").await;

    timeout(PATIENCE, ready(&app)).await.expect("ready in time");
    for path in ["/health", "/health/ready", "/metrics", "/admin/errors", "/admin/config"] {
        assert_eq!(app.get_admin(path).await.status, 200, "{path}");
    }
    for path in ["/metrics", "/admin/errors", "/admin/config", "/admin", "/admin/"] {
        app.get(path).await.problem(404, "not_found");
    }
    for path in ["/problems", "/admin", "/admin/nope"] {
        app.get_admin(path).await.problem(404, "not_found");
    }
    assert_eq!(app.get("/health").await.status, 200);
    assert_eq!(app.get("/health/ready").await.status, 200);
    let address = app.admin.expect("an admin listener");
    let decode = app.client.post(format!("http://{address}/decode")).body("x");
    Answer::of(decode.header("Content-Type", "text/plain")).await.problem(404, "not_found");
    let foreign = app.client.get(format!("http://{address}/admin/config"));
    let foreign = Answer::of(foreign.header("Host", "evil.example")).await;
    foreign.problem(403, "forbidden");
}

/// The routes that a listener lists, as metrics label them, and all that it says.
fn listed(index: &Answer) -> (BTreeSet<String>, String) {
    assert_eq!(index.status, 200, "{index:?}");
    let json = index.json();
    let routes = json["routes"].as_array().expect("a list").iter();
    (
        routes.map(|route| route["route"].as_str().expect("a text").to_owned()).collect(),
        index.text.clone(),
    )
}

/// Every route of both listeners but the index itself.
fn all_routes() -> BTreeSet<String> {
    let routes = ROUTES.iter().filter(|route| route.path != "/");
    routes.map(|route| format!("{} {}", route.method, route.path)).collect()
}

#[tokio::test]
async fn each_listener_lists_the_routes_that_it_has_and_no_other() {
    let app = TestApp::start("server.admin_bind = \"127.0.0.1:0\"").await;
    let alone = TestApp::start("").await;

    let (public, said) = listed(&app.get("/").await);
    let (admin, _) = listed(&app.get_admin("/").await);
    let (both, _) = listed(&alone.get("/").await);

    assert!(said.contains("/metrics") && said.contains("server.admin_bind"), "{said}");
    assert_eq!(&public | &admin, all_routes());
    assert_eq!(&both - &public, BTreeSet::from(["GET /metrics".to_owned()]));
    let address = app.admin.expect("an admin listener");
    for (listed, listener) in [(&public, app.address), (&admin, address), (&both, alone.address)] {
        for route in all_routes() {
            let (method, path) = route.split_once(' ').expect("a method");
            let url = format!("http://{listener}{}", path.replace("{code}", "internal"));
            let method = method.parse().expect("a method");
            let status = Answer::of(alone.client.request(method, url)).await.status;
            assert_eq!(listed.contains(&route), !matches!(status, 404 | 405), "{listener} {route}");
        }
    }
    let page = alone.client.get(format!("http://{address}/")).header("Accept", BROWSER);
    let page = Answer::of(page).await;
    assert_page(&page);
    assert!(page.text.contains("<a href=\"/admin/errors\">"), "{page:?}");
}

#[tokio::test]
async fn the_last_failures_are_told_newest_first_with_their_reasons() {
    let upstream = Upstream::tls().await;
    upstream.on("/broken", Reply::stream([]).header("Content-Length", "10"));
    let app = TestApp::with_source(&upstream, "", "[server]\nadmin_bind = \"127.0.0.1:0\"").await;

    assert_eq!(app.decode(&json!({ "content": "x" })).await.status, 200);
    let denied = app.decode(&json!({ "source": "https://other.test/?key=hush" })).await;
    let broken = app.decode(&json!({ "source": upstream.url("/broken?key=hush") })).await;
    for answer in [&denied, &broken] {
        app.request_line(answer.header("x-request-id").expect("an id")).await;
    }
    let told = app.get_admin("/admin/errors").await;

    denied.problem(403, "source_denied");
    broken.problem(424, "source_failed");
    let errors = told.json();
    let errors = errors["errors"].as_array().expect("a list");
    let codes: Vec<&Value> = errors.iter().map(|error| &error["code"]).collect();
    assert_eq!(codes, ["source_failed", "source_denied"]);
    assert_eq!(errors[0]["request_id"].as_str(), broken.header("x-request-id"));
    assert_eq!(
        (&errors[0]["source_host"], &errors[0]["rule"]),
        (&json!("source.test"), &json!("test"))
    );
    assert_eq!((&errors[0]["status"], &errors[0]["blame"]), (&json!(424), &json!("source")));
    let reason = errors[0]["reason"].as_str().expect("a reason");
    assert!(!reason.is_empty() && !broken.text.contains(reason), "{reason}");
    assert!(!told.text.contains("hush"), "{told:?}");
}

#[tokio::test]
async fn the_configuration_is_told_with_where_it_comes_from() {
    let config = "server.admin_bind = \"127.0.0.1:0\"\nlimits.max_secrets = 7";
    let app = TestApp::start(config).await;

    let told = app.get_admin("/admin/config").await.json();

    assert_eq!(told["config"]["limits"]["max_secrets"], 7, "{told}");
    assert_eq!(told["config"]["limits"]["max_secret_chars"], 65536);
    let origin = told["origins"]["limits.max_secrets"].as_str().expect("an origin");
    assert!(origin.contains(".toml"), "{origin}");
    assert!(told["origins"].get("limits.max_secret_chars").is_none(), "{told}");
}
