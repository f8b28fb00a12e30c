//! Key sets as issuers publish them, and as they should not.

use super::*;
use crate::identity::Unusable;

fn len(json: &str) -> Result<usize, Unusable> {
    IssuerKeys::parse(json.as_bytes()).map(|keys| keys.len())
}

/// A key with other members; `null` takes one away.
fn with(jwk: &Value, others: Value) -> Value {
    let mut jwk = jwk.clone();
    let members = jwk.as_object_mut().unwrap();
    members.extend(others.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    jwk
}

#[test]
fn a_set_is_an_object_with_an_array_of_keys() {
    let jwk = Signer::new(Algorithm::EdDsa).jwk();
    assert_eq!(len(&key_set(std::slice::from_ref(&jwk))), Ok(1));
    assert_eq!(len(&json!({ "keys": [jwk], "more": {} }).to_string()), Ok(1));
    let set = key_set(std::slice::from_ref(&jwk));
    for malformed in [
        "",
        "null",
        "[]",
        "{}",
        "{\"keys\":null}",
        "{\"keys\":{}}",
        &json!({ "Keys": [jwk] }).to_string(),
        &json!([jwk]).to_string(),
        &jwk.to_string(),
        &set[1..],
        &set.replacen('{', "{\"keys\":[],", 1),
        &set.replacen("\"kid\"", "\"kid\":\"EdDSA\",\"kid\"", 1),
    ] {
        assert_eq!(len(malformed), Err(Unusable::Malformed), "{malformed}");
    }
    for none in ["{\"keys\":[]}", "{\"keys\":[null,7,\"key\",[],{}]}"] {
        assert_eq!(len(none), Err(Unusable::KeyError), "{none}");
    }
}

#[test]
fn a_set_is_of_bounded_length_and_number() {
    let jwk = Signer::new(Algorithm::EdDsa).jwk();
    let named = |number: usize| with(&jwk, json!({ "kid": number.to_string() }));
    let set = |count| key_set(&(0..count).map(named).collect::<Vec<_>>());
    assert_eq!(len(&set(64)), Ok(64));
    assert_eq!(len(&set(65)), Err(Unusable::TooManyKeys));

    let set = set(1);
    let padded = |length: usize| format!("{set}{}", " ".repeat(length - set.len()));
    assert_eq!(len(&padded(256 * 1024)), Ok(1));
    assert_eq!(len(&padded(256 * 1024 + 1)), Err(Unusable::TooLong));
}

#[test]
fn a_key_that_cannot_check_a_token_is_passed_over() {
    let other = with(&Signer::new(Algorithm::EdDsa).jwk(), json!({ "kid": "other" }));
    let check = |jwk: Value, is_good: bool| {
        let set = key_set(&[jwk.clone(), other.clone()]);
        assert_eq!(len(&set), Ok(1 + usize::from(is_good)), "{jwk}");
        let alone = if is_good { Ok(1) } else { Err(Unusable::KeyError) };
        assert_eq!(len(&key_set(std::slice::from_ref(&jwk))), alone, "{jwk}");
    };
    for algorithm in Algorithm::ALL {
        let jwk = Signer::new(algorithm).jwk();
        let name = algorithm.as_str();
        check(jwk.clone(), true);
        check(with(&jwk, json!({ "alg": name, "use": "sig", "x5t": 7 })), true);
        check(with(&jwk, json!({ "key_ops": ["sign", "verify"], "kid": null })), true);
        check(with(&jwk, json!({ "kid": 7 })), false);
        check(with(&jwk, json!({ "use": "enc" })), false);
        check(with(&jwk, json!({ "use": ["sig"] })), false);
        check(with(&jwk, json!({ "key_ops": [] })), false);
        check(with(&jwk, json!({ "key_ops": ["sign"] })), false);
        check(with(&jwk, json!({ "key_ops": "verify" })), false);
        check(with(&jwk, json!({ "alg": "HS256" })), false);
        check(with(&jwk, json!({ "alg": "RSA-OAEP" })), false);
        check(with(&jwk, json!({ "alg": name.to_ascii_lowercase() })), false);
        check(with(&jwk, json!({ "alg": [name] })), false);
        check(with(&jwk, json!({ "kty": null })), false);
        check(with(&jwk, json!({ "kty": "oct", "k": "c2VjcmV0" })), false);
        check(with(&jwk, json!({ "kty": 1 })), false);
    }
    check(json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }), false);
}

