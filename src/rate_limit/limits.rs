//! The limits of one caller: a rate and a daily quota of decodes.

use super::{Gcra, RateOutcome};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The limits of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerLimits {
    /// The rate of its requests.
    pub rate: Gcra,
    /// How many decodes it has per day (UTC); `None` for no quota.
    pub decodes_per_day: Option<u64>,
}

/// The decision about a request, and what its caller has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitOutcome {
    /// The decision.
    pub decision: LimitDecision,
    /// What is left of the rate.
    pub rate: RateOutcome,
    /// What is left of the daily quota, if there is one.
    pub quota: Option<QuotaLeft>,
}

/// Whether a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitDecision {
    /// It passes.
    Allowed,
    /// The caller has sent too many requests lately.
    RateLimited,
    /// The caller has used its decodes of the day.
    QuotaExceeded,
}

/// What is left of a daily quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLeft {
    /// How many more decodes may pass today.
    pub remaining: u64,
    /// How long until the next day begins.
    pub renewed_in: Duration,
}

/// What a caller has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// When the whole burst is available again, in nanoseconds of the monotonic clock.
    pub full_at: u64,
    /// The day that `decodes` belongs to.
    pub day: u64,
    /// The decodes used on that day.
    pub decodes: u64,
}

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since some start; never goes back.
    pub monotonic: u64,
    /// Time since 1970 (UTC).
    pub since_epoch: Duration,
}

const DAY: u64 = 24 * 60 * 60;

impl Now {
    /// The number of the day (UTC).
    pub(super) fn day(self) -> u64 {
        self.since_epoch.as_secs() / DAY
    }

    /// How long until the end of a day.
    pub(super) fn until_after(self, day: u64) -> Duration {
        Duration::from_secs(day.saturating_add(1).saturating_mul(DAY))
            .saturating_sub(self.since_epoch)
    }
}

/// The wall-clock time since 1970 (UTC).
pub(super) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl CallerLimits {
    /// The share of one replica when that many count separately; never zero.
    pub fn divided_by(&self, replicas: u64) -> Self {
        let replicas = replicas.max(1);
        Self {
            rate: self.rate.divided_by(replicas),
            decodes_per_day: self.decodes_per_day.map(|decodes| (decodes / replicas).max(1)),
        }
    }

    /// Decides about a request and counts it if it is allowed. A refused request uses up nothing.
    pub fn decide(&self, used: &mut Usage, is_decode: bool, now: Now) -> LimitOutcome {
        // A clock that is set back does not bring a past day back.
        if used.day < now.day() {
            (used.day, used.decodes) = (now.day(), 0);
        }
        let renewed_in = now.until_after(used.day);
        let left = self.decodes_per_day.map(|most| most.saturating_sub(used.decodes));
        let is_exceeded = is_decode && left == Some(0);
        let rate = match is_exceeded {
            true => self.rate.look(used.full_at, now.monotonic),
            false => self.rate.decide(&mut used.full_at, now.monotonic),
        };
        let decision = match (is_exceeded, rate.is_allowed) {
            (true, _) => LimitDecision::QuotaExceeded,
            (false, true) => LimitDecision::Allowed,
            (false, false) => LimitDecision::RateLimited,
        };
        let counts = is_decode && decision == LimitDecision::Allowed;
        used.decodes += u64::from(counts);
        let quota = left.map(|left| QuotaLeft { remaining: left - u64::from(counts), renewed_in });
        LimitOutcome { decision, rate, quota }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Now {
        Now { monotonic: seconds * SECOND, since_epoch: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_decodes_of_a_day_are_counted_and_renewed_at_midnight() {
        let limits = CallerLimits { rate: Gcra::new(60_000, 100), decodes_per_day: Some(2) };
        let (mut used, midnight, mut monotonic) = (Usage::default(), DAY, 0);
        let quota = |remaining, seconds| {
            Some(QuotaLeft { remaining, renewed_in: Duration::from_secs(seconds) })
        };

        let mut decide = |is_decode, seconds| {
            monotonic += SECOND;
            let since_epoch = Duration::from_secs(seconds);
            limits.decide(&mut used, is_decode, Now { monotonic, since_epoch })
        };

        let first = decide(true, midnight - 10);
        assert_eq!((first.decision, first.quota), (LimitDecision::Allowed, quota(1, 10)));
        let other = decide(false, midnight - 9);
        assert_eq!((other.decision, other.quota), (LimitDecision::Allowed, quota(1, 9)));
        let second = decide(true, midnight - 8);
        assert_eq!((second.decision, second.quota), (LimitDecision::Allowed, quota(0, 8)));
        let third = decide(true, midnight - 7);
        assert_eq!((third.decision, third.quota), (LimitDecision::QuotaExceeded, quota(0, 7)));
        // The clock is set back by an hour, and goes on.
        let back = decide(true, midnight - 3600);
        assert_eq!((back.decision, back.quota), (LimitDecision::QuotaExceeded, quota(0, 3600)));
        let next = decide(true, midnight);
        assert_eq!((next.decision, next.quota), (LimitDecision::Allowed, quota(1, midnight)));
        let back = decide(true, midnight - 1);
        assert_eq!((back.decision, back.quota), (LimitDecision::Allowed, quota(0, midnight + 1)));
    }

    #[test]
    fn a_refused_request_uses_up_nothing() {
        let limits = CallerLimits { rate: Gcra::new(60, 2), decodes_per_day: Some(3) };
        let mut used = Usage::default();
        let mut decide = |seconds| limits.decide(&mut used, true, at(seconds));
        assert_eq!([decide(0).decision, decide(0).decision], [LimitDecision::Allowed; 2]);

        let refused = decide(0);
        assert_eq!(refused.decision, LimitDecision::RateLimited);
        assert_eq!(refused.quota.map(|quota| quota.remaining), Some(1));
        assert_eq!(decide(1).decision, LimitDecision::Allowed);
        let exceeded = decide(10);
        assert_eq!((exceeded.decision, exceeded.rate.remaining), (LimitDecision::QuotaExceeded, 2));
        assert!(exceeded.rate.retry_after.is_zero());
    }

    #[test]
    fn replicas_share_the_limits_and_each_gets_at_least_one() {
        let limits = CallerLimits { rate: Gcra::new(600, 100), decodes_per_day: Some(5) };
        let share = limits.divided_by(4);
        assert_eq!(share, CallerLimits { rate: Gcra::new(150, 25), decodes_per_day: Some(1) });
        let least = limits.divided_by(1000);
        assert_eq!(least, CallerLimits { rate: Gcra::new(1, 1), decodes_per_day: Some(1) });
        assert_eq!(limits.divided_by(0), limits);
    }
}
