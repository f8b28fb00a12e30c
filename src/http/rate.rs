//! The rate limit: who calls too often is told when to come back, and everybody how often
//! they may call.

use crate::{
    failure::{Code, Failure},
    limit::{Caller, Gcra, RateLimiter},
    telemetry::{Allowance, Metrics, Record},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// A rate that every caller is held to.
pub struct Rate {
    limiter: RateLimiter,
    /// What it is, for who is held to it.
    policy: HeaderValue,
}

impl Rate {
    /// A rate from rest for everyone.
    pub fn new(gcra: Gcra) -> Self {
        // A longer window is a lower rate: rounded, it promises too little.
        let (burst, window) = (gcra.burst(), seconds(gcra.window()));
        let policy = format!("\"requests\";q={burst};w={window}");
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(""));
        Self { limiter: RateLimiter::new(gcra), policy }
    }

    /// Lets a request pass or not, and notes on its record what is left.
    pub(super) fn check(&self, record: &Record, metrics: &Metrics) -> Result<(), Failure> {
        let caller = Caller::from(record.head().client);
        let decision = self.limiter.decide(caller, record.began());
        let allowance = Allowance { remaining: decision.remaining, renewed_in: decision.rest_in };
        record.trail.steps().allowance = Some(allowance);
        if decision.is_allowed {
            metrics.rate_allowed.inc();
            return Ok(());
        }
        metrics.rate_limited.inc();
        let detail = "you have called more often than you may; the headers RateLimit-Policy and \
                      RateLimit say how often that is, and Retry-After when the next call passes";
        let failure = Failure::new(Code::RateLimited, detail);
        Err(Failure { retry_after: Some(decision.retry_after), ..failure })
    }

    /// Says so in the headers of the answer (draft-ietf-httpapi-ratelimit-headers): within
    /// the next `t` seconds `r` more requests pass; after that, as many as the policy says.
    pub(super) fn tell(&self, allowance: Allowance, headers: &mut HeaderMap) {
        let Allowance { remaining, renewed_in } = allowance;
        headers.insert(POLICY, self.policy.clone());
        let mut limit = FromBehind::default();
        limit.number(seconds(renewed_in));
        limit.bytes(b";t=");
        limit.number(remaining);
        limit.bytes(b"\"requests\";r=");
        if let Ok(limit) = HeaderValue::from_bytes(limit.written()) {
            headers.insert(LIMIT, limit);
        }
    }
}

/// In whole seconds, rather later than too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A short line that is written from its end. Every answer has one, and formatting would
/// cost a multiple.
struct FromBehind {
    line: [u8; 64],
    begin: usize,
}

impl Default for FromBehind {
    fn default() -> Self {
        Self { line: [0; 64], begin: 64 }
    }
}

impl FromBehind {
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.begin;
        self.begin -= bytes.len();
        self.line[self.begin..end].copy_from_slice(bytes);
    }

    fn number(&mut self, mut number: u64) {
        loop {
            self.begin -= 1;
            self.line[self.begin] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
    }

    fn written(&self) -> &[u8] {
        &self.line[self.begin..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_to_the_safe_side() {
        let rate = Rate::new(Gcra::new(7, 3));
        let mut headers = HeaderMap::new();
        let renewed_in = Duration::from_millis(1001);

        rate.tell(Allowance { remaining: u64::MAX, renewed_in }, &mut headers);

        // Three in 25.7 seconds.
        assert_eq!(headers[POLICY], "\"requests\";q=3;w=26");
        assert_eq!(headers[LIMIT], "\"requests\";r=18446744073709551615;t=2");
        rate.tell(Allowance { remaining: 0, renewed_in: Duration::from_secs(10) }, &mut headers);
        assert_eq!(headers[LIMIT], "\"requests\";r=0;t=10");
    }
}
