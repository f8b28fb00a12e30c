//! Answers as reviewed, word by word: others read them, and programs parse them.

use crate::support::{
    app::{Answer, TestApp},
    upstream::{Gate, Reply, Step, Upstream},
};
use serde_json::json;

/// A problem, a member a line, without what differs each time.
fn shown(answer: &Answer, upstream: &Upstream) -> String {
    let kind = answer.header("content-type").unwrap_or_default();
    assert_eq!(kind, "application/problem+json", "{answer:?}");
    let id = answer.header("x-request-id").expect("an id");
    let port = upstream.address().port().to_string();
    let text = answer.text.replace(id, "<id>").replace(&port, "<port>");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let pretty = serde_json::to_string_pretty(&json).expect("JSON");
    let headers = ["allow", "retry-after"].map(|name| {
        answer.header(name).map(|value| format!("{name}: {value}\n")).unwrap_or_default()
    });
    format!("{}\n{}{pretty}", answer.status, headers.concat())
}

#[tokio::test]
async fn problems_are_as_reviewed() {
    let upstream = Upstream::tls().await;
    let gate = Gate::default();
    upstream.on("/gone", Reply::ok("").status(410));
    upstream.on("/private", Reply::ok("").status(401));
    upstream.on("/down", Reply::ok("").status(500));
    upstream.on("/moved", Reply::ok("").status(302).header("Location", "https://other.test/"));
    upstream.on("/broken", Reply::stream([]).header("Content-Length", "9"));
    upstream.on("/slow", Reply::stream([Step::Wait(gate)]).chunked());
    upstream.on("/long", Reply::ok("x".repeat(2000)));
    upstream.on("/image", Reply::ok("x").header("Content-Type", "image/png"));
    upstream.on("/klingon", Reply::ok("x").header("Content-Type", "text/plain; charset=klingon"));
    upstream.on("/brotli", Reply::ok("x").header("Content-Encoding", "br"));
    let config = "[limits]\nmax_document_bytes = \"1KiB\"\nmax_request_bytes = \"2KiB\"\n\
                  [server]\nrequest_timeout = \"2s\"";
    let app = TestApp::with_source(&upstream, "total_timeout = \"300ms\"", config).await;
    let check = async |name: &str, request: reqwest::RequestBuilder| {
        let answer = Answer::of(request).await;
        insta::assert_snapshot!(name, shown(&answer, &upstream));
    };
    let fetch = |path: &str| app.asking(&json!({ "source": upstream.url(path) }));
    let post = |kind: &str, body: &str| {
        let request = app.client.post(app.url("/decode")).header("Content-Type", kind);
        request.body(body.to_owned())
    };
    let content = || app.asking(&json!({ "content": "x" }));

    check("malformed_json", post("application/json", "{\n'content': 'x'}")).await;
    check("invalid_request", app.asking(&json!({ "x": 1, "max_secrets": 0 }))).await;
    check("invalid_request_url", app.asking(&json!({ "source": "x.example" }))).await;
    check("invalid_request_timeout", content().header("X-Request-Timeout-Ms", "0")).await;
    check("unsupported_media_type", post("application/x-www-form-urlencoded", "x")).await;
    check("unsupported_media_type_packed", content().header("Content-Encoding", "gzip")).await;
    check("not_acceptable", content().header("Accept", "text/html")).await;
    check("request_too_large", post("application/json", &" ".repeat(2049))).await;
    check("request_too_large_content", app.asking(&json!({ "content": "x".repeat(1025) }))).await;
    check("forbidden_host", content().header("Host", "evil.example")).await;
    check("forbidden_site", content().header("Sec-Fetch-Site", "cross-site")).await;
    check("not_found", app.client.get(app.url("/nope"))).await;
    check("not_found_problem", app.client.get(app.url("/problems/nope"))).await;
    check("method_not_allowed", app.client.get(app.url("/decode"))).await;
    check("source_denied_host", app.asking(&json!({ "source": "https://other.test/" }))).await;
    check("source_denied_scheme", app.asking(&json!({ "source": "file:///etc/passwd" }))).await;
    check("source_denied_userinfo", app.asking(&json!({ "source": "https://u:p@source.test/" })))
        .await;
    check("source_not_found", fetch("/gone")).await;
    check("source_rejected", fetch("/private")).await;
    check("source_failed_status", fetch("/down")).await;
    check("source_denied_redirect", fetch("/moved")).await;
    check("source_failed_broken", fetch("/broken")).await;
    check("source_timeout", fetch("/slow")).await;
    check("document_too_large", fetch("/long")).await;
    check("unsupported_document_type", fetch("/image")).await;
    check("unsupported_document_charset", fetch("/klingon")).await;
    check("unsupported_document_packed", fetch("/brotli")).await;
    check("unsupported_document_handed_over", post("text/plain; charset=klingon", "x")).await;
    check("deadline_exceeded", fetch("/slow").header("X-Request-Timeout-Ms", "100")).await;
}

