//! Why a URL may be fetched or not: for the operator, over HTTP and at a terminal.

use crate::support::{
    app::{Answer, TestApp, allowing, program},
    nameserver::NameServer,
    upstream::{Reply, Upstream},
};
use serde_json::{Value, json};
use std::process::Output;
use tokio::task::spawn_blocking;

const ADMIN: &str = "[server]\nadmin_bind = \"127.0.0.1:0\"\n";

async fn explain(app: &TestApp, source: &str) -> Value {
    let answer = post(app, "application/json", json!({ "source": source }).to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn post(app: &TestApp, kind: &str, body: String) -> Answer {
    let admin = app.admin.expect("an admin listener");
    let request = app.client.post(format!("http://{admin}/admin/explain"));
    Answer::of(request.header("Content-Type", kind).body(body)).await
}

/// A source that redirects within itself and to where nothing may be fetched.
async fn redirecting() -> Upstream {
    let upstream = Upstream::tls().await;
    let to = |location: &str| Reply::ok("").status(302).header("Location", location);
    upstream.on("/doc", Reply::ok("{*x*}"));
    upstream.on("/within", to("/doc?token=s3cret"));
    upstream.on("/inside", to("https://inner.test/"));
    upstream.on("/down", to("http://source.test/"));
    upstream
}

#[tokio::test]
async fn each_hop_is_told_with_what_decided() {
    let upstream = redirecting().await;
    let app = TestApp::with_source(&upstream, "", ADMIN).await;

    let told = explain(&app, &upstream.url("/within?token=s3cret")).await;

    let address = "in 127.0.0.0/8, Loopback: permitted by the rule";
    let addresses = json!([{ "address": "127.0.0.1", "allowed": true, "reason": address }]);
    let expected = json!({
        "hops": [
            {
                "source": upstream.url("/within"),
                "rule": "test",
                "addresses": addresses,
                "answer": "a redirect to /doc",
            },
            {
                "source": upstream.url("/doc"),
                "rule": "test",
                "addresses": addresses,
                "answer": "200, a document",
            },
        ],
        "verdict": "allowed",
    });
    assert_eq!(told, expected);
    // Nothing was decoded.
    assert_eq!(app.metrics().await["decoder_secrets_recovered_total"], 0.0);
}

#[tokio::test]
async fn what_is_denied_says_by_what_and_where() {
    let upstream = redirecting().await;
    let app = TestApp::with_source(&upstream, "", ADMIN).await;
    let check = async |source: &str, kind: &str, reason: &str, hops: usize| {
        let told = explain(&app, source).await;
        assert_eq!((&told["verdict"], &told["kind"]), (&json!("denied"), &json!(kind)), "{told}");
        assert!(told["reason"].as_str().expect("words").contains(reason), "{told}");
        assert_eq!(told["hops"].as_array().map(Vec::len), Some(hops), "{told}");
    };
    check("https://elsewhere.test/", "host", "not the host of any rule", 0).await;
    check("http://u:p@source.test/", "userinfo", "", 0).await;
    check("https:\\\\source.test", "malformed_url", "backslash", 0).await;
    check(&upstream.url("/inside"), "host", "redirect 1, of https://source.test", 1).await;
    check(&upstream.url("/down"), "redirect", "from https to http", 1).await;
    // An explanation is no attack.
    let metrics = app.metrics().await;
    let events = metrics.iter().filter(|(name, _)| name.starts_with("decoder_security_events"));
    assert_eq!(events.map(|(_, value)| value).sum::<f64>(), 0.0);
}

#[tokio::test]
async fn each_address_has_its_verdict() {
    let names = NameServer::start().await;
    names.at("mixed.test", &["93.184.216.34", "127.0.0.1", "64:ff9b::10.0.0.1", "fd00:ec2::254"]);
    let config = format!(
        "[egress]\nallow = [\"https://*\"]\nnameservers = [\"{}\"]\n{ADMIN}",
        names.address
    );
    let app = TestApp::start(&config).await;

    let told = explain(&app, "https://mixed.test/").await;

    let addresses = told["hops"][0]["addresses"].as_array().expect("addresses");
    let reason = |address: &str| {
        let is_it = |judged: &&Value| judged["address"] == address;
        let judged = addresses.iter().find(is_it).unwrap_or_else(|| panic!("{told}"));
        (judged["allowed"] == true, judged["reason"].as_str().expect("words").to_owned())
    };
    assert_eq!(reason("93.184.216.34"), (true, "public".to_owned()));
    for (address, expected) in [
        ("127.0.0.1", "in 127.0.0.0/8, Loopback"),
        ("64:ff9b::a00:1", "is 10.0.0.1 (NAT64), which is in 10.0.0.0/8, Private-Use"),
        ("fd00:ec2::254", "where metadata services are: no rule permits it"),
    ] {
        let (allowed, reason) = reason(address);
        assert!(!allowed && reason.contains(expected), "{address} {reason}");
    }
    assert_eq!((&told["verdict"], &told["kind"]), (&json!("denied"), &json!("address")));
}

#[tokio::test]
async fn a_source_that_fails_is_allowed_and_has_no_document() {
    let upstream = Upstream::tls().await;
    upstream.on("/500", Reply::ok("INNARDS").status(500));
    let app = TestApp::with_source(&upstream, "circuit.failures = 2", ADMIN).await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        let told = explain(&app, &upstream.url("/500")).await;
        assert_eq!(told["verdict"], "failed", "{told}");
        assert!(!told.to_string().contains("INNARDS"), "{told}");
        codes.push(told["code"].clone());
    }
    // As a decode would find it, circuit and all.
    assert_eq!(codes, ["source_failed", "source_failed", "circuit_open"]);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn what_is_no_question_is_a_problem() {
    let app = TestApp::start(ADMIN).await;
    for (kind, body, status, code) in [
        ("application/json", "{", 400, "malformed_json"),
        ("application/json", "{}", 422, "invalid_request"),
        ("application/json", "[]", 422, "invalid_request"),
        ("application/json", "{\"source\": 1}", 422, "invalid_request"),
        ("application/json", "{\"source\": \"x\", \"content\": \"y\"}", 422, "invalid_request"),
        ("text/plain", "{\"source\": \"x\"}", 415, "unsupported_media_type"),
    ] {
        post(&app, kind, body.to_owned()).await.problem(status, code);
    }
    let long = format!("{{\"source\": \"{}\"}}", "x".repeat(20_000));
    post(&app, "application/json", long).await.problem(413, "request_too_large");
    app.get("/admin/explain").await.problem(404, "not_found");
}

/// `check-url` with a configuration.
async fn check_url(config: String, url: String) -> Output {
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    std::fs::write(file.path(), config).expect("written");
    let mut command = program();
    command.args(["check-url", &url, "--config"]).arg(file.path());
    let output = spawn_blocking(move || command.output()).await.expect("no panic");
    drop(file);
    output.expect("it runs")
}

#[tokio::test]
async fn at_a_terminal_the_same_is_said() {
    let upstream = redirecting().await;
    let ca = Upstream::ca_file();
    let config = allowing(&[&upstream], &ca, "");
    let port = upstream.address().port();

    let allowed = check_url(config.clone(), upstream.url("/within?token=s3cret")).await;

    let judged = "  rule     test\n  address  127.0.0.1: allowed, in 127.0.0.0/8, Loopback: \
                  permitted by the rule\n";
    let expected = format!(
        "https://source.test:{port}/within\n{judged}  answer   a redirect to /doc\n\
         https://source.test:{port}/doc\n{judged}  answer   200, a document\nallowed\n"
    );
    assert_eq!(String::from_utf8_lossy(&allowed.stdout), expected);
    assert_eq!((allowed.status.code(), allowed.stderr.len()), (Some(0), 0), "{allowed:?}");
    // The explanation is the result. Standard error has the code, and nothing of it again.
    let denied = "source_denied: this URL may not be fetched; standard output says why";
    let no_document = "there is no document at this URL; standard output says why";
    let not_found = format!("source_not_found: {no_document}");
    for (path, line, said) in [
        ("/inside", denied, "\ndenied (host): redirect 1, of https://source.test"),
        ("/gone", &not_found, "  answer   404\nno document (source_not_found)"),
    ] {
        let output = check_url(config.clone(), upstream.url(path)).await;
        assert_eq!(output.status.code(), Some(1));
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains(said), "{stdout}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr, format!("blueprint-decoder: {line}\n"));
    }
    // By the name servers of the configuration.
    let names = NameServer::start().await;
    names.at("inner.test", &["10.0.0.1"]);
    let asking = format!(
        "[egress]\nallow = [\"https://inner.test\"]\nnameservers = [\"{}\"]\n",
        names.address
    );
    let output = check_url(asking, "https://inner.test/".to_owned()).await;
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("  address  10.0.0.1: denied, inner.test, "), "{output:?}");
    // Where the service would listen.
    let own = format!(
        "[server]\nbind = \"127.0.0.1:{port}\"\n[egress]\nallow = [{{ url = \"http://*:{port}\", \
         addresses = [\"127.0.0.1\"] }}]\n"
    );
    let output = check_url(own, format!("http://127.0.0.1:{port}/")).await;
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("where this server listens"), "{stdout}");
}
