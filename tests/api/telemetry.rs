//! What the metrics say, and that it is what happened.

use crate::support::{
    app::{Answer, TestApp},
    raw::Raw,
    upstream::{
        Reply,
        Step::{Hold, Send},
        Upstream,
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};
use tokio::task::JoinSet;

type Series = BTreeMap<String, f64>;

fn names(metrics: &Series) -> BTreeSet<&String> {
    metrics.keys().collect()
}

/// The series, once what was begun is over.
async fn at_rest(app: &TestApp) -> Series {
    app.metrics_when(|metrics| metrics["decoder_http_requests_in_flight"] == 0.0).await
}

/// The sum of a family whose labels contain all of these.
fn sum(metrics: &Series, family: &str, labels: &[&str]) -> f64 {
    let is_it = |series: &&String| {
        series.strip_prefix(family).is_some_and(|rest| {
            (rest.is_empty() || rest.starts_with('{'))
                && labels.iter().all(|label| rest.contains(label))
        })
    };
    metrics.iter().filter(|(series, _)| is_it(series)).map(|(_, value)| value).sum()
}

#[tokio::test]
async fn every_series_is_there_from_the_first_scrape() {
    let app = TestApp::start("").await;

    let metrics = app.metrics().await;

    for (series, value) in &metrics {
        let is_set = [
            "process_",
            "decoder_build_info",
            "decoder_ready",
            "decoder_http_connections",
            "decoder_policy_selfcheck_ok",
            "decoder_pool_limit",
            "decoder_rate_limit_backend_up",
            "decoder_config_reload",
        ];
        if !is_set.iter().any(|name| series.starts_with(name)) {
            assert_eq!(*value, 0.0, "{series}");
        }
    }
    assert_eq!(metrics["decoder_ready"], 1.0);
    assert_eq!(sum(&metrics, "decoder_build_info", &[]), 1.0);
    // Buckets and the answers of routes would be most of it.
    let shown = metrics.keys().filter(|series| !series.contains("_bucket{"));
    let mut shown: Vec<String> = shown
        .map(|series| match series.split_once('{') {
            Some(("decoder_build_info", _)) => "decoder_build_info{commit,version}".to_owned(),
            _ => series.clone(),
        })
        .collect();
    shown.sort();
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn durations_have_the_edges_that_objectives_are_made_of() {
    let app = TestApp::start("").await;

    let metrics = app.metrics().await;

    for edge in ["0.001", "0.1", "1", "5", "10", "30", "+Inf"] {
        let series = format!(
            "decoder_decode_duration_seconds_bucket{{input=\"source\",outcome=\"success\",\
             le=\"{edge}\"}}"
        );
        assert!(metrics.contains_key(&series), "{series}");
    }
    assert!(metrics.contains_key("decoder_secrets_per_decode_bucket{le=\"0\"}"));
}

/// A number that looks random and is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll<'a>(&mut self, faces: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        faces[(self.0 >> 33) as usize % faces.len()]
    }
}

const METHODS: [&str; 12] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW", "PROPFIND", "get",
    "M-SEARCH",
];
const PATHS: [&str; 18] = [
    "/",
    "/decode",
    "/health",
    "/health/ready",
    "/metrics",
    "/problems",
    "/problems/internal",
    "/problems/made-up",
    "/problems/%00",
    "/decode/",
    "//decode",
    "/decode?x=1",
    "/DECODE",
    "/admin/errors",
    "/.env",
    "/%64ecode",
    "/health/../decode",
    "http://other.test/decode",
];
const HOSTS: [&str; 5] = ["localhost", "127.0.0.1:8080", "evil.test", "[::1]", "10.0.0.1"];
const HEADERS: [&str; 14] = [
    "",
    "Accept: image/png\r\n",
    "Accept: text/html\r\n",
    "Accept: application/x-ndjson\r\n",
    "Content-Type: application/json\r\n",
    "Content-Type: text/plain\r\n",
    "Content-Type: made/up\r\n",
    "Content-Encoding: gzip\r\n",
    "Sec-Fetch-Site: cross-site\r\n",
    "X-Request-Timeout-Ms: 0\r\n",
    "X-Request-Timeout-Ms: 1\r\n",
    "X-Request-Id: made-up\r\n",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-1234567890123456-01\r\n",
    "Expect: made-up\r\n",
];

