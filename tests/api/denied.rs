//! Sources that the policy does not allow: refused before anything is connected to.

use crate::support::{
    app::{TestApp, allowing},
    upstream::{Reply, Upstream},
};
use serde_json::json;

const EVENTS: &str = "decoder_security_events_total";

/// A service that may fetch any host at any port, and from public addresses alone.
async fn open_to_all(hosts: &str) -> TestApp {
    TestApp::start(&format!(
        "[egress]\nallow = [\"https://*:*\", \"http://plain.test\"]\n[egress.hosts]\n{hosts}"
    ))
    .await
}

#[tokio::test]
async fn what_no_rule_covers_is_denied_and_says_what_of_it() {
    let upstream = Upstream::tls().await;
    let app = TestApp::with_source(&upstream, "", "").await;
    let port = upstream.address().port();
    for (source, kind) in [
        (format!("http://source.test:{port}/"), "scheme"),
        ("ftp://source.test/".to_owned(), "scheme"),
        ("file:///etc/passwd".to_owned(), "scheme"),
        ("data:text/plain,{*x*}".to_owned(), "scheme"),
        (format!("https://me:s3cret@source.test:{port}/"), "userinfo"),
        (format!("https://@source.test:{port}/"), "userinfo"),
        (format!("https://other.test:{port}/"), "host"),
        (format!("https://source.test.evil.test:{port}/"), "host"),
        (format!("https://127.0.0.1:{port}/"), "host"),
        ("https://source.test/".to_owned(), "port"),
        ("https://source.test:1/".to_owned(), "port"),
    ] {
        let answer = app.decode(&json!({ "source": source })).await;

        let problem = answer.discreet_problem(403, "source_denied");
        assert!(problem.get("source_status").is_none() && problem.get("attempts").is_none());
        assert_eq!(problem["retryable"], false);
        assert!(!answer.text.contains("s3cret"), "{answer:?}");
        let line = app.request_line(answer.header("x-request-id").expect("an id")).await;
        assert_eq!((&line["blame"], &line["outcome"]), (&json!("policy"), &json!("rejected")));
        assert!(!line.to_string().contains("s3cret"), "{line}");
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.contains(kind) || kind == "userinfo", "{kind}: {line}");
    }
    let metrics = app.metrics().await;
    let counted = ["scheme", "userinfo", "host", "port", "address"]
        .map(|kind| metrics[&format!("{EVENTS}{{kind=\"{kind}\"}}")]);
    // The host of one is an address, and nobody mistypes those.
    assert_eq!(counted, [4.0, 2.0, 2.0, 2.0, 1.0]);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_path_outside_of_the_rule_is_denied() {
    let app = TestApp::start("[egress]\nallow = [\"https://source.test/docs/\"]\n").await;
    for path in ["/", "/doc", "/docsx/a", "/docs/../a", "/docs/%2e%2e/a", "/docs/..%2fa"] {
        let source = format!("https://source.test{path}");

        let answer = app.decode(&json!({ "source": source })).await;

        answer.discreet_problem(403, "source_denied");
    }
    assert_eq!(app.metrics().await[&format!("{EVENTS}{{kind=\"path\"}}")], 6.0);
}

