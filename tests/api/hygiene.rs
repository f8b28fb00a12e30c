//! What is secret stays out of everything that is kept or told: planted in documents,
//! requests and sources, and then looked for.

use crate::support::{
    app::{Answer, TestApp, http_2},
    raw::Raw,
    upstream::{
        Reply,
        Step::{Endless, Hold, Reset, Send},
        Upstream,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use std::fmt::Write;

/// What must not be found. No part of a word that anything says by itself.
const CANARY: &str = "Zq7!vXk?9rWm~Tb3";
const CONFIG: &str = "[server]\nadmin_bind = \"127.0.0.1:0\"\n[limits]\nmax_document_bytes = \"64KiB\"\n\
                      max_request_bytes = \"128KiB\"\n[telemetry]\nlog = \"trace\"\n";

/// `%5A%71…`: every byte, as a query could have it.
fn percent(text: &str, digits: fn(u8) -> String) -> String {
    text.bytes().map(digits).collect()
}

/// `\u005a\u0071…`.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut all, c| {
        let _ = write!(all, "\\u{:04x}", u32::from(c));
        all
    })
}

/// Every form of the canary that a careless line could have.
fn forms() -> Vec<String> {
    let mut forms = vec![
        CANARY.to_owned(),
        escaped(CANARY),
        percent(CANARY, |byte| format!("%{byte:02X}")),
        percent(CANARY, |byte| format!("%{byte:02x}")),
        form_urlencoded::byte_serialize(CANARY.as_bytes()).collect(),
        CANARY.replace('?', "%3F"),
        format!("{:?}", CANARY.as_bytes()).trim_matches(['[', ']']).to_owned(),
        CANARY.bytes().fold(String::new(), |all, byte| format!("{all}{byte:02x}")),
    ];
    // Behind 0, 1 or 2 other bytes, base64 is another text; its ends depend on neighbours.
    for skipped in 0..3 {
        let shifted = format!("{}{CANARY}", "x".repeat(skipped));
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&shifted);
            forms.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    // Pieces of it, too, are no accident.
    forms.extend([&CANARY[..8], &CANARY[8..]].map(str::to_owned));
    forms
}

/// The forms of the canary that are in a text.
fn found(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    forms().into_iter().filter(|form| text.contains(&form.to_lowercase())).collect()
}

/// Asserts that neither the head nor the body of an answer has it.
fn clean(answer: &Answer) {
    let text = format!("{:?} {}", answer.headers, answer.text);
    assert_eq!(found(&text), Vec::<String>::new(), "{text}");
}

