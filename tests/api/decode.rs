//! `POST /decode`: the forms in which a document is named or handed over.

use crate::support::{
    app::{Answer, TestApp},
    upstream::{Reply, Upstream},
};
use base64::Engine;
use serde_json::{Value, json};

#[tokio::test]
async fn a_document_in_json_is_decoded() {
    let app = TestApp::start("").await;

    let answer = app.decode(&json!({ "content": "x {*DOOR: east*}\n{* open" })).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["secrets"][0]["value"], "DOOR: east");
    assert_eq!(json["summary"]["unterminated"], 1);
    assert_eq!(json["request_id"].as_str(), answer.header("x-request-id"));
    assert!(json.get("source").is_none() && json.get("fetch").is_none());
}

#[tokio::test]
async fn a_document_at_a_source_is_fetched_and_decoded() {
    let upstream = Upstream::tls().await;
    upstream.on("/a.txt", Reply::ok("x {*DOOR: east*}"));
    let app = TestApp::with_source(&upstream, "", "").await;

    let answer = app.decode(&json!({ "source": upstream.url("/a.txt?key=1#f") })).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["secrets"][0]["value"], "DOOR: east");
    assert_eq!(json["source"], upstream.url("/a.txt"));
    assert_eq!(json["fetch"]["final_source"], upstream.url("/a.txt"));
    assert_eq!(json["fetch"]["bytes"], 16);
    assert_eq!(upstream.requests()[0].target, "/a.txt?key=1");
    let line = app.request_line(answer.header("x-request-id").expect("an id")).await;
    assert_eq!((&line["rule"], &line["source_host"]), (&"test".into(), &"source.test".into()));
}

