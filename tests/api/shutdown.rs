//! How the service ends: what is in flight, what is cut off, and the exit code.

use crate::support::{
    app::TestApp,
    raw::Raw,
    upstream::{
        Gate, Reply,
        Step::{Hold, Send, Wait},
        Upstream,
    },
};
use serde_json::json;

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
