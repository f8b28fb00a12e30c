//! `POST /decode`: where a scan ends, and what it may cost.

use crate::support::{
    app::{Answer, TestApp},
    upload::Upload,
    upstream::{Gate, Reply, Step, Upstream},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What ended the scan, and how many secrets and bytes there were up to there.
fn end(answer: &Answer) -> (Value, Value, Value) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let last = answer.text.lines().last().map(serde_json::from_str::<Value>);
    let json = serde_json::from_str(&answer.text).ok().or(last.and_then(Result::ok));
    let mut json: Value = json.unwrap_or_else(|| panic!("no JSON: {answer:?}"));
    let mut take = |name: &str| json["summary"][name].take();
    (take("stopped_by"), take("returned"), take("bytes_scanned"))
}

#[tokio::test]
async fn a_scan_ends_with_the_last_secret_that_is_asked_for() {
    let app = TestApp::start("limits.max_secrets = 12").await;
    let document = "{*x*}".repeat(20);
    let check = async |body: Value, expected: (Value, u64, u64)| {
        let mut body = body;
        let query: Vec<String> = body
            .as_object()
            .expect("an object")
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        body["content"] = document.as_str().into();
        let expected = (expected.0, expected.1.into(), expected.2.into());
        assert_eq!(end(&app.decode(&body).await), expected, "{body}");
        let handed = app.decode_document(&format!("?{}", query.join("&")), document.clone()).await;
        assert_eq!(end(&handed), expected, "{query:?}");
    };

    check(json!({}), (json!("max_secrets"), 10, 50)).await;
    check(json!({ "max_secrets": 1 }), (json!("max_secrets"), 1, 5)).await;
    check(json!({ "max_secrets": 12 }), (json!("max_secrets"), 12, 60)).await;
    let few = TestApp::start("limits.max_secrets = 3\nlimits.max_secret_chars = 5").await;
    let answer = few.decode(&json!({ "content": document })).await;
    assert_eq!(end(&answer), (json!("max_secrets"), json!(3), json!(15)));
    let answer = few.decode(&json!({ "content": "{*123456789*}" })).await;
    assert_eq!(answer.json()["secrets"][0]["value"], "12345", "the cap is the default, too");
}

#[tokio::test]
async fn a_value_is_cut_after_so_many_characters() {
    let app = TestApp::start("").await;
    let check = async |options: Value, content: &str, value: &str, truncated: bool| {
        let mut body = options;
        body["content"] = content.into();
        let json = app.decode(&body).await.json();
        let secret = &json["secrets"][0];
        assert_eq!(
            (&secret["value"], &secret["truncated"]),
            (&json!(value), &json!(truncated)),
            "{body}"
        );
    };
    let long = "é".repeat(201);

    check(json!({}), &format!("{{*{long}*}}"), &"é".repeat(200), true).await;
    check(json!({ "max_secret_chars": 201 }), &format!("{{*{long}*}}"), &long, false).await;
    check(json!({ "max_secret_chars": 3 }), "{* abc *}", "abc", false).await;
    check(json!({ "max_secret_chars": 3 }), "{*ab cd*}", "ab ", true).await;
    check(json!({ "multiline": true }), "{*a\nb*}", "a\nb", false).await;
    let document = app.decode_document("?multiline=true&max_secret_chars=2", "{*a\nb*}").await;
    assert_eq!(document.json()["secrets"][0]["value"], "a\n");
    let single = app.decode(&json!({ "content": "{*a\nb*}" })).await.json();
    assert_eq!((&single["secrets"], &single["summary"]["unterminated"]), (&json!([]), &json!(1)));
}

