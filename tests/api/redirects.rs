//! Redirects of sources: each hop is judged as the URL of a caller is.

use crate::support::{
    app::{Answer, TestApp, allowing},
    upstream::{
        Reply,
        Step::{Hold, Send},
        Upstream,
    },
};
use serde_json::json;

async fn decode(app: &TestApp, upstream: &Upstream, path: &str) -> Answer {
    app.decode(&json!({ "source": upstream.url(path) })).await
}

fn to(location: &str) -> Reply {
    Reply::ok("not this {*one*}").status(302).header("Location", location)
}

async fn events(app: &TestApp, kind: &str) -> f64 {
    app.metrics().await[&format!("decoder_security_events_total{{kind=\"{kind}\"}}")]
}

#[tokio::test]
async fn a_redirect_is_followed_to_the_document() {
    let upstream = Upstream::tls().await;
    upstream.on("/dir/there", Reply::ok("{*x*}"));
    let app = TestApp::with_source(&upstream, "", "").await;
    for (status, location) in [
        (301, upstream.url("/dir/there")),
        (302, "/dir/there?secret#fragment".to_owned()),
        (303, "there".to_owned()),
        (307, upstream.url("/dir/there").replace("https:", "")),
        (308, "../dir/./there".to_owned()),
    ] {
        let path = format!("/dir/{status}");
        upstream.on(&path, to(&location).status(status));
        upstream.on("/dir/there?secret", Reply::ok("{*x*}"));

        let answer = decode(&app, &upstream, &path).await.json();

        assert_eq!(answer["secrets"][0]["value"], "x", "{answer}");
        assert_eq!(answer["source"], upstream.url(&path));
        let fetch = &answer["fetch"];
        assert_eq!((&fetch["redirects"], &fetch["attempts"]), (&json!(1), &json!(1)));
        assert_eq!(fetch["final_source"], upstream.url("/dir/there"));
        assert_eq!(fetch["status"], 200);
    }
    let hop = upstream.requested("/dir/there").await;
    for name in ["referer", "authorization", "cookie", "origin"] {
        assert_eq!(hop.get(name), None, "{name}");
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics["decoder_fetch_attempts_total{result=\"ok\"}"], 5.0);
    // Each hop has a first byte, and the last one a body.
    let phases = |phase| {
        metrics[&format!("decoder_fetch_phase_duration_seconds_count{{phase=\"{phase}\"}}")]
    };
    assert_eq!((phases("first_byte"), phases("body")), (10.0, 5.0));
}

#[tokio::test]
async fn an_authorization_stays_with_the_origin_of_its_rule() {
    let (upstream, other) = (Upstream::tls().await, Upstream::tls().await);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "Bearer t0ken-of-the-rule\n").expect("written");
    for source in [&upstream, &other] {
        source.on("/there", Reply::ok("{*x*}"));
    }
    upstream.on("/plain", Reply::ok("{*x*}"));
    upstream.on("/within", to("/there"));
    upstream.on("/away", to(&other.url("/there")));
    upstream.on("/round", to(&other.url("/back")));
    other.on("/back", to(&upstream.url("/home")));
    upstream.on("/home", Reply::ok("{*x*}"));
    other.on("/in", to(&upstream.url("/led")));
    upstream.on("/led", Reply::ok("{*x*}"));
    let ca = Upstream::ca_file();
    let config = allowing(&[&upstream, &other], &ca, "").replacen(
        "name = \"test\"",
        &format!("name = \"test\", authorization_file = {:?}", file.path()),
        1,
    );
    let app = TestApp::start(&config).await;
    for (source, path) in [
        (&upstream, "/plain"),
        (&upstream, "/within"),
        (&upstream, "/away"),
        (&upstream, "/round"),
        (&other, "/in"),
    ] {
        let answer = decode(&app, source, path).await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        assert!(!answer.text.contains("t0ken"), "{answer:?}");
    }

    let authorized = |source: &Upstream| {
        let requests = source.requests().into_iter();
        let with = requests.filter(|head| head.get("authorization").is_some());
        with.map(|head| head.target).collect::<Vec<_>>()
    };
    assert_eq!(authorized(&upstream), ["/plain", "/within", "/there", "/away", "/round"]);
    assert!(authorized(&other).is_empty());
    assert_eq!(upstream.requests()[0].get("authorization"), Some("Bearer t0ken-of-the-rule"));

    // Rotated, with a moment in which it is not there.
    std::fs::remove_file(file.path()).expect("removed");
    app.log_line(|line| {
        line["message"]
            .as_str()
            .is_some_and(|it| it.contains("authorization file could not be read"))
    })
    .await;
    decode(&app, &upstream, "/plain").await;
    std::fs::write(file.path(), "Bearer t0ken-of-tomorrow").expect("written");
    app.log_line(|line| line["message"].as_str().is_some_and(|it| it.contains("file reloaded")))
        .await;
    decode(&app, &upstream, "/plain").await;

    let plain = upstream.requests().into_iter().filter(|head| head.target == "/plain");
    let plain: Vec<_> = plain.map(|head| head.get("authorization").map(str::to_owned)).collect();
    let old = Some("Bearer t0ken-of-the-rule".to_owned());
    assert_eq!(plain, [old.clone(), old, Some("Bearer t0ken-of-tomorrow".to_owned())]);
    assert!(app.log_lines().iter().all(|line| !line.contains("t0ken")));
}