/// What is found in a document that is handed over as it is, with this type.
async fn found_in(app: &TestApp, kind: &str, document: &[u8]) -> Value {
    let request = app.client.post(app.url("/decode")).header("Content-Type", kind);
    let answer = Answer::of(request.body(document.to_vec())).await;
    assert_eq!(answer.status, 200, "{kind}: {answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_document_is_handed_over_as_any_text_or_as_bytes() {
    let app = TestApp::start("").await;

    for kind in [
        "text/plain",
        "text/markdown",
        "TEXT/X-Log ; charset=utf-8",
        "application/octet-stream",
        "Application/Octet-Stream",
        "text/html;charset=\"utf-8\"",
    ] {
        let json = found_in(&app, kind, b"x {*DOOR: east*}\n{* open").await;
        assert_eq!(
            json["secrets"],
            json!([{
                "index": 1, "value": "DOOR: east", "category": "DOOR", "offset": 2, "line": 1,
                "pair": 0, "truncated": false,
            }]),
            "{kind}"
        );
        assert_eq!(
            json["summary"],
            json!({
                "returned": 1, "stopped_by": null, "bytes_scanned": 24, "unterminated": 1,
                "categories": { "DOOR": 1 },
            }),
            "{kind}"
        );
        assert!(json.get("source").is_none() && json.get("fetch").is_none());
    }
    let empty = found_in(&app, "text/plain", b"").await;
    assert_eq!((&empty["secrets"], &empty["summary"]["bytes_scanned"]), (&json!([]), &json!(0)));
    let json = Answer::of(
        app.client
            .post(app.url("/decode"))
            .header("Content-Type", "Application/JSON ; charset=utf-8")
            .header("Content-Encoding", "identity")
            .body(r#"{"content":"{*\ud83d\ude00*}"}"#),
    )
    .await;
    assert_eq!(json.json()["secrets"][0]["value"], "\u{1f600}");
}

#[tokio::test]
async fn a_document_is_read_in_its_charset() {
    let app = TestApp::start("").await;
    let check = async |kind: &str, document: &[u8], value: &str, scanned: u64| {
        let json = found_in(&app, kind, document).await;
        assert_eq!(json["secrets"][0]["value"], value, "{kind}: {json}");
        assert_eq!(json["summary"]["bytes_scanned"], scanned, "{kind}: {json}");
    };
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();

    check("text/plain", b"{*a\xff*}", "a\u{fffd}", 6).await;
    check("text/plain; charset=iso-8859-1", b"{*a\xe9*}", "aé", 7).await;
    check("text/plain; x=y; Charset=\"Windows-1251\"", b"{*\xc6*}", "Ж", 6).await;
    check("application/octet-stream;charset=shift_jis", b"{*\x82\xa0*}", "あ", 7).await;
    check("text/plain; charset=utf-16le", &wide("{*é*}"), "é", 6).await;
    check("text/plain; charset=iso-8859-1", b"\xef\xbb\xbf{*\xc3\xa9*}", "é", 6).await;
    let opaque = "text/plain; name=\"a;charset=utf-16le\"; charset=utf-8";
    check(opaque, "{*é*}".as_bytes(), "é", 6).await;
    check("text/plain; charset=utf-8; charset=utf-16le", "{*é*}".as_bytes(), "é", 6).await;
    for empty in ["text/plain; charset=", "text/plain; charset=\"\""] {
        check(empty, "{*é*}".as_bytes(), "é", 6).await;
    }
    check("text/plain", &[b"\xff\xfe", &wide("{*é*}")[..]].concat(), "é", 6).await;
    check("text/plain", b"\xef\xbb\xbf{*x*}", "x", 5).await;
}

#[tokio::test]
async fn a_charset_that_nobody_knows_is_an_unsupported_document() {
    let app = TestApp::start("").await;

    for charset in ["klingon", "replacement", "iso-2022-kr", "utf-7", "'utf-8'"] {
        let kind = format!("text/plain; charset={charset}");
        let request = app.client.post(app.url("/decode")).header("Content-Type", kind);
        let answer = Answer::of(request.body("{*x*}")).await;
        let problem = answer.problem(415, "unsupported_document");
        assert_eq!(problem["retryable"], false);
        let line = app.request_line(answer.header("x-request-id").expect("an id")).await;
        assert_eq!((&line["blame"], &line["outcome"]), (&json!("caller"), &json!("rejected")));
    }
}

#[tokio::test]
async fn markers_may_be_any_that_are_asked_for() {
    let app = TestApp::start("").await;
    let check = async |query: &str, document: &str, expected: &[(u64, &str)]| {
        let json = app.decode_document(query, document.to_owned()).await.json();
        let found: Vec<(u64, &str)> = json["secrets"]
            .as_array()
            .unwrap_or_else(|| panic!("{query}: {json}"))
            .iter()
            .map(|it| {
                (it["pair"].as_u64().expect("a place"), it["value"].as_str().expect("a text"))
            })
            .collect();
        assert_eq!(found, expected, "{query}");
    };

    check("", "{*a*}[b]", &[(0, "a")]).await;
    check("?marker=[:]", "{*a*}[b]", &[(0, "b")]).await;
    check("?marker=%7B*:*%7D&marker=[:]", "[b]{*a*}", &[(1, "b"), (0, "a")]).await;
    check("?marker=:::", ":a:", &[(0, "a")]).await;
    check("?marker=a::b", "a1:b", &[(0, "1")]).await;
    check("?marker=%C3%A9:%25", "é1%", &[(0, "1")]).await;
    check("?marker=a+b:%2B", "a b1+", &[(0, "1")]).await;
    check("?marker=$:$", "$a$b$c$", &[(0, "a"), (0, "c")]).await;
    let body = json!({ "content": "<<a>>[b]", "markers": [
        { "start": "[", "end": "]" }, { "end": ">>", "start": "<<" },
    ]});
    let json = app.decode(&body).await.json();
    assert_eq!((&json["secrets"][0]["pair"], &json["secrets"][1]["pair"]), (&json!(1), &json!(0)));
}

/// The published cases as JSON content and as a document with parameters.
#[tokio::test]
async fn the_published_cases_hold_over_http() {
    let app = TestApp::start("").await;
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../fixtures/scan.json")).expect("the fixture is JSON");
    assert!(cases.len() >= 73, "only {} cases", cases.len());
    let check = |case: &Value, answer: &Answer| {
        let mut json = answer.json();
        let summary = json["summary"].as_object_mut().unwrap_or_else(|| panic!("{answer:?}"));
        summary.remove("categories");
        assert_eq!(json["secrets"], case["secrets"], "{}", case["name"]);
        assert_eq!(json["summary"], case["summary"], "{}", case["name"]);
    };
    for case in cases {
        let options = &case["options"];
        let document = match case["document"].as_str() {
            Some(text) => {
                let mut body = options.clone();
                body["content"] = text.into();
                check(&case, &app.decode(&body).await);
                text.as_bytes().to_vec()
            }
            None => base64::engine::general_purpose::STANDARD
                .decode(case["document_base64"].as_str().expect("base64"))
                .expect("base64"),
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        for pair in options["markers"].as_array().expect("a list") {
            let side = |name: &str| pair[name].as_str().expect("a text").to_owned();
            query.append_pair("marker", &format!("{}:{}", side("start"), side("end")));
        }
        for name in ["max_secrets", "max_secret_chars", "multiline"] {
            query.append_pair(name, &options[name].to_string());
        }
        let query = format!("?{}", query.finish());
        check(&case, &app.decode_document(&query, document).await);
    }
}
