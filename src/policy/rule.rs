//! One allow rule: which URLs it covers, and what it grants them.

use super::{
    network::Exception,
    prefix::Prefix,
    source::{Source, undotted},
};
use std::{fmt, path::PathBuf};
use url::{Host, Url};

/// An allow rule. What is granted can be set; which URLs it covers is parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its label in metrics and explanations; `None`: `rule-<n>`, by its place.
    pub name: Option<String>,
    /// What this rule alone may reach although the table forbids it.
    pub addresses: Vec<Exception>,
    /// Holds an `Authorization` header for the origin of this rule.
    pub authorization_file: Option<PathBuf>,
    /// As it was written.
    url: String,
    scheme: &'static str,
    host: HostPattern,
    /// `None`: any.
    port: Option<u16>,
    prefix: Prefix,
}

/// Why the URL of a rule is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleFault {
    /// It does not begin with a scheme.
    Scheme,
    /// It has a user or a password.
    Userinfo,
    /// It names no hosts.
    Host,
    /// It names no port.
    Port,
    /// What is behind the host is no path.
    Path,
}

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// `*`: names and addresses.
    Any,
    /// `*.example.com`: any depth below, and not the name itself.
    Below(String),
    Exact(Host<String>),
}

/// Hosts that are blocked: a name, an address, `*.name` or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedHost(HostPattern);

impl BlockedHost {
    /// Reads what is written as the host of a rule is.
    pub fn parse(text: &str) -> Option<Self> {
        HostPattern::parse(text).map(Self)
    }

    pub(super) fn covers(&self, host: &Host<String>) -> bool {
        self.0.covers(host)
    }
}

impl Rule {
    /// Accepts `scheme://host[:port][/path/prefix/]`, where the host may be `*` or
    /// `*.example.com` and the port `*`, or says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, RuleFault> {
        let schemes = [("https", 443), ("http", 80)];
        let split = |(scheme, port)| Some((scheme, port, after_scheme(url, scheme)?));
        let (scheme, default, rest) =
            schemes.into_iter().find_map(split).ok_or(RuleFault::Scheme)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(RuleFault::Userinfo);
        }
        let (host, port) = split_port(authority);
        Ok(Self {
            name: None,
            addresses: Vec::new(),
            authorization_file: None,
            url: url.to_owned(),
            scheme,
            host: HostPattern::parse(host).ok_or(RuleFault::Host)?,
            port: match port {
                None => Some(default),
                Some("*") => None,
                Some(port) => Some(parse_port(port).ok_or(RuleFault::Port)?),
            },
            prefix: parse_path(path).ok_or(RuleFault::Path)?,
        })
    }

    /// The URL as it was written.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The name, or that of a rule without one at this place, from 0, of a list.
    pub fn name_at(&self, place: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("rule-{}", place + 1))
    }

    /// Whether all that it covers is on one host and port.
    pub fn has_one_origin(&self) -> bool {
        matches!(self.host, HostPattern::Exact(_)) && self.port.is_some()
    }

    pub(super) fn has_scheme_of(&self, source: &Source) -> bool {
        self.scheme == source.url.scheme()
    }

    pub(super) fn has_host_of(&self, source: &Source) -> bool {
        self.host.covers(&source.host)
    }

    pub(super) fn has_port_of(&self, source: &Source) -> bool {
        self.port.is_none_or(|port| port == source.port)
    }

    pub(super) fn has_path_of(&self, source: &Source) -> bool {
        self.prefix.covers(source.url.path())
    }

    /// Whether the path begins with that of the rule, whatever servers make of the rest.
    pub(super) fn has_beginning_of(&self, source: &Source) -> bool {
        self.prefix.begins(source.url.path())
    }

    /// Orders rules that cover the same URL: the greater says more about it.
    pub(super) fn narrowness(&self) -> (usize, usize, bool) {
        let host = match &self.host {
            HostPattern::Any => 0,
            HostPattern::Below(name) => name.len(),
            HostPattern::Exact(_) => usize::MAX,
        };
        (host, self.prefix.len(), self.port.is_some())
    }
}

fn after_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    url.strip_prefix(scheme)?.strip_prefix("://")
}

