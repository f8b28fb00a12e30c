//! What only the operator may see, on the admin listener alone.

use super::router::Shown;
use crate::telemetry::Recent;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::sync::Arc;

/// The last failures, the newest first.
pub(super) async fn errors(State(recent): State<Arc<Recent>>) -> Response {
    Json(json!({ "errors": recent.newest_first() })).into_response()
}

/// The effective configuration.
pub(super) async fn config(State(config): State<Arc<Shown>>) -> Response {
    Json(&config.0).into_response()
}
