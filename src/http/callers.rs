//! Who may call, at this moment: whom a credential proves, and what they are held to.

use super::rate;
use crate::{
    decode::Tenant,
    failure::{Code, Failure},
    identity::{Credential, Keyring, Principal, Role},
    limit::{Caller, Held, Limiter, Ruled, Terms},
    telemetry::{Decision, Metrics, Record, TenantMetrics},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use bytes::Bytes;
use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Someone for whom requests are served, with all that is particular about them.
pub struct Member {
    /// For decodes.
    pub tenant: Arc<Tenant>,
    /// What it is held to.
    pub terms: Agreed,
    /// What is counted of it.
    pub counted: Arc<TenantMetrics>,
}

/// Terms, as those who are held to them are told.
pub struct Agreed {
    /// By all replicas together, and how that is told.
    whole: (Terms, Bytes),
    /// By this one, where it must count alone.
    part: (Terms, Bytes),
}

impl Agreed {
    /// Terms that so many replicas hold someone to.
    pub fn new(terms: Terms, replicas: u64) -> Self {
        let told = |terms: Terms| (terms, rate::policy(&terms));
        Self { whole: told(terms), part: told(terms.divided_by(replicas)) }
    }

    /// By all replicas together.
    pub fn whole(&self) -> &Terms {
        &self.whole.0
    }
}

impl Member {
    /// Whom limits count as one with a client of this member.
    fn caller(&self, client: IpAddr) -> Caller {
        self.tenant.caller.unwrap_or_else(|| client.into())
    }

    pub(super) fn held(&self, client: IpAddr) -> Held<'_> {
        let caller = self.caller(client);
        let name = self.tenant.caller.is_some().then_some(self.tenant.name.as_str());
        Held { caller, name, whole: &self.terms.whole.0, part: &self.terms.part.0 }
    }
}

/// Everyone who may call, as one moment knows them.
pub struct Callers {
    /// Whom a key leads to.
    pub keyring: Keyring,
    /// By their place in the roster.
    pub members: Vec<Arc<Member>>,
}

/// Whom a request was let in for.
#[derive(Clone)]
pub(super) struct Admitted {
    pub(super) principal: Principal,
    /// The staff belong to none and count as anyone.
    pub(super) member: Arc<Member>,
    pub(super) caller: Caller,
}

/// Lets requests in.
pub struct Door {
    /// Whether callers must say who they are.
    pub is_locked: bool,
    /// Those who may call; replaced as a whole.
    callers: RwLock<Arc<Callers>>,
    /// Whoever need not say.
    anonymous: Arc<Member>,
    /// Where calls are limited.
    limiter: Option<Limiter>,
    metrics: Arc<Metrics>,
}

impl Door {
    /// A door for these.
    pub fn new(
        is_locked: bool,
        callers: Callers,
        anonymous: Arc<Member>,
        limiter: Option<Limiter>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let callers = RwLock::new(Arc::new(callers));
        Self { is_locked, callers, anonymous, limiter, metrics }
    }

    /// Those who may call.
    pub fn callers(&self) -> Arc<Callers> {
        Arc::clone(&self.callers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these may call. Whoever is in stays in.
    pub fn replace(&self, callers: Callers) {
        *self.callers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(callers);
    }

    /// Whoever need not say who they are.
    pub fn anonymous(&self) -> &Arc<Member> {
        &self.anonymous
    }

    /// Anyone, by their address.
    pub(super) fn anyone(&self, client: IpAddr) -> Admitted {
        let member = Arc::clone(&self.anonymous);
        let caller = member.caller(client);
        Admitted { principal: Principal::ANYONE, member, caller }
    }

    /// Whoever the headers prove to ask.
    pub(super) fn authenticated(
        &self,
        headers: &HeaderMap,
        record: &Record,
    ) -> Result<Admitted, Failure> {
        let client = record.head().client;
        if !self.is_locked {
            return Ok(self.anyone(client));
        }
        self.check_failures(client, record)?;
        self.proven(headers, client).map_err(|reason| {
            self.note_failure(client, record);
            self.metrics.security_event("auth_failed");
            let detail = "no valid credential: send one API key or token, as Authorization: \
                          Bearer or as X-Api-Key";
            Failure::new(Code::Unauthenticated, detail).because(reason)
        })
    }

    fn proven(&self, headers: &HeaderMap, client: IpAddr) -> Result<Admitted, String> {
        let values = |name: &HeaderName| {
            headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Shown<'_>>()
        };
        let credential = Credential::of(values(&AUTHORIZATION).0, values(&API_KEY).0);
        let callers = self.callers();
        let principal = match credential {
            Credential::None => return Err("no credential".to_owned()),
            Credential::Unfit => return Err("no credential of a known shape".to_owned()),
            Credential::Token(_) => return Err("a token, and there is no issuer".to_owned()),
            Credential::Key(key) => callers
                .keyring
                .find(key, SystemTime::now())
                .map_err(|no_key| no_key.to_string())?,
        };
        let member = match principal.tenant.and_then(|place| callers.members.get(place)) {
            Some(member) => Arc::clone(member),
            None => Arc::clone(&self.anonymous),
        };
        let caller = member.caller(client);
        Ok(Admitted { principal, member, caller })
    }

    /// Who has failed too often is not looked at.
    fn check_failures(&self, client: IpAddr, record: &Record) -> Result<(), Failure> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let terms = &self.anonymous.terms.whole;
        let left = limiter.look(client.into(), &terms.0, record.began());
        if left.is_allowed {
            return Ok(());
        }
        let backend = crate::telemetry::Backend::Memory;
        self.metrics.callers.decided(Decision::RateLimited, backend);
        let detail = "too many calls from your address had no valid credential; Retry-After says \
                      when the next one is looked at";
        let failure = Failure::new(Code::RateLimited, detail);
        Err(Failure { retry_after: Some(left.retry_after), ..failure })
    }

    fn note_failure(&self, client: IpAddr, record: &Record) {
        if let Some(limiter) = &self.limiter {
            limiter.note(client.into(), &self.anonymous.terms.whole.0, record.began());
        }
    }

    /// Lets a request pass or not, and notes on its record what is left.
    pub(super) fn limit(&self, admitted: &Admitted, record: &Record) -> Option<Result<(), Failure>> {
        let Some(limiter) = &self.limiter else { return Some(Ok(())) };
        let Head { client, is_decode, .. } = *record.head();
        let ruled = limiter.decide_now(admitted.member.held(client), is_decode, record.began())?;
        Some(self.tell(ruled, admitted, record))
    }

    fn tell(&self, ruled: Ruled, admitted: &Admitted, record: &Record) -> Result<(), Failure> {
        let Ruled { verdict, backend, by_part } = ruled;
        let Agreed { whole, part } = &admitted.member.terms;
        let (_, policy) = if by_part { part } else { whole };
        record.trail.steps().allowance = Some(rate::allowance(policy, &verdict));
        let refused = rate::refused(&verdict);
        let decision = match &refused {
            Ok(()) => Decision::Allowed,
            Err(failure) if failure.code == Code::QuotaExceeded => Decision::QuotaExceeded,
            Err(_) => Decision::RateLimited,
        };
        self.metrics.callers.decided(decision, backend);
        refused
    }
}
