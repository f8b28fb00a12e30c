//! All layers, outermost first, each with the reason for its place.

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
            // Request id, access record and metrics: outermost, so that no request is missed, and
            // one layer, so that id, log line and metrics agree. Failures become problems here,
            // where the id is known.
            .layer(Recording(Arc::clone(gates)))
            // Security headers: on every response, whatever made it.
            .map_response(with_security_headers)
            // A panic becomes a 500 and does not close the connection: outside of everything that
            // could panic, inside of what records it.
            .layer(CatchPanicLayer::custom(panicked))
            // The checks: innermost, so that all layers above see their refusals.
            .layer(Gating(Arc::clone(gates))),
    )
}

fn with_security_headers<B>(mut response: Response<B>) -> Response<B> {
    const POLICY: HeaderValue =
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
    headers.insert(CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    // A page may have its own policy.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    response
}

/// The message of a panic may contain data of a request, so only its place is logged, by the hook.
fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    Refusal(Failure::internal("panicked; the log line before has the place")).into_response()
}
