//! What a token says, once it is known who says so.

use super::*;
use crate::identity::{Claim, Role};

/// What becomes of these claims once their issuer signed them.
fn judge(settings: &TokenSettings, claims: &str) -> Result<Claims, TokenError> {
    let signer = Signer::new(Algorithm::EdDsa);
    let token = signer.token_of(&signer.header().to_string(), claims);
    settings.verify(&signer.keys(), &token, now())
}

/// The good claims with another value of one of them, or without it.
fn with(name: &str, value: Option<Value>) -> String {
    let mut claims = good();
    let members = claims.as_object_mut().unwrap();
    members.remove(name);
    members.extend(value.map(|value| (name.to_owned(), value)));
    claims.to_string()
}

#[test]
fn a_token_is_of_this_issuer_and_for_this_audience() {
    let check = |name, value: Option<Value>, expected: Option<Claim>| {
        let unfit = judge(&settings(), &with(name, value.clone())).err();
        assert_eq!(unfit, expected.map(TokenError::Claim), "{name} {value:?}");
    };
    let issuer = "https://issuer.example";
    check("iss", Some(json!(issuer)), None);
    for other in [
        json!("https://issuer.example/"),
        json!("https://issuer.exampl"),
        json!("https://ISSUER.example"),
        json!("http://issuer.example"),
        json!(""),
        json!([issuer]),
        json!(7),
        json!(null),
    ] {
        check("iss", Some(other), Some(Claim::Issuer));
    }
    check("iss", None, Some(Claim::Issuer));

    check("aud", Some(json!("blueprints")), None);
    check("aud", Some(json!(["blueprints"])), None);
    check("aud", Some(json!(["other", "blueprints"])), None);
    for other in [
        json!([]),
        json!(["other"]),
        json!(["blueprints", 7]),
        json!([["blueprints"]]),
        json!({ "blueprints": true }),
        json!("other blueprints"),
        json!("Blueprints"),
        json!(""),
        json!(null),
    ] {
        check("aud", Some(other), Some(Claim::Audience));
    }
    check("aud", None, Some(Claim::Audience));
}

#[test]
fn a_token_says_when_it_ends_and_is_good_until_half_a_minute_later() {
    let check = |value: &str, expected: Option<TokenError>| {
        let claims = with("exp", None).replacen('{', &format!("{{\"exp\":{value},"), 1);
        assert_eq!(judge(&settings(), &claims).err(), expected, "{value}");
    };
    let (expired, no_time) = (Some(TokenError::Expired), Some(TokenError::Claim(Claim::Time)));
    check(&(NOW + 1).to_string(), None);
    check(&NOW.to_string(), None);
    check(&(NOW - 29).to_string(), None);
    check(&(NOW - 30).to_string(), expired);
    check(&(NOW - 31).to_string(), expired);
    check(&format!("{}.75", NOW - 30), None);
    check(&format!("{}.75", NOW - 31), expired);
    check("1.8e9", None);
    check("1e300", None);
    check("18446744073709551615", None);
    check("99999999999999999999999", None);
    check("0", expired);
    check("-1", expired);
    check("-1e300", expired);
    check("1e-400", expired);
    check("\"1800000600\"", no_time);
    check("null", no_time);
    check("true", no_time);
    check("[1800000600]", no_time);
    // These are no JSON.
    check("1e400", Some(TokenError::Malformed));
    check("Infinity", Some(TokenError::Malformed));
    check("0x7fffffff", Some(TokenError::Malformed));
    let without = judge(&settings(), &with("exp", None));
    assert_eq!(without, Err(TokenError::Claim(Claim::Time)));
}

#[test]
fn a_token_is_good_from_half_a_minute_before_it_begins() {
    for name in ["nbf", "iat"] {
        let check = |value: Value, expected: Option<TokenError>| {
            let unfit = judge(&settings(), &with(name, Some(value.clone()))).err();
            assert_eq!(unfit, expected, "{name} {value}");
        };
        check(json!(0), None);
        check(json!(-1), None);
        check(json!(NOW), None);
        check(json!(NOW + 30), None);
        check(json!(NOW as f64 + 30.5), Some(TokenError::NotYetValid));
        check(json!(NOW + 31), Some(TokenError::NotYetValid));
        check(json!(1e300), Some(TokenError::NotYetValid));
        check(json!("0"), Some(TokenError::Claim(Claim::Time)));
        check(json!(null), Some(TokenError::Claim(Claim::Time)));
        check(json!([]), Some(TokenError::Claim(Claim::Time)));
    }
}

#[test]
fn before_1970_no_token_is_good() {
    let signer = Signer::new(Algorithm::EdDsa);
    let (keys, token) = (signer.keys(), signer.token(&good()));
    let judge = |now| settings().verify(&keys, &token, now).err();
    assert_eq!(judge(UNIX_EPOCH - Duration::from_nanos(1)), Some(TokenError::NotYetValid));
    assert_eq!(judge(UNIX_EPOCH), None);
}

