//! That what is accepted was signed by the issuer, as it stands.

use super::*;
use crate::identity::{Claim, Role};
use ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;

#[test]
fn a_good_token_of_every_algorithm_passes() {
    let league = Claims { tenant: "league".to_owned(), role: Role::Viewer };
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let verified = verify(&signer.keys(), &signer.token(&good()));
        assert_eq!(verified, Ok(league.clone()), "{algorithm}");
    }
}

#[test]
fn one_bit_flipped_anywhere_is_noticed() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let (keys, token) = (signer.keys(), signer.token(&good()));
        let parts: Vec<&str> = token.split('.').collect();
        for place in 0..3 {
            let bytes = URL_SAFE_NO_PAD.decode(parts[place]).unwrap();
            for byte in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[byte] ^= 1 << (byte % 8);
                let flipped = base64(flipped);
                let mut parts = parts.clone();
                parts[place] = &flipped;
                let verified = verify(&keys, &parts.join("."));
                if place == 0 {
                    assert!(verified.is_err(), "{algorithm} {byte}");
                } else {
                    assert_eq!(verified, Err(TokenError::Signature), "{algorithm} {place} {byte}");
                }
            }
        }
    }
}

/// From RFC 7515, appendices A.2 and A.3, and RFC 8037, appendix A.4: nobody here made them.
#[test]
fn what_others_signed_is_understood() {
    let check = |jwk: Value, token: [&str; 3], expected| {
        let keys = IssuerKeys::parse(key_set(&[jwk]).as_bytes()).unwrap();
        let joe = TokenSettings { issuer: "joe".to_owned(), ..settings() };
        // A signature that is wrong would be noticed first.
        assert_eq!(joe.verify(&keys, &token.join("."), now()), Err(expected));
    };
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19\
                  yb290Ijp0cnVlfQ";
    check(
        json!({
            "kty": "RSA",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJ\
                  PMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0\
                  LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD\
                  Zlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2\
                  PAcDTW9gb54h4FRWyuXpoQ",
            "e": "AQAB",
        }),
        [
            "eyJhbGciOiJSUzI1NiJ9",
            claims,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt\
             _O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArL\
             IARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7no\
             OPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ\
             Ge77Rw",
        ],
        TokenError::Claim(Claim::Audience),
    );
    check(
        json!({
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }),
        [
            "eyJhbGciOiJFUzI1NiJ9",
            claims,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU\
             1Q",
        ],
        TokenError::Claim(Claim::Audience),
    );
    check(
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }),
        [
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0K\
             Ag",
        ],
        // It signs a sentence.
        TokenError::Malformed,
    );
}

#[test]
fn a_key_is_of_no_use_for_any_algorithm_but_its_own() {
    let signers = Algorithm::ALL.map(Signer::new);
    for signer in &signers {
        let keys = signer.keys();
        for other in Algorithm::ALL {
            let header = json!({ "alg": other.as_str(), "kid": signer.algorithm.as_str() });
            let token = signer.token_of(&header.to_string(), &good().to_string());
            let expected =
                if other == signer.algorithm { None } else { Some(TokenError::UnknownKey) };
            assert_eq!(verify(&keys, &token).err(), expected, "{} {other}", signer.algorithm);
        }
    }
}

#[test]
fn an_rsa_key_that_names_no_algorithm_checks_what_the_token_names_and_nothing_else() {
    let signers = [Algorithm::Rs256, Algorithm::Rs512, Algorithm::Ps256].map(Signer::new);
    let mut jwk = signers[0].jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let keys = IssuerKeys::parse(key_set(&[jwk]).as_bytes()).unwrap();
    for signer in &signers {
        for other in &signers {
            let header = json!({ "alg": other.algorithm.as_str(), "kid": "RS256" });
            let token = signer.token_of(&header.to_string(), &good().to_string());
            let is_good = signer.algorithm == other.algorithm;
            let expected = if is_good { None } else { Some(TokenError::Signature) };
            assert_eq!(verify(&keys, &token).err(), expected);
        }
    }
}

#[test]
fn another_key_of_the_same_kind_signs_nothing() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let token = Signer::new(algorithm).token(&good());
        let verified = verify(&Signer::new(algorithm).keys(), &token);
        assert_eq!(verified, Err(TokenError::Signature), "{algorithm}");
    }
}

#[test]
fn a_signature_has_one_form_and_one_length() {
    let der = Signer { algorithm: Algorithm::Es256, pair: ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING) };
    assert_eq!(verify(&der.keys(), &der.token(&good())), Err(TokenError::Signature));

    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let token = signer.token(&good());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let shorter = &signature[..signature.len() - 1];
        let (longer, led) = ([&signature[..], &[0]].concat(), [&[0], &signature[..]].concat());
        let zero = vec![0; signature.len()];
        for wrong in [&[][..], shorter, &longer, &led, &zero, &signature.repeat(2)] {
            let verified = verify(&signer.keys(), &format!("{signed}.{}", base64(wrong)));
            assert_eq!(verified, Err(TokenError::Signature), "{algorithm} {}", wrong.len());
        }
    }
}

#[test]
fn what_is_signed_for_one_token_is_worth_nothing_in_another() {
    let signer = Signer::new(Algorithm::EdDsa);
    let mut staff = good();
    staff["tenant"] = json!("other");
    let (mine, theirs) = (signer.token(&good()), signer.token(&staff));
    let mine: Vec<&str> = mine.split('.').collect();
    let theirs: Vec<&str> = theirs.split('.').collect();
    for mixed in [[mine[0], theirs[1], mine[2]], [mine[0], mine[1], theirs[2]]] {
        assert_eq!(verify(&signer.keys(), &mixed.join(".")), Err(TokenError::Signature));
    }
}
