//! That whatever somebody sends is refused, and nothing of it makes the service fall.

use super::*;
use proptest::{prelude::*, sample::Index};
use std::sync::LazyLock;

/// A set, and a token for each of its keys that says who is calling.
static KNOWN: LazyLock<(IssuerKeys, Vec<String>)> = LazyLock::new(|| {
    let signers = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].map(Signer::new);
    let jwks = signers.each_ref().map(Signer::jwk);
    let keys = IssuerKeys::parse(key_set(&jwks).as_bytes()).unwrap();
    (keys, signers.iter().map(|signer| signer.token(&good())).collect())
});

/// What can be done to a token.
#[derive(Debug, Clone)]
enum Change {
    Replace(Index, char),
    Insert(Index, char),
    Remove(Index),
    Swap(Index, Index),
    Cut(Index),
    Repeat(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    let sign = || prop_oneof![prop::char::range('\0', '\u{7f}'), any::<char>()];
    prop_oneof![
        (place(), sign()).prop_map(|(at, sign)| Change::Replace(at, sign)),
        (place(), sign()).prop_map(|(at, sign)| Change::Insert(at, sign)),
        place().prop_map(Change::Remove),
        (place(), place()).prop_map(|(one, other)| Change::Swap(one, other)),
        place().prop_map(Change::Cut),
        place().prop_map(Change::Repeat),
    ]
}

fn apply(change: Change, signs: &mut Vec<char>) {
    let count = signs.len();
    if count == 0 {
        return;
    }
    match change {
        Change::Replace(at, sign) => signs[at.index(count)] = sign,
        Change::Insert(at, sign) => signs.insert(at.index(count + 1), sign),
        Change::Remove(at) => drop(signs.remove(at.index(count))),
        Change::Swap(one, other) => signs.swap(one.index(count), other.index(count)),
        Change::Cut(at) => signs.truncate(at.index(count)),
        Change::Repeat(at) => signs.extend_from_within(at.index(count)..),
    }
}

const SOME_CLAIMS: &str =
    r#"\{("(iss|exp|nbf|aud|tenant)":("[a-z]"|-?[0-9]{1,30}(e[0-9]{1,3})?|\[\]),?){0,3}\}"#;
const SOME_JWK: &str = concat!(
    r#"\{("(kty|crv|n|e|x|y|use|alg|kid)":"#,
    r#"("(RSA|EC|OKP|P-256|Ed25519|[A-Za-z0-9_-]{0,50})"|7|null),?){0,5}\}"#,
);

proptest! {
    #[test]
    fn no_change_of_a_good_token_leaves_one(
        which in any::<Index>(),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        let (keys, tokens) = &*KNOWN;
        let token = which.get(tokens);
        let mut signs: Vec<char> = token.chars().collect();
        changes.into_iter().for_each(|change| apply(change, &mut signs));
        let changed: String = signs.into_iter().collect();
        prop_assert_eq!(verify(keys, &changed).is_ok(), changed == *token, "{}", changed);
    }

    #[test]
    fn no_text_is_a_token_by_chance(text in any::<String>()) {
        prop_assert!(verify(&KNOWN.0, &text).is_err());
    }

    #[test]
    fn nothing_in_three_parts_is_a_token_by_chance(
        header in prop_oneof![
            any::<String>(),
            r#"\{"alg":"(RS256|ES256|EdDSA)"(,"[a-z]{0,4}":("[a-z]{0,4}"|[0-9]{1,3}|null))?\}"#,
        ],
        claims in any::<Vec<u8>>(),
        signature in any::<Vec<u8>>(),
    ) {
        let token = [base64(header), base64(claims), base64(signature)].join(".");
        prop_assert!(verify(&KNOWN.0, &token).is_err());
    }

    #[test]
    fn whatever_the_issuer_signs_is_judged(claims in SOME_CLAIMS) {
        let signer = Signer::new(Algorithm::EdDsa);
        let token = signer.token_of(&signer.header().to_string(), &claims);
        prop_assert!(verify(&signer.keys(), &token).is_err());
    }

    #[test]
    fn no_bytes_are_a_key_set_by_chance(
        bytes in any::<Vec<u8>>(),
        jwk in SOME_JWK,
    ) {
        prop_assert!(IssuerKeys::parse(&bytes).is_err());
        let set = format!("{{\"keys\":[{jwk}]}}");
        // Some of them are keys.
        let count = IssuerKeys::parse(set.as_bytes()).map(|keys| keys.len());
        prop_assert!(matches!(count, Ok(1) | Err(_)), "{}", set);
    }
}
