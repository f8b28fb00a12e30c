//! What one caller may have of the service in a time, and what became of a request for it.

use super::{Decision, Gcra};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a caller is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Requests.
    pub rate: Gcra,
    /// Decodes in a day of UTC, where they are limited.
    pub decodes_per_day: Option<u64>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may pass.
    pub ruling: Ruling,
    /// What is left of the rate.
    pub rate: Decision,
    /// What is left of the day's decodes, where they are limited.
    pub quota: Option<Quota>,
}

/// Whether a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It may.
    Allowed,
    /// There were too many requests of late.
    RateLimited,
    /// There were all the decodes of the day.
    QuotaExceeded,
}

/// What is left of a day's decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// So many more may pass today.
    pub remaining: u64,
    /// When the next day begins.
    pub renewed_in: Duration,
}

/// What a caller has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// When the rate is at rest, in nanoseconds since whenever.
    pub rest: u64,
    /// The day that the decodes are of.
    pub day: u64,
    /// The decodes of that day.
    pub decodes: u64,
}

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since whenever; never goes back.
    pub monotonic: u64,
    /// Since 1970 in UTC.
    pub since_epoch: Duration,
}

const DAY: u64 = 24 * 60 * 60;

impl Now {
    /// The day that it is in UTC.
    pub(super) fn day(self) -> u64 {
        self.since_epoch.as_secs() / DAY
    }

    /// How long until such a day is over.
    pub(super) fn until_after(self, day: u64) -> Duration {
        Duration::from_secs(day.saturating_add(1).saturating_mul(DAY))
            .saturating_sub(self.since_epoch)
    }
}

/// The time in UTC.
pub(super) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Terms {
    /// The part of this that each of so many has, none of them nothing.
    pub fn divided_by(&self, replicas: u64) -> Self {
        let replicas = replicas.max(1);
        Self {
            rate: self.rate.divided_by(replicas),
            decodes_per_day: self.decodes_per_day.map(|decodes| (decodes / replicas).max(1)),
        }
    }

    /// Decides about a request, which may be one for a decode, and notes it. What is refused
    /// uses up nothing.
    pub fn decide(&self, used: &mut Used, is_decode: bool, now: Now) -> Verdict {
        // Clocks are set back at times: a day that is over stays over.
        if used.day < now.day() {
            (used.day, used.decodes) = (now.day(), 0);
        }
        let renewed_in = now.until_after(used.day);
        let left = self.decodes_per_day.map(|most| most.saturating_sub(used.decodes));
        let is_exceeded = is_decode && left == Some(0);
        let rate = match is_exceeded {
            true => self.rate.look(used.rest, now.monotonic),
            false => self.rate.decide(&mut used.rest, now.monotonic),
        };
        let ruling = match (is_exceeded, rate.is_allowed) {
            (true, _) => Ruling::QuotaExceeded,
            (false, true) => Ruling::Allowed,
            (false, false) => Ruling::RateLimited,
        };
        let counts = is_decode && ruling == Ruling::Allowed;
        used.decodes += u64::from(counts);
        let quota = left.map(|left| Quota { remaining: left - u64::from(counts), renewed_in });
        Verdict { ruling, rate, quota }
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
        let terms = Terms { rate: Gcra::new(60_000, 100), decodes_per_day: Some(2) };
        let (mut used, midnight, mut monotonic) = (Used::default(), DAY, 0);
        let quota = |remaining, seconds| {
            Some(Quota { remaining, renewed_in: Duration::from_secs(seconds) })
        };

        let mut decide = |is_decode, seconds| {
            monotonic += SECOND;
            let since_epoch = Duration::from_secs(seconds);
            terms.decide(&mut used, is_decode, Now { monotonic, since_epoch })
        };

        let first = decide(true, midnight - 10);
        assert_eq!((first.ruling, first.quota), (Ruling::Allowed, quota(1, 10)));
        let other = decide(false, midnight - 9);
        assert_eq!((other.ruling, other.quota), (Ruling::Allowed, quota(1, 9)));
        let second = decide(true, midnight - 8);
        assert_eq!((second.ruling, second.quota), (Ruling::Allowed, quota(0, 8)));
        let third = decide(true, midnight - 7);
        assert_eq!((third.ruling, third.quota), (Ruling::QuotaExceeded, quota(0, 7)));
        // The clock is set back by an hour, and goes on.
        let back = decide(true, midnight - 3600);
        assert_eq!((back.ruling, back.quota), (Ruling::QuotaExceeded, quota(0, 3600)));
        let next = decide(true, midnight);
        assert_eq!((next.ruling, next.quota), (Ruling::Allowed, quota(1, midnight)));
        let back = decide(true, midnight - 1);
        assert_eq!((back.ruling, back.quota), (Ruling::Allowed, quota(0, midnight + 1)));
    }

    #[test]
    fn what_is_refused_uses_up_nothing() {
        let terms = Terms { rate: Gcra::new(60, 2), decodes_per_day: Some(3) };
        let mut used = Used::default();
        let mut decide = |seconds| terms.decide(&mut used, true, at(seconds));
        assert_eq!([decide(0).ruling, decide(0).ruling], [Ruling::Allowed; 2]);

        let refused = decide(0);
        assert_eq!(refused.ruling, Ruling::RateLimited);
        assert_eq!(refused.quota.map(|quota| quota.remaining), Some(1));
        assert_eq!(decide(1).ruling, Ruling::Allowed);
        let exceeded = decide(10);
        assert_eq!((exceeded.ruling, exceeded.rate.remaining), (Ruling::QuotaExceeded, 2));
        assert!(exceeded.rate.retry_after.is_zero());
    }

    #[test]
    fn replicas_share_and_none_has_nothing() {
        let terms = Terms { rate: Gcra::new(600, 100), decodes_per_day: Some(5) };
        let part = terms.divided_by(4);
        assert_eq!(part, Terms { rate: Gcra::new(150, 25), decodes_per_day: Some(1) });
        let least = terms.divided_by(1000);
        assert_eq!(least, Terms { rate: Gcra::new(1, 1), decodes_per_day: Some(1) });
        assert_eq!(terms.divided_by(0), terms);
    }
}
