//! Which documents may be fetched, and from which addresses.
//!
//! A [`Policy`] is made of [`Rule`]s and of what no rule can permit. It turns the text
//! of a URL into an [`ApprovedTarget`], the proof without which nothing is fetched, or
//! says why it is [`Denied`]. The addresses that a name resolves to are judged by the
//! target, so that what is judged is what is dialled. The same is asked anew for every
//! redirect.
//!
//! ```
//! use blueprint_decoder::policy::{DeniedKind, Policy, Rule};
//!
//! let rule = Rule::parse("https://docs.example/public/").unwrap();
//! let policy = Policy::new(vec![rule], Vec::new(), Vec::new(), Vec::new());
//!
//! let target = policy.approve("https://docs.example/public/plan.txt").unwrap();
//! let public = target.judge(&["93.184.216.34".parse().unwrap()]).unwrap();
//! assert_eq!((target.rule(), public[0].to_string().as_str()), ("rule-1", "93.184.216.34:443"));
//!
//! let denied = target.judge(&["127.0.0.1".parse().unwrap()]).unwrap_err();
//! assert_eq!(denied.kind, DeniedKind::Address);
//! let denied = policy.approve("https://docs.example/public/..%2fprivate").unwrap_err();
//! assert_eq!(denied.kind, DeniedKind::Path);
//! ```
//!
//! This module does no I/O: it resolves no name and opens no file. It knows no clock
//! and nothing else of the crate. What it refuses it never repairs.

mod address;
mod denied;
mod embedded;
mod location;
mod network;
mod prefix;
mod registry;
mod route;
mod rule;
mod selfcheck;
mod source;
mod target;

pub use denied::{Denied, DeniedKind};
pub use location::Location;
pub use network::{Exception, Network, NoNetwork};
pub use route::Route;
pub use rule::{BlockedHost, Rule, RuleFault};
pub use target::ApprovedTarget;

use address::Addresses;
use source::{Source, without_secrets};
use std::{
    cmp::Reverse,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};
use url::Host;

/// The rules, and what none of them can permit. What none allows is denied.
#[derive(Debug, Clone)]
pub struct Policy(Arc<Grounds>);

/// A rule in its place.
#[derive(Debug)]
pub struct NamedRule {
    /// Its own name, or `rule-<n>` with n from 1.
    pub name: String,
    /// What it covers and grants.
    pub rule: Rule,
}

/// What a verdict rests on.
#[derive(Debug)]
struct Grounds {
    rules: Vec<NamedRule>,
    /// What no rule can permit.
    addresses: Arc<Addresses>,
    blocked: Arc<Blocked>,
    max_url_bytes: usize,
}

/// The default of `egress.max_url_bytes`; presigned URLs are a few kilobytes long.
const MAX_URL_BYTES: usize = 8 * 1024;

/// Hosts that no document may be fetched from just now.
#[derive(Debug, Default)]
struct Blocked(RwLock<Vec<BlockedHost>>);

impl Policy {
    /// The rules, the networks that no exception opens, the prefixes of translators
    /// between IPv6 and IPv4, and where this server itself listens.
    pub fn new(
        rules: Vec<Rule>,
        deny_networks: Vec<Network>,
        nat64_prefixes: Vec<Network>,
        own_listeners: Vec<SocketAddr>,
    ) -> Self {
        let local = RwLock::default();
        let addresses = Addresses { deny_networks, nat64_prefixes, own_listeners, local };
        Self(Arc::new(Grounds {
            rules: named(rules),
            addresses: Arc::new(addresses),
            blocked: Arc::default(),
            max_url_bytes: MAX_URL_BYTES,
        }))
    }

    /// The same policy, but longer URLs are refused. The default is 8 KiB.
    pub fn with_max_url_bytes(&self, max_url_bytes: usize) -> Self {
        let Grounds { rules, .. } = &*self.0;
        let rules = named(rules.iter().map(|named| named.rule.clone()).collect());
        Self(Arc::new(Grounds { rules, max_url_bytes, ..self.0.shared() }))
    }

    /// A policy with other rules, to which the same is forbidden, now and later.
    pub fn with_rules(&self, rules: Vec<Rule>) -> Self {
        Self(Arc::new(Grounds { rules: named(rules), ..self.0.shared() }))
    }

    /// The same for what is no document of a caller: no host is blocked for it.
    pub fn unblocked_with_rules(&self, rules: Vec<Rule>) -> Self {
        let blocked = Arc::default();
        Self(Arc::new(Grounds { rules: named(rules), blocked, ..self.0.shared() }))
    }

    /// The rules in their order.
    pub fn rules(&self) -> &[NamedRule] {
        &self.0.rules
    }

    /// Replaces the networks whose addresses all lead to this machine, also for targets that
    /// were approved before. A listener for every address is reached at each of them.
    pub fn is_reached_at(&self, local: Vec<Network>) {
        *self.0.addresses.local.write().unwrap_or_else(PoisonError::into_inner) = local;
    }