#[tokio::test]
async fn no_request_makes_a_series() {
    let app = TestApp::start("").await;
    let before = app.metrics().await;
    let mut clients = JoinSet::new();
    for seed in 1..=4 {
        let (address, mut dice, mut requests) = (app.address, Dice(seed), String::new());
        for at in 0..2500 {
            let made_up = format!("M{seed}X{at}");
            let method = dice.roll(&[dice_method(&mut Dice(at + 1)), made_up.as_str()]);
            let path = format!("/made/up/{seed}/{at}?q={at}");
            let path = dice.roll(&[dice_path(&mut Dice(at * 31 + seed)), path.as_str()]);
            let (host, header) = (dice.roll(&HOSTS), dice.roll(&HEADERS));
            let _ = write!(requests, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{header}");
            // An answer to a body that is not read closes the connection.
            requests.push_str("Content-Length: 0\r\n");
            requests.push_str(if at == 2499 { "Connection: close\r\n\r\n" } else { "\r\n" });
        }
        clients.spawn(async move { Raw::connect(address).await.pipeline(requests).await });
    }
    let mut answers = 0;
    while let Some(text) = clients.join_next().await {
        answers += text.expect("no panic").matches("HTTP/1.1 ").count();
    }

    let after = at_rest(&app).await;

    assert_eq!(answers, 10_000);
    let total = sum(&after, "decoder_http_requests_total", &[]);
    // And the scrape before.
    assert!(total >= 10_001.0, "{total}");
    let (before, after) = (names(&before), names(&after));
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&&String>::new());
}

fn dice_method(dice: &mut Dice) -> &'static str {
    dice.roll(&METHODS)
}

fn dice_path(dice: &mut Dice) -> &'static str {
    dice.roll(&PATHS)
}

#[tokio::test]
async fn announcing_too_much_makes_no_series() {
    let app = TestApp::start("").await;
    let before = app.metrics().await;
    for path in ["/", "/decode", "/health", "/metrics", "/problems/internal", "/nowhere"] {
        for method in ["GET", "POST", "PUT", "BREW"] {
            for kind in ["application/json", "text/plain"] {
                let mut client = Raw::connect(app.address).await;
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
                     Content-Length: 99999999999\r\nConnection: close\r\n\r\n"
                );
                client.send(head).await;
                client.until("\r\n\r\n").await;
            }
        }
    }

    let after = at_rest(&app).await;

    let (before, after) = (names(&before), names(&after));
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&&String>::new());
}

/// What a client asks, and which series its decode must count in.
fn plan(upstream: &Upstream) -> Vec<(Value, &'static str, Option<[&'static str; 4]>)> {
    let source = |path: &str| json!({ "source": upstream.url(path) });
    let ok = |input| Some(["success", "ok", "none", input]);
    let no = |code, blame, input| Some(["rejected", code, blame, input]);
    vec![
        (json!({ "content": "{*a*}{*b*}" }), "application/json", ok("content")),
        (json!({ "content": "nothing" }), "text/plain", ok("content")),
        (json!({ "content": "{*a*}" }), "application/x-ndjson", ok("content")),
        (source("/ok"), "application/json", ok("source")),
        (source("/ok"), "application/x-ndjson", ok("source")),
        (source("/ok"), "text/plain", ok("source")),
        (json!({ "content": 1 }), "*/*", no("invalid_request", "caller", "content")),
        (json!({ "content": "x" }), "image/png", no("not_acceptable", "caller", "content")),
        (json!({ "source": "x" }), "*/*", no("invalid_request", "caller", "source")),
        (json!({ "source": "https://x.test/" }), "*/*", no("source_denied", "policy", "source")),
        (source("/gone"), "application/x-ndjson", no("source_not_found", "source", "source")),
        (source("/no"), "text/plain", no("source_rejected", "source", "source")),
        (source("/large"), "*/*", no("document_too_large", "source", "source")),
        (source("/type"), "*/*", no("unsupported_document", "source", "source")),
        (source("/500"), "*/*", Some(["failed", "source_failed", "source", "source"])),
        (source("/hold"), "*/*", Some(["failed", "source_timeout", "source", "source"])),
        (source("/left"), "*/*", None),
    ]
}

