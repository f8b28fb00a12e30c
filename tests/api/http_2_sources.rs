//! Sources that speak HTTP/2, well and otherwise.

use crate::support::{
    app::{Answer, TestApp},
    frames::{
        ACK, CANCEL, END_HEADERS, END_STREAM, Kind, PROTOCOL_ERROR, REFUSED_STREAM, frame, header,
        number, settings,
    },
    http_2_source::{Http2Source, Says, ok},
    upstream::Upstream,
};
use serde_json::json;
use std::time::Duration;

/// A service that may fetch from a source.
async fn allowed(source: &Http2Source, egress: &str) -> TestApp {
    let ca = Upstream::ca_file();
    let (address, ca_file) = (source.address, ca.to_path_buf());
    let app = TestApp::start(&format!(
        "[egress]\nallow = [{{ url = \"https://source.test:*\", addresses = [\"{address}\"] }}]\n\
         hosts = {{ \"source.test\" = [\"127.0.0.1\"] }}\nextra_ca_file = {ca_file:?}\n\
         circuit.enabled = false\n{egress}\n"
    ))
    .await;
    drop(ca);
    app
}

async fn decode(app: &TestApp, source: &Http2Source) -> Answer {
    let source = format!("https://source.test:{}/", source.address.port());
    app.decode(&json!({ "source": source })).await
}

fn body(stream: u32) -> Vec<u8> {
    frame(Kind::Data, END_STREAM, stream, "{*x*}")
}

fn good(stream: u32) -> Vec<u8> {
    [ok(stream), body(stream)].concat()
}

/// Asks once, of a source that says this; the answer, and what was tried.
async fn check(script: &[Option<Says>], expected: Result<(), &str>, seen: (usize, usize)) {
    let source = Http2Source::start(script).await;
    let app = allowed(&source, "").await;

    let answer = decode(&app, &source).await;

    match expected {
        Ok(()) => {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.json()["secrets"][0]["value"], "x");
        }
        Err(code) => {
            answer.discreet_problem(424, code);
        }
    }
    assert_eq!(source.seen(), seen, "connections and requests");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let source = Http2Source::start(&[Some(good)]).await;
    let app = allowed(&source, "").await;
    for _ in 0..5 {
        let answer = decode(&app, &source).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(source.seen(), (1, 5));
}

#[tokio::test]
async fn a_document_may_have_trailers_and_what_nobody_knows_around_it() {
    let said: Says = |stream| {
        [
            frame(Kind::Unknown, 0xff, stream, "what?"),
            frame(Kind::Headers, END_HEADERS, stream, header(":status", "103")),
            ok(stream),
            frame(Kind::Data, 0, stream, "{*x"),
            frame(Kind::Data, 0, stream, ""),
            frame(Kind::Ping, 0, 0, [0; 8]),
            frame(Kind::Data, 0, stream, "*}"),
            frame(Kind::Headers, END_HEADERS | END_STREAM, stream, header("x-sum", "1")),
        ]
        .concat()
    };
    check(&[Some(said)], Ok(()), (1, 1)).await;
}

#[tokio::test]
async fn a_stream_that_is_refused_or_reset_before_its_answer_is_tried_again() {
    let refused: Says = |stream| number(Kind::ResetStream, stream, REFUSED_STREAM);
    let reset: Says = |stream| number(Kind::ResetStream, stream, CANCEL);
    check(&[Some(refused), Some(reset), Some(good)], Ok(()), (1, 3)).await;
    check(&[Some(reset)], Err("source_failed"), (1, 3)).await;
}

#[tokio::test]
async fn a_connection_that_says_farewell_is_replaced() {
    let away: Says = |_| frame(Kind::GoAway, 0, 0, [0; 8]);
    check(&[Some(away), Some(good)], Ok(()), (2, 2)).await;
    // What was begun is finished.
    let after: Says = |stream| {
        let last = [stream.to_be_bytes(), [0; 4]].concat();
        [ok(stream), frame(Kind::GoAway, 0, 0, last), body(stream)].concat()
    };
    check(&[Some(after)], Ok(()), (1, 1)).await;
}

