//! What the policy says of a URL and why, hop by hop, by doing what a decode does up to the
//! head of the document.

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

/// What becomes of a URL.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// Each URL that was asked for, the first one first.
    pub hops: Vec<Hop>,
    /// What came of it in the end.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// One URL on the way.
#[derive(Debug, Serialize)]
pub struct Hop {
    /// It, without userinfo, query and fragment.
    pub source: String,
    /// The name of the rule that allows it.
    pub rule: String,
    /// What its host leads to.
    pub addresses: Vec<JudgedAddress>,
    /// What it answered, if it was asked.
    pub answer: Option<String>,
}

/// An address, and what is said of it.
#[derive(Debug, Serialize)]
pub struct JudgedAddress {
    /// The address.
    pub address: IpAddr,
    /// Whether it may be connected to.
    pub allowed: bool,
    /// The range or the rule that decides.
    pub reason: String,
}

/// What came of it in the end. The reasons are for the operator.
#[derive(Debug, Default, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// There is a document, and it may be fetched.
    Allowed,
    /// The policy says no.
    Denied {
        /// What about it is not allowed.
        kind: &'static str,
        /// What decided.
        reason: String,
    },
    /// The policy does not say no, but there is no document.
    Failed {
        /// The code of the problem that a decode would have.
        code: &'static str,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[default]
    TimedOut,
}

impl Decoder {
    /// Asks for a document as a decode would, and tells what decided.
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
            // Before it is asked: that may take too long.
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
            // An address in the URL, a connection that was there, or an origin that is left
            // alone: nobody has looked it up.
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