/// The last colon is before the port unless it is within the brackets of an address.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// The path as the URL parser leaves that of a source.
fn parse_path(path: &str) -> Option<Prefix> {
    let foreign = |c: char| c.is_whitespace() || c.is_control() || "\\?#".contains(c);
    if path.contains(foreign) || path.split('/').any(|segment| [".", ".."].contains(&segment)) {
        return None;
    }
    // Before parsing: the parser resolves encoded dots.
    Prefix::new(if path.is_empty() { "/" } else { path })?;
    Prefix::new(Url::parse(&format!("https://host{path}")).ok()?.path())
}

impl HostPattern {
    fn parse(text: &str) -> Option<Self> {
        let name = |text: &str| undotted(Host::parse(text).ok()?);
        if text == "*" {
            return Some(Self::Any);
        }
        if let Some(below) = text.strip_prefix("*.") {
            return match name(below)? {
                Host::Domain(below) => Some(Self::Below(below)),
                _ => None,
            };
        }
        let host = name(text)?;
        // `010.0.0.1` is 8.0.0.1 to some: whoever writes a rule writes it plainly.
        let is_plain = !matches!(host, Host::Ipv4(_)) || host.to_string() == text;
        is_plain.then_some(Self::Exact(host))
    }

    fn covers(&self, host: &Host<String>) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(ours), theirs) => ours == theirs,
            (Self::Below(ours), Host::Domain(theirs)) => {
                theirs.strip_suffix(ours.as_str()).is_some_and(|front| front.ends_with('.'))
            }
            (Self::Below(_), _) => false,
        }
    }
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "a rule begins with https:// or http://",
            Self::Userinfo => "a rule has no userinfo: give it an authorization_file",
            Self::Host => "the host of a rule is a DNS name, an address, *.name or *",
            Self::Port => "the port of a rule is a number from 1 to 65535 or *",
            Self::Path => {
                "the path of a rule has no query, no fragment, no dot segments and no encoded \
                 dots and slashes"
            }
        })
    }
}

