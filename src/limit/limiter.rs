//! What callers are held to, wherever it is counted.

use super::{Caller, Decision, RateLimiter, Terms, Verdict};
use crate::telemetry::Backend;
use std::time::Instant;

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
}

impl Limiter {
    /// Decides about a request at once, where that is possible.
    pub fn decide_now(&self, held: Held<'_>, is_decode: bool, now: Instant) -> Option<Ruled> {
        let verdict = self.local.decide(held.caller, held.whole, is_decode, now);
        Some(Ruled { verdict, backend: Backend::Memory, by_part: false })
    }

    /// Decides about a request; none: nobody can say.
    pub async fn decide(&self, held: Held<'_>, is_decode: bool, now: Instant) -> Option<Ruled> {
        self.decide_now(held, is_decode, now)
    }

    /// What this process alone would say of a request of an address, which counts for nothing.
    pub fn look(&self, caller: Caller, terms: &Terms, now: Instant) -> Decision {
        self.local.look(caller, terms, now)
    }

    /// How many decodes each has used of this day, where that can be said.
    pub async fn decodes_today(&self, held: Vec<Option<Held<'_>>>) -> Vec<Option<u64>> {
        let today = |held: Held<'_>| self.local.decodes_today(held.caller);
        held.into_iter().map(|held| held.map(today)).collect()
    }

    /// Counts a request of an address in this process alone.
    pub fn note(&self, caller: Caller, terms: &Terms, now: Instant) {
        self.local.decide(caller, terms, false, now);
    }
}
