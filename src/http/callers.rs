//! Who may call, at this moment: whom a credential proves, and what they are held to.

use super::rate;
use crate::{
    decode::Tenant,
    failure::{Code, Failure},
    identity::{Credential, Issuer, Keyring, Principal, Unfit},
    quota_key::QuotaKey,
    rate_limit::{
        CallerLimits, CountedOutcome, LimitDecision, LimitOutcome, LimitRequest, Limiter,
        Unavailable,
    },
    telemetry::{Backend, Decision, Head, Metrics, Record, TenantMetrics},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use bytes::Bytes;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Someone for whom requests are served, with all that is particular about them.
pub struct Member {
    /// For decodes.
    pub tenant: Arc<Tenant>,
    /// Its rate limit and quota.
    pub limits: TenantLimits,
    /// What is counted of it.
    pub counted: Arc<TenantMetrics>,
}

/// The limits of a tenant with their preformatted `RateLimit-Policy` header.
pub struct TenantLimits {
    /// The limits where all replicas count together.
    whole: (CallerLimits, Bytes),
    /// The share of them that this replica allows while it counts alone.
    share: (CallerLimits, Bytes),
}

impl TenantLimits {
    /// The limits of a tenant, and the share of each of that many replicas.
    pub fn new(limits: CallerLimits, replicas: u64) -> Self {
        let with_header = |limits: CallerLimits| (limits, rate::policy(&limits));
        Self { whole: with_header(limits), share: with_header(limits.divided_by(replicas)) }
    }

    /// The limits where all replicas count together.
    pub fn whole(&self) -> &CallerLimits {
        &self.whole.0
    }
}

impl Member {
    /// What requests of a client of this tenant are counted for.
    fn quota_key(&self, client: IpAddr) -> QuotaKey {
        self.tenant.quota_key.unwrap_or_else(|| client.into())
    }

    pub(super) fn limit_request(&self, client: IpAddr) -> LimitRequest<'_> {
        let key = self.quota_key(client);
        let name = self.tenant.quota_key.is_some().then_some(self.tenant.name.as_str());
        LimitRequest { key, name, whole: &self.limits.whole.0, share: &self.limits.share.0 }
    }
}

/// Everyone who may call, as one moment knows them.
pub struct Callers {
    /// Whom a key leads to.
    pub keyring: Keyring,
    /// By their place in the roster.
    pub members: Vec<Arc<Member>>,
}

impl Callers {
    /// The tenant of a name.
    pub fn member(&self, name: &str) -> Option<Arc<Member>> {
        let place = self.keyring.tenant(name)?;
        self.members.get(place).cloned()
    }
}

/// Whom a request was let in for.
#[derive(Clone)]
pub(super) struct Admitted {
    pub(super) principal: Principal,
    /// The staff belong to none and count as anyone.
    pub(super) member: Arc<Member>,
    pub(super) quota_key: QuotaKey,
}

/// Lets requests in.
pub struct Door {
    /// Whether callers must say who they are.
    pub(super) is_locked: bool,
    /// Those who may call; replaced as a whole.
    callers: RwLock<Arc<Callers>>,
    /// Whoever need not say.
    anonymous: Arc<Member>,
    /// Whose tokens are taken.
    issuer: Option<Arc<Issuer>>,
    /// Where calls are limited.
    limiter: Option<Arc<Limiter>>,
    metrics: Arc<Metrics>,
}

