//! The composition root: a configuration in, a running server out. The only place where
//! everything is wired.

mod issuer;
mod listeners;
mod settling;
mod systemd;
mod tenant_factory;
mod tenants;

pub use issuer::Unusable as UnusableKeys;
pub use listeners::{Listeners, own_listeners};
pub use tenant_factory::anonymous;
pub use tenants::Unusable as UnusableTenants;

use crate::{
    config::{
        self, Backend, Config, Egress, Mode, Overload, RateLimit, RateLimitOnFailure, Setting,
    },
    decode::{self, DecodePools, Decoder},
    fetch::{self, CircuitSettings, ContentTypes, Fetcher, OriginSettings},
    http::{
        self, Admin, AllowedHosts, Authenticator, ConnectionLimits, Decoding, EffectiveConfig,
        Gates, Public, Readiness, Reloads, RequestLimits, Server,
    },
    identity::Proxies,
    overload::{CpuScheduler, PermitPool, PoolLimits, govern},
    policy::Policy,
    rate_limit::{Limiter, SharedStore, Valkey, ValkeySettings},
    scan,
    telemetry::{Levels, Metrics, PoolKind, RecentFailures},
};
use anyhow::Context;
use issuer::IssuerKeysReloader;
use listeners::{keep_known, local_networks_for};
use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use systemd::Supervisor;
use tenant_factory::TenantFactory;
use tenants::TenantsReloader;
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How a server came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All work was finished.
    Finished,
    /// Work was cut off at the end of the grace period.
    CutOff,
}

/// What tells the service from outside what to do.
pub struct Signals<F> {
    /// Resolves when it is to end. It is polled only once the service serves.
    pub shutdown: F,
    /// Tells it to read again what may change.
    pub hangups: Signal,
}

