//! An issuer of tokens, who has one key at a time, and those who take its tokens.

use super::{
    app::{Answer, PATIENCE, TestApp},
    upstream::Upstream,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::time::timeout;

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
        signed_by(header, claims, |text| {
            let signature = self.pair.sign(&SystemRandom::new(), text).expect("a signature");
            signature.as_ref().to_vec()
        })
    }

    /// A token that lets in, for hours.
    pub(crate) fn good(&self, tenant: &str, role: &str) -> String {
        self.token(claims(tenant, role))
    }

    /// One that would, if its key were known.
    pub(crate) fn of_key(&self, kid: &str) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": kid });
        self.token_with(header, claims("league", "decoder"))
    }

    fn kid(&self) -> String {
        format!("key-{}", self.before + 1)
    }
}

/// A token that is signed in whatever way.
pub(crate) fn signed_by(header: Value, claims: Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// What a good token says.
pub(crate) fn claims(tenant: &str, role: &str) -> Value {
    json!({
        "iss": "https://issuer.test",
        "aud": "blueprints",
        "exp": in_hours(1),
        "tenant": tenant,
        "role": role,
    })
}

/// In seconds since 1970.
pub(crate) fn in_hours(hours: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("not so late") + 3600 * hours
}

/// What makes a service take tokens; `keys` says where the keys of their issuer are, and may
/// say more.
pub(crate) fn taking_tokens(keys: &str) -> String {
    format!("[auth.jwt]\nissuer = \"https://issuer.test\"\naudience = \"blueprints\"\n{keys}\n")
}

/// The keys are below an upstream's `/jwks`.
pub(crate) fn keys_at(upstream: &Upstream) -> String {
    format!("jwks_url = \"{}\"\naddresses = [\"{}\"]\n", upstream.url("/jwks"), upstream.address())
}

/// A file with the keys of an issuer.
pub(crate) struct KeysFile {
    folder: TempDir,
}

impl KeysFile {
    pub(crate) fn new(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().expect("a folder") };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    /// Puts another one in its place.
    pub(crate) fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, self.path()).expect("renamed");
    }

    /// Where the keys are.
    pub(crate) fn config(&self) -> String {
        format!("jwks_file = {:?}\n", self.path())
    }
}

impl TestApp {
    /// Hands over a document in JSON, with a token.
    pub(crate) async fn decode_with(&self, token: &str) -> Answer {
        Answer::of(self.asking(&json!({ "content": "{*a*}" })).bearer_auth(token)).await
    }

    /// Waits until the service says of the keys of the issuer that they are current, or are
    /// not. It is ready in any case.
    pub(crate) async fn keys_are_current(&self, expected: bool) {
        let comes = async {
            loop {
                let ready = self.get_admin("/health/ready").await;
                assert_eq!(ready.status, 200, "{ready:?}");
                if ready.json()["details"]["issuer_keys"]["ok"] == expected {
                    return;
                }
            }
        };
        timeout(PATIENCE, comes).await.expect("the keys come to that");
    }
}

fn pair() -> EcdsaKeyPair {
    let (curve, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let document = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random).expect("the key")
}
