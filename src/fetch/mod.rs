//! Gets a document from where the policy says that it may be got.
//!
//! The only module that knows reqwest, and it takes nothing but an [`ApprovedTarget`],
//! which only the policy can make. A connection goes to an address that was judged for
//! this very request: the lookup happens when a connection is needed, the answer is
//! judged, and what is judged is what is dialled. There are no redirects, no proxies
//! and no retries but what the caller of this module does. (Where a connection that is there
//! turns out to be closed before any of a request is written, another one is made, by a
//! lookup and a judgement of its own.)
//!
//! Each rule has connections of its own, so that what one rule permits is of no use to
//! another.

mod authorization;
mod circuit;
mod dial;
mod document;
mod error;
mod gunzip;
mod origin;
mod origins;
mod resolver;
mod retry;
mod retry_after;
mod times;
mod tls;
mod visit;

pub use authorization::Unusable;
pub use circuit::{CircuitSettings, Conduct};
pub use document::{ContentTypes, Document};
pub use error::{Error, Unsupported};
pub use gunzip::{Corrupt, Gunzip};
pub use origin::ShownOrigin;
pub use origins::OriginSettings;
pub use retry::Decision;
pub use times::Times;
pub use tls::{RootsError, roots};
pub use visit::{Asked, PlaceAtOrigin, Visit};

use crate::policy::{ApprovedTarget, NamedRule, Route};
use authorization::Authorization;
use dial::{DIAL, Dial, TimedConnector};
use origin::Refused;
use origins::Origins;
use reqwest::{
    Client,
    header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue},
    redirect,
};
use resolver::{JudgingResolver, Resolver};
use rustls::RootCertStore;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::Notify;

/// How documents are fetched.
pub struct Settings {
    /// Until a connection stands, lookup and TLS included.
    pub connect_timeout: Duration,
    /// From then until the answer begins.
    pub first_byte_timeout: Duration,
    /// What we call ourselves.
    pub user_agent: String,
    /// Types of content that are scanned.
    pub content_types: ContentTypes,
    /// Names with fixed addresses, judged like any answer.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Who is asked about the others; nobody: the system.
    pub nameservers: Vec<SocketAddr>,
    /// Whose certificates are trusted.
    pub roots: RootCertStore,
    /// What each origin is held to.
    pub origins: OriginSettings,
}

/// A connection of HTTP/2 on which nothing came for so long is asked whether it is still
/// there, and is not where there is no answer for as long again; or in a third of the time
/// for the first byte each, so that a request may still be tried on another. But nobody is
/// asked more often than that.
const SILENCE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(2);

/// How long a connection is kept that nobody uses: whoever is at the other end may go on
/// sending.
const IDLE: Duration = Duration::from_secs(15);
/// What may be under way on one stream of HTTP/2 before it is read.
const WINDOW: u32 = 256 * 1024;

/// Fetches documents.
pub struct Fetcher {
    /// One for each rule of the policy.
    clients: Vec<Client>,
    /// By rule, where it has one.
    authorizations: Vec<Option<Authorization>>,
    resolver: Resolver,
    origins: Arc<Origins>,
    first_byte_timeout: Duration,
    content_types: ContentTypes,
}

/// There is no fetcher for the settings.
#[derive(Debug)]
pub enum BuildError {
    /// No client can be made of them.
    Client(String),
    /// The authorization file of the rule of this name is of no use.
    Authorization(String, Unusable),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(error) => write!(f, "the client for sources cannot be made: {error}"),
            Self::Authorization(rule, unusable) => {
                write!(f, "the authorization_file of {rule} is of no use: {unusable}")
            }
        }
    }
}

impl std::error::Error for BuildError {}

