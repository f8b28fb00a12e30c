//! The composition root: a configuration in, a running server out. The only place where
//! everything is wired.

use crate::{
    config::{Config, Setting},
    decode::{self, Decoder},
    fetch::{self, ContentTypes, Fetcher},
    http::{self, Admin, AllowedHosts, Decoding, Gates, Public, Readiness, RequestLimits, Shown},
    policy::Policy,
    scan,
    telemetry::{Metrics, Recent},
};
use anyhow::Context;
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
};
use tokio::{net::TcpListener, sync::watch, time::timeout};

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
    /// Binds the addresses of the configuration.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |address: SocketAddr, key: &str| {
            let listener = TcpListener::bind(address).await;
            listener.with_context(|| format!("cannot listen on {address} ({key})"))
        };
        let public = bind(config.server.bind, "server.bind").await?;
        let admin = match config.server.admin_bind {
            Some(address) => Some(bind(address, "server.admin_bind").await?),
            None => None,
        };
        Ok(Self { public, admin })
    }

    /// Their addresses, which no source may have. A listener for every address of this
    /// machine is listed with each that the machine has now.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for listener in std::iter::once(&self.public).chain(&self.admin) {
            let address = listener.local_addr()?;
            addresses.push(address);
            if address.ip().is_unspecified() {
                let local = local_addresses().into_iter();
                addresses.extend(local.map(|ip| SocketAddr::new(ip, address.port())));
            }
        }
        Ok(addresses)
    }
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

/// Serves until `shutdown`, then finishes what was begun, but no longer than the grace
/// period.
pub async fn run(
    config: &Config,
    settings: &[Setting],
    metrics: Arc<Metrics>,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Ended> {
    let addresses = listeners.addresses().context("a listener has no address")?;
    let decoder = decoder(config, addresses, Arc::clone(&metrics))?;
    let limits = &config.limits;
    let decoding = Arc::new(Decoding {
        decoder,
        options: scan::Options::default(),
        limits: RequestLimits {
            max_request_bytes: limits.max_request_bytes,
            max_response_bytes: limits.max_response_bytes,
            max_secrets: limits.max_secrets,
            max_secret_chars: limits.max_secret_chars,
        },
    });
    let readiness = Arc::new(Readiness::new(Arc::clone(&metrics)));
    let recent = Arc::new(Recent::default());
    let gates = |hosts| {
        Arc::new(Gates {
            metrics: Arc::clone(&metrics),
            recent: Arc::clone(&recent),
            hosts: Arc::new(hosts),
            request_timeout: config.server.request_timeout,
            max_in_flight: config.server.max_in_flight,
            max_request_bytes: limits.max_request_bytes,
            max_document_bytes: limits.max_document_bytes,
        })
    };
    let public = Public {
        decoding,
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        has_admin: listeners.admin.is_some(),
    };
    let hosts = AllowedHosts::new(&config.server.allowed_hosts, config.server.bind.ip());
    let public = http::public(public, &gates(hosts));
    let admin = Admin {
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        recent: Arc::clone(&recent),
        config: Arc::new(Shown(crate::config::as_json(settings))),
    };

    let (stop, stopped) = watch::channel(());
    let until_stopped = |mut stopped: watch::Receiver<()>| async move {
        // The sender says so, or is gone.
        let _ = stopped.changed().await;
    };
    let log_address = |listener: &TcpListener, serves: &str| {
        let address = listener.local_addr().map(|address| address.to_string());
        tracing::info!(address = address.unwrap_or_default(), serves, "listening");
    };
    // From here on all that is asked is answered.
    readiness.set_serving(true);
    let mut servers = Vec::new();
    if let Some(listener) = listeners.admin {
        let hosts = AllowedHosts::new(&[], listener.local_addr()?.ip());
        log_address(&listener, "admin");
        let routes = http::admin(admin, &gates(hosts));
        let serving =
            http::serve(listener, routes, Arc::clone(&metrics), until_stopped(stopped.clone()));
        servers.push(tokio::spawn(async { serving.await.shutdown().await }));
    }
    log_address(&listeners.public, "public");
    let serving =
        http::serve(listeners.public, public, Arc::clone(&metrics), until_stopped(stopped));
    servers.push(tokio::spawn(async { serving.await.shutdown().await }));

    shutdown.await;
    readiness.set_serving(false);
    tracing::info!("shutting down");
    drop(stop);
    let finish = async {
        for server in servers {
            server.await.context("a server panicked")?;
        }
        anyhow::Ok(())
    };
    match timeout(config.server.shutdown.grace, finish).await {
        Ok(finished) => finished.map(|()| Ended::Finished),
        // A connection without a request is no work.
        Err(_) if metrics.in_flight.get() == 0 => Ok(Ended::Finished),
        Err(_) => {
            metrics.cutting_off.store(true, Ordering::Relaxed);
            Ok(Ended::CutOff)
        }
    }
}

/// The decoder service of a configuration.
pub fn decoder(
    config: &Config,
    own_listeners: Vec<SocketAddr>,
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
    let settings = fetch::Settings {
        connect_timeout: egress.connect_timeout,
        user_agent: egress.user_agent.replace("<version>", env!("CARGO_PKG_VERSION")),
        content_types: ContentTypes(egress.content_types.clone()),
        hosts: egress.hosts.clone(),
        roots,
    };
    let fetcher = Fetcher::new(settings, policy.rules().len())?;
    let limits = decode::Limits {
        max_document_bytes: config.limits.max_document_bytes,
        fetch_timeout: egress.total_timeout,
    };
    Ok(Decoder::new(policy, fetcher, limits, metrics))
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
