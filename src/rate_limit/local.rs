//! The usage of many callers, in bounded memory.

use super::{CallerLimits, LimitOutcome, Now, RateOutcome, Usage, limits::since_epoch};
use crate::quota_key::QuotaKey;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Holds each caller to its limits, with counts in the memory of this process.
///
/// It remembers all tenants and up to 131,072 addresses. When there are more, it forgets addresses
/// that have their whole burst again, and then those that will have it soonest. So a flood of
/// addresses cannot free an address that is being refused.
pub struct LocalLimiter {
    began: Instant,
    /// Split, so that few calls wait for the same lock.
    parts: [Mutex<HashMap<QuotaKey, Usage>>; PARTS],
}

const PARTS: usize = 32;

/// How many callers are remembered; about 10 MiB.
const CALLERS: usize = 128 * 1024;

impl Default for LocalLimiter {
    /// A limiter that has counted nothing yet.
    fn default() -> Self {
        Self { began: Instant::now(), parts: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl LocalLimiter {
    /// Decides about a request and counts it if it is allowed.
    pub fn decide(
        &self,
        key: QuotaKey,
        limits: &CallerLimits,
        is_decode: bool,
        now: Instant,
    ) -> LimitOutcome {
        let monotonic = self.since_began(now);
        // The wall clock is read only where a daily quota needs it.
        let since_epoch = limits.decodes_per_day.map_or(Duration::ZERO, |_| since_epoch());
        let now = Now { monotonic, since_epoch };
        let mut part = self.part(key);
        if let Some(used) = part.get_mut(&key) {
            return limits.decide(used, is_decode, now);
        }
        if part.len() >= CALLERS / PARTS {
            forget(&mut part, monotonic);
        }
        let mut used = Usage { full_at: monotonic, ..Usage::default() };
        let outcome = limits.decide(&mut used, is_decode, now);
        part.insert(key, used);
        outcome
    }

    /// What would be decided about a request now, without counting one.
    pub fn look(&self, key: QuotaKey, limits: &CallerLimits, now: Instant) -> RateOutcome {
        let full_at = self.part(key).get(&key).map_or(0, |used| used.full_at);
        limits.rate.look(full_at, self.since_began(now))
    }

    /// How many decodes a caller has used today.
    pub fn decodes_today(&self, key: QuotaKey) -> u64 {
        let today = Now { monotonic: 0, since_epoch: since_epoch() }.day();
        let part = self.part(key);
        part.get(&key).filter(|used| used.day >= today).map_or(0, |used| used.decodes)
    }

    fn since_began(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn part(&self, key: QuotaKey) -> MutexGuard<'_, HashMap<QuotaKey, Usage>> {
        self.parts[key.part(PARTS)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room: removes addresses with a whole burst, then the half that will have one soonest.
/// Tenants are few and keep their daily counts.
fn forget(part: &mut HashMap<QuotaKey, Usage>, now: u64) {
    let is_tenant = |key: &QuotaKey| matches!(key, QuotaKey::Tenant(_));
    part.retain(|key, used| is_tenant(key) || used.full_at > now);
    if part.len() < CALLERS / PARTS / 2 {
        return;
    }
    let addresses = part.iter().filter(|(key, _)| !is_tenant(key));
    let mut times: Vec<u64> = addresses.map(|(_, used)| used.full_at).collect();
    let middle = times.len() / 2;
    if middle == 0 {
        return;
    }
    let (_, middle, _) = times.select_nth_unstable(middle);
    part.retain(|key, used| is_tenant(key) || used.full_at > *middle);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::{Gcra, LimitDecision};
    use std::net::Ipv4Addr;

    fn v4(number: u32) -> QuotaKey {
        QuotaKey::V4(Ipv4Addr::from_bits(number))
    }

    fn limits(requests_per_minute: u64, burst: u64, decodes_per_day: Option<u64>) -> CallerLimits {
        CallerLimits { rate: Gcra::new(requests_per_minute, burst), decodes_per_day }
    }

    #[test]
    fn callers_do_not_share() {
        let (limiter, limits, now) = (LocalLimiter::default(), limits(1, 2, None), Instant::now());
        let allowed =
            |key| limiter.decide(key, &limits, false, now).decision == LimitDecision::Allowed;
        let pass = |key| (0..5).filter(|_| allowed(key)).count();

        assert_eq!(pass(v4(1)), 2);
        assert_eq!(pass(v4(2)), 2);
        assert_eq!(pass(QuotaKey::V6(1)), 2);
        assert_eq!(pass(QuotaKey::Tenant(1)), 2);
        assert_eq!(pass(v4(1)), 0);
    }

    #[test]
    fn looking_counts_nothing() {
        let (limiter, limits, now) = (LocalLimiter::default(), limits(1, 1, None), Instant::now());
        for _ in 0..3 {
            assert!(limiter.look(v4(1), &limits, now).is_allowed);
        }
        limiter.decide(v4(1), &limits, false, now);
        assert!(!limiter.look(v4(1), &limits, now).is_allowed);
        assert!(limiter.look(v4(2), &limits, now).is_allowed);
    }

    #[test]
    fn a_million_addresses_are_bounded_and_free_no_refused_address() {
        let (limiter, now) = (LocalLimiter::default(), Instant::now());
        let usual = limits(60, 10, None);
        let refused = v4(u32::MAX);
        while limiter.decide(refused, &usual, false, now).decision == LimitDecision::Allowed {}
        let of_tenant = limits(60, 10, Some(2));
        for tenant in 0..100 {
            limiter.decide(QuotaKey::Tenant(tenant), &of_tenant, true, now);
        }

        for number in 0..1_000_000 {
            let now = now + Duration::from_nanos(number.into());
            limiter.decide(v4(number), &usual, false, now);
        }

        let known = || limiter.parts.iter().map(|part| part.lock().unwrap().len()).sum::<usize>();
        let capacity = limiter.parts.iter().map(|part| part.lock().unwrap().capacity());
        assert!(known() <= CALLERS + 100, "{}", known());
        assert!(capacity.sum::<usize>() <= 2 * CALLERS);
        assert!(!limiter.look(refused, &usual, now).is_allowed);
        for tenant in 0..100 {
            assert_eq!(limiter.decodes_today(QuotaKey::Tenant(tenant)), 1);
        }
    }

    #[test]
    fn a_refused_caller_passes_once_its_time_has_come() {
        let (limiter, limits, now) = (LocalLimiter::default(), limits(60, 1, None), Instant::now());
        let passes = |milliseconds| {
            let now = now + Duration::from_millis(milliseconds);
            let looked = limiter.look(v4(1), &limits, now).is_allowed;
            let decided =
                limiter.decide(v4(1), &limits, false, now).decision == LimitDecision::Allowed;
            assert_eq!(looked, decided, "{milliseconds}");
            decided
        };
        let at = [0, 500, 999, 1000, 1999, 2000, 60_000];
        assert_eq!(at.map(passes), [true, false, false, true, false, true, true]);
    }
}
