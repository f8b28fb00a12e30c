//! `POST /decode`: the forms of answers, and what each may show.

use crate::support::{
    app::{Answer, TestApp, http_2},
    upload::Upload,
    upstream::{Gate, Reply, Step, Upstream},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How long a piece of an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

const DOCUMENT: &str = "{*AGENT: Smith*} {*the door is east*} {*https://x.example*}\n{* open\n";

/// Asks for the forms by `Accept`, with a document as the body.
fn accepting(app: &TestApp, accept: &str, query: &str) -> reqwest::RequestBuilder {
    let request = app.client.post(app.url(&format!("/decode{query}")));
    request.header("Content-Type", "text/plain").header("Accept", accept)
}

async fn in_time<T>(awaited: impl Future<Output = T>) -> T {
    timeout(PATIENCE, awaited).await.expect("in time")
}

fn lines(text: &str) -> Vec<Value> {
    assert!(text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn the_form_that_is_liked_best_is_answered() {
    let app = TestApp::start("").await;
    let check = async |accept: &str, expected: &str| {
        let answer = Answer::of(accepting(&app, accept, "").body(DOCUMENT)).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some(expected)),
            "{accept}"
        );
    };

    check("*/*", "application/json").await;
    check("application/json", "application/json").await;
    check("application/*", "application/json").await;
    check("application/x-ndjson", "application/x-ndjson").await;
    check("text/plain", "text/plain; charset=utf-8").await;
    check("text/plain;q=0.5, application/x-ndjson", "application/x-ndjson").await;
    check("text/html, */*;q=0.1", "application/json").await;
}

#[tokio::test]
async fn every_form_tells_the_same() {
    let app = TestApp::start("").await;

    let json = Answer::of(accepting(&app, "application/json", "").body(DOCUMENT)).await.json();
    let streamed = Answer::of(accepting(&app, "application/x-ndjson", "").body(DOCUMENT)).await;
    let report = Answer::of(accepting(&app, "text/plain", "").body(DOCUMENT)).await;

    let mut lines = lines(&streamed.text);
    let last = lines.pop().expect("a last line");
    assert_eq!(json["secrets"], Value::from(lines));
    assert_eq!(json["summary"], last["summary"]);
    assert_eq!(last["request_id"].as_str(), streamed.header("x-request-id"));
    assert!(last.get("secrets").is_none() && last["timing_ms"]["total"].is_number(), "{last}");
    for secret in json["secrets"].as_array().expect("a list") {
        assert!(report.text.contains(secret["value"].as_str().expect("a text")), "{report:?}");
    }
    assert!(report.text.contains("3 secrets recovered."), "{report:?}");
}

#[tokio::test]
async fn masked_shows_labels_and_asterisks_and_nothing_else() {
    let app = TestApp::start("").await;
    let check = async |accept: &str, expected: &[&str]| {
        let answer = Answer::of(accepting(&app, accept, "?output=masked").body(DOCUMENT)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for hidden in
            ["Smith", "door", "east", "https", "x.example", "offset", "\"line\"", "line 1"]
        {
            assert!(!answer.text.contains(hidden), "{accept}: {answer:?}");
        }
        for shown in expected {
            assert!(answer.text.contains(shown), "{accept}: {answer:?}");
        }
        answer
    };

    let json = check("application/json", &[]).await.json();
    assert_eq!(
        json["secrets"],
        json!([
            { "index": 1, "pair": 0, "value": "AGENT: ********" },
            { "index": 2, "pair": 0, "value": "********" },
            { "index": 3, "pair": 0, "value": "********" },
        ])
    );
    assert_eq!(json["summary"]["categories"], json!({ "AGENT": 1, "UNCLASSIFIED": 2 }));
    let streamed = check("application/x-ndjson", &[]).await;
    assert_eq!(lines(&streamed.text)[..3], json["secrets"].as_array().expect("a list")[..]);
    check("text/plain", &["  1. AGENT: ********\n  2. ********\n", "3 secrets recovered."]).await;
}

#[tokio::test]
async fn a_summary_has_no_secrets_in_any_form() {
    let app = TestApp::start("").await;
    let body = json!({ "content": DOCUMENT, "output": "summary" });
    let check = async |accept: &str| {
        let answer = Answer::of(app.asking(&body).header("Accept", accept)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for hidden in ["Smith", "door", "https", "secrets\"", "***"] {
            assert!(!answer.text.contains(hidden), "{accept}: {answer:?}");
        }
        answer
    };

    for accept in ["application/json", "application/x-ndjson"] {
        let answer = check(accept).await;
        assert_eq!(answer.text.lines().count(), 1, "{answer:?}");
        assert_eq!(
            answer.json()["summary"],
            json!({
                "returned": 3, "stopped_by": null, "bytes_scanned": DOCUMENT.len(), "unterminated": 1,
                "categories": { "AGENT": 1, "UNCLASSIFIED": 2 },
            })
        );
    }
    let report = check("text/plain").await;
    assert!(report.text.contains("3 secrets recovered."), "{report:?}");
}

#[tokio::test]
async fn a_line_leaves_before_the_document_has_arrived() {
    let app = TestApp::start("").await;
    let http_2 = http_2().build().expect("a client");
    let check = async |client: &reqwest::Client| {
        let (pieces, body) = Upload::open();
        let request = client.post(app.url("/decode")).header("Content-Type", "text/plain");
        let request = request.header("Accept", "application/x-ndjson").body(body);
        pieces.send(Bytes::from("{*one*} {*tw")).await.expect("wanted");

        let mut response = in_time(request.send()).await.expect("an answer");
        let first = in_time(response.chunk()).await.expect("a piece");
        pieces.send(Bytes::from("o*}")).await.expect("wanted");
        let second = in_time(response.chunk()).await.expect("a piece");
        drop(pieces);
        let rest = in_time(response.text()).await.expect("a rest");

        let value = |piece: Option<Bytes>| {
            let text = String::from_utf8(piece.expect("a line").to_vec()).expect("UTF-8");
            lines(&text)[0]["value"].as_str().expect("a text").to_owned()
        };
        assert_eq!((value(first), value(second)), ("one".to_owned(), "two".to_owned()));
        assert_eq!(lines(&rest)[0]["summary"]["returned"], 2);
    };

    check(&app.client).await;
    check(&http_2).await;
}

#[tokio::test]
async fn a_line_leaves_before_the_source_has_said_all() {
    let upstream = Upstream::tls().await;
    let gate = Gate::default();
    let steps =
        [Step::Send("{*one*} {*tw".into()), Step::Wait(gate.clone()), Step::Send("o*}".into())];
    upstream.on("/slow", Reply::stream(steps).chunked());
    let app = TestApp::with_source(&upstream, "", "").await;
    let request = app.asking(&json!({ "source": upstream.url("/slow") }));
    let request = request.header("Accept", "application/x-ndjson");

    let mut response = in_time(request.send()).await.expect("an answer");
    let first = in_time(response.chunk()).await.expect("a piece");
    gate.open();
    let rest = in_time(response.text()).await.expect("a rest");

    let first = String::from_utf8(first.expect("a line").to_vec()).expect("UTF-8");
    assert_eq!(lines(&first)[0]["value"], "one");
    let rest = lines(&rest);
    assert_eq!((&rest[0]["value"], &rest[1]["fetch"]["status"]), (&json!("two"), &json!(200)));
}

#[tokio::test]
async fn what_fails_behind_the_first_line_is_the_last_line() {
    let upstream = Upstream::tls().await;
    let broken = Reply::stream([Step::Send("{*one*}".into())]).header("Content-Length", "99");
    upstream.on("/broken", broken);
    upstream.on("/nothing", Reply::stream([]).header("Content-Length", "99"));
    let app = TestApp::with_source(&upstream, "", "").await;
    let ask = async |path: &str, accept: &str| {
        let request = app.asking(&json!({ "source": upstream.url(path) }));
        Answer::of(request.header("Accept", accept)).await
    };

    let streamed = ask("/broken", "application/x-ndjson").await;
    let whole = ask("/broken", "application/json").await;
    let report = ask("/broken", "text/plain").await;
    let nothing = ask("/nothing", "application/x-ndjson").await;

    assert_eq!(streamed.status, 200);
    let lines = lines(&streamed.text);
    assert_eq!((lines.len(), &lines[0]["value"]), (2, &json!("one")));
    let problem = &lines[1]["error"];
    assert_eq!((&problem["code"], &problem["status"]), (&json!("source_failed"), &json!(424)));
    assert_eq!(problem["request_id"].as_str(), streamed.header("x-request-id"));
    for answer in [&whole, &report, &nothing] {
        answer.problem(424, "source_failed");
        assert!(!answer.text.contains("one"), "{answer:?}");
    }
    let line = app.request_line(streamed.header("x-request-id").expect("an id")).await;
    assert_eq!((&line["status"], &line["outcome"]), (&json!(200), &json!("failed")), "{line}");
    assert_eq!(line["code"], "source_failed");
}

#[tokio::test]
async fn a_fit_request_id_is_kept_and_every_answer_has_one() {
    let app = TestApp::start("").await;
    let check = async |path: &str, given: &str, kept: bool| {
        let request = app.client.get(app.url(path)).header("X-Request-Id", given);
        let answer = Answer::of(request).await;
        let id = answer.header("x-request-id").expect("an id");
        assert_eq!(id == given, kept, "{given}: {id}");
        let version = uuid::Uuid::parse_str(id).map(|id| id.get_version_num());
        assert!(kept || version == Ok(7), "{given}: {id}");
    };

    check("/health", "a.B_c-1", true).await;
    check("/nope", &"x".repeat(64), true).await;
    check("/decode", &"x".repeat(65), false).await;
    check("/", "a b", false).await;
    check("/", "", false).await;
    let body = json!({ "content": "x" });
    let answer = Answer::of(app.asking(&body).header("X-Request-Id", "mine")).await;
    assert_eq!(
        (answer.header("x-request-id"), &answer.json()["request_id"]),
        (Some("mine"), &json!("mine"))
    );
    assert_eq!(app.request_line("mine").await["route"], "/decode");
}

#[tokio::test]
async fn every_answer_is_safe_to_open_in_a_browser() {
    let app = TestApp::start("").await;
    let found = app.decode(&json!({ "content": "{*<script>*}" })).await;
    let streamed = Answer::of(accepting(&app, "application/x-ndjson", "").body(DOCUMENT)).await;

    for answer in [
        &found,
        &streamed,
        &app.get("/").await,
        &app.get("/nope").await,
        &app.get("/decode").await,
        &app.get("/health").await,
        &app.get("/metrics").await,
    ] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(answer.header("server").is_none(), "{answer:?}");
        assert!(answer.header("access-control-allow-origin").is_none(), "{answer:?}");
    }
}

#[tokio::test]
async fn the_report_shows_no_control_characters() {
    let app = TestApp::start("").await;
    let document = "{*\u{1b}[2J\u{202e}x\r\u{7}\u{9b}: y*}";

    let report = Answer::of(accepting(&app, "text/plain", "").body(document)).await;

    assert!(report.text.contains("\\u{1b}[2J\\u{202e}x"), "{report:?}");
    let is_odd = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!report.text.contains(is_odd), "{report:?}");
}
