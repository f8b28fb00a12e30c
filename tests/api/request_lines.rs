//! One line for each request, however it ends, and what the line says.

use crate::support::{
    app::{Answer, PATIENCE, TestApp, program, undisturbed},
    raw::Raw,
    upstream::{
        Reply,
        Step::{Hold, Send},
        Upstream,
    },
};
use serde_json::{Value, json};
use std::{fmt::Write, net::SocketAddr, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

#[tokio::test]
async fn a_line_says_what_was_asked_and_what_came_of_it() {
    let upstream = Upstream::tls().await;
    upstream.on("/ok", Reply::ok("{*a*} {*b*}"));
    let app = TestApp::with_source(&upstream, "", "").await;
    let body = json!({ "source": upstream.url("/ok?q=1") });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = app.asking(&body).header("X-Request-Id", "mine");

    Answer::of(request.header("traceparent", format!("00-{trace}-1234567890123456-01"))).await;

    let line = app.only_line("mine").await;
    let members = line.as_object().expect("an object");
    let mut names: Vec<&str> = members.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "attempts",
            "blame",
            "bytes",
            "code",
            "duration_ms",
            "fetch_duration_ms",
            "level",
            "message",
            "method",
            "outcome",
            "request_id",
            "route",
            "rule",
            "secrets_recovered",
            "source_host",
            "status",
            "target",
            "tenant",
            "timestamp",
            "trace_id",
        ]
    );
    let expected = json!({
        "attempts": 1, "blame": "none", "bytes": 11, "code": "ok", "level": "INFO",
        "method": "POST", "outcome": "success", "route": "/decode", "rule": "test",
        "secrets_recovered": 2, "source_host": "source.test", "status": 200,
        "target": "blueprint_decoder::request", "tenant": "anonymous", "trace_id": trace,
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[name], value, "{name}");
    }
    assert!(line["duration_ms"].as_f64() >= line["fetch_duration_ms"].as_f64(), "{line}");
}

#[tokio::test]
async fn every_refusal_has_one_line() {
    let upstream = Upstream::tls().await;
    upstream.on("/500", Reply::ok("").status(500));
    upstream.on("/hold", [Hold]);
    let egress = "total_timeout = \"200ms\"";
    let app = TestApp::with_source(&upstream, egress, "").await;
    let sent = |id: &str, body: &Value| app.asking(body).header("X-Request-Id", id);
    let content = json!({ "content": "x" });
    let source = |path: &str| json!({ "source": upstream.url(path) });
    let url = |path: &str| app.url(path);
    let client = &app.client;
    for (id, request, status, code, level) in [
        ("json", sent("json", &content).body("{"), 400, "malformed_json", "INFO"),
        ("field", sent("field", &json!({ "x": 1 })), 422, "invalid_request", "INFO"),
        ("type", client.post(url("/decode")), 415, "unsupported_media_type", "INFO"),
        ("accept", sent("accept", &content).header("Accept", "a/b"), 406, "not_acceptable", "INFO"),
        ("host", sent("host", &content).header("Host", "evil.test"), 403, "forbidden", "INFO"),
        ("path", client.get(url("/nowhere")), 404, "not_found", "INFO"),
        ("method", client.put(url("/decode")), 405, "method_not_allowed", "INFO"),
        (
            "denied",
            sent("denied", &json!({ "source": "https://x.test" })),
            403,
            "source_denied",
            "WARN",
        ),
        ("none", sent("none", &source("/none")), 424, "source_not_found", "WARN"),
        ("500", sent("500", &source("/500")), 424, "source_failed", "WARN"),
        ("hold", sent("hold", &source("/hold")), 424, "source_timeout", "WARN"),
        (
            "deadline",
            sent("deadline", &source("/hold")).header("X-Request-Timeout-Ms", 50),
            504,
            "deadline_exceeded",
            "INFO",
        ),
    ] {
        let mut request = request.build().expect("a request");
        request.headers_mut().insert("x-request-id", id.parse().expect("a header"));
        let answer = client.execute(request).await.expect("an answer");

        assert_eq!(answer.status(), status, "{id}");
        let line = app.only_line(id).await;
        assert_eq!((&line["status"], &line["code"]), (&json!(status), &json!(code)), "{line}");
        assert_eq!(line["level"], level, "{line}");
        assert_ne!(line["blame"], "none", "{line}");
    }
}

