//! The generic cell rate algorithm: exactly a burst at once from rest, then one request
//! in each interval. All it remembers of a caller is one moment.

use std::time::Duration;

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    requests_per_minute: u64,
    /// Nanoseconds in which one request is earned back.
    interval: u64,
    burst: u64,
}

/// What became of a request, and what the caller may count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub is_allowed: bool,
    /// How many more may pass at this moment.
    pub remaining: u64,
    /// From then on a whole burst may pass, whatever happens until then within
    /// `remaining`.
    pub rest_in: Duration,
    /// When the next one may pass; zero where one may now.
    pub retry_after: Duration,
}

/// Nanoseconds in a minute.
const MINUTE: u64 = 60_000_000_000;
/// Nanoseconds in a microsecond.
const MICROSECOND: u64 = 1000;
/// No window is longer, some 142 years: added to the time since 1970 that is exact in a double
/// until 2112.
const LONGEST: u64 = MICROSECOND << 52;

impl Gcra {
    /// Neither may be 0; of what is, there is 1. The interval is one of whole microseconds, and a
    /// burst that takes longer than 142 years to earn back is cut to what is earned in them: so
    /// that who counts in doubles, as Valkey's scripts do, comes to the same.
    pub fn new(requests_per_minute: u64, burst: u64) -> Self {
        let requests_per_minute = requests_per_minute.max(1);
        // Rounded up: rather too few than one too many.
        let interval = MINUTE.div_ceil(requests_per_minute).next_multiple_of(MICROSECOND);
        Self { requests_per_minute, interval, burst: burst.clamp(1, LONGEST / interval) }
    }

    /// The part of it that each of so many has.
    pub(super) fn divided_by(&self, parts: u64) -> Self {
        Self::new(self.requests_per_minute / parts, self.burst / parts)
    }

    /// How many are earned back in a minute.
    pub fn requests_per_minute(&self) -> u64 {
        self.requests_per_minute
    }

    /// How long it takes to earn back one request.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How many may pass at once from rest.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// How long it takes to earn back a whole burst.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.most())
    }

    /// Decides about a request at `now`, in nanoseconds since whenever; `rest` is the
    /// moment when this caller is at rest, which the request moves.
    pub fn decide(&self, rest: &mut u64, now: u64) -> Decision {
        let seen = self.look(*rest, now);
        if !seen.is_allowed {
            return seen;
        }
        let debt = self.debt(*rest, now).saturating_add(self.interval);
        *rest = now.saturating_add(debt);
        Decision { is_allowed: true, ..self.after(debt) }
    }

    /// What would be decided, without a request.
    pub fn look(&self, rest: u64, now: u64) -> Decision {
        self.after(self.debt(rest, now))
    }

    /// What is owed at `now`: where the rate was another one before, no more than it allows.
    fn debt(&self, rest: u64, now: u64) -> u64 {
        rest.saturating_sub(now).min(self.most())
    }

    fn most(&self) -> u64 {
        self.interval.saturating_mul(self.burst)
    }

    fn after(&self, debt: u64) -> Decision {
        let wait = debt.saturating_add(self.interval).saturating_sub(self.most());
        Decision {
            is_allowed: wait == 0,
            remaining: self.most().saturating_sub(debt) / self.interval,
            rest_in: Duration::from_nanos(debt),
            retry_after: Duration::from_nanos(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of so many requests at one moment pass.
    fn pass(gcra: Gcra, rest: &mut u64, now: u64, requests: u64) -> u64 {
        (0..requests).filter(|_| gcra.decide(rest, now).is_allowed).count() as u64
    }

    #[test]
    fn exactly_a_burst_at_once_from_rest_then_one_in_each_interval() {
        let gcra = Gcra::new(60, 5);
        let mut rest = 0;

        assert_eq!(pass(gcra, &mut rest, SECOND, 100), 5);
        assert_eq!(pass(gcra, &mut rest, 2 * SECOND - 1, 100), 0);
        assert_eq!(pass(gcra, &mut rest, 2 * SECOND, 100), 1);
        assert_eq!(pass(gcra, &mut rest, 5 * SECOND, 100), 3);
        assert_eq!(pass(gcra, &mut rest, 1000 * SECOND, 100), 5);
    }

    #[test]
    fn the_decision_says_what_follows() {
        let gcra = Gcra::new(60, 3);
        let mut rest = 0;
        let decision = |is_allowed, remaining, rest_in, retry_after| Decision {
            is_allowed,
            remaining,
            rest_in: Duration::from_secs(rest_in),
            retry_after: Duration::from_secs(retry_after),
        };

        assert_eq!(gcra.decide(&mut rest, 0), decision(true, 2, 1, 0));
        assert_eq!(gcra.decide(&mut rest, 0), decision(true, 1, 2, 0));
        assert_eq!(gcra.decide(&mut rest, 0), decision(true, 0, 3, 1));
        assert_eq!(gcra.decide(&mut rest, 0), decision(false, 0, 3, 1));
        assert_eq!(gcra.decide(&mut rest, SECOND), decision(true, 0, 3, 1));
    }

    #[test]
    fn it_is_whole_microseconds_and_never_more_than_was_asked_for() {
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
    fn the_largest_numbers_are_no_danger() {
        let gcra = Gcra::new(1, u64::MAX);
        let mut rest = u64::MAX;
        assert!(gcra.decide(&mut rest, u64::MAX - 1).is_allowed);
        assert!(Gcra::new(u64::MAX, 1).decide(&mut 0, 0).is_allowed);
    }

    proptest! {
        /// Who sends what remains, and a burst once at rest, is never refused.
        #[test]
        fn who_obeys_is_never_refused(
            rate in 1u64..100_000,
            burst in 1u64..50,
            steps in proptest::collection::vec((0u64..3, 0u64..100), 1..60),
        ) {
            let gcra = Gcra::new(rate, burst);
            let (mut rest, mut now, mut may) = (0, 0, burst);
            for (how, share) in steps {
                let mut decision = None;
                for _ in 0..may * share / 100 {
                    let made = gcra.decide(&mut rest, now);
                    prop_assert!(made.is_allowed);
                    decision = Some(made);
                }
                let Some(decision) = decision else { continue };
                may = match how {
                    // On with what remains.
                    0 => decision.remaining,
                    // After a rest, with all of it.
                    1 => {
                        now += decision.rest_in.as_nanos() as u64;
                        burst
                    }
                    // When the next one may.
                    _ => {
                        now += decision.retry_after.as_nanos() as u64;
                        decision.remaining.max(1)
                    }
                };
            }
        }

        /// In any stretch of time there are at most a burst and what was earned in it.
        #[test]
        fn there_is_never_more_than_was_earned(
            rate in 1u64..100_000,
            burst in 1u64..50,
            gaps in proptest::collection::vec(0u64..SECOND, 1..200),
        ) {
            let gcra = Gcra::new(rate, burst);
            let (mut rest, mut now, mut allowed) = (0, 0, Vec::new());
            for gap in gaps {
                now += gap;
                if gcra.decide(&mut rest, now).is_allowed {
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
