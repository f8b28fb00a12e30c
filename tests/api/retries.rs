//! A source that fails is tried again, but not for ever and not by all at once.

use crate::support::{
    app::{Answer, TestApp},
    raw::Raw,
    upstream::{
        Gate, Reply,
        Step::{self, Close, Cut, Endless, Hold, Reset, Send, Wait},
        Upstream,
    },
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

async fn decode(app: &TestApp, upstream: &Upstream, path: &str) -> Answer {
    app.decode(&json!({ "source": upstream.url(path) })).await
}

async fn counted(app: &TestApp, family: &str, label: &str) -> f64 {
    app.metrics().await[&format!("{family}{{{label}}}")]
}

async fn decisions(app: &TestApp) -> [f64; 4] {
    let metrics = app.metrics().await;
    ["retried", "budget_exhausted", "attempts_exhausted", "deadline"]
        .map(|label| metrics[&format!("decoder_fetch_retries_total{{decision=\"{label}\"}}")])
}

/// What the operator sees of the origin of an upstream.
async fn circuit(app: &TestApp, upstream: &Upstream) -> Value {
    let answer = app.get_admin("/admin/circuits").await.json();
    let circuits = answer["circuits"].as_array().expect("a list");
    let here = circuits.iter().find(|circuit| circuit["origin"] == upstream.url(""));
    here.unwrap_or_else(|| panic!("{answer}")).clone()
}

/// With a listener for the operator.
const ADMIN: &str = "[server]\nadmin_bind = \"127.0.0.1:0\"\n";

#[tokio::test]
async fn a_source_that_fails_twice_and_then_answers_is_enough() {
    let upstream = Upstream::tls().await;
    for status in [408, 429, 502, 503, 504] {
        let path = format!("/{status}");
        upstream.on(&path, Reply::ok("{*not this*}").status(status));
        upstream.on(&path, [Reset]);
        upstream.on(&path, Reply::ok("{*x*}"));
        let app = TestApp::with_source(&upstream, "", "").await;

        let answer = decode(&app, &upstream, &path).await.json();

        assert_eq!(answer["secrets"][0]["value"], "x", "{answer}");
        assert_eq!(answer["fetch"]["attempts"], 3);
        assert_eq!(answer["fetch"]["bytes"], 5);
        assert_eq!(decisions(&app).await, [2.0, 0.0, 0.0, 0.0]);
        assert_eq!(counted(&app, "decoder_fetch_attempts_total", "result=\"ok\"").await, 1.0);
        assert_eq!(
            counted(&app, "decoder_fetch_duration_seconds_count", "result=\"ok\"").await,
            1.0
        );
    }
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    let upstream = Upstream::tls().await;
    let with = |status| Reply::ok("").status(status);
    upstream.on("/404", with(404));
    upstream.on("/500", with(500));
    upstream.on("/501", with(501));
    upstream.on("/no-http", [Send("220 hello\r\n\r\n".into())]);
    upstream.on("/type", with(200).header("Content-Type", "image/png"));
    upstream.on("/denied", with(302).header("Location", "https://elsewhere.test/"));
    // What has begun is not begun again: some of it may have left already.
    upstream
        .on("/broken", Reply::stream([Send("{*x*}".into()), Reset]).header("Content-Length", "9"));
    let app = TestApp::with_source(&upstream, "circuit.enabled = false", "").await;
    for path in ["/404", "/500", "/501", "/no-http", "/type", "/denied", "/broken"] {
        let problem = decode(&app, &upstream, path).await.json();
        assert_eq!(problem["attempts"], 1, "{path} {problem}");
    }
    assert_eq!(decisions(&app).await, [0.0; 4]);
    assert_eq!(upstream.requests().len(), 7);
}

#[tokio::test]
async fn an_outage_is_not_multiplied() {
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("").status(503));
    let app = TestApp::with_source(&upstream, "circuit.enabled = false", "").await;
    for _ in 0..20 {
        decode(&app, &upstream, "/").await.discreet_problem(424, "source_failed");
    }
    let [retried, budget, attempts, deadline] = decisions(&app).await;
    // At least three, and a fifth of the requests.
    assert!((3.0..=4.0).contains(&retried), "{retried}");
    assert_eq!(upstream.requests().len() as f64, 20.0 + retried);
    assert_eq!((budget + attempts, deadline), (20.0, 0.0));
}

