//! Requests of HTTP/1 that two readers could take for different ones, that are too large
//! for a head, or that have forms of old.

use crate::support::{app::TestApp, raw, raw::Raw};
use std::fmt::Write;
use tokio::net::TcpListener;

/// What nobody asked for, hidden where only a misreading finds it.
const SMUGGLED: &str =
    "GET /problems HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled\r\n\r\n";

/// Sends a request behind which, or in which, another one is hidden: how often that is
/// answered, and the answer to the first.
async fn smuggle(app: &TestApp, request: &str) -> (usize, String) {
    let mut client = Raw::connect(app.address).await;
    client.send(request).await;
    let said = client.rest().await;
    (app.request_lines("smuggled").await.len(), said)
}

/// A `POST /decode` of a document, with these headers and this body.
fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n{headers}\r\n{body}"
    )
}

/// So the others would notice.
#[tokio::test]
async fn what_lies_behind_a_whole_request_is_the_next_one() {
    let app = TestApp::start("").await;
    let last = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    let request = post("Content-Length: 0\r\n", &format!("{SMUGGLED}{last}"));
    let (found, said) = smuggle(&app, &request).await;

    assert_eq!((found, said.matches("HTTP/1.1 200 ").count()), (1, 3), "{said}");
}

/// Where the length of a body is not clear, or a head is not what it should be.
#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let app = TestApp::start("").await;
    let (chunks, n) = (format!("0\r\n\r\n{SMUGGLED}"), SMUGGLED.len());
    let check = async |headers: &str, body: &str| {
        let (smuggled, said) = smuggle(&app, &post(headers, body)).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{headers:?}: {said}");
        assert!(said.contains("connection: close\r\n"), "{headers:?}: {said}");
        assert_eq!((said.matches("HTTP/1.1 ").count(), smuggled), (1, 0), "{headers:?}: {said}");
    };

    // Lengths that differ, or are no numbers.
    check(&format!("Content-Length: 0\r\nContent-Length: {n}\r\n"), SMUGGLED).await;
    check(&format!("Content-Length: {n}\r\nContent-Length: 0\r\n"), SMUGGLED).await;
    check(&format!("Content-Length: 0, {n}\r\n"), SMUGGLED).await;
    for length in ["+0", "-1", "0x0", "1e1", "0 0", "\"0\"", "18446744073709551616"] {
        check(&format!("Content-Length: {length}\r\n"), SMUGGLED).await;
    }
    // Codings that do not end with chunks.
    for coding in [
        "chunked, identity",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\r\nTransfer-Encoding: identity",
        "\u{b}chunked",
        "",
    ] {
        check(&format!("Transfer-Encoding: {coding}\r\n"), &chunks).await;
    }
    // Lines that go on, or whose name does not end where it should.
    check("Transfer-Encoding:\r\n chunked\r\n", &chunks).await;
    check("X: y\r\n\tz\r\n", SMUGGLED).await;
    check("Transfer-Encoding : chunked\r\n", &chunks).await;
    check(&format!("Content-Length : {n}\r\n"), SMUGGLED).await;
    check(" Content-Length: 0\r\n", SMUGGLED).await;
    check("Content\0-Length: 0\r\n", SMUGGLED).await;
    check(": 0\r\n", SMUGGLED).await;
    // Carriage returns that end no line.
    check("X: y\rContent-Length: 0\r\n", SMUGGLED).await;
    check("X: y\r\r\n", SMUGGLED).await;
    check("\rContent-Length: 0\r\n", SMUGGLED).await;
}