#[tokio::test]
async fn a_path_prefix_cannot_be_left_by_a_url_or_a_redirect() {
    let upstream = Upstream::plain().await;
    let ca = Upstream::ca_file();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "Bearer t0ken").expect("written");
    // `url` is extended by a prefix, and the rule has an authorization to lose.
    let config = allowing(&[&upstream], &ca, "").replacen(
        "\", name = \"test\"",
        &format!("/allowed/\", name = \"test\", authorization_file = {:?}", file.path()),
        1,
    );
    let app = TestApp::start(&config).await;
    let hostile = [
        ";/..;/secret/s.txt",
        ".;/..;/secret/s.txt",
        ";v=1/..;v=1/secret/s.txt",
        ";/..%2fsecret/s.txt",
        "%3b/..;/secret/s.txt",
        "%252e/..%2fsecret/s.txt",
        "%252f/..%2fsecret/s.txt",
        "..%00/secret/s.txt",
        "..%20/secret/s.txt",
        "%c0%ae%c0%ae/secret/s.txt",
        "%u002e%u002e/secret/s.txt",
        "%ef%bc%8e%ef%bc%8e/secret/s.txt",
    ];
    for (place, path) in hostile.iter().enumerate() {
        let path = format!("/allowed/{path}");
        let redirect = Reply::ok("").status(302).header("Location", &path);
        upstream.on(&format!("/allowed/{place}"), redirect);

        let direct = app.decode(&json!({ "source": upstream.url(&path) })).await;
        let there = upstream.url(&format!("/allowed/{place}"));
        let redirected = app.decode(&json!({ "source": there })).await;

        direct.discreet_problem(403, "source_denied");
        redirected.discreet_problem(403, "source_denied");
    }
    let requested = upstream.requests().into_iter().map(|head| head.target);
    let expected = (0..hostile.len()).map(|place| format!("/allowed/{place}"));
    assert_eq!(requested.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let events = app.metrics().await[&format!("{EVENTS}{{kind=\"path\"}}")];
    assert_eq!(events, 2.0 * hostile.len() as f64);
}