#[tokio::test]
async fn a_source_says_when_it_may_be_asked_again() {
    let upstream = Upstream::tls().await;
    let busy = |after| Reply::ok("").status(503).header("Retry-After", after);
    upstream.on("/soon", busy("1"));
    upstream.on("/soon", Reply::ok("{*x*}"));
    upstream.on("/late", busy("3600000"));
    let app = TestApp::with_source(&upstream, "", "").await;

    let began = Instant::now();
    let soon = decode(&app, &upstream, "/soon").await.json();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let late = decode(&app, &upstream, "/late").await;

    assert_eq!(soon["fetch"]["attempts"], 2);
    let problem = late.discreet_problem(424, "source_failed");
    assert_eq!((&problem["attempts"], &problem["source_status"]), (&json!(1), &json!(503)));
    // For whoever asked: no longer than an hour.
    assert_eq!(problem["retry_after_ms"], 3_600_000);
    assert_eq!(late.header("retry-after"), Some("3600"));
    assert_eq!(decisions(&app).await, [1.0, 0.0, 0.0, 1.0]);
}

#[tokio::test]
async fn each_attempt_begins_at_the_first_url() {
    let upstream = Upstream::tls().await;
    upstream.on("/old", Reply::ok("").status(302).header("Location", "/dead"));
    upstream.on("/old", Reply::ok("").status(302).header("Location", "/new"));
    upstream.on("/dead", Reply::ok("").status(503));
    upstream.on("/new", Reply::ok("{*x*}"));
    let app = TestApp::with_source(&upstream, "", "").await;

    let answer = decode(&app, &upstream, "/old").await.json();

    let fetch = &answer["fetch"];
    assert_eq!((&fetch["attempts"], &fetch["redirects"]), (&json!(2), &json!(1)));
    assert_eq!(fetch["final_source"], upstream.url("/new"));
}

#[tokio::test]
async fn a_failure_says_after_how_many_redirects_it_came() {
    let upstream = Upstream::tls().await;
    upstream.on("/0", Reply::ok("").status(302).header("Location", "/1"));
    upstream.on("/1", Reply::ok("").status(302).header("Location", "/2"));
    upstream.on("/2", Reply::ok("").status(404));
    let app = TestApp::with_source(&upstream, "", "").await;

    let problem = decode(&app, &upstream, "/0").await.discreet_problem(424, "source_not_found");
    let direct = decode(&app, &upstream, "/2").await.discreet_problem(424, "source_not_found");

    assert_eq!((&problem["hop"], direct.get("hop")), (&json!(2), None));
}

#[tokio::test]
async fn a_source_that_does_not_begin_to_answer_is_given_up() {
    let upstream = Upstream::tls().await;
    upstream.on("/silent", [Hold]);
    let late = Gate::default();
    let slowly = [Send("{*x".into()), Wait(late.clone()), Send("*}".into())];
    upstream.on("/slow", Reply::stream(slowly).chunked());
    let app = TestApp::with_source(&upstream, "first_byte_timeout = \"1s\"", "").await;
    for _ in 0..2 {
        // On a new connection, and on one that is there.
        let began = Instant::now();
        let problem =
            decode(&app, &upstream, "/silent").await.discreet_problem(424, "source_timeout");
        assert_eq!(problem["attempts"], 1);
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        upstream.on("/quick", Reply::ok("{*x*}"));
        assert_eq!(decode(&app, &upstream, "/quick").await.status, 200);
    }
    // Who has begun may take longer: as long as it took to be given up there.
    let slow = decode(&app, &upstream, "/slow");
    let open = async {
        upstream.requested("/slow").await;
        decode(&app, &upstream, "/silent").await.discreet_problem(424, "source_timeout");
        late.open();
    };
    let (slow, ()) = tokio::join!(slow, open);
    assert_eq!(slow.json()["secrets"][0]["value"], "x");
    assert_eq!(counted(&app, "decoder_fetch_attempts_total", "result=\"timeout\"").await, 3.0);
}

