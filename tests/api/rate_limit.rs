//! How often one may call, and who is who behind proxies.

use crate::support::{
    app::{Answer, TestApp},
    raw::Raw,
};
use serde_json::json;
use std::time::Duration;

/// So many at once, and one more each minute.
fn held_to(burst: u32) -> String {
    format!("[rate_limit]\nrequests_per_minute = 1\nburst = {burst}\n")
}

/// `r` and `t` of the header.
fn allowance(answer: &Answer) -> (u64, u64) {
    let header = answer.header("ratelimit").expect("RateLimit");
    let number = |name: &str| {
        let value = header.split(';').find_map(|part| part.strip_prefix(name));
        value.and_then(|value| value.parse().ok()).expect("a number")
    };
    (number("r="), number("t="))
}

#[tokio::test]
async fn a_burst_passes_and_then_who_calls_is_told_when_to_come_back() {
    let app = TestApp::start(&held_to(3)).await;

    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(app.decode_document("", "{*a*}").await);
    }

    let last = answers.pop().expect("four");
    for (answer, remaining) in answers.iter().zip([2, 1, 0]) {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=3;w=180"));
        assert_eq!(allowance(answer).0, remaining);
    }
    assert_eq!(allowance(&answers[0]).1, 60);
    let problem = last.discreet_problem(429, "rate_limited");
    assert_eq!(problem["retryable"], true);
    let milliseconds = problem["retry_after_ms"].as_u64().expect("a number");
    let seconds: u64 =
        last.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((50_000..=60_000).contains(&milliseconds), "{problem}");
    assert_eq!(seconds, milliseconds.div_ceil(1000));
    assert_eq!(last.header("ratelimit-policy"), Some("\"requests\";q=3;w=180"));
    // Both headers say when the next one passes.
    assert_eq!(allowance(&last), (0, seconds), "{last:?}");
    let (remaining, more_in) = allowance(&answers[2]);
    assert!(remaining == 0 && (50..=60).contains(&more_in), "{answers:?}");
    let metrics = app.metrics().await;
    let decisions = |decision: &str| {
        metrics[&format!(
            "decoder_rate_limit_decisions_total{{backend=\"memory\",decision=\"{decision}\"}}"
        )]
    };
    assert_eq!((decisions("allowed"), decisions("rate_limited")), (3.0, 1.0));
    let rejected = "decoder_decodes_total{blame=\"caller\",code=\"rate_limited\",\
                    input=\"content\",outcome=\"rejected\"}";
    assert_eq!(metrics[rejected], 1.0);
}

#[tokio::test]
async fn probes_scrapes_and_the_operator_are_never_limited() {
    let app =
        TestApp::start(&format!("[server]\nadmin_bind = \"127.0.0.1:0\"\n{}", held_to(1))).await;
    let admin = app.admin.expect("an admin listener");
    assert_eq!(app.get("/").await.status, 200);
    app.get("/").await.problem(429, "rate_limited");
    app.get("/nowhere").await.problem(429, "rate_limited");

    for _ in 0..5 {
        for url in [
            app.url("/health"),
            app.url("/health/ready"),
            format!("http://{admin}/metrics"),
            format!("http://{admin}/admin/errors"),
        ] {
            let answer = Answer::of(app.client.get(&url)).await;
            assert_eq!(answer.status, 200, "{url}");
            assert_eq!(answer.header("ratelimit"), None);
        }
    }
}

#[tokio::test]
async fn who_obeys_the_headers_is_never_refused() {
    // A hundred in a second, and 100 at once.
    let config = "[rate_limit]\nrequests_per_minute = 6000\nburst = 100\n";
    obey(&TestApp::start(config).await).await;
}

/// Sends as many as the headers allow, where that is 100 at once and in a second, four times.
pub(crate) async fn obey(app: &TestApp) {
    let (mut may, mut sent) = (100, 0);
    while sent < 400 {
        let answer = app.get("/problems").await;
        assert_eq!(answer.status, 200, "{answer:?} after {sent}");
        sent += 1;
        let (remaining, seconds) = allowance(&answer);
        // It never takes back what it has granted.
        assert!(remaining >= may - 1, "{remaining} of {may}");
        may = remaining;
        if may == 0 {
            // What it is told: after that, all of it.
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            may = 100;
        }
    }
}

