//! What only the operator may see, on the admin listener alone.

use super::{
    Decoding,
    authenticator::Authenticator,
    body::{BodyKind, declared_length, too_large},
    problem::Refusal,
};
use crate::{
    decode::too_slow,
    failure::{Code, Failure, Fault},
    telemetry::{LEVELS_LAST, Levels, RecentFailures, log, rfc3339},
};
use axum::{
    Json,
    body::to_bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::level_filters::LevelFilter;

/// The effective configuration as JSON, without secrets.
pub struct EffectiveConfig(pub serde_json::Value);

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
    /// For whom; none: for anyone of whom nothing else is said.
    tenant: Option<String>,
}

/// What explains.
#[derive(Clone)]
pub(super) struct Explained {
    pub(super) decoding: Arc<Decoding>,
    pub(super) authenticator: Arc<Authenticator>,
}

/// What the policy says of a URL, hop by hop.
pub(super) async fn explain(
    State(Explained { decoding, authenticator }): State<Explained>,
    request: Request,
) -> Result<Response, Refusal> {
    let what = "a JSON object with source, a URL, and perhaps tenant";
    let question: Question = told(request, what).await?;
    let member = match &question.tenant {
        None => Arc::clone(authenticator.anonymous()),
        Some(name) => authenticator.callers().member(name).ok_or_else(|| {
            Failure::invalid(vec![Fault::new("/tenant", "there is no tenant of this name")])
        })?,
    };
    let explained = decoding.decoder.explain(&member.tenant, &question.source).await;
    Ok(Json(explained).into_response())
}

/// What the operator says, in JSON.
async fn told<T: DeserializeOwned>(request: Request, what: &str) -> Result<T, Failure> {
    let (parts, body) = request.into_parts();
    if BodyKind::of(&parts.headers) != BodyKind::Json {
        let detail = format!("send application/json: {what}");
        return Err(Failure::new(Code::UnsupportedMediaType, detail));
    }
    let is_short = declared_length(&parts.headers).is_some_and(|said| said <= MOST as u64);
    let body = to_bytes(body, MOST).await;
    // What is short and does not come is too slow.
    let body = body.map_err(|_| if is_short { too_slow() } else { too_large(MOST as u64) })?;
    serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            Failure::invalid(vec![Fault::new("", format!("the body must be {what}"))])
        } else {
            Failure::new(Code::MalformedJson, "the body is not JSON")
        }
    })
}

/// A request for another level of the log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

/// The service's own log level changed, for a while.
pub(super) async fn log_level(
    State(levels): State<Levels>,
    request: Request,
) -> Result<Response, Refusal> {
    let what = "a JSON object with level: error, warn, info, debug or trace";
    let Level { level } = told(request, what).await?;
    let parsed = log::level(&level).filter(|level| *level != LevelFilter::OFF);
    let parsed = parsed.ok_or_else(|| {
        Failure::invalid(vec![Fault::new("/level", "error, warn, info, debug or trace")])
    })?;
    levels.change(parsed);
    let until = rfc3339(SystemTime::now() + LEVELS_LAST);
    tracing::info!(level, until, "log level changed");
    Ok(Json(json!({ "level": level, "until": until })).into_response())
}

/// What is wrong with what was to be reloaded, a line each.
pub type ReloadFaults = Vec<String>;

/// How long a disk may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where reloads are asked for.
#[derive(Clone)]
pub struct Reloads(pub mpsc::Sender<oneshot::Sender<Result<(), ReloadFaults>>>);

/// Reads again what may change while the service runs.
pub(super) async fn reload(State(reloads): State<Reloads>) -> Result<Response, Refusal> {
    let (asks, told) = oneshot::channel();
    let reloaded = async {
        reloads.0.send(asks).await.ok()?;
        told.await.ok()
    };
    let Ok(Some(done)) = timeout(PATIENCE, reloaded).await else {
        return Err(Failure::internal("the files to be reloaded do not come").into());
    };
    match done {
        Ok(()) => Ok(Json(json!({ "reloaded": true })).into_response()),
        Err(faults) => {
            let fault = |fault: &String| Fault::new("", fault.as_str());
            Err(Failure::invalid(faults.iter().map(fault).collect()).into())
        }
    }
}

/// The last failures, the newest first.
pub(super) async fn errors(State(recent): State<Arc<RecentFailures>>) -> Response {
    Json(json!({ "errors": recent.newest_first() })).into_response()
}

/// The effective configuration.
pub(super) async fn config(State(config): State<Arc<EffectiveConfig>>) -> Response {
    Json(&config.0).into_response()
}
