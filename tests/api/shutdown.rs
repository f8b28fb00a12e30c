//! How the service ends: what is in flight, what is cut off, and the exit code.

use crate::support::{
    app::{Answer, PATIENCE, TestApp, client, http_2, program, undisturbed},
    raw::Raw,
    upstream::{
        Gate, Reply,
        Step::{Hold, Send, Wait},
        Upstream,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{os::unix::process::ExitStatusExt, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};

/// Waits until the service says that it ends.
async fn is_ending(app: &TestApp) {
    app.log_line(|line| line["message"] == "shutting down").await;
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_the_exit_code_is_0() {
    let upstream = Upstream::tls().await;
    let gate = Gate::default();
    let slow = || Reply::stream([Send("{*a*}\n".into()), Wait(gate.clone()), Send("{*b*}".into())]);
    upstream.on("/slow", slow());
    let mut app = TestApp::with_source(&upstream, "", "").await;
    let mut whole = Raw::connect(app.address).await;
    whole.decode("whole", "", &json!({ "source": upstream.url("/slow") })).await;
    upstream.requested("/slow").await;
    let mut lines = Raw::connect(app.address).await;
    let headers = "Accept: application/x-ndjson\r\n";
    lines.decode("lines", headers, &json!({ "source": upstream.url("/slow") })).await;
    lines.until("\"value\":\"a\"").await;
    let _idle = Raw::connect(app.address).await;

    app.signal("TERM");
    is_ending(&app).await;
    gate.open();

    let (whole, lines) = (whole.rest().await, lines.rest().await);
    assert!(whole.starts_with("HTTP/1.1 200 ") && whole.contains("\"value\":\"b\""), "{whole}");
    assert!(lines.contains("\"value\":\"b\"") && lines.ends_with("0\r\n\r\n"), "{lines}");
    assert_eq!(app.ended().await, Some(0));
    for id in ["whole", "lines"] {
        assert_eq!(app.request_line(id).await["outcome"], "success");
    }
}

#[tokio::test]
async fn an_idle_service_ends_at_once_for_either_signal() {
    for signal in ["TERM", "INT"] {
        let mut app = TestApp::start("[server]\nadmin_bind = \"127.0.0.1:0\"\n").await;
        app.get("/health").await;

        app.signal(signal);

        assert_eq!(app.ended().await, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn work_that_outlives_the_grace_is_cut_off_and_the_exit_code_is_1() {
    let upstream = Upstream::tls().await;
    upstream.on("/hold", [Hold]);
    let config = "[server.shutdown]\ngrace = \"300ms\"\n";
    let mut app = TestApp::with_source(&upstream, "", config).await;
    let mut client = Raw::connect(app.address).await;
    client.decode("cut", "", &json!({ "source": upstream.url("/hold") })).await;
    upstream.requested("/hold").await;

    app.signal("TERM");

    assert_eq!(app.ended().await, Some(1));
    client.rest().await;
    upstream.closed("/hold").await;
    let line = app.request_line("cut").await;
    assert_eq!((&line["code"], &line["outcome"]), (&"shutting_down".into(), &"failed".into()));
    assert_eq!(line["blame"], "service", "{line}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let upstream = Upstream::tls().await;
    upstream.on("/hold", [Hold]);
    // Longer than the test waits.
    let config = "[server]\nrequest_timeout = \"60s\"\n[server.shutdown]\ngrace = \"60s\"\n";
    let mut app = TestApp::with_source(&upstream, "total_timeout = \"60s\"", config).await;
    let mut client = Raw::connect(app.address).await;
    client.decode("cut", "", &json!({ "source": upstream.url("/hold") })).await;
    upstream.requested("/hold").await;

    app.signal("TERM");
    is_ending(&app).await;
    app.signal("INT");

    assert_eq!(app.ended().await, Some(1));
}

/// A notice that outlives the test.
const LONG_NOTICE: &str = "[server.shutdown]\nnotice = \"60s\"\n";

#[tokio::test]
async fn a_second_signal_cuts_off_nothing_where_nothing_is_under_way() {
    let mut app = TestApp::start(LONG_NOTICE).await;

    app.signal("TERM");
    is_ending(&app).await;
    app.signal("TERM");

    assert_eq!(app.ended().await, Some(0));
}

/// A request whose answer is asked for on a connection that is kept.
const REQUEST: &str = "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
                       Content-Length: 5\r\n\r\n{*a*}";

#[tokio::test]
async fn during_the_notice_all_is_answered_and_each_answer_closes_its_connection() {
    let app = TestApp::start(LONG_NOTICE).await;
    let mut kept = Raw::connect(app.address).await;
    kept.send(REQUEST).await;
    let before = kept.until("\r\n\r\n").await;
    kept.until("null}}\n").await;
    let mut half = Raw::connect(app.address).await;
    half.send(&REQUEST[..30]).await;

    app.signal("TERM");
    is_ending(&app).await;
    let ready = app.get("/health/ready").await;
    let health = app.get("/health").await;
    kept.send(REQUEST).await;
    half.send(&REQUEST[30..]).await;
    let mut new = Raw::connect(app.address).await;
    new.send(REQUEST).await;

    assert!(!before.to_lowercase().contains("connection: close"), "{before}");
    assert_eq!((ready.status, health.status), (503, 200));
    assert_eq!(ready.json()["status"], "not_ready");
    for raw in [kept, half, new] {
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    assert_eq!(app.metrics().await["decoder_ready"], 0.0);
}

#[tokio::test]
async fn after_the_notice_what_is_idle_is_closed_and_nobody_is_let_in() {
    let upstream = Upstream::tls().await;
    let gate = Gate::default();
    upstream.on("/slow", Reply::stream([Wait(gate.clone()), Send("{*a*}".into())]));
    let config = "[server.shutdown]\nnotice = \"50ms\"\n";
    let mut app = TestApp::with_source(&upstream, "", config).await;
    let mut idle = Raw::connect(app.address).await;
    idle.send(REQUEST).await;
    idle.until("null}}\n").await;
    let mut busy = Raw::connect(app.address).await;
    busy.decode("busy", "", &json!({ "source": upstream.url("/slow") })).await;
    upstream.requested("/slow").await;

    app.signal("TERM");
    // Closed while work goes on.
    idle.rest().await;
    let refused = TcpStream::connect(app.address).await;
    gate.open();

    assert!(refused.is_err(), "{refused:?}");
    assert!(busy.rest().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(app.ended().await, Some(0));
}

#[tokio::test]
async fn half_a_head_has_the_time_that_it_always_has_and_no_more() {
    let mut app = TestApp::start("[server]\nheader_timeout = \"300ms\"\n").await;
    let mut completed = Raw::connect(app.address).await;
    completed.send(&REQUEST[..30]).await;
    let mut half = Raw::connect(app.address).await;
    half.send(&REQUEST[..30]).await;
    let silent = Raw::connect(app.address).await;
    let connections = "decoder_http_connections";
    app.metrics_when(|metrics| metrics[connections] >= 4.0).await;

    app.signal("TERM");
    is_ending(&app).await;
    completed.send(&REQUEST[30..]).await;

    let completed = completed.rest().await;
    assert!(completed.starts_with("HTTP/1.1 200 "), "{completed}");
    assert_eq!((half.rest().await, silent.rest().await), (String::new(), String::new()));
    // Long before the grace of 20 s.
    assert_eq!(app.ended().await, Some(0));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_at_the_end_of_the_grace() {
    let config = "[server]\nwrite_timeout = \"1h\"\nrequest_timeout = \"1h\"\n\
                  [server.shutdown]\ngrace = \"200ms\"\n";
    let mut app = TestApp::start(config).await;
    // More than sockets hold.
    let document = format!("{{*{}*}}\n", "x".repeat(1000)).repeat(9_000);
    let mut stalled = Raw::connect(app.address).await;
    let body = json!({ "content": document, "max_secrets": 10_000, "max_secret_chars": 1000 });
    stalled.decode("stalled", "Accept: application/x-ndjson\r\n", &body).await;
    stalled.until("\"index\":1,").await;

    app.signal("TERM");

    assert_eq!(app.ended().await, Some(1));
    let line = app.request_line("stalled").await;
    assert_eq!(line["code"], "shutting_down", "{line}");
}

#[tokio::test]
async fn a_connection_of_http_2_is_told_to_go_and_finishes_what_it_has() {
    let upstream = Upstream::tls().await;
    let gate = Gate::default();
    upstream.on("/slow", Reply::stream([Wait(gate.clone()), Send("{*a*}".into())]));
    let mut app = TestApp::with_source(&upstream, "", "").await;
    let client = http_2().build().expect("a client");
    let asked = client.post(app.url("/decode")).header("Content-Type", "application/json");
    let body = json!({ "source": upstream.url("/slow") }).to_string();
    let busy = tokio::spawn(Answer::of(asked.body(body)));
    upstream.requested("/slow").await;
    // The preface and empty settings, and then nothing but listening.
    let mut idle = Raw::connect(app.address).await;
    idle.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    idle.until("\x04\x01\0\0\0\0").await;

    app.signal("TERM");
    is_ending(&app).await;
    // A frame of type 7 on stream 0, for the last stream that may be.
    idle.until("\x07\0\0\0\0\0").await;
    gate.open();

    assert_eq!(busy.await.expect("no panic").status, 200);
    drop(idle);
    assert_eq!(app.ended().await, Some(0));
}

#[tokio::test]
async fn a_signal_at_any_moment_of_the_start_is_an_end() {
    for at in 0..20 {
        let mut command = program();
        undisturbed(&mut command, "");
        command.args(["serve", "--bind", "127.0.0.1:0"]).stdout(Stdio::null());
        let mut child = Command::from(command).kill_on_drop(true).spawn().expect("it starts");
        // The start takes some 5 ms; where in it the signal comes is not the test's choice.
        tokio::time::sleep(Duration::from_micros(at * 400)).await;
        let pid = Pid::from_raw(child.id().expect("a child") as i32).expect("a process");
        kill_process(pid, Signal::TERM).expect("sent");

        let status = timeout(PATIENCE, child.wait()).await.expect("an end").expect("a status");

        // Before it can listen to signals, the signal itself ends it.
        let by_signal = status.signal() == Some(Signal::TERM.as_raw());
        assert!(status.code() == Some(0) || by_signal, "{status:?} after {at}");
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_end() {
    for is_closed in [false, true] {
        let mut command = program();
        undisturbed(&mut command, "");
        command.args(["serve", "--bind", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = Command::from(command).kill_on_drop(true).spawn().expect("it starts");
        let mut log = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        log.read_line(&mut line).await.expect("the first line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let log = (!is_closed).then_some(log);
        let url = format!("http://{}/nowhere", line["address"].as_str().expect("an address"));

        let client = client();
        // More than a pipe holds, in lines of some 300 bytes.
        for _ in 0..500 {
            let answer = client.get(&url).send().await.expect("an answer");
            assert_eq!(answer.status(), 404);
        }
        let pid = Pid::from_raw(child.id().expect("a child") as i32).expect("a process");
        kill_process(pid, Signal::TERM).expect("sent");

        let status = timeout(PATIENCE, child.wait()).await.expect("an end").expect("a status");
        assert_eq!(status.code(), Some(0), "closed: {is_closed}");
        drop(log);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_to_its_end_holds_up_no_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("authorization");
    std::fs::write(&path, "Bearer x").expect("written");
    let config = format!(
        "[egress]\nallow = [{{ url = \"https://a.test\", authorization_file = {path:?} }}]\n"
    );
    let mut app = TestApp::start(&config).await;
    // Whoever opens that waits for somebody to write to it.
    std::fs::remove_file(&path).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo is there").success());
    // By then it has been opened.
    let writes = tokio::task::spawn_blocking({
        let path = path.clone();
        move || std::fs::OpenOptions::new().write(true).open(path)
    });
    let _writer = timeout(PATIENCE, writes).await.expect("opened").expect("no panic");

    app.signal("TERM");

    assert_eq!(app.ended().await, Some(0));
}

#[tokio::test]
async fn who_waits_to_try_a_source_again_is_waited_for() {
    let upstream = Upstream::tls().await;
    let busy = Reply::ok("").status(503).header("Retry-After", "1");
    upstream.on("/busy", busy);
    upstream.on("/busy", Reply::ok("{*x*}"));
    let mut app = TestApp::with_source(&upstream, "", "").await;
    let body = json!({ "source": upstream.url("/busy") });
    let waits = tokio::spawn(Answer::of(app.asking(&body)));
    upstream.requested("/busy").await;

    app.signal("TERM");
    is_ending(&app).await;

    assert_eq!(waits.await.expect("no panic").json()["fetch"]["attempts"], 2);
    assert_eq!(app.ended().await, Some(0));
}