#[tokio::test]
async fn the_counters_say_what_clients_and_sources_saw() {
    const ROUNDS: usize = 12;
    let upstream = Upstream::tls().await;
    upstream.on("/ok", Reply::ok("{*a*} {*b*} {*c*}"));
    upstream.on("/gone", Reply::ok("").status(410));
    upstream.on("/no", Reply::ok("").status(401));
    upstream.on("/large", Reply::gzip(vec![b' '; 100_000]));
    upstream.on("/type", Reply::ok("").header("Content-Type", "image/png"));
    upstream.on("/500", Reply::ok("").status(500));
    upstream.on("/hold", [Hold]);
    upstream.on("/left", Reply::stream([Send("{*a*}".into()), Hold]));
    let app = TestApp::with_source(
        &upstream,
        "total_timeout = \"8s\"\ncircuit.enabled = false",
        "[limits]\nmax_document_bytes = \"64KiB\"\n",
    )
    .await;
    let plan = plan(&upstream);
    let mut expected = Series::new();
    let mut clients = JoinSet::new();
    for (body, accept, series) in plan.iter().flat_map(|one| std::iter::repeat_n(one, ROUNDS)) {
        let [outcome, code, blame, input] =
            series.unwrap_or(["cancelled", "cancelled", "none", "source"]);
        let name = format!(
            "decoder_decodes_total{{blame=\"{blame}\",code=\"{code}\",input=\"{input}\",\
             outcome=\"{outcome}\"}}"
        );
        *expected.entry(name).or_default() += 1.0;
        if series.is_some() {
            let request = app.asking(body).header("Accept", *accept);
            clients.spawn(async move { Answer::of(request).await.status });
        } else {
            let (address, body) = (app.address, body.clone());
            let mut client = Raw::connect(address).await;
            client.decode("leaves", "", &body).await;
            upstream.requested("/left").await;
            drop(client);
        }
    }
    let statuses = clients.join_all().await;

    let metrics = at_rest(&app).await;

    let count = |family: &str, labels: &[&str]| sum(&metrics, family, labels);
    for (series, value) in &metrics {
        if series.starts_with("decoder_decodes_total{") {
            assert_eq!(*value, expected.get(series).copied().unwrap_or(0.0), "{series}");
        }
    }
    let rounds = ROUNDS as f64;
    let all = expected.values().sum::<f64>();
    assert_eq!(all, plan.len() as f64 * rounds);
    assert_eq!(count("decoder_decode_duration_seconds_count", &[]), all);
    assert_eq!(count("decoder_http_requests_total", &["/decode"]), all);
    for status in BTreeSet::from_iter(&statuses) {
        let seen = statuses.iter().filter(|it| *it == status).count();
        let label = format!("status=\"{status}\"");
        assert_eq!(count("decoder_http_requests_total", &["/decode", &label]), seen as f64);
    }
    assert_eq!(count("decoder_http_requests_total", &["status=\"499\""]), rounds);
    assert_eq!(count("decoder_http_request_duration_seconds_count", &["/decode"]), all);
    // Content: 2 + 0 + 1; source: 3 in three forms.
    assert_eq!(count("decoder_secrets_recovered_total", &[]), 12.0 * rounds);
    assert_eq!(count("decoder_secrets_per_decode_count", &[]), 6.0 * rounds);
    assert_eq!(count("decoder_secrets_per_decode_sum", &[]), 12.0 * rounds);
    assert_eq!(count("decoder_document_bytes_count", &["content"]), 3.0 * rounds);
    assert_eq!(count("decoder_document_bytes_sum", &["source"]), 17.0 * 3.0 * rounds);
    let attempts = "decoder_fetch_attempts_total";
    assert_eq!(count(attempts, &[]), upstream.requests().len() as f64);
    let results = [
        ("ok", 4.0),
        ("status_4xx", 2.0),
        ("status_5xx", 1.0),
        ("protocol", 1.0),
        ("timeout", 1.0),
        ("cancelled", 1.0),
    ];
    for (result, times) in results {
        let label = format!("result=\"{result}\"");
        assert_eq!(count(attempts, &[&label]), times * rounds, "{result}");
        assert_eq!(count("decoder_fetch_duration_seconds_count", &[&label]), times * rounds);
    }
}

#[tokio::test]
async fn gauges_come_back_to_nothing_and_a_scrape_is_not_in_flight() {
    let upstream = Upstream::tls().await;
    upstream.on("/hold", [Hold]);
    let app = TestApp::with_source(&upstream, "", "").await;
    assert_eq!(app.metrics().await["decoder_http_requests_in_flight"], 0.0);
    let mut clients = Vec::new();
    for at in 0..3 {
        let mut client = Raw::connect(app.address).await;
        let body = json!({ "source": upstream.url("/hold") });
        client.decode(&format!("flies-{at}"), "", &body).await;
        upstream.requested("/hold").await;
        clients.push(client);
    }

    let during = app.metrics().await;
    drop(clients);
    at_rest(&app).await;

    assert_eq!(during["decoder_http_requests_in_flight"], 3.0);
    assert!(during["decoder_http_connections"] >= 4.0);
    // That of the scrape itself is left.
    app.metrics_when(|metrics| metrics["decoder_http_connections"] == 1.0).await;
}
