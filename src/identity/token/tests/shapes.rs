//! What is no token, and what a header can try.

use super::*;
use ring::hmac;

#[test]
fn a_token_is_three_parts_of_strict_base64() {
    let signer = Signer::new(Algorithm::EdDsa);
    let keys = signer.keys();
    let token = signer.token(&good());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{token}") };
    let check = |token: &str, expected| {
        assert_eq!(verify(&keys, token).err(), Some(expected), "{token:?}");
    };
    assert_eq!(verify(&keys, &token).err(), None);
    for malformed in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        header,
        &format!("{header}.{claims}"),
        &format!("{header}.{claims}{signature}"),
        &format!(".{claims}.{signature}"),
        &format!("{token}."),
        &format!(".{token}"),
        &format!("{token}.{signature}"),
        &format!("{header}..{claims}.{signature}"),
        &format!("{token}=="),
        &format!("{header}=.{claims}.{signature}"),
        &format!("{header}.{claims}=.{signature}"),
        &format!(" {token}"),
        &format!("{token} "),
        &format!("{token}\n"),
        &format!("{token}\0"),
        &format!("\0{token}"),
        &format!("{header}.\t{claims}.{signature}"),
        &format!("{header} .{claims}.{signature}"),
        &format!("{header}.{claims}\r\n.{signature}"),
        &format!("{header}.{claims}.é{signature}"),
        &format!("Bearer {token}"),
        "{\"payload\":\"\",\"signatures\":[]}",
    ] {
        check(malformed, TokenError::Malformed);
    }
    check(&format!("{header}.{claims}."), TokenError::Signature);
    check(&format!("{header}..{signature}"), TokenError::Signature);
    check(&format!("{claims}.{header}.{signature}"), TokenError::Algorithm);
}

#[test]
fn base64_has_one_alphabet_and_one_spelling() {
    let signer = Signer::new(Algorithm::EdDsa);
    // In base64 there is each of the two signs on which the alphabets differ.
    let header = r#"{"alg":"EdDSA","x":"???>>>~~~"}"#;
    let token = signer.token_of(header, &good().to_string());
    assert_eq!(verify(&signer.keys(), &token).err(), None);
    let plain = base64(header);
    assert!(plain.contains('-') && plain.contains('_'), "{plain}");
    for (ours, theirs) in [("-", "+"), ("_", "/")] {
        let other = token.replacen(&plain, &plain.replace(ours, theirs), 1);
        assert_eq!(verify(&signer.keys(), &other), Err(TokenError::Malformed));
    }

    // 64 bytes leave four bits in the last sign that mean nothing.
    let signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = token.chars().last().unwrap();
    let place = signs.find(last).unwrap();
    for other in signs[place + 1..place + 16].chars() {
        let other = format!("{}{other}", &token[..token.len() - 1]);
        assert_eq!(verify(&signer.keys(), &other), Err(TokenError::Malformed));
    }
}

#[test]
fn a_token_is_no_longer_than_8_kib() {
    let signer = Signer::new(Algorithm::EdDsa);
    let of = |padding: usize| {
        let header = json!({ "alg": "EdDSA", "kid": "EdDSA", "x": "x".repeat(padding) });
        let token = signer.token_of(&header.to_string(), &good().to_string());
        (token.len(), verify(&signer.keys(), &token).err())
    };
    let overhead = of(0).0;
    let fits = (8192 - overhead) / 4 * 3;
    let lengths = (fits - 3..fits + 3).map(of);
    let (short, long): (Vec<_>, Vec<_>) = lengths.partition(|(length, _)| *length <= 8192);
    assert!(short.iter().any(|(length, _)| *length > 8188), "{short:?}");
    assert!(short.iter().all(|(_, unfit)| unfit.is_none()), "{short:?}");
    assert!(!long.is_empty() && long.iter().all(|(_, unfit)| *unfit == Some(TokenError::TooLong)));
    let exact = |length| verify(&signer.keys(), &"x".repeat(length)).err();
    assert_eq!(exact(8192), Some(TokenError::Malformed));
    assert_eq!(exact(8193), Some(TokenError::TooLong));
    assert_eq!(exact(8 << 20), Some(TokenError::TooLong));
}

