//! What a source can answer, and what it comes to.

use crate::support::{
    app::{Answer, TestApp},
    upstream::{
        Reply,
        Step::{Cut, Endless, Reset, Send},
        TlsFault, Upstream,
    },
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::io::Write;

/// Each answer is asked for once, whatever it is.
const ONCE: &str = "attempts = 1\ncircuit.enabled = false";

async fn decode(app: &TestApp, upstream: &Upstream, path: &str) -> Answer {
    app.decode(&json!({ "source": upstream.url(path) })).await
}

/// The first secret of a decode that succeeds.
fn value(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["secrets"][0]["value"].clone()
}

fn gzip(document: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(document).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

#[tokio::test]
async fn a_status_of_the_source_is_a_problem_of_its_own() {
    let upstream = Upstream::tls().await;
    let app = TestApp::with_source(&upstream, ONCE, "").await;
    for (status, code, retryable) in [
        (404, "source_not_found", false),
        (410, "source_not_found", false),
        (400, "source_rejected", false),
        (401, "source_rejected", false),
        (403, "source_rejected", false),
        (451, "source_rejected", false),
        (408, "source_failed", true),
        (429, "source_failed", true),
        (500, "source_failed", true),
        (503, "source_failed", true),
        (599, "source_failed", true),
        (201, "source_failed", true),
        (206, "source_failed", true),
    ] {
        let path = format!("/{status}");
        upstream.on(&path, Reply::ok("INNARDS {*x*}").status(status));

        let answer = decode(&app, &upstream, &path).await;

        let problem = answer.discreet_problem(424, code);
        assert_eq!(problem["source_status"], status);
        assert_eq!(problem["attempts"], 1);
        assert_eq!(problem["retryable"], retryable, "{status}");
    }
}

#[tokio::test]
async fn status_203_is_as_good_as_200() {
    let upstream = Upstream::tls().await;
    upstream.on("/203", Reply::ok("{*x*}").status(203));
    let app = TestApp::with_source(&upstream, "", "").await;

    let answer = decode(&app, &upstream, "/203").await;

    assert_eq!(value(&answer), "x");
    assert_eq!(answer.json()["fetch"]["status"], 203);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_the_failure_of_the_source() {
    let upstream = Upstream::tls().await;
    let head = "HTTP/1.1 200 OK\r\n";
    let with = |text: &str| Send(format!("{head}{text}").into_bytes());
    let long = || Reply::stream([Send("{*x*} INNARDS".into())]).header("Content-Length", "99");
    upstream.on("/nothing", [Send(Vec::new())]);
    upstream.on("/reset", [Reset]);
    upstream.on("/half-head", [Send(head.into()), Reset]);
    upstream.on("/no-http", [Send("220 INNARDS\r\n\r\n".into())]);
    upstream.on("/short", long());
    upstream.on("/chunk", [with("Transfer-Encoding: chunked\r\n\r\n5\r\n{*x*}\r\n")]);
    upstream.on("/chunks", [with("Transfer-Encoding: chunked\r\n\r\nINNARDS\r\n")]);
    upstream.on("/body-reset", [with("Content-Length: 99\r\n\r\n{*x*}"), Reset]);
    upstream.on("/cut", [with("\r\n{*x*} INNARDS"), Cut]);
    let app = TestApp::with_source(&upstream, ONCE, "").await;
    let paths =
        ["/nothing", "/reset", "/half-head", "/no-http", "/short", "/chunk", "/chunks", "/cut"];
    for path in paths.into_iter().chain(["/body-reset"]) {
        let answer = decode(&app, &upstream, path).await;

        let problem = answer.discreet_problem(424, "source_failed");
        assert!(problem.get("source_status").is_none(), "{path}: {problem}");
        assert_eq!(problem["retryable"], true);
    }
    let attempts = app.metrics().await["decoder_fetch_attempts_total{result=\"protocol\"}"];
    assert_eq!(attempts, 9.0);
}

#[tokio::test]
async fn what_is_not_needed_cannot_fail() {
    let upstream = Upstream::tls().await;
    let reply = Reply::stream([Send("{*x*}".into()), Reset]).header("Content-Length", "99");
    upstream.on("/reset-behind", reply);
    let app = TestApp::with_source(&upstream, "", "").await;

    let source = upstream.url("/reset-behind");
    let answer = app.decode(&json!({ "source": source, "max_secrets": 1 })).await;

    assert_eq!(value(&answer), "x");
    assert_eq!(answer.json()["summary"]["stopped_by"], "max_secrets");
}

#[tokio::test]
async fn an_endless_document_is_too_large() {
    let upstream = Upstream::tls().await;
    let endless = || Reply::stream([Send("{*x*}".into()), Endless("innards ".repeat(500).into())]);
    upstream.on("/endless", endless());
    upstream.on("/chunked", endless().chunked());
    let limits = "[limits]\nmax_document_bytes = \"64KiB\"\n";
    let app = TestApp::with_source(&upstream, "", limits).await;
    for path in ["/endless", "/chunked"] {
        let source = upstream.url(path);

        let refused = app.decode(&json!({ "source": source })).await;
        let partial = app.decode(&json!({ "source": source, "allow_partial": true })).await;

        refused.discreet_problem(424, "document_too_large");
        assert_eq!(value(&partial), "x");
        let summary = &partial.json()["summary"];
        assert_eq!(
            (&summary["stopped_by"], &summary["bytes_scanned"]),
            (&json!("max_bytes"), &json!(65_536))
        );
        upstream.closed(path).await;
        upstream.closed(path).await;
    }
}

#[tokio::test]
async fn a_content_length_alone_refuses_nothing() {
    let upstream = Upstream::tls().await;
    let reply = Reply::stream([Send("{*x*}".into()), Endless(vec![b' '; 4000])]);
    upstream.on("/large", reply.header("Content-Length", "999999999"));
    let app =
        TestApp::with_source(&upstream, "", "[limits]\nmax_document_bytes = \"64KiB\"\n").await;

    let source = upstream.url("/large");
    let answer = app.decode(&json!({ "source": source, "max_secrets": 1 })).await;

    assert_eq!(value(&answer), "x");
}

#[tokio::test]
async fn gzip_is_unpacked_and_a_broken_one_is_the_failure_of_the_source() {
    let upstream = Upstream::tls().await;
    let document = b"some lines before \n{*DOOR: east*} and after";
    let packed = |body: Vec<u8>| Reply::ok(body).header("Content-Encoding", "gzip");
    let whole = gzip(document);
    let mut wrong_sum = whole.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    upstream.on("/good", Reply::gzip(document));
    upstream.on("/upper", Reply::ok(whole.clone()).header("Content-Encoding", "GZIP"));
    upstream.on("/x-gzip", Reply::ok(whole.clone()).header("Content-Encoding", "identity"));
    upstream.on("/truncated", packed(whole[..whole.len() - 3].to_vec()));
    upstream.on("/sum", packed(wrong_sum));
    upstream.on("/plain", packed(document.to_vec()));
    upstream.on("/empty", packed(Vec::new()));
    upstream.on("/padded", packed([whole.clone(), vec![0; 100_000]].concat()));
    upstream.on("/trailing", packed([whole.clone(), b"innards".to_vec()].concat()));
    upstream.on("/behind-padding", packed([whole, b"\0\0innards".to_vec()].concat()));
    let app = TestApp::with_source(&upstream, "", "").await;

    for path in ["/good", "/upper", "/padded"] {
        assert_eq!(value(&decode(&app, &upstream, path).await), "DOOR: east");
    }
    let good = upstream.requests()[0].clone();
    assert_eq!(good.get("accept-encoding"), Some("gzip"));
    assert_eq!(decode(&app, &upstream, "/x-gzip").await.json()["summary"]["returned"], 0);
    for path in ["/truncated", "/sum", "/plain", "/empty", "/trailing", "/behind-padding"] {
        let answer = decode(&app, &upstream, path).await;
        answer.discreet_problem(424, "source_failed");
    }
}

#[tokio::test]
async fn zero_bytes_behind_gzip_are_read_within_the_cap() {
    let upstream = Upstream::tls().await;
    let zeros = Reply::stream([Send(gzip(b"{*x*}")), Endless(vec![0; 4096])]).chunked();
    upstream.on("/zeros", zeros.header("Content-Encoding", "gzip"));
    let limits = "[limits]\nmax_document_bytes = \"64KiB\"\n";
    let app = TestApp::with_source(&upstream, ONCE, limits).await;

    decode(&app, &upstream, "/zeros").await.discreet_problem(424, "source_failed");
}

#[tokio::test]
async fn aws_chunked_and_empty_members_change_no_encoding() {
    let upstream = Upstream::tls().await;
    let app = TestApp::with_source(&upstream, "", "").await;
    let plain = ["aws-chunked", "", ",", "AWS-Chunked, identity", ", identity"];
    let packed = ["gzip,", "aws-chunked, gzip", "gzip , aws-chunked", ",, x-gzip", "identity,GZIP"];
    let plain = plain.map(|value| (value, Reply::ok("{*x*}")));
    let packed = packed.map(|value| (value, Reply::ok(gzip(b"{*x*}"))));
    for (at, (encoding, reply)) in plain.into_iter().chain(packed).enumerate() {
        let path = format!("/{at}");
        upstream.on(&path, reply.header("Content-Encoding", encoding));

        assert_eq!(value(&decode(&app, &upstream, &path).await), "x", "{encoding}");
    }
    let lines = Reply::ok(gzip(b"{*x*}")).header("Content-Encoding", "aws-chunked");
    upstream.on("/lines", lines.header("Content-Encoding", "gzip"));
    assert_eq!(value(&decode(&app, &upstream, "/lines").await), "x");
}

#[tokio::test]
async fn the_cap_counts_unpacked_bytes_and_a_bomb_is_noticed() {
    let upstream = Upstream::tls().await;
    upstream.on("/bomb", Reply::gzip(vec![b' '; 50_000_000]));
    let app = TestApp::with_source(&upstream, "", "").await;

    let refused = decode(&app, &upstream, "/bomb").await;
    let source = upstream.url("/bomb");
    let partial = app.decode(&json!({ "source": source, "allow_partial": true })).await;

    refused.discreet_problem(424, "document_too_large");
    assert_eq!(partial.json()["summary"]["bytes_scanned"], 10 * 1024 * 1024);
    assert!(partial.json()["fetch"]["bytes"].as_u64() < Some(100_000), "{partial:?}");
    let metrics = app.metrics().await;
    assert!(metrics["decoder_security_events_total{kind=\"decompression\"}"] >= 1.0);
}

#[tokio::test]
async fn other_encodings_and_types_are_no_documents() {
    let upstream = Upstream::tls().await;
    let with = |name: &str, value: &str| Reply::ok("{*x*} innards").header(name, value);
    let two = with("Content-Encoding", "identity").header("Content-Encoding", "br");
    upstream.on("/two", two);
    let app = TestApp::with_source(&upstream, "", "").await;
    let refused = [
        ("Content-Encoding", "br"),
        ("Content-Encoding", "deflate"),
        ("Content-Encoding", "gzip, gzip"),
        ("Content-Encoding", "gzip, br"),
        ("Content-Type", "application/pdf"),
        ("Content-Type", "image/png"),
        ("Content-Type", "application/json5"),
        ("Content-Type", "no type"),
        ("Content-Type", "text/pl ain"),
        ("Content-Type", "text/plain; charset=no-such"),
        ("Content-Type", "text/plain; charset=iso-2022-kr"),
    ];
    for (at, (name, value)) in refused.into_iter().enumerate() {
        upstream.on(&format!("/{at}"), with(name, value));

        let answer = decode(&app, &upstream, &format!("/{at}")).await;

        let problem = answer.discreet_problem(424, "unsupported_document");
        assert_eq!(problem["retryable"], false, "{name}: {value}");
    }
    decode(&app, &upstream, "/two").await.discreet_problem(424, "unsupported_document");
}

#[tokio::test]
async fn documents_are_of_many_types() {
    let upstream = Upstream::tls().await;
    let app = TestApp::with_source(&upstream, "", "").await;
    let types = [
        "text/plain",
        "TEXT/HTML; charset=UTF-8",
        "application/json",
        "application/ld+json",
        "application/atom+xml",
        "application/xml",
        "application/yaml",
        "application/x-ndjson",
        "application/octet-stream",
        "binary/octet-stream",
        "application/x-yaml",
        "application/toml",
        "application/jsonl",
    ];
    for (at, kind) in types.into_iter().enumerate() {
        let path = format!("/{at}");
        upstream.on(&path, Reply::ok("{*x*}").header("Content-Type", kind));

        assert_eq!(value(&decode(&app, &upstream, &path).await), "x", "{kind}");
    }
}

#[tokio::test]
async fn the_charset_of_the_source_is_heeded() {
    let upstream = Upstream::tls().await;
    let latin = |kind: &str| Reply::ok(b"{*fianc\xe9*}".to_vec()).header("Content-Type", kind);
    upstream.on("/latin", latin("text/plain; charset=iso-8859-1"));
    upstream.on("/quoted", latin("text/plain; Charset=\"windows-1252\""));
    upstream.on("/none", latin("text/plain"));
    let utf16: Vec<u8> = "{*é*}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    upstream.on("/utf-16", Reply::ok(utf16).header("Content-Type", "text/plain; charset=utf-16le"));
    upstream.on(
        "/mark",
        Reply::ok("\u{feff}{*é*}").header("Content-Type", "text/plain; charset=iso-8859-1"),
    );
    let utf8 = |kind: &str| Reply::ok("{*é*}").header("Content-Type", kind);
    upstream.on("/opaque", utf8("text/plain; name=\"a;charset=utf-16le\"; charset=utf-8"));
    upstream.on("/first", utf8("text/plain; charset=utf-8; charset=utf-16le"));
    upstream.on("/empty", utf8("text/plain; charset="));
    upstream.on("/empty-first", latin("text/plain; charset=; charset=latin1"));
    upstream.on("/raw", latin("text/plain; name=\u{fc}; charset=latin1"));
    let app = TestApp::with_source(&upstream, "", "").await;
    for (path, expected) in [
        ("/latin", "fiancé"),
        ("/quoted", "fiancé"),
        ("/none", "fianc\u{fffd}"),
        ("/utf-16", "é"),
        ("/mark", "é"),
        ("/opaque", "é"),
        ("/first", "é"),
        ("/empty", "é"),
        ("/empty-first", "fiancé"),
        ("/raw", "fiancé"),
    ] {
        assert_eq!(value(&decode(&app, &upstream, path).await), expected, "{path}");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_is_the_failure_of_the_source() {
    for fault in
        [TlsFault::WrongName, TlsFault::Expired, TlsFault::UnknownAuthority, TlsFault::SelfSigned]
    {
        let upstream = Upstream::tls_with(fault).await;
        upstream.on("/", Reply::ok("{*x*}"));
        let app = TestApp::with_source(&upstream, "", "").await;

        let answer = decode(&app, &upstream, "/").await;

        answer.discreet_problem(424, "source_failed");
        assert!(upstream.requests().is_empty(), "{fault:?}");
        let metrics = app.metrics().await;
        assert_eq!(metrics["decoder_fetch_attempts_total{result=\"tls\"}"], 1.0, "{fault:?}");
        // The reason is for our log.
        let has_reason = |line: &Value| {
            let reason = line["reason"].as_str();
            reason.is_some_and(|reason| reason.contains("certificate"))
        };
        app.log_line(has_reason).await;
    }
}