#[tokio::test]
async fn what_lies_behind_an_answer_that_ends_the_connection_is_not_answered() {
    let app = TestApp::start("").await;
    let n = SMUGGLED.len();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let check = async |headers: &str, body: &str, status: u16| {
        let (smuggled, said) = smuggle(&app, &post(headers, body)).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?} {body:?}: {said}");
        assert!(said.contains("connection: close\r\n"), "{headers:?} {body:?}: {said}");
        assert_eq!((said.matches("HTTP/1.1 ").count(), smuggled), (1, 0), "{headers:?} {body:?}");
    };

    // Both a length and chunks: the chunks count, and nothing after them.
    for length in [0, 5, 5 + n] {
        let both = [
            format!("{chunked}Content-Length: {length}\r\n"),
            format!("Content-Length: {length}\r\n{chunked}"),
        ];
        for headers in both {
            check(&headers, &format!("0\r\n\r\n{SMUGGLED}"), 200).await;
        }
    }
    // Chunks whose length is no number, is too large, or is not that of the chunk.
    for size in [
        "",
        "x",
        "-1",
        "+5",
        "0x5",
        "5x",
        "5 x",
        " 5 5",
        "00000000000000000x",
        "10000000000000000",
        "fffffffffffffffff",
        "5\r",
        "5\rx",
        "5\n",
        "5;a\nb",
        "5;a\rb",
    ] {
        check(chunked, &format!("{size}\r\n{{*x*}}\r\n0\r\n\r\n{SMUGGLED}"), 422).await;
    }
    check(chunked, &format!("4\r\n{{*x*}}\r\n0\r\n\r\n{SMUGGLED}"), 422).await;
    check(chunked, &format!("5\r\n{{*x*}}0\r\n\r\n{SMUGGLED}"), 422).await;
    check(chunked, &format!("5\r\n{{*x*}}\n0\r\n\r\n{SMUGGLED}"), 422).await;
}

/// A body that nobody reads is not what the next request begins with.
#[tokio::test]
async fn a_body_is_never_taken_for_a_request() {
    let app = TestApp::start("").await;
    let n = SMUGGLED.len();
    let next = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let check = async |line: &str, headers: &str, status: u16| {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {n}\r\n\r\n\
             {SMUGGLED}{next}"
        );
        let (smuggled, said) = smuggle(&app, &request).await;
        assert_eq!(smuggled, 0, "{line} {headers:?}: {said}");
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers:?}: {said}");
        // The next one is answered, or the connection is over.
        let answers = if said.contains("\r\nconnection: close\r\n") { 1..=2 } else { 2..=2 };
        assert!(answers.contains(&said.matches("HTTP/1.1 ").count()), "{line} {headers:?}: {said}");
    };

    check("POST /decode", "Content-Type: text/plain\r\n", 200).await;
    check("POST /decode", "Content-Type: application/json\r\n", 400).await;
    check("POST /decode", "Content-Type: image/png\r\n", 415).await;
    check("POST /decode", "Content-Type: text/plain\r\nAccept: a/b\r\n", 406).await;
    check("POST /decode", "Content-Type: text/plain\r\nSec-Fetch-Site: cross-site\r\n", 403).await;
    check("PUT /decode", "", 405).await;
    check("POST /nowhere", "", 404).await;
    check("GET /health", "", 200).await;
    check("GET /problems", "Connection: Upgrade\r\nUpgrade: h2c\r\n", 200).await;
    check("CONNECT localhost:80", "", 404).await;
}

#[tokio::test]
async fn a_head_has_so_many_bytes_and_so_many_headers() {
    let small = TestApp::start("server.max_header_bytes = \"1KiB\"").await;
    let usual = TestApp::start("").await;
    let last = "Connection: close\r\n\r\n";
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{last}")
    };
    let header = |length: usize| format!("X: {}\r\n", "x".repeat(length));
    let check = async |app: &TestApp, request: String, status: u16| {
        let answer = raw::exchange(app.address, &request).await;
        assert_eq!(answer.status, status, "{} bytes: {answer:?}", request.len());
        let is_bare = answer.text.is_empty() && answer.header("x-request-id").is_none();
        assert_eq!(is_bare, status == 431, "{answer:?}");
    };

    check(&usual, get("/problems", &"X: y\r\n".repeat(98)), 200).await;
    check(&usual, get("/problems", &"X: y\r\n".repeat(99)), 431).await;
    check(&usual, get("/problems", &header(15 << 10)), 200).await;
    for length in [16 << 10, 64 << 10, 1 << 20] {
        check(&usual, get("/problems", &header(length)), 431).await;
    }
    check(&small, get("/problems", &header(700)), 200).await;
    check(&small, get("/problems", &header(2 << 10)), 431).await;
    check(&small, get("/problems", &header(100).repeat(20)), 431).await;
    check(&small, get(&format!("/problems?{}", "x".repeat(2 << 10)), ""), 431).await;
    // In pieces, of which none is too large.
    let mut pieces = Raw::connect(small.address).await;
    for _ in 0..3 {
        pieces.send(&get("/problems", &header(700))[..700]).await;
    }
    let said = pieces.rest().await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    let counted = async |app: &TestApp| {
        let series =
            "decoder_http_requests_total{method=\"GET\",route=\"/problems\",status=\"200\"}";
        app.metrics().await[series]
    };
    assert_eq!((counted(&usual).await, counted(&small).await), (2.0, 1.0));
}

