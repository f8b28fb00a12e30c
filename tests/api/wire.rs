//! What a client can do wrong with HTTP itself, and what a browser may not do at all.

use crate::support::{
    app::{Answer, TestApp, http_2},
    raw,
    upload::Upload,
};
use bytes::Bytes;

const JSON: &str = "Content-Type: application/json\r\nConnection: close\r\n";

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let app = TestApp::start("").await;

    for path in ["/nope", "/decode/", "//decode", "/Decode", "/admin/errors", "/%ff", "/problems/"]
    {
        let answer = app.get(path).await;
        answer.problem(404, "not_found");
    }
    let posted = Answer::of(app.client.post(app.url("/nope")).body("x")).await;
    posted.problem(404, "not_found");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let app = TestApp::start("").await;
    let check = async |method: &str, path: &str, expected: &str| {
        let method = method.parse().expect("a method");
        let answer = Answer::of(app.client.request(method, app.url(path))).await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(expected), "{answer:?}");
    };

    check("GET", "/decode", "POST").await;
    check("PUT", "/decode", "POST").await;
    check("OPTIONS", "/decode", "POST").await;
    check("BREW", "/decode", "POST").await;
    check("POST", "/", "GET,HEAD").await;
    check("DELETE", "/health", "GET,HEAD").await;
    check("POST", "/health/ready", "GET,HEAD").await;
    check("POST", "/metrics", "GET,HEAD").await;
    check("PATCH", "/problems", "GET,HEAD").await;
    check("POST", "/problems/internal", "GET,HEAD").await;
    let head = Answer::of(app.client.head(app.url("/decode"))).await;
    assert_eq!((head.status, head.header("allow"), head.text.as_str()), (405, Some("POST"), ""));
}

