//! How a connection comes about: the lookup, its judgement, and how long it took.
//!
//! reqwest asks its resolver about a bare name. The request that it is for is handed
//! over beside it, in a task local: without it, nothing is resolved.

use crate::policy::{ApprovedTarget, Denied};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    collections::BTreeMap,
    error, fmt, io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{sync::Notify, time::timeout_at};
use tower::Service;

tokio::task_local! {
    /// The request that a connection is wanted for.
    pub(super) static DIAL: Arc<Dial>;
}

/// What a connection is wanted for.
pub(super) struct Dial {
    pub(super) target: ApprovedTarget,
    pub(super) times: Arc<Times>,
    /// How long the lookup took.
    pub(super) looked_up: OnceLock<Duration>,
    /// Whether a connection is being made just now.
    pub(super) dials: AtomicBool,
    /// When that is over.
    pub(super) stands: Notify,
}

impl Dial {
    /// Waits for the head of an answer, but no longer than that from when there is a
    /// connection.
    pub(super) async fn until_first_byte<T>(
        &self,
        sent: impl Future<Output = T>,
        longest: Duration,
    ) -> Option<T> {
        let mut sent = pin!(sent);
        let mut until = Instant::now() + longest;
        loop {
            if let Ok(sent) = timeout_at(until.into(), &mut sent).await {
                return Some(sent);
            }
            // Which has a time limit of its own.
            if self.dials.load(Relaxed) {
                tokio::select! {
                    sent = &mut sent => return Some(sent),
                    () = self.stands.notified() => {}
                }
            }
            match self.times.stands_since() {
                Some(since) if since + longest > until => until = since + longest,
                _ => return None,
            }
        }
    }
}

/// How long the parts of a fetch took, as far as they happened.
#[derive(Debug)]
pub struct Times {
    began: Instant,
    dns: OnceLock<Duration>,
    connect: OnceLock<Duration>,
    stands_since: OnceLock<Instant>,
    first_byte: OnceLock<Duration>,
    body_began: OnceLock<Instant>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            dns: OnceLock::new(),
            connect: OnceLock::new(),
            stands_since: OnceLock::new(),
            first_byte: OnceLock::new(),
            body_began: OnceLock::new(),
        }
    }
}

impl Times {
    /// Since the beginning.
    pub fn total(&self) -> Duration {
        self.began.elapsed()
    }

    /// Resolving the name.
    pub fn dns(&self) -> Option<Duration> {
        self.dns.get().copied()
    }

    /// TCP and TLS.
    pub fn connect(&self) -> Option<Duration> {
        self.connect.get().copied()
    }

    /// From there to the head of the answer.
    pub fn first_byte(&self) -> Option<Duration> {
        self.first_byte.get().copied()
    }

    /// Since when the connection that was made stands.
    fn stands_since(&self) -> Option<Instant> {
        self.stands_since.get().copied()
    }

    /// Since the head of an answer that is the document.
    pub fn body(&self) -> Option<Duration> {
        self.body_began.get().map(Instant::elapsed)
    }

    /// The head of the answer is there. Each of these is set once: there is one request.
    pub(super) fn answered(&self) {
        let before = self.dns().unwrap_or_default() + self.connect().unwrap_or_default();
        let _ = self.first_byte.set(self.total().saturating_sub(before));
    }

    /// And it promises the document.
    pub(super) fn body_begins(&self) {
        let _ = self.body_began.set(Instant::now());
    }
}

/// Resolves names and lets through what the policy allows for the request at hand.
pub(super) struct JudgingResolver(pub(super) Arc<BTreeMap<String, Vec<IpAddr>>>);

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let dial = DIAL.try_with(Arc::clone);
        let fixed = self.0.get(name.as_str()).cloned();
        Box::pin(async move {
            let dial = dial.map_err(|_| NoAddress::Unasked)?;
            let began = Instant::now();
            let answers = match fixed {
                Some(fixed) => fixed,
                None => look_up(name.as_str()).await?,
            };
            let _ = dial.looked_up.set(began.elapsed());
            if answers.is_empty() {
                return Err(NoAddress::Empty.into());
            }
            let judged: Vec<SocketAddr> = dial.target.judge(&answers).map_err(NoAddress::Denied)?;
            Ok(Box::new(judged.into_iter()) as Addrs)
        })
    }
}

async fn look_up(name: &str) -> Result<Vec<IpAddr>, NoAddress> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(NoAddress::Lookup)?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Why a name led to no address.
#[derive(Debug)]
pub(super) enum NoAddress {
    /// Nobody knows it, or nobody answered.
    Lookup(io::Error),
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

/// Measures how long it takes until a connection stands.
#[derive(Clone)]
pub(super) struct TimedConnector<S>(pub(super) S);

impl<S, R> Service<R> for TimedConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let began = Instant::now();
        let wanted = DIAL.try_with(Arc::clone).ok();
        wanted.iter().for_each(|dial| dial.dials.store(true, Relaxed));
        let connecting = self.0.call(target);
        Box::pin(async move {
            let connected = connecting.await;
            // A connection that another one has overtaken goes on by itself, outside of
            // the request, whose time it is no part of.
            let _ = DIAL.try_with(|dial| {
                let Dial { times, looked_up, .. } = &**dial;
                let dns = looked_up.get().copied();
                if let Some(dns) = dns {
                    let _ = times.dns.set(dns);
                }
                if connected.is_ok() {
                    let connect = began.elapsed().saturating_sub(dns.unwrap_or_default());
                    let _ = times.connect.set(connect);
                    let _ = times.stands_since.set(Instant::now());
                }
            });
            if let Some(dial) = wanted {
                dial.dials.store(false, Relaxed);
                dial.stands.notify_one();
            }
            connected
        })
    }
}