/// Asserts that nothing that the service keeps has it.
async fn keeps_nothing(app: &TestApp) {
    for path in ["/metrics", "/admin/errors", "/admin/config", "/admin/circuits", "/health/ready"] {
        clean(&app.get_admin(path).await);
    }
    let last = app.get("/problems").await;
    app.request_line(last.header("x-request-id").expect("an id")).await;
    for line in app.log_lines() {
        assert_eq!(found(&line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn the_search_finds_a_leak_in_every_form() {
    let clean = "{\"level\":\"INFO\",\"message\":\"request\",\"status\":200}\n";
    let leak = |form: &str| format!("{clean}{{\"reason\":\"{form}\"}}\n{clean}");

    assert_eq!(found(clean), Vec::<String>::new());
    for form in forms() {
        assert!(!found(&leak(&form)).is_empty(), "{form}");
    }
    for before in ["", "a", "ab", "abc"] {
        let encoded = STANDARD.encode(format!("{before}{CANARY} and more"));
        assert!(!found(&leak(&encoded)).is_empty(), "{encoded}");
    }
    assert!(!found(&leak(&format!("{:?}", b"Zq7!vXk?9rWm~Tb3"))).is_empty());
}

#[tokio::test]
async fn documents_that_are_handed_over_leave_nothing_behind() {
    let app = TestApp::start(CONFIG).await;
    let document =
        format!("{{*{CANARY}*}} {{*TOKEN: {CANARY}*}} {{*{}*}}", STANDARD.encode(CANARY));
    let escaped_document = format!("{{\"content\": \"{{*{}*}}\"}}", escaped(CANARY));
    for accept in ["application/json", "application/x-ndjson", "text/plain"] {
        for output in ["full", "masked", "summary"] {
            let body = json!({ "content": document, "output": output });
            let request = app.asking(&body).header("Accept", accept);
            let answer = Answer::of(request).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            if output == "full" {
                assert!(!found(&answer.text).is_empty(), "{answer:?}");
            } else {
                clean(&answer);
            }
        }
    }
    let mut request = app.asking(&Value::Null);
    request = request.body(escaped_document);
    assert_eq!(Answer::of(request).await.json()["secrets"][0]["value"], CANARY);
    let marker = percent(CANARY, |byte| format!("%{byte:02X}"));
    let query = format!("?marker={marker}:*}}&output=summary");
    let answer = app.decode_document(&query, format!("{CANARY}x*}}")).await;
    assert_eq!(answer.json()["summary"]["returned"], 1);
    clean(&answer);

    keeps_nothing(&app).await;
}

#[tokio::test]
async fn requests_that_are_refused_leave_nothing_behind() {
    let app = TestApp::start(CONFIG).await;
    let percent = percent(CANARY, |byte| format!("%{byte:02x}"));
    let bodies = [
        format!("{{\"content\": \"{CANARY}"),
        format!("{{\"content\": \"{CANARY}\"}} {CANARY}"),
        format!("{{\"content\": \"x\", \"output\": \"{CANARY}\"}}"),
        format!("{{\"content\": \"x\", \"max_secrets\": \"{CANARY}\"}}"),
        format!(
            "{{\"content\": \"x\", \"markers\": [{{\"start\": \"{CANARY}\\n\", \"end\": \"\"}}]}}"
        ),
        format!("\"{CANARY}\""),
        CANARY.to_owned(),
        format!("{{\"source\": \"{CANARY}\"}}"),
        format!("{{\"source\": \"{CANARY}://x\"}}"),
        format!("{{\"source\": \"https://{percent}:x@raw.githubusercontent.com/\"}}"),
        format!("{{\"source\": \"https://raw.githubusercontent.com:1/?{percent}\"}}"),
        format!("{{\"source\": \"https://evil.test/?q={percent}#{percent}\"}}"),
        format!("{{\"source\": \"https://evil.test/?q={CANARY}\"}}"),
        format!("{{\"content\": \"{}\"}}", CANARY.repeat(10_000)),
    ];
    for body in bodies {
        for accept in ["application/json", "application/x-ndjson", "text/plain"] {
            let request = app.asking(&Value::Null).body(body.clone()).header("Accept", accept);
            let answer = Answer::of(request).await;
            assert!((400..500).contains(&answer.status), "{answer:?}");
            clean(&answer);
        }
    }
    // A fault says where it is, if only in the answer to whoever named it so.
    let named = [
        format!("{{\"{CANARY}\": 1}}"),
        format!("{{\"content\": \"x\", \"{CANARY}\": 1}}"),
        format!("{{\"content\": \"x\", \"markers\": [{{\"start\": \"a\", \"{CANARY}\": 1}}]}}"),
    ];
    for body in named {
        Answer::of(app.asking(&Value::Null).body(body)).await.problem(422, "invalid_request");
    }
    app.decode_document(&format!("?{percent}=1"), "x").await.problem(422, "invalid_request");
    let queries = [
        format!("?output={percent}"),
        format!("?max_secrets={percent}"),
        format!("?marker={percent}"),
        format!("?marker={percent}:"),
        format!("?marker={percent}{percent}{percent}:x"),
    ];
    for query in queries {
        let answer = app.decode_document(&query, CANARY).await;
        answer.problem(422, "invalid_request");
        clean(&answer);
    }
    let large = app.decode_document("", CANARY.repeat(10_000)).await;
    large.problem(413, "request_too_large");
    clean(&large);
    for (name, value) in [
        ("X-Request-Timeout-Ms", CANARY),
        ("X-Request-Id", CANARY),
        ("Authorization", CANARY),
        ("Cookie", CANARY),
        ("Accept", CANARY),
        ("Content-Type", CANARY),
        ("Content-Encoding", CANARY),
        ("Content-Type", &format!("text/plain; charset=\"{CANARY}\"")),
        ("traceparent", CANARY),
        ("Host", "evil.test"),
    ] {
        let mut request = app.asking(&json!({ "content": CANARY })).build().expect("a request");
        let name = name.parse::<reqwest::header::HeaderName>().expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
        let response = app.client.execute(request).await.expect("an answer");
        let text = format!("{:?}", response.headers());
        assert_eq!(found(&text), Vec::<String>::new());
        let body = response.text().await.expect("a body");
        assert!(body.contains("\"secrets\"") || found(&body).is_empty(), "{body}");
    }
    clean(&app.get(&format!("/{percent}?{percent}")).await);
    clean(&app.get(&format!("/problems/{percent}")).await);

    keeps_nothing(&app).await;
}

#[tokio::test]
async fn sources_leave_nothing_behind() {
    let upstream = Upstream::tls().await;
    let secret = || format!("{{*{CANARY}*}} {CANARY} ");
    let with = |status| Reply::ok(secret()).status(status).header("X-Canary", CANARY);
    upstream.on("/ok", with(200).header("Set-Cookie", CANARY));
    upstream.on("/gzip", Reply::gzip(secret()).header("ETag", CANARY));
    upstream.on("/404", with(404));
    upstream.on("/403", with(403).header("WWW-Authenticate", CANARY));
    upstream.on("/500", with(500));
    upstream.on("/302", with(302).header("Location", &format!("https://x.test/?{CANARY}")));
    upstream.on("/type", with(200).header("Content-Type", &format!("{CANARY}/x")));
    upstream
        .on("/charset", with(200).header("Content-Type", &format!("text/plain; charset={CANARY}")));
    upstream.on("/encoding", with(200).header("Content-Encoding", CANARY));
    upstream.on("/corrupt", with(200).header("Content-Encoding", "gzip"));
    upstream.on("/status", [Send(format!("HTTP/1.1 200 {CANARY}\r\n\r\n{CANARY}").into()), Reset]);
    upstream.on("/no-http", [Send(format!("{CANARY}\r\n\r\n").into())]);
    upstream.on("/header", [Send(format!("HTTP/1.1 200 OK\r\n{CANARY}\r\n\r\n").into())]);
    upstream.on(
        "/length",
        [Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {CANARY}\r\n\r\n").into())],
    );
    let chunk = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n");
    upstream.on("/chunk", [Send(chunk.into())]);
    let chunked = |first: String| Reply::stream([Send(first.into()), Reset]).chunked();
    upstream.on("/reset", chunked(secret()));
    upstream.on("/large", Reply::stream([Endless(secret().into())]).chunked());
    upstream.on("/hold", Reply::stream([Send(secret().into()), Hold]).chunked());
    let app =
        TestApp::with_source(&upstream, "total_timeout = \"1s\"\ncircuit.enabled = false", CONFIG)
            .await;
    let paths = [
        "ok", "gzip", "404", "403", "500", "302", "type", "charset", "encoding", "corrupt",
        "status", "no-http", "header", "length", "chunk", "reset", "large", "hold",
    ];
    let query = percent(CANARY, |byte| format!("%{byte:02X}"));
    for (at, path) in paths.into_iter().enumerate() {
        let source = upstream.url(&format!("/{path}?token={query}&t={CANARY}#{query}"));
        let accept = ["application/json", "application/x-ndjson", "text/plain"][at % 3];
        let body = json!({ "source": source, "output": "masked", "max_secrets": 10_000 });
        let answer = Answer::of(app.asking(&body).header("Accept", accept)).await;
        clean(&answer);
        let expected = match path {
            "ok" | "gzip" => 200,
            "302" => 403,
            _ => 424,
        };
        let streamed = answer.status == 200 && answer.text.contains("\"error\"");
        assert!(answer.status == expected || streamed, "{path}: {answer:?}");
    }
    // The one above; the next ones are those that are waited for.
    upstream.requested("/hold").await;
    let source = upstream.url(&format!("/hold?token={query}"));
    for accept in ["application/json", "application/x-ndjson"] {
        let mut client = Raw::connect(app.address).await;
        let headers = format!("Accept: {accept}\r\nCookie: {CANARY}\r\n");
        client.decode(&accept.replace('/', "."), &headers, &json!({ "source": source })).await;
        upstream.requested("/hold").await;
        drop(client);
        app.request_line(&accept.replace('/', ".")).await;
    }

    keeps_nothing(&app).await;
}

#[tokio::test]
async fn http_2_leaves_nothing_behind_either() {
    let app = TestApp::start(CONFIG).await;
    let client = http_2().build().expect("a client");
    let query = percent(CANARY, |byte| format!("%{byte:02X}"));
    let request = client.post(app.url(&format!("/decode?marker={query}:*}}&output=summary")));
    let request = request.header("Content-Type", "text/plain").header("Authorization", CANARY);

    let answer = Answer::of(request.body(format!("{CANARY}x*}} {{*{CANARY}*}}"))).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    clean(&answer);
    keeps_nothing(&app).await;
    let lines = app.log_lines();
    assert!(lines.iter().any(|line| line.contains("\"TRACE\"")), "nothing is traced");
}