    /// From these hosts, and no others, nothing is fetched from now on; see
    /// [`ApprovedTarget::still_allowed`] for what was approved before.
    pub fn block(&self, hosts: Vec<BlockedHost>) {
        *self.0.blocked.0.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// Judges the text of a URL, and the address if its host is one.
    pub fn approve(&self, source: &str) -> Result<ApprovedTarget, Denied> {
        self.0.check_length(source)?;
        let source = Source::parse(source)?;
        // Encoding what is not ASCII makes a URL longer.
        self.0.check_length(source.url.as_str())?;
        let rule = self.0.rule_for(&source)?;
        if self.0.blocked.has(&source.host) {
            return Err(blocked(without_secrets(&source.url)));
        }
        ApprovedTarget::new(source, rule, &self.0)
    }
}

/// Names the rules that have no name of their own.
fn named(rules: Vec<Rule>) -> Vec<NamedRule> {
    let named = |(place, rule): (usize, Rule)| NamedRule { name: rule.name_at(place), rule };
    rules.into_iter().enumerate().map(named).collect()
}

impl Blocked {
    fn has(&self, host: &Host<String>) -> bool {
        let blocked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        blocked.iter().any(|blocked| blocked.covers(host))
    }
}

/// The operator has blocked the host.
fn blocked(shown: String) -> Denied {
    let detail = "the operator has blocked this host";
    Denied::new(DeniedKind::Host, detail.to_owned(), format!("one of blocked_hosts: {shown}"))
}

impl Grounds {
    /// All but the rules; addresses and blocked hosts stay the same objects.
    fn shared(&self) -> Self {
        let Self { addresses, blocked, max_url_bytes, .. } = self;
        let (addresses, blocked) = (Arc::clone(addresses), Arc::clone(blocked));
        Self { rules: Vec::new(), addresses, blocked, max_url_bytes: *max_url_bytes }
    }

    /// Refuses a URL, or the `Location` of a redirect, that is too long.
    fn check_length(&self, url: &str) -> Result<(), Denied> {
        let (length, max) = (url.len(), self.max_url_bytes);
        if length <= max {
            return Ok(());
        }
        Err(Denied::malformed(&format!(
            "the URL has {length} bytes and at most {max} are accepted: use a shorter one"
        )))
    }

    /// The place of the rule that says most about a URL: the narrowest host, then the
    /// longest path, then a port; of equals the first. Else what no rule has.
    fn rule_for(&self, source: &Source) -> Result<usize, Denied> {
        type Fits = fn(&Rule, &Source) -> bool;
        let filters: [(DeniedKind, Fits); 4] = [
            (DeniedKind::Scheme, Rule::has_scheme_of),
            (DeniedKind::Host, Rule::has_host_of),
            (DeniedKind::Port, Rule::has_port_of),
            (DeniedKind::Path, Rule::has_path_of),
        ];
        let rules = || self.rules.iter().enumerate();
        let narrowness =
            |(place, named): &(usize, &NamedRule)| (named.rule.narrowness(), Reverse(*place));
        let covers = |(_, named): &(usize, &NamedRule)| {
            filters.iter().all(|(_, fits)| fits(&named.rule, source))
        };
        if let Some((place, _)) = rules().filter(covers).max_by_key(narrowness) {
            return Ok(place);
        }
        // None: the first thing that no rule has is what is said.
        let mut left: Vec<(usize, &NamedRule)> = rules().collect();
        for (kind, fits) in filters {
            let (fitting, others): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(_, named)| fits(&named.rule, source));
            if fitting.is_empty() && !others.is_empty() {
                return Err(not_allowed(kind, source, &others));
            }
            left = fitting;
        }
        // There are no rules at all.
        Err(not_allowed(DeniedKind::Host, source, &[]))
    }
}

/// `others` are the rules that came closest: they have all but what `kind` says.
fn not_allowed(kind: DeniedKind, source: &Source, others: &[(usize, &NamedRule)]) -> Denied {
    let begins = |(_, named): &&(usize, &NamedRule)| named.rule.has_beginning_of(source);
    if kind == DeniedKind::Path
        && let Some((_, named)) = others.iter().find(begins)
    {
        let detail = "no rule allows this path: some servers would read it as a path outside \
                      the allowed one; write it without control characters, full-width dots, and \
                      `..` in any encoding";
        let shown = without_secrets(&source.url);
        let reason = format!("the path may lead out of that of {}: {shown}", named.name);
        return Denied::new(kind, detail, reason);
    }
    let scheme = if source.url.scheme() == "http" { "https" } else { "http" };
    let (what, instead) = match kind {
        DeniedKind::Scheme => (source.url.scheme(), format!("begin the URL with {scheme}://")),
        DeniedKind::Port => ("this port", "use an allowed port, or leave it out".to_owned()),
        DeniedKind::Path => ("this path", "use a path below an allowed one".to_owned()),
        _ => ("this host", "use an allowed host".to_owned()),
    };
    let detail = format!("no rule allows {what}: {instead}, or ask the operator for a rule");
    let names: Vec<&str> = others.iter().map(|(_, named)| named.name.as_str()).collect();
    let whose = match kind {
        DeniedKind::Port | DeniedKind::Path => names.join(", "),
        _ => "any rule".to_owned(),
    };
    let reason = format!("not the {} of {whose}: {}", kind.as_str(), without_secrets(&source.url));
    // Nobody mistypes an address: it is what an attack looks like, permitted elsewhere or not.
    let kind = match (kind, &source.host) {
        (DeniedKind::Host, Host::Ipv4(_) | Host::Ipv6(_)) => DeniedKind::Address,
        _ => kind,
    };
    Denied::new(kind, detail, reason)
}

#[cfg(test)]
mod tests;