impl std::error::Error for RuleFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_rule_is_held_to_its_shape() {
        let check = |url: &str, expected: Result<(), RuleFault>| {
            assert_eq!(Rule::parse(url).map(|rule| assert_eq!(rule.url(), url)), expected, "{url}");
        };
        check("https://a.example", Ok(()));
        check("http://a.example/", Ok(()));
        check("https://a.example:8443/a/b/", Ok(()));
        check("https://a.example:*", Ok(()));
        check("https://*", Ok(()));
        check("https://*:*/a", Ok(()));
        check("https://*.a.example", Ok(()));
        check("https://A.Example.", Ok(()));
        check("https://bücher.example/ü/@x", Ok(()));
        check("https://[::1]", Ok(()));
        check("https://[::1]:8443", Ok(()));
        check("https://10.0.0.1:8443", Ok(()));
        check("", Err(RuleFault::Scheme));
        check("a.example", Err(RuleFault::Scheme));
        check("ftp://a.example", Err(RuleFault::Scheme));
        check("HTTPS://a.example", Err(RuleFault::Scheme));
        check(" https://a.example", Err(RuleFault::Scheme));
        check("https:a.example", Err(RuleFault::Scheme));
        check("https://me@a.example", Err(RuleFault::Userinfo));
        check("https://me:pw@a.example", Err(RuleFault::Userinfo));
        check("https://", Err(RuleFault::Host));
        check("https:///a", Err(RuleFault::Host));
        check("https://:443", Err(RuleFault::Host));
        check("https://a example", Err(RuleFault::Host));
        check("https://a..example", Err(RuleFault::Host));
        check("https://a.*.example", Err(RuleFault::Host));
        check("https://a*", Err(RuleFault::Host));
        check("https://**", Err(RuleFault::Host));
        check("https://*.", Err(RuleFault::Host));
        check("https://*.0.0.1", Err(RuleFault::Host));
        check("https://010.0.0.1", Err(RuleFault::Host));
        check("https://0x7f.1", Err(RuleFault::Host));
        check("https://::1", Err(RuleFault::Host));
        check("https://[::1", Err(RuleFault::Host));
        check("https://a.example?x", Err(RuleFault::Host));
        check("https://a.example\\x", Err(RuleFault::Host));
        check("https://a.example:", Err(RuleFault::Port));
        check("https://a.example:0", Err(RuleFault::Port));
        check("https://a.example:+1", Err(RuleFault::Port));
        check("https://a.example:65536", Err(RuleFault::Port));
        check("https://a.example:http", Err(RuleFault::Port));
        check("https://a.example/?x", Err(RuleFault::Path));
        check("https://a.example/#x", Err(RuleFault::Path));
        check("https://a.example/a b", Err(RuleFault::Path));
        check("https://a.example/a\\b", Err(RuleFault::Path));
        check("https://a.example/a\n", Err(RuleFault::Path));
        check("https://a.example/a/../b", Err(RuleFault::Path));
        check("https://a.example/./b", Err(RuleFault::Path));
        check("https://a.example/%2e%2e/b", Err(RuleFault::Path));
        check("https://a.example/a%2fb", Err(RuleFault::Path));
        check("https://a.example//b", Err(RuleFault::Path));
    }

    /// Whether scheme, host, port and path of a source are those of a rule.
    fn check(rule: &str, source: &str, expected: [bool; 4]) {
        let (rule, parsed) = (Rule::parse(rule).unwrap(), Source::parse(source).unwrap());
        let found = [
            rule.has_scheme_of(&parsed),
            rule.has_host_of(&parsed),
            rule.has_port_of(&parsed),
            rule.has_path_of(&parsed),
        ];
        assert_eq!(found, expected, "{} {source}", rule.url());
    }

    #[test]
    fn a_rule_has_a_scheme_a_host_a_port_and_a_path() {
        check("https://a.example", "https://a.example/x", [true; 4]);
        check("https://a.example", "http://a.example/x", [false, true, false, true]);
        check("https://a.example", "https://b.example/x", [true, false, true, true]);
        check("https://a.example", "https://a.example:8443/x", [true, true, false, true]);
        check("https://a.example:*", "https://a.example:8443/x", [true; 4]);
        check("https://a.example:443", "https://a.example/x", [true; 4]);
        check("http://a.example", "http://a.example:80/x", [true; 4]);
        check("https://a.example/x/", "https://a.example/y", [true, true, true, false]);
        check("https://a.example/ü/", "https://a.example/ü/y", [true; 4]);
    }

    #[test]
    fn a_rule_may_cover_one_origin_or_many() {
        let check = |url, expected| {
            assert_eq!(Rule::parse(url).unwrap().has_one_origin(), expected, "{url}");
        };
        check("https://a.example/x/", true);
        check("http://127.0.0.1:8080", true);
        check("https://*.a.example", false);
        check("https://*", false);
        check("https://a.example:*", false);
    }

    #[test]
    fn hosts_are_compared_after_idna_in_lower_case_without_a_last_dot() {
        let check = |rule: &str, host: &str, expected| {
            check(
                &format!("https://{rule}"),
                &format!("https://{host}/"),
                [true, expected, true, true],
            );
        };
        check("a.example", "A.EXAMPLE", true);
        check("a.example", "a.example.", true);
        check("A.Example.", "a.example", true);
        check("bücher.example", "xn--bcher-kva.example", true);
        check("xn--bcher-kva.example", "BÜCHER.example", true);
        check("a.example", "b.a.example", false);
        check("*.a.example", "b.a.example", true);
        check("*.a.example", "c.b.a.example.", true);
        check("*.a.example", "a.example", false);
        check("*.a.example", "xa.example", false);
        check("*.A.example.", "b.a.example", true);
        check("*", "a.example", true);
        check("*", "127.0.0.1", true);
        check("*", "[::1]", true);
        check("127.0.0.1", "0x7f.1", true);
        check("[::1]", "[0:0::1]", true);
        check("[::1]", "127.0.0.1", false);
    }

    #[test]
    fn a_fault_says_what_would_be_right() {
        let check = |fault: RuleFault, expected| assert_eq!(fault.to_string(), expected);
        check(RuleFault::Scheme, "a rule begins with https:// or http://");
        check(RuleFault::Userinfo, "a rule has no userinfo: give it an authorization_file");
        check(RuleFault::Host, "the host of a rule is a DNS name, an address, *.name or *");
        check(RuleFault::Port, "the port of a rule is a number from 1 to 65535 or *");
        check(
            RuleFault::Path,
            "the path of a rule has no query, no fragment, no dot segments and no encoded dots \
             and slashes",
        );
    }
}