#[tokio::test]
async fn who_comes_back_when_told_to_is_let_in() {
    let config = "[rate_limit]\nrequests_per_minute = 600\nburst = 2\n";
    let app = TestApp::start(config).await;

    for _ in 0..5 {
        let mut answer = app.get("/problems").await;
        while answer.status == 200 {
            answer = app.get("/problems").await;
        }
        let after = answer.json()["retry_after_ms"].as_u64().expect("a number");
        tokio::time::sleep(Duration::from_millis(after)).await;

        assert_eq!(app.get("/problems").await.status, 200);
    }
}

/// Asks as whoever a proxy says.
async fn forwarded(app: &TestApp, headers: &[&str]) -> u16 {
    let mut request = app.client.get(app.url("/"));
    for header in headers {
        request = request.header("X-Forwarded-For", *header);
    }
    Answer::of(request).await.status
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_rate() {
    let config = format!("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{}", held_to(1));
    let app = TestApp::start(&config).await;

    assert_eq!(forwarded(&app, &["192.0.2.1"]).await, 200);
    assert_eq!(forwarded(&app, &["192.0.2.2"]).await, 200);
    assert_eq!(forwarded(&app, &["192.0.2.1"]).await, 429);
    // What the client itself made up stands to the left.
    assert_eq!(forwarded(&app, &["198.51.100.9, 192.0.2.1"]).await, 429);
    assert_eq!(forwarded(&app, &["198.51.100.9", "192.0.2.1"]).await, 429);
    assert_eq!(forwarded(&app, &["192.0.2.1, 127.0.0.9"]).await, 429);
    assert_eq!(forwarded(&app, &["2001:db8::1"]).await, 200);
    assert_eq!(forwarded(&app, &["2001:db8::ffff:2"]).await, 429);
    assert_eq!(forwarded(&app, &["2001:db8:0:1::1"]).await, 200);
}

#[tokio::test]
async fn from_who_is_no_trusted_proxy_the_header_changes_nothing() {
    let config = format!("[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n{}", held_to(1));
    let app = TestApp::start(&config).await;

    assert_eq!(forwarded(&app, &["192.0.2.1"]).await, 200);
    assert_eq!(forwarded(&app, &["192.0.2.2"]).await, 429);
    assert_eq!(forwarded(&app, &["10.0.0.1"]).await, 429);
}

#[tokio::test]
async fn who_is_refused_need_not_connect_again_for_it() {
    let app = TestApp::start(&held_to(1)).await;
    let mut raw = Raw::connect(app.address).await;
    let body = json!({ "content": "{*a*}" });

    raw.decode("served", "", &body).await;
    raw.until("null}}\n").await;
    for _ in 0..3 {
        raw.decode("refused", "", &body).await;
        let answer = raw.until("\r\n\r\n").await;
        raw.until("}\n").await;

        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    // A body that is not little, or does not come, is not waited for.
    raw.begin_decode("large", "Content-Type: application/json\r\n", 100_000).await;
    let answer = raw.rest().await;
    assert!(answer.contains("HTTP/1.1 429 ") && answer.contains("connection: close"), "{answer}");
    let mut raw = Raw::connect(app.address).await;
    raw.begin_decode("absent", "Content-Type: application/json\r\n", 100).await;
    let answer = raw.rest().await;
    assert!(answer.contains("HTTP/1.1 429 ") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn who_is_refused_is_in_nobodys_way() {
    let app = TestApp::start(&format!("server = {{ max_in_flight = 1 }}\n{}", held_to(1))).await;
    assert_eq!(app.decode(&json!({ "content": "{*a*}" })).await.status, 200);
    let refused =
        "decoder_rate_limit_decisions_total{backend=\"memory\",decision=\"rate_limited\"}";
    let mut absent = Vec::new();
    for number in 1..=5 {
        let mut raw = Raw::connect(app.address).await;
        let id = format!("absent-{number}");
        raw.begin_decode(&id, "Content-Type: application/json\r\n", 100).await;
        app.metrics_when(|metrics| metrics[refused] == f64::from(number)).await;
        absent.push(raw);
    }

    // Neither is it too many in flight, while the bodies of those are waited for.
    let metrics = app.metrics().await;
    app.get("/problems").await.problem(429, "rate_limited");

    assert_eq!(metrics["decoder_http_requests_in_flight"], 0.0);
    for raw in absent {
        assert!(raw.rest().await.starts_with("HTTP/1.1 429 "));
    }
    app.at_rest().await;
}
