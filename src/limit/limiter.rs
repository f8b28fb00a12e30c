//! What callers are held to, wherever it is counted.

use super::{Caller, Decision, RateLimiter, Terms, Unavailable, Valkey, Verdict};
use crate::telemetry::Backend;
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// Whom terms hold, and the terms.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// Whom.
    pub caller: Caller,
    /// What a tenant is called; none: an address.
    pub name: Option<&'a str>,
    /// What it is held to by all replicas together.
    pub whole: &'a Terms,
    /// What it is held to by each of them, where they cannot count together.
    pub part: &'a Terms,
}

/// A verdict, and how it came about.
#[derive(Debug, Clone, Copy)]
pub struct Ruled {
    /// The verdict.
    pub verdict: Verdict,
    /// Where it was counted.
    pub backend: Backend,
    /// Whether it holds a caller to the part that this replica has.
    pub by_part: bool,
}

/// Decides about requests.
#[derive(Default)]
pub struct Limiter {
    local: RateLimiter,
    /// Of addresses, those of their calls that had no valid credential.
    failures: RateLimiter,
    /// Whether there ever was one: this is on the way of every call.
    any_failed: AtomicBool,
    shared: Option<Shared>,
}

/// Where replicas count together.
pub struct Shared {
    /// The server that counts.
    pub valkey: Arc<Valkey>,
    /// When that is down, whether each counts its part alone; else nobody passes.
    pub falls_back: bool,
}

impl Limiter {
    /// One that counts with others.
    pub fn shared(shared: Shared) -> Self {
        Self { shared: Some(shared), ..Self::default() }
    }

    /// Decides about a request at once, where nobody has to be asked.
    pub fn decide_now(&self, held: Held<'_>, is_decode: bool, now: Instant) -> Option<Ruled> {
        match &self.shared {
            None => Some(self.alone(held, false, is_decode, now)),
            Some(Shared { valkey, falls_back: true }) if !valkey.is_up() => {
                Some(self.alone(held, true, is_decode, now))
            }
            Some(_) => None,
        }
    }

    /// Decides about a request.
    pub async fn decide(
        &self,
        held: Held<'_>,
        is_decode: bool,
        now: Instant,
    ) -> Result<Ruled, Unavailable> {
        let Some(Shared { valkey, falls_back }) = &self.shared else {
            return Ok(self.alone(held, false, is_decode, now));
        };
        match valkey.decide(&name(&held), held.whole, is_decode).await {
            Ok(verdict) => Ok(Ruled { verdict, backend: Backend::Valkey, by_part: false }),
            Err(Unavailable) if *falls_back => Ok(self.alone(held, true, is_decode, now)),
            Err(Unavailable) => Err(Unavailable),
        }
    }

    /// Whether an address has failed to say who it is so often that it is not listened to, and
    /// when it will be, as this process alone knows.
    pub fn may_try(&self, caller: Caller, terms: &Terms, now: Instant) -> Result<(), Decision> {
        if !self.any_failed.load(Relaxed) {
            return Ok(());
        }
        let left = self.failures.look(caller, terms, now);
        left.is_allowed.then_some(()).ok_or(left)
    }

    /// An address has failed to say who it is.
    pub fn failed(&self, caller: Caller, terms: &Terms, now: Instant) {
        self.failures.decide(caller, terms, false, now);
        self.any_failed.store(true, Relaxed);
    }

    /// How many decodes each has used of this day, where that can be said.
    pub async fn decodes_today(&self, held: &[Held<'_>]) -> Vec<Option<u64>> {
        if let Some(Shared { valkey, .. }) = &self.shared {
            let names: Vec<Cow<'_, str>> = held.iter().map(name).collect();
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            let used = valkey.decodes_today(&names).await;
            return used
                .map_or(vec![None; held.len()], |used| used.into_iter().map(Some).collect());
        }
        held.iter().map(|held| Some(self.local.decodes_today(held.caller))).collect()
    }

    fn alone(&self, held: Held<'_>, by_part: bool, is_decode: bool, now: Instant) -> Ruled {
        let terms = if by_part { held.part } else { held.whole };
        let verdict = self.local.decide(held.caller, terms, is_decode, now);
        Ruled { verdict, backend: Backend::Memory, by_part }
    }
}

/// What someone is counted under for all replicas: no tenant is called as an address is.
fn name<'a>(held: &Held<'a>) -> Cow<'a, str> {
    match (held.name, held.caller) {
        (Some(name), _) => name.into(),
        (None, caller) => caller.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Gcra, Ruling, ValkeySettings};
    use std::{net::Ipv4Addr, time::Duration};

    const CALLER: Caller = Caller::V4(Ipv4Addr::LOCALHOST);

    fn terms(burst: u64) -> Terms {
        Terms { rate: Gcra::new(1, burst), decodes_per_day: None }
    }

    /// How many of ten pass at once, and what is said of the first.
    fn pass(limiter: &Limiter, now: Instant) -> Option<(usize, Ruled)> {
        let (whole, part) = (terms(4), terms(2));
        let held = Held { caller: CALLER, name: None, whole: &whole, part: &part };
        let ruled: Option<Vec<Ruled>> =
            (0..10).map(|_| limiter.decide_now(held, false, now)).collect();
        let ruled = ruled?;
        let allowed = ruled.iter().filter(|ruled| ruled.verdict.ruling == Ruling::Allowed);
        Some((allowed.count(), ruled[0]))
    }

    /// One that nobody has connected to its server.
    fn unconnected(falls_back: bool) -> Limiter {
        let settings = ValkeySettings {
            url: "valkey://127.0.0.1:1".to_owned(),
            password_file: None,
            ca_file: None,
            timeout: Duration::from_millis(1),
        };
        let valkey = Arc::new(Valkey::new(settings, Box::new(|_| ())).unwrap());
        Limiter::shared(Shared { valkey, falls_back })
    }

    #[test]
    fn alone_it_decides_at_once_and_with_others_gone_by_its_part() {
        let now = Instant::now();
        let (passed, ruled) = pass(&Limiter::default(), now).unwrap();
        assert_eq!((passed, ruled.by_part, ruled.backend), (4, false, Backend::Memory));

        let (passed, ruled) = pass(&unconnected(true), now).unwrap();
        assert_eq!((passed, ruled.by_part, ruled.backend), (2, true, Backend::Memory));

        // Where nobody passes uncounted, somebody has to be asked.
        assert!(pass(&unconnected(false), now).is_none());
    }

    #[test]
    fn an_address_that_fails_too_often_is_not_listened_to_and_no_other() {
        let (limiter, terms, now) = (Limiter::default(), terms(2), Instant::now());
        let other = Caller::V4(Ipv4Addr::BROADCAST);
        for _ in 0..2 {
            assert!(limiter.may_try(CALLER, &terms, now).is_ok());
            limiter.failed(CALLER, &terms, now);
        }

        assert!(limiter.may_try(CALLER, &terms, now).is_err());

        assert!(limiter.may_try(other, &terms, now).is_ok());
        assert!(limiter.may_try(CALLER, &terms, now + Duration::from_secs(60)).is_ok());
        // Its requests are counted elsewhere.
        assert_eq!(pass(&limiter, now).unwrap().0, 4);
    }
}
