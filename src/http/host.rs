//! Which hosts are answered, and pages of which sites.

use crate::{
    failure::{Code, Failure},
    telemetry::Metrics,
};
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Uri, header::HOST},
};
use std::net::IpAddr;

/// The `Host` names that are answered.
#[derive(Debug)]
pub enum AllowedHosts {
    /// Any.
    Any,
    /// Names and addresses of this machine for itself.
    Loopback,
    /// These.
    Listed(Vec<String>),
}

impl AllowedHosts {
    /// Those that the operator lists, or what fits the address of the listener.
    pub fn new(listed: &[String], bind: IpAddr) -> Self {
        if !listed.is_empty() {
            Self::Listed(listed.iter().map(|name| name.to_ascii_lowercase()).collect())
        } else if bind.is_loopback() {
            Self::Loopback
        } else {
            Self::Any
        }
    }

    fn contain(&self, host: Option<&str>) -> bool {
        let host = host.map(without_port);
        match self {
            Self::Any => true,
            Self::Loopback => host.is_some_and(is_loopback),
            Self::Listed(names) => host.is_some_and(|host| {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let bare = bare.strip_suffix('.').unwrap_or(bare);
                names.iter().any(|name| name.eq_ignore_ascii_case(bare))
            }),
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(name).parse::<IpAddr>();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_below = name.len() > 10
        && name.bytes().all(is_name)
        && name.to_ascii_lowercase().ends_with(".localhost");
    name.eq_ignore_ascii_case("localhost")
        || is_below
        || address.is_ok_and(|address| address.is_loopback())
}

/// A page of another site, or a name that was made to point here, must not use a
/// service that trusts its network.
pub(super) fn check(
    hosts: &AllowedHosts,
    metrics: &Metrics,
    request: &Request,
) -> Result<(), Failure> {
    let headers = request.headers();
    if !hosts.contain(named(request.uri(), headers)) {
        metrics.security_event("forbidden");
        let detail = "this service does not accept the Host header of the request; \
                      server.allowed_hosts lists the accepted names";
        return Err(Failure::new(Code::Forbidden, detail));
    }
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site.eq_ignore_ascii_case(b"cross-site")) {
        metrics.security_event("cross_site");
        let detail = "requests from pages of other sites are refused";
        return Err(Failure::new(Code::Forbidden, detail));
    }
    Ok(())
}

/// The authority of the target, where there is one, else the header. None where there
/// are several: who is in front may have believed another one.
fn named<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return None;
    }
    let header = || first?.to_str().ok();
    uri.authority().map(|authority| authority.as_str()).or_else(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_local() {
        let loopback = AllowedHosts::new(&[], "127.0.0.1".parse().unwrap());
        let check = |host: &str, expected: bool| {
            assert_eq!(loopback.contain(Some(host)), expected, "{host}");
        };
        check("localhost", true);
        check("LocalHost:8080", true);
        check("localhost.", true);
        check("a.localhost:1", true);
        check("127.0.0.1", true);
        check("127.8.9.10:8080", true);
        check("[::1]:8080", true);
        check("[::1]", true);
        check(".localhost", false);
        check("evil.example#.localhost", false);
        check("evil.example/.localhost", false);
        check("[[::1]]", false);
        check("::1]", false);
        check("localhost.evil.example", false);
        check("evillocalhost", false);
        check("127.0.0.1.evil.example", false);
        check("10.0.0.1", false);
        check("", false);
        assert!(!loopback.contain(None));
    }

    #[test]
    fn listed_names_are_answered_at_any_port() {
        let listed = AllowedHosts::new(&["Decoder.Example".to_owned()], IpAddr::from([0; 4]));
        assert!(listed.contain(Some("decoder.example")));
        assert!(listed.contain(Some("DECODER.example:443")));
        assert!(!listed.contain(Some("other.example")));
        assert!(!listed.contain(Some("localhost")));
        assert!(!listed.contain(None));
        assert!(AllowedHosts::new(&[], IpAddr::from([0; 4])).contain(None));
    }
}
