//! What may be requested, and the only way to it.

use super::{
    Grounds, blocked,
    denied::Denied,
    network::Exception,
    source::{Source, undotted, without_secrets},
};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};
use url::{Host, Url};

/// A URL that a rule covers. Only [`Policy::approve`](super::Policy::approve) makes one.
///
/// Its host is a name, and then what the name resolves to is still to be
/// [judged](Self::judge), each time anew; or it is an [address](Self::literal).
#[derive(Clone)]
pub struct ApprovedTarget {
    grounds: Arc<Grounds>,
    /// The place of the rule in the list.
    rule: usize,
    /// Shared: a target is handed on with each connection that is made for it.
    url: Arc<Url>,
    port: u16,
    literal: Option<SocketAddr>,
}

impl ApprovedTarget {
    pub(super) fn new(source: Source, rule: usize, grounds: &Arc<Grounds>) -> Result<Self, Denied> {
        let Source { url, host, port } = source;
        let literal = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(SocketAddr::new(address.into(), port)),
            Host::Ipv6(address) => Some(SocketAddr::new(address.into(), port)),
        };
        let (grounds, url) = (Arc::clone(grounds), Arc::new(url));
        let target = Self { grounds, rule, url, port, literal };
        if let Some(address) = literal {
            target.judge(&[address.ip()])?;
        }
        Ok(target)
    }

    /// What the verdict rests on.
    pub(super) fn grounds(&self) -> Arc<Grounds> {
        Arc::clone(&self.grounds)
    }

    /// Exactly what is requested; without a fragment.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The same without its query, for logs and answers.
    pub fn shown(&self) -> String {
        without_secrets(&self.url)
    }

    /// The host as it stands in the URL: an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Scheme, host and port, as those that are the same are written the same.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The name of the rule that decided.
    pub fn rule(&self) -> &str {
        &self.grounds.rules[self.rule].name
    }

    /// Its place in [`Policy::rules`](super::Policy::rules).
    pub fn rule_index(&self) -> usize {
        self.rule
    }

    /// Denies it where its host has been blocked since it was approved.
    pub fn still_allowed(&self) -> Result<(), Denied> {
        let host = match self.url.host() {
            Some(Host::Domain(name)) => undotted(Host::Domain(name.to_owned())),
            Some(Host::Ipv4(address)) => Some(Host::Ipv4(address)),
            Some(Host::Ipv6(address)) => Some(Host::Ipv6(address)),
            None => None,
        };
        match host.is_some_and(|host| self.grounds.blocked.has(&host)) {
            true => Err(blocked(self.shown())),
            false => Ok(()),
        }
    }

    /// Where to connect if the host is an address; it is judged already.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.literal
    }

    /// What is said of one address that the host resolved to: why it may be connected to, or
    /// why not.
    pub fn explain(&self, answer: IpAddr) -> Result<String, String> {
        match self.judge(&[answer]) {
            Ok(_) => Ok(self.grounds.addresses.why_allowed(answer)),
            Err(denied) => Err(denied.reason),
        }
    }

    /// Judges every address that the host resolved to: where to connect, in the same
    /// order and with the port of the URL. One that is forbidden denies them all.
    pub fn judge(&self, answers: &[IpAddr]) -> Result<Vec<SocketAddr>, Denied> {
        let Grounds { rules, addresses, .. } = &*self.grounds;
        let rule = &rules[self.rule];
        let judge = |address: &IpAddr| {
            let target = SocketAddr::new(*address, self.port);
            match addresses.judge(target, &rule.rule.addresses) {
                Ok(()) => Ok(target),
                Err(forbids) => {
                    let (host, hint) = (self.host(), self.loopback_hint(target));
                    let reason = format!("{host}, allowed by {}: {forbids}{hint}", rule.name);
                    Err(Denied::address(reason))
                }
            }
        };
        answers.iter().map(judge).collect()
    }

    /// What the operator adds to a rule that permits one loopback address of a name, usually
    /// `localhost`, and not the other; empty where that would not help.
    fn loopback_hint(&self, denied: SocketAddr) -> String {
        let Grounds { rules, addresses, .. } = &*self.grounds;
        let other = match denied.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => return String::new(),
        };
        let other = SocketAddr::new(other, denied.port());
        let permits = |one: &&Exception| one.covers(other);
        let permitting = rules[self.rule].rule.addresses.iter().find(permits);
        let helps =
            self.literal.is_none() && addresses.judge(denied, &[Exception::Socket(denied)]).is_ok();
        let Some(permitting) = permitting.filter(|_| helps) else { return String::new() };
        let add = match permitting {
            Exception::Network(_) => denied.ip().to_string(),
            Exception::Socket(_) => denied.to_string(),
        };
        // Not as a network of one: that is not how operators write it.
        let other = other.ip().to_string();
        let permitting = match other.parse() == Ok(*permitting) {
            true => other,
            false => permitting.to_string(),
        };
        format!(
            "; the rule permits the other loopback address: add \"{add}\", as in addresses = \
             [\"{permitting}\", \"{add}\"]"
        )
    }
}

impl fmt::Debug for ApprovedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApprovedTarget")
            .field("url", &self.shown())
            .field("rule", &self.rule())
            .finish_non_exhaustive()
    }
}
