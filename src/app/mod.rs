//! The composition root: a configuration in, a running server out. The only place where
//! everything is wired.

mod systemd;

use crate::{
    config::{Config, Overload, RateLimit, Setting},
    decode::{self, Decoder, Pools},
    fetch::{self, CircuitSettings, ContentTypes, Fetcher, OriginSettings},
    http::{
        self, Admin, AllowedHosts, Decoding, Gates, Grants, Public, Rate, Readiness, RequestLimits,
        Server, Shown,
    },
    identity::Proxies,
    limit::{Bounds, Gcra, Pool, Processors, govern},
    policy::Policy,
    scan,
    telemetry::{Metrics, PoolKind, Recent},
};
use anyhow::Context;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use systemd::Supervisor;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Where the service listens.
pub struct Listeners {
    /// For clients.
    pub public: TcpListener,
    /// For the operator.
    pub admin: Option<TcpListener>,
}

/// How a server came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All work was finished.
    Finished,
    /// Work was cut off at the end of the grace period.
    CutOff,
}

impl Listeners {
    /// Binds the addresses of the configuration, within a runtime.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = |address: SocketAddr, key: &str| {
            listen(address).with_context(|| format!("cannot listen on {address} ({key})"))
        };
        let public = bind(config.server.bind, "server.bind")?;
        let admin = config.server.admin_bind;
        let admin = admin.map(|address| bind(address, "server.admin_bind")).transpose()?;
        Ok(Self { public, admin })
    }

    /// Their addresses.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let listeners = std::iter::once(&self.public).chain(&self.admin);
        listeners.map(TcpListener::local_addr).collect()
    }
}

/// Where the service listens with a configuration, or would: no source may be there.
pub fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    with_local_addresses(std::iter::once(config.server.bind).chain(config.server.admin_bind))
}

/// The addresses of listeners, those for every address of this machine beside each that it
/// has now.
fn with_local_addresses(listeners: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in listeners {
        addresses.push(address);
        if address.ip().is_unspecified() {
            let local = local_addresses().into_iter();
            addresses.extend(local.map(|ip| SocketAddr::new(ip, address.port())));
        }
    }
    addresses
}

/// How many connections may wait to be accepted: as many as the system lets. Who finds no
/// room there tries again after a second, so it must be enough for a crowd that comes at
/// once.
const BACKLOG: u32 = 65_535;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of a server that has ended do not keep the next one out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The addresses of this machine, as far as the system tells.
fn local_addresses() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    // An address stands above the line that says that it is local.
    let v4 = read("/proc/self/net/fib_trie");
    let lines: Vec<&str> = v4.lines().map(str::trim).collect();
    let is_local = |pair: &&[&str]| pair[1] == "/32 host LOCAL";
    let address = |pair: &[&str]| pair[0].rsplit(' ').next()?.parse::<IpAddr>().ok();
    let v4 = lines.windows(2).filter(is_local).filter_map(address);
    // 32 hexadecimal digits, then the rest.
    let v6 = read("/proc/self/net/if_inet6");
    let v6 = v6.lines().filter_map(|line| u128::from_str_radix(line.get(..32)?, 16).ok());
    v4.chain(v6.map(|bits| Ipv6Addr::from_bits(bits).into())).collect()
}

