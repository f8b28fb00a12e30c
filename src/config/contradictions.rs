//! Values that are right by themselves and cannot be together.

use super::{
    Config,
    auth::Mode,
    rate_limit::Backend,
    reader::{Fault, Setting},
};
use crate::policy::Rule;
use std::collections::BTreeSet;

/// One fault for each pair of keys that contradict each other, named by the key that
/// asks for something.
pub(super) fn contradictions(config: &Config, settings: &[Setting]) -> Vec<Fault> {
    let Config { server, rate_limit, egress, auth, audit, .. } = config;
    let jwt = &auth.jwt;
    let rules = [
        (
            // Port 0 is another one each time.
            server.admin_bind == Some(server.bind) && server.bind.port() != 0,
            "server.admin_bind",
            "an address other than server.bind",
        ),
        (
            server.tls.cert_file.is_some() && server.tls.key_file.is_none(),
            "server.tls.cert_file",
            "needs server.tls.key_file",
        ),
        (
            server.tls.key_file.is_some() && server.tls.cert_file.is_none(),
            "server.tls.key_file",
            "needs server.tls.cert_file",
        ),
        (
            server.tls.client_ca_file.is_some() && server.tls.cert_file.is_none(),
            "server.tls.client_ca_file",
            "needs server.tls.cert_file",
        ),
        (
            egress
                .allow
                .iter()
                .any(|rule| rule.authorization_file.is_some() && !rule.has_one_origin()),
            "egress.allow",
            "an authorization_file needs a rule for one host and one port, which alone see it",
        ),
        (repeats_a_name(&egress.allow), "egress.allow", "two rules have the same name"),
        (
            egress
                .nat64_prefixes
                .iter()
                .any(|prefix| egress.deny_networks.iter().any(|network| prefix.is_within(network))),
            "egress.nat64_prefixes",
            "a prefix within egress.deny_networks is never reached: remove it there or here",
        ),
        (
            auth.mode == Mode::Off && !server.bind.ip().is_loopback() && !auth.allow_anonymous,
            "server.bind",
            "beyond loopback anyone may call: set auth.mode = \"required\", or say \
             auth.allow_anonymous = true",
        ),
        (
            auth.mode == Mode::Required && auth.tenants_file.is_none(),
            "auth.mode",
            "needs auth.tenants_file",
        ),
        (
            jwt.issuer.is_some() && (jwt.audience.is_none() || auth.mode == Mode::Off),
            "auth.jwt.issuer",
            "needs auth.jwt.audience and auth.mode = \"required\"",
        ),
        (
            jwt.issuer.is_some() && jwt.jwks_file.is_some() == jwt.jwks_url.is_some(),
            "auth.jwt.issuer",
            "needs one of auth.jwt.jwks_file and auth.jwt.jwks_url",
        ),
        (
            jwt.issuer.is_none()
                && (jwt.audience.is_some() || jwt.jwks_file.is_some() || jwt.jwks_url.is_some()),
            "auth.jwt.issuer",
            "the other keys of auth.jwt need one",
        ),
        (
            jwt.issuer.is_some() && jwt.algorithms.is_empty(),
            "auth.jwt.algorithms",
            "without any, no token is valid",
        ),
        (
            jwt.tenant_claim == jwt.role_claim || REGISTERED.contains(&jwt.tenant_claim.as_str()),
            "auth.jwt.tenant_claim",
            "a claim of its own, not that of the role or one that every token has",
        ),
        (
            REGISTERED.contains(&jwt.role_claim.as_str()),
            "auth.jwt.role_claim",
            "a claim of its own, not one that every token has",
        ),
        (
            rate_limit.backend == Backend::Valkey && rate_limit.valkey.url.is_none(),
            "rate_limit.backend",
            "needs rate_limit.valkey.url",
        ),
        (audit.dir.is_some() && audit.key_file.is_none(), "audit.dir", "needs audit.key_file"),
    ];
    let broken = rules.into_iter().filter(|(broken, ..)| *broken);
    broken.map(|(_, key, allowed)| fault(settings, key, allowed)).collect()
}

/// Claims that mean something already (RFC 7519).
const REGISTERED: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// A rule without a name has one, too, and another may have taken that.
fn repeats_a_name(rules: &[Rule]) -> bool {
    let mut names = BTreeSet::new();
    !rules.iter().enumerate().all(|(place, rule)| names.insert(rule.name_at(place)))
}

fn fault(settings: &[Setting], key: &str, allowed: &str) -> Fault {
    let setting = settings.iter().find(|setting| setting.key == key);
    let origin = setting.and_then(|setting| setting.origin.clone());
    Fault {
        key: key.to_owned(),
        value: setting.map(|setting| setting.value.clone()),
        origin: origin.unwrap_or_else(|| "default".to_owned()),
        allowed: allowed.to_owned(),
    }
}
