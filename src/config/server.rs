//! `[server]`: where the service listens and what it grants a connection.

use super::{
    kind::{Kind, duration, number, path, size, socket},
    network,
    reader::Section,
};
use crate::policy::Network;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Where the service listens and what it grants a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where the service listens.
    pub bind: SocketAddr,
    /// Where `/admin`, `/metrics` and `/health` listen by themselves.
    pub admin_bind: Option<SocketAddr>,
    /// The `Host` names that are answered; empty: by `bind`.
    pub allowed_hosts: Vec<String>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// From the head of a request to the last byte of its answer.
    pub request_timeout: Duration,
    /// Until a head is complete.
    pub header_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How long a reader may not read.
    pub write_timeout: Duration,
    /// Connections at a time.
    pub max_connections: u64,
    /// Requests at a time.
    pub max_in_flight: u64,
    /// The bytes of the head of a request.
    pub max_header_bytes: u64,
    /// What happens at the end.
    pub shutdown: Shutdown,
    /// Certificates.
    pub tls: Tls,
}

/// What happens on SIGTERM.
#[derive(Debug, Clone, PartialEq)]
pub struct Shutdown {
    /// How long requests are still accepted.
    pub notice: Duration,
    /// How long work may then take to finish.
    pub grace: Duration,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The chain of the server.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Who signs clients.
    pub client_ca_file: Option<PathBuf>,
}

impl Server {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let time = || duration("1ms"..="1h");
        Self {
            bind: section.take("bind", socket()),
            admin_bind: section.take("admin_bind", socket().optional()),
            allowed_hosts: section.take("allowed_hosts", host_name().list()),
            trusted_proxies: section.take("trusted_proxies", network().list()),
            request_timeout: section.take("request_timeout", time()),
            header_timeout: section.take("header_timeout", time()),
            idle_timeout: section.take("idle_timeout", time()),
            write_timeout: section.take("write_timeout", time()),
            max_connections: section.take("max_connections", number(1..=1_000_000)),
            max_in_flight: section.take("max_in_flight", number(1..=1_000_000)),
            max_header_bytes: section.take("max_header_bytes", size("1KiB"..="1MiB")),
            shutdown: Shutdown::read(section.section("shutdown")),
            tls: Tls::read(section.lacking("TLS").section("tls")),
        }
    }
}

/// A name or an address, without a port.
fn host_name() -> Kind<String> {
    let parse = |text: &str| {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let fits = bare.parse::<IpAddr>().is_ok() || bare.bytes().all(is_name);
        (fits && !bare.is_empty()).then(|| bare.to_owned())
    };
    Kind::string("the name or the address of a host, without a port", parse, String::clone)
}

impl Shutdown {
    fn read(mut section: Section<'_, '_>) -> Self {
        let time = || duration("0s"..="1h");
        Self { notice: section.take("notice", time()), grace: section.take("grace", time()) }
    }
}

impl Tls {
    fn read(mut section: Section<'_, '_>) -> Self {
        Self {
            cert_file: section.take("cert_file", path().optional()),
            key_file: section.take("key_file", path().optional()),
            client_ca_file: section.take("client_ca_file", path().optional()),
        }
    }
}
