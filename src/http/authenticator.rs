//! Finds out who calls: from a credential to a tenant with its limits.

use super::rate;
use crate::{
    decode::Tenant,
    failure::{Code, Failure},
    identity::{Credential, Issuer, KeyTable, Principal, TokenError},
    quota_key::QuotaKey,
    rate_limit::{
        CallerLimits, CountedOutcome, LimitDecision, LimitOutcome, LimitRequest, Limiter,
        Unavailable,
    },
    telemetry::{AccessRecord, Backend, Decision, Head, Metrics, TenantMetrics},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use bytes::Bytes;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A tenant in force, with everything that a request of it needs.
pub struct ActiveTenant {
    /// The tenant, as decodes need it.
    pub tenant: Arc<Tenant>,
    /// Its rate limit and quota.
    pub limits: TenantLimits,
    /// Its metrics.
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

impl ActiveTenant {
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

/// All tenants at one moment. Replaced as a whole when the tenants file changes.
pub struct TenantSnapshot {
    /// Finds the principal of a key.
    pub key_table: KeyTable,
    /// By their position in the registry.
    pub members: Vec<Arc<ActiveTenant>>,
}

impl TenantSnapshot {
    /// The tenant of a name.
    pub fn member(&self, name: &str) -> Option<Arc<ActiveTenant>> {
        let place = self.key_table.tenant(name)?;
        self.members.get(place).cloned()
    }
}

/// Who sent a request, once it is authenticated.
#[derive(Clone)]
pub(super) struct Admitted {
    pub(super) principal: Principal,
    /// Staff belong to no tenant and are counted as anonymous callers.
    pub(super) member: Arc<ActiveTenant>,
    pub(super) quota_key: QuotaKey,
}

/// Authenticates requests.
pub struct Authenticator {
    /// Whether authentication is required.
    pub(super) is_locked: bool,
    /// All tenants; replaced as a whole.
    callers: RwLock<Arc<TenantSnapshot>>,
    /// Callers without a credential.
    anonymous: Arc<ActiveTenant>,
    /// The issuer of accepted tokens.
    issuer: Option<Arc<Issuer>>,
    /// Rate limits and quotas, if enabled.
    limiter: Option<Arc<Limiter>>,
    metrics: Arc<Metrics>,
}

impl Authenticator {
    /// An authenticator. If it is not locked, every caller is anonymous.
    pub fn new(
        is_locked: bool,
        callers: TenantSnapshot,
        anonymous: Arc<ActiveTenant>,
        issuer: Option<Arc<Issuer>>,
        limiter: Option<Arc<Limiter>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let callers = RwLock::new(Arc::new(callers));
        Self { is_locked, callers, anonymous, issuer, limiter, metrics }
    }

    /// All tenants at this moment.
    pub fn callers(&self) -> Arc<TenantSnapshot> {
        Arc::clone(&self.callers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces all tenants. Requests that have begun keep the tenant that they have.
    pub fn replace(&self, callers: TenantSnapshot) {
        *self.callers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(callers);
    }

    /// The tenant of anonymous callers.
    pub fn anonymous(&self) -> &Arc<ActiveTenant> {
        &self.anonymous
    }

    /// How many decodes each tenant has used today; `None` if that is not known. Anonymous callers come
    /// last.
    pub(super) async fn decodes_today(&self, members: &[&Arc<ActiveTenant>]) -> Vec<Option<u64>> {
        let Some(limiter) = &self.limiter else { return vec![None; members.len()] };
        // Addresses have no daily quota.
        let is_counted = |member: &&&Arc<ActiveTenant>| member.tenant.quota_key.is_some();
        let requests = members
            .iter()
            .filter(is_counted)
            .map(|of| of.limit_request(Ipv4Addr::LOCALHOST.into()));
        let mut used = limiter.decodes_today(&requests.collect::<Vec<_>>()).await;
        used.resize(members.len(), None);
        used
    }

    /// An anonymous caller.
    pub(super) fn anyone(&self, client: IpAddr) -> Admitted {
        let member = Arc::clone(&self.anonymous);
        let quota_key = member.quota_key(client);
        Admitted { principal: Principal::ANYONE, member, quota_key }
    }

    /// Authenticates a request, if that can be decided at once.
    pub(super) fn authenticated(&self, headers: &HeaderMap, record: &AccessRecord) -> Proof {
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

    /// Waits for newer keys of the issuer, then authenticates a request.
    pub(super) async fn authenticated_later(
        &self,
        headers: &HeaderMap,
        record: &AccessRecord,
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
        // One snapshot for the whole request.
        let callers = self.callers();
        let principal = match Credential::of(values(AUTHORIZATION), values(API_KEY)) {
            Credential::None => Err(because("there is no credential")),
            Credential::TokenError => {
                Err(because("what is shown is no credential, or there are two"))
            }
            Credential::Key(key) => {
                let found = callers.key_table.find(key, SystemTime::now());
                found.map_err(|no_key| NotProven::For(no_key.to_string()))
            }
            Credential::Token(token) => {
                let issuer = self.issuer.as_ref().ok_or_else(|| because("no tokens are taken"))?;
                let claims = issuer.verify(token, SystemTime::now())?;
                let tenant = callers.key_table.tenant(&claims.tenant);
                let tenant = tenant.ok_or_else(|| because("the token's tenant is not known"))?;
                Ok(Principal { key: None, role: claims.role, tenant: Some(tenant) })
            }
        }?;
        let member = principal.tenant.and_then(|place| callers.members.get(place));
        let member = Arc::clone(member.unwrap_or(&self.anonymous));
        let quota_key = member.quota_key(client);
        Ok(Admitted { principal, member, quota_key })
    }

    fn not_proven(&self, reason: String, record: &AccessRecord) -> Failure {
        if let Some(limiter) = &self.limiter {
            let client = record.head().client.into();
            limiter.failed(client, self.anonymous.limits.whole(), record.began());
        }
        self.metrics.security_event("auth_failed");
        let detail = "the request has no valid credential: send one API key or token as \
                      Authorization: Bearer, or the key as X-Api-Key";
        Failure::new(Code::Unauthenticated, detail).because(reason)
    }

    /// Refuses an address that has failed too often. It may fail as often as an anonymous caller may
    /// call.
    fn check_failures(&self, client: IpAddr, record: &AccessRecord) -> Result<(), Failure> {
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

    /// Applies rate limit and quota, if that can be decided at once, and notes on the record what is
    /// left.
    pub(super) fn limited(
        &self,
        admitted: &Admitted,
        record: &AccessRecord,
    ) -> Option<Result<(), Failure>> {
        let Some(limiter) = &self.limiter else { return Some(Ok(())) };
        let Head { client, is_decode, .. } = *record.head();
        let counted =
            limiter.decide_now(admitted.member.limit_request(client), is_decode, record.began())?;
        Some(self.apply(counted, admitted, record))
    }

    /// The same, if the shared store has to be asked.
    pub(super) async fn limited_later(
        &self,
        admitted: &Admitted,
        record: &AccessRecord,
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
        record: &AccessRecord,
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

/// The `Retry-After` if the shared store is down.
const COME_BACK: Duration = Duration::from_secs(1);

/// The result of an authentication.
pub(super) enum Proof {
    /// The caller is authenticated.
    Valid(Admitted),
    /// The credential is invalid.
    Invalid(Failure),
    /// The issuer may have newer keys that decide.
    Awaited,
}

enum NotProven {
    /// No known key has signed the token; a newer one may have.
    Yet(TokenError),
    /// The credential is invalid, for this reason.
    For(String),
}

impl From<TokenError> for NotProven {
    fn from(unfit: TokenError) -> Self {
        match unfit {
            TokenError::UnknownKey | TokenError::Signature => Self::Yet(unfit),
            unfit => Self::For(unfit.to_string()),
        }
    }
}
