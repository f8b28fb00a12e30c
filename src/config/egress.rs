//! `[egress]`: what may be fetched, from where and in what time.

use super::{
    Network,
    kind::{Kind, Raw, duration, flag, number, path, quoted, socket, text},
    network,
    reader::Section,
};
use config::ValueKind;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// What may be fetched, from where and in what time.
#[derive(Debug, Clone, PartialEq)]
pub struct Egress {
    /// The rules; what none allows is denied.
    pub allow: Vec<AllowRule>,
    /// Networks that are never reached.
    pub deny_networks: Vec<Network>,
    /// Prefixes of NAT64 in use here.
    pub nat64_prefixes: Vec<Network>,
    /// Redirects followed for one document.
    pub max_redirects: u64,
    /// Until a connection stands, TLS included.
    pub connect_timeout: Duration,
    /// Until an answer begins.
    pub first_byte_timeout: Duration,
    /// Over all attempts, hops and pauses.
    pub total_timeout: Duration,
    /// How often a source is tried.
    pub attempts: u64,
    /// Requests to one origin at a time.
    pub max_per_origin: u64,
    /// Types of content that are scanned.
    pub content_types: Vec<String>,
    /// What we call ourselves; `<version>` stands for that of the binary.
    pub user_agent: String,
    /// Certificates trusted besides the public ones.
    pub extra_ca_file: Option<PathBuf>,
    /// Name servers to ask; empty: the system's.
    pub nameservers: Vec<SocketAddr>,
    /// Names with fixed addresses.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// When an origin is left alone.
    pub circuit: Circuit,
}

/// One allow rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// `scheme://host[:port][/path/prefix/]`.
    pub url: String,
    /// Its label in metrics and explanations.
    pub name: Option<String>,
    /// What this rule alone may reach: `CIDR`, `IP` or `IP:port`.
    pub addresses: Vec<String>,
    /// Holds an `Authorization` header.
    pub authorization_file: Option<PathBuf>,
}

/// When an origin is left alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Circuit {
    /// Whether there are circuits.
    pub enabled: bool,
    /// Failures in a row that open one.
    pub failures: u64,
    /// For how long at first.
    pub open_for: Duration,
}

impl Egress {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let time = || duration("1ms"..="1h");
        Self {
            allow: section.take("allow", rule().list()),
            deny_networks: section.take("deny_networks", network().list()),
            nat64_prefixes: section.take("nat64_prefixes", network().list()),
            max_redirects: section.take("max_redirects", number(0..=20)),
            connect_timeout: section.take("connect_timeout", time()),
            first_byte_timeout: section.take("first_byte_timeout", time()),
            total_timeout: section.take("total_timeout", time()),
            attempts: section.take("attempts", number(1..=10)),
            max_per_origin: section.take("max_per_origin", number(1..=100_000)),
            content_types: section.take("content_types", content_type().list()),
            user_agent: section.take("user_agent", header_text()),
            extra_ca_file: section.take("extra_ca_file", path().optional()),
            nameservers: section.take("nameservers", nameserver().list()),
            hosts: section.take("hosts", hosts()),
            circuit: Circuit::read(section.section("circuit")),
        }
    }
}

impl Circuit {
    fn read(mut section: Section<'_, '_>) -> Self {
        Self {
            enabled: section.take("enabled", flag()),
            failures: section.take("failures", number(1..=1000)),
            open_for: section.take("open_for", duration("1ms"..="2m")),
        }
    }
}