#[test]
fn a_point_lies_on_a_known_curve_and_is_of_its_length() {
    let other = with(&Signer::new(Algorithm::Rs256).jwk(), json!({ "kid": "other" }));
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let jwk = Signer::new(algorithm).jwk();
        let check = |others: Value| {
            let set = key_set(&[with(&jwk, others.clone()), other.clone()]);
            assert_eq!(len(&set), Ok(1), "{algorithm} {others}");
        };
        let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
        for wrong in ["secp256k1", "P-521", "p-256", "X25519", "Ed448", ""] {
            check(json!({ "crv": wrong }));
        }
        check(json!({ "crv": null }));
        check(json!({ "x": null }));
        check(json!({ "x": base64([&[0], &x[..]].concat()) }));
        check(json!({ "x": base64(&x[1..]) }));
        check(json!({ "x": "" }));
        check(json!({ "x": format!("{}=", base64(&x)) }));
        check(json!({ "x": x }));
        if algorithm != Algorithm::EdDsa {
            check(json!({ "y": null }));
            check(json!({ "y": base64(&x[1..]) }));
            check(json!({ "y": base64([&x[..], &[0]].concat()) }));
            let curve = if x.len() == 32 { "P-384" } else { "P-256" };
            check(json!({ "crv": curve }));
        }
    }
    // What has the length and is no point of the curve, checks nothing.
    let signer = Signer::new(Algorithm::Es256);
    let stray = with(&signer.jwk(), json!({ "y": base64([1; 32]) }));
    let keys = IssuerKeys::parse(key_set(&[stray]).as_bytes()).unwrap();
    assert_eq!(verify(&keys, &signer.token(&good())), Err(TokenError::Signature));
}

#[test]
fn a_modulus_has_2048_to_8192_bits_and_an_exponent_is_odd_and_small() {
    let other = with(&Signer::new(Algorithm::EdDsa).jwk(), json!({ "kid": "other" }));
    let check = |n: &[u8], e: &[u8], is_good: bool| {
        let jwk = json!({ "kty": "RSA", "n": base64(n), "e": base64(e) });
        let set = key_set(&[jwk, other.clone()]);
        assert_eq!(len(&set), Ok(1 + usize::from(is_good)), "{} {:?}, {e:?}", n.len(), n.first());
    };
    let modulus = |first: u8, bytes: usize| [vec![first], vec![0xff; bytes - 1]].concat();
    let e = &[1, 0, 1];
    check(&modulus(0x80, 256), e, true);
    check(&modulus(0x7f, 256), e, false);
    check(&modulus(0xff, 255), e, false);
    check(&modulus(0x01, 257), e, true);
    check(&modulus(0xff, 1024), e, true);
    check(&modulus(0x01, 1025), e, false);
    check(&modulus(0x00, 256), e, false);
    check(&modulus(0x00, 257), e, false);
    check(&[], e, false);
    check(&[[0xff; 255].as_slice(), &[0xfe]].concat(), e, false);

    let n = &modulus(0x80, 256);
    check(n, &[3], true);
    check(n, &[1, 0xff, 0xff, 0xff, 0xff], true);
    check(n, &[2, 0, 0, 0, 1], false);
    check(n, &[1, 0, 0, 0, 0, 1], false);
    check(n, &[1, 0, 0, 0, 0, 0, 1, 0, 1], false);
    check(n, &[1], false);
    check(n, &[1, 0, 0], false);
    check(n, &[0, 3], false);
    check(n, &[0], false);
    check(n, &[], false);
}

