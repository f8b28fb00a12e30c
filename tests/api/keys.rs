//! Keys: who has one, and who is told nothing.

use crate::support::{
    app::{Answer, PATIENCE, TestApp, program},
    callers::{Key, Roster, TenantsFile},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use std::process::Output;
use tokio::time::timeout;

#[tokio::test]
async fn who_has_a_key_is_let_in_by_either_header() {
    let key = Key::new();
    let file = TenantsFile::new(&Roster::default().tenant("league", "", &[(&key, "decoder")]));
    let app = TestApp::start(&file.config()).await;
    let body = json!({ "content": "{*a*}" });

    let bearer = app.decode_as(&key, &body).await;
    let header = Answer::of(app.asking(&body).header("X-Api-Key", key.text())).await;

    assert_eq!((bearer.status, header.status), (200, 200), "{bearer:?} {header:?}");
    let id = bearer.header("x-request-id").expect("an id");
    assert_eq!(app.request_line(id).await["tenant"], "league");
    let decodes = "decoder_tenant_decodes_total{outcome=\"success\",tenant=\"league\"}";
    assert_eq!(app.metrics().await[decodes], 2.0);
}

#[tokio::test]
async fn whoever_has_none_is_told_the_same_whatever_is_wrong() {
    let (key, other, expired) = (Key::new(), Key::new(), Key::new());
    let was_valid = "decoder\"\nexpires = \"2020-01-01T00:00:00Z";
    let keys = [(&key, "decoder"), (&expired, was_valid)];
    let file = TenantsFile::new(&Roster::default().tenant("league", "", &keys));
    let app = TestApp::start(&file.config()).await;
    let body = json!({ "content": "{*a*}" });
    let asking = || app.asking(&body).header("X-Request-Id", "same");
    let wrong = other.text().replace(other.id(), key.id());

    let expected = Answer::of(asking()).await;

    expected.discreet_problem(401, "unauthenticated");
    assert_eq!(expected.header("www-authenticate"), Some("Bearer"));
    let cases = [
        ("an unknown id", asking().bearer_auth(other.text())),
        ("a wrong secret", asking().bearer_auth(&wrong)),
        ("an expired key", asking().bearer_auth(expired.text())),
        ("no key", asking().bearer_auth("bpd_x")),
        ("a token, where none is taken", asking().bearer_auth("a.b.c")),
        ("another scheme", asking().basic_auth("me", Some("pw"))),
        ("two", asking().bearer_auth(key.text()).header("X-Api-Key", key.text())),
        ("twice", asking().header("X-Api-Key", key.text()).header("X-Api-Key", key.text())),
        ("nothing in it", asking().header("X-Api-Key", "")),
    ];
    for (what, request) in cases {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, &answer.text), (401, &expected.text), "{what}");
        let names =
            |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&answer), names(&expected), "{what}");
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics["decoder_security_events_total{kind=\"auth_failed\"}"], 10.0);
    let line = app.request_line("same").await;
    assert_eq!(
        (&line["reason"], &line["tenant"]),
        (&json!("there is no credential"), &json!("anonymous"))
    );
    // What was shown stands nowhere.
    let log = app.log_lines().concat();
    for shown in [key.text(), other.text(), expired.text(), &wrong] {
        assert!(!log.contains(&shown[shown.len() - 43..]), "{log}");
    }
}

#[tokio::test]
async fn an_address_that_fails_too_often_is_not_looked_at() {
    let key = Key::new();
    let file =
        TenantsFile::new(&Roster::default().tenant("league", "burst = 9", &[(&key, "decoder")]));
    let limit = "[rate_limit]\nrequests_per_minute = 1\nburst = 3\n";
    let config = file.config().replace("[auth]", "trusted_proxies = [\"127.0.0.1\"]\n[auth]");
    let app = TestApp::start(&(config + limit)).await;
    let body = json!({ "content": "{*a*}" });
    let from = |address: &str| app.asking(&body).header("X-Forwarded-For", address);
    // Who has a key costs its address nothing.
    for _ in 0..5 {
        assert_eq!(Answer::of(from("192.0.2.1").bearer_auth(key.text())).await.status, 200);
    }

    for _ in 0..3 {
        Answer::of(from("192.0.2.1").bearer_auth("bpd_x")).await.problem(401, "unauthenticated");
    }
    let refused = Answer::of(from("192.0.2.1").bearer_auth(key.text())).await;

    let problem = refused.discreet_problem(429, "rate_limited");
    assert!((50_000..=60_000).contains(&problem["retry_after_ms"].as_u64().expect("a number")));
    assert_eq!(Answer::of(from("192.0.2.2").bearer_auth(key.text())).await.status, 200);
    // The operator's listener counts the same.
    let admin = app.admin.expect("an admin listener");
    let errors = app.client.get(format!("http://{admin}/admin/errors"));
    Answer::of(errors.header("X-Forwarded-For", "192.0.2.1")).await.problem(429, "rate_limited");
}

