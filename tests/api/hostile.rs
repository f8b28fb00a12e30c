//! Clients of HTTP/1 that say nothing, drip, do not read, or tear the connection: each
//! costs a connection for as long as it was granted, and nothing afterwards.

use crate::support::{
    app::TestApp,
    raw::Raw,
    upstream::{Party, Step::Hold, Upstream},
};
use serde_json::{Value, json};
use std::{ops::Range, time::Duration};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};

const GET: &str = "GET /problems HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST: &str = "GET /problems HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const PLAIN: &str = "Content-Type: text/plain\r\n";

/// What counts as 300 ms where the machine is busy: the clock of the watch may be late for
/// who begins, and the watch for who is to end.
const ABOUT_300_MS: Range<Duration> = Duration::from_millis(150)..Duration::from_secs(4);

/// Asks for an answer that is far larger than what lies between two sockets, and much
/// larger than what is sent for it: each of its characters has six in JSON.
async fn ask_for_much(client: &mut Raw, (id, form): (&str, &str)) {
    let body = format!("{{*{}*}}", "\u{1}".repeat(65_000)).repeat(10);
    let head = format!(
        "POST /decode?max_secret_chars=65536 HTTP/1.1\r\nHost: localhost\r\n\
         X-Request-Id: {id}\r\nAccept: {form}\r\n{PLAIN}Connection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(head + &body).await;
}

const MUCH: usize = 10 * 65_000 * 6;
const FORMS: [(&str, &str); 2] = [("whole", "application/json"), ("lines", "application/x-ndjson")];

#[tokio::test]
async fn a_head_that_does_not_come_has_so_much_time() {
    let app =
        TestApp::start("server = { header_timeout = \"300ms\", idle_timeout = \"1h\" }").await;
    let mut clients = JoinSet::new();
    for beginning in [
        "",
        "G",
        "GET / HTTP/1.1\r\nHost: loc",
        "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n",
        "P",
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
    ] {
        let began = Instant::now();
        let mut client = Raw::connect(app.address).await;
        client.send(beginning).await;
        clients.spawn(async move { (beginning, client.rest().await, began.elapsed()) });
    }

    let ended = clients.join_all().await;

    for (beginning, said, took) in ended {
        assert!(said.is_empty(), "{beginning:?}: {said}");
        assert!(ABOUT_300_MS.contains(&took), "{beginning:?}: {took:?}");
    }
    let metrics = app.at_rest().await;
    assert!(metrics.iter().all(|(series, value)| !series.contains("requests_total")
        || series.contains("/metrics")
        || *value == 0.0));
}

#[tokio::test]
async fn a_head_that_drips_has_no_more_time_than_one_that_stops() {
    let app =
        TestApp::start("server = { header_timeout = \"300ms\", idle_timeout = \"1h\" }").await;
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}", "x".repeat(5_000));
    let began = Instant::now();
    let (first, mut second) = (Raw::connect(app.address).await, Raw::connect(app.address).await);
    second.send(GET).await;
    second.until("\"shutting_down\"").await;

    let said = first.drip(&head).await;
    let took = began.elapsed();
    let said_again = second.drip(&head).await;

    assert!(said.is_empty(), "{said}");
    assert!(ABOUT_300_MS.contains(&took), "{took:?}");
    assert!(!said_again.contains("HTTP/1.1"), "{said_again}");
    app.at_rest().await;
}

#[tokio::test]
async fn an_idle_connection_has_a_time_of_its_own() {
    let app =
        TestApp::start("server = { header_timeout = \"1h\", idle_timeout = \"300ms\" }").await;
    let mut silent = Raw::connect(app.address).await;
    let mut half = Raw::connect(app.address).await;
    half.send(&GET[..20]).await;
    let mut idle = Raw::connect(app.address).await;
    idle.send(GET).await;
    idle.until("\"shutting_down\"").await;
    let began = Instant::now();

    let rest = idle.rest().await;
    let took = began.elapsed();
    silent.send(LAST).await;
    half.send(&GET[20..]).await;

    assert!(!rest.contains("HTTP/1.1"), "{rest}");
    assert!(ABOUT_300_MS.contains(&took), "{took:?}");
    assert!(silent.rest().await.starts_with("HTTP/1.1 200 "));
    half.until("HTTP/1.1 200 ").await;
}