#[tokio::test]
async fn targets_that_are_no_paths_are_not_found() {
    let app = TestApp::start("").await;
    let check = async |target: &str, status: u16, code: &str| {
        let request = format!("{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        raw::exchange(app.address, request).await.problem(status, code);
    };

    check("OPTIONS *", 404, "not_found").await;
    check("CONNECT localhost:443", 404, "not_found").await;
    check("GET http://localhost/nope", 404, "not_found").await;
    check("GET http://evil.example/", 403, "forbidden").await;
}

/// By the name alone a page of another site could make a browser talk to this service.
#[tokio::test]
async fn only_loopback_names_are_answered_on_loopback() {
    let app = TestApp::start("").await;
    let check = async |host: &str, status: u16| {
        let request = format!("GET /health HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        let answer = raw::exchange(app.address, request).await;
        assert_eq!(answer.status, status, "{host:?}: {answer:?}");
        if status != 200 {
            answer.problem(status, "forbidden");
        }
    };

    for host in [
        "localhost",
        "LOCALHOST:1",
        "localhost.",
        "a.localhost",
        "127.0.0.1",
        "127.1.2.3:9",
        "[::1]",
        "[::1]:8080",
    ] {
        check(&format!("Host: {host}\r\n"), 200).await;
    }
    for host in [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "10.0.0.1",
        "0.0.0.0",
        "[fe80::1]",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
    ] {
        check(&format!("Host: {host}\r\n"), 403).await;
    }
    check("", 403).await;
    let old = raw::exchange(app.address, "GET /health HTTP/1.0\r\n\r\n").await;
    old.problem(403, "forbidden");
    let old = raw::exchange(app.address, "GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(old.status, 200);
    let metrics = app.metrics().await;
    assert!(metrics["decoder_security_events_total{kind=\"forbidden\"}"] >= 11.0);
}

#[tokio::test]
async fn names_that_the_operator_lists_are_answered_and_no_others() {
    let app = TestApp::start("server.allowed_hosts = [\"Decoder.Example\"]").await;
    let check = async |host: &str, status: u16| {
        let answer = Answer::of(app.client.get(app.url("/health")).header("Host", host)).await;
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    };

    check("decoder.example", 200).await;
    check("DECODER.example:443", 200).await;
    check("localhost", 403).await;
    check("x.decoder.example", 403).await;
    app.get("/").await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_page_of_another_site_may_not_use_the_service() {
    let app = TestApp::start("").await;
    let check = async |site: &str, status: u16| {
        let request = app.asking(&serde_json::json!({ "content": "x" }));
        let answer = Answer::of(request.header("Sec-Fetch-Site", site)).await;
        assert_eq!(answer.status, status, "{site}: {answer:?}");
    };

    check("cross-site", 403).await;
    check("Cross-Site", 403).await;
    for site in ["same-origin", "same-site", "none"] {
        check(site, 200).await;
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics["decoder_security_events_total{kind=\"cross_site\"}"], 2.0);
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_given_so_much_time() {
    let app = TestApp::start("server.request_timeout = \"300ms\"").await;
    let check = async |head: &str, body: &str| {
        let request = format!("POST /decode HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{body}");
        let answer = raw::exchange(app.address, request).await;
        let problem = answer.problem(408, "request_timeout");
        assert_eq!(problem["retryable"], true);
    };
    let text = "Content-Type: text/plain\r\n";

    check(&format!("{JSON}Content-Length: 100\r\n"), "{\"content\":\"{*x*}").await;
    check(&format!("{JSON}Content-Length: 100\r\n"), "").await;
    check(&format!("{JSON}Transfer-Encoding: chunked\r\n"), "5\r\n{\"con\r\n").await;
    check(&format!("{text}Content-Length: 100\r\n"), "{*x*}").await;
    check(&format!("{text}Transfer-Encoding: chunked\r\n"), "5\r\n{*x*}\r\n").await;
    check(&format!("{text}Accept: application/x-ndjson\r\nContent-Length: 100\r\n"), "{*x").await;
}

#[tokio::test]
async fn what_breaks_off_behind_the_first_line_is_the_last_line() {
    let app = TestApp::start("server.request_timeout = \"300ms\"").await;
    let check = async |rest: &str, code: &str| {
        let request = format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
             Accept: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n\
             7\r\n{{*one*}}\r\n{rest}"
        );
        let answer = raw::exchange(app.address, request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.text.contains("\"value\":\"one\""), "{answer:?}");
        assert!(answer.text.contains(&format!("\"code\":\"{code}\"")), "{answer:?}");
        assert!(!answer.text.contains("\"summary\""), "{answer:?}");
    };

    check("", "request_timeout").await;
    check("zz\r\n", "invalid_request").await;
}

#[tokio::test]
async fn a_client_that_leaves_half_way_has_cancelled() {
    let app = TestApp::start("").await;
    let check = async |id: &str, head: &str, body: &str| {
        let request = format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n{head}\r\n{body}"
        );
        raw::send(app.address, request).await;
        let line = app.request_line(id).await;
        assert_eq!(line["outcome"], "cancelled", "{line}");
    };
    let text = "Content-Type: text/plain\r\n";

    check("json", &format!("{JSON}Content-Length: 99\r\n"), "{").await;
    check("text", &format!("{text}Content-Length: 99\r\n"), "{*x*}").await;
    check("chunked", &format!("{text}Transfer-Encoding: chunked\r\n"), "5\r\n{*x").await;
    let metrics = app.metrics().await;
    let series = "decoder_decodes_total{blame=\"none\",code=\"cancelled\",input=\"content\",\
                  outcome=\"cancelled\"}";
    assert_eq!(metrics.get(series), Some(&3.0));
}

#[tokio::test]
async fn a_body_that_is_slower_than_the_callers_own_deadline_is_told_of_that_deadline() {
    let app = TestApp::start("").await;
    let check = async |given: u32, kind: &str| {
        let request = format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\n{kind}X-Request-Timeout-Ms: {given}\r\n\
             Content-Length: 9\r\n\r\n{{"
        );

        let answer = raw::exchange(app.address, request).await;

        let problem = answer.problem(504, "deadline_exceeded");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains(&format!("{given} ms of X-Request-Timeout-Ms")), "{detail}");
        assert!(detail.contains("body"), "{detail}");
        let line = app.request_line(problem["request_id"].as_str().expect("an id")).await;
        assert_eq!((&line["outcome"], &line["blame"]), (&"rejected".into(), &"caller".into()));
    };

    let text = "Content-Type: text/plain\r\n";
    tokio::join!(check(200, JSON), check(200, text), check(2_000, JSON), check(2_000, text));
}

#[tokio::test]
async fn framing_that_breaks_is_the_callers_problem() {
    let app = TestApp::start("").await;
    let check = async |kind: &str, body: &str| {
        let request = format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Transfer-Encoding: chunked\r\n\r\n{body}"
        );
        let answer = raw::exchange(app.address, request).await;
        let problem = answer.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().expect("a text").contains("framing"), "{answer:?}");
    };

    for kind in ["application/json", "text/plain"] {
        check(kind, "zz\r\n{*x*}\r\n0\r\n\r\n").await;
        check(kind, "5\r\n{*x*}oops\r\n").await;
        check(kind, "-5\r\n").await;
        check(kind, "fffffffffffffffff\r\n").await;
        check(kind, "5;x\r\n{*x*}\n\r\n").await;
    }
}

/// The parser refuses by itself what is no request: in one line, and with the end of the
/// connection.
#[tokio::test]
async fn what_is_no_request_at_all_is_refused() {
    let app = TestApp::start("").await;
    let check = async |bytes: &str, status: u16| {
        let answer = raw::exchange(app.address, bytes).await;
        assert_eq!((answer.status, answer.text.as_str()), (status, ""), "{bytes:?}");
    };

    check("\u{16}\u{3}\u{1} hello TLS\r\n\r\n", 400).await;
    check("GET /\r\n\r\n", 400).await;
    check("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400).await;
    check("GET / HTTP/1.1\r\nHost: a b\u{0}\r\n\r\n", 400).await;
    check("POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400).await;
    check("POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        400).await;
    check(&format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200)), 431).await;
    assert_eq!(app.get("/health").await.status, 200);
}

/// The answer reaches a client that goes on sending what nobody wants.
#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_why_not() {
    let app = TestApp::start("limits.max_document_bytes = \"64KiB\"").await;
    let piece = Bytes::from(vec![b'x'; 64 << 10]);

    let chunked = app.decode_document("", Upload::of(vec![piece; 64])).await;
    let sized = app.decode_document("", vec![b'x'; 4 << 20]).await;
    // One that reads nothing before it has sent everything.
    let head = "POST /decode?allow_partial=true HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: text/plain\r\nContent-Length: 8388608\r\n\r\n";
    let stubborn =
        raw::exchange(app.address, [head.as_bytes(), &vec![b'x'; 8 << 20]].concat()).await;

    chunked.problem(413, "request_too_large");
    sized.problem(413, "request_too_large");
    assert_eq!(stubborn.status, 200, "{stubborn:?}");
    assert_eq!(stubborn.json()["summary"]["stopped_by"], "max_bytes");
}

#[tokio::test]
async fn a_body_that_says_that_it_is_too_large_is_not_asked_for() {
    let app = TestApp::start("").await;
    let check = async |kind: &str, length: u64| {
        let head = format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        raw::exchange(app.address, head).await.problem(413, "request_too_large");
    };

    check("text/plain", (10 << 20) + 1).await;
    check("application/json", (16 << 20) + 1).await;
    check("text/plain", 1 << 60).await;
}

#[tokio::test]
async fn a_problem_does_not_end_the_connection() {
    let app = TestApp::start("").await;
    let request = |body: &str, more: &str| {
        let length = body.len();
        format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             {more}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let bytes = [
        request("{", ""),
        request("{}", ""),
        request("{\"content\":\"{*x*}\"}", "Connection: close\r\n"),
    ];

    let answers = raw::exchange(app.address, bytes.concat()).await;

    assert_eq!(answers.status, 400, "{answers:?}");
    assert!(answers.text.contains("HTTP/1.1 422 "), "{answers:?}");
    assert!(answers.text.contains("HTTP/1.1 200 "), "{answers:?}");
    assert!(answers.text.contains("\"value\":\"x\""), "{answers:?}");
}

#[tokio::test]
async fn http_2_is_spoken_to_whom_begins_with_it() {
    let app = TestApp::start("").await;
    let client = http_2().resolve("evil.example", app.address).build().expect("a client");
    let ask = |host: &str, body: &str| {
        let url = format!("http://{host}:{}/decode", app.address.port());
        let request = client.post(url).header("Content-Type", "application/json");
        request.body(body.to_owned()).header("X-Request-Id", "two")
    };

    let found = ask("127.0.0.1", "{\"content\":\"{*x*}\"}").send().await.expect("an answer");
    assert_eq!(found.version(), reqwest::Version::HTTP_2);
    assert!(found.text().await.expect("a body").contains("\"value\":\"x\""));
    Answer::of(ask("127.0.0.1", "{}")).await.problem(422, "invalid_request");
    Answer::of(ask("evil.example", "{}")).await.problem(403, "forbidden");
}

/// A proxy in front may believe the other one.
#[tokio::test]
async fn a_request_with_two_hosts_is_not_answered() {
    let app = TestApp::start("").await;
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\
                   Connection: close\r\n\r\n";

    let answer = raw::exchange(app.address, request).await;

    answer.problem(403, "forbidden");
}

#[tokio::test]
async fn a_body_that_is_packed_for_the_way_is_not_taken_for_the_document() {
    let app = TestApp::start("").await;
    let check = async |coding: &str, status: u16| {
        let request = format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
             Transfer-Encoding: {coding}\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        );
        let answer = raw::exchange(app.address, request).await;
        assert_eq!(answer.status, status, "{coding}: {answer:?}");
    };

    check("chunked", 200).await;
    check("Chunked", 200).await;
    check("gzip, chunked", 415).await;
    check("gzip\r\nTransfer-Encoding: chunked", 415).await;
}
