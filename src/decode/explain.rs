//! Explains what the policy decides about a URL, hop by hop. It does what a decode does, up to the head of
//! the document.

use super::{Decoder, Tenant, failing};
use crate::{
    failure::Failure,
    fetch::{Conduct, Error},
    policy::{Denied, Route},
    quota_key::QuotaKey,
};
use serde::Serialize;
use std::{net::IpAddr, sync::Arc};
use tokio::time::timeout;

/// The explanation of a URL.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// Each URL that was requested, in order.
    pub hops: Vec<Hop>,
    /// The result.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// One URL of the redirect chain.
#[derive(Debug, Serialize)]
pub struct Hop {
    /// The URL without userinfo, query and fragment.
    pub source: String,
    /// The name of the rule that allows it.
    pub rule: String,
    /// The addresses of its host.
    pub addresses: Vec<JudgedAddress>,
    /// The status of its response, if it was requested.
    pub answer: Option<String>,
}

/// An address, and the decision about it.
#[derive(Debug, Serialize)]
pub struct JudgedAddress {
    /// The address.
    pub address: IpAddr,
    /// Whether the service may connect to it.
    pub allowed: bool,
    /// The range or the rule that decides.
    pub reason: String,
}

/// The result of an explanation. The reasons are for the operator.
#[derive(Debug, Default, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// There is a document, and it may be fetched.
    Allowed,
    /// The policy denies it.
    Denied {
        /// Which part of the URL is not allowed.
        kind: &'static str,
        /// What decided.
        reason: String,
    },
    /// The policy allows it, but there is no document.
    Failed {
        /// The code of the problem that a decode would get.
        code: &'static str,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[default]
    TimedOut,
}

impl Decoder {
    /// Requests a document as a decode would, and tells what decided.
    pub async fn explain(&self, tenant: &Tenant, source: &str) -> Explanation {
        let mut explanation = Explanation::default();
        let explained = self.find(tenant, source, &mut explanation.hops);
        let found = timeout(self.limits.fetch_timeout, explained).await;
        explanation.verdict = found.unwrap_or_default();
        explanation
    }

    async fn find(&self, tenant: &Tenant, source: &str, hops: &mut Vec<Hop>) -> Verdict {
        if let Err(failure) = self.check_is_sound() {
            return Verdict::of_failure(failure);
        }
        let target = match tenant.reach().policy.approve(source) {
            Ok(target) => target,
            Err(denied) => return denied.into(),
        };
        let mut route = Route::new(target, self.limits.max_redirects);
        loop {
            let target = route.target();
            let (source, rule) = (target.shown(), target.rule().to_owned());
            // Noted before the request, which may time out.
            hops.push(Hop { source, rule, addresses: Vec::new(), answer: None });
            let Some(hop) = hops.last_mut() else { return Verdict::TimedOut };
            let followed = match self.ask(tenant, &route, hop).await {
                Ok(()) => return Verdict::Allowed,
                Err(Error::Redirect(location)) => route.follow(&location),
                Err(Error::Denied(denied)) => Err(denied),
                Err(error) => return Verdict::of_failure(failing::not_fetched(error)),
            };
            if let Err(denied) = followed {
                return denied.into();
            }
        }
    }

    async fn ask(&self, tenant: &Tenant, route: &Route, hop: &mut Hop) -> Result<(), Error> {
        let target = route.target();
        let times = Arc::default();
        let key = tenant.quota_key.unwrap_or(QuotaKey::LOCAL);
        let clients = &tenant.reach().clients;
        let asked = match self.fetcher.visit(target, key, false).await {
            Ok(visit) => {
                let asked = self.fetcher.get(clients, route, visit.permit(), &times).await;
                visit.over(asked.as_ref().map_or_else(Error::conduct, |_| Conduct::Good));
                asked
            }
            Err(error) => Err(error),
        };
        hop.answer = match &asked {
            Ok(document) => Some(format!("{}, a document", document.status)),
            Err(Error::Redirect(location)) => Some(format!("a redirect to {}", location.shown())),
            Err(Error::Status(status, _)) => Some(status.to_string()),
            Err(_) => None,
        };
        let found = match times.addresses() {
            Some(found) => found.to_vec(),
            // The request needed no lookup: the URL has an address, a connection was reused, or the
            // circuit is open.
            None => self.fetcher.addresses(target, key).await.unwrap_or_default(),
        };
        let judged = found.into_iter().map(|address| {
            let explained = target.explain(address);
            let allowed = explained.is_ok();
            let reason = explained.unwrap_or_else(|reason| reason);
            JudgedAddress { address, allowed, reason }
        });
        hop.addresses = judged.collect();
        asked.map(drop)
    }
}

impl Verdict {
    fn of_failure(failure: Failure) -> Self {
        let Failure { code, detail, reason, .. } = failure;
        let reason = reason.map_or(detail.clone(), |reason| format!("{detail}: {reason}"));
        Self::Failed { code: code.as_str(), reason }
    }
}

impl From<Denied> for Verdict {
    fn from(denied: Denied) -> Self {
        Self::Denied { kind: denied.kind.as_str(), reason: denied.reason }
    }
}