#[tokio::test]
async fn without_its_authorization_file_the_service_does_not_start() {
    let config = "[egress]\nallow = [{ url = \"https://a.test\", name = \"docs\", \
                  authorization_file = \"/nowhere/at-all\" }]\n";
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    std::fs::write(file.path(), config).expect("written");
    let mut command = crate::support::app::program();
    let output = command.args(["serve", "--bind", "127.0.0.1:0", "--config"]).arg(file.path());
    let output = output.output().expect("it runs");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the authorization_file of docs could not be used"), "{said}");
}

#[tokio::test]
async fn there_are_so_many_and_no_circle() {
    let upstream = Upstream::tls().await;
    for hop in 0..9 {
        upstream.on(&format!("/{hop}"), to(&format!("/{}", hop + 1)));
    }
    upstream.on("/a", to("/b"));
    upstream.on("/b", to("/a"));
    upstream.on("/self", to(""));
    let app = TestApp::with_source(&upstream, "max_redirects = 4", "").await;

    for path in ["/0", "/a", "/self"] {
        decode(&app, &upstream, path).await.discreet_problem(403, "source_denied");
    }
    upstream.on("/4", Reply::ok("{*x*}"));
    let reached = decode(&app, &upstream, "/0").await;

    assert_eq!(events(&app, "redirect").await, 3.0);
    assert_eq!(reached.json()["fetch"]["redirects"], 4);
    assert!(upstream.requests().iter().all(|head| head.target != "/5"));
    let none = TestApp::with_source(&upstream, "max_redirects = 0", "").await;
    decode(&none, &upstream, "/0").await.discreet_problem(403, "source_denied");
}

#[tokio::test]
async fn what_a_caller_may_not_ask_for_no_redirect_leads_to() {
    let (upstream, other) = (Upstream::tls().await, Upstream::plain().await);
    let ca = Upstream::ca_file();
    let config = allowing(&[&upstream], &ca, "hosts.\"inner.test\" = [\"10.0.0.1\"]")
        .replace("allow = [", "allow = [\"https://inner.test\", \"http://source.test:*\", ");
    let app = TestApp::start(&config).await;
    let port = other.address().port();
    for (location, kind) in [
        ("https://other.test/".to_owned(), "host"),
        ("https://127.0.0.1/".to_owned(), "address"),
        ("https://inner.test/".to_owned(), "address"),
        ("https://inner.test:8443/".to_owned(), "port"),
        ("https://user@source.test/".to_owned(), "userinfo"),
        ("file:///etc/passwd".to_owned(), "scheme"),
        (format!("http://source.test:{port}/"), "redirect"),
        ("https:\\\\inner.test\\".to_owned(), "redirect"),
        ("/to\\here".to_owned(), "redirect"),
        ("//".to_owned(), "redirect"),
        ("https://source.test:port/".to_owned(), "redirect"),
        ("https://so urce.test/".to_owned(), "redirect"),
        ("https://\u{fc}ber.test/".to_owned(), "host"),
        ("/\t/other.test/".to_owned(), "host"),
        (format!("/{}", "\u{fc}".repeat(5000)), "redirect"),
    ] {
        upstream.on("/go", to(&location));
        let before = events(&app, kind).await;

        let answer = decode(&app, &upstream, "/go").await;

        answer.discreet_problem(403, "source_denied");
        assert_eq!(events(&app, kind).await, before + 1.0, "{location}");
    }
    assert_eq!(other.connections(), 0);
    let denied = "decoder_fetch_attempts_total{result=\"denied\"}";
    assert_eq!(app.metrics().await[denied], 15.0);
}

