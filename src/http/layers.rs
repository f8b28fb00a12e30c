//! Every layer, outermost first, each with the reason why it sits there.

use super::{
    Refusal,
    gate::{Gates, Gating},
    recording::Recording,
};
use crate::failure::Failure;
use axum::{
    Router,
    body::Body,
    http::{
        HeaderValue, Response,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    response::IntoResponse,
};
use std::{any::Any, sync::Arc};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

/// Puts the layers around all routes, the fallbacks included.
pub fn layered(routes: Router, gates: &Arc<Gates>) -> Router {
    routes.layer(
        ServiceBuilder::new()
            // Request id, access log and metrics: outermost, so that nothing ends unseen,
            // and one layer, so that id, line and counters tell the same story. Failures
            // from within become problems here, where the id is known.
            .layer(Recording(Arc::clone(gates)))
            // Security headers: on every response, whoever within made it.
            .map_response(with_security_headers)
            // A panic is a 500 and not the end of the connection: outside of all that
            // could panic, inside of what tells of it.
            .layer(CatchPanicLayer::custom(panicked))
            // The gates: innermost, so that whatever one of them does is seen by all above.
            .layer(Gating(Arc::clone(gates))),
    )
}

fn with_security_headers<B>(mut response: Response<B>) -> Response<B> {
    const POLICY: HeaderValue =
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
    headers.insert(CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    // A page says what it needs.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    response
}

/// What was said in panicking may repeat what was at hand: only its place is logged,
/// by the hook.
fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    Refusal(Failure::internal("panicked; the line before says where")).into_response()
}
