//! The public keys of an issuer, read from its JSON Web Key Set.
//!
//! A set is written by somebody else and may hold keys for other purposes: those are passed
//! over. What says that something is badly wrong, such as a private key among them, makes the
//! whole set unusable. It never holds a secret, and never guesses between two keys.

use super::{algorithm::Algorithm, issuer_key::IssuerKey, strict};
use serde_json::{Map, Value};
use std::fmt;

/// The keys that tokens are checked with: at least one, where there are any yet.
#[derive(Debug, Default)]
pub struct IssuerKeys(Vec<IssuerKey>);

/// Why a key set is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is longer than any set need be.
    TooLong,
    /// It is no key set.
    Malformed,
    /// There are more keys in it than any issuer needs.
    TooManyKeys,
    /// Somebody published a private key.
    PrivateKey,
    /// Two of its keys have one name, and a token could mean either.
    SameName,
    /// No key of it can check a token.
    KeyError,
}

const LONGEST: usize = 256 * 1024;
const MOST: usize = 64;

impl IssuerKeys {
    /// The keys of a set `{"keys": […]}` that can check a token.
    pub fn parse(json: &[u8]) -> Result<Self, Unusable> {
        if json.len() > LONGEST {
            return Err(Unusable::TooLong);
        }
        let set = strict::object(json).ok_or(Unusable::Malformed)?;
        let entries = set.get("keys").and_then(Value::as_array).ok_or(Unusable::Malformed)?;
        if entries.len() > MOST {
            return Err(Unusable::TooManyKeys);
        }
        let described = || entries.iter().filter_map(Value::as_object);
        if described().any(is_private) {
            return Err(Unusable::PrivateKey);
        }
        let keys: Vec<IssuerKey> = described().filter_map(IssuerKey::read).collect();
        let is_confusing = |(place, key)| {
            let before: &[IssuerKey] = &keys[..place];
            before.iter().any(|other| are_confused(key, other))
        };
        if keys.iter().enumerate().any(is_confusing) {
            return Err(Unusable::SameName);
        }
        if keys.is_empty() { Err(Unusable::KeyError) } else { Ok(Self(keys)) }
    }

    /// How many keys there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The key for an algorithm, of this name if one is given. Without a name there must be
    /// one key for the algorithm and no other.
    pub(super) fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Option<&IssuerKey> {
        let mut fitting = self.0.iter().filter(|key| {
            key.fits.contains(&algorithm) && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
        });
        let key = fitting.next()?;
        fitting.next().is_none().then_some(key)
    }
}

/// What only the owner of a key may know stands under this name, whatever its kind.
fn is_private(key: &Map<String, Value>) -> bool {
    key.contains_key("d")
}

/// Whether a token could mean either.
fn are_confused(one: &IssuerKey, other: &IssuerKey) -> bool {
    let fits_too = |algorithm: &Algorithm| other.fits.contains(algorithm);
    one.kid.is_some() && one.kid == other.kid && one.fits.iter().any(fits_too)
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the key set is longer than {LONGEST} bytes"),
            Self::Malformed => f.write_str("the key set is no JSON object with an array of keys"),
            Self::TooManyKeys => write!(f, "the key set has more than {MOST} keys"),
            Self::PrivateKey => f.write_str(
                "the key set publishes a private key (\"d\"): whoever read it can sign tokens",
            ),
            Self::SameName => {
                f.write_str("two keys of the key set have the same kid and fit the same algorithm")
            }
            Self::KeyError => f.write_str("no key of the key set can check a token"),
        }
    }
}

impl std::error::Error for Unusable {}
