//! What a name leads to, and the judgement of it.

use super::dial::DIAL;
use crate::policy::{ApprovedTarget, Denied};
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::{
    TokioResolver, net::runtime::TokioRuntimeProvider, proto::rr::Name as DnsName,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    collections::BTreeMap,
    error, fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

/// So many addresses of a name are tried in turn: the time for a connection is divided
/// among them.
const TRIED: usize = 4;
/// Out of the time for a connection, one question to a name server has one part in this.
const PART: u32 = 3;

/// Knows what names lead to.
#[derive(Clone)]
pub(super) struct Resolver {
    /// Names with fixed addresses.
    hosts: Arc<BTreeMap<String, Vec<IpAddr>>>,
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
        Ok(Self { hosts: Arc::new(hosts), servers: asked.transpose()? })
    }

    /// Every address of a name, as they are now: nothing is remembered.
    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        if let Some(fixed) = self.hosts.get(name) {
            return Ok(fixed.clone());
        }
        let failed = |error: &dyn error::Error| NoAddress::Lookup(error.to_string());
        match &self.servers {
            None => {
                let found = tokio::net::lookup_host((name, 0)).await;
                let found = found.map_err(|error| failed(&error))?;
                Ok(found.map(|address| address.ip()).collect())
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

    /// Every address of the host of a target.
    pub(super) async fn addresses(
        &self,
        target: &ApprovedTarget,
    ) -> Result<Vec<IpAddr>, NoAddress> {
        let host = target.host();
        let found = match target.literal() {
            Some(literal) => vec![literal.ip()],
            None => self.look_up(host.strip_suffix('.').unwrap_or(host)).await?,
        };
        if found.is_empty() { Err(NoAddress::Empty) } else { Ok(found) }
    }
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
    options.cache_size = 0;
    options.edns0 = true;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(|error| error.to_string())
}

/// Resolves names and lets through what the policy allows for the request at hand.
pub(super) struct JudgingResolver(pub(super) Resolver);

impl Resolve for JudgingResolver {
    fn resolve(&self, _: Name) -> Resolving {
        let dial = DIAL.try_with(Arc::clone);
        let resolver = self.0.clone();
        Box::pin(async move {
            let dial = dial.map_err(|_| NoAddress::Unasked)?;
            let began = Instant::now();
            let answers = resolver.addresses(&dial.target).await?;
            let _ = dial.looked_up.set(began.elapsed());
            let judged: Vec<SocketAddr> = dial.target.judge(&answers).map_err(NoAddress::Denied)?;
            Ok(Box::new(judged.into_iter().take(TRIED)) as Addrs)
        })
    }
}

/// Why a name led to no address.
#[derive(Debug)]
pub(super) enum NoAddress {
    /// Nobody knows it, or nobody answered.
    Lookup(String),
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
            Self::Empty => f.write_str("the name has no addresses"),
            Self::Denied(denied) => f.write_str(&denied.reason),
            Self::Unasked => f.write_str("a lookup outside of a request"),
        }
    }
}

impl error::Error for NoAddress {}
