//! Rates of many callers, in bounded memory.

use super::{Caller, Decision, Gcra};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Holds each caller to a rate, in the memory of this process.
///
/// It remembers the last 131,072 that are not at rest, which is what matters of
/// them. When there are more, those that are nearest to rest are forgotten: who floods it
/// with addresses cannot get an address forgotten that is being held back.
pub struct RateLimiter {
    gcra: Gcra,
    began: Instant,
    /// By caller, the moment of rest. In parts, so that few wait for each other.
    parts: [Mutex<HashMap<Caller, u64>>; PARTS],
}

const PARTS: usize = 32;

/// How many callers are remembered: some 6 MiB.
const CALLERS: usize = 128 * 1024;

impl RateLimiter {
    /// Everyone at rest.
    pub fn new(gcra: Gcra) -> Self {
        Self { gcra, began: Instant::now(), parts: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The rate and the burst.
    pub fn gcra(&self) -> &Gcra {
        &self.gcra
    }

    /// Decides about a request.
    pub fn decide(&self, caller: Caller, now: Instant) -> Decision {
        let now = now.saturating_duration_since(self.began).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let part = &self.parts[caller.part(PARTS)];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rest) = part.get_mut(&caller) {
            return self.gcra.decide(rest, now);
        }
        if part.len() >= CALLERS / PARTS {
            forget(&mut part, now);
        }
        let mut rest = now;
        let decision = self.gcra.decide(&mut rest, now);
        part.insert(caller, rest);
        decision
    }
}

/// Makes room: for who is at rest, and then for the half that is nearest to it.
fn forget(part: &mut HashMap<Caller, u64>, now: u64) {
    part.retain(|_, rest| *rest > now);
    if part.len() < CALLERS / PARTS / 2 {
        return;
    }
    let mut rests: Vec<u64> = part.values().copied().collect();
    let middle = rests.len() / 2;
    let (_, middle, _) = rests.select_nth_unstable(middle);
    part.retain(|_, rest| *rest > *middle);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::Ipv4Addr, time::Duration};

    fn v4(number: u32) -> Caller {
        Caller::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn callers_do_not_share() {
        let limiter = RateLimiter::new(Gcra::new(1, 2));
        let now = Instant::now();
        let pass = |caller| (0..5).filter(|_| limiter.decide(caller, now).is_allowed).count();

        assert_eq!(pass(v4(1)), 2);
        assert_eq!(pass(v4(2)), 2);
        assert_eq!(pass(Caller::V6(1)), 2);
        assert_eq!(pass(v4(1)), 0);
    }

    #[test]
    fn a_million_addresses_are_bounded_and_free_nobody_who_is_held_back() {
        let limiter = RateLimiter::new(Gcra::new(60, 10));
        let now = Instant::now();
        let held_back = v4(u32::MAX);
        while limiter.decide(held_back, now).is_allowed {}

        for number in 0..1_000_000 {
            limiter.decide(v4(number), now + Duration::from_nanos(number.into()));
        }

        let known = || limiter.parts.iter().map(|part| part.lock().unwrap().len()).sum::<usize>();
        let capacity = limiter.parts.iter().map(|part| part.lock().unwrap().capacity());
        assert!(known() <= CALLERS, "{}", known());
        assert!(capacity.sum::<usize>() <= 2 * CALLERS);
        assert!(!limiter.decide(held_back, now).is_allowed);
    }
}