#[test]
fn a_tenant_is_named_like_one() {
    let check = |value: Option<Value>, is_good: bool| {
        let judged = judge(&settings(), &with("tenant", value.clone()));
        let expected = match (&value, is_good) {
            (Some(Value::String(name)), true) => Ok(name.clone()),
            _ => Err(TokenError::Claim(Claim::Tenant)),
        };
        assert_eq!(judged.map(|claims| claims.tenant), expected, "{value:?}");
    };
    for good in ["a", "league-2", "0", "-", &"x".repeat(32)] {
        check(Some(json!(good)), true);
    }
    let long = "x".repeat(33);
    for bad in ["", "League", "le ague", "league\n", "league\0", "l_e", "l.e", "é", "*", &long] {
        check(Some(json!(bad)), false);
    }
    for other in [json!(7), json!(null), json!(["league"]), json!({ "name": "league" })] {
        check(Some(other), false);
    }
    check(None, false);
}

#[test]
fn a_role_is_at_most_decoder() {
    let check = |value: Option<Value>, expected: Option<Role>| {
        let judged = judge(&settings(), &with("role", value.clone()));
        let expected = expected.ok_or(TokenError::Claim(Claim::Role));
        assert_eq!(judged.map(|claims| claims.role), expected, "{value:?}");
    };
    check(Some(json!("viewer")), Some(Role::Viewer));
    check(Some(json!("decoder")), Some(Role::Decoder));
    check(Some(json!("auditor")), Some(Role::Decoder));
    check(Some(json!("operator")), Some(Role::Decoder));
    for other in ["", "Decoder", "decoder ", "admin", "viewer,decoder", "*"] {
        check(Some(json!(other)), None);
    }
    for other in [json!(null), json!(1), json!(true), json!(["decoder"])] {
        check(Some(other), None);
    }
    check(None, None);
}

#[test]
fn claims_are_named_as_the_settings_say_and_a_dot_is_a_dot() {
    let settings = TokenSettings {
        tenant_claim: "realm.tenant".to_owned(),
        role_claim: "https://example.org/role".to_owned(),
        ..settings()
    };
    let mut claims = good();
    claims["https://example.org/role"] = json!("decoder");
    claims["realm"] = json!({ "tenant": "deep" });
    let judged = judge(&settings, &claims.to_string());
    assert_eq!(judged, Err(TokenError::Claim(Claim::Tenant)));

    claims["realm.tenant"] = json!("flat");
    let judged = judge(&settings, &claims.to_string());
    let expected = Claims { tenant: "flat".to_owned(), role: Role::Decoder };
    assert_eq!(judged, Ok(expected));
}

#[test]
fn claims_that_are_no_object_or_say_a_thing_twice_are_none() {
    let twice = |member: &str| good().to_string().replacen('{', &format!("{{{member},"), 1);
    for claims in [
        "",
        "null",
        "[]",
        "\"league\"",
        "{",
        &good().to_string().repeat(2),
        &twice(r#""tenant":"other""#),
        &twice(r#""tenant":"league""#),
        &twice(r#""ten\u0061nt":"other""#),
        &twice(r#""exp":1"#),
        &twice(r#""x":[{"y":1,"y":2}]"#),
    ] {
        assert_eq!(judge(&settings(), claims), Err(TokenError::Malformed), "{claims}");
    }
    assert_eq!(judge(&settings(), &twice(r#""x":{"y":1,"z":1}"#)).err(), None);
}

#[test]
fn the_first_thing_that_is_wrong_is_what_is_told() {
    let mut claims = json!({});
    for (name, value, expected) in [
        ("iss", json!("https://issuer.example"), TokenError::Claim(Claim::Issuer)),
        ("aud", json!("blueprints"), TokenError::Claim(Claim::Audience)),
        ("exp", json!(NOW), TokenError::Claim(Claim::Time)),
        ("tenant", json!("league"), TokenError::Claim(Claim::Tenant)),
        ("role", json!("viewer"), TokenError::Claim(Claim::Role)),
    ] {
        assert_eq!(judge(&settings(), &claims.to_string()), Err(expected));
        claims[name] = value;
    }
    assert_eq!(judge(&settings(), &claims.to_string()).err(), None);
}

#[test]
fn what_is_wrong_is_told_in_words() {
    let check = |unfit: TokenError, expected: &str| assert_eq!(unfit.to_string(), expected);
    check(TokenError::TooLong, "the token is longer than 8192 bytes");
    check(TokenError::Malformed, "it is no token that this service reads");
    check(TokenError::Algorithm, "the token's algorithm is none of the allowed ones");
    check(TokenError::UnknownKey, "the issuer has no key that the token could mean");
    check(TokenError::Signature, "the token's signature is wrong");
    check(TokenError::Expired, "the token has expired");
    check(TokenError::NotYetValid, "the token is not valid yet");
    let claim = |claim, expected| check(TokenError::Claim(claim), expected);
    claim(Claim::Issuer, "the token is of another issuer");
    claim(Claim::Audience, "the token is for another audience");
    claim(Claim::Time, "the token does not say in numbers when it is good");
    claim(Claim::Tenant, "the token's tenant claim is no name of a tenant");
    claim(Claim::Role, "the token's role claim is no role");
}
