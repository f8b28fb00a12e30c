//! The layer with the checks before a handler: deadline, requests in flight, host, authentication, rate
//! limit, body limit.
//!
//! Nearly always they are decided at once; then nothing is boxed and nothing waits. Only a request that
//! needs the shared store of limits, or newer keys of the issuer, waits in a boxed future.

use super::{
    Readiness, Refusal,
    authenticator::{Admitted, Authenticator, Proof},
    body::{BodyKind, declared_length, too_large},
    host::{self, AllowedHosts},
    routes::Route,
    unread,
};
use crate::{
    decode::Deadline,
    failure::{Code, Failure, Fault},
    identity::{Action, Proxies},
    telemetry::{AccessRecord, Head, Metrics, RecentFailures},
};
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Uri},
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout_at;
use tower::{Layer, Service};

/// What the layers need.
pub struct Gates {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The last failures.
    pub recent: Arc<RecentFailures>,
    /// Whether the service accepts requests. If not, each response closes its connection.
    pub readiness: Arc<Readiness>,
    /// The trusted proxies.
    pub proxies: Proxies,
    /// The accepted hosts.
    pub hosts: AllowedHosts,
    /// Authentication and rate limits.
    pub authenticator: Arc<Authenticator>,
    /// Whether the listener is on loopback.
    pub is_local: bool,
    /// The time from the head of a request to the last byte of its response.
    pub request_timeout: Duration,
    /// Requests at a time.
    pub max_in_flight: u64,
    /// The size of a request in JSON.
    pub max_request_bytes: u64,
}

/// The layer of [`Gated`].
#[derive(Clone)]
pub(super) struct Gating(pub(super) Arc<Gates>);

/// A service behind the checks.
#[derive(Clone)]
pub(super) struct Gated<S> {
    inner: S,
    gates: Arc<Gates>,
}

impl<S> Layer<S> for Gating {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gates: Arc::clone(&self.0) }
    }
}

impl<S> Service<Request> for Gated<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = GatedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(record) = request.extensions().get::<Arc<AccessRecord>>().cloned() else {
            let failure = Failure::internal("a request without a record");
            return GatedFuture::Answered { response: Some(refused(request, failure)) };
        };
        let gates = &self.gates;
        // In this order. A refused request does not reach the next check.
        let checked = Ok(())
            // The deadline: set before anything can wait. Whatever waits enforces it, because it
            // knows what took so long.
            .and_then(|()| set_deadline(gates, &record, &mut request))
            // Requests in flight: the cheapest refusal, before any work.
            .and_then(|()| cap_in_flight(gates, &record))
            // Host and site: refused before a body is read.
            .and_then(|()| host::check(&gates.hosts, &gates.metrics, &request))
            // Authentication and rate limit: after the checks that are cheaper and concern all.
            .and_then(|()| gates.admit(&record, &mut request));
        match checked {
            // The body limit: a body that declares that it is too large is not read. Any other is
            // cut where it is read.
            Ok(true) => match limit_body(gates, &record, &request) {
                Ok(()) => GatedFuture::Through { future: self.inner.call(request) },
                Err(failure) => GatedFuture::Answered { response: Some(refused(request, failure)) },
            },
            Ok(false) => {
                let later = later(self.inner.clone(), Arc::clone(gates), record, request);
                GatedFuture::Waiting { future: Box::pin(later) }
            }
            Err(failure) => GatedFuture::Answered { response: Some(refused(request, failure)) },
        }
    }
}

/// The remaining checks of a request that has to wait for the issuer or the shared store.
async fn later<S>(
    mut inner: S,
    gates: Arc<Gates>,
    record: Arc<AccessRecord>,
    mut request: Request,
) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let deadline = request.extensions().get::<Deadline>().copied();
    let admitting = gates.admit_later(&record, &mut request);
    let admitted = match deadline {
        Some(deadline) => match timeout_at(deadline.at.into(), admitting).await {
            Ok(admitted) => admitted,
            Err(_) => Err(deadline.passed(&record.trail)),
        },
        None => admitting.await,
    };
    match admitted.and_then(|()| limit_body(&gates, &record, &request)) {
        Ok(()) => inner.call(request).await,
        Err(failure) => Ok(refused(request, failure)),
    }
}

fn refused(mut request: Request, failure: Failure) -> Response {
    let mut response = Refusal(failure).into_response();
    let body = std::mem::take(request.body_mut());
    unread::keep(request.headers(), body, &mut response);
    response
}

impl Gates {
    /// Authentication, authorisation and rate limit. False if they cannot be decided at once.
    pub(super) fn admit(
        &self,
        record: &AccessRecord,
        request: &mut Request,
    ) -> Result<bool, Failure> {
        let head = record.head();
        if head.is_probe {
            return Ok(true);
        }
        let admitted = match needed(head) {
            None => self.authenticator.anyone(head.client),
            Some(_) => match self.authenticator.authenticated(request.headers(), record) {
                Proof::Valid(admitted) => admitted,
                Proof::Invalid(failure) => return Err(failure),
                Proof::Awaited => return Ok(false),
            },
        };
        self.check_may(&admitted, record)?;
        let limited = self.limited(&admitted, record);
        request.extensions_mut().insert(admitted);
        limited.transpose().map(|limited| limited.is_some())
    }

