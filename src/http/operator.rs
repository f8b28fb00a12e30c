//! What only the operator may see, on the admin listener alone.

use super::{
    layers::{BodyKind, declared_length, too_large},
    problem::Refusal,
    router::{Decoding, Shown},
};
use crate::{
    decode::too_slow,
    failure::{Code, Failure, Fault},
    telemetry::Recent,
};
use axum::{
    Json,
    body::to_bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
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

/// The bytes of a request to explain: the longest URL with all that may stand beside it.
const MOST: usize = 16 * 1024;

/// A request to explain what the policy says of a URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    source: String,
}

/// What the policy says of a URL, hop by hop.
pub(super) async fn explain(
    State(decoding): State<Arc<Decoding>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    if BodyKind::of(&parts.headers) != BodyKind::Json {
        let detail = "send application/json, such as {\"source\": \"https://...\"}";
        return Err(Failure::new(Code::UnsupportedMediaType, detail).into());
    }
    let is_short = declared_length(&parts.headers).is_some_and(|said| said <= MOST as u64);
    let body = to_bytes(body, MOST).await;
    // What is short and does not come is too slow.
    let body = body.map_err(|_| if is_short { too_slow() } else { too_large(MOST as u64) })?;
    let question: Question = serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            let detail = "the body must be a JSON object with one field, source: a URL";
            Failure::invalid(vec![Fault::new("", detail)])
        } else {
            Failure::new(Code::MalformedJson, "the body is not JSON")
        }
    })?;
    Ok(Json(decoding.decoder.explain(&question.source).await).into_response())
}

/// The last failures, the newest first.
pub(super) async fn errors(State(recent): State<Arc<Recent>>) -> Response {
    Json(json!({ "errors": recent.newest_first() })).into_response()
}

/// The effective configuration.
pub(super) async fn config(State(config): State<Arc<Shown>>) -> Response {
    Json(&config.0).into_response()
}
