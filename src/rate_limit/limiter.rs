//! Decides whether a request is within the limits of its caller, wherever usage is counted.

use super::{CallerLimits, LimitOutcome, LocalLimiter, RateOutcome, Unavailable, Valkey};
use crate::{quota_key::QuotaKey, telemetry::Backend};
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// The caller of a request and its limits.
#[derive(Debug, Clone, Copy)]
pub struct LimitRequest<'a> {
    /// The caller that the request is counted for.
    pub key: QuotaKey,
    /// The name of the tenant; `None` for an address.
    pub name: Option<&'a str>,
    /// Its limits where all replicas count together.
    pub whole: &'a CallerLimits,
    /// The share of them that one replica allows while it must count alone.
    pub share: &'a CallerLimits,
}

/// An outcome, and where it was counted.
#[derive(Debug, Clone, Copy)]
pub struct CountedOutcome {
    /// The outcome.
    pub outcome: LimitOutcome,
    /// Where it was counted.
    pub backend: Backend,
    /// Whether it was decided by this replica's share of the limits.
    pub by_share: bool,
}

/// Decides about requests.
#[derive(Default)]
pub struct Limiter {
    local: LocalLimiter,
    /// Failed authentications by address.
    failures: LocalLimiter,
    /// Whether there ever was one; spares every other request a lookup.
    any_failed: AtomicBool,
    shared: Option<SharedStore>,
}

/// The store in which all replicas count together.
pub struct SharedStore {
    /// The server.
    pub valkey: Arc<Valkey>,
    /// Whether each replica counts its share alone while the server is down. Otherwise limited requests
    /// are refused.
    pub falls_back: bool,
}

impl Limiter {
    /// A limiter that counts together with other replicas.
    pub fn shared(shared: SharedStore) -> Self {
        Self { shared: Some(shared), ..Self::default() }
    }

    /// Decides at once; `None` if the shared store has to be asked.
    pub fn decide_now(
        &self,
        request: LimitRequest<'_>,
        is_decode: bool,
        now: Instant,
    ) -> Option<CountedOutcome> {
        match &self.shared {
            None => Some(self.alone(request, false, is_decode, now)),
            Some(SharedStore { valkey, falls_back: true }) if !valkey.is_up() => {
                Some(self.alone(request, true, is_decode, now))
            }
            Some(_) => None,
        }
    }

    /// Decides about a request, and asks the shared store if there is one.
    pub async fn decide(
        &self,
        request: LimitRequest<'_>,
        is_decode: bool,
        now: Instant,
    ) -> Result<CountedOutcome, Unavailable> {
        let Some(SharedStore { valkey, falls_back }) = &self.shared else {
            return Ok(self.alone(request, false, is_decode, now));
        };
        match valkey.decide(&name(&request), request.whole, is_decode).await {
            Ok(outcome) => {
                Ok(CountedOutcome { outcome, backend: Backend::Valkey, by_share: false })
            }
            Err(Unavailable) if *falls_back => Ok(self.alone(request, true, is_decode, now)),
            Err(Unavailable) => Err(Unavailable),
        }
    }

    /// Whether an address may try to authenticate: not after too many failures in this process.
    /// The error says when it may try again.
    pub fn may_try(
        &self,
        key: QuotaKey,
        limits: &CallerLimits,
        now: Instant,
    ) -> Result<(), RateOutcome> {
        if !self.any_failed.load(Relaxed) {
            return Ok(());
        }
        let left = self.failures.look(key, limits, now);
        left.is_allowed.then_some(()).ok_or(left)
    }

    /// Counts a failed authentication.
    pub fn failed(&self, key: QuotaKey, limits: &CallerLimits, now: Instant) {
        self.failures.decide(key, limits, false, now);
        self.any_failed.store(true, Relaxed);
    }