    /// The same, for a request that has to wait.
    pub(super) async fn admit_later(
        &self,
        record: &AccessRecord,
        request: &mut Request,
    ) -> Result<(), Failure> {
        let admitted = match request.extensions_mut().remove::<Admitted>() {
            Some(admitted) => admitted,
            None => {
                let later =
                    self.authenticator.authenticated_later(request.headers(), record).await?;
                self.check_may(&later, record)?;
                later
            }
        };
        let limited = match self.limited(&admitted, record) {
            Some(limited) => limited,
            None => self.authenticator.limited_later(&admitted, record).await,
        };
        request.extensions_mut().insert(admitted);
        limited
    }

    /// Whether the caller may send this request.
    fn check_may(&self, admitted: &Admitted, record: &AccessRecord) -> Result<(), Failure> {
        let Some(action) = needed(record.head()) else { return Ok(()) };
        record.is_of(&admitted.member.counted);
        let refused = match (action.is_of_staff(), self.authenticator.is_locked) {
            // Without authentication, every caller on this machine is staff.
            (true, false) if self.is_local => return Ok(()),
            _ if admitted.principal.may(action) => return admitted.member.tenant.check_served(),
            (true, false) => {
                "paths below /admin are for staff: set auth.mode = \"required\" and send a staff \
                 key, or set server.admin_bind to a loopback address"
            }
            (true, true) => "the role of this key does not include this path",
            (false, _) => "staff keys may not decode: use a key of a tenant",
        };
        self.metrics.security_event("forbidden");
        Err(Failure::new(Code::Forbidden, refused))
    }

    /// Staff have no rate limit.
    fn limited(&self, admitted: &Admitted, record: &AccessRecord) -> Option<Result<(), Failure>> {
        match needed(record.head()) {
            Some(action) if action.is_of_staff() => Some(Ok(())),
            _ => self.authenticator.limited(admitted, record),
        }
    }
}

pin_project! {
    /// A request that is being checked or served.
    #[project = GatedProjection]
    pub(super) enum GatedFuture<F> {
        /// It passed all checks.
        Through { #[pin] future: F },
        /// It waits for a check.
        Waiting { future: Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> },
        /// It was refused.
        Answered { response: Option<Response> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for GatedFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GatedProjection::Through { future } => future.poll(context),
            GatedProjection::Waiting { future } => future.as_mut().poll(context),
            GatedProjection::Answered { response } => {
                Poll::Ready(Ok(response.take().unwrap_or_default()))
            }
        }
    }
}

/// What the caller of a request must be allowed to do; `None` if anyone may send it.
fn needed(head: &Head) -> Option<Action> {
    Route::of(head.route)?.needs(head.method)
}

const TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

fn set_deadline(
    gates: &Gates,
    record: &AccessRecord,
    request: &mut Request,
) -> Result<(), Failure> {
    let began = record.began();
    let mut deadline = Deadline { at: began + gates.request_timeout, given: None };
    if record.head().is_decode
        && let Some(given) = given_timeout(request.headers())?
        && given < gates.request_timeout
    {
        deadline = Deadline { at: began + given, given: Some(given) };
    }
    request.extensions_mut().insert(deadline);
    Ok(())
}

fn given_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    match number {
        Some(number @ 1..=3_600_000) => Ok(Some(Duration::from_millis(number))),
        _ => {
            let detail = "X-Request-Timeout-Ms must be a whole number from 1 to 3600000";
            Err(Failure::invalid(vec![Fault::new("", detail)]))
        }
    }
}

fn cap_in_flight(gates: &Gates, record: &AccessRecord) -> Result<(), Failure> {
    // The count has this request in it.
    let in_flight = u64::try_from(gates.metrics.in_flight.get()).unwrap_or(0);
    if record.head().is_probe || in_flight <= gates.max_in_flight {
        return Ok(());
    }
    gates.metrics.shed_in_flight.inc();
    let detail = "the service has more requests in flight than it accepts; try again later";
    Err(Failure {
        retry_after: Some(Duration::from_secs(1)),
        ..Failure::new(Code::Overloaded, detail)
    })
}

fn limit_body(gates: &Gates, record: &AccessRecord, request: &Request) -> Result<(), Failure> {
    if !record.head().is_decode {
        // No other route has a large body.
        return Ok(());
    }
    let headers = request.headers();
    let cap = match BodyKind::of(headers) {
        BodyKind::Json => gates.max_request_bytes,
        // A document with allow_partial is read up to the limit.
        BodyKind::Document if !asks_for_a_part(request.uri()) => {
            let admitted = request.extensions().get::<Admitted>();
            admitted.map_or(u64::MAX, |admitted| admitted.member.tenant.max_document_bytes)
        }
        BodyKind::Document | BodyKind::Other => return Ok(()),
    };
    match declared_length(headers) {
        Some(length) if length > cap => Err(too_large(cap)),
        _ => Ok(()),
    }
}

fn asks_for_a_part(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or("");
    form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "allow_partial" && value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_timeout_of_a_caller_is_a_whole_number_in_range() {
        let check = |value: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_str(value).unwrap());
            let given = given_timeout(&headers).ok().flatten();
            assert_eq!(given, expected.map(Duration::from_millis), "{value}");
        };
        check("1", Some(1));
        check("3600000", Some(3_600_000));
        check("0", None);
        check("3600001", None);
        check("-1", None);
        check("+5", None);
        check("1.5", None);
        check("5s", None);
        check("", None);
        assert!(given_timeout(&HeaderMap::new()).unwrap().is_none());
    }
}