#[tokio::test]
async fn a_document_over_the_cap_is_refused_unless_a_part_will_do() {
    let upstream = Upstream::tls().await;
    let document = format!("{{*one*}}{}{{*two*}}", "x".repeat(1024));
    upstream.on("/long", Reply::ok(document.as_str()));
    upstream.on("/packed", Reply::gzip(&document));
    upstream.on("/fits", Reply::ok(&document.as_bytes()[..1024]));
    let config = "[limits]\nmax_document_bytes = \"1KiB\"";
    let app = TestApp::with_source(&upstream, "", config).await;
    let part = (json!("max_bytes"), json!(1), json!(1024));

    // Handed over: the caller's fault.
    let content = app.decode(&json!({ "content": document })).await;
    content.problem(413, "request_too_large");
    let content = app.decode(&json!({ "content": document, "allow_partial": true })).await;
    assert_eq!(end(&content), part);
    app.decode_document("", document.clone()).await.problem(413, "request_too_large");
    let pieces = |text: &str| text.as_bytes().chunks(64).map(Bytes::copy_from_slice).collect();
    let chunked = app.decode_document("", Upload::of(pieces(&document))).await;
    chunked.problem(413, "request_too_large");
    for answer in [
        app.decode_document("?allow_partial=true", document.clone()).await,
        app.decode_document("?allow_partial=true", Upload::of(pieces(&document))).await,
    ] {
        assert_eq!(end(&answer), part);
    }

    // Fetched: the source's.
    for path in ["/long", "/packed"] {
        let source = app.decode(&json!({ "source": upstream.url(path) })).await;
        let problem = source.problem(424, "document_too_large");
        assert!(problem["detail"].as_str().expect("a text").contains("allow_partial"));
        let body = json!({ "source": upstream.url(path), "allow_partial": true });
        assert_eq!(end(&app.decode(&body).await), part);
    }

    // What lies beyond the end was not looked at; what ends at the cap is whole.
    let first = json!({ "content": document, "max_secrets": 1 });
    assert_eq!(end(&app.decode(&first).await), (json!("max_secrets"), json!(1), json!(7)));
    let whole = (Value::Null, json!(1), json!(1024));
    assert_eq!(end(&app.decode(&json!({ "content": document[..1024] })).await), whole);
    assert_eq!(end(&app.decode_document("", document[..1024].to_owned()).await), whole);
    assert_eq!(end(&app.decode(&json!({ "source": upstream.url("/fits") })).await), whole);
}

#[tokio::test]
async fn an_answer_that_is_full_ends_the_scan() {
    let app = TestApp::start("limits.max_response_bytes = \"1KiB\"").await;
    let document = "{*12345*}".repeat(1000);
    let ask = async |output: &str, accept: &str| {
        let url = app.url(&format!("/decode?max_secrets=1000&output={output}"));
        let request = app.client.post(url).header("Content-Type", "text/plain");
        Answer::of(request.header("Accept", accept).body(document.clone())).await
    };

    for output in ["full", "masked"] {
        let json = ask(output, "application/json").await;
        let (stopped_by, returned, _) = end(&json);
        assert_eq!(stopped_by, "max_response");
        let secrets = json.json()["secrets"].as_array().expect("a list").len();
        assert!(returned == secrets && secrets > 5, "{output}: {json:?}");
        let room = json.text.split("\"summary\"").next().expect("a beginning");
        assert!(room.len() <= 1024 + 100, "{output}: {}", room.len());
        let streamed = ask(output, "application/x-ndjson").await;
        assert_eq!(end(&streamed), end(&json), "{output}");
        let report = ask(output, "text/plain").await;
        assert!(report.text.contains("the answer is full (max_response)"), "{report:?}");
    }
    assert_eq!(end(&ask("summary", "application/json").await).0, "max_secrets");
}

#[tokio::test]
async fn the_time_that_a_caller_gives_shortens_a_decode() {
    let upstream = Upstream::tls().await;
    let never = Gate::default();
    let wait = || Reply::stream([Step::Send("{*one*} ".into()), Step::Wait(never.clone())]);
    upstream.on("/slow", wait().chunked());
    let app = TestApp::with_source(&upstream, "", "[server]\nrequest_timeout = \"400ms\"").await;
    let body = json!({ "source": upstream.url("/slow") });
    let ask = async |given: &str, accept: &str| {
        let request = app.asking(&body).header("X-Request-Timeout-Ms", given);
        Answer::of(request.header("Accept", accept)).await
    };

    let short = ask("100", "*/*").await;
    let long = ask("3600000", "*/*").await;
    let streamed = ask("100", "application/x-ndjson").await;
    let enough =
        app.asking(&json!({ "content": "{*x*}" })).header("X-Request-Timeout-Ms", "3600000");
    let enough = Answer::of(enough).await;

    let problem = short.problem(504, "deadline_exceeded");
    assert!(problem["detail"].as_str().expect("a text").contains("100 ms"), "{short:?}");
    let problem = long.problem(504, "service_timeout");
    assert_eq!(problem["retryable"], true);
    let last = streamed.text.lines().last().expect("a line");
    assert!(last.contains("{\"error\":{") && last.contains("\"deadline_exceeded\""), "{last}");
    assert_eq!(enough.status, 200);
}

