//! The generic cell rate algorithm (GCRA).
//!
//! A caller that has been idle may send a whole burst at once, then one request per interval. One
//! moment per caller is all that must be remembered: when its whole burst is available again.

use std::time::Duration;

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    requests_per_minute: u64,
    /// Nanoseconds until one more request is allowed.
    interval: u64,
    burst: u64,
}

/// The decision of a rate about a request, and what its caller has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateOutcome {
    /// Whether the request may pass.
    pub is_allowed: bool,
    /// How many more requests may pass at this moment.
    pub remaining: u64,
    /// How long until a whole burst may pass again, if no more than `remaining` pass until then.
    pub full_in: Duration,
    /// How long until the next request may pass; zero if one may pass now.
    pub retry_after: Duration,
}

/// Nanoseconds in a minute.
const MINUTE: u64 = 60_000_000_000;
/// Nanoseconds in a microsecond.
const MICROSECOND: u64 = 1000;
/// The longest window, about 142 years. Added to the time since 1970, it is exact in a double until
/// the year 2112.
const LONGEST: u64 = MICROSECOND << 52;

impl Gcra {
    /// A rate; 0 counts as 1.
    ///
    /// The interval is rounded up to whole microseconds, and a burst is cut to what is available
    /// again after 142 years. So scripts in Valkey, which count in doubles, get the same results.
    pub fn new(requests_per_minute: u64, burst: u64) -> Self {
        let requests_per_minute = requests_per_minute.max(1);
        // Rounded up, so that never one too many passes.
        let interval = MINUTE.div_ceil(requests_per_minute).next_multiple_of(MICROSECOND);
        Self { requests_per_minute, interval, burst: burst.clamp(1, LONGEST / interval) }
    }

    /// The share of one replica when that many count separately.
    pub(super) fn divided_by(&self, parts: u64) -> Self {
        Self::new(self.requests_per_minute / parts, self.burst / parts)
    }

    /// How many requests per minute are allowed on average.
    pub fn requests_per_minute(&self) -> u64 {
        self.requests_per_minute
    }

