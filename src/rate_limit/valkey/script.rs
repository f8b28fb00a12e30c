//! The script that the server runs for each decision, and what its answer means.
//!
//! The server runs the script as a whole, so two replicas never use the same part of a burst. The
//! script returns only the debt of a caller; [`Gcra`] turns it into an outcome, as it does with
//! counts in memory.

use super::super::{CallerLimits, Gcra, LimitDecision, LimitOutcome, Now, QuotaLeft, RateOutcome};
use redis::{RedisResult, Script, aio::MultiplexedConnection};
use std::time::Duration;

/// The commands that are sent to the server.
pub(super) struct Commands {
    decide: Script,
}

/// LimitDecision, debt, day, decodes and time, as `decide.lua` returns them.
type Answer = (u64, u64, u64, u64, u64);

/// Doubles count exactly up to here.
const COUNTABLE: u64 = 1 << 53;

impl Commands {
    pub(super) fn new() -> Self {
        Self { decide: Script::new(include_str!("decide.lua")) }
    }

    /// Loads the script, so that a decision is one round trip.
    pub(super) async fn load(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        self.decide.load_async(connection).await.map(drop)
    }

    /// Makes a decision that is forgotten at once, to test that the server can write.
    pub(super) async fn rehearse(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let limits = CallerLimits { rate: Gcra::new(u64::MAX, 1), decodes_per_day: None };
        self.decide(connection, "", &limits, false).await.map(drop)
    }

    /// Makes a decision. If the server has forgotten the script, it is loaded again.
    pub(super) async fn decide(
        &self,
        connection: &mut MultiplexedConnection,
        count: &str,
        limits: &CallerLimits,
        is_decode: bool,
    ) -> RedisResult<LimitOutcome> {
        let rate = limits.rate;
        let quota = limits.decodes_per_day.map(|most| most.min(COUNTABLE).to_string());
        let mut asked = self.decide.key(key(count));
        asked.arg(microseconds(rate.interval())).arg(microseconds(rate.window()));
        asked.arg(quota.unwrap_or_default()).arg(u8::from(is_decode));
        let answer = asked.invoke_async(connection).await?;
        Ok(outcome(answer, rate, limits.decodes_per_day))
    }

    /// Reads how many decodes each caller has used today.
    pub(super) async fn decodes_today(
        &self,
        connection: &mut MultiplexedConnection,
        counts: &[&str],
    ) -> RedisResult<Vec<u64>> {
        let mut asked = redis::pipe();
        asked.cmd("TIME");
        for count in counts {
            asked.cmd("HMGET").arg(key(count)).arg("day").arg("decodes");
        }
        let answers: Vec<Vec<Option<u64>>> = asked.query_async(connection).await?;
        let number = |answer: &[Option<u64>], at: usize| answer.get(at).copied().flatten();
        let mut answers = answers.iter();
        let now = answers.next().and_then(|time| number(time, 0)).unwrap_or_default();
        let today = Now { monotonic: 0, since_epoch: Duration::from_secs(now) }.day();
        let used = |answer: &Vec<Option<u64>>| match number(answer, 0) {
            Some(day) if day >= today => number(answer, 1).unwrap_or_default(),
            _ => 0,
        };
        Ok(answers.map(used).collect())
    }
}

/// The key of a caller. The braces keep all of its data on one server of a cluster.
fn key(count: &str) -> String {
    format!("blueprint-decoder:{{{count}}}")
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn outcome(answer: Answer, rate: Gcra, decodes_per_day: Option<u64>) -> LimitOutcome {
    let (decision, debt, day, decodes, now) = answer;
    let decision = match decision {
        0 => LimitDecision::Allowed,
        1 => LimitDecision::RateLimited,
        _ => LimitDecision::QuotaExceeded,
    };
    let seen = rate.look(debt.saturating_mul(1000), 0);
    let is_allowed = decision == LimitDecision::Allowed || seen.is_allowed;
    let now = Now { monotonic: 0, since_epoch: Duration::from_micros(now) };
    let quota = decodes_per_day.map(|most| QuotaLeft {
        remaining: most.saturating_sub(decodes),
        renewed_in: now.until_after(day),
    });
    LimitOutcome { decision, rate: RateOutcome { is_allowed, ..seen }, quota }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const DAY: u64 = 86_400;

    #[test]
    fn a_debt_becomes_an_outcome() {
        let rate = Gcra::new(60, 3);
        let now = 2 * DAY * SECOND + SECOND / 2;
        let check = |(decision, debt), expected: (LimitDecision, bool, u64, u64, u64)| {
            let made = outcome((decision, debt * SECOND, 2, 4, now), rate, Some(6));
            let (allowed, retry) = (made.rate.is_allowed, made.rate.retry_after.as_secs());
            let (remaining, rest) = (made.rate.remaining, made.rate.full_in.as_secs());
            assert_eq!((made.decision, allowed, remaining, rest, retry), expected);
            let renewed_in = Duration::from_millis(DAY * 1000 - 500);
            assert_eq!(made.quota, Some(QuotaLeft { remaining: 2, renewed_in }));
        };
        check((0, 1), (LimitDecision::Allowed, true, 2, 1, 0));
        check((0, 3), (LimitDecision::Allowed, true, 0, 3, 1));
        check((1, 3), (LimitDecision::RateLimited, false, 0, 3, 1));
        check((2, 0), (LimitDecision::QuotaExceeded, true, 3, 0, 0));
        check((2, 3), (LimitDecision::QuotaExceeded, false, 0, 3, 1));
    }

    #[test]
    fn all_numbers_fit_a_double() {
        let years = |count: u64| count * 365 * DAY * SECOND;
        let check = |rate, burst, expected| {
            let gcra = Gcra::new(rate, burst);
            assert_eq!(gcra.burst(), expected, "{rate} {burst}");
            let most = microseconds(gcra.window()) + microseconds(gcra.interval());
            assert!(most + years(2100 - 1970) < COUNTABLE, "{rate} {burst}");
        };
        check(1, 75_000_000, 75_000_000);
        check(1, 1_000_000_000, 75_059_993);
        check(1_000_000_000, 1_000_000_000, 1_000_000_000);
        check(60, 1_000_000_000, 1_000_000_000);
        check(1, u64::MAX, 75_059_993);
    }

    #[test]
    fn absurd_answers_are_harmless() {
        let most = u64::MAX;
        let made = outcome((most, most, most, most, most), Gcra::new(1, 1), Some(1));
        assert_eq!(made.decision, LimitDecision::QuotaExceeded);
        assert_eq!(made.quota.map(|quota| quota.remaining), Some(0));
    }
}
