//! What a name leads to, and the judgement of it.

use super::{dial::DIAL, hosts_file::HostsFile, lookups::Lookups};
use crate::{
    policy::{ApprovedTarget, Denied},
    quota_key::QuotaKey,
};
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::{
    TokioResolver, net::runtime::TokioRuntimeProvider, proto::rr::Name as DnsName,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    collections::{BTreeMap, VecDeque},
    error, fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

/// So many addresses of a name are tried in turn: the time for a connection is divided
/// among them.
const TRIED: usize = 8;
/// Out of the time for a connection, one question to a name server has one part in this.
const PART: u32 = 3;

/// Knows what names lead to.
#[derive(Clone)]
pub(super) struct Resolver {
    /// Of the system.
    lookups: Lookups,
    /// Names with fixed addresses, from the configuration.
    hosts: Arc<BTreeMap<String, Vec<IpAddr>>>,
    /// Names with fixed addresses of the system.
    hosts_file: Arc<HostsFile>,
    /// Who is asked about others; none: the system.
    servers: Option<TokioResolver>,
}

impl Resolver {
    /// Asks these name servers, or else the system.
    pub(super) fn new(
        hosts: BTreeMap<String, Vec<IpAddr>>,
        nameservers: &[SocketAddr],
        connect_timeout: Duration,
    ) -> Result<Self, String> {
        let asked = (!nameservers.is_empty()).then(|| asking(nameservers, connect_timeout));
        let (lookups, hosts) = (Lookups::new(connect_timeout), Arc::new(hosts));
        let hosts_file = Arc::new(HostsFile::at("/etc/hosts"));
        Ok(Self { lookups, hosts, hosts_file, servers: asked.transpose()? })
    }

    /// Every address of a whole name, given without a dot at its end, as they are now: nothing
    /// is remembered, and no search list is used. As long as it takes, whether or not anyone
    /// waits for it, it keeps what is handed over.
    async fn look_up(
        &self,
        name: &str,
        caller: QuotaKey,
        keeps: impl Send + 'static,
    ) -> Result<Vec<IpAddr>, NoAddress> {
        if let Some(fixed) = self.hosts.get(name) {
            return Ok(fixed.clone());
        }
        let failed = |error: &dyn error::Error| NoAddress::Lookup(error.to_string());
        match &self.servers {
            None => {
                let (name, hosts_file) = (name.to_owned(), Arc::clone(&self.hosts_file));
                let ask = move || ask_system(&name, &hosts_file);
                let found = self.lookups.run(caller, keeps, ask).await?;
                found.map_err(|error| failed(&error))
            }
            Some(servers) => {
                let mut name = DnsName::from_ascii(name).map_err(|error| failed(&error))?;
                // Nothing is to be added to it.
                name.set_fqdn(true);
                let found = servers.lookup_ip(name).await.map_err(|error| failed(&error))?;
                Ok(found.iter().collect())
            }
        }
    }

    /// Every address of the host of a target, looked up for a caller.
    pub(super) async fn addresses(
        &self,
        target: &ApprovedTarget,
        caller: QuotaKey,
        keeps: impl Send + 'static,
    ) -> Result<Vec<IpAddr>, NoAddress> {
        let host = target.host();
        let found = match target.literal() {
            Some(literal) => vec![literal.ip()],
            None => self.look_up(host.strip_suffix('.').unwrap_or(host), caller, keeps).await?,
        };
        if found.is_empty() { Err(NoAddress::Empty) } else { Ok(found) }
    }
}

/// Asks the system for a name, without its search list. Blocks.
///
/// The dot at the end of a name tells the C library that the name is whole; with it, the library
/// knows none of the names in the hosts file. So we read that ourselves.
fn ask_system(name: &str, hosts_file: &HostsFile) -> io::Result<Vec<IpAddr>> {
    let listed = hosts_file.addresses(name);
    if !listed.is_empty() {
        return Ok(listed);
    }
    // RFC 6761: no name server is asked.
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let found = (format!("{name}."), 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip()).collect())
}

