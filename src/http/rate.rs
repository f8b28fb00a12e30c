//! The rate limit: who calls too often is told when to come back, and everybody how often
//! they may call.

use super::{Gates, Refusal};
use crate::{
    failure::{Code, Failure},
    limit::{Caller, Decision, Gcra, RateLimiter},
    telemetry::Record,
};
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tower::{Layer, Service};

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

    /// The headers of RFC-to-be "RateLimit header fields for HTTP": within the next `t`
    /// seconds, `r` more requests pass; then, as many as the policy says.
    fn tell(&self, response: &mut Response, decision: Decision) {
        let Decision { remaining, rest_in, .. } = decision;
        let limit = format!("\"requests\";r={remaining};t={}", seconds(rest_in));
        let headers = response.headers_mut();
        headers.insert(POLICY, self.policy.clone());
        if let Ok(limit) = HeaderValue::try_from(limit) {
            headers.insert(LIMIT, limit);
        }
    }
}

/// In whole seconds, rather later than too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Holds requests to the rate of the gates, where there is one.
#[derive(Clone)]
pub(super) struct Limiting(pub(super) Arc<Gates>);

/// A service that is called no more often than that.
#[derive(Clone)]
pub(super) struct Limited<S> {
    inner: S,
    gates: Arc<Gates>,
}

impl<S> Layer<S> for Limiting {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, gates: Arc::clone(&self.0) }
    }
}

impl<S> Service<Request> for Limited<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = LimitedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let head = request.extensions().get::<Arc<Record>>().map(|record| record.head());
        // Probes and scrapes are never limited.
        let client = head.filter(|head| !head.is_probe).map(|head| head.client);
        let (Some(rate), Some(client)) = (&self.gates.rate, client) else {
            return LimitedFuture::Passed { future: self.inner.call(request), told: None };
        };
        let decision = rate.limiter.decide(Caller::from(client), Instant::now());
        if !decision.is_allowed {
            self.gates.metrics.rate_limited.inc();
            let mut response = Refusal(too_often(decision)).into_response();
            rate.tell(&mut response, decision);
            return LimitedFuture::Refused { response: Some(response) };
        }
        self.gates.metrics.rate_allowed.inc();
        let told = Some((Arc::clone(&self.gates), decision));
        LimitedFuture::Passed { future: self.inner.call(request), told }
    }
}

fn too_often(decision: Decision) -> Failure {
    let detail = "you have called more often than you may; the headers RateLimit-Policy and \
                  RateLimit say how often that is, and Retry-After when the next call passes";
    Failure { retry_after: Some(decision.retry_after), ..Failure::new(Code::RateLimited, detail) }
}

pin_project! {
    /// A request that passed, or the answer to one that did not.
    #[project = LimitedProjected]
    pub(super) enum LimitedFuture<F> {
        Passed { #[pin] future: F, told: Option<(Arc<Gates>, Decision)> },
        Refused { response: Option<Response> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for LimitedFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            LimitedProjected::Refused { response } => {
                Poll::Ready(Ok(response.take().unwrap_or_default()))
            }
            LimitedProjected::Passed { future, told } => {
                let Ok(mut response) = ready!(future.poll(context));
                if let Some((gates, decision)) = told.take()
                    && let Some(rate) = &gates.rate
                {
                    rate.tell(&mut response, decision);
                }
                Poll::Ready(Ok(response))
            }
        }
    }
}
