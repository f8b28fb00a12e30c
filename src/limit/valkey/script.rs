//! What is asked of the server, and what its answers mean.
//!
//! A decision is one script that the server runs as a whole, so that no two replicas let
//! the same request through. It never computes what callers are told: it says what is owed,
//! and [`Gcra`] makes of that what it makes of it in memory.

use super::super::{Decision, Gcra, Now, Quota, Ruling, Terms, Verdict};
use redis::{RedisResult, Script, aio::MultiplexedConnection};
use std::time::Duration;

/// The questions.
pub(super) struct Questions {
    decide: Script,
}

/// Ruling, debt, day, decodes and time, as `decide.lua` returns them.
type Answer = (u64, u64, u64, u64, u64);

/// Up to here doubles count every decode.
const COUNTABLE: u64 = 1 << 53;

impl Questions {
    pub(super) fn new() -> Self {
        Self { decide: Script::new(include_str!("decide.lua")) }
    }

    /// Sees to it that a decision is one round trip.
    pub(super) async fn load(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        self.decide.load_async(connection).await.map(drop)
    }

    /// Asks for a decision about nobody, which writes and is forgotten at once.
    pub(super) async fn rehearse(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let terms = Terms { rate: Gcra::new(u64::MAX, 1), decodes_per_day: None };
        self.decide(connection, "", &terms, false).await.map(drop)
    }

    /// Asks for a decision; where the server has forgotten the script, it is loaded again.
    pub(super) async fn decide(
        &self,
        connection: &mut MultiplexedConnection,
        count: &str,
        terms: &Terms,
        is_decode: bool,
    ) -> RedisResult<Verdict> {
        let rate = terms.rate;
        let quota = terms.decodes_per_day.map(|most| most.min(COUNTABLE).to_string());
        let mut asked = self.decide.key(key(count));
        asked.arg(microseconds(rate.interval())).arg(microseconds(rate.window()));
        asked.arg(quota.unwrap_or_default()).arg(u8::from(is_decode));
        let answer = asked.invoke_async(connection).await?;
        Ok(verdict(answer, rate, terms.decodes_per_day))
    }

    /// Asks what each has used of the decodes of this day.
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

/// Where the server keeps what is counted under this name; all of it in one place, where
/// there are several servers.
fn key(count: &str) -> String {
    format!("blueprint-decoder:{{{count}}}")
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn verdict(answer: Answer, rate: Gcra, decodes_per_day: Option<u64>) -> Verdict {
    let (ruling, debt, day, decodes, now) = answer;
    let ruling = match ruling {
        0 => Ruling::Allowed,
        1 => Ruling::RateLimited,
        _ => Ruling::QuotaExceeded,
    };
    let seen = rate.look(debt.saturating_mul(1000), 0);
    let is_allowed = ruling == Ruling::Allowed || seen.is_allowed;
    let now = Now { monotonic: 0, since_epoch: Duration::from_micros(now) };
    let quota = decodes_per_day.map(|most| Quota {
        remaining: most.saturating_sub(decodes),
        renewed_in: now.until_after(day),
    });
    Verdict { ruling, rate: Decision { is_allowed, ..seen }, quota }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const DAY: u64 = 86_400;

    #[test]
    fn what_is_owed_becomes_what_a_caller_is_told() {
        let rate = Gcra::new(60, 3);
        let now = 2 * DAY * SECOND + SECOND / 2;
        let check = |(ruling, debt), expected: (Ruling, bool, u64, u64, u64)| {
            let made = verdict((ruling, debt * SECOND, 2, 4, now), rate, Some(6));
            let (allowed, retry) = (made.rate.is_allowed, made.rate.retry_after.as_secs());
            let (remaining, rest) = (made.rate.remaining, made.rate.rest_in.as_secs());
            assert_eq!((made.ruling, allowed, remaining, rest, retry), expected);
            let renewed_in = Duration::from_millis(DAY * 1000 - 500);
            assert_eq!(made.quota, Some(Quota { remaining: 2, renewed_in }));
        };
        check((0, 1), (Ruling::Allowed, true, 2, 1, 0));
        check((0, 3), (Ruling::Allowed, true, 0, 3, 1));
        check((1, 3), (Ruling::RateLimited, false, 0, 3, 1));
        check((2, 0), (Ruling::QuotaExceeded, true, 3, 0, 0));
        check((2, 3), (Ruling::QuotaExceeded, false, 0, 3, 1));
    }

    #[test]
    fn no_number_of_ours_is_too_large_for_a_double() {
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
    fn answers_that_make_no_sense_are_no_danger() {
        let most = u64::MAX;
        let made = verdict((most, most, most, most, most), Gcra::new(1, 1), Some(1));
        assert_eq!(made.ruling, Ruling::QuotaExceeded);
        assert_eq!(made.quota.map(|quota| quota.remaining), Some(0));
    }
}
