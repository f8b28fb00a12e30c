//! `[rate_limit]`: how often a caller may call.

use super::{
    kind::{Kind, choice, duration, flag, number, path},
    reader::Section,
};
use std::{path::PathBuf, time::Duration};

/// How often a caller may call.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimit {
    /// Whether calls are limited.
    pub enabled: bool,
    /// For each tenant, or address of an anonymous caller.
    pub requests_per_minute: u64,
    /// At once, from rest.
    pub burst: u64,
    /// Where the counts are.
    pub backend: Backend,
    /// When the backend is down.
    pub on_failure: OnFailure,
    /// How many replicas share the limits.
    pub replicas_hint: u64,
    /// The shared backend.
    pub valkey: Valkey,
}

/// Where the counts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In this process.
    Memory,
    /// In a Valkey server, for all replicas.
    Valkey,
}

/// When the backend is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Count in memory, divided by the replicas.
    Local,
    /// Refuse.
    Deny,
}

/// The shared backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Valkey {
    /// `valkey://host:port`, `valkeys://` for TLS.
    pub url: Option<String>,
    /// Its password.
    pub password_file: Option<PathBuf>,
    /// Who signs its certificate.
    pub ca_file: Option<PathBuf>,
    /// One round trip.
    pub timeout: Duration,
}

impl RateLimit {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let backends = &[("memory", Backend::Memory), ("valkey", Backend::Valkey)];
        let on_failure = &[("local", OnFailure::Local), ("deny", OnFailure::Deny)];
        Self {
            enabled: section.take("enabled", flag()),
            requests_per_minute: section.take("requests_per_minute", number(1..=1_000_000_000)),
            burst: section.take("burst", number(1..=1_000_000_000)),
            backend: section.take("backend", choice(backends)),
            on_failure: section.take("on_failure", choice(on_failure)),
            replicas_hint: section.take("replicas_hint", number(1..=10_000)),
            valkey: Valkey::read(section.section("valkey")),
        }
    }
}

impl Valkey {
    fn read(mut section: Section<'_, '_>) -> Self {
        Self {
            url: section.take("url", valkey_url().optional()),
            password_file: section.take("password_file", path().optional()),
            ca_file: section.take("ca_file", path().optional()),
            timeout: section.take("timeout", duration("1ms"..="10s")),
        }
    }
}

fn valkey_url() -> Kind<String> {
    let schemes = ["valkey://", "valkeys://", "redis://", "rediss://"];
    let parse = move |text: &str| {
        let authority = schemes.iter().find_map(|scheme| text.strip_prefix(scheme))?;
        let fits = !authority.is_empty() && !authority.contains(['@', '?', '#', ' ']);
        fits.then(|| text.to_owned())
    };
    let allowed = "valkey://host:port, or valkeys:// for TLS, without a password \
                   (that goes into password_file)";
    Kind::string(allowed, parse, String::clone)
}
