//! Tokens: who is let in with one, and who is told nothing.

use crate::support::{
    app::{Answer, TestApp},
    callers::{Key, Roster, TenantsFile},
    issuer::{Issuer, KeysFile, claims, in_hours, keys_at, signed_by, taking_tokens},
    upstream::{Reply, Upstream},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::RequestBuilder;
use ring::hmac;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

/// A tenant, and one that has no key.
fn two_tenants(key: &Key) -> Roster {
    Roster::default().tenant("league", "", &[(key, "decoder")]).tenant("guild", "", &[])
}

/// A service that takes the tokens of an issuer, whose keys it has from a file.
async fn taking(issuer: &Issuer, tenants: &TenantsFile, more: &str) -> (TestApp, KeysFile) {
    let keys = KeysFile::new(&issuer.jwks());
    let config = tenants.config() + &taking_tokens(&(keys.config() + more));
    (TestApp::start(&config).await, keys)
}

#[tokio::test]
async fn a_token_lets_in_as_the_tenant_that_it_names() {
    let issuer = Issuer::new();
    let tenants = TenantsFile::new(&two_tenants(&Key::new()));
    let (app, _keys) = taking(&issuer, &tenants, "").await;

    for tenant in ["league", "guild"] {
        let answer = app.decode_with(&issuer.good(tenant, "decoder")).await;

        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.header("x-request-id").expect("an id");
        assert_eq!(app.request_line(id).await["tenant"], tenant);
        let decodes =
            format!("decoder_tenant_decodes_total{{outcome=\"success\",tenant=\"{tenant}\"}}");
        assert_eq!(app.metrics().await[&decodes], 1.0);
    }
}

#[tokio::test]
async fn a_token_may_do_what_its_role_may_and_is_never_of_the_staff() {
    let issuer = Issuer::new();
    let tenants = TenantsFile::new(&two_tenants(&Key::new()));
    let keys = KeysFile::new(&issuer.jwks());
    let upstream = Upstream::tls().await;
    upstream.on("/doc", Reply::ok("{*a*}"));
    let config = tenants.config() + &taking_tokens(&keys.config());
    let app = TestApp::with_source(&upstream, "", &config).await;
    let source = upstream.url("/doc");
    let bodies = [
        json!({ "source": source, "output": "masked" }),
        json!({ "source": source, "output": "full" }),
        json!({ "source": source, "output": "masked", "markers": [{ "start": "a", "end": "b" }] }),
        json!({ "content": "{*a*}", "output": "masked" }),
    ];
    let roles = [
        ("viewer", [200, 403, 403, 403]),
        ("decoder", [200; 4]),
        ("auditor", [200; 4]),
        ("operator", [200; 4]),
    ];

    for (role, expected) in roles {
        let token = issuer.good("league", role);
        for (body, expected) in bodies.iter().zip(expected) {
            let answer = Answer::of(app.asking(body).bearer_auth(&token)).await;
            assert_eq!(answer.status, expected, "{role} {body}: {answer:?}");
        }
        let admin = app.admin.expect("an admin listener");
        for path in ["usage", "errors", "circuits", "config"] {
            let request = app.client.get(format!("http://{admin}/admin/{path}"));
            let answer = Answer::of(request.bearer_auth(&token)).await;
            answer.discreet_problem(403, "forbidden");
        }
        let reload = app.client.post(format!("http://{admin}/admin/reload"));
        Answer::of(reload.bearer_auth(&token)).await.discreet_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn only_tenants_that_are_known_and_served_are_let_in() {
    let issuer = Issuer::new();
    let roster = two_tenants(&Key::new()).tenant("gone", "disabled = true", &[]);
    let (app, _keys) = taking(&issuer, &TenantsFile::new(&roster), "").await;
    for (tenant, status, code) in [
        ("gone", 403, "forbidden"),
        ("nobody", 401, "unauthenticated"),
        ("anonymous", 401, "unauthenticated"),
        ("League", 401, "unauthenticated"),
        ("", 401, "unauthenticated"),
        ("*", 401, "unauthenticated"),
    ] {
        let answer = app.decode_with(&issuer.good(tenant, "decoder")).await;
        answer.discreet_problem(status, code);
    }
}

#[tokio::test]
async fn claims_have_the_names_that_the_configuration_gives_them() {
    let issuer = Issuer::new();
    let tenants = TenantsFile::new(&two_tenants(&Key::new()));
    let names = "tenant_claim = \"sub\"\nrole_claim = \"https://a.test/r.o.l.e\"\n";
    let (app, _keys) = taking(&issuer, &tenants, names).await;
    let mut renamed = claims("guild", "operator");
    renamed["sub"] = json!("league");
    renamed["https://a.test/r.o.l.e"] = json!("decoder");

    let answer = app.decode_with(&issuer.token(renamed)).await;

    let id = answer.header("x-request-id").expect("an id");
    assert_eq!((answer.status, &app.request_line(id).await["tenant"]), (200, &json!("league")));
    assert_eq!(app.decode_with(&issuer.good("league", "decoder")).await.status, 401);
}

/// A good token's claims but for one.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("league", "decoder");
    claims[name] = value;
    claims
}

/// What a token can say and be signed with, and is not let in for.
fn bad_tokens(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let good = issuer.good("league", "decoder");
    let public: Value = serde_json::from_str(&issuer.jwks()).expect("JSON");
    let bytes = |name: &str| {
        let text = public["keys"][0][name].as_str().expect("a coordinate");
        URL_SAFE_NO_PAD.decode(text).expect("base64")
    };
    let point = [vec![4], bytes("x"), bytes("y")].concat();
    let symmetric = |secret: &[u8]| {
        let header = json!({ "alg": "HS256", "kid": "key-1" });
        signed_by(header, claims("league", "decoder"), |text| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text).as_ref().to_vec()
        })
    };
    let header = |more: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "key-1" });
        let header_fields = header.as_object_mut().expect("an object");
        header_fields.extend(more.as_object().expect("an object").clone());
        issuer.token_with(header, claims("league", "decoder"))
    };
    let unsigned = |alg: &str| {
        let header = json!({ "alg": alg, "kid": "key-1" });
        signed_by(header, claims("league", "decoder"), |_| Vec::new())
    };
    let (signed, signature) = good.rsplit_once('.').expect("a token");
    let mut other = Issuer::new();
    let by_another = other.good("league", "decoder");
    other.rotate();
    vec![
        ("no algorithm", unsigned("none")),
        ("no algorithm, in capitals", unsigned("NONE")),
        ("no signature", format!("{signed}.")),
        (
            "a signature of nothing",
            signed_by(
                json!({ "alg": "ES256", "kid": "key-1" }),
                claims("league", "decoder"),
                |_| vec![0; 64],
            ),
        ),
        ("the public key as a secret, a point", symmetric(&point)),
        ("the public key as a secret, JSON", symmetric(public["keys"][0].to_string().as_bytes())),
        ("the public key as a secret, the set", symmetric(issuer.jwks().as_bytes())),
        ("an algorithm that is not allowed", header(json!({ "alg": "ES384" }))),
        ("the algorithm of another kind of key", header(json!({ "alg": "RS256" }))),
        ("another spelling", header(json!({ "alg": "es256" }))),
        ("something critical", header(json!({ "crit": ["exp"] }))),
        ("another type", header(json!({ "typ": "dpop+jwt" }))),
        ("a name that is none", header(json!({ "kid": 1 }))),
        ("another issuer", issuer.token(with("iss", json!("https://issuer.test/")))),
        ("no issuer", issuer.token(with("iss", Value::Null))),
        ("another audience", issuer.token(with("aud", json!("blueprint")))),
        ("no audience", issuer.token(with("aud", json!([])))),
        ("expired", issuer.token(with("exp", json!(in_hours(-1))))),
        ("no end", issuer.token(with("exp", Value::Null))),
        ("an end in words", issuer.token(with("exp", json!(in_hours(1).to_string())))),
        ("not yet valid", issuer.token(with("nbf", json!(in_hours(1))))),
        ("issued later", issuer.token(with("iat", json!(in_hours(1))))),
        ("no role", issuer.token(with("role", json!("admin")))),
        ("two roles", issuer.token(with("role", json!(["viewer", "decoder"])))),
        ("two tenants", issuer.token(with("tenant", json!(["league", "guild"])))),
        ("oversized", issuer.token(with("more", json!("x".repeat(8 << 10))))),
        ("a key of the same name", by_another),
        ("a key that is not there", other.good("league", "decoder")),
        ("padded", format!("{good}=")),
        ("a part too many", format!("{good}.{signature}")),
        ("a part too few", signed.to_owned()),
        ("a blank behind", format!("{good} x")),
        ("garbage", "a.b.c".to_owned()),
        ("dots", "..".to_owned()),
        ("something like a key", format!("bpd_{good}")),
    ]
}