    /// How long until one more request is allowed.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How many requests may pass at once after an idle time.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// How long until a used burst is available again.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.most())
    }

    /// Decides about a request at `now`, in nanoseconds of a monotonic clock. An allowed request
    /// moves `full_at`, the moment when its caller has a whole burst again.
    pub fn decide(&self, full_at: &mut u64, now: u64) -> RateOutcome {
        let seen = self.look(*full_at, now);
        if !seen.is_allowed {
            return seen;
        }
        let debt = self.debt(*full_at, now).saturating_add(self.interval);
        *full_at = now.saturating_add(debt);
        RateOutcome { is_allowed: true, ..self.after(debt) }
    }

    /// What would be decided now, without counting a request.
    pub fn look(&self, full_at: u64, now: u64) -> RateOutcome {
        self.after(self.debt(full_at, now))
    }

    /// The time until the burst is whole again. If the rate has changed, it is cut to the window.
    fn debt(&self, full_at: u64, now: u64) -> u64 {
        full_at.saturating_sub(now).min(self.most())
    }

    fn most(&self) -> u64 {
        self.interval.saturating_mul(self.burst)
    }

    fn after(&self, debt: u64) -> RateOutcome {
        let wait = debt.saturating_add(self.interval).saturating_sub(self.most());
        RateOutcome {
            is_allowed: wait == 0,
            remaining: self.most().saturating_sub(debt) / self.interval,
            full_in: Duration::from_nanos(debt),
            retry_after: Duration::from_nanos(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of that many requests pass at one moment.
    fn pass(gcra: Gcra, full_at: &mut u64, now: u64, requests: u64) -> u64 {
        (0..requests).filter(|_| gcra.decide(full_at, now).is_allowed).count() as u64
    }

    #[test]
    fn a_burst_passes_at_once_after_idling_then_one_request_per_interval() {
        let gcra = Gcra::new(60, 5);
        let mut full_at = 0;

        assert_eq!(pass(gcra, &mut full_at, SECOND, 100), 5);
        assert_eq!(pass(gcra, &mut full_at, 2 * SECOND - 1, 100), 0);
        assert_eq!(pass(gcra, &mut full_at, 2 * SECOND, 100), 1);
        assert_eq!(pass(gcra, &mut full_at, 5 * SECOND, 100), 3);
        assert_eq!(pass(gcra, &mut full_at, 1000 * SECOND, 100), 5);
    }

    #[test]
    fn the_outcome_tells_what_is_left() {
        let gcra = Gcra::new(60, 3);
        let mut full_at = 0;
        let decision = |is_allowed, remaining, full_in, retry_after| RateOutcome {
            is_allowed,
            remaining,
            full_in: Duration::from_secs(full_in),
            retry_after: Duration::from_secs(retry_after),
        };

        assert_eq!(gcra.decide(&mut full_at, 0), decision(true, 2, 1, 0));
        assert_eq!(gcra.decide(&mut full_at, 0), decision(true, 1, 2, 0));
        assert_eq!(gcra.decide(&mut full_at, 0), decision(true, 0, 3, 1));
        assert_eq!(gcra.decide(&mut full_at, 0), decision(false, 0, 3, 1));
        assert_eq!(gcra.decide(&mut full_at, SECOND), decision(true, 0, 3, 1));
    }

    #[test]
    fn the_interval_is_whole_microseconds_and_never_too_short() {
        let check = |rate, burst, expected: (u64, u64)| {
            let gcra = Gcra::new(rate, burst);
            assert_eq!((gcra.interval, gcra.burst()), expected, "{rate} {burst}");
        };
        check(600, 100, (SECOND / 10, 100));
        check(7, 3, (8_571_429_000, 3));
        check(64_000, 6400, (938_000, 6400));
        check(1_000_000_000, 5, (1000, 5));
        check(1, 75_059_993, (60 * SECOND, 75_059_993));
        check(1, 75_059_994, (60 * SECOND, 75_059_993));
        check(1, u64::MAX, (60 * SECOND, 75_059_993));
        check(0, 0, (60 * SECOND, 1));
    }

    #[test]
    fn extreme_numbers_do_not_overflow() {
        let gcra = Gcra::new(1, u64::MAX);
        let mut full_at = u64::MAX;
        assert!(gcra.decide(&mut full_at, u64::MAX - 1).is_allowed);
        assert!(Gcra::new(u64::MAX, 1).decide(&mut 0, 0).is_allowed);
    }

    proptest! {
        /// A caller that sends no more than `remaining`, or a burst after `full_in`, is never refused.
        #[test]
        fn a_caller_that_obeys_is_never_refused(
            rate in 1u64..100_000,
            burst in 1u64..50,
            steps in proptest::collection::vec((0u64..3, 0u64..100), 1..60),
        ) {
            let gcra = Gcra::new(rate, burst);
            let (mut full_at, mut now, mut may) = (0, 0, burst);
            for (how, share) in steps {
                let mut decision = None;
                for _ in 0..may * share / 100 {
                    let made = gcra.decide(&mut full_at, now);
                    prop_assert!(made.is_allowed);
                    decision = Some(made);
                }
                let Some(decision) = decision else { continue };
                may = match how {
                    // Goes on with what remains.
                    0 => decision.remaining,
                    // Waits, and then has a whole burst.
                    1 => {
                        now += decision.full_in.as_nanos() as u64;
                        burst
                    }
                    // Waits until the next one may pass.
                    _ => {
                        now += decision.retry_after.as_nanos() as u64;
                        decision.remaining.max(1)
                    }
                };
            }
        }

        /// In any span of time, at most a burst and one request per interval pass.
        #[test]
        fn no_span_of_time_lets_more_pass_than_allowed(
            rate in 1u64..100_000,
            burst in 1u64..50,
            gaps in proptest::collection::vec(0u64..SECOND, 1..200),
        ) {
            let gcra = Gcra::new(rate, burst);
            let (mut full_at, mut now, mut allowed) = (0, 0, Vec::new());
            for gap in gaps {
                now += gap;
                if gcra.decide(&mut full_at, now).is_allowed {
                    allowed.push(now);
                }
            }
            for (first, from) in allowed.iter().enumerate() {
                for (last, to) in allowed.iter().enumerate().skip(first) {
                    let earned = (to - from) / MINUTE.div_ceil(rate);
                    prop_assert!((last - first) as u64 <= burst - 1 + earned);
                }
            }
        }
    }
}
