//! The level of the log, changed by an operator for a while.

use crate::support::{
    app::{Answer, TestApp},
    upstream::{Reply, Upstream},
};
use serde_json::{Value, json};

const ADMIN: &str = "[server]\nadmin_bind = \"127.0.0.1:0\"\n";

async fn change(app: &TestApp, body: &str) -> Answer {
    let admin = app.admin.expect("an admin listener");
    let request = app.client.put(format!("http://{admin}/admin/log-level"));
    Answer::of(request.header("Content-Type", "application/json").body(body.to_owned())).await
}

#[tokio::test]
async fn an_operator_sees_more_of_the_service_and_less_again() {
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("").status(503));
    let app = TestApp::with_source(&upstream, "attempts = 2", ADMIN).await;
    let again = |line: &Value| line["message"] == "retrying the source";
    let source = json!({ "source": upstream.url("/") });

    app.decode(&source).await.problem(424, "source_failed");
    let changed = change(&app, "{\"level\": \"debug\"}").await;
    app.decode(&source).await.problem(424, "source_failed");

    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.json()["level"], "debug");
    assert!(changed.json()["until"].as_str().expect("a moment").ends_with('Z'));
    let line = app.log_line(again).await;
    assert_eq!(line["level"], "DEBUG");
    assert_eq!(change(&app, "{\"level\": \"info\"}").await.status, 200);
    app.decode(&source).await.problem(424, "source_failed");
    // Whatever was said of the first and the third decode is written by now.
    let last = app.get("/problems").await;
    app.request_line(last.header("x-request-id").expect("an id")).await;
    let lines = app.log_lines();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert_eq!(lines.filter(again).count(), 1);
}

#[tokio::test]
async fn libraries_are_not_asked_for_more() {
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("{*a*}"));
    let app = TestApp::with_source(&upstream, "", ADMIN).await;

    assert_eq!(change(&app, "{\"level\": \"trace\"}").await.status, 200);
    assert_eq!(app.decode(&json!({ "source": upstream.url("/") })).await.status, 200);

    let last = app.get("/problems").await;
    app.request_line(last.header("x-request-id").expect("an id")).await;
    for line in app.log_lines() {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let target = line["target"].as_str().expect("a target");
        assert!(target.starts_with("blueprint_decoder"), "{line}");
    }
}

#[tokio::test]
async fn what_is_no_level_changes_nothing() {
    let app = TestApp::start(ADMIN).await;
    for (body, status, code) in [
        ("{\"level\": \"off\"}", 422, "invalid_request"),
        ("{\"level\": \"loud\"}", 422, "invalid_request"),
        ("{\"level\": \"info\", \"for\": 5}", 422, "invalid_request"),
        ("{}", 422, "invalid_request"),
        ("level", 400, "malformed_json"),
    ] {
        change(&app, body).await.problem(status, code);
    }
    let answer = app.get("/").await;

    let line = app.request_line(answer.header("x-request-id").expect("an id")).await;
    assert_eq!(line["level"], "INFO");
    assert!(!app.log_lines().iter().any(|line| line.contains("another level")));
}