/// Serves until it is told to end, goes on for a while so that balancers notice, then finishes
/// what was begun, but no longer than the grace period.
pub async fn run(
    config: &Config,
    settings: &[Setting],
    metrics: Arc<Metrics>,
    levels: Levels,
    listeners: Listeners,
    signals: Signals<impl Future<Output = ()>>,
) -> anyhow::Result<Ended> {
    let listen_on = listeners.addresses().context("a listener has no address")?;
    let cpu = Arc::new(CpuScheduler::new());
    let pools = pools(config, &cpu, &metrics);
    let policy = policy(config, listen_on.clone());
    let readiness = Arc::new(Readiness::new(Arc::clone(&metrics)));
    let issuer = IssuerKeysReloader::new(config, &policy, Arc::clone(&readiness))?;
    let decoder = decoder_under(config, policy, pools.clone(), Arc::clone(&metrics))?;
    let limits = &config.limits;
    let decoding = Arc::new(Decoding {
        decoder,
        options: scan::Options::default(),
        limits: RequestLimits {
            max_request_bytes: limits.max_request_bytes,
            max_url_bytes: config.egress.max_url_bytes,
            max_response_bytes: limits.max_response_bytes,
            max_secrets: limits.max_secrets,
            max_secret_chars: limits.max_secret_chars,
            stall_timeout: config.server.write_timeout,
        },
    });
    let shared = shared_limits(config, &readiness, &metrics)?;
    let limiter = limiter(config, shared.clone());
    let members = TenantFactory::new(config, Arc::clone(&decoding), Arc::clone(&metrics));
    let (tenants, settling) = TenantsReloader::open(
        &config.auth,
        members,
        Arc::clone(&readiness),
        |is_locked, callers, anonymous| {
            let issuer = issuer.as_ref().map(|keys| Arc::clone(&keys.issuer));
            let metrics = Arc::clone(&metrics);
            Authenticator::new(is_locked, callers, anonymous, issuer, limiter.clone(), metrics)
        },
    )?;
    let authenticator = tenants.authenticator();
    let recent = Arc::new(RecentFailures::default());
    let gates = |hosts, is_local| {
        Arc::new(Gates {
            metrics: Arc::clone(&metrics),
            recent: Arc::clone(&recent),
            readiness: Arc::clone(&readiness),
            proxies: Proxies::new(config.server.trusted_proxies.clone()),
            hosts,
            authenticator: Arc::clone(authenticator),
            is_local,
            request_timeout: config.server.request_timeout,
            max_in_flight: config.server.max_in_flight,
            max_request_bytes: limits.max_request_bytes,
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
        names_tenants: config.auth.mode == Mode::Off && config.auth.tenants_file.is_none(),
    };
    let hosts = AllowedHosts::new(&config.server.allowed_hosts, config.server.bind.ip());
    let public = http::public(public, &gates(hosts, false));
    let (reloads, asked) = mpsc::channel(1);
    let admin = Admin {
        decoding: Arc::clone(&decoding),
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        recent: Arc::clone(&recent),
        config: Arc::new(EffectiveConfig(config::as_json(settings))),
        authenticator: Arc::clone(authenticator),
        reloads: Reloads(reloads),
        levels,
    };
    let local = local_networks_for(&listen_on);
    decoding.decoder.is_reached_at(local.context(
        "the addresses of this machine cannot be read from /proc/self/net: let the service read \
         it, or bind to one address",
    )?);
    check_policy(&decoding, &readiness);
    // From here on all that is asked is answered.
    readiness.set_serving(true);
    let admin = match listeners.admin {
        Some(listener) => {
            let ip = listener.local_addr()?.ip();
            let gates = gates(AllowedHosts::new(&[], ip), ip.is_loopback());
            Some(server(listener, http::admin(admin, &gates), "admin")?)
        }
        None => None,
    };
    let public = server(listeners.public, public, "public")?;

    let governed: Vec<PermitPool> =
        pools.into_iter().flat_map(|of| [of.inline, of.fetch]).collect();
    let supervisor = Supervisor::of_environment();
    supervisor.ready();
    let Signals { shutdown, hangups } = signals;
    let serving = serve(config, public, admin, async {
        shutdown.await;
        readiness.set_serving(false);
        supervisor.stopping();
        let notice_ms = config.server.shutdown.notice.as_millis();
        tracing::info!(notice_ms, "shutting down");
        // Balancers notice by readiness, clients because each answer closes its connection.
        sleep(config.server.shutdown.notice).await;
    });
    let keys = async {
        match &issuer {
            Some(keys) => keys.keep_current().await,
            None => pending().await,
        }
    };
    let counting = async {
        match &shared {
            Some(valkey) => valkey.keep_connected().await,
            None => pending().await,
        }
    };
    let ended = tokio::select! {
        ended = serving => ended,
        never = supervisor.keep_telling() => match never {},
        never = govern(&governed, &cpu) => match never {},
        never = keep_checking(&decoding, &readiness) => match never {},
        never = keep_known(&listen_on, |local| decoding.decoder.is_reached_at(local)) => match never {},
        never = decoding.decoder.keep_refreshed() => match never {},
        never = tenants.keep_current(settling, asked, hangups) => match never {},
        never = keys => match never {},
        never = counting => match never {},
    };
    if ended == Ended::CutOff {
        metrics.cutting_off.store(true, Ordering::Relaxed);
    }
    Ok(ended)
}

/// How often the policy is checked.
const CHECK_EVERY: Duration = Duration::from_secs(60);

async fn keep_checking(decoding: &Decoding, readiness: &Readiness) -> Infallible {
    loop {
        sleep(CHECK_EVERY).await;
        check_policy(decoding, readiness);
    }
}

fn check_policy(decoding: &Decoding, readiness: &Readiness) {
    let checked = decoding.decoder.check_policy();
    readiness.set_sound(checked.is_ok());
    if let Err(passed) = checked {
        tracing::error!(passed, "the policy failed its self-check; nothing is fetched");
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

fn grants(config: &Config) -> ConnectionLimits {
    let server = &config.server;
    ConnectionLimits {
        header_timeout: server.header_timeout,
        idle_timeout: server.idle_timeout,
        write_timeout: server.write_timeout,
        request_timeout: server.request_timeout,
        max_connections: count(server.max_connections),
        max_header_bytes: count(server.max_header_bytes),
    }
}

fn pools(config: &Config, cpu: &Arc<CpuScheduler>, metrics: &Metrics) -> Option<DecodePools> {
    let Overload { enabled, inline, fetch, queue, max_wait } = config.overload;
    let pool = |permits, kind| {
        let (permits, queue, max_wait) = (count(permits), count(queue), Some(max_wait));
        let limits = PoolLimits { permits, queue, max_wait, keeps_reserve: true };
        PermitPool::new(limits, Some(metrics.pool(kind)))
    };
    enabled.then(|| DecodePools {
        inline: pool(inline, PoolKind::Inline),
        fetch: pool(fetch, PoolKind::Fetch),
        cpu: Arc::clone(cpu),
    })
}

/// Where replicas count together, if they do.
fn shared_limits(
    config: &Config,
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Option<Arc<Valkey>>> {
    let RateLimit { enabled, backend, on_failure, valkey, .. } = &config.rate_limit;
    let (true, Backend::Valkey, Some(url)) = (*enabled, *backend, valkey.url.clone()) else {
        return Ok(None);
    };
    let config::Valkey { password_file, ca_file, timeout, .. } = valkey.clone();
    let settings = ValkeySettings { url, password_file, ca_file, timeout };
    let down = match on_failure {
        RateLimitOnFailure::Local => "down: this replica counts its part alone",
        RateLimitOnFailure::Deny => "down: nobody who is limited passes",
    };
    let (readiness, metrics) = (Arc::clone(readiness), Arc::clone(metrics));
    let told = Box::new(move |is_up: bool| {
        metrics.callers.backend_up.set(is_up.into());
        readiness.note("rate_limit", is_up, if is_up { "counted for all replicas" } else { down });
    });
    Ok(Some(Arc::new(Valkey::new(settings, told)?)))
}

fn limiter(config: &Config, shared: Option<Arc<Valkey>>) -> Option<Arc<Limiter>> {
    let RateLimit { enabled, on_failure, .. } = config.rate_limit;
    let falls_back = on_failure == RateLimitOnFailure::Local;
    let limiter = match shared {
        Some(valkey) => Limiter::shared(SharedStore { valkey, falls_back }),
        None => Limiter::default(),
    };
    enabled.then(|| Arc::new(limiter))
}

/// The decoder service of a configuration, by itself.
pub fn decoder(
    config: &Config,
    own_listeners: Vec<SocketAddr>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Decoder> {
    let local = local_networks_for(&own_listeners);
    let decoder = decoder_under(config, policy(config, own_listeners), None, metrics)?;
    // Where they cannot be read, one judges without them at a terminal.
    decoder.is_reached_at(local.unwrap_or_default());
    Ok(decoder)
}

fn decoder_under(
    config: &Config,
    policy: Policy,
    pools: Option<DecodePools>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Decoder> {
    let counted = Arc::clone(&metrics);
    let circuits_open = Box::new(move |open| {
        counted.circuits_open.set(i64::try_from(open).unwrap_or(i64::MAX));
    });
    let fetcher = fetcher(config, config.egress.content_types.clone(), circuits_open)?;
    let limits = decode::Limits {
        fetch_timeout: config.egress.total_timeout,
        max_redirects: count(config.egress.max_redirects),
    };
    Ok(Decoder::new(policy, fetcher, limits, pools, metrics)?)
}

fn policy(config: &Config, own_listeners: Vec<SocketAddr>) -> Policy {
    let Egress { allow, deny_networks, nat64_prefixes, .. } = &config.egress;
    Policy::new(allow.clone(), deny_networks.clone(), nat64_prefixes.clone(), own_listeners)
        .with_max_url_bytes(count(config.egress.max_url_bytes))
}

/// What fetches as the configuration says, and takes these types of content.
fn fetcher(
    config: &Config,
    content_types: Vec<String>,
    circuits_open: Box<dyn Fn(usize) + Send + Sync>,
) -> anyhow::Result<Fetcher> {
    let egress = &config.egress;
    let extra = egress.extra_ca_file.as_deref();
    let roots = fetch::roots(extra).with_context(|| {
        format!("egress.extra_ca_file = {:?} could not be used", extra.unwrap_or("".as_ref()))
    })?;
    let settings = fetch::Settings {
        connect_timeout: egress.connect_timeout,
        user_agent: egress.user_agent.replace("<version>", env!("CARGO_PKG_VERSION")),
        content_types: ContentTypes(content_types),
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
            circuits_open,
        },
    };
    Ok(Fetcher::new(settings)?)
}
