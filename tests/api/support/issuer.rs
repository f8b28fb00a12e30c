//! An issuer of tokens, who has one key at a time.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

pub(crate) struct Issuer {
    pair: EcdsaKeyPair,
    /// How many keys there were before this one: its name.
    before: usize,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self { pair: pair(), before: 0 }
    }

    /// From now on there is another key, of another name, and the old one is gone.
    pub(crate) fn rotate(&mut self) {
        *self = Self { pair: pair(), before: self.before + 1 };
    }

    /// The key set that it publishes.
    pub(crate) fn jwks(&self) -> String {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid(), "x": x, "y": y,
        });
        json!({ "keys": [key] }).to_string()
    }

    /// A token that says this.
    pub(crate) fn token(&self, claims: Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.kid() });
        self.token_with(header, claims)
    }

    /// A token with a header that may be wrong, signed with the key that there is.
    pub(crate) fn token_with(&self, header: Value, claims: Value) -> String {
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature =
            self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn kid(&self) -> String {
        format!("key-{}", self.before + 1)
    }
}

fn pair() -> EcdsaKeyPair {
    let (curve, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let document = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random).expect("the key")
}
