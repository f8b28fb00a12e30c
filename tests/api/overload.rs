//! More decodes than there are places for.

use crate::support::{
    app::{Answer, TestApp},
    raw::Raw,
    upload::Upload,
    upstream::{
        Gate, Reply,
        Step::{Send, Wait},
        Upstream,
    },
};
use serde_json::{Value, json};

/// A source whose documents at these paths wait for the gate.
async fn slow_source(paths: &[&str]) -> (Upstream, Gate) {
    let (upstream, gate) = (Upstream::tls().await, Gate::default());
    for path in paths {
        upstream.on(path, Reply::stream([Wait(gate.clone()), Send("{*a*}".into())]));
    }
    upstream.on("/quick", Reply::ok("{*q*}"));
    (upstream, gate)
}

async fn service(upstream: &Upstream, overload: &str) -> TestApp {
    TestApp::with_source(upstream, "", &format!("[overload]\n{overload}")).await
}

fn source(upstream: &Upstream, path: &str) -> Value {
    json!({ "source": upstream.url(path) })
}

/// Asks for a document, and does not wait for it.
async fn begin(app: &TestApp, upstream: &Upstream, path: &str) -> Raw {
    begin_as(app, upstream, path, "").await
}

async fn begin_as(app: &TestApp, upstream: &Upstream, path: &str, headers: &str) -> Raw {
    let mut raw = Raw::connect(app.address).await;
    let headers = format!("Connection: close\r\n{headers}");
    raw.decode("id", &headers, &source(upstream, path)).await;
    raw
}

/// Waits until so many decodes wait for a place to fetch.
async fn waiting(app: &TestApp, count: f64) {
    app.metrics_when(|metrics| metrics["decoder_queue_depth{pool=\"fetch\"}"] == count).await;
}

