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
//! Each rule of each policy has connections of its own ([`Clients`]).

mod authorization;
mod circuit;
mod clients;
mod dial;
mod document;
mod error;
mod gunzip;
mod hosts_file;
mod lookups;
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
pub use clients::Clients;
pub use document::{ContentTypes, Document};
pub use error::{Error, Unsupported};
pub use gunzip::{Corrupt, Gunzip};
pub use origin::ShownOrigin;
pub use origins::OriginSettings;
pub use retry::Decision;
pub use times::Times;
pub use tls::{RootsError, roots};
pub use visit::{Asked, OriginPermit, Visit};

use crate::{
    policy::{ApprovedTarget, NamedRule, Route},
    quota_key::QuotaKey,
};
use clients::Connecting;
use dial::{DIAL, Dial};
use origin::Refused;
use origins::Origins;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use resolver::{JudgingResolver, Resolver};
use rustls::RootCertStore;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak, atomic::AtomicBool},
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

/// Fetches documents.
pub struct Fetcher {
    connecting: Connecting,
    /// Whose authorization files are read again; those that are in use.
    clients: Mutex<Vec<Weak<Clients>>>,
    resolver: Resolver,
    origins: Arc<Origins>,
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
                write!(f, "the authorization_file of {rule} could not be used: {unusable}")
            }
        }
    }
}

impl std::error::Error for BuildError {}

impl Fetcher {
    /// A fetcher, which needs [`Clients`] to fetch.
    pub fn new(settings: Settings) -> Result<Self, BuildError> {
        let not_made = |error: String| BuildError::Client(error);
        let tls =
            tls::client_config(settings.roots).map_err(|error| not_made(error.to_string()))?;
        let Settings { hosts, nameservers, connect_timeout, first_byte_timeout, .. } = settings;
        let resolver = Resolver::new(hosts, &nameservers, connect_timeout).map_err(not_made)?;
        let user_agent = HeaderValue::try_from(settings.user_agent);
        let connecting = Connecting {
            tls,
            user_agent: user_agent.map_err(|error| not_made(error.to_string()))?,
            resolver: JudgingResolver(resolver.clone()),
            connect_timeout,
            first_byte_timeout,
            max_per_origin: settings.origins.max_per_origin,
        };
        // What none can be made of is known now.
        connecting.client()?;
        let Settings { content_types, origins, .. } = settings;
        let origins = Origins::new(origins);
        Ok(Self { connecting, clients: Mutex::default(), resolver, origins, content_types })
    }

    /// Connections for a policy with these rules.
    pub fn clients(&self, rules: &[NamedRule]) -> Result<Arc<Clients>, BuildError> {
        let clients = Arc::new(Clients::new(rules)?);
        let mut all = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|clients| clients.strong_count() > 0);
        all.push(Arc::downgrade(&clients));
        Ok(clients)
    }

    /// Reads the authorization files again, and looks which origins are left alone by now.
    /// Files may take their time.
    pub fn refresh(&self) {
        let clients = {
            let all = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).collect::<Vec<_>>()
        };
        clients.iter().for_each(|clients| clients.refresh());
        self.origins.recount();
    }

    /// Every address of the host of a target, judged or not, as it is now, looked up for a
    /// caller.
    pub async fn addresses(
        &self,
        target: &ApprovedTarget,
        caller: QuotaKey,
    ) -> Result<Vec<IpAddr>, Error> {
        let found = self.resolver.addresses(target, caller, ()).await;
        found.map_err(|none| Error::Name(none.to_string()))
    }

    /// Waits until one more request may go to the origin of a target, or says why none may.
    pub async fn visit(
        &self,
        target: &ApprovedTarget,
        caller: QuotaKey,
        is_retry: bool,
    ) -> Result<Visit, Error> {
        let visit = self.origins.visit(target.origin(), caller, is_retry).await;
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
        clients: &Clients,
        route: &Route,
        permit: OriginPermit,
        times: &Arc<Times>,
    ) -> Result<Document, Error> {
        let target = route.target();
        let of_rule = clients.of_rule(target.rule_index(), &self.connecting);
        let (client, authorization) = of_rule.map_err(|error| Error::Connect(error.to_string()))?;
        let mut request = client
            .get(target.url().clone())
            .header(ACCEPT_ENCODING, const { HeaderValue::from_static("gzip") });
        if let Some(authorization) = authorization.filter(|_| route.is_at_home()) {
            request = request.header(AUTHORIZATION, authorization.value());
        }
        // Requests that came in the same moment ask in the same moment, rather than each
        // while the next is being read: whoever serves them is woken once for several.
        // Measured, over loopback: a fifth more fetches.
        tokio::task::yield_now().await;
        let dial = Arc::new(Dial {
            target: target.clone(),
            permit,
            times: Arc::clone(times),
            looked_up: OnceLock::new(),
            dials: AtomicBool::new(false),
            stands: Notify::new(),
        });
        let sent = DIAL.scope(Arc::clone(&dial), request.send());
        let sent = dial.until_first_byte(sent, self.connecting.first_byte_timeout).await;
        let sent = sent.ok_or(Error::FirstByteTimeout)?;
        let response = sent.map_err(|error| Error::before_the_head(&error))?;
        times.answered();
        let document = Document::begin(response, &self.content_types)?;
        times.body_begins();
        Ok(document)
    }
}
