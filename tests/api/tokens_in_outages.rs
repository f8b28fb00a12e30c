//! Issuers that cannot be had, or have nothing of use.

use crate::{
    keys::refused,
    support::{
        app::{Answer, TestApp, allowing},
        callers::{Key, Roster, TenantsFile},
        issuer::{Issuer, KeysFile, keys_at, taking_tokens},
        upstream::{
            Gate, Reply, Script,
            Step::{Endless, Hold, Reset, Send, Wait},
            TlsFault, Upstream,
        },
    },
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

fn tenants(key: &Key) -> TenantsFile {
    TenantsFile::new(&Roster::default().tenant("league", "", &[(key, "decoder")]))
}

/// The set of an issuer's key and another one: two keys.
fn with_another(issuer: &Issuer) -> String {
    let mut set: Value = serde_json::from_str(&issuer.jwks()).expect("JSON");
    let mut other: Value = serde_json::from_str(&Issuer::new().jwks()).expect("JSON");
    let mut other = other["keys"][0].take();
    other["kid"] = json!("another");
    set["keys"].as_array_mut().expect("keys").push(other);
    set.to_string()
}

/// The set of an issuer's key, its private half included.
fn with_private(issuer: &Issuer) -> String {
    issuer.jwks().replace("\"kty\"", "\"d\":\"AAAA\",\"kty\"")
}

fn is_alarm(line: &Value) -> bool {
    line["level"] == "ERROR" && line["message"].as_str().is_some_and(|text| text.contains("issuer"))
}

/// How often the log says that there are no keys.
fn alarms(app: &TestApp) -> usize {
    let lines = app.log_lines();
    lines.iter().filter(|line| is_alarm(&serde_json::from_str(line).expect("JSON"))).count()
}

/// Waits until the log says that there are so many keys.
async fn has_keys(app: &TestApp, count: u64) {
    app.log_line(|line| line["message"] == "issuer keys loaded" && line["keys"] == count).await;
}

/// What an issuer can answer that is of no use, and what the log says of it.
fn faults(issuer: &Issuer) -> Vec<(&'static str, Script, &'static str)> {
    let good = issuer.jwks();
    let large = format!("{{\"keys\":[],\"more\":\"{}\"}}", "x".repeat(10 << 20));
    let moved = "/moved?secret=Zq7vXk9rWmTb3";
    let cut = Reply::stream([Send(good[..40].into())]).header("Content-Length", "400");
    vec![
        ("an error", Reply::ok("innards").status(500).into(), "status 500"),
        ("not there", Reply::ok("innards").status(404).into(), "status 404"),
        ("a good set, and no success", Reply::ok(good.clone()).status(201).into(), "status 201"),
        ("a hang", [Hold].into(), "too long"),
        ("a body that hangs", Reply::stream([Send("{".into()), Hold]).into(), "too long"),
        ("a reset", [Reset].into(), "Reset"),
        ("garbage", Reply::ok("<html>innards</html>").into(), "no JSON object"),
        ("nothing", Reply::ok("").into(), "no JSON object"),
        ("half of it", cut.into(), "Protocol"),
        ("no keys", Reply::ok("{\"keys\":[]}").into(), "no key"),
        ("a private key", Reply::ok(with_private(issuer)).into(), "private key"),
        ("10 MB", Reply::ok(large.clone()).into(), "more than"),
        ("10 MB, packed", Reply::gzip(large).into(), "more than"),
        ("no end", Reply::stream([Endless(vec![b' '; 1000])]).into(), "more than"),
        ("no gzip", Reply::ok(good.clone()).header("Content-Encoding", "gzip").into(), "gzip"),
        ("a redirect", Reply::ok(good).status(302).header("Location", moved).into(), "redirect"),
    ]
}

#[tokio::test]
async fn what_is_of_no_use_leaves_the_keys_that_are_known_until_there_are_others() {
    let issuer = Arc::new(Issuer::new());
    let mut outages = JoinSet::new();
    for (what, fault, reason) in faults(&issuer) {
        let issuer = Arc::clone(&issuer);
        outages.spawn(async move { outage(&issuer, what, fault, reason).await });
    }
    outages.join_all().await;
}

async fn outage(issuer: &Issuer, what: &str, fault: Script, reason: &str) {
    let (upstream, tenants) = (Upstream::tls().await, tenants(&Key::new()));
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    upstream.on("/jwks", fault);
    upstream.on("/jwks", Reply::gzip(with_another(issuer)));
    upstream.on("/moved", Reply::ok(issuer.jwks()));
    let config = tenants.config() + &taking_tokens(&keys_at(&upstream));
    let app = TestApp::with_source(&upstream, "total_timeout = \"3s\"\n", &config).await;
    has_keys(&app, 1).await;
    let good = issuer.good("league", "decoder");

    let unknown = app.decode_with(&issuer.of_key("unknown")).await;

    unknown.discreet_problem(401, "unauthenticated");
    let alarm = app.log_line(is_alarm).await;
    let told = alarm["error"].as_str().expect("a reason");
    assert!(told.contains(reason) && !told.contains("Zq7v"), "{what}: {told}");
    app.keys_are_current(false).await;
    assert_eq!(app.decode_with(&good).await.status, 200, "{what}");
    // It is asked again by itself.
    has_keys(&app, 2).await;
    app.keys_are_current(true).await;
    assert_eq!(app.decode_with(&good).await.status, 200, "{what}");
    assert_eq!(alarms(&app), 1, "{what}");
    let asked = upstream.requests();
    assert!(asked.len() == 3 && asked.iter().all(|head| head.target == "/jwks"), "{asked:?}");
}

#[tokio::test]
async fn an_outage_is_told_once_however_long_it_lasts() {
    let (issuer, upstream, tenants) = (Issuer::new(), Upstream::tls().await, tenants(&Key::new()));
    upstream.on("/jwks", Reply::ok("innards").status(503));
    let config = tenants.config() + &taking_tokens(&keys_at(&upstream));
    let app = TestApp::with_source(&upstream, "", &config).await;
    app.keys_are_current(false).await;

    let answer = app.decode_with(&issuer.good("league", "decoder")).await;

    answer.discreet_problem(401, "unauthenticated");
    app.request_line(answer.header("x-request-id").expect("an id")).await;
    assert_eq!((upstream.requests().len(), alarms(&app)), (2, 1));
    // The issuer is no source that is left alone.
    assert_eq!(app.metrics().await["decoder_circuits_open"], 0.0);
}

#[tokio::test]
async fn without_its_issuer_the_service_starts_and_takes_tokens_when_there_is_one() {
    let (key, issuer) = (Key::new(), Issuer::new());
    let (upstream, gate, tenants) = (Upstream::tls().await, Gate::default(), tenants(&key));
    upstream.on("/jwks", [Reset]);
    upstream.on("/jwks", Reply::stream([Wait(gate.clone()), Send(issuer.jwks().into())]));
    let config = tenants.config() + &taking_tokens(&keys_at(&upstream));
    let app = TestApp::with_source(&upstream, "", &config).await;
    app.keys_are_current(false).await;
    let token = issuer.good("league", "decoder");
    assert_eq!(app.decode_as(&key, &json!({ "content": "{*a*}" })).await.status, 200);
    app.decode_with(&token).await.discreet_problem(401, "unauthenticated");

    gate.open();
    app.keys_are_current(true).await;

    assert_eq!(app.decode_with(&token).await.status, 200);
    assert_eq!(alarms(&app), 1);
}

#[tokio::test]
async fn the_first_token_after_an_outage_at_the_start_ends_it() {
    let (issuer, upstream, tenants) = (Issuer::new(), Upstream::tls().await, tenants(&Key::new()));
    upstream.on("/jwks", [Reset]);
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    let config = tenants.config() + &taking_tokens(&keys_at(&upstream));
    let app = TestApp::with_source(&upstream, "", &config).await;
    app.keys_are_current(false).await;

    let answer = app.decode_with(&issuer.good("league", "decoder")).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    app.keys_are_current(true).await;
}

#[tokio::test]
async fn an_issuer_that_cannot_prove_who_it_is_is_not_asked() {
    for fault in
        [TlsFault::WrongName, TlsFault::Expired, TlsFault::UnknownAuthority, TlsFault::SelfSigned]
    {
        let (key, issuer, upstream) = (Key::new(), Issuer::new(), Upstream::tls_with(fault).await);
        upstream.on("/jwks", Reply::ok(issuer.jwks()));
        let tenants = tenants(&key);
        let config = tenants.config() + &taking_tokens(&keys_at(&upstream));
        let app = TestApp::with_source(&upstream, "", &config).await;

        let answer = app.decode_with(&issuer.good("league", "decoder")).await;

        answer.discreet_problem(401, "unauthenticated");
        app.keys_are_current(false).await;
        assert!(upstream.connections() > 0 && upstream.requests().is_empty(), "{fault:?}");
        assert_eq!(app.decode_as(&key, &json!({ "content": "{*a*}" })).await.status, 200);
    }
}

#[tokio::test]
async fn an_issuer_at_an_address_that_is_not_permitted_is_not_dialled() {
    let (issuer, upstream, tenants) = (Issuer::new(), Upstream::tls().await, tenants(&Key::new()));
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    for addresses in ["", "addresses = [\"127.0.0.1:1\"]\n", "addresses = [\"127.0.0.2\"]\n"] {
        let url = format!("jwks_url = \"{}\"\n{addresses}", upstream.url("/jwks"));
        // What a rule for sources permits is of no use to it.
        let config = tenants.config() + &taking_tokens(&url);
        let app = TestApp::with_source(&upstream, "", &config).await;

        let answer = app.decode_with(&issuer.good("league", "decoder")).await;

        answer.discreet_problem(401, "unauthenticated");
        let alarm = app.log_line(is_alarm).await;
        assert!(alarm["error"].as_str().expect("a reason").contains("127.0.0.1"), "{alarm}");
        assert_eq!(upstream.connections(), 0);
    }
}

#[tokio::test]
async fn what_the_issuer_may_be_reached_at_is_of_no_use_to_sources() {
    let (issuer, upstream, tenants) = (Issuer::new(), Upstream::tls().await, tenants(&Key::new()));
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    let ca = Upstream::ca_file();
    let address = format!("addresses = [\"{}\"]", upstream.address());
    let egress = allowing(&[&upstream], &ca, "");
    let egress = egress.replace(&address, "addresses = []");
    let config = egress + &tenants.config() + &taking_tokens(&keys_at(&upstream));
    let app = TestApp::start(&config).await;
    app.keys_are_current(true).await;

    let body = json!({ "source": upstream.url("/jwks") });
    let request = app.asking(&body).bearer_auth(issuer.good("league", "decoder"));

    Answer::of(request).await.discreet_problem(403, "source_denied");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_file_of_no_use_leaves_the_keys_that_are_known_until_there_is_another() {
    let (issuer, tenants) = (Issuer::new(), tenants(&Key::new()));
    let private = with_private(&issuer);
    let large = " ".repeat(300 << 10) + &issuer.jwks();
    for text in ["", "{", "{\"keys\":[]}", &private, &large] {
        let keys = KeysFile::new(&issuer.jwks());
        let app = TestApp::start(&(tenants.config() + &taking_tokens(&keys.config()))).await;
        let good = issuer.good("league", "decoder");

        keys.write(text);

        app.log_line(is_alarm).await;
        app.keys_are_current(false).await;
        assert_eq!(app.decode_with(&good).await.status, 200);
        // Which has it read again.
        app.decode_with(&issuer.of_key("unknown")).await.problem(401, "unauthenticated");
        keys.write(&with_another(&issuer));
        has_keys(&app, 2).await;
        app.keys_are_current(true).await;
        assert_eq!(app.decode_with(&good).await.status, 200);
        assert_eq!(alarms(&app), 1, "{}", app.log_lines().concat());
    }
}

#[tokio::test]
async fn keys_of_no_use_end_the_start() {
    let (issuer, tenants) = (Issuer::new(), tenants(&Key::new()));
    let check = async |keys: &str, expected: &str| {
        let output = refused(&(tenants.config() + &taking_tokens(keys))).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{keys}: {told}");
        assert!(told.contains(expected), "{expected} not in {told}");
    };
    check("jwks_file = \"/nowhere\"\n", "auth.jwt.jwks_file = \"/nowhere\" could not be used")
        .await;
    check("jwks_file = \"/\"\n", "auth.jwt.jwks_file = \"/\" could not be used").await;
    check("jwks_file = \"/dev/zero\"\n", "not a regular file").await;
    let text = |text: &str| KeysFile::new(text);
    for (file, expected) in [
        (text(""), "no JSON object"),
        (text("{\"keys\":[]}"), "no key"),
        (text(&with_private(&issuer)), "private key"),
        (text(&" ".repeat(300 << 10)), "larger than 256 KiB"),
    ] {
        check(&file.config(), expected).await;
    }
    // Hosts that no URL has, and addresses that are never permitted.
    for url in ["https://", "https://*/x", "https://*.issuer.test/x", "https://issuer.test:*/x"] {
        check(&format!("jwks_url = \"{url}\"\n"), "auth.jwt.jwks_url").await;
    }
    for url in ["https://169.254.169.254/x", "https://[::1]/x", "https://10.0.0.1/x"] {
        check(&format!("jwks_url = \"{url}\"\n"), "auth.jwt.jwks_url").await;
    }
}

#[tokio::test]
async fn what_a_configuration_says_against_itself_ends_the_start() {
    let (issuer, tenants) = (Issuer::new(), tenants(&Key::new()));
    let file = KeysFile::new(&issuer.jwks());
    let keys = file.config();
    let check = async |jwt: String, expected: &str| {
        let output = refused(&(tenants.config() + &jwt)).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{jwt}: {told}");
        assert!(told.contains(expected), "{expected} not in {told}");
    };
    let taking = |more: &str| taking_tokens(&format!("{keys}{more}\n"));
    let without = |name: &str| {
        let kept = |line: &&str| !line.starts_with(name);
        taking("").lines().filter(kept).collect::<Vec<_>>().join("\n")
    };
    check(without("audience"), "auth.jwt.audience").await;
    check(without("issuer"), "auth.jwt.issuer").await;
    check(without("jwks_file"), "auth.jwt.jwks_url").await;
    check(taking("jwks_url = \"https://issuer.test/\""), "auth.jwt.jwks_file").await;
    check(taking("jwks_url = \"http://issuer.test/\""), "auth.jwt.jwks_url").await;
    check(taking("algorithms = []"), "auth.jwt.algorithms").await;
    check(taking("algorithms = [\"ES256\", \"HS256\"]"), "HS256").await;
    check(taking("algorithms = [\"none\"]"), "auth.jwt.algorithms").await;
    check(taking("tenant_claim = \"iss\""), "auth.jwt.tenant_claim").await;
    check(taking("tenant_claim = \"role\""), "auth.jwt.tenant_claim").await;
    check(taking("role_claim = \"aud\""), "auth.jwt.role_claim").await;
    check(taking("role_claim = \"\""), "auth.jwt.role_claim").await;
    let off = taking("").replace("[auth.jwt]", "[auth.jwt]\n");
    let output = refused(&format!("[auth]\nmode = \"off\"\n{off}")).await;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}
