//! Kill switches: for a tenant, and for a host that documents come from.

use crate::support::{
    app::{Answer, TestApp},
    callers::{Key, Roster, TenantsFile},
    raw::Raw,
    upload::Upload,
    upstream::{
        Gate, Reply,
        Step::{Hold, Send, Wait},
        Upstream,
    },
};
use serde_json::{Value, json};

/// A service with a tenant that can be switched off, and another one.
struct Service {
    app: TestApp,
    file: TenantsFile,
    key: Key,
    other: Key,
}

impl Service {
    async fn start(upstreams: &[&Upstream], egress: &str, config: &str) -> Self {
        let (key, other) = (Key::new(), Key::new());
        let file = TenantsFile::new(&Roster::default());
        let mut service = Self { app: TestApp::start("").await, file, key, other };
        service.switch("", "");
        let config = service.file.config() + config;
        service.app = TestApp::with_sources(upstreams, egress, &config).await;
        service
    }

    /// Writes the file anew, with lines about the tenant and about all.
    fn switch(&self, tenant: &str, all: &str) {
        let roster = Roster::default()
            .tenant("league", tenant, &[(&self.key, "decoder")])
            .tenant("other", "", &[(&self.other, "decoder")])
            .with(all);
        self.file.write(roster.text());
    }

    /// Begins a decode of the tenant and does not wait for it.
    async fn begin(&self, body: &Value) -> Raw {
        let mut raw = Raw::connect(self.app.address).await;
        let headers = format!("Connection: close\r\nX-Api-Key: {}\r\n", self.key.text());
        raw.decode("switched", &headers, body).await;
        raw
    }
}

/// The status line and the code of a whole answer.
fn problem(answer: &str) -> (&str, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let body: Value = serde_json::from_str(body).expect("JSON");
    (&head[9..12], body["code"].as_str().expect("a code").to_owned())
}

const DISABLED: &str = "disabled = true";

#[tokio::test]
async fn a_tenant_that_is_disabled_is_refused_and_no_other() {
    let service = Service::start(&[], "", "").await;
    let Service { app, key, other, .. } = &service;
    let body = json!({ "content": "{*a*}" });
    assert_eq!(app.decode_as(key, &body).await.status, 200);

    service.switch(DISABLED, "");
    let refused = async {
        loop {
            let answer = app.decode_as(key, &body).await;
            if answer.status != 200 {
                return answer;
            }
        }
    };

    let refused = refused.await;
    refused.discreet_problem(403, "forbidden");
    assert_eq!(app.decode_as(other, &body).await.status, 200);
    service.switch("", "");
    while app.decode_as(key, &body).await.status != 200 {}
}

