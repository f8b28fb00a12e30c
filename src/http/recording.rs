//! The outermost layer: gives a request its id and its access record, and closes the record with the
//! last byte of the response, wherever the request ends.

use super::{
    Gates,
    connection::{Pace, Peer, Reader},
    problem, rate,
    routes::{Kind, Route},
    unread::{Discarded, Draining},
};
use crate::{
    failure::Failure,
    identity::Proxies,
    telemetry::{AccessRecord, Ending, Head, method_label},
};
use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header::CONNECTION},
    response::Response,
};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;
use tower::{Layer, Service};
use uuid::Uuid;

/// The layer of [`Recorded`].
#[derive(Clone)]
pub(super) struct Recording(pub(super) Arc<Gates>);

/// A service whose requests have access records.
#[derive(Clone)]
pub(super) struct Recorded<S> {
    inner: S,
    gates: Arc<Gates>,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

impl<S> Layer<S> for Recording {
    type Service = Recorded<S>;

    fn layer(&self, inner: S) -> Recorded<S> {
        Recorded { inner, gates: Arc::clone(&self.0) }
    }
}

impl<S, B> Service<Request> for Recorded<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RecordedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let gates = Arc::clone(&self.gates);
        let peer = request.extensions_mut().remove::<Peer>();
        let head = head(&request, peer.as_ref().map(|peer| peer.address), &gates.proxies);
        let pace = peer.map(|peer| peer.pace);
        if let Some(pace) = &pace {
            pace.begun(gates.request_timeout);
        }
        let record =
            AccessRecord::open(head, Arc::clone(&gates.metrics), Arc::clone(&gates.recent));
        request.extensions_mut().insert(Arc::clone(&record));
        let is_head = request.method() == Method::HEAD;
        let is_http_1 = request.version() < Version::HTTP_2;
        let must_read = is_http_1 && !request.body().is_end_stream();
        if !is_http_1 {
            request = request.map(Discarded::wrap);
        }
        let guard = Guard { record, pace };
        let finish = Some(Finish { guard, gates, is_head, is_http_1, must_read });
        RecordedFuture { future: self.inner.call(request), answer: None, finish }
    }
}

fn head(request: &Request, peer: Option<IpAddr>, proxies: &Proxies) -> Head {
    let forwarded = request.headers().get_all(FORWARDED).iter().map(HeaderValue::as_bytes);
    // Tests have no connection.
    let peer = peer.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let path = request.extensions().get::<MatchedPath>();
    let route = path.and_then(|path| Route::of(path.as_str()));
    let method = method_label(request.method().as_str());
    let is = |kind| route.is_some_and(|route| route.kind == kind);
    Head {
        request_id: request_id(request.headers()),
        client: proxies.client(peer, forwarded),
        trace_id: trace_id(request.headers()),
        method,
        route: route.map_or("none", |route| route.path),
        is_decode: route.is_some_and(|route| route.kind == Kind::Decode && route.method == method),
        is_probe: is(Kind::Probe) || is(Kind::Metrics),
    }
}

/// The caller's id, if it is valid, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let fits = |id: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=64).contains(&id.len()) && id.bytes().all(is_plain)
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(fits);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The id of the caller's trace: `traceparent` is `00-TRACE-SPAN-FLAGS`.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = value.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let is_hex = trace.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fits = version.len() == 2 && trace.len() == 32 && is_hex && trace.contains(|c| c != '0');
    fits.then(|| trace.to_owned())
}

/// Closes the record when dropped, which is how a request ends whose client left.
struct Guard {
    record: Arc<AccessRecord>,
    /// The pace of its connection.
    pace: Option<Arc<Pace>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.record.close(Ending::Abandoned);
        if let Some(pace) = &self.pace {
            pace.done();
        }
    }
}

pin_project! {
    /// A request that is being served.
    pub(super) struct RecordedFuture<F> {
        #[pin]
        future: F,
        // The response, while the rest of the request body is read.
        answer: Option<(Response, Draining)>,
        finish: Option<Finish>,
    }
}

/// What the layer needs to finish a response.
struct Finish {
    guard: Guard,
    gates: Arc<Gates>,
    is_head: bool,
    is_http_1: bool,
    /// Whether there is a body that must be read before the next request of the connection.
    must_read: bool,
}

impl<F, B> Future for RecordedFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.answer.is_none() {
            let Ok(mut response) = ready!(this.future.poll(context));
            let draining = Draining::of(&mut response);
            let response = response.map(Body::new);
            match (draining, this.finish.as_ref()) {
                (Some(draining), Some(finish)) if finish.must_read => {
                    // A refused request does not count as in flight.
                    finish.guard.record.leave_flight();
                    *this.answer = Some((response, draining));
                }
                _ => return Poll::Ready(Ok(finish_response(this.finish.take(), response))),
            }
        }
        if let Some((_, draining)) = this.answer
            && ready!(draining.poll(context))
            && let Some(finish) = this.finish
        {
            finish.must_read = false;
        }
        let response = this.answer.take().map(|(response, _)| response).unwrap_or_default();
        Poll::Ready(Ok(finish_response(this.finish.take(), response)))
    }
}