#[tokio::test]
async fn the_time_for_the_first_byte_begins_when_the_connection_stands() {
    let gate = Gate::default();
    let (upstream, silent) = (Upstream::tls_behind(&gate).await, Upstream::tls().await);
    upstream.on("/", Reply::ok("{*x*}"));
    silent.on("/", [Hold]);
    let times = "connect_timeout = \"10s\"\nfirst_byte_timeout = \"300ms\"";
    let app = TestApp::with_sources(&[&upstream, &silent], times, "").await;

    let late = async {
        // As long as that takes, and longer.
        for _ in 0..2 {
            decode(&app, &silent, "/").await.discreet_problem(424, "source_timeout");
        }
        gate.open();
    };
    let (answer, ()) = tokio::join!(decode(&app, &upstream, "/"), late);

    let answer = answer.json();
    assert_eq!(answer["fetch"]["attempts"], 1, "{answer}");
    assert!(answer["timing_ms"]["connect"].as_f64().expect("a time") > 600.0, "{answer}");
}

#[tokio::test]
async fn a_source_that_is_down_is_left_alone_until_one_probe_finds_it_well() {
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("").status(500));
    let probe = Gate::default();
    let well = "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n{*x*}";
    upstream.on("/probe", [Wait(probe.clone()), Send(well.into())]);
    let other = Upstream::tls().await;
    other.on("/", Reply::ok("{*x*}"));
    let settings = "circuit.failures = 3\ncircuit.open_for = \"2s\"";
    let app = TestApp::with_sources(&[&upstream, &other], settings, ADMIN).await;
    for _ in 0..3 {
        decode(&app, &upstream, "/").await.discreet_problem(424, "source_failed");
    }

    let refused = decode(&app, &upstream, "/").await;

    let problem = refused.discreet_problem(424, "circuit_open");
    assert_eq!((&problem["attempts"], &problem["retryable"]), (&json!(0), &json!(true)));
    let after = problem["retry_after_ms"].as_u64().expect("a number");
    assert!((1..=3000).contains(&after), "{after}");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(app.metrics().await["decoder_circuits_open"], 1.0);
    assert_eq!(decode(&app, &other, "/").await.status, 200);
    let shown = circuit(&app, &upstream).await;
    assert_eq!((&shown["circuit"], &shown["failures"]), (&json!("open"), &json!(3)));
    assert_eq!(circuit(&app, &other).await["circuit"], "closed");
    let asked = upstream.requests().len();
    assert_eq!(asked, 3);

    // As long as it says; then one finds out, and nobody else goes.
    let probing = async {
        loop {
            let answer = decode(&app, &upstream, "/probe").await;
            if answer.status == 200 {
                return;
            }
            answer.discreet_problem(424, "circuit_open");
        }
    };
    let meanwhile = async {
        upstream.requested("/probe").await;
        for _ in 0..3 {
            decode(&app, &upstream, "/").await.discreet_problem(424, "circuit_open");
        }
        assert_eq!(circuit(&app, &upstream).await["circuit"], "probing");
        probe.open();
    };
    tokio::join!(probing, meanwhile);

    assert_eq!(app.metrics().await["decoder_circuits_open"], 0.0);
    assert_eq!(upstream.requests().len(), asked + 1);
    decode(&app, &upstream, "/").await.discreet_problem(424, "source_failed");
}

#[tokio::test]
async fn a_probe_that_its_caller_leaves_is_made_by_the_next() {
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("").status(500));
    upstream.on("/held", [Hold]);
    upstream.on("/well", Reply::ok("{*x*}"));
    let settings = "circuit.failures = 1\ncircuit.open_for = \"1ms\"";
    let app = TestApp::with_source(&upstream, settings, "").await;
    decode(&app, &upstream, "/").await.discreet_problem(424, "source_failed");

    let body = json!({ "source": upstream.url("/held") });
    loop {
        let asking = app.asking(&body).header("X-Request-Timeout-Ms", "100");
        let answer = Answer::of(asking).await;
        if answer.status == 504 {
            break;
        }
        answer.discreet_problem(424, "circuit_open");
    }

    assert_eq!(decode(&app, &upstream, "/well").await.status, 200);
}