#[tokio::test]
async fn problems_of_time_are_as_reviewed() {
    let upstream = Upstream::tls().await;
    upstream.on("/slow", Reply::stream([Step::Hold]).chunked());
    let config = "[server]\nrequest_timeout = \"200ms\"";
    let app = TestApp::with_source(&upstream, "", config).await;
    let stalled = "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
                   Content-Length: 9\r\n\r\nx";

    let slow = app.decode(&json!({ "source": upstream.url("/slow") })).await;
    let stalled = crate::support::raw::exchange(app.address, stalled).await;

    insta::assert_snapshot!("service_timeout", shown(&slow, &upstream));
    insta::assert_snapshot!("request_timeout", shown(&stalled, &upstream));
}

#[tokio::test]
async fn problems_of_an_address_and_of_load_are_as_reviewed() {
    let upstream = Upstream::tls().await;
    upstream.on("/slow", Reply::stream([Step::Hold]).chunked());
    let inner = "hosts = { \"inner.test\" = [\"10.1.2.3\"] }\nallow = [\"https://inner.test\"]";
    let strict = TestApp::start(&format!("[egress]\n{inner}")).await;
    let busy = TestApp::with_source(&upstream, "", "[server]\nmax_in_flight = 1").await;
    let request = busy.asking(&json!({ "source": upstream.url("/slow") }));
    let waiting = tokio::spawn(request.send());
    upstream.requested("/slow").await;

    let denied = strict.decode(&json!({ "source": "https://inner.test/x" })).await;
    let shed = busy.decode(&json!({ "content": "x" })).await;
    let health = busy.get("/health").await;

    waiting.abort();
    insta::assert_snapshot!("source_denied_address", shown(&denied, &upstream));
    insta::assert_snapshot!("overloaded", shown(&shed, &upstream));
    assert_eq!(health.status, 200, "probes are never shed");
}

#[tokio::test]
async fn the_report_is_as_reviewed() {
    let upstream = Upstream::tls().await;
    let document = "{*AGENT: Smith*} {*the door is east*}\n<<KEY: \u{1b}[31m12345678901234567890>>\n\
                    {* open\n{**}";
    upstream.on("/a.txt", Reply::ok(document));
    let app = TestApp::with_source(&upstream, "", "").await;
    let ask = async |output: &str| {
        let request = app.asking(&json!({
            "source": upstream.url("/a.txt?key=hush"), "output": output, "max_secret_chars": 20,
            "markers": [{ "start": "{*", "end": "*}" }, { "start": "<<", "end": ">>" }],
        }));
        let answer = Answer::of(request.header("Accept", "text/plain")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text.replace(&upstream.address().port().to_string(), "<port>")
    };

    insta::assert_snapshot!("report_full", ask("full").await);
    insta::assert_snapshot!("report_masked", ask("masked").await);
    insta::assert_snapshot!("report_summary", ask("summary").await);
}