impl Fetcher {
    /// A fetcher for a policy with these rules.
    pub fn new(settings: Settings, rules: &[NamedRule]) -> Result<Self, BuildError> {
        let tls = tls::client_config(settings.roots)
            .map_err(|error| BuildError::Client(error.to_string()))?;
        let Settings { hosts, nameservers, connect_timeout, .. } = settings;
        let resolver =
            Resolver::new(hosts, &nameservers, connect_timeout).map_err(BuildError::Client)?;
        // Streams that nobody reads leave room for all others.
        let streams = u32::try_from(settings.origins.max_per_origin).unwrap_or(u32::MAX);
        let all_windows = WINDOW.saturating_mul(streams).min(i32::MAX.unsigned_abs());
        let silence = settings.first_byte_timeout / 3;
        let silence = silence.clamp(*SILENCE.start(), *SILENCE.end());
        #[expect(clippy::disallowed_methods, reason = "the one place where clients are made")]
        let client = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .user_agent(&settings.user_agent)
                .no_proxy()
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .connect_timeout(connect_timeout)
                .pool_idle_timeout(IDLE)
                .http2_initial_stream_window_size(WINDOW)
                .http2_initial_connection_window_size(all_windows)
                .http2_keep_alive_interval(silence)
                .http2_keep_alive_timeout(silence)
                .dns_resolver(JudgingResolver(resolver.clone()))
                .connector_layer(tower::layer::layer_fn(TimedConnector))
                .build()
                .map_err(|error| BuildError::Client(error.to_string()))
        };
        let clients = rules.iter().map(|_| client()).collect::<Result<_, _>>()?;
        let authorization = |NamedRule { name, rule }: &NamedRule| {
            let read = rule.authorization_file.as_deref().map(Authorization::read);
            read.transpose().map_err(|error| BuildError::Authorization(name.clone(), error))
        };
        let authorizations = rules.iter().map(authorization).collect::<Result<_, _>>()?;
        let Settings { first_byte_timeout, content_types, origins, .. } = settings;
        let origins = Origins::new(origins);
        Ok(Self { clients, authorizations, resolver, origins, first_byte_timeout, content_types })
    }

    /// Reads the authorization files again, and looks which origins are left alone by now.
    /// Files may take their time.
    pub fn refresh(&self) {
        self.authorizations.iter().flatten().for_each(Authorization::refresh);
        self.origins.recount();
    }

    /// Every address of the host of a target, judged or not, as it is now.
    pub async fn addresses(&self, target: &ApprovedTarget) -> Result<Vec<IpAddr>, Error> {
        let found = self.resolver.addresses(target, ()).await;
        found.map_err(|none| Error::Name(none.to_string()))
    }

    /// Waits until one more request may go to the origin of a target, or says why none may.
    pub async fn visit(&self, target: &ApprovedTarget, is_retry: bool) -> Result<Visit, Error> {
        let visit = self.origins.visit(target.origin(), is_retry).await;
        visit.map_err(|refused| match refused {
            Refused::Open(wait) => Error::CircuitOpen(wait),
            Refused::Crowd => Error::Crowded,
        })
    }

    /// The origins that are remembered.
    pub fn origins(&self) -> Vec<ShownOrigin> {
        self.origins.shown()
    }

    /// Asks for a document at the end of a route, on a visit to its origin; returns when the
    /// head of the answer is there and promises one. How long the parts took stands in
    /// `times`, also where this fails or is given up.
    pub async fn get(
        &self,
        route: &Route,
        place: PlaceAtOrigin,
        times: &Arc<Times>,
    ) -> Result<Document, Error> {
        let target = route.target();
        let client = self.clients.get(target.rule_index());
        let client = client.ok_or(Error::Connect("no client for the rule".to_owned()))?;
        let mut request = client
            .get(target.url().clone())
            .header(ACCEPT_ENCODING, const { HeaderValue::from_static("gzip") });
        let authorization = self.authorizations.get(target.rule_index());
        if let Some(Some(authorization)) = authorization
            && route.is_at_home()
        {
            request = request.header(AUTHORIZATION, authorization.value());
        }
        // Requests that came in the same moment ask in the same moment, rather than each
        // while the next is being read: whoever serves them is woken once for several.
        // Measured, over loopback: a fifth more fetches.
        tokio::task::yield_now().await;
        let dial = Arc::new(Dial {
            target: target.clone(),
            place,
            times: Arc::clone(times),
            looked_up: OnceLock::new(),
            dials: AtomicBool::new(false),
            stands: Notify::new(),
        });
        let sent = DIAL.scope(Arc::clone(&dial), request.send());
        let sent = dial.until_first_byte(sent, self.first_byte_timeout).await;
        let sent = sent.ok_or(Error::FirstByteTimeout)?;
        let response = sent.map_err(|error| Error::before_the_head(&error))?;
        times.answered();
        let document = Document::begin(response, &self.content_types)?;
        times.body_begins();
        Ok(document)
    }
}
