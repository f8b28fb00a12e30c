//! What only the operator may see, on the admin listener alone.

use super::router::{Decoding, Shown};
use crate::telemetry::Recent;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::sync::Arc;

/// The origins that are remembered, and whether each is asked.
pub(super) async fn circuits(State(decoding): State<Arc<Decoding>>) -> Response {
    let shown = decoding.decoder.origins().into_iter().map(|origin| {
        json!({
            "origin": origin.origin,
            "circuit": origin.circuit,
            "failures": origin.failures,
            "open_for_ms": origin.open_for.map(|wait| wait.as_millis() as u64),
            "in_flight": origin.in_flight,
        })
    });
    Json(json!({ "circuits": shown.collect::<Vec<_>>() })).into_response()
}

/// The last failures, the newest first.
pub(super) async fn errors(State(recent): State<Arc<Recent>>) -> Response {
    Json(json!({ "errors": recent.newest_first() })).into_response()
}

/// The effective configuration.
pub(super) async fn config(State(config): State<Arc<Shown>>) -> Response {
    Json(&config.0).into_response()
}