/// Serves until `shutdown`, goes on for a while so that balancers notice, then finishes
/// what was begun, but no longer than the grace period.
pub async fn run(
    config: &Config,
    settings: &[Setting],
    metrics: Arc<Metrics>,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Ended> {
    let listen_on = listeners.addresses().context("a listener has no address")?;
    let processors = Arc::new(Processors::new());
    let pools = pools(config, &processors, &metrics);
    let decoder = decoder(config, listen_on.clone(), pools.clone(), Arc::clone(&metrics))?;
    let limits = &config.limits;
    let decoding = Arc::new(Decoding {
        decoder,
        options: scan::Options::default(),
        limits: RequestLimits {
            max_request_bytes: limits.max_request_bytes,
            max_response_bytes: limits.max_response_bytes,
            max_secrets: limits.max_secrets,
            max_secret_chars: limits.max_secret_chars,
            stall_timeout: config.server.write_timeout,
        },
    });
    let readiness = Arc::new(Readiness::new(Arc::clone(&metrics)));
    let recent = Arc::new(Recent::default());
    let gates = |hosts, rate| {
        Arc::new(Gates {
            metrics: Arc::clone(&metrics),
            recent: Arc::clone(&recent),
            readiness: Arc::clone(&readiness),
            proxies: Proxies::new(config.server.trusted_proxies.clone()),
            hosts,
            rate,
            request_timeout: config.server.request_timeout,
            max_in_flight: config.server.max_in_flight,
            max_request_bytes: limits.max_request_bytes,
            max_document_bytes: limits.max_document_bytes,
        })
    };
    let server = |listener, routes, serves: &str| {
        let server = Server::new(listener, routes, grants(config), Arc::clone(&metrics))?;
        tracing::info!(address = server.address().to_string(), serves, "listening");
        anyhow::Ok(server)
    };

    let public = Public {
        decoding: Arc::clone(&decoding),
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        has_admin: listeners.admin.is_some(),
    };
    let hosts = AllowedHosts::new(&config.server.allowed_hosts, config.server.bind.ip());
    let rate = config.rate_limit.enabled.then(|| {
        let RateLimit { requests_per_minute, burst, .. } = config.rate_limit;
        Rate::new(Gcra::new(requests_per_minute, burst))
    });
    let public = http::public(public, &gates(hosts, rate));
    let admin = Admin {
        decoding: Arc::clone(&decoding),
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        recent: Arc::clone(&recent),
        config: Arc::new(Shown(crate::config::as_json(settings))),
    };
    check_policy(&decoding, &readiness, &listen_on);
    // From here on all that is asked is answered.
    readiness.set_serving(true);
    let admin = match listeners.admin {
        Some(listener) => {
            let hosts = AllowedHosts::new(&[], listener.local_addr()?.ip());
            Some(server(listener, http::admin(admin, &gates(hosts, None)), "admin")?)
        }
        None => None,
    };
    let public = server(listeners.public, public, "public")?;

    let governed: Vec<Pool> = pools.into_iter().flat_map(|of| [of.inline, of.fetch]).collect();
    let supervisor = Supervisor::of_environment();
    supervisor.ready();
    let serving = serve(config, public, admin, async {
        shutdown.await;
        readiness.set_serving(false);
        supervisor.stopping();
        let notice_ms = config.server.shutdown.notice.as_millis();
        tracing::info!(notice_ms, "shutting down");
        // Balancers notice by readiness, clients because each answer closes its connection.
        sleep(config.server.shutdown.notice).await;
    });
    let ended = tokio::select! {
        ended = serving => ended,
        never = supervisor.keep_telling() => match never {},
        never = govern(&governed, &processors) => match never {},
        never = keep_checking(&decoding, &readiness, &listen_on) => match never {},
        never = decoding.decoder.keep_refreshed() => match never {},
    };
    if ended == Ended::CutOff {
        metrics.cutting_off.store(true, Ordering::Relaxed);
    }
    Ok(ended)
}

/// How often the policy is checked.
const CHECK_EVERY: Duration = Duration::from_secs(60);

async fn keep_checking(
    decoding: &Decoding,
    readiness: &Readiness,
    listen_on: &[SocketAddr],
) -> Infallible {
    loop {
        sleep(CHECK_EVERY).await;
        check_policy(decoding, readiness, listen_on);
    }
}

fn check_policy(decoding: &Decoding, readiness: &Readiness, listen_on: &[SocketAddr]) {
    // The machine may have gained addresses.
    decoding.decoder.listens_on(with_local_addresses(listen_on.iter().copied()));
    let checked = decoding.decoder.check_policy();
    readiness.set_sound(checked.is_ok());
    if let Err(passed) = checked {
        tracing::error!(passed, "the policy failed its self-check: nothing is fetched");
    }
}

/// Runs the servers until `notice` is over, and then until their work is done, or the grace
/// period over. The operator is served for as long as anyone is.
async fn serve(
    config: &Config,
    public: Server,
    admin: Option<Server>,
    notice: impl Future<Output = ()>,
) -> Ended {
    let watches: Vec<_> = std::iter::once(&public).chain(&admin).map(Server::watch).collect();
    let ((stop_public, public_stopped), (stop_admin, admin_stopped)) =
        (watch::channel(()), watch::channel(()));
    let mut servers = JoinSet::new();
    let public = servers.spawn(public.run(public_stopped));
    if let Some(admin) = admin {
        servers.spawn(admin.run(admin_stopped));
    }
    notice.await;
    drop(stop_public);
    let finish = async {
        while !public.is_finished() {
            servers.join_next().await;
        }
        drop(stop_admin);
        while servers.join_next().await.is_some() {}
    };
    let is_finished = timeout(config.server.shutdown.grace, finish).await.is_ok();
    // A connection without a request is no work.
    if is_finished || !watches.iter().any(|watch| watch.is_busy()) {
        Ended::Finished
    } else {
        Ended::CutOff
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn grants(config: &Config) -> Grants {
    let server = &config.server;
    Grants {
        header_timeout: server.header_timeout,
        idle_timeout: server.idle_timeout,
        write_timeout: server.write_timeout,
        request_timeout: server.request_timeout,
        max_connections: count(server.max_connections),
        max_header_bytes: count(server.max_header_bytes),
    }
}

fn pools(config: &Config, processors: &Arc<Processors>, metrics: &Metrics) -> Option<Pools> {
    let Overload { enabled, inline, fetch, queue, max_wait } = config.overload;
    let pool = |places, kind| {
        let bounds = Bounds { places: count(places), waiting: count(queue), max_wait };
        Pool::new(bounds, Arc::clone(processors), metrics.pool(kind))
    };
    enabled.then(|| Pools {
        inline: pool(inline, PoolKind::Inline),
        fetch: pool(fetch, PoolKind::Fetch),
    })
}

/// The decoder service of a configuration.
pub fn decoder(
    config: &Config,
    own_listeners: Vec<SocketAddr>,
    pools: Option<Pools>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Decoder> {
    let egress = &config.egress;
    let policy = Policy::new(
        egress.allow.clone(),
        egress.deny_networks.clone(),
        egress.nat64_prefixes.clone(),
        own_listeners,
    );
    let extra = egress.extra_ca_file.as_deref();
    let roots = fetch::roots(extra).with_context(|| {
        format!("egress.extra_ca_file = {:?} is of no use", extra.unwrap_or("".as_ref()))
    })?;
    let counted = Arc::clone(&metrics);
    let settings = fetch::Settings {
        connect_timeout: egress.connect_timeout,
        user_agent: egress.user_agent.replace("<version>", env!("CARGO_PKG_VERSION")),
        content_types: ContentTypes(egress.content_types.clone()),
        hosts: egress.hosts.clone(),
        nameservers: egress.nameservers.clone(),
        roots,
        first_byte_timeout: egress.first_byte_timeout,
        origins: OriginSettings {
            max_per_origin: count(egress.max_per_origin),
            attempts: u32::try_from(egress.attempts).unwrap_or(u32::MAX),
            circuit: egress.circuit.enabled.then(|| CircuitSettings {
                failures: u32::try_from(egress.circuit.failures).unwrap_or(u32::MAX),
                open_for: egress.circuit.open_for,
            }),
            circuits_open: Box::new(move |open| {
                counted.circuits_open.set(i64::try_from(open).unwrap_or(i64::MAX));
            }),
        },
    };
    let fetcher = Fetcher::new(settings, policy.rules())?;
    let limits = decode::Limits {
        max_document_bytes: config.limits.max_document_bytes,
        fetch_timeout: egress.total_timeout,
        max_redirects: count(egress.max_redirects),
    };
    Ok(Decoder::new(policy, fetcher, limits, pools, metrics))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_the_addresses_that_it_can_listen_on() {
        let addresses = local_addresses();
        assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
        for address in addresses {
            // Scopes are not told, so link-local ones cannot be tried.
            let is_link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
            let bound = std::net::TcpListener::bind((address, 0));
            assert!(is_link_local || bound.is_ok(), "{address}: {bound:?}");
        }
    }
}
