//! One public key of an issuer, read from its JSON Web Key (RFC 7517, 7518, 8037).
//!
//! A key says itself which algorithms it is for; what a token claims to be signed with can
//! never make it fit another. What is not understood in full is no key.

use super::algorithm::{Algorithm, Scheme};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    error::Unspecified,
    rsa::PublicKeyComponents,
    signature::{RsaPublicKeyComponents, UnparsedPublicKey},
};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// A key that some algorithm can use.
#[derive(Debug)]
pub(super) struct IssuerKey {
    /// Its name, where it has one.
    pub(super) kid: Option<String>,
    /// The algorithms that it is for: at least one.
    pub(super) fits: Vec<Algorithm>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    Curve(Vec<u8>),
}

/// How long a modulus may be, in bits.
const MODULUS: RangeInclusive<usize> = 2048..=8192;
/// Which exponents `ring` computes with.
const EXPONENT: RangeInclusive<u64> = 3..=(1 << 33) - 1;

impl IssuerKey {
    /// The key that an object describes; none if it is not for signatures, of an unknown
    /// kind, too weak, or malformed.
    pub(super) fn read(said: &Map<String, Value>) -> Option<Self> {
        let kid = match said.get("kid") {
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return None,
            None => None,
        };
        let (public, mut fits) = public(said)?;
        if let Some(only) = said.get("alg") {
            fits.retain(|algorithm| only == algorithm.as_str());
        }
        let is_of_use = !fits.is_empty() && is_for_signatures(said);
        is_of_use.then_some(Self { kid, fits, public })
    }

    /// Whether the owner of the key signed this message.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verified = match (&self.public, algorithm.scheme()) {
            (Public::Rsa(key), Scheme::Rsa(parameters)) => {
                key.verify(parameters, message, signature)
            }
            (Public::Curve(point), Scheme::Curve(curve)) => {
                UnparsedPublicKey::new(curve, point).verify(message, signature)
            }
            (Public::Rsa(_), Scheme::Curve(_)) | (Public::Curve(_), Scheme::Rsa(_)) => {
                Err(Unspecified)
            }
        };
        verified.is_ok()
    }
}

fn is_for_signatures(said: &Map<String, Value>) -> bool {
    let verifies = |operations: &Value| {
        operations.as_array().is_some_and(|list| list.iter().any(|one| one == "verify"))
    };
    said.get("use").is_none_or(|purpose| purpose == "sig")
        && said.get("key_ops").is_none_or(verifies)
}

/// The key itself, and the algorithms that its kind is for.
fn public(said: &Map<String, Value>) -> Option<(Public, Vec<Algorithm>)> {
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let sized = |name: &str, size: usize| number(name).filter(|number| number.len() == size);
    // Both coordinates in full, as SEC 1 writes them behind a 4.
    let point = |size| Some([vec![4], sized("x", size)?, sized("y", size)?].concat());
    match (text("kty")?, text("crv")) {
        ("RSA", _) => rsa(number("n")?, number("e")?),
        ("EC", Some("P-256")) => Some((Public::Curve(point(32)?), vec![Algorithm::Es256])),
        ("EC", Some("P-384")) => Some((Public::Curve(point(48)?), vec![Algorithm::Es384])),
        ("OKP", Some("Ed25519")) => Some((Public::Curve(sized("x", 32)?), vec![Algorithm::EdDsa])),
        _ => None,
    }
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<(Public, Vec<Algorithm>)> {
    // Written as short as they can be, which their RFC demands and `ring` too.
    let bits = n.len().checked_mul(8)?.checked_sub(n.first()?.leading_zeros() as usize)?;
    let is_shortest = n.first() != Some(&0) && e.first() != Some(&0) && e.len() <= 5;
    let exponent = e.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    let is_odd = n.last()? & 1 == 1 && exponent & 1 == 1;
    let is_strong = MODULUS.contains(&bits) && EXPONENT.contains(&exponent);
    if !(is_shortest && is_odd && is_strong) {
        return None;
    }
    let is_rsa = |algorithm: &Algorithm| matches!(algorithm.scheme(), Scheme::Rsa(_));
    let fits = Algorithm::ALL.into_iter().filter(is_rsa).collect();
    Some((Public::Rsa(PublicKeyComponents { n, e }), fits))
}
