//! Fetches that end early: budgets, deadlines, clients that have enough or leave. And
//! the connections to sources, where they come from and what becomes of them.

use crate::support::{
    app::{Answer, TestApp},
    raw::Raw,
    upstream::{
        Gate, Party, Reply,
        Step::{Endless, Hold, Send, Wait},
        Upstream,
    },
};
use serde_json::json;
use tokio::net::TcpListener;

const ATTEMPTS: &str = "decoder_fetch_attempts_total";

/// Says a secret and then nothing.
fn slow() -> Reply {
    Reply::stream([Send("{*x*}\n".into()), Hold])
}

#[tokio::test]
async fn a_source_that_is_slow_is_given_up() {
    let upstream = Upstream::tls().await;
    upstream.on("/head", [Hold]);
    upstream.on("/half", [Send("HTTP/1.1 200 OK\r\n".into()), Hold]);
    upstream.on("/body", slow());
    let app = TestApp::with_source(&upstream, "total_timeout = \"300ms\"", "").await;
    for path in ["/head", "/half", "/body"] {
        let answer = app.decode(&json!({ "source": upstream.url(path) })).await;

        let problem = answer.discreet_problem(424, "source_timeout");
        assert_eq!((&problem["retryable"], &problem["attempts"]), (&json!(true), &json!(1)));
        assert_eq!(upstream.closed(path).await.by, Party::Client);
    }
    assert_eq!(app.metrics().await[&format!("{ATTEMPTS}{{result=\"timeout\"}}")], 3.0);
}

#[tokio::test]
async fn a_source_without_tls_is_given_up_when_connecting_takes_too_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let config = format!(
        "[egress]\nallow = [{{ url = \"https://source.test:*\", addresses = [\"{address}\"] }}]\n\
         hosts = {{ \"source.test\" = [\"127.0.0.1\"] }}\nconnect_timeout = \"200ms\"\n"
    );
    let app = TestApp::start(&config).await;

    let source = format!("https://source.test:{}/", address.port());
    let answer = app.decode(&json!({ "source": source })).await;

    answer.discreet_problem(424, "source_timeout");
    assert_eq!(app.metrics().await[&format!("{ATTEMPTS}{{result=\"timeout\"}}")], 3.0);
}

#[tokio::test]
async fn the_deadline_of_the_caller_is_the_callers_own() {
    let upstream = Upstream::tls().await;
    upstream.on("/slow", slow());
    let app = TestApp::with_source(&upstream, "", "").await;
    let body = json!({ "source": upstream.url("/slow") });
    for (given, outcome) in [(100, "rejected"), (2_000, "failed")] {
        let answer = Answer::of(app.asking(&body).header("X-Request-Timeout-Ms", given)).await;

        let problem = answer.discreet_problem(504, "deadline_exceeded");
        assert_eq!(problem["retryable"], true);
        assert_eq!(upstream.closed("/slow").await.by, Party::Client);
        let line = app.request_line(answer.header("x-request-id").expect("an id")).await;
        assert_eq!((&line["outcome"], &line["blame"]), (&json!(outcome), &json!("caller")));
        assert_eq!(line["secrets_recovered"], 0);
    }
    assert_eq!(app.metrics().await[&format!("{ATTEMPTS}{{result=\"cancelled\"}}")], 2.0);
}

#[tokio::test]
async fn the_deadline_of_the_server_is_its_own_fault() {
    let upstream = Upstream::tls().await;
    upstream.on("/slow", slow());
    let server = "[server]\nrequest_timeout = \"300ms\"\n";
    let app = TestApp::with_source(&upstream, "", server).await;
    let body = json!({ "source": upstream.url("/slow") });

    let usual = app.decode(&body).await;
    // A caller cannot lengthen it.
    let patient = Answer::of(app.asking(&body).header("X-Request-Timeout-Ms", 3_600_000)).await;

    for answer in [usual, patient] {
        answer.discreet_problem(504, "service_timeout");
        assert_eq!(upstream.closed("/slow").await.by, Party::Client);
    }
}

#[tokio::test]
async fn a_deadline_that_cannot_be_is_a_fault_of_the_request() {
    let app = TestApp::start("").await;
    for given in ["0", "-1", "3600001", "1.5", "1s", "99999999999999999999"] {
        let request = app.asking(&json!({ "content": "x" }));

        let answer = Answer::of(request.header("X-Request-Timeout-Ms", given)).await;

        answer.discreet_problem(422, "invalid_request");
    }
}

