//! The keys of the issuer of tokens: from a file that may change, or from a URL that is asked
//! now and then. While there are no new ones, the old ones count.

use super::fetcher;
use crate::{
    config::{Config, Jwt},
    fetch::{self, Clients, Conduct, Fetcher},
    http::Readiness,
    identity::{Issuer, IssuerKeys, TokenSettings},
    named_file::{self, Patient},
    policy::{Policy, Route, Rule},
    quota_key::QuotaKey,
};
use anyhow::{Context, anyhow, bail};
use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// No set of keys is larger.
const LARGEST: u64 = 256 * 1024;
/// How often a file is read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Where keys come from.
pub(super) struct IssuerKeysReloader {
    pub(super) issuer: Arc<Issuer>,
    from: From,
    /// With a URL.
    patience: Duration,
    readiness: Arc<Readiness>,
}

enum From {
    File { path: PathBuf, reading: Patient<anyhow::Result<IssuerKeys>> },
    Url { fetcher: Box<Fetcher>, policy: Policy, clients: Arc<Clients>, url: String },
}

impl IssuerKeysReloader {
    /// The issuer of a configuration, if it has one. The addresses that its URL leads to are
    /// judged as those of sources are.
    pub(super) fn new(
        config: &Config,
        base: &Policy,
        readiness: Arc<Readiness>,
    ) -> anyhow::Result<Option<Self>> {
        let Jwt { issuer, audience, algorithms, tenant_claim, role_claim, .. } = &config.auth.jwt;
        let (Some(issuer), Some(audience)) = (issuer.clone(), audience.clone()) else {
            return Ok(None);
        };
        let settings = TokenSettings {
            issuer,
            audience,
            algorithms: algorithms.clone(),
            tenant_claim: tenant_claim.clone(),
            role_claim: role_claim.clone(),
        };
        let issuer = Arc::new(Issuer::new(settings));
        let from = match (&config.auth.jwt.jwks_file, &config.auth.jwt.jwks_url) {
            (Some(path), _) => {
                let keys = read(path).with_context(|| {
                    format!("auth.jwt.jwks_file = {:?} could not be used", path.display())
                });
                issuer.tried(Some(keys.map_err(Unusable)?));
                From::File { path: path.clone(), reading: Patient::default() }
            }
            (None, Some(url)) => {
                let origin = url.find("://").map_or(0, |at| at + 3);
                let end = url[origin..].find(['/', '?', '#']).map_or(url.len(), |at| origin + at);
                let mut rule = Rule::parse(&url[..end])
                    .map_err(|fault| Unusable(anyhow!("auth.jwt.jwks_url: {fault}")))?;
                rule.addresses = config.auth.jwt.addresses.clone();
                let policy = base.unblocked_with_rules(vec![rule]);
                // What is never allowed, whatever its name leads to, is known now.
                policy.approve(url).map_err(|denied| {
                    Unusable(anyhow!("auth.jwt.jwks_url could not be used: {}", denied.reason))
                })?;
                let fetcher = fetcher(config, vec!["*/*".to_owned()], Box::new(|_| ()))?;
                let fetcher = Box::new(fetcher);
                let clients = fetcher.clients(policy.rules())?;
                From::Url { fetcher, policy, clients, url: url.clone() }
            }
            (None, None) => return Ok(None),
        };
        let patience = config.egress.total_timeout;
        Ok(Some(Self { issuer, from, patience, readiness }))
    }

    /// Sees to it that the keys are those that the issuer has, for as long as it is asked to.
    pub(super) async fn keep_current(&self) -> Infallible {
        let mut was_well = None;
        loop {
            let is_file = matches!(self.from, From::File { .. });
            if was_well.is_some() {
                tokio::select! {
                    () = self.issuer.keys_are_due() => {}
                    () = sleep(READ_EVERY), if is_file => {}
                }
            }
            self.issuer.begin();
            let keys = match &self.from {
                From::File { path, reading } => {
                    let path = path.clone();
                    reading.run(move || read(&path)).await.unwrap_or_else(|error| Err(error.into()))
                }
                From::Url { .. } => self.fetch().await,
            };
            let is_well = keys.is_ok();
            if was_well != Some(is_well) {
                match &keys {
                    Ok(keys) => {
                        tracing::info!(keys = keys.len(), "issuer keys loaded");
                    }
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::error!(
                            error,
                            "issuer keys could not be refreshed; keeping the previous ones"
                        );
                    }
                }
                let detail = if is_well {
                    "current"
                } else {
                    "could not be refreshed; the previous keys are in force"
                };
                self.readiness.note("issuer_keys", is_well, detail);
            }
            was_well = Some(is_well);
            self.issuer.tried(keys.ok());
        }
    }

    async fn fetch(&self) -> anyhow::Result<IssuerKeys> {
        let From::Url { fetcher, policy, clients, url } = &self.from else {
            bail!("there is no URL");
        };
        let target = policy.approve(url).map_err(|denied| anyhow!(denied.reason))?;
        let fetch = async {
            let visit = fetcher.visit(&target, QuotaKey::LOCAL, false).await?;
            let (route, times) = (Route::new(target, 0), Arc::default());
            let mut document = fetcher.get(clients, &route, visit.permit(), &times).await?;
            let text = document.whole(LARGEST).await?;
            visit.over(Conduct::Good);
            Ok(text)
        };
        let text = timeout(self.patience, fetch).await.context("it took too long")?;
        Ok(IssuerKeys::parse(&text.map_err(because)?)?)
    }
}

/// Why there are no keys, for the log.
fn because(error: fetch::Error) -> anyhow::Error {
    match error {
        fetch::Error::Denied(denied) => anyhow!(denied.reason),
        fetch::Error::Status(status, _) => anyhow!("the issuer answered with status {status}"),
        // Where to, may be a secret.
        fetch::Error::Redirect(_) => anyhow!("the issuer redirects, and is not followed"),
        error => anyhow!("{error:?}"),
    }
}

/// What the configuration names is of no use.
#[derive(Debug)]
pub struct Unusable(anyhow::Error);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Unusable {}

fn read(path: &Path) -> anyhow::Result<IssuerKeys> {
    Ok(IssuerKeys::parse(&named_file::read(path, LARGEST)?)?)
}