#[tokio::test]
async fn a_probe_whose_answer_is_not_read_keeps_nobody_out() {
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("").status(500));
    upstream.on("/endless", Reply::stream([Endless("{*x*}\n".repeat(1000).into())]));
    upstream.on("/well", Reply::ok("{*x*}"));
    let settings = "circuit.failures = 1\ncircuit.open_for = \"1ms\"";
    let app = TestApp::with_source(&upstream, settings, "").await;
    decode(&app, &upstream, "/").await.discreet_problem(424, "source_failed");

    let body = json!({ "source": upstream.url("/endless"), "max_secrets": 10_000 });
    // For a millisecond it may still be told that the circuit is open.
    let reader = loop {
        let mut reader = Raw::connect(app.address).await;
        reader.decode("reads-nothing", "Accept: application/x-ndjson\r\n", &body).await;
        if reader.until("\r\n").await.starts_with("HTTP/1.1 200") {
            break reader;
        }
    };
    upstream.requested("/endless").await;
    app.metrics_when(|metrics| metrics["decoder_circuits_open"] == 0.0).await;

    assert_eq!(decode(&app, &upstream, "/well").await.status, 200);
    drop(reader);
}

/// Answers with a good head that are no documents, at a path each, with the code of their problem.
fn odd_documents(upstream: &Upstream) -> [(&'static str, &'static str); 9] {
    let with = |name: &str, value: &str| Reply::ok("{*x*}").header(name, value);
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n";
    upstream.on("/plain-as-gzip", with("Content-Encoding", "gzip"));
    upstream
        .on("/half-of-gzip", Reply::ok(&b"\x1f\x8b\x08"[..]).header("Content-Encoding", "gzip"));
    upstream.on("/chunks", [Send(chunks.into())]);
    upstream.on("/chunk-sizes", [Send(chunks.replace("no size", "fffffffffffffffff").into())]);
    upstream.on("/large", Reply::ok(vec![b' '; 100_000]));
    upstream.on("/type", with("Content-Type", "image/png"));
    upstream.on("/charset", with("Content-Type", "text/plain; charset=no-such"));
    upstream.on("/encoding", with("Content-Encoding", "br"));
    upstream.on("/encodings", with("Content-Encoding", "gzip, gzip"));
    [
        ("/plain-as-gzip", "source_failed"),
        ("/half-of-gzip", "source_failed"),
        ("/chunks", "source_failed"),
        ("/chunk-sizes", "source_failed"),
        ("/large", "document_too_large"),
        ("/type", "unsupported_document"),
        ("/charset", "unsupported_document"),
        ("/encoding", "unsupported_document"),
        ("/encodings", "unsupported_document"),
    ]
}

/// With a listener for the operator, and a small cap.
const SMALL: &str =
    "[limits]\nmax_document_bytes = \"64KiB\"\n[server]\nadmin_bind = \"127.0.0.1:0\"\n";

