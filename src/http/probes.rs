//! What Kubernetes and Prometheus ask: never limited, never shed.

use super::Refusal;
use crate::{failure::Failure, telemetry::Metrics};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Whether the service wants requests.
pub struct Readiness {
    serving: AtomicBool,
    sound: AtomicBool,
    /// What all replicas share, and what changes nothing about readiness.
    details: Mutex<BTreeMap<&'static str, Check>>,
    metrics: Arc<Metrics>,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Serialize)]
struct Check {
    ok: bool,
    detail: &'static str,
}

impl Readiness {
    /// Wanting none yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        LazyLock::force(&STARTED);
        let (serving, sound) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { serving, sound, details: Mutex::default(), metrics }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    fn is_sound(&self) -> bool {
        self.sound.load(Ordering::Relaxed)
    }

    /// From now on it does, or does not.
    pub fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
        self.tell();
    }

    /// Whether its policy can be relied on.
    pub fn set_sound(&self, sound: bool) {
        self.sound.store(sound, Ordering::Relaxed);
        self.tell();
    }

    /// Something that all replicas share is as it should be, or is not: that is shown, and
    /// nothing more, because no replica would be the better one.
    pub fn note(&self, name: &'static str, ok: bool, detail: &'static str) {
        let mut details = self.details.lock().unwrap_or_else(PoisonError::into_inner);
        details.insert(name, Check { ok, detail });
    }

    fn tell(&self) {
        self.metrics.ready.set((self.is_serving() && self.is_sound()).into());
    }
}

/// When the process began, as far as uptime is concerned.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Liveness: nothing but that the process can answer.
pub(super) async fn health() -> Response {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        version: &'static str,
        commit: &'static str,
        uptime_seconds: u64,
    }
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("DECODER_COMMIT"),
        uptime_seconds: STARTED.elapsed().as_secs(),
    })
    .into_response()
}

/// Readiness: each check by name.
pub(super) async fn ready(State(readiness): State<Arc<Readiness>>) -> Response {
    #[derive(Serialize)]
    struct Ready {
        status: &'static str,
        checks: Checks,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        details: BTreeMap<&'static str, Check>,
    }
    #[derive(Serialize)]
    struct Checks {
        serving: Check,
        policy: Check,
    }
    let check = |ok, yes, no| Check { ok, detail: if ok { yes } else { no } };
    let serving = check(readiness.is_serving(), "accepting requests", "starting or shutting down");
    let policy = check(
        readiness.is_sound(),
        "denies all that it must",
        "failed its self-check: nothing is fetched",
    );
    let (code, status) = match serving.ok && policy.ok {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    let details = readiness.details.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (code, Json(Ready { status, checks: Checks { serving, policy }, details })).into_response()
}

/// What `/metrics` shows.
#[derive(Clone)]
pub(super) struct Scraped {
    pub(super) metrics: Arc<Metrics>,
    /// Where anyone may read it, tenants learn nothing of each other there.
    pub(super) names_tenants: bool,
}

/// The metrics as Prometheus reads them.
pub(super) async fn metrics(State(scraped): State<Scraped>) -> Result<Response, Refusal> {
    let text = scraped
        .metrics
        .encode(scraped.names_tenants)
        .map_err(|error| Failure::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
