//! Issuers that have other keys than before.

use crate::support::{
    app::{PATIENCE, TestApp},
    callers::{Key, Roster, TenantsFile},
    issuer::{Issuer, KeysFile, keys_at, taking_tokens},
    upstream::{
        Gate, Reply,
        Step::{Send, Wait},
        Upstream,
    },
};
use std::sync::Arc;
use tokio::{task::JoinSet, time::timeout};

fn tenants() -> TenantsFile {
    TenantsFile::new(&Roster::default().tenant("league", "", &[(&Key::new(), "decoder")]))
}

/// A service that takes the tokens of an issuer, whose keys it has from an upstream, and has
/// by now.
async fn taking(upstream: &Upstream, tenants: &TenantsFile, egress: &str) -> TestApp {
    let config = tenants.config() + &taking_tokens(&keys_at(upstream));
    let app = TestApp::with_source(upstream, egress, &config).await;
    app.keys_are_current(true).await;
    app
}

#[tokio::test]
async fn a_token_of_a_new_key_is_good_at_its_first_try() {
    let (mut issuer, upstream) = (Issuer::new(), Upstream::tls().await);
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    let tenants = tenants();
    let app = taking(&upstream, &tenants, "").await;
    let old = issuer.good("league", "decoder");
    assert_eq!(app.decode_with(&old).await.status, 200);
    issuer.rotate();
    upstream.on("/jwks", Reply::ok(issuer.jwks()));

    let answer = app.decode_with(&issuer.good("league", "decoder")).await;

    assert_eq!((answer.status, upstream.requests().len()), (200, 2), "{answer:?}");
    app.decode_with(&old).await.discreet_problem(401, "unauthenticated");
}

#[tokio::test]
async fn all_who_show_a_token_of_a_new_key_at_once_are_let_in() {
    let (mut issuer, upstream) = (Issuer::new(), Upstream::tls().await);
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    let tenants = tenants();
    let app = Arc::new(taking(&upstream, &tenants, "").await);
    issuer.rotate();
    upstream.on("/jwks", Reply::ok(issuer.jwks()));

    let statuses = all(&app, (0..200).map(|_| issuer.good("league", "decoder"))).await;

    assert_eq!((statuses, upstream.requests().len()), (vec![200; 200], 2));
}

/// How a service answers to tokens that are all shown at once.
async fn all(app: &Arc<TestApp>, tokens: impl Iterator<Item = String>) -> Vec<u16> {
    let mut asking = JoinSet::new();
    for token in tokens {
        let app = Arc::clone(app);
        asking.spawn(async move { app.decode_with(&token).await.status });
    }
    asking.join_all().await
}

#[tokio::test]
async fn a_token_of_a_new_key_is_good_at_once_where_keys_are_in_a_file() {
    let mut issuer = Issuer::new();
    let (keys, tenants) = (KeysFile::new(&issuer.jwks()), tenants());
    let app = TestApp::start(&(tenants.config() + &taking_tokens(&keys.config()))).await;
    let old = issuer.good("league", "decoder");
    assert_eq!(app.decode_with(&old).await.status, 200);
    issuer.rotate();
    keys.write(&issuer.jwks());

    let answer = app.decode_with(&issuer.good("league", "decoder")).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    app.decode_with(&old).await.discreet_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_file_of_other_keys_is_heeded_within_seconds_though_no_token_asks_for_it() {
    let mut issuer = Issuer::new();
    let (keys, tenants) = (KeysFile::new(&issuer.jwks()), tenants());
    let app = TestApp::start(&(tenants.config() + &taking_tokens(&keys.config()))).await;
    let old = issuer.good("league", "decoder");
    issuer.rotate();
    keys.write(&issuer.jwks());

    // Its key is known, and has nothing fetched.
    let refused = async { while app.decode_with(&old).await.status != 401 {} };
    timeout(PATIENCE, refused).await.expect("the old key is gone");
    assert_eq!(app.decode_with(&issuer.good("league", "decoder")).await.status, 200);
}

#[tokio::test]
async fn a_fetch_that_began_before_the_rotation_is_not_the_last_word() {
    let (mut issuer, upstream, gate) = (Issuer::new(), Upstream::tls().await, Gate::default());
    let old = Reply::stream([Wait(gate.clone()), Send(issuer.jwks().into())]);
    upstream.on("/jwks", old);
    let tenants = tenants();
    let config = tenants.config() + &taking_tokens(&keys_at(&upstream));
    let app = Arc::new(TestApp::with_source(&upstream, "", &config).await);
    upstream.requested("/jwks").await;
    issuer.rotate();
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    let token = issuer.good("league", "decoder");

    let asking = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.decode_with(&token).await }
    });
    app.metrics_when(|metrics| metrics["decoder_http_requests_in_flight"] == 1.0).await;
    gate.open();

    let answer = asking.await.expect("no panic");
    assert_eq!((answer.status, upstream.requests().len()), (200, 2), "{answer:?}");
}

