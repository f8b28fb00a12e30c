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
        let mut limit = Vec::with_capacity(64);
        limit.extend_from_slice(b"\"requests\";r=");
        write_number(remaining, &mut limit);
        limit.extend_from_slice(b";t=");
        write_number(seconds(renewed_in), &mut limit);
        if let Ok(limit) = HeaderValue::from_bytes(&limit) {
            headers.insert(LIMIT, limit);
        }
    }
}

/// In whole seconds, rather later than too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// In decimal digits. Every answer has two of these, and formatting costs a multiple.
fn write_number(mut number: u64, to: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] += (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[from..]);
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
