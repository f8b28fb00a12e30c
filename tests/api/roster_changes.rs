//! A roster that changes while its tenants call. In process, because what matters is which of
//! two steps of one request a change comes between.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use blueprint_decoder::{
    app,
    config::Config,
    decode::{Decoder, Switch, TenantSettings},
    http::{
        self, ActiveTenant, AllowedHosts, Authenticator, Decoding, Gates, Public, Readiness,
        RequestLimits, TenantLimits, TenantSnapshot,
    },
    identity::{KeyEntry, KeyTable, NewKey, Proxies, Role, TenantConfig, TenantRegistry},
    quota_key::QuotaKey,
    rate_limit::{CallerLimits, Gcra},
    scan::{Marker, MarkerPair, Options, Pairs},
    telemetry::Metrics,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use tower::ServiceExt;

/// Each with markers of its own.
const TENANTS: [(&str, &str, &str); 2] = [("arsenal", "<a:", ":a>"), ("botanic", "<b:", ":b>")];

fn member(decoder: &Decoder, metrics: &Metrics, number: u32) -> Arc<ActiveTenant> {
    let (name, start, end) = TENANTS[number as usize];
    let marker = |text| Marker::new(text).expect("a marker");
    let pair = MarkerPair { start: marker(start), end: marker(end) };
    let settings = TenantSettings {
        name: name.to_owned(),
        quota_key: Some(QuotaKey::Tenant(number)),
        switch: Switch::default(),
        markers: Some(Pairs::new(vec![pair]).expect("pairs")),
        max_document_bytes: 1024,
        allow: None,
    };
    let tenant = Arc::new(decoder.tenant(settings, None).expect("a tenant"));
    let limits = CallerLimits { rate: Gcra::new(1, 1), decodes_per_day: None };
    let counted = metrics.callers.tenant(name);
    Arc::new(ActiveTenant { tenant, limits: TenantLimits::new(limits, 1), counted })
}

/// The callers as a file has them that names tenants in this order.
fn callers(members: &[Arc<ActiveTenant>], keys: &[NewKey], order: &[usize]) -> TenantSnapshot {
    let entry = |place: &usize| TenantConfig {
        name: TENANTS[*place].0.to_owned(),
        disabled: false,
        allow: None,
        markers: None,
        requests_per_minute: None,
        burst: None,
        decodes_per_day: None,
        max_document_bytes: None,
        keys: vec![KeyEntry {
            id: keys[*place].id.clone(),
            sha256: keys[*place].hash,
            role: Role::Decoder,
            expires: None,
        }],
    };
    let tenants = order.iter().map(entry).collect();
    let key_table = KeyTable::new(&TenantRegistry { tenants, ..TenantRegistry::default() }, None);
    TenantSnapshot {
        key_table,
        members: order.iter().map(|place| Arc::clone(&members[*place])).collect(),
    }
}

struct Scene {
    routes: Router,
    authenticator: Arc<Authenticator>,
    members: Vec<Arc<ActiveTenant>>,
    keys: Vec<NewKey>,
}

fn scene() -> Scene {
    let metrics = Arc::new(Metrics::new(&http::labels()).expect("metrics"));
    let config = Config::load(None, [], &[]).expect("the defaults").config;
    let decoder = app::decoder(&config, Vec::new(), Arc::clone(&metrics)).expect("a decoder");
    let members: Vec<_> = (0..2).map(|number| member(&decoder, &metrics, number)).collect();
    let keys: Vec<_> = (0..2).map(|_| NewKey::make().expect("random bytes")).collect();
    let tenant = app::anonymous(&decoder, 1024).expect("a tenant");
    let limits = CallerLimits { rate: Gcra::new(1, 1), decodes_per_day: None };
    let counted = Arc::clone(&metrics.callers.anonymous);
    let anonymous =
        Arc::new(ActiveTenant { tenant, limits: TenantLimits::new(limits, 1), counted });
    let callers = callers(&members, &keys, &[0, 1]);
    let authenticator =
        Authenticator::new(true, callers, anonymous, None, None, Arc::clone(&metrics));
    let (authenticator, readiness) =
        (Arc::new(authenticator), Arc::new(Readiness::new(Arc::clone(&metrics))));
    let gates = Arc::new(Gates {
        metrics: Arc::clone(&metrics),
        recent: Arc::default(),
        readiness: Arc::clone(&readiness),
        proxies: Proxies::default(),
        hosts: AllowedHosts::Any,
        authenticator: Arc::clone(&authenticator),
        is_local: false,
        request_timeout: Duration::from_secs(10),
        max_in_flight: 100,
        max_request_bytes: 1024,
    });
    let limits = RequestLimits {
        max_url_bytes: 8192,
        max_request_bytes: 1024,
        max_response_bytes: 1024,
        max_secrets: 10,
        max_secret_chars: 10,
        stall_timeout: Duration::from_secs(10),
    };
    let decoding = Arc::new(Decoding { decoder, options: Options::default(), limits });
    let public = Public { decoding, readiness, metrics, has_admin: true, names_tenants: false };
    Scene { routes: http::public(public, &gates), authenticator, members, keys }
}

impl Scene {
    /// What is found for a tenant in a document in which each has something.
    async fn found(&self, place: usize) -> String {
        let request = Request::post("/decode")
            .header("Content-Type", "text/plain")
            .header("Authorization", format!("Bearer {}", &*self.keys[place].text))
            .body(Body::from("<a:arsenal:a> <b:botanic:b> {*anonymous*}"));
        let response = self.routes.clone().oneshot(request.expect("a request")).await;
        let body = to_bytes(response.expect("an answer").into_body(), 4096).await;
        let answer: Value = serde_json::from_slice(&body.expect("a body")).expect("JSON");
        answer["secrets"][0]["value"].as_str().unwrap_or_default().to_owned()
    }
}

/// What is ever found for a tenant while the file names now these and now all.
fn ever_found(scene: &Scene, place: usize, now: &[usize]) -> BTreeSet<String> {
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Relaxed) {
                for order in [now, &[0, 1]] {
                    scene.authenticator.replace(callers(&scene.members, &scene.keys, order));
                }
            }
        });
        let asking = threads.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let mut found = BTreeSet::new();
            runtime.expect("a runtime").block_on(async {
                for _ in 0..5_000 {
                    found.insert(scene.found(place).await);
                }
            });
            found
        });
        let found = asking.join();
        is_over.store(true, Relaxed);
        found.expect("no panic")
    })
}

#[test]
fn who_calls_while_tenants_change_places_is_served_as_itself() {
    let scene = scene();

    let found = ever_found(&scene, 0, &[1, 0]);

    assert_eq!(found, ["arsenal".to_owned()].into());
}

#[test]
fn who_calls_while_its_tenant_comes_and_goes_is_served_as_itself_or_not_at_all() {
    let scene = scene();

    let found = ever_found(&scene, 1, &[0]);

    assert!(found.iter().all(|found| ["", "botanic"].contains(&&**found)), "{found:?}");
}