#[tokio::test]
async fn a_hundred_requests_at_once_are_answered_in_their_order() {
    let app = TestApp::start("").await;
    let mut requests = String::new();
    for at in 0..100 {
        let close = if at == 99 { "Connection: close\r\n" } else { "" };
        let body = format!("{{*{at}*}}");
        let _ = write!(
            requests,
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: id-{at}\r\n{close}\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }

    let answers = Raw::connect(app.address).await.pipeline(requests).await;

    let mut rest = answers.as_str();
    for at in 0..100 {
        for part in [format!("x-request-id: id-{at}\r\n"), format!("\"value\":\"{at}\"")] {
            rest = rest.split_once(&part).unwrap_or_else(|| panic!("no {part:?}: {rest}")).1;
        }
    }
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 100);
}

#[tokio::test]
async fn http_1_0_keeps_a_connection_where_it_is_asked_to() {
    let app = TestApp::start("").await;
    let get = |more: &str| format!("GET /health HTTP/1.0\r\nHost: localhost\r\n{more}\r\n");

    let once = Raw::connect(app.address).await.pipeline(get("").repeat(2)).await;
    let kept = get("Connection: keep-alive\r\n").repeat(2) + &get("");
    let kept = Raw::connect(app.address).await.pipeline(kept).await;

    assert!(once.starts_with("HTTP/1.0 200 "), "{once}");
    assert_eq!(once.matches("HTTP/1.0 200 ").count(), 1, "{once}");
    assert_eq!(kept.matches("HTTP/1.0 200 ").count(), 3, "{kept}");
    assert_eq!(kept.matches("connection: keep-alive\r\n").count(), 2, "{kept}");
    // It knows no chunks: an answer without a length ends with the connection.
    let request = "POST /decode HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
                   Accept: application/x-ndjson\r\nContent-Length: 5\r\n\r\n{*x*}";
    let lines = raw::exchange(app.address, request).await;
    assert!(lines.header("transfer-encoding").is_none(), "{lines:?}");
    assert!(lines.text.starts_with("{\"index\":1,"), "{lines:?}");
    let chunked = "POST /decode HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
                   Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(raw::exchange(app.address, chunked).await.status, 400);
}

#[tokio::test]
async fn the_host_of_a_whole_url_is_the_one_that_counts() {
    let app = TestApp::start("").await;
    let check = async |target: &str, host: &str, status: u16| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(app.address, request).await;
        assert_eq!(answer.status, status, "{target} {host}: {answer:?}");
    };

    check("http://localhost/health", "localhost", 200).await;
    check("http://localhost/health", "evil.example", 200).await;
    check("http://evil.example/health", "localhost", 403).await;
    check("http://localhost:80@evil.example/health", "localhost", 403).await;
    check("https://evil.example:443/health", "localhost", 403).await;
}

#[tokio::test]
async fn nothing_is_tunnelled() {
    let target = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = target.local_addr().expect("bound");
    let app = TestApp::start("").await;
    let get = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let connect = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n{get}");

    let said = Raw::connect(app.address).await.pipeline(connect).await;

    assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
    assert_eq!(said.matches("HTTP/1.1 200 ").count(), 1, "{said}");
    let asked = tokio::time::timeout(std::time::Duration::ZERO, target.accept()).await;
    assert!(asked.is_err(), "someone was connected to");
}