#[tokio::test]
async fn who_has_enough_reads_no_further() {
    let upstream = Upstream::tls().await;
    let reply = || Reply::stream([Send("{*x*}".into()), Endless(vec![b' '; 1000])]);
    upstream.on("/endless", reply());
    let app = TestApp::with_source(&upstream, "", "").await;

    let source = upstream.url("/endless");
    let answer = app.decode(&json!({ "source": source, "max_secrets": 1 })).await;

    assert_eq!(answer.json()["summary"]["stopped_by"], "max_secrets");
    assert_eq!(answer.json()["summary"]["bytes_scanned"], 5);
    let ended = upstream.closed("/endless").await;
    // What the sockets hold, far from what the cap of 10 MiB allows.
    assert_eq!(ended.by, Party::Client);
    assert!(ended.written < 8_000_000, "{ended:?}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_fetch() {
    let upstream = Upstream::tls().await;
    upstream.on("/head", [Hold]);
    upstream.on("/slow", slow());
    let app = TestApp::with_source(&upstream, "", "").await;
    let forms = ["application/json", "text/plain", "application/x-ndjson"];
    let paths = ["/head", "/slow"];
    for (path, form) in paths.into_iter().flat_map(|path| forms.map(|form| (path, form))) {
        let mut client = Raw::connect(app.address).await;
        let body = json!({ "source": upstream.url(path) });
        let id = format!("{}-{}", &path[1..], form.replace('/', "."));
        client.decode(&id, &format!("Accept: {form}\r\n"), &body).await;
        upstream.requested(path).await;

        drop(client);

        assert_eq!(upstream.closed(path).await.by, Party::Client);
        let line = app.request_line(&id).await;
        assert_eq!((&line["outcome"], &line["blame"]), (&json!("cancelled"), &json!("none")));
    }
    assert_eq!(app.metrics().await[&format!("{ATTEMPTS}{{result=\"cancelled\"}}")], 6.0);
}

#[tokio::test]
async fn what_was_found_but_never_answered_was_not_recovered() {
    let upstream = Upstream::tls().await;
    let gate = Gate::default();
    upstream.on("/slow", Reply::stream([Send("{*x*}\n".into()), Wait(gate.clone()), Hold]));
    let app = TestApp::with_source(&upstream, "", "").await;
    let mut client = Raw::connect(app.address).await;
    client.decode("left", "", &json!({ "source": upstream.url("/slow") })).await;
    upstream.requested("/slow").await;
    // The same source shows to a reader of lines that the secret has been found.
    let mut reader = Raw::connect(app.address).await;
    let body = json!({ "source": upstream.url("/slow") });
    reader.decode("read", "Accept: application/x-ndjson\r\n", &body).await;
    reader.until("\"value\":\"x\"").await;

    drop(client);
    let left = app.request_line("left").await;
    drop(reader);
    let read = app.request_line("read").await;

    assert_eq!((&left["status"], &left["secrets_recovered"]), (&json!(499), &json!(0)), "{left}");
    assert_eq!((&read["status"], &read["secrets_recovered"]), (&json!(200), &json!(1)), "{read}");
    assert_eq!(app.metrics().await["decoder_secrets_recovered_total"], 1.0);
}

#[tokio::test]
async fn no_proxy_is_used_whatever_the_environment_says() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", proxy.local_addr().expect("bound"));
    let names =
        ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let environment = names.map(|name| (name, url.as_str()));
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("{*x*}"));
    let app = TestApp::with_source_and_environment(&upstream, "", "", &environment).await;

    let answer = app.decode(&json!({ "source": upstream.url("/") })).await;

    assert_eq!(answer.json()["secrets"][0]["value"], "x");
    let asked = tokio::time::timeout(std::time::Duration::ZERO, proxy.accept()).await;
    assert!(asked.is_err(), "the proxy was asked");
}

#[tokio::test]
async fn a_connection_that_is_used_again_has_no_phases_of_its_own() {
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("{*x*}"));
    let app = TestApp::with_source(&upstream, "", "").await;
    let mut again = 0;
    for at in 0..20 {
        let before = upstream.connections();
        let answer = app.decode(&json!({ "source": upstream.url("/") })).await;

        let timing = &answer.json()["timing_ms"];
        let is_new = timing["connect"].is_f64();
        // One may be begun in vain, and overtaken by one that is idle again.
        assert!(!is_new || upstream.connections() > before, "{timing}");
        assert!(at > 0 || is_new, "{timing}");
        assert_eq!(timing["dns"].is_f64(), is_new, "{timing}");
        assert!(timing["first_byte"].is_f64() && timing["body"].is_f64(), "{timing}");
        assert_eq!(timing["queue"], 0.0);
        again += usize::from(!is_new);
    }
    assert!(again > 0, "no connection was ever used again");
    let metrics = app.metrics().await;
    let count = |phase: &str| {
        metrics[&format!("decoder_fetch_phase_duration_seconds_count{{phase=\"{phase}\"}}")]
    };
    assert_eq!((count("first_byte"), count("body")), (20.0, 20.0));
    assert_eq!((count("dns"), count("connect")), (20.0 - again as f64, 20.0 - again as f64));
}

#[tokio::test]
async fn the_source_learns_nothing_of_the_caller() {
    let upstream = Upstream::tls().await;
    upstream.on("/", Reply::ok("").header("Set-Cookie", "a=b; Path=/"));
    let app = TestApp::with_source(&upstream, "", "").await;
    let request = || {
        app.asking(&json!({ "source": upstream.url("/?q=1#f") }))
            .header("Authorization", "Bearer s3cret")
            .header("Cookie", "s3cret=1")
            .header("X-Request-Id", "s3cret")
            .header("Referer", "https://s3cret.test/")
            .header("User-Agent", "s3cret")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-1234567890123456-01")
    };

    Answer::of(request()).await;
    Answer::of(request()).await;

    let heads = upstream.requests();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "/?q=1"));
        assert!(!format!("{head:?}").contains("s3cret"), "{head:?}");
        let mut names: Vec<_> = head.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.sort();
        assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"]);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(head.get("user-agent"), Some(format!("blueprint-decoder/{version}").as_str()));
    }
}
