//! Rate limits and quotas, as callers are told of them (draft-ietf-httpapi-ratelimit-headers).

use crate::{
    failure::{Code, Failure},
    limit::{Ruling, Terms, Verdict},
    telemetry::Allowance,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use std::time::Duration;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

const DAY: u64 = 24 * 60 * 60;

/// What someone is held to, for them.
pub(super) fn policy(terms: &Terms) -> Bytes {
    // A longer window is a lower rate: rounded, it promises too little.
    let (burst, window) = (terms.rate.burst(), seconds(terms.rate.window()));
    let requests = format!("\"requests\";q={burst};w={window}");
    match terms.decodes_per_day {
        Some(decodes) => format!("{requests}, \"decodes\";q={decodes};w={DAY}").into(),
        None => requests.into(),
    }
}

/// What is left of it.
pub(super) fn allowance(policy: &Bytes, verdict: &Verdict) -> Allowance {
    let Verdict { rate, quota, .. } = verdict;
    Allowance {
        policy: policy.clone(),
        requests: (rate.remaining, rate.rest_in),
        decodes: quota.map(|quota| (quota.remaining, quota.renewed_in)),
    }
}

/// The no of a verdict, if it is one.
pub(super) fn refused(verdict: &Verdict) -> Result<(), Failure> {
    let (code, detail, retry_after) = match verdict.ruling {
        Ruling::Allowed => return Ok(()),
        Ruling::RateLimited => {
            let detail = "you have called more often than you may; the headers RateLimit-Policy \
                          and RateLimit say how often that is, and Retry-After when the next call \
                          passes";
            (Code::RateLimited, detail, verdict.rate.retry_after)
        }
        Ruling::QuotaExceeded => {
            let detail = "you have had all the decodes of this day (UTC); Retry-After says when \
                          the next one begins";
            let renewed_in = verdict.quota.map(|quota| quota.renewed_in).unwrap_or_default();
            (Code::QuotaExceeded, detail, renewed_in)
        }
    };
    Err(Failure { retry_after: Some(retry_after), ..Failure::new(code, detail) })
}

/// Says so in the headers of the answer: within the next `t` seconds `r` more pass; after that,
/// as many as the policy says.
pub(super) fn tell(allowance: Allowance, headers: &mut HeaderMap) {
    let Allowance { policy, requests, decodes } = allowance;
    if let Ok(policy) = HeaderValue::from_maybe_shared(policy) {
        headers.insert(POLICY, policy);
    }
    let mut limit = FromBehind::default();
    if let Some(left) = decodes {
        limit.left(b"\"decodes\";r=", left);
        limit.bytes(b", ");
    }
    limit.left(b"\"requests\";r=", requests);
    if let Ok(limit) = HeaderValue::from_bytes(limit.written()) {
        headers.insert(LIMIT, limit);
    }
}

/// In whole seconds, rather later than too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// A short line that is written from its end. Every answer has one, and formatting would
/// cost a multiple.
struct FromBehind {
    line: [u8; LONGEST],
    begin: usize,
}

/// Both parts, with the largest numbers.
const LONGEST: usize = 128;

impl Default for FromBehind {
    fn default() -> Self {
        Self { line: [0; LONGEST], begin: LONGEST }
    }
}

impl FromBehind {
    fn left(&mut self, name: &[u8], (remaining, renewed_in): (u64, Duration)) {
        self.number(seconds(renewed_in));
        self.bytes(b";t=");
        self.number(remaining);
        self.bytes(name);
    }

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
    use crate::limit::Gcra;

    #[test]
    fn headers_round_to_the_safe_side() {
        let mut terms = Terms { rate: Gcra::new(7, 3), decodes_per_day: None };
        let check = |terms: &Terms, requests, decodes, policy_told: &str, limit_told: &str| {
            let mut headers = HeaderMap::new();
            tell(Allowance { policy: policy(terms), requests, decodes }, &mut headers);
            assert_eq!(
                (&headers[POLICY], &headers[LIMIT]),
                (
                    &HeaderValue::from_str(policy_told).unwrap(),
                    &HeaderValue::from_str(limit_told).unwrap()
                )
            );
        };
        let (short, long) = (Duration::from_millis(1001), Duration::from_secs(10));

        // Three in 25.7 seconds.
        let three = "\"requests\";q=3;w=26";
        check(&terms, (u64::MAX, short), None, three, "\"requests\";r=18446744073709551615;t=2");
        check(&terms, (0, long), None, three, "\"requests\";r=0;t=10");
        terms.decodes_per_day = Some(1000);
        check(
            &terms,
            (1, short),
            Some((999, Duration::from_millis(86_399_001))),
            "\"requests\";q=3;w=26, \"decodes\";q=1000;w=86400",
            "\"requests\";r=1;t=2, \"decodes\";r=999;t=86400",
        );
        let most = (u64::MAX, Duration::MAX);
        tell(
            Allowance { policy: Bytes::new(), requests: most, decodes: Some(most) },
            &mut HeaderMap::new(),
        );
    }
}