    /// How many decodes each caller has used today; `None` while the shared store is down.
    pub async fn decodes_today(&self, requests: &[LimitRequest<'_>]) -> Vec<Option<u64>> {
        if let Some(SharedStore { valkey, .. }) = &self.shared {
            let names: Vec<Cow<'_, str>> = requests.iter().map(name).collect();
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            let used = valkey.decodes_today(&names).await;
            return used
                .map_or(vec![None; requests.len()], |used| used.into_iter().map(Some).collect());
        }
        requests.iter().map(|request| Some(self.local.decodes_today(request.key))).collect()
    }

    fn alone(
        &self,
        request: LimitRequest<'_>,
        by_share: bool,
        is_decode: bool,
        now: Instant,
    ) -> CountedOutcome {
        let limits = if by_share { request.share } else { request.whole };
        let outcome = self.local.decide(request.key, limits, is_decode, now);
        CountedOutcome { outcome, backend: Backend::Memory, by_share }
    }
}

/// The name that all replicas count a caller under. No tenant has the name of an address.
fn name<'a>(request: &LimitRequest<'a>) -> Cow<'a, str> {
    match (request.name, request.key) {
        (Some(name), _) => name.into(),
        (None, key) => key.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::{Gcra, LimitDecision, ValkeySettings};
    use std::{net::Ipv4Addr, time::Duration};

    const KEY: QuotaKey = QuotaKey::V4(Ipv4Addr::LOCALHOST);

    fn limits(burst: u64) -> CallerLimits {
        CallerLimits { rate: Gcra::new(1, burst), decodes_per_day: None }
    }

    /// How many of ten requests pass at once, and the outcome of the first.
    fn pass(limiter: &Limiter, now: Instant) -> Option<(usize, CountedOutcome)> {
        let (whole, part) = (limits(4), limits(2));
        let request = LimitRequest { key: KEY, name: None, whole: &whole, share: &part };
        let counted: Option<Vec<CountedOutcome>> =
            (0..10).map(|_| limiter.decide_now(request, false, now)).collect();
        let counted = counted?;
        let allowed =
            counted.iter().filter(|counted| counted.outcome.decision == LimitDecision::Allowed);
        Some((allowed.count(), counted[0]))
    }

    /// A limiter whose server is not connected.
    fn unconnected(falls_back: bool) -> Limiter {
        let settings = ValkeySettings {
            url: "valkey://127.0.0.1:1".to_owned(),
            password_file: None,
            ca_file: None,
            timeout: Duration::from_millis(1),
        };
        let valkey = Arc::new(Valkey::new(settings, Box::new(|_| ())).unwrap());
        Limiter::shared(SharedStore { valkey, falls_back })
    }

    #[test]
    fn without_a_shared_store_it_decides_at_once_and_while_that_is_down_by_its_share() {
        let now = Instant::now();
        let (passed, counted) = pass(&Limiter::default(), now).unwrap();
        assert_eq!((passed, counted.by_share, counted.backend), (4, false, Backend::Memory));

        let (passed, counted) = pass(&unconnected(true), now).unwrap();
        assert_eq!((passed, counted.by_share, counted.backend), (2, true, Backend::Memory));

        // Without a fallback, the store has to be asked.
        assert!(pass(&unconnected(false), now).is_none());
    }

    #[test]
    fn an_address_that_fails_too_often_may_not_try_and_others_may() {
        let (limiter, limits, now) = (Limiter::default(), limits(2), Instant::now());
        let other = QuotaKey::V4(Ipv4Addr::BROADCAST);
        for _ in 0..2 {
            assert!(limiter.may_try(KEY, &limits, now).is_ok());
            limiter.failed(KEY, &limits, now);
        }

        assert!(limiter.may_try(KEY, &limits, now).is_err());

        assert!(limiter.may_try(other, &limits, now).is_ok());
        assert!(limiter.may_try(KEY, &limits, now + Duration::from_secs(60)).is_ok());
        // Its requests are counted separately.
        assert_eq!(pass(&limiter, now).unwrap().0, 4);
    }
}