#[tokio::test]
async fn what_is_no_redirect_is_the_failure_of_the_source() {
    let upstream = Upstream::tls().await;
    let app = TestApp::with_source(&upstream, "", "").await;
    upstream.on("/300", to("/there").status(300));
    upstream.on("/304", to("/there").status(304));
    upstream.on("/nowhere", Reply::ok("").status(302));

    for (path, status) in [("/300", 300), ("/304", 304), ("/nowhere", 302)] {
        let problem = decode(&app, &upstream, path).await.discreet_problem(424, "source_failed");
        assert_eq!(problem["source_status"], status, "{path}");
    }
}

#[tokio::test]
async fn a_location_is_read_as_browsers_read_it() {
    let upstream = Upstream::tls().await;
    let app = TestApp::with_source(&upstream, "", "").await;
    for (at, (location, target)) in [
        ("/ü".to_owned(), "/%C3%BC"),
        ("/a b  c".to_owned(), "/a%20b%20%20c"),
        ("  /trimmed \t".to_owned(), "/trimmed"),
        ("/t\tab".to_owned(), "/tab"),
        ("/日本?q=日 本#日".to_owned(), "/%E6%97%A5%E6%9C%AC?q=%E6%97%A5%20%E6%9C%AC"),
        (upstream.url("/ab so lut é"), "/ab%20so%20lut%20%C3%A9"),
        (upstream.url("/net").replace("https:", "") + " ü", "/net%20%C3%BC"),
        ("/\u{3000}".to_owned(), "/%E3%80%80"),
        ("/%C3%BC%zz".to_owned(), "/%C3%BC%zz"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/from/{at}");
        upstream.on(&path, to(&location));
        upstream.on(target.split('?').next().expect("a path"), Reply::ok("{*x*}"));

        let answer = decode(&app, &upstream, &path).await;

        assert_eq!(answer.json()["secrets"][0]["value"], "x", "{location:?}");
        let last = upstream.requests().pop().expect("a request");
        assert_eq!(last.target, target, "{location:?}");
    }
    assert_eq!(events(&app, "redirect").await, 0.0);
}

#[tokio::test]
async fn bytes_of_a_location_that_are_no_utf_8_are_kept() {
    let upstream = Upstream::tls().await;
    let head = b"HTTP/1.1 302 Found\r\nLocation: /\xff?\xfc\r\nConnection: close\r\n\r\n";
    upstream.on("/latin", [Send(head.to_vec())]);
    upstream.on("/%FF", Reply::ok("{*x*}"));
    let app = TestApp::with_source(&upstream, "", "").await;

    let answer = decode(&app, &upstream, "/latin").await;

    assert_eq!(answer.json()["secrets"][0]["value"], "x");
    assert_eq!(upstream.requests()[1].target, "/%FF?%FC");
}

#[tokio::test]
async fn locations_that_differ_lead_nowhere() {
    let upstream = Upstream::tls().await;
    upstream.on("/there", Reply::ok("{*x*}"));
    upstream.on("/same", to("/there").header("Location", "/there"));
    upstream.on("/two", to("/there").header("Location", "/elsewhere"));
    let app = TestApp::with_source(&upstream, "", "").await;

    let same = decode(&app, &upstream, "/same").await;
    let two = decode(&app, &upstream, "/two").await;

    assert_eq!(same.json()["secrets"][0]["value"], "x");
    two.discreet_problem(403, "source_denied");
    assert_eq!(events(&app, "redirect").await, 1.0);
}

#[tokio::test]
async fn the_body_of_a_redirect_is_not_waited_for() {
    let upstream = Upstream::tls().await;
    let head = "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 9999\r\n\r\n";
    upstream.on("/slow", [Send(head.into()), Hold]);
    upstream.on("/there", Reply::ok("{*x*}"));
    let app = TestApp::with_source(&upstream, "", "").await;

    let answer = decode(&app, &upstream, "/slow").await;

    assert_eq!(answer.json()["secrets"][0]["value"], "x");
}