/// Adds headers to a response, and wraps its body.
fn finish_response(finish: Option<Finish>, mut response: Response) -> Response {
    let Some(Finish { guard, gates, is_head, is_http_1, must_read }) = finish else {
        return response;
    };
    let record = &guard.record;
    let problem = problem::render(&mut response, record);
    record.answered(response.status().as_u16());
    if let Ok(id) = HeaderValue::from_str(&record.head().request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if let Some(allowance) = record.trail.steps().allowance.take() {
        rate::tell(allowance, response.headers_mut());
    }
    // The rest of the body is not read, so the connection closes. Without this header, the client
    // would send its next request over it.
    let is_unread = must_read && !record.trail.steps().received;
    if is_unread || is_http_1 && !gates.readiness.is_serving() {
        response.headers_mut().insert(CONNECTION, const { HeaderValue::from_static("close") });
    }
    let response = response.map(|body| problem.unwrap_or(body));
    if is_head {
        // hyper drops the body unread.
        record.close(Ending::Complete);
        return response;
    }
    let reader = if is_http_1 { None } else { Reader::current() };
    let (rest, leaving) = (Bytes::new(), None);
    let is_success = response.status().is_success();
    response.map(|body| Body::new(RecordedBody { body, rest, leaving, reader, is_success, guard }))
}

/// A body that closes the record with its last byte. It is handed on in pieces, only as fast as they are
/// taken, so what was handed on is as good as sent.
struct RecordedBody {
    body: Body,
    /// Bytes that are not handed on yet.
    rest: Bytes,
    /// Over HTTP/2: closed when the last piece has been sent. h2 buffers pieces while the client leaves no
    /// room.
    leaving: Option<oneshot::Receiver<()>>,
    /// Over HTTP/2.
    reader: Option<Arc<Reader>>,
    /// Whether the status is 2xx.
    is_success: bool,
    guard: Guard,
}

/// A piece of a body; dropping it tells that it was sent.
struct Leaving {
    piece: Bytes,
    _left: oneshot::Sender<()>,
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

/// How much is handed on at a time.
const PIECE: usize = 32 * 1024;

impl RecordedBody {
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let body = &mut self.body;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(context)));
        polled.unwrap_or_else(|_| {
            // The layer that catches panics has returned by now.
            self.guard.record.failed(Failure::internal("panicked while it answered"));
            Poll::Ready(Some(Err(axum::Error::new("panicked"))))
        })
    }

    /// Whether the end of the answer, and the length that would tell it, is held back until the
    /// rest of the request body is discarded: curl 7.88 stops reading at the end of a 2xx answer
    /// that comes before all is sent, and then waits forever for permission to send. At any other
    /// status it stops sending, and must have the end at once.
    fn is_held_back(&self) -> bool {
        self.is_success && self.reader.as_ref().is_some_and(|reader| reader.is_discarding())
    }

    fn has_left(&self) -> bool {
        self.leaving.is_none() && self.rest.is_empty() && self.body.is_end_stream()
    }
}

impl HttpBody for RecordedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(leaving) = &mut self.leaving {
            // No value is ever sent; the sender is dropped with the piece.
            let _ = ready!(Pin::new(leaving).poll(context));
            self.leaving = None;
        }
        if let Some(reader) = &self.reader {
            reader.has_room(true);
        }
        if self.rest.is_empty() {
            let frame = ready!(self.poll_body(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.guard.record.close(Ending::Complete);
                    // The task that polls this also discards, so it polls again.
                    return if self.is_held_back() { Poll::Pending } else { Poll::Ready(None) };
                }
            }
        }
        let length = self.rest.len().min(PIECE);
        let mut piece = self.rest.split_to(length);
        if let Some(reader) = &self.reader {
            reader.has_room(false);
            let (left, leaving) = oneshot::channel();
            piece = Bytes::from_owner(Leaving { piece, _left: left });
            self.leaving = Some(leaving);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_left() && !self.is_held_back()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_held_back() {
            return SizeHint::default();
        }
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

impl Drop for RecordedBody {
    fn drop(&mut self) {
        // hyper does not poll again after the last byte of a body of known length.
        if self.has_left() {
            self.guard.record.close(Ending::Complete);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn a_valid_request_id_is_kept() {
        let check = |given: &str, kept: bool| {
            let id = request_id(&headers("x-request-id", given));
            assert_eq!(id == given, kept, "{given}");
            assert!(kept || Uuid::parse_str(&id).unwrap().get_version_num() == 7);
        };
        check("abc-DEF_1.2", true);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
        check("a b", false);
        check("a\"b", false);
        check("", false);
    }

    #[test]
    fn the_trace_id_of_the_caller_is_found() {
        let check = |value: &str, expected: Option<&str>| {
            assert_eq!(trace_id(&headers("traceparent", value)).as_deref(), expected, "{value}");
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        check(&format!("00-{trace}-1234567890123456-01"), Some(trace));
        check(&format!("00-{}-1234567890123456-01", trace.to_uppercase()), None);
        check(&format!("00-{}-1234567890123456-01", "0".repeat(32)), None);
        check("00-abc-def-01", None);
        check("", None);
    }
}
