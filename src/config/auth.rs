//! `[auth]`: who may call.

use super::{
    egress::address_of_a_rule,
    kind::{Kind, choice, flag, path, text},
    reader::Section,
};
use crate::{identity::Algorithm, policy::Exception};
use std::path::PathBuf;

/// Who may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    /// Whether callers must say who they are.
    pub mode: Mode,
    /// Must be set for [`Mode::Off`] on an address beyond loopback.
    pub allow_anonymous: bool,
    /// Tenants, keys and staff.
    pub tenants_file: Option<PathBuf>,
    /// Tokens.
    pub jwt: Jwt,
}

/// Whether callers must say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everyone is anonymous.
    Off,
    /// They must.
    Required,
}

/// Tokens of an issuer.
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    /// Who must have issued them.
    pub issuer: Option<String>,
    /// Whom they must be for.
    pub audience: Option<String>,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// The issuer's keys in a file.
    pub jwks_file: Option<PathBuf>,
    /// The issuer's keys at a URL.
    pub jwks_url: Option<String>,
    /// Addresses that the URL may reach besides public ones.
    pub addresses: Vec<Exception>,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that names the role.
    pub role_claim: String,
}

impl Auth {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let modes = &[("off", Mode::Off), ("required", Mode::Required)];
        Self {
            mode: section.take("mode", choice(modes)),
            allow_anonymous: section.take("allow_anonymous", flag()),
            tenants_file: section.take("tenants_file", path().optional()),
            jwt: Jwt::read(section.section("jwt")),
        }
    }
}

impl Jwt {
    fn read(mut section: Section<'_, '_>) -> Self {
        Self {
            issuer: section.take("issuer", text("the issuer").optional()),
            audience: section.take("audience", text("the audience").optional()),
            algorithms: section.take("algorithms", algorithm().list()),
            jwks_file: section.take("jwks_file", path().optional()),
            jwks_url: section.take("jwks_url", https_url().optional()),
            addresses: section.take("addresses", address_of_a_rule().list()),
            tenant_claim: section.take("tenant_claim", text("the name of a claim")),
            role_claim: section.take("role_claim", text("the name of a claim")),
        }
    }
}

/// The asymmetric ones.
fn algorithm() -> Kind<Algorithm> {
    let names = Algorithm::ALL.map(Algorithm::as_str).join(", ");
    Kind::string(format!("one of {names}"), Algorithm::parse, Algorithm::to_string)
}

fn https_url() -> Kind<String> {
    let parse = |text: &str| {
        let rest = text.strip_prefix("https://")?;
        let fits = !rest.is_empty() && !rest.contains(['@', ' ']);
        fits.then(|| text.to_owned())
    };
    Kind::string("an https URL without userinfo", parse, String::clone)
}