#[tokio::test]
async fn what_anyone_may_read_needs_no_key() {
    let file = TenantsFile::new(&Roster::default().staff(&Key::new(), "auditor"));
    let app = TestApp::start(&file.config()).await;
    let admin = app.admin.expect("an admin listener");
    for path in ["/", "/health", "/health/ready", "/problems", "/problems/unauthenticated"] {
        assert_eq!(app.get(path).await.status, 200, "{path}");
    }
    for path in ["/health", "/health/ready", "/metrics"] {
        let answer = Answer::of(app.client.get(format!("http://{admin}{path}"))).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    app.get("/nowhere").await.problem(404, "not_found");
    app.get("/decode").await.problem(405, "method_not_allowed");
}

/// Starts the service with arguments for a configuration, until it ends.
pub(crate) async fn refused(config: &str) -> Output {
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    std::fs::write(file.path(), config).expect("written");
    let mut command = tokio::process::Command::from(program());
    let output = command.arg("serve").arg("--config").arg(file.path()).kill_on_drop(true).output();
    timeout(PATIENCE, output).await.expect("an end").expect("an output")
}

#[tokio::test]
async fn nobody_is_served_without_a_key_beyond_this_machine_unless_that_is_said() {
    let output = refused("[server]\nbind = \"0.0.0.0:0\"\n").await;

    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("auth.mode = \"required\""), "{told}");
    assert!(told.contains("auth.allow_anonymous = true"), "{told}");
}

#[tokio::test]
async fn a_tenants_file_of_no_use_ends_the_start_and_says_all_that_is_wrong() {
    let check = |text: &'static str, expected: &'static [&'static str]| async move {
        let file = TenantsFile::new(&Roster::default());
        file.write(text);
        let output = refused(&file.config()).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{told}");
        for expected in expected {
            assert!(told.contains(expected), "{expected} not in {told}");
        }
    };
    check("", &["tenants.toml: there is nobody in it"]).await;
    check(
        "[[tenant]]\nlabel = \"x\"\n",
        &["tenant[0].name", "tenant[0].label = ", "tenants.toml:2"],
    )
    .await;
    check("[[tenant]", &["tenants.toml:1"]).await;
    let gone = "[[tenant]]\nname = \"x\"\nallow = [{ url = \"https://a.example\", \
                authorization_file = \"/nowhere\" }]\n";
    check(gone, &["tenant x: the authorization_file of rule-1 could not be used"]).await;
    // Nobody waits for who writes into it.
    let file = TenantsFile::new(&Roster::default());
    std::fs::remove_file(file.path()).expect("removed");
    mknodat(CWD, file.path(), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let output = refused(&file.config()).await;
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("tenants.toml: cannot be read: it is not a regular file"), "{told}");
}

#[tokio::test]
async fn a_key_is_made_with_the_lines_for_the_file() {
    let run = |arguments: &'static [&'static str]| async move {
        let mut command = tokio::process::Command::from(program());
        let output = command.args(["keys", "new"]).args(arguments).output();
        timeout(PATIENCE, output).await.expect("an end").expect("an output")
    };
    let (tenant, staff) = tokio::join!(
        run(&["--tenant", "league", "--role", "decoder"]),
        run(&["--staff", "--role", "operator"]),
    );
    let split = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (key, lines) = text.split_once("\n\n").expect("a key and lines");
        (key.to_owned(), lines.to_owned())
    };
    let ((key, entry), (ops, staff)) = (split(tenant), split(staff));
    let file = TenantsFile::new(&Roster::default());
    file.write(&format!("{entry}\n{staff}"));

    let app = TestApp::start(&file.config()).await;

    let decoded = app.asking(&json!({ "content": "{*a*}" })).bearer_auth(&key);
    assert_eq!(Answer::of(decoded).await.status, 200);
    let admin = app.admin.expect("an admin listener");
    let circuits = app.client.get(format!("http://{admin}/admin/circuits")).bearer_auth(&ops);
    assert_eq!(Answer::of(circuits).await.status, 200);
}