#[test]
fn a_header_is_plain_or_the_token_is_none() {
    let signer = Signer::new(Algorithm::EdDsa);
    let keys = signer.keys();
    let check = |header: &str, expected: Option<TokenError>| {
        let token = signer.token_of(header, &good().to_string());
        assert_eq!(verify(&keys, &token).err(), expected, "{header}");
    };
    let with = |more: &str, expected| check(&format!(r#"{{"alg":"EdDSA",{more}}}"#), expected);

    check(r#"{"alg":"EdDSA"}"#, None);
    with(r#""kid":"EdDSA""#, None);
    with(r#""kid":"eddsa""#, Some(TokenError::UnknownKey));
    with(r#""kid":"""#, Some(TokenError::UnknownKey));
    with(r#""kid":"EdDSA\u0000""#, Some(TokenError::UnknownKey));
    with(r#""kid":"../../dev/null""#, Some(TokenError::UnknownKey));
    with(r#""kid":null"#, Some(TokenError::Malformed));
    with(r#""kid":7"#, Some(TokenError::Malformed));
    with(r#""kid":["EdDSA"]"#, Some(TokenError::Malformed));

    for named in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "Application/AT+JWT"] {
        with(&format!(r#""typ":"{named}""#), None);
    }
    for other in ["", "JOSE", "dpop+jwt", "jwt ", "application/", "application/application/jwt"] {
        with(&format!(r#""typ":"{other}""#), Some(TokenError::Malformed));
    }
    with(r#""typ":null"#, Some(TokenError::Malformed));
    with(r#""typ":["JWT"]"#, Some(TokenError::Malformed));

    for crit in [r#"["exp"]"#, r#"["b64"],"b64":false"#, "[]", "null", "\"\"", r#"["alg"]"#] {
        with(&format!(r#""crit":{crit}"#), Some(TokenError::Malformed));
    }
    with(r#""b64":false"#, None);
    with(r#""kid":"EdDSA","kid":"EdDSA""#, Some(TokenError::Malformed));
    with(r#""alg":"none""#, Some(TokenError::Malformed));
    with(r#""a\u006cg":"EdDSA""#, Some(TokenError::Malformed));
    with(r#""x":{"y":1,"y":1}"#, Some(TokenError::Malformed));

    for none in ["", "null", "7", "[]", "\"EdDSA\"", "{", "{}{}", "\u{feff}{}"] {
        check(none, Some(TokenError::Malformed));
    }
    check(&format!(r#"{{"alg":"EdDSA","x":{}}}"#, "[".repeat(4000)), Some(TokenError::Malformed));
}

#[test]
fn an_algorithm_is_one_of_those_allowed_or_the_token_is_not_even_looked_at() {
    let signer = Signer::new(Algorithm::EdDsa);
    let keys = signer.keys();
    let check = |header: &str| {
        let token = signer.token_of(header, &good().to_string());
        assert_eq!(verify(&keys, &token).err(), Some(TokenError::Algorithm), "{header}");
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(
            verify(&keys, &format!("{signed}.")).err(),
            Some(TokenError::Algorithm),
            "{header}"
        );
    };
    for other in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        "",
        "HS256",
        "HS384",
        "HS512",
        "eddsa",
        "EDDSA",
        "EdDSA ",
        "EdDSA\\u0000",
        "Ed25519",
        "ES512",
        "ES256K",
        "RSA1_5",
        "dir",
    ] {
        check(&format!(r#"{{"alg":"{other}"}}"#));
    }
    for other in ["null", "0", "true", r#"["EdDSA"]"#, r#"{"alg":"EdDSA"}"#, r#"{"EdDSA":1}"#] {
        check(&format!(r#"{{"alg":{other}}}"#));
    }
    check("{}");
    check(r#"{"Alg":"EdDSA"}"#);

    let only = TokenSettings { algorithms: vec![Algorithm::Es256], ..settings() };
    let token = signer.token(&good());
    assert_eq!(only.verify(&keys, &token, now()), Err(TokenError::Algorithm));
}

#[test]
fn what_everybody_knows_signs_nothing() {
    let signer = Signer::new(Algorithm::Rs256);
    let Pair::Rsa(pair, _) = &signer.pair else { panic!("no RSA") };
    let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
    let jwk = signer.jwk().to_string();
    for secret in [pair.public().as_ref(), &public.n, jwk.as_bytes(), b""] {
        for (name, expected) in [("HS256", TokenError::Algorithm), ("RS256", TokenError::Signature)]
        {
            let header = json!({ "alg": name, "kid": "RS256" }).to_string();
            let signed = format!("{}.{}", base64(header), base64(good().to_string()));
            let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let signature = base64(hmac::sign(&secret, signed.as_bytes()));
            let token = format!("{signed}.{signature}");
            assert_eq!(verify(&signer.keys(), &token), Err(expected));
        }
    }
}

#[test]
fn a_key_that_comes_with_the_token_is_not_used() {
    let (issuer, forger) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    let evil = "https://evil.example/keys";
    for (name, value) in [
        ("jwk", forger.jwk()),
        ("jku", json!(evil)),
        ("x5u", json!(evil)),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = json!({ "alg": "ES256", "kid": "ES256", name: value }).to_string();
        let forged = forger.token_of(&header, &good().to_string());
        assert_eq!(verify(&issuer.keys(), &forged), Err(TokenError::Signature), "{name}");
        let own = issuer.token_of(&header, &good().to_string());
        assert_eq!(verify(&issuer.keys(), &own).err(), None, "{name}");
    }
}
