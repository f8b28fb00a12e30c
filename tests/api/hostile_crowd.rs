//! More clients than there is room for: who waits without a request makes room, and whoever
//! has one keeps it.

use crate::support::{
    app::TestApp,
    raw::Raw,
    upstream::{
        Gate, Reply,
        Step::{Send, Wait},
        Upstream,
    },
};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

/// Three at a time, and the metrics elsewhere.
const THREE: &str = "[server]\nmax_connections = 3\nadmin_bind = \"127.0.0.1:0\"\n\
                     idle_timeout = \"1h\"\n";

/// Asks for something, and stays.
async fn asks(client: &mut Raw) {
    client.send("GET /problems HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.until("HTTP/1.1 200 ").await;
    client.until("\"shutting_down\"").await;
}

#[tokio::test]
async fn one_more_makes_the_one_go_that_has_been_idle_longest() {
    let app = TestApp::start(&format!("{THREE}header_timeout = \"500ms\"")).await;
    let mut first = Raw::connect(app.address).await;
    asks(&mut first).await;
    let mut second = Raw::connect(app.address).await;
    asks(&mut second).await;
    // Who says nothing is sent away: time has passed by the clock that counts here.
    Raw::connect(app.address).await.rest().await;
    asks(&mut first).await;
    let mut third = Raw::connect(app.address).await;
    asks(&mut third).await;

    let mut fourth = Raw::connect(app.address).await;
    asks(&mut fourth).await;

    // The first is the older connection, but the second was idle for longer.
    assert!(!second.rest().await.contains("HTTP/1.1"));
    for client in [&mut first, &mut third, &mut fourth] {
        asks(client).await;
    }
}

#[tokio::test]
async fn who_comes_while_all_are_busy_waits_for_one_to_end() {
    let upstream = Upstream::tls().await;
    let gates = [(); 3].map(|()| Gate::default());
    for (at, gate) in gates.iter().enumerate() {
        let reply = Reply::stream([Wait(gate.clone()), Send("{*x*}".into())]);
        upstream.on(&format!("/{at}"), reply);
    }
    let app = TestApp::with_source(&upstream, "", THREE).await;
    let mut busy = Vec::new();
    for at in 0..3 {
        let mut client = Raw::connect(app.address).await;
        let source = upstream.url(&format!("/{at}"));
        client.decode(&format!("busy-{at}"), "", &json!({ "source": source })).await;
        upstream.requested(&format!("/{at}")).await;
        busy.push(client);
    }

    let mut next = Raw::connect(app.address).await;
    next.send("GET /problems HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let early = timeout(Duration::from_millis(300), next.until("HTTP/1.1 200 ")).await;
    gates[1].open();
    busy[1].until("\"value\":\"x\"").await;
    next.until("HTTP/1.1 200 ").await;

    assert!(early.is_err(), "{early:?}");
    // Those that had a request still have it.
    for at in [0, 2] {
        gates[at].open();
        busy[at].until("\"value\":\"x\"").await;
    }
}

#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let config = "server = { max_connections = 20, header_timeout = \"1h\" }";
    let app = TestApp::start(config).await;
    let mut crowd = Vec::new();
    for at in 0..10 {
        for said in ["", "G", "PRI * HTTP/2.0\r\n", "GET /health HTTP/1.1\r\nHost: x\r\n"] {
            let mut client = Raw::connect(app.address).await;
            client.send(said).await;
            crowd.push(client);
        }

        let mut probe = Raw::connect(app.address).await;
        probe.send("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        let answer = probe.rest().await;

        assert!(answer.starts_with("HTTP/1.1 200 "), "{at}: {answer}");
    }
    app.metrics_when(|metrics| metrics["decoder_http_connections"] <= 20.0).await;
}