#[tokio::test]
async fn what_breaks_off_or_breaks_the_rules_is_the_failure_of_the_source() {
    let half: Says = |stream| {
        let rest = number(Kind::ResetStream, stream, PROTOCOL_ERROR);
        [ok(stream), frame(Kind::Data, 0, stream, "{*x*}"), rest].concat()
    };
    check(&[Some(half)], Err("source_failed"), (1, 1)).await;
    // The length that was promised is another.
    let short: Says = |stream| {
        let head = [&[0x88][..], &header("content-length", "99")].concat();
        [frame(Kind::Headers, END_HEADERS, stream, head), body(stream)].concat()
    };
    check(&[Some(short)], Err("source_failed"), (1, 1)).await;
    let unasked: Says = |stream| {
        let promise = [&2u32.to_be_bytes()[..], &[0x82]].concat();
        frame(Kind::PushPromise, END_HEADERS, stream, promise)
    };
    let source = Http2Source::start(&[Some(unasked)]).await;
    let app = allowed(&source, "").await;
    decode(&app, &source).await.discreet_problem(424, "source_failed");
    let no_head: Says = |stream| body(stream);
    let source = Http2Source::start(&[Some(no_head)]).await;
    let app = allowed(&source, "").await;
    decode(&app, &source).await.discreet_problem(424, "source_failed");
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_noticed_and_replaced() {
    let source = Http2Source::start(&[Some(good), None, Some(good)]).await;
    let times = "first_byte_timeout = \"20s\"\ntotal_timeout = \"30s\"";
    let app = allowed(&source, times).await;
    assert_eq!(decode(&app, &source).await.status, 200);
    assert_eq!(source.seen(), (1, 1));

    // Established, and from now on silent: it answers no PING.
    let answer = decode(&app, &source).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["fetch"]["attempts"], 2);
    assert_eq!(source.seen(), (2, 3));

    // Which is no time that was too short for a connection.
    let source = Http2Source::start(&[None]).await;
    let app = allowed(&source, &format!("attempts = 1\n{times}")).await;
    decode(&app, &source).await.discreet_problem(424, "source_failed");
    let attempts = &app.metrics().await["decoder_fetch_attempts_total{result=\"protocol\"}"];
    assert_eq!(*attempts, 1.0);
}

#[tokio::test]
async fn floods_end_with_the_budget_and_cost_little_memory() {
    let informational: Says = |stream| {
        let one = frame(Kind::Headers, END_HEADERS, stream, header(":status", "103"));
        one.repeat(2_000_000)
    };
    let empty: Says =
        |stream| [ok(stream), frame(Kind::Data, 0, stream, "").repeat(100_000)].concat();
    let pings: Says = |_| frame(Kind::Ping, 0, 0, [1; 8]).repeat(100_000);
    let settings: Says = |_| frame(Kind::Settings, 0, 0, []).repeat(100_000);
    let endless_head: Says = |stream| {
        let large = header("x", &"y".repeat(16_000));
        let begin = frame(Kind::Headers, 0, stream, &large);
        [begin, frame(Kind::Continuation, 0, stream, &large).repeat(200)].concat()
    };
    let large_head: Says = |stream| {
        let large = header("x", &"y".repeat(16_000));
        let begin = frame(Kind::Headers, 0, stream, [&[0x88][..], &large].concat());
        let rest = frame(Kind::Continuation, 0, stream, &large).repeat(64);
        let end = frame(Kind::Continuation, END_HEADERS, stream, []);
        [begin, rest, end, body(stream)].concat()
    };
    let acknowledged: Says = |_| frame(Kind::Settings, ACK, 0, []).repeat(10_000);
    let floods = [informational, empty, pings, settings, endless_head, large_head, acknowledged];
    for (place, says) in floods.into_iter().enumerate() {
        let source = Http2Source::start(&[Some(says)]).await;
        let egress = "first_byte_timeout = \"500ms\"\ntotal_timeout = \"2s\"";
        let app = allowed(&source, egress).await;

        let answer = decode(&app, &source).await;

        assert_eq!(answer.status, 424, "{answer:?}");
        // What comes in one piece before anybody looks.
        let most = if place == 0 { 96 } else { 40 };
        assert!(app.peak_memory() < most << 20, "{place}: {}", app.peak_memory());
        let health = tokio::time::timeout(Duration::from_secs(5), app.get("/health")).await;
        assert_eq!(health.expect("in time").status, 200);
    }
}

#[tokio::test]
async fn a_source_that_takes_one_stream_at_a_time_serves_one_after_the_other() {
    const MAX_STREAMS: u16 = 3;
    // It says so with its first answer.
    let narrow: Says = |stream| [settings(&[(MAX_STREAMS, 1)]), good(stream)].concat();
    let source = Http2Source::start(&[Some(narrow), Some(good)]).await;
    let app = allowed(&source, "").await;
    assert_eq!(decode(&app, &source).await.status, 200);

    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let url = format!("https://source.test:{}/", source.address.port());
        let asking = app.asking(&json!({ "source": url }));
        all.spawn(async move { Answer::of(asking).await.status });
    }

    assert_eq!(all.join_all().await, [200; 20]);
    assert_eq!(source.seen().1, 21);
}

#[tokio::test]
async fn a_source_that_takes_no_stream_at_all_is_given_up() {
    const MAX_STREAMS: u16 = 3;
    let none: Says = |stream| [settings(&[(MAX_STREAMS, 0)]), good(stream)].concat();
    let source = Http2Source::start(&[Some(none)]).await;
    let app = allowed(&source, "first_byte_timeout = \"500ms\"").await;
    assert_eq!(decode(&app, &source).await.status, 200);

    decode(&app, &source).await.discreet_problem(424, "source_timeout");

    assert_eq!(source.seen(), (1, 1));
    app.at_rest().await;
}