#[tokio::test]
async fn whoever_shows_another_token_is_told_the_same_as_with_a_wrong_key() {
    let (issuer, wrong) = (Issuer::new(), Key::new());
    let tenants = TenantsFile::new(&two_tenants(&Key::new()));
    let (app, _keys) = taking(&issuer, &tenants, "").await;
    let body = json!({ "content": "{*a*}" });
    let asking = || app.asking(&body).header("X-Request-Id", "same");
    let (good, basic) = (issuer.good("league", "decoder"), issuer.good("league", "decoder"));
    let expected = Answer::of(asking().bearer_auth(wrong.text())).await;
    expected.discreet_problem(401, "unauthenticated");
    let mut cases: Vec<(&str, RequestBuilder)> = vec![
        ("as a key", asking().header("X-Api-Key", &good)),
        ("two", asking().bearer_auth(&good).bearer_auth(issuer.good("guild", "decoder"))),
        ("the same twice", asking().bearer_auth(&good).bearer_auth(&good)),
        ("with a key", asking().bearer_auth(&good).header("X-Api-Key", wrong.text())),
        ("as a password", asking().basic_auth("league", Some(basic))),
        ("by another scheme", asking().header("Authorization", format!("DPoP {good}"))),
        ("without a scheme", asking().header("Authorization", &good)),
        ("in a list", asking().header("Authorization", format!("Bearer {good}, Bearer {good}"))),
        ("in a cookie", asking().header("Cookie", format!("access_token={good}"))),
    ];
    for (what, token) in bad_tokens(&issuer) {
        cases.push((what, asking().bearer_auth(token)));
    }
    let refused = cases.len();

    for (what, request) in cases {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, &answer.text), (401, &expected.text), "{what}");
        let headers = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            headers.remove("date");
            headers
        };
        assert_eq!(headers(&answer), headers(&expected), "{what}");
    }

    let failed = app.metrics().await["decoder_security_events_total{kind=\"auth_failed\"}"];
    assert_eq!(failed, (refused + 1) as f64);
    // They are all bad for what is said of them: the one that is not lets in.
    assert_eq!(Answer::of(asking().bearer_auth(&good)).await.status, 200);
}

