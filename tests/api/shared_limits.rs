//! Limits that replicas share, counted by a real server, and what happens when that is gone.

use crate::{
    rate_limit::obey,
    support::{
        app::{Answer, TestApp},
        callers::{Key, Roster, TenantsFile},
        valkey::ValkeyServer,
    },
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

const UP: &str = "decoder_rate_limit_backend_up";

fn shared(server: &ValkeyServer, more: &str) -> String {
    let url = server.url();
    format!(
        "[rate_limit]\nbackend = \"valkey\"\n{more}\n[rate_limit.valkey]\nurl = \"{url}\"\ntimeout = \"500ms\"\n"
    )
}

fn body() -> Value {
    json!({ "content": "{*a*}" })
}

/// An instance, once it has found the server.
async fn instance(config: &str) -> TestApp {
    let app = TestApp::start(config).await;
    app.metrics_when(|metrics| metrics[UP] == 1.0).await;
    app
}

/// What `/health/ready` says of the server; it is ready whatever that is.
async fn detail(app: &TestApp) -> Value {
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    ready.json()["details"]["rate_limit"].clone()
}

fn decided(metrics: &BTreeMap<String, f64>, decision: &str, backend: &str) -> f64 {
    let labels = format!("{{backend=\"{backend}\",decision=\"{decision}\"}}");
    metrics[&format!("decoder_rate_limit_decisions_total{labels}")]
}

#[tokio::test]
async fn who_obeys_the_headers_is_never_refused() {
    let server = ValkeyServer::start();
    obey(&instance(&shared(&server, "requests_per_minute = 6000\nburst = 100")).await).await;
}

/// Where an interval is no whole number of microseconds, too.
#[tokio::test]
async fn no_header_promises_more_than_the_policy() {
    let server = ValkeyServer::start();
    let limits = "requests_per_minute = 64000\nburst = 6400";
    let shared = instance(&shared(&server, limits)).await;
    let alone = TestApp::start(&format!("[rate_limit]\n{limits}\n")).await;

    let policy = |answer: &Answer| answer.header("ratelimit-policy").map(str::to_owned);

    assert_eq!(policy(&shared.get("/").await).as_deref(), Some("\"requests\";q=6400;w=7"));
    assert_eq!(policy(&alone.get("/").await).as_deref(), Some("\"requests\";q=6400;w=7"));
}

#[tokio::test]
async fn two_instances_let_exactly_a_burst_through_between_them() {
    let server = ValkeyServer::start();
    let config = shared(&server, "requests_per_minute = 1\nburst = 100");
    let (one, other) = (instance(&config).await, instance(&config).await);
    let mut asked = JoinSet::new();

    for number in 0..1_000 {
        let asking = if number % 2 == 0 { &one } else { &other }.asking(&body());
        asked.spawn(async move { Answer::of(asking).await });
    }
    let answers = asked.join_all().await;

    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    // One more where a minute has passed, which a slow machine may need.
    assert!((100..=101).contains(&count(200)), "{}", count(200));
    assert_eq!(count(200) + count(429), 1_000);
    let mut left: Vec<u64> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| {
            let header = answer.header("ratelimit").expect("a header");
            let left =
                header.strip_prefix("\"requests\";r=").and_then(|rest| rest.split(';').next());
            left.and_then(|left| left.parse().ok()).expect("a number")
        })
        .collect();
    left.sort_unstable();
    left.truncate(100);
    assert_eq!(left, (0..100).collect::<Vec<u64>>());
    for app in [&one, &other] {
        let metrics = app.metrics().await;
        assert_eq!(decided(&metrics, "allowed", "memory"), 0.0);
        assert!(decided(&metrics, "allowed", "valkey") > 0.0);
    }
}

#[tokio::test]
async fn a_day_outlives_an_instance_and_is_shared_by_all() {
    let server = ValkeyServer::start();
    let (key, ops) = (Key::new(), Key::new());
    let roster = Roster::default()
        .tenant("league", "decodes_per_day = 3", &[(&key, "decoder")])
        .staff(&ops, "auditor");
    let file = TenantsFile::new(&roster);
    let config = file.config() + &shared(&server, "");
    let first = instance(&config).await;
    assert_eq!(first.decode_as(&key, &body()).await.status, 200);
    drop(first);
    let (one, other) = (instance(&config).await, instance(&config).await);

    let second = one.decode_as(&key, &body()).await;
    let third = other.decode_as(&key, &body()).await;

    let left = |answer: &Answer| {
        let header = answer.header("ratelimit").expect("a header");
        header.split("\"decodes\";r=").nth(1).expect("decodes")[..1].to_owned()
    };
    assert_eq!((left(&second), left(&third)), ("1".to_owned(), "0".to_owned()));
    one.decode_as(&key, &body()).await.discreet_problem(429, "quota_exceeded");
    let usage = other.admin_as(&ops, "GET", "/admin/usage").await.json();
    assert_eq!(usage["tenants"][0]["decodes_today"], 3);
}