impl Door {
    /// A door for these. Where it is not locked, everyone is let in as anyone.
    pub fn new(
        is_locked: bool,
        callers: Callers,
        anonymous: Arc<Member>,
        issuer: Option<Arc<Issuer>>,
        limiter: Option<Arc<Limiter>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let callers = RwLock::new(Arc::new(callers));
        Self { is_locked, callers, anonymous, issuer, limiter, metrics }
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

    /// How many decodes each has used of this day, where that can be said; those of anyone
    /// come last.
    pub(super) async fn decodes_today(&self, members: &[&Arc<Member>]) -> Vec<Option<u64>> {
        let Some(limiter) = &self.limiter else { return vec![None; members.len()] };
        // Those of addresses are not counted by the day.
        let is_counted = |member: &&&Arc<Member>| member.tenant.quota_key.is_some();
        let requests = members
            .iter()
            .filter(is_counted)
            .map(|of| of.limit_request(Ipv4Addr::LOCALHOST.into()));
        let mut used = limiter.decodes_today(&requests.collect::<Vec<_>>()).await;
        used.resize(members.len(), None);
        used
    }

    /// Anyone, by their address.
    pub(super) fn anyone(&self, client: IpAddr) -> Admitted {
        let member = Arc::clone(&self.anonymous);
        let quota_key = member.quota_key(client);
        Admitted { principal: Principal::ANYONE, member, quota_key }
    }

    /// Whoever the headers prove to ask, or what is to be waited for to know.
    pub(super) fn authenticated(&self, headers: &HeaderMap, record: &Record) -> Proof {
        let client = record.head().client;
        if !self.is_locked {
            return Proof::Valid(self.anyone(client));
        }
        if let Err(failure) = self.check_failures(client, record) {
            return Proof::Invalid(failure);
        }
        match self.proven(headers, client) {
            Ok(admitted) => Proof::Valid(admitted),
            Err(NotProven::Yet(_)) => Proof::Awaited,
            Err(NotProven::For(reason)) => Proof::Invalid(self.not_proven(reason, record)),
        }
    }

    /// The same, where the issuer of tokens may have newer keys: waits for these.
    pub(super) async fn authenticated_later(
        &self,
        headers: &HeaderMap,
        record: &Record,
    ) -> Result<Admitted, Failure> {
        if let Some(issuer) = &self.issuer {
            issuer.newer_keys().await;
        }
        match self.proven(headers, record.head().client) {
            Ok(admitted) => Ok(admitted),
            Err(NotProven::For(reason)) => Err(self.not_proven(reason, record)),
            Err(NotProven::Yet(unfit)) => Err(self.not_proven(unfit.to_string(), record)),
        }
    }

    fn proven(&self, headers: &HeaderMap, client: IpAddr) -> Result<Admitted, NotProven> {
        let values = |name: HeaderName| headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let because = |reason: &str| NotProven::For(reason.to_owned());
        // All that is said of one request is of one moment.
        let callers = self.callers();
        let principal = match Credential::of(values(AUTHORIZATION), values(API_KEY)) {
            Credential::None => Err(because("there is no credential")),
            Credential::Unfit => Err(because("what is shown is no credential, or there are two")),
            Credential::Key(key) => {
                let found = callers.keyring.find(key, SystemTime::now());
                found.map_err(|no_key| NotProven::For(no_key.to_string()))
            }
            Credential::Token(token) => {
                let issuer = self.issuer.as_ref().ok_or_else(|| because("no tokens are taken"))?;
                let claims = issuer.verify(token, SystemTime::now())?;
                let tenant = callers.keyring.tenant(&claims.tenant);
                let tenant = tenant.ok_or_else(|| because("the token's tenant is not known"))?;
                Ok(Principal { key: None, role: claims.role, tenant: Some(tenant) })
            }
        }?;
        let member = principal.tenant.and_then(|place| callers.members.get(place));
        let member = Arc::clone(member.unwrap_or(&self.anonymous));
        let quota_key = member.quota_key(client);
        Ok(Admitted { principal, member, quota_key })
    }

    fn not_proven(&self, reason: String, record: &Record) -> Failure {
        if let Some(limiter) = &self.limiter {
            let client = record.head().client.into();
            limiter.failed(client, self.anonymous.limits.whole(), record.began());
        }
        self.metrics.security_event("auth_failed");
        let detail = "the request has no valid credential: send one API key or token as \
                      Authorization: Bearer, or the key as X-Api-Key";
        Failure::new(Code::Unauthenticated, detail).because(reason)
    }

    /// Whose address has failed too often is not looked at. It may fail as often as anyone may
    /// call from there.
    fn check_failures(&self, client: IpAddr, record: &Record) -> Result<(), Failure> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let limits = self.anonymous.limits.whole();
        let Err(rate) = limiter.may_try(client.into(), limits, record.began()) else {
            return Ok(());
        };
        let outcome = LimitOutcome { decision: LimitDecision::RateLimited, rate, quota: None };
        let (_, policy) = &self.anonymous.limits.whole;
        record.trail.steps().allowance = Some(rate::allowance(policy, &outcome));
        self.metrics.callers.decided(Decision::RateLimited, Backend::Memory);
        let detail = "too many requests from your address had no valid credential; try again \
                      after the seconds in Retry-After";
        let failure = Failure::new(Code::RateLimited, detail);
        Err(Failure { retry_after: Some(outcome.rate.retry_after), ..failure })
    }

    /// Lets a request pass or not, if that can be said at once, and notes on its record what
    /// is left.
    pub(super) fn limited(
        &self,
        admitted: &Admitted,
        record: &Record,
    ) -> Option<Result<(), Failure>> {
        let Some(limiter) = &self.limiter else { return Some(Ok(())) };
        let Head { client, is_decode, .. } = *record.head();
        let counted =
            limiter.decide_now(admitted.member.limit_request(client), is_decode, record.began())?;
        Some(self.apply(counted, admitted, record))
    }

    /// The same, where others have to be asked.
    pub(super) async fn limited_later(
        &self,
        admitted: &Admitted,
        record: &Record,
    ) -> Result<(), Failure> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let Head { client, is_decode, .. } = *record.head();
        match limiter.decide(admitted.member.limit_request(client), is_decode, record.began()).await
        {
            Ok(counted) => self.apply(counted, admitted, record),
            Err(Unavailable) => {
                self.metrics.callers.decided(Decision::Unavailable, Backend::Valkey);
                let detail = "the store of rate limits and quotas is down; try again later";
                let failure = Failure::new(Code::QuotaUnavailable, detail);
                Err(Failure { retry_after: Some(COME_BACK), ..failure })
            }
        }
    }

    fn apply(
        &self,
        counted: CountedOutcome,
        admitted: &Admitted,
        record: &Record,
    ) -> Result<(), Failure> {
        let CountedOutcome { outcome, backend, by_share } = counted;
        let TenantLimits { whole, share } = &admitted.member.limits;
        let (_, policy) = if by_share { share } else { whole };
        record.trail.steps().allowance = Some(rate::allowance(policy, &outcome));
        let decision = match outcome.decision {
            LimitDecision::Allowed => Decision::Allowed,
            LimitDecision::RateLimited => Decision::RateLimited,
            LimitDecision::QuotaExceeded => Decision::QuotaExceeded,
        };
        self.metrics.callers.decided(decision, backend);
        rate::refused(&outcome)
    }
}

/// When who could not be counted may come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// Whether it is proven who asks.
pub(super) enum Proof {
    /// It is.
    Valid(Admitted),
    /// It is not.
    Invalid(Failure),
    /// It may be, if the issuer has newer keys.
    Awaited,
}

enum NotProven {
    /// A token is not signed with a key that is known; it may be with a newer one.
    Yet(Unfit),
    /// For this reason.
    For(String),
}

impl From<Unfit> for NotProven {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::UnknownKey | Unfit::Signature => Self::Yet(unfit),
            unfit => Self::For(unfit.to_string()),
        }
    }
}
