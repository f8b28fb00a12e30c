//! Tokens, signed for real, good ones and those that somebody hopes will pass.

mod any_text;
mod claims;
mod keys;
mod rsa_key;
mod shapes;
mod signatures;

use super::{Algorithm, Claims, IssuerKeys, TokenError, TokenSettings};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// In seconds since 1970.
const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn settings() -> TokenSettings {
    TokenSettings {
        issuer: "https://issuer.example".to_owned(),
        audience: "blueprints".to_owned(),
        algorithms: Algorithm::ALL.to_vec(),
        tenant_claim: "tenant".to_owned(),
        role_claim: "role".to_owned(),
    }
}

fn good() -> Value {
    json!({
        "iss": "https://issuer.example",
        "aud": "blueprints",
        "exp": NOW + 600,
        "tenant": "league",
        "role": "viewer",
    })
}

fn verify(keys: &IssuerKeys, token: &str) -> Result<Claims, TokenError> {
    settings().verify(keys, token, now())
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// An issuer's key, with its private half.
struct Signer {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// A new one, except with RSA.
    fn new(algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_SHA512),
            Algorithm::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDsa => {
                let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
            }
        };
        Self { algorithm, pair }
    }

    /// Its public half, named like its algorithm.
    fn jwk(&self) -> Value {
        let kid = self.algorithm.as_str();
        match &self.pair {
            Pair::Rsa(pair, _) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
                let (n, e) = (base64(public.n), base64(public.e));
                json!({ "kty": "RSA", "kid": kid, "alg": kid, "n": n, "e": e })
            }
            Pair::Ecdsa(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": crv, "kid": kid, "x": base64(x), "y": base64(y) })
            }
            Pair::Ed25519(pair) => {
                let x = base64(pair.public_key());
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x })
            }
        }
    }

    /// A set of this key alone.
    fn keys(&self) -> IssuerKeys {
        IssuerKeys::parse(key_set(&[self.jwk()]).as_bytes()).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn header(&self) -> Value {
        let name = self.algorithm.as_str();
        json!({ "alg": name, "kid": name })
    }

    /// A token that says this.
    fn token(&self, claims: &Value) -> String {
        self.token_of(&self.header().to_string(), &claims.to_string())
    }

    /// A token of these texts, whatever they are.
    fn token_of(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64(header), base64(claims));
        let signature = base64(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn rsa(encoding: &'static dyn RsaEncoding) -> Pair {
    let key = STANDARD.decode(rsa_key::TEST_KEY_THAT_GUARDS_NOTHING).unwrap();
    Pair::Rsa(RsaKeyPair::from_pkcs8(&key).unwrap(), encoding)
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Pair {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
}