#[tokio::test]
async fn tokens_of_unknown_keys_have_one_fetch_made_in_a_minute() {
    let (issuer, upstream) = (Issuer::new(), Upstream::tls().await);
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    let tenants = tenants();
    let app = Arc::new(taking(&upstream, &tenants, "").await);
    let unknown = |number| issuer.of_key(&format!("unknown-{number}"));

    let statuses = all(&app, (0..200).map(unknown)).await;

    assert_eq!((statuses, upstream.requests().len()), (vec![401; 200], 2));
    // Those who come later do not wait: all of them together take less than a few would.
    let later = async {
        for number in 0..200 {
            app.decode_with(&unknown(number)).await.problem(401, "unauthenticated");
        }
    };
    timeout(PATIENCE, later).await.expect("nobody waits");
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(app.decode_with(&issuer.good("league", "decoder")).await.status, 200);
}

#[tokio::test]
async fn while_an_issuer_hangs_only_tokens_of_unknown_keys_wait_and_not_for_long() {
    let (issuer, upstream, gate) = (Issuer::new(), Upstream::tls().await, Gate::default());
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    let tenants = tenants();
    let app = Arc::new(taking(&upstream, &tenants, "total_timeout = \"60s\"").await);
    upstream.requested("/jwks").await;
    upstream.on("/jwks", Reply::stream([Wait(gate.clone()), Send(issuer.jwks().into())]));
    let unknown = tokio::spawn({
        let (app, token) = (Arc::clone(&app), issuer.of_key("unknown"));
        async move { app.decode_with(&token).await }
    });
    upstream.requested("/jwks").await;

    let good = issuer.good("league", "decoder");
    for _ in 0..20 {
        assert_eq!(app.decode_with(&good).await.status, 200);
    }

    assert!(!unknown.is_finished());
    // It gives up before the issuer does.
    unknown.await.expect("no panic").problem(401, "unauthenticated");
    gate.open();
    // From then on nobody waits.
    upstream.closed("/jwks").await;
    let later = async {
        for _ in 0..20 {
            app.decode_with(&issuer.of_key("unknown")).await.problem(401, "unauthenticated");
        }
    };
    timeout(PATIENCE, later).await.expect("nobody waits");
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn who_goes_away_leaves_the_fetch_to_others() {
    let (mut issuer, upstream, gate) = (Issuer::new(), Upstream::tls().await, Gate::default());
    upstream.on("/jwks", Reply::ok(issuer.jwks()));
    let tenants = tenants();
    let app = Arc::new(taking(&upstream, &tenants, "").await);
    upstream.requested("/jwks").await;
    issuer.rotate();
    upstream.on("/jwks", Reply::stream([Wait(gate.clone()), Send(issuer.jwks().into())]));
    let token = issuer.good("league", "decoder");
    let leaving = tokio::spawn({
        let (app, token) = (Arc::clone(&app), token.clone());
        async move { app.decode_with(&token).await }
    });
    upstream.requested("/jwks").await;

    leaving.abort();
    app.metrics_when(|metrics| metrics["decoder_http_requests_in_flight"] == 0.0).await;
    gate.open();

    assert_eq!(app.decode_with(&token).await.status, 200);
    assert_eq!(upstream.requests().len(), 2);
}