fn asking(nameservers: &[SocketAddr], connect_timeout: Duration) -> Result<TokioResolver, String> {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let at_port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        NameServerConfig::new(address.ip(), true, connections.map(at_port).into())
    };
    let servers = nameservers.iter().map(server).collect();
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = connect_timeout / PART;
    options.attempts = 1;
    // One that says nothing holds up nobody.
    options.num_concurrent_reqs = nameservers.len();
    options.cache_size = 0;
    options.edns0 = true;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(|error| error.to_string())
}

/// A few of the addresses, of both families if there are both: perhaps only one of them can
/// be reached from here.
fn tried(judged: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = judged.first().is_some_and(SocketAddr::is_ipv4);
    let (mut ours, mut others): (VecDeque<_>, VecDeque<_>) =
        judged.iter().copied().partition(|address| address.is_ipv4() == first);
    let mut tried = Vec::with_capacity(TRIED);
    while tried.len() < TRIED && !(ours.is_empty() && others.is_empty()) {
        tried.extend(ours.pop_front());
        std::mem::swap(&mut ours, &mut others);
    }
    tried
}

/// Resolves names and lets through what the policy allows for the request at hand.
#[derive(Clone)]
pub(super) struct JudgingResolver(pub(super) Resolver);

impl Resolve for JudgingResolver {
    fn resolve(&self, _: Name) -> Resolving {
        let dial = DIAL.try_with(Arc::clone);
        let resolver = self.0.clone();
        Box::pin(async move {
            let dial = dial.map_err(|_| NoAddress::Unasked)?;
            let began = Instant::now();
            let permit = dial.permit.clone();
            let answers = resolver.addresses(&dial.target, permit.caller(), permit).await?;
            let _ = dial.looked_up.set(began.elapsed());
            let judged = dial.target.judge(&answers);
            let _ = dial.times.addresses.set(answers);
            let judged = judged.map_err(NoAddress::Denied)?;
            Ok(Box::new(tried(&judged).into_iter()) as Addrs)
        })
    }
}

/// Why a name led to no address.
#[derive(Debug)]
pub(super) enum NoAddress {
    /// Nobody knows it, or nobody answered.
    Lookup(String),
    /// Nobody was asked: as many are as may be.
    Crowded,
    /// It has no addresses.
    Empty,
    /// An address that it has is forbidden.
    Denied(Denied),
    /// A lookup that no request asked for.
    Unasked,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(error) => write!(f, "the lookup failed: {error}"),
            Self::Crowded => f.write_str("too many lookups are under way"),
            Self::Empty => f.write_str("the name has no addresses"),
            Self::Denied(denied) => f.write_str(&denied.reason),
            Self::Unasked => f.write_str("a lookup outside of a request"),
        }
    }
}

impl error::Error for NoAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_addresses_of_both_families_are_tried() {
        let check = |all: &[&str], expected: &[&str]| {
            let parse = |text: &&str| SocketAddr::new(text.parse().unwrap(), 443);
            let all: Vec<SocketAddr> = all.iter().map(parse).collect();
            let expected: Vec<SocketAddr> = expected.iter().map(parse).collect();
            assert_eq!(tried(&all), expected);
        };
        check(&[], &[]);
        check(&["::1"], &["::1"]);
        check(&["1.1.1.1", "1.1.1.2", "1.1.1.3"], &["1.1.1.1", "1.1.1.2", "1.1.1.3"]);
        let v4: Vec<String> = (1..=9).map(|last| format!("1.1.1.{last}")).collect();
        let v6: Vec<String> = (1..=9).map(|last| format!("::{last}")).collect();
        let [v4, v6] = [&v4, &v6].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
        check(
            &[&v4[..], &v6].concat(),
            &["1.1.1.1", "::1", "1.1.1.2", "::2", "1.1.1.3", "::3", "1.1.1.4", "::4"],
        );
        check(&["::1", "::2", "1.1.1.1", "::3"], &["::1", "1.1.1.1", "::2", "::3"]);
        check(&v4, &v4[..TRIED]);
    }
}
