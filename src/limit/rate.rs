//! Rates of many callers, in bounded memory.

use super::{Caller, Decision, Now, Terms, Used, Verdict, terms::since_epoch};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Holds each caller to its terms, in the memory of this process.
///
/// It remembers all tenants, and of addresses the last 131,072 that are not at rest, which is
/// what matters of them. When there are more, those that are nearest to rest are forgotten: who
/// floods it with addresses cannot get an address forgotten that is being held back.
pub struct RateLimiter {
    began: Instant,
    /// In parts, so that few wait for each other.
    parts: [Mutex<HashMap<Caller, Used>>; PARTS],
}

const PARTS: usize = 32;

/// How many callers are remembered: some 10 MiB.
const CALLERS: usize = 128 * 1024;

impl Default for RateLimiter {
    /// Everyone at rest.
    fn default() -> Self {
        Self { began: Instant::now(), parts: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl RateLimiter {
    /// Decides about a request, which may be one for a decode.
    pub fn decide(&self, caller: Caller, terms: &Terms, is_decode: bool, now: Instant) -> Verdict {
        let monotonic = self.since_began(now);
        // The clock on the wall is only asked where the day matters.
        let since_epoch = terms.decodes_per_day.map_or(Duration::ZERO, |_| since_epoch());
        let now = Now { monotonic, since_epoch };
        let mut part = self.part(caller);
        if let Some(used) = part.get_mut(&caller) {
            return terms.decide(used, is_decode, now);
        }
        if part.len() >= CALLERS / PARTS {
            forget(&mut part, monotonic);
        }
        let mut used = Used { rest: monotonic, ..Used::default() };
        let verdict = terms.decide(&mut used, is_decode, now);
        part.insert(caller, used);
        verdict
    }

    /// What would be decided about a request that counts for nothing.
    pub fn look(&self, caller: Caller, terms: &Terms, now: Instant) -> Decision {
        let rest = self.part(caller).get(&caller).map_or(0, |used| used.rest);
        terms.rate.look(rest, self.since_began(now))
    }

    /// How many decodes a caller has used of this day.
    pub fn decodes_today(&self, caller: Caller) -> u64 {
        let today = Now { monotonic: 0, since_epoch: since_epoch() }.day();
        let part = self.part(caller);
        part.get(&caller).filter(|used| used.day >= today).map_or(0, |used| used.decodes)
    }

    fn since_began(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn part(&self, caller: Caller) -> MutexGuard<'_, HashMap<Caller, Used>> {
        self.parts[caller.part(PARTS)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room: for who is at rest, and then for the half that is nearest to it. Tenants are
/// few, and what they have used of their day is not forgotten.
fn forget(part: &mut HashMap<Caller, Used>, now: u64) {
    let is_tenant = |caller: &Caller| matches!(caller, Caller::Tenant(_));
    part.retain(|caller, used| is_tenant(caller) || used.rest > now);
    if part.len() < CALLERS / PARTS / 2 {
        return;
    }
    let addresses = part.iter().filter(|(caller, _)| !is_tenant(caller));
    let mut rests: Vec<u64> = addresses.map(|(_, used)| used.rest).collect();
    let middle = rests.len() / 2;
    if middle == 0 {
        return;
    }
    let (_, middle, _) = rests.select_nth_unstable(middle);
    part.retain(|caller, used| is_tenant(caller) || used.rest > *middle);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Gcra, Ruling};
    use std::net::Ipv4Addr;

    fn v4(number: u32) -> Caller {
        Caller::V4(Ipv4Addr::from_bits(number))
    }

    fn terms(requests_per_minute: u64, burst: u64, decodes_per_day: Option<u64>) -> Terms {
        Terms { rate: Gcra::new(requests_per_minute, burst), decodes_per_day }
    }

    #[test]
    fn callers_do_not_share() {
        let (limiter, terms, now) = (RateLimiter::default(), terms(1, 2, None), Instant::now());
        let allowed = |caller| limiter.decide(caller, &terms, false, now).ruling == Ruling::Allowed;
        let pass = |caller| (0..5).filter(|_| allowed(caller)).count();

        assert_eq!(pass(v4(1)), 2);
        assert_eq!(pass(v4(2)), 2);
        assert_eq!(pass(Caller::V6(1)), 2);
        assert_eq!(pass(Caller::Tenant(1)), 2);
        assert_eq!(pass(v4(1)), 0);
    }

    #[test]
    fn to_look_costs_nothing() {
        let (limiter, terms, now) = (RateLimiter::default(), terms(1, 1, None), Instant::now());
        for _ in 0..3 {
            assert!(limiter.look(v4(1), &terms, now).is_allowed);
        }
        limiter.decide(v4(1), &terms, false, now);
        assert!(!limiter.look(v4(1), &terms, now).is_allowed);
        assert!(limiter.look(v4(2), &terms, now).is_allowed);
    }

    #[test]
    fn a_million_addresses_are_bounded_and_free_nobody_who_is_held_back() {
        let (limiter, now) = (RateLimiter::default(), Instant::now());
        let usual = terms(60, 10, None);
        let held_back = v4(u32::MAX);
        while limiter.decide(held_back, &usual, false, now).ruling == Ruling::Allowed {}
        let of_tenant = terms(60, 10, Some(2));
        for tenant in 0..100 {
            limiter.decide(Caller::Tenant(tenant), &of_tenant, true, now);
        }

        for number in 0..1_000_000 {
            let now = now + Duration::from_nanos(number.into());
            limiter.decide(v4(number), &usual, false, now);
        }

        let known = || limiter.parts.iter().map(|part| part.lock().unwrap().len()).sum::<usize>();
        let capacity = limiter.parts.iter().map(|part| part.lock().unwrap().capacity());
        assert!(known() <= CALLERS + 100, "{}", known());
        assert!(capacity.sum::<usize>() <= 2 * CALLERS);
        assert!(!limiter.look(held_back, &usual, now).is_allowed);
        for tenant in 0..100 {
            assert_eq!(limiter.decodes_today(Caller::Tenant(tenant)), 1);
        }
    }

    #[test]
    fn who_is_held_back_passes_when_the_time_has_come() {
        let (limiter, terms, now) = (RateLimiter::default(), terms(60, 1, None), Instant::now());
        let passes = |milliseconds| {
            let now = now + Duration::from_millis(milliseconds);
            let looked = limiter.look(v4(1), &terms, now).is_allowed;
            let decided = limiter.decide(v4(1), &terms, false, now).ruling == Ruling::Allowed;
            assert_eq!(looked, decided, "{milliseconds}");
            decided
        };
        let at = [0, 500, 999, 1000, 1999, 2000, 60_000];
        assert_eq!(at.map(passes), [true, false, false, true, false, true, true]);
    }
}