/// The memory of a decode depends on its options, never on the length of the document,
/// of a line, or of a fragment.
#[tokio::test]
async fn a_long_document_passes_through_little_memory() {
    const PIECE: usize = 256 << 10;
    let app =
        TestApp::start("limits.max_document_bytes = \"2GiB\"\nserver.request_timeout = \"5m\"")
            .await;
    let mut piece = vec![b'x'; PIECE];
    piece[..5].copy_from_slice(b"{*x*}");
    let (pieces, body) = Upload::open();
    let piece = Bytes::from(piece);
    let sending = tokio::spawn(async move {
        for _ in 0..1024 {
            pieces.send(piece.clone()).await.expect("wanted");
        }
        // One that never ends.
        pieces.send(Bytes::from("{*")).await.expect("wanted");
    });

    let url = app.url("/decode?max_secrets=10000");
    let request = app.client.post(url).header("Content-Type", "text/plain").body(body);
    let answered = timeout(Duration::from_secs(60), request.send());
    let response = answered.await.expect("in time").expect("an answer");
    let json: Value = serde_json::from_str(&response.text().await.expect("a body")).expect("JSON");

    sending.await.expect("all was sent");
    let scanned = 1024 * PIECE as u64 + 2;
    assert_eq!(json["summary"]["bytes_scanned"], scanned, "{json}");
    assert_eq!(
        (&json["summary"]["returned"], &json["summary"]["unterminated"]),
        (&json!(1024), &json!(1))
    );
    assert!(app.peak_memory() < 40 << 20, "{}", app.peak_memory());
}

/// Who does not read gets no more scanned: nothing gathers in between.
#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_its_own_document() {
    const SECRETS: usize = 600;
    let limits = "limits = { max_document_bytes = \"1GiB\", max_response_bytes = \"1GiB\" }";
    let app = TestApp::start(&format!("server.request_timeout = \"5m\"\n{limits}")).await;
    let secret = format!("{{*{}*}}", "x".repeat(65_532)).into_bytes();
    let head = format!(
        "POST /decode?max_secrets=10000&max_secret_chars=65536 HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: text/plain\r\nAccept: application/x-ndjson\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        SECRETS * secret.len()
    );
    let stream = TcpStream::connect(app.address).await.expect("a connection");
    let (mut from, mut to) = stream.into_split();
    to.write_all(head.as_bytes()).await.expect("sent");

    // It stalls while nothing is read, and goes on as soon as something is.
    let mut sent = 0;
    let total = SECRETS * secret.len();
    while sent < total {
        let rest = &secret[sent % secret.len()..];
        match timeout(Duration::from_millis(500), to.write(rest)).await {
            Ok(written) => sent += written.expect("wanted"),
            Err(_) => break,
        }
    }
    let (stalled_at, peak) = (sent, app.peak_memory());
    let reading = tokio::spawn(async move {
        let mut answer = Vec::new();
        from.read_to_end(&mut answer).await.expect("an end in order");
        answer
    });
    let finish = async {
        while sent < total {
            sent += to.write(&secret[sent % secret.len()..]).await.expect("wanted");
        }
        reading.await.expect("read")
    };
    let answer = timeout(Duration::from_secs(60), finish).await.expect("in time");

    assert!(stalled_at < total, "all of {total} bytes were taken");
    assert!(peak < 40 << 20, "{peak}");
    assert!(app.peak_memory() < 40 << 20, "{}", app.peak_memory());
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains(&format!("\"returned\":{SECRETS},\"stopped_by\":null")));
}

#[tokio::test]
async fn what_fails_before_the_first_line_has_left_is_an_ordinary_problem_also_as_ndjson() {
    let app = TestApp::start("limits.max_document_bytes = \"64B\"").await;
    // The secret and the end of the cap come in one piece.
    let document = format!("{{*a*}}{}", "x".repeat(100));
    let request = app.asking(&json!({ "content": document }));

    let answer = Answer::of(request.header("Accept", "application/x-ndjson")).await;

    answer.problem(413, "request_too_large");
}