fn rule() -> Kind<AllowRule> {
    let parse = |raw: Raw<'_>| {
        let mut rule = AllowRule {
            url: String::new(),
            name: None,
            addresses: Vec::new(),
            authorization_file: None,
        };
        match raw {
            Raw::Toml(value) if let ValueKind::Table(table) = &value.kind => {
                for (key, value) in table {
                    let raw = Raw::Toml(value);
                    match key.as_str() {
                        "url" => rule.url = raw.string()?.to_owned(),
                        "name" => rule.name = Some((text("").parse)(raw)?),
                        "addresses" => rule.addresses = (address_of_a_rule().list().parse)(raw)?,
                        "authorization_file" => {
                            rule.authorization_file = Some((path().parse)(raw)?);
                        }
                        _ => return None,
                    }
                }
            }
            _ => rule.url = raw.string()?.to_owned(),
        }
        let schemes = ["https://", "http://"];
        let rest = schemes.iter().find_map(|scheme| rule.url.strip_prefix(scheme))?;
        let fits =
            !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || "@?#".contains(c));
        fits.then_some(rule)
    };
    let allowed = "\"https://host[:port][/prefix/]\" or a table with url, and name, addresses \
                   and authorization_file where needed";
    Kind::new(allowed, parse, show_rule)
}

/// `CIDR`, `IP` or `IP:port`.
pub(super) fn address_of_a_rule() -> Kind<String> {
    let parse = |text: &str| {
        let fits =
            (network().parse)(Raw::Text(text)).is_some() || text.parse::<SocketAddr>().is_ok();
        fits.then(|| text.to_owned())
    };
    Kind::string("a network, an address or an address with a port", parse, String::clone)
}

fn show_rule(rule: &AllowRule) -> String {
    let AllowRule { url, name, addresses, authorization_file } = rule;
    let mut fields = vec![format!("url = {}", quoted(url))];
    if let Some(name) = name {
        fields.push(format!("name = {}", quoted(name)));
    }
    if !addresses.is_empty() {
        let addresses: Vec<String> = addresses.iter().map(|address| quoted(address)).collect();
        fields.push(format!("addresses = [{}]", addresses.join(", ")));
    }
    if let Some(file) = authorization_file {
        fields.push(format!("authorization_file = {}", quoted(&file.display().to_string())));
    }
    match fields.as_slice() {
        [_] => quoted(url),
        fields => format!("{{ {} }}", fields.join(", ")),
    }
}

fn content_type() -> Kind<String> {
    let parse = |text: &str| {
        let is_token = |half: &str| {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&byte);
            !half.is_empty() && half.bytes().all(token)
        };
        let (kind, subtype) = text.split_once('/')?;
        (is_token(kind) && is_token(subtype)).then(|| text.to_owned())
    };
    Kind::string("a type of content, such as \"text/*\"", parse, String::clone)
}

fn header_text() -> Kind<String> {
    let parse = |text: &str| {
        let fits =
            !text.is_empty() && text.trim() == text && text.bytes().all(|b| (32..127).contains(&b));
        fits.then(|| text.to_owned())
    };
    Kind::string("printable ASCII", parse, String::clone)
}

/// An address, with port 53 unless it says another.
fn nameserver() -> Kind<SocketAddr> {
    let parse = |text: &str| {
        let address = || text.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 53));
        text.parse().ok().or_else(address)
    };
    Kind::string("an address with or without a port", parse, |address| {
        (socket().show)(address).trim_matches('"').to_owned()
    })
}

fn hosts() -> Kind<BTreeMap<String, Vec<IpAddr>>> {
    let addresses =
        || Kind::string("an address", |text| text.parse().ok(), IpAddr::to_string).list();
    let parse = move |raw: Raw<'_>| match raw {
        Raw::Toml(value) if let ValueKind::Table(table) = &value.kind => {
            let entry =
                |(name, value)| Some((String::clone(name), (addresses().parse)(Raw::Toml(value))?));
            table.iter().map(entry).collect()
        }
        _ => None,
    };
    let show = move |hosts: &BTreeMap<String, Vec<IpAddr>>| {
        let entry =
            |(name, list): (&String, _)| format!("{} = {}", quoted(name), (addresses().show)(list));
        match hosts.iter().map(entry).collect::<Vec<_>>().join(", ") {
            entries if entries.is_empty() => "{}".to_owned(),
            entries => format!("{{ {entries} }}"),
        }
    };
    Kind::new("a table in a file, \"name\" = [\"address\", ...]", parse, show)
}