fn shed(pool: &str, reason: &str) -> String {
    format!("decoder_shed_total{{pool=\"{pool}\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn what_does_not_fit_is_turned_away_and_nothing_else_suffers() {
    let (upstream, gate) = slow_source(&["/slow"]).await;
    let app = service(&upstream, "fetch = 1\nqueue = 0").await;
    let slow = begin(&app, &upstream, "/slow").await;
    upstream.requested("/slow").await;

    let refused = app.decode(&source(&upstream, "/quick")).await;
    let handed_over = app.decode_document("", "{*a*}").await;
    let (health, ready) = (app.get("/health").await, app.get("/health/ready").await);
    gate.open();
    let slow = slow.rest().await;

    let problem = refused.discreet_problem(503, "overloaded");
    assert_eq!(problem["retryable"], true);
    assert_eq!(
        (&problem["retry_after_ms"], refused.header("retry-after")),
        (&1000.into(), Some("1"))
    );
    assert_eq!((handed_over.status, health.status, ready.status), (200, 200, 200));
    assert!(slow.starts_with("HTTP/1.1 200 "), "{slow}");
    let metrics = app.metrics().await;
    assert_eq!(metrics[&shed("fetch", "queue_full")], 1.0);
    assert_eq!(metrics["decoder_pool_limit{pool=\"fetch\"}"], 1.0);
    let failed = "decoder_decodes_total{blame=\"service\",code=\"overloaded\",input=\"source\",\
                  outcome=\"failed\"}";
    assert_eq!(metrics[failed], 1.0);
}

#[tokio::test]
async fn who_waits_is_served_when_a_place_comes_free() {
    let (upstream, gate) = slow_source(&["/slow"]).await;
    let app = service(&upstream, "fetch = 1\nqueue = 1\nmax_wait = \"1h\"").await;
    let slow = begin(&app, &upstream, "/slow").await;
    upstream.requested("/slow").await;
    let second = begin(&app, &upstream, "/quick").await;
    waiting(&app, 1.0).await;

    let third = app.decode(&source(&upstream, "/quick")).await;
    gate.open();
    let (slow, second) = (slow.rest().await, second.rest().await);

    third.problem(503, "overloaded");
    assert!(slow.starts_with("HTTP/1.1 200 "), "{slow}");
    let second: Value =
        serde_json::from_str(second.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(second["secrets"][0]["value"], "q");
    assert!(second["timing_ms"]["queue"].as_f64().expect("a number") > 0.0, "{second}");
    let is_over = |metrics: &std::collections::BTreeMap<String, f64>| {
        metrics["decoder_pool_in_use{pool=\"fetch\"}"] == 0.0
    };
    let metrics = app.metrics_when(is_over).await;
    assert_eq!(metrics["decoder_queue_depth{pool=\"fetch\"}"], 0.0);
    assert_eq!(metrics["decoder_queue_wait_seconds_count{pool=\"fetch\"}"], 2.0);
}

#[tokio::test]
async fn nobody_waits_for_longer_than_they_may() {
    let (upstream, _gate) = slow_source(&["/slow"]).await;
    let app = service(&upstream, "fetch = 1\nmax_wait = \"50ms\"").await;
    let _slow = begin(&app, &upstream, "/slow").await;
    upstream.requested("/slow").await;

    let waited = app.decode(&source(&upstream, "/quick")).await;
    let hurried = app.asking(&source(&upstream, "/quick")).header("X-Request-Timeout-Ms", "10");
    let hurried = Answer::of(hurried).await;

    waited.problem(503, "overloaded");
    hurried.problem(504, "deadline_exceeded");
    let metrics = app.metrics().await;
    assert_eq!(metrics[&shed("fetch", "waited")], 1.0);
    assert_eq!(metrics["decoder_queue_depth{pool=\"fetch\"}"], 0.0);
}

#[tokio::test]
async fn callers_who_wait_take_turns() {
    let paths = ["/slow", "/a1", "/a2", "/a3", "/b1"];
    let (upstream, gate) = slow_source(&paths).await;
    let config = "[overload]\nfetch = 1\nmax_wait = \"1h\"\n[server]\ntrusted_proxies = \
                  [\"127.0.0.1\"]\n";
    let app = TestApp::with_source(&upstream, "", config).await;
    let mut all = vec![begin(&app, &upstream, "/slow").await];
    upstream.requested("/slow").await;
    for (at, path) in paths.iter().enumerate().skip(1) {
        let address = if path.starts_with("/a") { "192.0.2.1" } else { "192.0.2.2" };
        let headers = format!("X-Forwarded-For: {address}\r\n");
        all.push(begin_as(&app, &upstream, path, &headers).await);
        waiting(&app, at as f64).await;
    }

    gate.open();
    for raw in all {
        assert!(raw.rest().await.starts_with("HTTP/1.1 200 "));
    }

    let order: Vec<String> = upstream.requests().into_iter().map(|head| head.target).collect();
    assert_eq!(order, ["/slow", "/a1", "/b1", "/a2", "/a3"]);
}

#[tokio::test]
async fn who_leaves_the_queue_leaves_nothing_in_it() {
    let (upstream, gate) = slow_source(&["/slow"]).await;
    let app = service(&upstream, "fetch = 1\nqueue = 1\nmax_wait = \"1h\"").await;
    let slow = begin(&app, &upstream, "/slow").await;
    upstream.requested("/slow").await;
    let leaves = begin(&app, &upstream, "/quick").await;
    waiting(&app, 1.0).await;

    drop(leaves);
    waiting(&app, 0.0).await;
    let stays = begin(&app, &upstream, "/quick").await;
    waiting(&app, 1.0).await;
    gate.open();

    assert!(slow.rest().await.starts_with("HTTP/1.1 200 "));
    assert!(stays.rest().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_place_is_held_until_the_last_byte_of_the_answer() {
    let app = TestApp::start("[overload]\ninline = 1\nqueue = 0\n").await;
    // More than sockets hold.
    let document = format!("{{*{}*}}\n", "x".repeat(1000)).repeat(9_000);
    for accept in ["application/json", "application/x-ndjson"] {
        let mut slow = Raw::connect(app.address).await;
        let body = json!({ "content": document, "max_secrets": 10_000, "max_secret_chars": 1000 });
        slow.decode("slow", &format!("Connection: close\r\nAccept: {accept}\r\n"), &body).await;
        slow.until("\"index\":1,").await;

        let refused = app.decode_document("", "{*a*}").await;
        slow.rest().await;
        let in_use = "decoder_pool_in_use{pool=\"inline\"}";
        app.metrics_when(|metrics| metrics[in_use] == 0.0).await;
        let served = app.decode_document("", "{*a*}").await;

        refused.problem(503, "overloaded");
        assert_eq!(served.status, 200, "{accept}");
    }
}

#[tokio::test]
async fn who_sends_slowly_is_in_nobodys_way() {
    let app = TestApp::start("[overload]\ninline = 1\nmax_wait = \"1h\"\n").await;
    let mut slow = Vec::new();
    for at in 0..10 {
        let (sender, body) = Upload::open();
        let request = app.client.post(app.url("/decode")).header("Content-Type", "text/plain");
        let id = format!("slow-{at}");
        let answer = tokio::spawn(Answer::of(request.header("X-Request-Id", &id).body(body)));
        sender.send("{*half ".into()).await.expect("wanted");
        slow.push((sender, answer));
    }
    let of_all = |metrics: &std::collections::BTreeMap<String, f64>| {
        metrics["decoder_http_requests_in_flight"] == 10.0
            && metrics["decoder_pool_in_use{pool=\"inline\"}"] == 0.0
    };
    app.metrics_when(of_all).await;

    let served = app.decode_document("", "{*a*}").await;
    let mut answers = Vec::new();
    for (sender, answer) in slow {
        sender.send("a document*}".into()).await.expect("wanted");
        drop(sender);
        answers.push(answer.await.expect("no panic"));
    }

    assert_eq!(served.status, 200);
    for answer in answers {
        assert_eq!(answer.json()["secrets"][0]["value"], "half a document", "{answer:?}");
    }
    let in_use = "decoder_pool_in_use{pool=\"inline\"}";
    app.metrics_when(|metrics| metrics[in_use] == 0.0).await;
}

#[tokio::test]
async fn who_drips_faster_than_that_is_in_nobodys_way_either() {
    let app = TestApp::start("[overload]\ninline = 1\nmax_wait = \"1h\"\n").await;
    let mut drips = Raw::connect(app.address).await;
    drips.begin_decode("drips", "Content-Type: text/plain\r\n", 5_000).await;
    let dripping = tokio::spawn(drips.drip(" ".repeat(4_000)));
    app.metrics_when(|metrics| metrics["decoder_pool_in_use{pool=\"inline\"}"] == 1.0).await;

    let served = app.decode_document("", "{*a*}").await;

    assert_eq!(served.status, 200);
    assert!(!dripping.is_finished());
    dripping.abort();
}

#[tokio::test]
async fn a_request_that_is_fetched_takes_no_place_from_documents() {
    let (upstream, gate) = slow_source(&["/slow"]).await;
    let app = service(&upstream, "inline = 1\nqueue = 0").await;
    // So long that it may well have its document in it.
    let long = format!("{}{}", source(&upstream, "/slow"), " ".repeat(20_000));
    let mut slow = Raw::connect(app.address).await;
    slow.begin_decode("slow", "Content-Type: application/json\r\n", long.len()).await;
    slow.send(long).await;
    upstream.requested("/slow").await;

    let served = app.decode_document("", "{*a*}").await;
    gate.open();

    assert_eq!(served.status, 200);
    slow.until("HTTP/1.1 200 ").await;
}

#[tokio::test]
async fn what_is_large_needs_a_place_though_its_length_is_not_told() {
    let (upstream, gate) = slow_source(&[]).await;
    let app = service(&upstream, "inline = 1\nqueue = 0").await;
    let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let head = "POST /decode HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: large\r\n";
    let mut large = Raw::connect(app.address).await;
    large.send(format!("{head}{headers}\r\n")).await;
    let piece = " ".repeat(64 * 1024);
    large.send(format!("{:x}\r\n{piece}\r\n", piece.len()).repeat(2)).await;

    app.metrics_when(|metrics| metrics["decoder_pool_in_use{pool=\"inline\"}"] == 1.0).await;
    // It keeps it while nothing comes: what it has sent is kept as well.
    let refused = app.decode_document("", "{*a*}").await;
    let document = "{\"content\":\"{*b*}\"}";
    large.send(format!("{:x}\r\n{document}\r\n0\r\n\r\n", document.len())).await;

    refused.problem(503, "overloaded");
    large.until("\"value\":\"b\"").await;
    gate.open();
}

#[tokio::test]
async fn without_pools_all_that_comes_runs() {
    let (upstream, gate) = slow_source(&["/slow"]).await;
    let app = service(&upstream, "enabled = false\nfetch = 1\nqueue = 0").await;
    let slow = begin(&app, &upstream, "/slow").await;
    upstream.requested("/slow").await;

    let quick = app.decode(&source(&upstream, "/quick")).await;
    gate.open();

    assert_eq!(quick.status, 200);
    assert!(slow.rest().await.starts_with("HTTP/1.1 200 "));
}