#[tokio::test]
async fn a_url_may_be_as_long_as_the_configuration_says() {
    let upstream = Upstream::plain().await;
    let app = TestApp::with_source(&upstream, "", "").await;
    upstream.on("/x", Reply::ok("{*x*}"));
    let strict = TestApp::with_source(&upstream, "max_url_bytes = \"300B\"", "").await;
    let path = |bytes: usize| {
        let path = "/x?signature=";
        format!("{path}{}", "a".repeat(bytes - upstream.url(path).len()))
    };
    for (app, most) in [(&app, 8192), (&strict, 300)] {
        let (fits, too_long) = (path(most), path(most + 1));

        let fetched = app.decode(&json!({ "source": upstream.url(&fits) })).await;
        let refused = app.decode(&json!({ "source": upstream.url(&too_long) })).await;

        assert_eq!(fetched.json()["secrets"][0]["value"], "x", "{fetched:?}");
        let problem = refused.discreet_problem(422, "invalid_request");
        let detail = problem["errors"][0]["detail"].as_str().expect("a detail");
        let expected = format!("the URL has {} bytes and at most {most} are accepted", most + 1);
        assert!(detail.starts_with(&expected), "{detail}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_denied() {
    let hosts = "\"private.test\" = [\"10.0.0.1\"]\n\"loopback.test\" = [\"127.0.0.1\"]\n\
                 \"mixed.test\" = [\"192.0.0.9\", \"10.0.0.1\"]\n\"mapped.test\" = [\"::ffff:10.0.0.1\"]\n\
                 \"metadata.test\" = [\"169.254.169.254\"]\n\"plain.test\" = [\"10.0.0.1\"]\n";
    let app = open_to_all(hosts).await;
    let sources = [
        "https://private.test/",
        "https://loopback.test:8443/",
        "https://mixed.test/",
        "https://mapped.test/",
        "https://metadata.test/latest/meta-data/",
        "http://plain.test/",
    ];
    for source in sources {
        let answer = app.decode(&json!({ "source": source })).await;

        let problem = answer.discreet_problem(403, "source_denied");
        assert_eq!(problem["attempts"], 1);
        let line = app.request_line(answer.header("x-request-id").expect("an id")).await;
        assert!(
            line["reason"].as_str().is_some_and(|reason| reason.contains("allowed by")),
            "{line}"
        );
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics[&format!("{EVENTS}{{kind=\"address\"}}")], 6.0);
    assert_eq!(metrics["decoder_fetch_attempts_total{result=\"denied\"}"], 6.0);
}

#[tokio::test]
async fn a_literal_is_judged_however_it_is_written() {
    let app = open_to_all("").await;
    let sources = [
        "https://169.254.169.254/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://10.0.0.1:8443/",
        "https://192.168.0.1./",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://[fd00:42::42]/",
        "https://１２７.0.0.1/",
    ];
    for source in sources {
        let answer = app.decode(&json!({ "source": source })).await;

        answer.discreet_problem(403, "source_denied");
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics[&format!("{EVENTS}{{kind=\"address\"}}")], sources.len() as f64);
}

#[tokio::test]
async fn the_service_does_not_fetch_from_itself() {
    let config = "[server]\nadmin_bind = \"127.0.0.1:0\"\n[egress]\nallow = [{ url = \
                  \"http://127.0.0.1:*\", addresses = [\"127.0.0.0/8\"] }]\n";
    let app = TestApp::start(config).await;
    for address in [app.address, app.admin.expect("an admin listener")] {
        let source = format!("http://{address}/health");

        let answer = app.decode(&json!({ "source": source })).await;

        answer.discreet_problem(403, "source_denied");
    }
    let upstream = Upstream::plain().await;
    upstream.on("/", Reply::ok("{*x*}"));
    let other = app.decode(&json!({ "source": upstream.url("/") })).await;
    assert_eq!(other.status, 200, "{other:?}");
}

#[tokio::test]
async fn what_is_no_url_is_a_fault_of_the_request() {
    let app = TestApp::start("").await;
    let long = format!("https://source.test/{}", "x".repeat(8192));
    let sources = [
        "",
        "source.test",
        "//source.test/",
        "https:/source.test/",
        "https://",
        "https:///x",
        " https://source.test/",
        "https://source.test/a b",
        "https://source.test/\n",
        "https://source.test\\x",
        "https://source.test:0/",
        "https://source.test:65536/",
        "https://a..test/",
        "https://[::1/",
        &long,
    ];
    for source in sources {
        let answer = app.decode(&json!({ "source": source })).await;

        let problem = answer.discreet_problem(422, "invalid_request");
        let errors = problem["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), 1, "{problem}");
        assert_eq!(errors[0]["pointer"], "/source", "{problem}");
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics[&format!("{EVENTS}{{kind=\"malformed_url\"}}")], sources.len() as f64);
    let decodes = "decoder_decodes_total{blame=\"caller\",code=\"invalid_request\",\
                   input=\"source\",outcome=\"rejected\"}";
    assert_eq!(metrics[decodes], sources.len() as f64);
}

#[tokio::test]
async fn a_connection_that_one_rule_permits_is_of_no_use_to_another() {
    let upstream = Upstream::plain().await;
    upstream.on("/a/", Reply::ok("{*x*}"));
    upstream.on("/b/", Reply::ok("{*x*}"));
    let port = upstream.address().port();
    let app = TestApp::start(&format!(
        "[egress]\nallow = [{{ url = \"http://source.test:{port}/a/\", addresses = \
         [\"127.0.0.1\"] }}, \"http://source.test:{port}/b/\"]\n\
         hosts = {{ \"source.test\" = [\"127.0.0.1\"] }}\n"
    ))
    .await;
    let decode = async |path: &str| {
        app.decode(&json!({ "source": format!("http://source.test:{port}{path}") })).await
    };

    // The connection is kept, and used again.
    assert_eq!((decode("/a/").await.status, decode("/a/").await.status), (200, 200));
    decode("/b/").await.discreet_problem(403, "source_denied");

    assert_eq!((upstream.connections(), upstream.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_the_failure_of_the_source() {
    let app = open_to_all("\"empty.test\" = []\n").await;

    let empty = app.decode(&json!({ "source": "https://empty.test/" })).await;

    empty.discreet_problem(424, "source_failed");
    let metrics = app.metrics().await;
    assert_eq!(metrics["decoder_fetch_attempts_total{result=\"connect\"}"], 1.0);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_the_failure_of_the_source() {
    let upstream = Upstream::tls().await;
    let source = upstream.url("/");
    let app = TestApp::with_source(&upstream, "", "").await;
    drop(upstream);

    let answer = app.decode(&json!({ "source": source })).await;

    let problem = answer.discreet_problem(424, "source_failed");
    assert_eq!((&problem["retryable"], &problem["attempts"]), (&json!(true), &json!(3)));
    let metrics = app.metrics().await;
    assert_eq!(metrics["decoder_fetch_attempts_total{result=\"connect\"}"], 3.0);
}