#[tokio::test]
async fn the_next_head_has_its_time_from_its_first_byte() {
    let app =
        TestApp::start("server = { header_timeout = \"300ms\", idle_timeout = \"1h\" }").await;
    let mut client = Raw::connect(app.address).await;
    // Longer than a first head may take, and not a part of the second: so long as another
    // client, that says nothing, is let be.
    for _ in 0..2 {
        let silent = Raw::connect(app.address).await;
        client.send(GET).await;
        client.until("\"shutting_down\"").await;
        silent.rest().await;
    }
    let began = Instant::now();

    client.send("G").await;
    let rest = client.rest().await;

    assert!(!rest.contains("HTTP/1.1"), "{rest}");
    assert!(ABOUT_300_MS.contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// The forms in which a body can be missing, by the id of the request.
const BODIES: [(&str, &str, &str); 5] = [
    ("json", "Content-Type: application/json\r\nContent-Length: 999\r\n", "{\"content\":\""),
    ("nothing", "Content-Type: application/json\r\nContent-Length: 999\r\n", ""),
    ("text", "Content-Type: text/plain\r\nContent-Length: 999\r\n", "{*x*}"),
    ("chunked", "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n", "ff\r\n{*x*}"),
    (
        "lines",
        "Content-Type: text/plain\r\nAccept: application/x-ndjson\r\nContent-Length: 999\r\n",
        "nothing yet",
    ),
];

/// Sends these, and the bodies as `send` does.
async fn bodies(
    app: &TestApp,
    send: impl Fn(Raw, &'static str) -> JoinHandle<String>,
) -> Vec<(&'static str, String)> {
    let mut clients = Vec::new();
    for (id, headers, body) in BODIES {
        let mut client = Raw::connect(app.address).await;
        let head = "POST /decode HTTP/1.1\r\nHost: localhost\r\nX-Request-Id";
        client.send(format!("{head}: {id}\r\n{headers}\r\n")).await;
        clients.push((id, send(client, body)));
    }
    let mut answers = Vec::new();
    for (id, client) in clients {
        answers.push((id, client.await.expect("no panic")));
    }
    answers
}

/// What a request of this id was told, and what was told of it.
async fn gave_up(app: &TestApp, id: &str, answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 408 "), "{id}: {answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{id}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{id}: {answer}");
    let line = app.only_line(id).await;
    assert_eq!((&line["code"], &line["blame"]), (&json!("request_timeout"), &json!("caller")));
    line
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_and_so_is_its_connection() {
    let app =
        TestApp::start("server = { write_timeout = \"300ms\", request_timeout = \"1h\" }").await;

    let answers = bodies(&app, |mut client, body| {
        tokio::spawn(async move {
            client.send(body).await;
            client.rest().await
        })
    });

    for (id, answer) in answers.await {
        let line = gave_up(&app, id, &answer).await;
        assert!(line["duration_ms"].as_f64() >= Some(300.0), "{line}");
    }
    app.at_rest().await;
}

#[tokio::test]
async fn a_body_that_drips_has_the_time_of_its_request() {
    let app =
        TestApp::start("server = { write_timeout = \"1h\", request_timeout = \"300ms\" }").await;

    let answers = bodies(&app, |client, body| {
        tokio::spawn(async move { client.drip(format!("{body}{}", " ".repeat(900))).await })
    });

    for (id, answer) in answers.await {
        let line = gave_up(&app, id, &answer).await;
        assert!(line["duration_ms"].as_f64() >= Some(300.0), "{line}");
    }
    app.at_rest().await;
}

#[tokio::test]
async fn who_sends_slowly_is_listened_to_for_as_long_as_something_comes() {
    let app =
        TestApp::start("server = { write_timeout = \"700ms\", request_timeout = \"1h\" }").await;
    let mut client = Raw::connect(app.address).await;
    let headers = format!("{PLAIN}Connection: close\r\n");
    client.begin_decode("slow", &headers, 55).await;

    let answer = client.drip(format!("{}{{*x*}}", " ".repeat(50))).await;

    assert!(answer.contains("\"value\":\"x\""), "{answer}");
    let line = app.only_line("slow").await;
    assert!(line["duration_ms"].as_f64() >= Some(1_000.0), "{line}");
}

#[tokio::test]
async fn who_does_not_read_is_not_written_to_for_ever() {
    let app =
        TestApp::start("server = { write_timeout = \"600ms\", request_timeout = \"1h\" }").await;
    let mut clients = Vec::new();
    for form in FORMS {
        let mut client = Raw::connect_narrow(app.address).await;
        ask_for_much(&mut client, form).await;
        clients.push((form.0, client));
    }

    for (id, client) in clients {
        let line = app.only_line(id).await;

        assert_eq!(
            (&line["status"], &line["outcome"]),
            (&json!(200), &json!("cancelled")),
            "{line}"
        );
        assert!(line["duration_ms"].as_f64() >= Some(300.0), "{line}");
        assert!(client.rest().await.len() < MUCH);
    }
    app.at_rest().await;
    assert!(app.peak_memory() < 48 << 20, "{}", app.peak_memory());
}

#[tokio::test]
async fn who_reads_a_little_now_and_then_has_the_time_of_the_request() {
    let app = TestApp::start("server = { write_timeout = \"1h\", request_timeout = \"3s\" }").await;
    let check = async |form: (&str, &str)| {
        let mut client = Raw::connect_narrow(app.address).await;
        ask_for_much(&mut client, form).await;

        let line = tokio::select! {
            line = app.request_line(form.0) => line,
            never = client.sip() => never,
        };

        assert_ne!(line["outcome"], "success", "{line}");
        assert!(line["duration_ms"].as_f64() >= Some(3_000.0), "{line}");
        let read = client.rest().await;
        assert!(read.starts_with("HTTP/1.1 200 ") && read.len() < MUCH, "{}", read.len());
    };

    tokio::join!(check(FORMS[0]), check(FORMS[1]));

    for (id, _) in FORMS {
        app.only_line(id).await;
    }
    app.at_rest().await;
}

#[tokio::test]
async fn a_connection_that_is_torn_is_one_line_where_there_was_a_request() {
    let upstream = Upstream::tls().await;
    upstream.on("/hold", [Hold]);
    let app = TestApp::with_source(&upstream, "", "").await;
    let in_flight = async |count: f64| {
        app.metrics_when(|metrics| metrics["decoder_http_requests_in_flight"] == count).await
    };

    let mut head = Raw::connect(app.address).await;
    head.send("POST /decode HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: head\r\n").await;
    let mut body = Raw::connect(app.address).await;
    body.begin_decode("body", PLAIN, 1000).await;
    body.send("{*x*}").await;
    in_flight(1.0).await;
    let mut fetch = Raw::connect(app.address).await;
    fetch.decode("fetch", "", &json!({ "source": upstream.url("/hold") })).await;
    upstream.requested("/hold").await;
    let mut answer = Raw::connect_narrow(app.address).await;
    ask_for_much(&mut answer, ("answer", FORMS[0].1)).await;
    answer.until("HTTP/1.1 200 ").await;
    in_flight(3.0).await;
    for client in [head, body, fetch, answer] {
        client.reset();
    }

    for id in ["body", "fetch", "answer"] {
        let line = app.only_line(id).await;
        assert_eq!(
            (&line["outcome"], &line["blame"]),
            (&json!("cancelled"), &json!("none")),
            "{line}"
        );
    }
    assert!(app.request_lines("head").await.is_empty());
    assert_eq!(upstream.closed("/hold").await.by, Party::Client);
    app.at_rest().await;
}