#[tokio::test]
async fn who_leaves_has_one_line_wherever_that_happens() {
    let upstream = Upstream::tls().await;
    upstream.on("/slow", Reply::stream([Send("{*a*}\n".into()), Hold]));
    let app = TestApp::with_source(&upstream, "", "").await;
    let source = json!({ "source": upstream.url("/slow") });

    let mut uploading = Raw::connect(app.address).await;
    uploading.begin_decode("uploading", "Content-Type: text/plain\r\n", 1000).await;
    uploading.send("{*a*}").await;
    let mut json_part = Raw::connect(app.address).await;
    json_part.begin_decode("json-part", "Content-Type: application/json\r\n", 1000).await;
    json_part.send("{\"con").await;
    let mut chunked = Raw::connect(app.address).await;
    let head = "POST /decode HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: chunked\r\n\
                Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{*a*}\r\n";
    chunked.send(head).await;
    let mut fetching = Raw::connect(app.address).await;
    fetching.decode("fetching", "", &source).await;
    upstream.requested("/slow").await;
    let mut streaming = Raw::connect(app.address).await;
    streaming.decode("streaming", "Accept: application/x-ndjson\r\n", &source).await;
    streaming.until("\"value\":\"a\"").await;
    app.metrics_when(|metrics| metrics["decoder_http_requests_in_flight"] == 5.0).await;
    drop((uploading, json_part, chunked, fetching, streaming));

    for (id, status) in [
        ("uploading", 499),
        ("json-part", 499),
        ("chunked", 499),
        ("fetching", 499),
        ("streaming", 200),
    ] {
        let line = app.only_line(id).await;
        assert_eq!(line["outcome"], "cancelled", "{line}");
        assert_eq!(line["code"], "cancelled", "{line}");
        assert_eq!(line["blame"], "none", "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert_eq!(line["secrets_recovered"], i32::from(id == "streaming"), "{line}");
    }
}

/// A service whose log nobody reads, but for the line that says where it listens.
struct Unread {
    log: BufReader<ChildStdout>,
    address: SocketAddr,
    _child: Child,
}

impl Unread {
    async fn start() -> Self {
        let mut command = program();
        undisturbed(&mut command, "");
        let mut command = Command::from(command);
        command.args(["serve", "--bind", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the binary starts");
        let mut log = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        let read = timeout(PATIENCE, log.read_line(&mut line)).await;
        read.expect("a line in time").expect("readable");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["message"], "listening", "{line}");
        let address = line["address"].as_str().expect("an address");
        Self { log, address: address.parse().expect("an address"), _child: child }
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_loses_lines_and_not_requests() {
    let mut app = Unread::start().await;
    let (mut sent, mut dropped) = (0, 0);
    // A pipe and the buffer hold a few thousand lines.
    for _ in 0..20 {
        let mut requests = String::new();
        for at in 0..1000 {
            let id = "x".repeat(64);
            let close = if at == 999 { "Connection: close\r\n" } else { "" };
            let _ = write!(
                requests,
                "POST /decode HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n{close}\
                 Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n{{*a*}}"
            );
        }
        let answers = Raw::connect(app.address).await.pipeline(requests).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1000);
        sent += 1000;

        let scrape = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let metrics = Raw::connect(app.address).await.pipeline(scrape.to_owned()).await;
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix("decoder_log_lines_dropped_total "));
        dropped = value.expect("the metric").parse().expect("a number");
        if dropped > 0 {
            break;
        }
    }
    assert!(dropped > 0 && dropped <= sent, "{dropped} of {sent}");

    // What was kept is whole.
    let mut kept = vec![0; 60_000];
    let read = timeout(PATIENCE, app.log.read_exact(&mut kept)).await;
    read.expect("lines in time").expect("lines");
    let text = String::from_utf8(kept).expect("UTF-8");
    let whole = text.rsplit_once('\n').expect("lines").0;
    assert!(whole.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}
