//! Streams of HTTP/2 that are left, that are too many, or whose answer is not read: each
//! ends by itself, and those beside it go on.

use crate::support::{
    app::TestApp,
    frames::{
        CANCEL, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, Frame, Frames, INITIAL_WINDOW, Kind,
        PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, begin_decode, decode, frame, get, header,
        number,
    },
    upstream::{
        Party, Reply,
        Step::{Hold, Send},
        Upstream,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const LINES: (&str, &str) = ("accept", "application/x-ndjson");
const JSON: (&str, &str) = ("accept", "application/json");

/// A request whose answer is more than is handed on at once.
fn large() -> Value {
    let secret = format!("{{*{}*}}", "x".repeat(65_000));
    json!({ "content": secret.repeat(4), "max_secret_chars": 65_536 })
}

/// Which streams were ended before their time, and why.
fn resets(frames: &[Frame]) -> Vec<(u32, u32)> {
    let resets = frames.iter().filter(|frame| frame.kind == Kind::ResetStream);
    resets.map(|frame| (frame.stream, frame.reason())).collect()
}

#[tokio::test]
async fn an_answer_that_is_not_read_ends_its_stream_and_no_other() {
    let app =
        TestApp::start("server = { write_timeout = \"300ms\", request_timeout = \"1h\" }").await;
    let check = async |room: u32, form: (&str, &str)| {
        let id = format!("{room}-{}", &form.1[12..]);
        let mut client = Frames::connect(app.address, &[(INITIAL_WINDOW, room)]).await;
        client.send(decode(1, &id, &[form], &large())).await;

        let is_reset = |frame: &Frame| frame.stream == 1 && frame.kind == Kind::ResetStream;
        let reset = client.until(is_reset).await;
        let line = app.request_line(&id).await;
        client
            .send([get(3, "/health", &[]), number(Kind::WindowUpdate, 3, 1 << 20)].concat())
            .await;

        assert_eq!(reset.reason(), CANCEL);
        assert_eq!(line["outcome"], "cancelled", "{line}");
        assert!(line["duration_ms"].as_f64() >= Some(150.0), "{line}");
        assert!(client.body(3).await.contains("\"ok\""));
        id
    };

    let none = async { tokio::join!(check(0, JSON), check(0, LINES)) };
    let little = async { tokio::join!(check(1, JSON), check(1, LINES), check(40_000, JSON)) };
    let ((a, b), (c, d, e)) = tokio::join!(none, little);

    for id in [a, b, c, d, e] {
        app.only_line(&id).await;
    }
    app.at_rest().await;
}

#[tokio::test]
async fn a_little_answer_that_is_not_read_keeps_no_place() {
    let config = "[server]\nwrite_timeout = \"300ms\"\n[overload]\ninline = 1\n";
    let app = TestApp::start(config).await;
    let mut client = Frames::connect(app.address, &[(INITIAL_WINDOW, 1)]).await;
    client.send(decode(1, "little", &[JSON], &json!({ "content": "{*a*}" }))).await;

    let is_reset = |frame: &Frame| frame.stream == 1 && frame.kind == Kind::ResetStream;
    let reset = client.until(is_reset).await;

    assert_eq!(reset.reason(), CANCEL);
    let line = app.only_line("little").await;
    assert_eq!(line["outcome"], "cancelled", "{line}");
    // The connection is still there, and uses what there is of it.
    client.send(get(3, "/health", &[])).await;
    client.send(number(Kind::WindowUpdate, 3, 1 << 20)).await;
    assert!(client.body(3).await.contains("\"ok\""));
    let served = app.decode_document("", "{*b*}").await;
    assert_eq!(served.status, 200);
    drop(client);
    app.at_rest().await;
}

#[tokio::test]
async fn lines_that_are_not_read_keep_no_turn() {
    let config = "server = { write_timeout = \"1h\", request_timeout = \"1h\" }";
    let app = TestApp::start(config).await;
    // Turns that grow long, and then more lines than there is room for.
    let content = format!("{}{}", " ".repeat(100_000), "{*a*}".repeat(9_000));
    let body = json!({ "content": content, "max_secrets": 9_000 });
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client = Frames::connect(app.address, &[(INITIAL_WINDOW, 0)]).await;
        let id = format!("unread-{number}");
        client.send(decode(1, &id, &[LINES], &body)).await;
        client.until(|frame| frame.stream == 1 && frame.kind == Kind::Headers).await;
        clients.push(client);
    }

    let served = app.decode_document("", "{*b*}".repeat(9_000)).await;

    assert_eq!(served.status, 200);
    drop(clients);
    app.at_rest().await;
}

#[tokio::test]
async fn a_window_that_opens_byte_by_byte_is_as_good_as_none() {
    let app =
        TestApp::start("server = { write_timeout = \"300ms\", request_timeout = \"1h\" }").await;
    let mut client = Frames::connect(app.address, &[(INITIAL_WINDOW, 1)]).await;
    client.send(decode(1, "sips", &[JSON], &large())).await;

    let (mut read, began) = (0, Instant::now());
    loop {
        assert!(began.elapsed() < Duration::from_secs(4), "{read}");
        let is_it = |frame: &Frame| frame.stream == 1 && frame.kind != Kind::Headers;
        let next = client.until(is_it).await;
        if next.kind == Kind::ResetStream {
            break;
        }
        read += next.payload.len();
        sleep(Duration::from_millis(20)).await;
        client.send(number(Kind::WindowUpdate, 1, 1)).await;
    }

    assert!(read < 1_000, "{read}");
    let line = app.only_line("sips").await;
    assert_eq!(line["outcome"], "cancelled", "{line}");
    drop(client);
    app.at_rest().await;
}

#[tokio::test]
async fn who_reads_faster_than_that_has_the_time_of_the_request() {
    let app =
        TestApp::start("server = { write_timeout = \"1h\", request_timeout = \"300ms\" }").await;
    let check = async |id: &str, form: (&str, &str)| {
        let mut client = Frames::connect(app.address, &[(INITIAL_WINDOW, 1)]).await;
        client.send(decode(1, id, &[form], &large())).await;

        let line = app.request_line(id).await;

        assert_ne!(line["outcome"], "success", "{line}");
        assert!(line["duration_ms"].as_f64() >= Some(300.0), "{line}");
    };

    tokio::join!(check("whole", JSON), check("lines", LINES));

    for id in ["whole", "lines"] {
        app.only_line(id).await;
    }
    app.at_rest().await;
}

#[tokio::test]
async fn of_more_streams_than_are_allowed_the_others_are_refused() {
    let app = TestApp::start("").await;
    let streams = || (1..2_000).step_by(2);
    let begun: Vec<u8> =
        streams().flat_map(|stream| begin_decode(stream, "many", "text/plain", &[])).collect();
    let mut client = Frames::connect(app.address, &[]).await;

    let frames = client.exchange(begun).await;
    app.metrics_when(|metrics| metrics["decoder_http_requests_in_flight"] == 128.0).await;
    let ended: Vec<u8> = (1..256)
        .step_by(2)
        .flat_map(|stream| frame(Kind::Data, END_STREAM, stream, "{*x*}"))
        .collect();
    client.send(ended).await;

    let refused = (257..2_000).step_by(2).map(|stream| (stream, REFUSED_STREAM));
    assert_eq!(resets(&frames), refused.collect::<Vec<_>>());
    let mut answered = 0;
    while answered < 128 {
        let answer = client.until(|frame| frame.kind == Kind::Headers).await;
        assert_eq!(answer.status(), 200);
        answered += 1;
    }
    client.send(get(2_001, "/health", &[])).await;
    assert_eq!(client.answer(2_001).await, 200);
    drop(client);
    app.at_rest().await;
    assert_eq!(app.request_lines("many").await.len(), 128);
}

#[tokio::test]
async fn a_stream_that_is_left_ends_its_fetch_and_no_other() {
    let upstream = Upstream::tls().await;
    upstream.on("/left", Reply::stream([Send("{*x*}\n".into()), Hold]));
    upstream.on("/kept", Reply::ok("{*kept*}"));
    let app = TestApp::with_source(&upstream, "", "").await;
    let mut client = Frames::connect(app.address, &[]).await;
    for (stream, form) in [(1, JSON), (5, LINES)] {
        let id = format!("left-{stream}");
        client
            .send(decode(stream, &id, &[form], &json!({ "source": upstream.url("/left") })))
            .await;
        upstream.requested("/left").await;
        if form == LINES {
            client.until(|frame| frame.stream == stream && frame.kind == Kind::Data).await;
        }

        client.send(number(Kind::ResetStream, stream, CANCEL)).await;

        assert_eq!(upstream.closed("/left").await.by, Party::Client);
        let line = app.only_line(&id).await;
        assert_eq!((&line["outcome"], &line["blame"]), (&json!("cancelled"), &json!("none")));
        let kept = json!({ "source": upstream.url("/kept") });
        client.send(decode(stream + 2, "kept", &[], &kept)).await;
        assert!(client.body(stream + 2).await.contains("\"value\":\"kept\""));
    }
    drop(client);
    app.at_rest().await;
}

/// What is wrong with one request is no reason to end the others.
#[tokio::test]
async fn a_request_that_breaks_the_rules_ends_its_own_stream() {
    let app = TestApp::start("").await;
    let mut client = Frames::connect(app.address, &[]).await;
    let mut stream = 1;
    let mut check = async |bytes: Vec<u8>, reason: u32| {
        client.send(&bytes).await;
        let ended = client.until(|frame| frame.stream == stream).await;
        assert_eq!((ended.kind, ended.reason()), (Kind::ResetStream, reason), "{bytes:?}");
        stream += 2;
    };
    let request = |stream, more: &[(&str, &str)]| get(stream, "/problems", more);
    let post = |stream, length: &str| {
        begin_decode(stream, "broken", "text/plain", &[("content-length", length)])
    };

    check(request(1, &[("transfer-encoding", "chunked")]), PROTOCOL_ERROR).await;
    check(request(3, &[("connection", "close")]), PROTOCOL_ERROR).await;
    check(request(5, &[("te", "gzip")]), PROTOCOL_ERROR).await;
    check(request(7, &[(":path", "/health")]), PROTOCOL_ERROR).await;
    check(request(9, &[("x", "y"), (":method", "POST")]), PROTOCOL_ERROR).await;
    check(request(11, &[("content-length", "5")]), PROTOCOL_ERROR).await;
    check(request(13, &[(":protocol", "websocket")]), PROTOCOL_ERROR).await;
    let data = |stream| frame(Kind::Data, END_STREAM, stream, "{*x*}");
    check([post(15, "4"), data(15)].concat(), PROTOCOL_ERROR).await;
    check([post(17, "6"), data(17)].concat(), PROTOCOL_ERROR).await;
    check([post(19, "x"), data(19)].concat(), PROTOCOL_ERROR).await;
    let open = begin_decode(21, "broken", "text/plain", &[]);
    let largest = number(Kind::WindowUpdate, 21, (1 << 31) - 1);
    check([open, largest].concat(), FLOW_CONTROL_ERROR).await;
    // The stream is over, and forgotten.
    client.send(get(23, "/health", &[])).await;
    client.body(23).await;
    client.send(frame(Kind::Data, 0, 23, "x")).await;
    let ended = client.until(|frame| frame.stream == 23).await;
    assert_eq!((ended.kind, ended.reason()), (Kind::ResetStream, STREAM_CLOSED));
    client.send(get(25, "/health", &[])).await;
    assert_eq!(client.answer(25).await, 200);
}

#[tokio::test]
async fn the_authority_is_the_host_that_counts() {
    let app = TestApp::start("").await;
    let mut client = Frames::connect(app.address, &[]).await;
    let mut stream = 1;
    let mut check = async |authority: &[(&str, &str)], status: u16| {
        let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/health")];
        let headers = usual.iter().chain(authority).flat_map(|(name, value)| header(name, value));
        let headers = headers.collect::<Vec<u8>>();
        client.send(frame(Kind::Headers, END_HEADERS | END_STREAM, stream, headers)).await;
        assert_eq!(client.answer(stream).await, status, "{authority:?}");
        stream += 2;
    };

    check(&[(":authority", "localhost")], 200).await;
    check(&[("host", "localhost")], 200).await;
    check(&[(":authority", "localhost"), ("host", "evil.example")], 200).await;
    check(&[(":authority", "evil.example"), ("host", "localhost")], 403).await;
    check(&[("host", "evil.example")], 403).await;
    check(&[("host", "localhost"), ("host", "localhost")], 403).await;
    check(&[], 403).await;
}
