//! `[egress]`: what may be fetched, from where and in what time.

use super::{
    kind::{Kind, Raw, duration, flag, number, path, quoted, size, socket, text},
    network,
    reader::Section,
};
use crate::policy::{Exception, Network, Rule};
use config::{Map, Value, ValueKind};
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
    pub allow: Vec<Rule>,
    /// The bytes of the longest URL accepted.
    pub max_url_bytes: u64,
    /// Networks that are never reached.
    pub deny_networks: Vec<Network>,
    /// Prefixes of the NAT64s in use here: behind them, the IPv4 address decides.
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
            max_url_bytes: section.take("max_url_bytes", size("256B"..="32KiB")),
            deny_networks: section.take("deny_networks", network().list()),
            nat64_prefixes: section.take("nat64_prefixes", nat64_prefix().list()),
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

pub(super) fn rule() -> Kind<Rule> {
    let parse = |raw: Raw<'_>| match raw {
        Raw::Toml(value) if let ValueKind::Table(table) = &value.kind => table_of_a_rule(table),
        _ => Rule::parse(raw.string()?).ok(),
    };
    let allowed = "\"https://host[:port][/prefix/]\" with *.name or * for hosts and * for ports, or \
                   a table with url, and name, addresses and authorization_file where needed";
    Kind::new(allowed, parse, show_rule)
}

fn table_of_a_rule(table: &Map<String, Value>) -> Option<Rule> {
    let mut rule = Rule::parse(Raw::Toml(table.get("url")?).string()?).ok()?;
    for (key, value) in table {
        let raw = Raw::Toml(value);
        match key.as_str() {
            "url" => {}
            "name" => rule.name = Some((text("").parse)(raw)?),
            "addresses" => rule.addresses = (address_of_a_rule().list().parse)(raw)?,
            "authorization_file" => rule.authorization_file = Some((path().parse)(raw)?),
            _ => return None,
        }
    }
    Some(rule)
}

/// `CIDR`, `IP` or `IP:port`.
pub(super) fn address_of_a_rule() -> Kind<Exception> {
    let allowed = "a network, an address or an address with a port";
    Kind::string(allowed, |text| text.parse().ok(), Exception::to_string)
}

fn show_rule(rule: &Rule) -> String {
    let url = quoted(rule.url());
    let mut fields = vec![format!("url = {url}")];
    if let Some(name) = &rule.name {
        fields.push(format!("name = {}", quoted(name)));
    }
    if !rule.addresses.is_empty() {
        let addresses = (address_of_a_rule().list().show)(&rule.addresses);
        fields.push(format!("addresses = {addresses}"));
    }
    if let Some(file) = &rule.authorization_file {
        fields.push(format!("authorization_file = {}", (path().show)(file)));
    }
    match fields.as_slice() {
        [_] => url,
        fields => format!("{{ {} }}", fields.join(", ")),
    }
}

/// The prefix of a NAT64: where behind it the IPv4 address stands must be known.
fn nat64_prefix() -> Kind<Network> {
    let parse = |text: &str| text.parse().ok().filter(Network::is_nat64_prefix);
    let allowed = "the prefix of a NAT64 (RFC 6052): /32, /40, /48, /56, /64 or /96 within 2000::/3, \
                   fc00::/7 or 64:ff9b:1::/48, not 6to4 or Teredo, with bits 64 to 71 zero, such \
                   as \"64:ff9b:1::/96\"";
    Kind::string(allowed, parse, Network::to_string)
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
            // As they are compared: in lower case and without a dot at the end.
            let entry = |(name, value): (&String, _)| {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                let fits = !name.is_empty() && name.bytes().all(is_name);
                let addresses = (addresses().parse)(Raw::Toml(value))?;
                fits.then_some((name, addresses))
            };
            let hosts = table.iter().map(entry).collect::<Option<BTreeMap<_, _>>>()?;
            // Two spellings of one name.
            (hosts.len() == table.len()).then_some(hosts)
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
    Kind::new("a table in a file, \"name\" = [\"address\", ...], each name once", parse, show)
}
