//! The connections over which documents come: of each rule its own, so that what one rule
//! permits is of no use to another. They end when nobody has the rules any more.

use super::{
    BuildError, authorization::Authorization, dial::TimedConnector, resolver::JudgingResolver,
};
use crate::policy::NamedRule;
use reqwest::{Client, header::HeaderValue, redirect};
use rustls::ClientConfig;
use std::{ops::RangeInclusive, sync::OnceLock, time::Duration};

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

/// The connections for the rules of one policy.
pub struct Clients(Vec<OfRule>);

struct OfRule {
    /// Made when it is first needed: there may be thousands of rules.
    client: OnceLock<Client>,
    /// Where the rule has one.
    authorization: Option<Authorization>,
}

impl Clients {
    pub(super) fn new(rules: &[NamedRule]) -> Result<Self, BuildError> {
        let of_rule = |NamedRule { name, rule }: &NamedRule| {
            let read = rule.authorization_file.as_deref().map(Authorization::read);
            let authorization = read.transpose();
            let authorization =
                authorization.map_err(|error| BuildError::Authorization(name.clone(), error))?;
            Ok(OfRule { client: OnceLock::new(), authorization })
        };
        rules.iter().map(of_rule).collect::<Result<_, _>>().map(Self)
    }

    /// That of the rule at a place, and what the rule says of who we are.
    pub(super) fn of_rule(
        &self,
        place: usize,
        connecting: &Connecting,
    ) -> Result<(Client, Option<&Authorization>), BuildError> {
        let no_rule = || BuildError::Client("no such rule".to_owned());
        let OfRule { client, authorization } = self.0.get(place).ok_or_else(no_rule)?;
        let client = match client.get() {
            Some(client) => client.clone(),
            None => {
                let made = connecting.client()?;
                client.get_or_init(|| made).clone()
            }
        };
        Ok((client, authorization.as_ref()))
    }

    /// Reads the authorization files again.
    pub(super) fn refresh(&self) {
        let authorizations = self.0.iter().filter_map(|of_rule| of_rule.authorization.as_ref());
        authorizations.for_each(Authorization::refresh);
    }
}

/// How a connection is made, whatever the rule.
pub(super) struct Connecting {
    pub(super) tls: ClientConfig,
    pub(super) user_agent: HeaderValue,
    pub(super) resolver: JudgingResolver,
    pub(super) connect_timeout: Duration,
    pub(super) first_byte_timeout: Duration,
    pub(super) max_per_origin: usize,
}

impl Connecting {
    #[expect(clippy::disallowed_methods, reason = "the one place where clients are made")]
    pub(super) fn client(&self) -> Result<Client, BuildError> {
        // Streams that nobody reads leave room for all others.
        let streams = u32::try_from(self.max_per_origin).unwrap_or(u32::MAX);
        let all_windows = WINDOW.saturating_mul(streams).min(i32::MAX.unsigned_abs());
        let silence = self.first_byte_timeout / 3;
        let silence = silence.clamp(*SILENCE.start(), *SILENCE.end());
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .user_agent(self.user_agent.clone())
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(all_windows)
            .http2_keep_alive_interval(silence)
            .http2_keep_alive_timeout(silence)
            .dns_resolver(self.resolver.clone())
            .connector_layer(tower::layer::layer_fn(TimedConnector))
            .build()
            .map_err(|error| BuildError::Client(error.to_string()))
    }
}
