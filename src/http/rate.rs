//! Rate limits and quotas, as callers are told of them (draft-ietf-httpapi-ratelimit-headers).

use crate::{
    failure::{Code, Failure},
    rate_limit::{CallerLimits, LimitDecision, LimitOutcome},
    telemetry::Allowance,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use std::time::Duration;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

const DAY: u64 = 24 * 60 * 60;

/// What someone is held to, for them.
pub(super) fn policy(limits: &CallerLimits) -> Bytes {
    // A longer window is a lower rate: rounded, it promises too little.
    let (burst, window) = (limits.rate.burst(), seconds(limits.rate.window()));
    let requests = format!("\"requests\";q={burst};w={window}");
    match limits.decodes_per_day {
        Some(decodes) => format!("{requests}, \"decodes\";q={decodes};w={DAY}").into(),
        None => requests.into(),
    }
}

/// What is left of it, and when there is more: where nothing is left, the time until the next
/// request may pass, which is also that of `Retry-After`; else the time until a whole burst may.
pub(super) fn allowance(policy: &Bytes, outcome: &LimitOutcome) -> Allowance {
    let LimitOutcome { rate, quota, .. } = outcome;
    let more_in = if rate.remaining == 0 { rate.retry_after } else { rate.full_in };
    Allowance {
        policy: policy.clone(),
        requests: (rate.remaining, more_in),
        decodes: quota.map(|quota| (quota.remaining, quota.renewed_in)),
    }
}

/// The no of a outcome, if it is one.
pub(super) fn refused(outcome: &LimitOutcome) -> Result<(), Failure> {
    let (code, detail, retry_after) = match outcome.decision {
        LimitDecision::Allowed => return Ok(()),
        LimitDecision::RateLimited => {
            let detail = "you have called more often than you may; the headers RateLimit-Policy \
                          and RateLimit say how often that is, and Retry-After when the next call \
                          passes";
            (Code::RateLimited, detail, outcome.rate.retry_after)
        }
        LimitDecision::QuotaExceeded => {
            let detail = "you have had all the decodes of this day (UTC); Retry-After says when \
                          the next one begins";
            let renewed_in = outcome.quota.map(|quota| quota.renewed_in).unwrap_or_default();
            (Code::QuotaExceeded, detail, renewed_in)
        }
    };
    Err(Failure { retry_after: Some(retry_after), ..Failure::new(code, detail) })
}

/// Writes the headers of the answer: within the next `t` seconds `r` more requests pass. After
/// that, as many pass as the policy says; where `r` is 0, at least one.
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

/// A duration in whole seconds, rounded up: who waits that long is not too early.
pub(super) fn seconds(duration: Duration) -> u64 {
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
    use crate::rate_limit::{Gcra, Now, Usage};
    use proptest::prelude::*;

    #[test]
    fn headers_round_to_the_safe_side() {
        let mut limits = CallerLimits { rate: Gcra::new(7, 3), decodes_per_day: None };
        let check =
            |limits: &CallerLimits, requests, decodes, policy_told: &str, limit_told: &str| {
                let mut headers = HeaderMap::new();
                tell(Allowance { policy: policy(limits), requests, decodes }, &mut headers);
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
        check(&limits, (u64::MAX, short), None, three, "\"requests\";r=18446744073709551615;t=2");
        check(&limits, (0, long), None, three, "\"requests\";r=0;t=10");
        limits.decodes_per_day = Some(1000);
        check(
            &limits,
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

    proptest! {
        /// However calls come, a refusal has the same seconds in `RateLimit` and `Retry-After`,
        /// and a call after exactly that many seconds passes; so does one after the last that
        /// was allowed.
        #[test]
        fn ratelimit_and_retry_after_agree_and_who_waits_that_long_is_not_refused(
            rate in 1u64..100_000,
            burst in 1u64..50,
            waits in proptest::collection::vec(prop_oneof![Just(0), 0u64..2_000_000_000], 1..200),
        ) {
            let limits = CallerLimits { rate: Gcra::new(rate, burst), decodes_per_day: None };
            let (mut used, mut nanoseconds) = (Usage::default(), 0);
            let policy = policy(&limits);
            for wait in waits {
                nanoseconds += wait;
                let now = Now { monotonic: nanoseconds, since_epoch: Duration::ZERO };
                let outcome = limits.decide(&mut used, false, now);
                let mut headers = HeaderMap::new();
                tell(allowance(&policy, &outcome), &mut headers);
                let limit = headers[LIMIT].to_str().unwrap();
                let Some(told) = limit.strip_prefix("\"requests\";r=0;t=") else { continue };
                let told: u64 = told.parse().unwrap();
                if let Err(Failure { retry_after, .. }) = refused(&outcome) {
                    prop_assert_eq!(retry_after.map(seconds), Some(told));
                }
                nanoseconds += told * 1_000_000_000;
                let now = Now { monotonic: nanoseconds, since_epoch: Duration::ZERO };
                prop_assert_eq!(limits.decide(&mut used, false, now).decision, LimitDecision::Allowed);
            }
        }
    }
}