#[tokio::test]
async fn who_signs_with_what_the_configuration_does_not_name_is_not_let_in() {
    let issuer = Issuer::new();
    let tenants = TenantsFile::new(&two_tenants(&Key::new()));
    let (app, _keys) = taking(&issuer, &tenants, "algorithms = [\"EdDSA\", \"RS256\"]\n").await;
    let answer = app.decode_with(&issuer.good("league", "decoder")).await;
    answer.discreet_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_key_that_a_token_brings_along_or_points_at_is_never_used() {
    let (issuer, attacker) = (Issuer::new(), Issuer::new());
    let (keys, theirs) = (Upstream::tls().await, Upstream::tls().await);
    keys.on("/jwks", Reply::ok(issuer.jwks()));
    theirs.on("/jwks", Reply::ok(attacker.jwks()));
    let tenants = TenantsFile::new(&two_tenants(&Key::new()));
    let config = tenants.config() + &taking_tokens(&keys_at(&keys));
    // Even where it could be fetched.
    let app = TestApp::with_sources(&[&keys, &theirs], "", &config).await;
    app.keys_are_current(true).await;
    let set: Value = serde_json::from_str(&attacker.jwks()).expect("JSON");
    let url = theirs.url("/jwks");
    for (name, value) in [
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", set["keys"][0].clone()),
        ("x5c", json!([url])),
        ("kid", json!(url)),
        ("iss", json!(url)),
    ] {
        for kid in ["key-1", "key-2"] {
            let mut header = json!({ "alg": "ES256", "typ": "JWT", "kid": kid });
            header[name] = value.clone();
            let mut claims = claims("league", "decoder");
            claims[name] = value.clone();
            let token = attacker.token_with(header, claims);

            let answer = app.decode_with(&token).await;

            answer.discreet_problem(401, "unauthenticated");
        }
    }
    assert_eq!(theirs.connections(), 0);
    assert_eq!(app.decode_with(&issuer.good("league", "decoder")).await.status, 200);
}

#[tokio::test]
async fn a_token_leaves_nothing_behind() {
    let (issuer, other, ops) = (Issuer::new(), Issuer::new(), Key::new());
    let tenants = TenantsFile::new(&two_tenants(&Key::new()).staff(&ops, "operator"));
    let trace = "[telemetry]\nlog = \"trace\"\n";
    let (app, _keys) = taking(&issuer, &tenants, trace).await;
    let canary = "Zq7vXk9rWmTb3";
    let claims = |hours| {
        let mut claims = with("sub", json!(canary));
        claims["exp"] = json!(in_hours(hours));
        claims
    };
    let header = json!({ "alg": "ES256", "kid": canary });
    let mut nobody = claims(1);
    nobody["tenant"] = json!("zq7vxk9rwmtb3");
    let tokens = [
        (issuer.token(claims(1)), 200),
        (issuer.token(claims(-1)), 401),
        (issuer.token(nobody), 401),
        (other.token(claims(1)), 401),
        (other.token_with(header, claims(1)), 401),
        (format!("{canary}.{canary}.{canary}"), 401),
    ];

    for (token, expected) in &tokens {
        let answer = app.decode_with(token).await;
        assert_eq!(answer.status, *expected, "{answer:?}");
        let id = answer.header("x-request-id").expect("an id");
        app.request_line(id).await;
    }

    let mut told = vec![("the log", app.log_lines().concat())];
    told.push(("metrics", app.get_admin("/metrics").await.text));
    for path in ["/admin/errors", "/admin/usage", "/admin/config", "/admin/circuits"] {
        let answer = app.admin_as(&ops, "GET", path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        told.push((path, answer.text));
    }
    for (place, text) in told {
        let text = text.to_lowercase();
        for (token, _) in &tokens {
            for part in token.split('.').chain([canary]) {
                assert!(!text.contains(&part.to_lowercase()), "{part} in {place}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_flood_of_bad_tokens_is_not_looked_at() {
    let issuer = Issuer::new();
    let tenants = TenantsFile::new(&two_tenants(&Key::new()));
    let limit = "[rate_limit]\nrequests_per_minute = 1\nburst = 5\n";
    let (app, _keys) = taking(&issuer, &tenants, limit).await;
    let bad = [issuer.token(with("exp", json!(in_hours(-1)))), issuer.of_key("unknown")];
    let mut statuses = Vec::new();

    for number in 0..5000 {
        statuses.push(app.decode_with(&bad[number % 2]).await.status);
    }

    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses[5..].iter().all(|status| *status == 429), "{statuses:?}");
    let failed = app.metrics().await["decoder_security_events_total{kind=\"auth_failed\"}"];
    assert_eq!(failed, 5.0);
    app.decode_with(&issuer.good("league", "decoder")).await.problem(429, "rate_limited");
}

#[tokio::test]
async fn nobody_is_taken_for_the_tenant_that_has_their_place_in_the_next_file() {
    let (issuer, ops) = (Issuer::new(), Key::new());
    let roster = |is_first: bool| {
        let others = Roster::default().staff(&ops, "operator");
        match is_first {
            true => others.tenant("league", "", &[]).tenant("gone", "disabled = true", &[]),
            false => others.tenant("gone", "disabled = true", &[]).tenant("league", "", &[]),
        }
    };
    let tenants = TenantsFile::new(&roster(true));
    let (app, _keys) = taking(&issuer, &tenants, "").await;
    let (app, token) = (Arc::new(app), issuer.good("league", "decoder"));
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let (app, token) = (Arc::clone(&app), token.clone());
        asking.spawn(async move {
            for _ in 0..200 {
                assert_eq!(app.decode_with(&token).await.status, 200);
            }
        });
    }

    let mut is_first = false;
    while asking.try_join_next().transpose().expect("league is served").is_some()
        || !asking.is_empty()
    {
        tenants.write(roster(is_first).text());
        assert_eq!(app.admin_as(&ops, "POST", "/admin/reload").await.status, 200);
        is_first = !is_first;
    }
}