#[tokio::test]
async fn without_the_server_each_counts_its_part_until_it_is_back() {
    let mut server = ValkeyServer::start();
    let more = "requests_per_minute = 1\nburst = 6\nreplicas_hint = 2";
    let app = instance(&shared(&server, more)).await;
    let whole = app.decode(&body()).await;
    assert_eq!(whole.header("ratelimit-policy"), Some("\"requests\";q=6;w=360"));
    assert_eq!(detail(&app).await["ok"], true);

    server.kill();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = app.decode(&body()).await;
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=3;w=180"));
        statuses.push(answer.status);
    }

    assert_eq!(statuses, [200, 200, 200, 429]);
    let metrics = app.metrics_when(|metrics| metrics[UP] == 0.0).await;
    assert_eq!(decided(&metrics, "allowed", "memory"), 3.0);
    assert_eq!(detail(&app).await["ok"], false);
    let warned =
        |line: &Value| line["level"] == "WARN" && line["message"].to_string().contains("Valkey");
    app.log_line(warned).await;

    server.restart();
    app.metrics_when(|metrics| metrics[UP] == 1.0).await;
    let whole = app.decode(&body()).await;
    // It has kept nothing.
    let policy = Some("\"requests\";q=6;w=360");
    assert_eq!((whole.status, whole.header("ratelimit-policy")), (200, policy));
    assert_eq!(detail(&app).await["ok"], true);
}

#[tokio::test]
async fn a_server_that_says_nothing_holds_nobody_up_and_heals() {
    let server = ValkeyServer::start();
    let app = instance(&shared(&server, "replicas_hint = 4")).await;

    server.stop();
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        let asking = app.asking(&body());
        asked.spawn(async move { Answer::of(asking).await.status });
    }
    assert_eq!(asked.join_all().await, [200; 20]);
    let metrics = app.metrics_when(|metrics| metrics[UP] == 0.0).await;
    assert_eq!(decided(&metrics, "allowed", "memory"), 20.0);
    assert_eq!(app.get("/health").await.status, 200);

    server.go_on();
    app.metrics_when(|metrics| metrics[UP] == 1.0).await;
    assert_eq!(app.decode(&body()).await.status, 200);
    assert_eq!(decided(&app.metrics().await, "allowed", "valkey"), 1.0);
}

#[tokio::test]
async fn where_nobody_shall_pass_uncounted_nobody_does() {
    let mut server = ValkeyServer::start();
    let app = instance(&shared(&server, "on_failure = \"deny\"")).await;
    assert_eq!(app.decode(&body()).await.status, 200);

    server.kill();

    // The first one may find out.
    let refused = app.decode(&body()).await;
    let problem = refused.discreet_problem(503, "quota_unavailable");
    assert_eq!(problem["retryable"], true);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let metrics = app.metrics_when(|metrics| metrics[UP] == 0.0).await;
    assert_eq!(decided(&metrics, "unavailable", "valkey"), 1.0);
    for path in ["/health", "/health/ready", "/metrics"] {
        assert_eq!(app.get(path).await.status, 200, "{path}");
    }
    server.restart();
    app.metrics_when(|metrics| metrics[UP] == 1.0).await;
    assert_eq!(app.decode(&body()).await.status, 200);
}

#[tokio::test]
async fn a_server_that_forgets_everything_is_asked_on() {
    let server = ValkeyServer::start();
    let app = instance(&shared(&server, "requests_per_minute = 1\nburst = 2")).await;
    for expected in [200, 200, 429] {
        assert_eq!(app.decode(&body()).await.status, expected);
    }

    server.flush();

    for expected in [200, 200, 429] {
        assert_eq!(app.decode(&body()).await.status, expected);
    }
    assert_eq!(decided(&app.metrics().await, "allowed", "valkey"), 4.0);
}

#[tokio::test]
async fn a_password_that_is_put_right_heals_without_a_restart() {
    let server = ValkeyServer::start_with(&["--requirepass", "right"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "wrong\n").expect("written");
    let config = shared(&server, "") + &format!("password_file = {:?}\n", file.path());
    let app = TestApp::start(&config).await;
    let warned =
        |line: &Value| line["level"] == "WARN" && line["message"].to_string().contains("Valkey");
    let line = app.log_line(warned).await;
    assert_eq!(app.decode(&body()).await.status, 200);
    assert_eq!(detail(&app).await["ok"], false);

    std::fs::write(file.path(), "right\n").expect("written");

    app.metrics_when(|metrics| metrics[UP] == 1.0).await;
    assert_eq!(app.decode(&body()).await.status, 200);
    assert!(!line.to_string().contains("wrong\\n"), "{line}");
}