#[test]
fn a_published_private_key_makes_the_set_unusable() {
    let good = with(&Signer::new(Algorithm::EdDsa).jwk(), json!({ "kid": "good" }));
    for algorithm in Algorithm::ALL {
        let jwk = Signer::new(algorithm).jwk();
        for others in [json!({ "d": "AQAB" }), json!({ "d": 7, "use": "enc", "kty": "other" })] {
            let set = key_set(&[good.clone(), with(&jwk, others)]);
            assert_eq!(len(&set), Err(Unusable::PrivateKey), "{algorithm}");
        }
    }
    assert_eq!(len("{\"keys\":[{\"d\":null}]}"), Err(Unusable::PrivateKey));
}

#[test]
fn a_name_means_one_key_for_an_algorithm() {
    let key = |algorithm, others| with(&Signer::new(algorithm).jwk(), others);
    let check = |keys: [Value; 2], expected| assert_eq!(len(&key_set(&keys)), expected);
    let (es256, rs256, ps256) = (Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256);
    let same = || json!({ "kid": "k" });
    let unnamed = || json!({ "kid": null });
    let any = || json!({ "kid": "k", "alg": null });
    check([key(es256, same()), key(es256, same())], Err(Unusable::SameName));
    check([key(rs256, same()), key(ps256, any())], Err(Unusable::SameName));
    check([key(es256, same()), key(es256, json!({ "kid": "K" }))], Ok(2));
    check([key(es256, same()), key(rs256, any())], Ok(2));
    check([key(rs256, same()), key(ps256, same())], Ok(2));
    check([key(es256, same()), key(es256, json!({ "kid": "k", "use": "enc" }))], Ok(1));
    check([key(es256, unnamed()), key(es256, unnamed())], Ok(2));

    let third = key_set(&[key(rs256, same()), key(es256, same()), key(es256, same())]);
    assert_eq!(len(&third), Err(Unusable::SameName));
}

#[test]
fn a_token_names_its_key_or_there_is_only_one() {
    let (one, two) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    let third = Signer::new(Algorithm::EdDsa);
    let jwks = [
        with(&one.jwk(), json!({ "kid": "one" })),
        with(&two.jwk(), json!({ "kid": null })),
        with(&third.jwk(), json!({ "kid": "three" })),
    ];
    let keys = IssuerKeys::parse(key_set(&jwks).as_bytes()).unwrap();
    let check = |signer: &Signer, kid: Option<&str>, expected: Option<TokenError>| {
        let header = with(&signer.header(), json!({ "kid": kid })).to_string();
        let token = signer.token_of(&header, &good().to_string());
        assert_eq!(verify(&keys, &token).err(), expected, "{kid:?}");
    };
    check(&one, Some("one"), None);
    check(&one, Some("One"), Some(TokenError::UnknownKey));
    check(&one, Some("three"), Some(TokenError::UnknownKey));
    check(&one, None, Some(TokenError::UnknownKey));
    check(&two, None, Some(TokenError::UnknownKey));
    check(&two, Some("one"), Some(TokenError::Signature));
    check(&two, Some(""), Some(TokenError::UnknownKey));
    check(&third, Some("three"), None);
    check(&third, None, None);
}

#[test]
fn what_is_wrong_is_told_in_words() {
    let check = |unusable: Unusable, expected: &str| assert_eq!(unusable.to_string(), expected);
    check(Unusable::TooLong, "the key set is longer than 262144 bytes");
    check(Unusable::Malformed, "the key set is no JSON object with an array of keys");
    check(Unusable::TooManyKeys, "the key set has more than 64 keys");
    check(
        Unusable::PrivateKey,
        "the key set publishes a private key (\"d\"): whoever read it can sign tokens",
    );
    check(
        Unusable::SameName,
        "two keys of the key set have the same kid and fit the same algorithm",
    );
    check(Unusable::KeyError, "no key of the key set can check a token");
}