#[tokio::test]
async fn one_document_closes_no_origin() {
    let upstream = Upstream::tls().await;
    let app = TestApp::with_source(&upstream, "circuit.failures = 2", SMALL).await;
    for (path, code) in odd_documents(&upstream) {
        for _ in 0..3 {
            decode(&app, &upstream, path).await.discreet_problem(424, code);
        }
        let shown = circuit(&app, &upstream).await;
        assert_eq!(
            (&shown["circuit"], &shown["failures"]),
            (&json!("closed"), &json!(0)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn one_document_excuses_no_origin() {
    let upstream = Upstream::tls().await;
    upstream.on("/500", Reply::ok("").status(500));
    // So many that only half of the last 20 would open it.
    let app = TestApp::with_source(&upstream, "circuit.failures = 100", SMALL).await;
    for (failures, (path, code)) in (1..).zip(odd_documents(&upstream)) {
        decode(&app, &upstream, "/500").await.discreet_problem(424, "source_failed");

        decode(&app, &upstream, path).await.discreet_problem(424, code);

        assert_eq!(circuit(&app, &upstream).await["failures"], failures, "{path}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_in_a_document_counts_against_the_origin() {
    let upstream = Upstream::tls().await;
    let long =
        |end: Step| Reply::stream([Send("{*x*}".into()), end]).header("Content-Length", "99");
    upstream.on("/short", long(Close));
    upstream.on("/reset", long(Reset));
    upstream.on("/cut", [Send("HTTP/1.1 200 OK\r\n\r\n{*x*}".into()), Cut]);
    let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{*x*}\r\n";
    upstream.on("/chunk", [Send(chunk.into())]);
    let app = TestApp::with_source(&upstream, "circuit.failures = 9", ADMIN).await;
    for (failures, path) in (1..).zip(["/short", "/reset", "/cut", "/chunk"]) {
        decode(&app, &upstream, path).await.discreet_problem(424, "source_failed");

        assert_eq!(circuit(&app, &upstream).await["failures"], failures, "{path}");
    }
}

#[tokio::test]
async fn a_probe_whose_document_is_odd_finds_the_origin_well() {
    let settings = "circuit.failures = 1\ncircuit.open_for = \"1ms\"";
    let upstream = Upstream::tls().await;
    upstream.on("/500", Reply::ok("").status(500));
    let app = TestApp::with_source(&upstream, settings, SMALL).await;
    for (path, code) in odd_documents(&upstream) {
        decode(&app, &upstream, "/500").await.discreet_problem(424, "source_failed");
        // For a millisecond the circuit is open.
        let problem = loop {
            let problem = decode(&app, &upstream, path).await.json();
            if problem["code"] != "circuit_open" {
                break problem;
            }
        };

        assert_eq!(problem["code"], code, "{path}");
        assert_eq!(circuit(&app, &upstream).await["circuit"], "closed", "{path}");
    }
}

#[tokio::test]
async fn a_document_that_stalls_after_a_good_head_opens_no_circuit() {
    let upstream = Upstream::tls().await;
    upstream.on("/stalled", Reply::stream([Send("{*x*}".into()), Hold]));
    let settings = "circuit.failures = 1\ntotal_timeout = \"1s\"";
    let app = TestApp::with_source(&upstream, settings, ADMIN).await;

    decode(&app, &upstream, "/stalled").await.discreet_problem(424, "source_timeout");

    upstream.requested("/stalled").await;
    assert_eq!(circuit(&app, &upstream).await["circuit"], "closed");
}

#[tokio::test]
async fn the_short_deadlines_of_callers_open_no_circuit() {
    let upstream = Upstream::tls().await;
    upstream.on("/held", [Hold]);
    upstream.on("/well", Reply::ok("{*x*}"));
    let app = TestApp::with_source(&upstream, "circuit.failures = 1", "").await;
    let body = json!({ "source": upstream.url("/held") });
    for deadline in ["1", "1", "50", "50"] {
        let asking = app.asking(&body).header("X-Request-Timeout-Ms", deadline);
        Answer::of(asking).await.discreet_problem(504, "deadline_exceeded");
    }
    // One of them surely after it was asked.
    let asking = app.asking(&body).header("X-Request-Timeout-Ms", "1000");
    let (answer, _) = tokio::join!(Answer::of(asking), upstream.requested("/held"));
    answer.discreet_problem(504, "deadline_exceeded");
    assert_eq!(app.metrics().await["decoder_circuits_open"], 0.0);
    assert_eq!(decode(&app, &upstream, "/well").await.status, 200);
}

#[tokio::test]
async fn a_slow_origin_is_asked_by_so_many_and_holds_up_no_other() {
    let upstream = Upstream::tls().await;
    let gate = Gate::default();
    upstream.on("/slow", Reply::stream([Wait(gate.clone()), Send("{*x*}".into())]));
    let other = Upstream::tls().await;
    other.on("/", Reply::ok("{*x*}"));
    // Places for all that may go, and more; each asks from elsewhere.
    let config = format!("{ADMIN}trusted_proxies = [\"127.0.0.1\"]\n[overload]\nfetch = 4\n");
    let app = TestApp::with_sources(&[&upstream, &other], "max_per_origin = 2", &config).await;
    let body = json!({ "source": upstream.url("/slow") });
    let mut slow = JoinSet::new();
    for number in 0..4 {
        let asking = app.asking(&body).header("X-Forwarded-For", format!("10.0.0.{number}"));
        slow.spawn(async move { Answer::of(asking).await.status });
    }
    upstream.requested("/slow").await;
    upstream.requested("/slow").await;
    // All four are there, and those who wait have lent their places.
    app.metrics_when(|metrics| {
        metrics["decoder_http_requests_in_flight"] == 4.0
            && metrics["decoder_pool_in_use{pool=\"fetch\"}"] == 2.0
    })
    .await;

    let elsewhere = decode(&app, &other, "/").await;

    assert_eq!(elsewhere.status, 200);
    assert_eq!(circuit(&app, &upstream).await["in_flight"], 2);
    assert_eq!(upstream.requests().len(), 2);
    gate.open();
    assert_eq!(slow.join_all().await, [200; 4]);
}

#[tokio::test]
async fn where_a_crowd_waits_for_an_origin_the_next_one_is_sent_away() {
    const WAITING: usize = 512;
    let upstream = Upstream::tls().await;
    let gate = Gate::default();
    upstream.on("/slow", Reply::stream([Wait(gate.clone()), Send("{*x*}".into())]).chunked());
    let config = format!("{ADMIN}[overload]\nfetch = 1000\n");
    let app = TestApp::with_source(&upstream, "max_per_origin = 1", &config).await;
    let body = json!({ "source": upstream.url("/slow") });
    let mut crowd = JoinSet::new();
    for _ in 0..=WAITING {
        let asking = app.asking(&body);
        crowd.spawn(async move { Answer::of(asking).await.status });
    }
    upstream.requested("/slow").await;
    app.metrics_when(|metrics| {
        metrics["decoder_http_requests_in_flight"] == WAITING as f64 + 1.0
            && metrics["decoder_pool_in_use{pool=\"fetch\"}"] == 1.0
    })
    .await;

    let sent_away = decode(&app, &upstream, "/slow").await;

    let problem = sent_away.discreet_problem(503, "overloaded");
    assert_eq!((&problem["attempts"], &problem["retry_after_ms"]), (&json!(0), &json!(1000)));
    let shed = "decoder_shed_total{pool=\"fetch\",reason=\"queue_full\"}";
    assert_eq!(app.metrics().await[shed], 1.0);
    gate.open();
    assert!(crowd.join_all().await.iter().all(|status| *status == 200));
}

#[tokio::test]
async fn who_is_asked_last_is_not_to_blame_for_the_time_of_the_others() {
    let (upstream, other) = (Upstream::tls().await, Upstream::tls().await);
    let gate = Gate::default();
    let to =
        format!("HTTP/1.1 302 \r\nContent-Length: 0\r\nLocation: {}\r\n\r\n", other.url("/held"));
    upstream.on("/slowly", [Wait(gate.clone()), Send(to.into())]);
    upstream.on("/held", [Hold]);
    other.on("/held", [Hold]);
    let settings = "total_timeout = \"2s\"\ncircuit.failures = 1";
    let app = TestApp::with_sources(&[&upstream, &other], settings, ADMIN).await;

    let late = async {
        // More than half of the time.
        let held = json!({ "source": upstream.url("/held") });
        let asking = app.asking(&held).header("X-Request-Timeout-Ms", "1500");
        Answer::of(asking).await.discreet_problem(504, "deadline_exceeded");
        gate.open();
    };
    let (answer, ()) = tokio::join!(decode(&app, &upstream, "/slowly"), late);

    assert_eq!(answer.discreet_problem(424, "source_timeout")["hop"], 1);
    assert_eq!(circuit(&app, &other).await["circuit"], "closed");
    assert_eq!(circuit(&app, &upstream).await["circuit"], "closed");
    // With all of the time it is.
    decode(&app, &other, "/held").await.discreet_problem(424, "source_timeout");
    assert_eq!(circuit(&app, &other).await["circuit"], "open");
}
