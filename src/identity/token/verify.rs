//! Whether a JSON Web Token is good for this service, and who it says is calling.
//!
//! Knows no clock and fetches no key: both are told. Of a token that nobody signed yet
//! nothing is read but its header, and of that only which of the issuer's keys is meant. A key
//! that a token brings along, or says where to get, is never used.

use super::{
    algorithm::Algorithm,
    error::{Claim, TokenError},
    issuer_key::IssuerKey,
    issuer_keys::IssuerKeys,
    strict,
};
use crate::identity::{Role, is_tenant_name};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a token must be like.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Who must have made it (`iss`).
    pub issuer: String,
    /// For whom it must be made (`aud`).
    pub audience: String,
    /// With what it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// The name of the claim that names the tenant. A dot in it is just a dot.
    pub tenant_claim: String,
    /// The name of the claim that names the role.
    pub role_claim: String,
}

/// Who a good token says is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// A name that a tenant may have.
    pub tenant: String,
    /// What it may do there.
    pub role: Role,
}

/// In bytes; a token is never longer.
pub(super) const LONGEST: usize = 8 * 1024;

/// In seconds: how far the issuer's clock and ours may be apart, either way.
const LEEWAY: f64 = 30.0;

impl TokenSettings {
    /// Who is calling, if the token is good at this time.
    pub fn verify(
        &self,
        keys: &IssuerKeys,
        token: &str,
        now: SystemTime,
    ) -> Result<Claims, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::TooLong);
        }
        let parts = Parts::split(token).ok_or(TokenError::Malformed)?;
        let (algorithm, key) = self.key(keys, &parts.header)?;
        if !key.verifies(algorithm, parts.signed.as_bytes(), &parts.signature) {
            return Err(TokenError::Signature);
        }
        let said = strict::object(&parts.claims).ok_or(TokenError::Malformed)?;
        self.check_origin(&said)?;
        check_time(&said, now)?;
        self.claims(&said)
    }

    /// What the token is signed with, and the key of the issuer that goes with it.
    fn key<'k>(
        &self,
        keys: &'k IssuerKeys,
        header: &[u8],
    ) -> Result<(Algorithm, &'k IssuerKey), TokenError> {
        let said = strict::object(header).ok_or(TokenError::Malformed)?;
        let kid = said.get("kid");
        // Every extension that is critical would have to be understood; none is.
        let is_plain = !said.contains_key("crit")
            && said.get("typ").is_none_or(is_token_type)
            && kid.is_none_or(Value::is_string);
        if !is_plain {
            return Err(TokenError::Malformed);
        }
        let algorithm = said.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let algorithm = algorithm
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or(TokenError::Algorithm)?;
        let key =
            keys.find(algorithm, kid.and_then(Value::as_str)).ok_or(TokenError::UnknownKey)?;
        Ok((algorithm, key))
    }

    /// By whom and for whom it was made.
    fn check_origin(&self, said: &Map<String, Value>) -> Result<(), TokenError> {
        if said.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(TokenError::Claim(Claim::Issuer));
        }
        let is_ours = match said.get("aud") {
            Some(Value::String(one)) => *one == self.audience,
            Some(Value::Array(all)) => {
                let is_ours = |one: &Value| one == self.audience.as_str();
                all.iter().all(Value::is_string) && all.iter().any(is_ours)
            }
            _ => false,
        };
        if is_ours { Ok(()) } else { Err(TokenError::Claim(Claim::Audience)) }
    }

    fn claims(&self, said: &Map<String, Value>) -> Result<Claims, TokenError> {
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        let tenant = text(&self.tenant_claim)
            .filter(|name| is_tenant_name(name))
            .ok_or(TokenError::Claim(Claim::Tenant))?;
        let role = match text(&self.role_claim) {
            Some("viewer") => Role::Viewer,
            // Tenants decode; staff comes with keys of its own, and never from an issuer.
            Some("decoder" | "auditor" | "operator") => Role::Decoder,
            _ => return Err(TokenError::Claim(Claim::Role)),
        };
        Ok(Claims { tenant: tenant.to_owned(), role })
    }
}

/// A token, taken apart and out of base64.
struct Parts<'t> {
    header: Vec<u8>,
    claims: Vec<u8>,
    signature: Vec<u8>,
    /// What the signature is of.
    signed: &'t str,
}

impl<'t> Parts<'t> {
    /// Three parts in base64url that is written in the only possible way, or nothing.
    fn split(token: &'t str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        // A dot too many is left in the claims, where the alphabet has none.
        let read = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let (header, claims, signature) = (read(header)?, read(claims)?, read(signature)?);
        Some(Self { header, claims, signature, signed })
    }
}

/// What RFC 7519 and RFC 9068 call a token, with or without what every media type begins with.
fn is_token_type(named: &Value) -> bool {
    let named = named.as_str().map(str::to_ascii_lowercase);
    let bare = named.as_deref().map(|name| name.strip_prefix("application/").unwrap_or(name));
    matches!(bare, Some("jwt" | "at+jwt"))
}

/// Whether it is good already and still. It must say when it ends; when it begins, it may.
fn check_time(said: &Map<String, Value>, now: SystemTime) -> Result<(), TokenError> {
    let moment = |name: &str| match said.get(name).map(Value::as_f64) {
        Some(Some(seconds)) if seconds.is_finite() => Ok(Some(seconds)),
        Some(_) => Err(TokenError::Claim(Claim::Time)),
        None => Ok(None),
    };
    let ends = moment("exp")?.ok_or(TokenError::Claim(Claim::Time))?;
    let begins = [moment("nbf")?, moment("iat")?];
    // A clock that stands before 1970 knows of nothing whether it is over.
    let now = now.duration_since(UNIX_EPOCH).map_err(|_| TokenError::NotYetValid)?.as_secs_f64();
    if now >= ends + LEEWAY {
        Err(TokenError::Expired)
    } else if begins.into_iter().flatten().any(|begin| begin > now + LEEWAY) {
        Err(TokenError::NotYetValid)
    } else {
        Ok(())
    }
}