#[tokio::test]
async fn what_waits_for_a_place_when_its_tenant_is_disabled_waits_no_longer() {
    let (upstream, gate) = (Upstream::tls().await, Gate::default());
    upstream.on("/slow", Reply::stream([Wait(gate.clone()), Send("{*a*}".into())]));
    let service =
        Service::start(&[&upstream], "", "[overload]\nfetch = 1\nmax_wait = \"1h\"\n").await;
    let body = json!({ "source": upstream.url("/slow") });
    let first = service.app.asking(&body).bearer_auth(service.other.text());
    let first = tokio::spawn(Answer::of(first));
    upstream.requested("/slow").await;
    let waits = service.begin(&body).await;
    service.app.metrics_when(|metrics| metrics["decoder_queue_depth{pool=\"fetch\"}"] == 1.0).await;

    service.switch(DISABLED, "");

    assert_eq!(problem(&waits.rest().await), ("403", "forbidden".to_owned()));
    gate.open();
    assert_eq!(first.await.expect("no panic").status, 200);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn what_waits_for_a_place_when_its_host_is_blocked_waits_no_longer() {
    let (upstream, gate) = (Upstream::tls().await, Gate::default());
    upstream.on("/slow", Reply::stream([Wait(gate.clone()), Send("{*a*}".into())]));
    upstream.on("/doc", Reply::ok("{*b*}"));
    let elsewhere = upstream.url("/doc").replace("source.test", "localhost");
    let allow = "allow = [{ url = \"https://localhost:*\", addresses = [\"127.0.0.1\"] }]";
    let egress = "hosts.\"localhost\" = [\"127.0.0.1\"]";
    let full = "[overload]\nfetch = 1\nmax_wait = \"1h\"\n";
    let service = Service::start(&[&upstream], egress, full).await;
    service.switch(allow, "");
    let body = json!({ "source": elsewhere });
    while service.app.decode_as(&service.key, &body).await.status != 200 {}
    let slow = json!({ "source": upstream.url("/slow") });
    let first = service.app.asking(&slow).bearer_auth(service.other.text());
    let first = tokio::spawn(Answer::of(first));
    upstream.requested("/slow").await;
    let asked = upstream.requests().len();
    let waits = service.begin(&body).await;
    service.app.metrics_when(|metrics| metrics["decoder_queue_depth{pool=\"fetch\"}"] == 1.0).await;

    service.switch(allow, "blocked_hosts = [\"localhost\"]");

    assert_eq!(problem(&waits.rest().await), ("403", "source_denied".to_owned()));
    gate.open();
    assert_eq!(first.await.expect("no panic").status, 200);
    assert_eq!(upstream.requests().len(), asked);
}

#[tokio::test]
async fn a_tenant_that_goes_and_comes_back_disabled_has_nothing_under_way() {
    let upstream = Upstream::tls().await;
    upstream.on("/held", [Hold]);
    let service = Service::start(&[&upstream], "", "").await;
    let fetch = service.begin(&json!({ "source": upstream.url("/held") })).await;
    upstream.requested("/held").await;
    let without = Roster::default().tenant("other", "", &[(&service.other, "decoder")]);
    service.file.write(without.text());
    let body = json!({ "content": "{*a*}" });
    while service.app.decode_as(&service.key, &body).await.status != 401 {}

    service.switch(DISABLED, "");

    assert_eq!(problem(&fetch.rest().await), ("403", "forbidden".to_owned()));
    upstream.closed("/held").await;
}

#[tokio::test]
async fn what_pauses_before_it_tries_again_is_not_tried_again() {
    let upstream = Upstream::tls().await;
    let later = Reply::ok("").status(503).header("Retry-After", "8");
    upstream.on("/later", later);
    let check = async |tenant: &str, all: &str, expected: (&str, &str)| {
        let service = Service::start(&[&upstream], "circuit.enabled = false", "").await;
        let pauses = service.begin(&json!({ "source": upstream.url("/later") })).await;
        upstream.requested("/later").await;
        let retries = "decoder_fetch_retries_total{decision=\"retried\"}";
        service.app.metrics_when(|metrics| metrics[retries] == 1.0).await;
        let asked = upstream.requests().len();

        service.switch(tenant, all);

        let answer = pauses.rest().await;
        let (status, code) = problem(&answer);
        assert_eq!((status, code.as_str()), expected, "{answer}");
        assert_eq!(upstream.requests().len(), asked);
    };
    check(DISABLED, "", ("403", "forbidden")).await;
    check("", "blocked_hosts = [\"source.test\"]", ("403", "source_denied")).await;
}

#[tokio::test]
async fn a_fetch_and_an_upload_under_way_end_with_their_tenant() {
    let upstream = Upstream::tls().await;
    upstream.on("/held", [Hold]);
    let service = Service::start(&[&upstream], "", "").await;
    let fetch = service.begin(&json!({ "source": upstream.url("/held") })).await;
    upstream.requested("/held").await;
    let (upload, body) = Upload::open();
    let sends = service.app.client.post(service.app.url("/decode"));
    let sends = sends.header("Content-Type", "text/plain").bearer_auth(service.key.text());
    let sends = tokio::spawn(Answer::of(sends.body(body)));
    upload.send("{*a".into()).await.expect("taken");
    let inline = "decoder_pool_in_use{pool=\"inline\"}";
    let in_flight = "decoder_http_requests_in_flight";
    service.app.metrics_when(|metrics| metrics[in_flight] == 2.0).await;

    service.switch(DISABLED, "");

    assert_eq!(problem(&fetch.rest().await), ("403", "forbidden".to_owned()));
    sends.await.expect("no panic").problem(403, "forbidden");
    upstream.closed("/held").await;
    service.app.metrics_when(|metrics| metrics[inline] == 0.0).await;
}

#[tokio::test]
async fn a_host_that_is_blocked_is_asked_by_nobody_also_behind_a_redirect() {
    let (upstream, other) = (Upstream::tls().await, Upstream::tls().await);
    let to = |location: &str| Reply::ok("").status(302).header("Location", location);
    upstream.on("/doc", Reply::ok("{*a*}"));
    other.on("/to", to(&upstream.url("/doc")));
    let egress = "hosts.\"other.test\" = [\"127.0.0.1\"]";
    let service = Service::start(&[&upstream, &other], egress, "").await;
    let Service { app, key, other: second, .. } = &service;
    let (direct, behind) =
        (json!({ "source": upstream.url("/doc") }), json!({ "source": other.url("/to") }));
    assert_eq!(app.decode_as(key, &direct).await.status, 200);
    assert_eq!(app.decode_as(key, &behind).await.status, 200);

    service.switch("", "blocked_hosts = [\"*.test\"]");
    while app.decode_as(key, &direct).await.status == 200 {}

    let asked_by_then = upstream.requests().len();
    for body in [&direct, &behind] {
        for key in [key, second] {
            app.decode_as(key, body).await.discreet_problem(403, "source_denied");
        }
    }
    assert_eq!(upstream.requests().len(), asked_by_then);
    service.switch("", "");
    while app.decode_as(key, &direct).await.status != 200 {}
}

#[tokio::test]
async fn a_host_that_is_blocked_ends_what_is_fetched_from_it_now() {
    let (upstream, other) = (Upstream::tls().await, Upstream::tls().await);
    let lines = "{*a*}\n";
    let gate = Gate::default();
    upstream.on("/lines", Reply::stream([Send(lines.into()), Wait(gate.clone())]).chunked());
    other.on("/held", [Hold]);
    let service = Service::start(&[&upstream, &other], "", "").await;
    let mut raw = Raw::connect(service.app.address).await;
    let key = service.key.text();
    let headers =
        format!("Connection: close\r\nAccept: application/x-ndjson\r\nX-Api-Key: {key}\r\n");
    raw.decode("lines", &headers, &json!({ "source": upstream.url("/lines") })).await;
    raw.until("\"index\":1,").await;

    // By its name, as all that it leads to.
    service.switch("", "blocked_hosts = [\"source.test\"]");

    let rest = raw.rest().await;
    assert!(rest.contains("\"error\"") && rest.contains("source_denied"), "{rest}");
    upstream.closed("/lines").await;
    let denied = "decoder_security_events_total{kind=\"host\"}";
    assert_eq!(service.app.metrics().await[denied], 1.0);
}

#[tokio::test]
async fn hosts_are_blocked_also_where_nobody_has_to_say_who_they_are() {
    let upstream = Upstream::tls().await;
    upstream.on("/doc", Reply::ok("{*a*}"));
    let file = TenantsFile::new(&Roster::default().staff(&Key::new(), "auditor"));
    let config = file.config().replace("mode = \"required\"", "mode = \"off\"");
    let app = TestApp::with_source(&upstream, "", &config).await;
    let body = json!({ "source": upstream.url("/doc") });
    assert_eq!(app.decode(&body).await.status, 200);

    let blocked = Roster::default().staff(&Key::new(), "auditor");
    file.write(blocked.with("blocked_hosts = [\"source.test\"]").text());

    let refused = async {
        loop {
            let answer = app.decode(&body).await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    refused.await.discreet_problem(403, "source_denied");
}

#[tokio::test]
async fn a_host_that_is_blocked_while_another_is_asked_is_not_asked_again() {
    let (first, second) = (Upstream::tls().await, Upstream::tls().await);
    let to = second.url("/later").replace("source.test", "localhost");
    first.on("/to", Reply::ok("").status(302).header("Location", &to));
    second.on("/later", Reply::ok("").status(503).header("Retry-After", "3"));
    let egress = "hosts.\"localhost\" = [\"127.0.0.1\"]\ncircuit.enabled = false";
    let (key, other) = (Key::new(), Key::new());
    let file = TenantsFile::new(&Roster::default());
    let allow = format!(
        "allow = [{{ url = \"{}\", addresses = [\"127.0.0.1\"] }}, \
         {{ url = \"https://localhost:*\", addresses = [\"127.0.0.1\"] }}]",
        first.url("")
    );
    let mut service = Service { app: TestApp::start("").await, file, key, other };
    service.switch(&allow, "");
    let config = service.file.config();
    service.app = TestApp::with_sources(&[&first], egress, &config).await;
    let pauses = service.begin(&json!({ "source": first.url("/to") })).await;
    second.requested("/later").await;
    let retries = "decoder_fetch_retries_total{decision=\"retried\"}";
    service.app.metrics_when(|metrics| metrics[retries] == 1.0).await;

    // Not what is asked just now, but what will be.
    service.switch(&allow, "blocked_hosts = [\"source.test\"]");

    let answer = pauses.rest().await;
    assert_eq!(problem(&answer), ("403", "source_denied".to_owned()), "{answer}");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

#[tokio::test]
async fn what_is_handed_over_slowly_ends_with_its_tenant_too() {
    let service = Service::start(&[], "", "").await;
    let body = json!({ "content": "{*a*}" }).to_string();
    let mut raw = Raw::connect(service.app.address).await;
    let key = service.key.text();
    let headers =
        format!("Connection: close\r\nContent-Type: application/json\r\nX-Api-Key: {key}\r\n");
    raw.begin_decode("slow", &headers, body.len()).await;
    raw.send(&body[..5]).await;
    let in_flight = "decoder_http_requests_in_flight";
    service.app.metrics_when(|metrics| metrics[in_flight] == 1.0).await;

    // And sends nothing more.
    service.switch(DISABLED, "");

    assert_eq!(problem(&raw.rest().await), ("403", "forbidden".to_owned()));
}
