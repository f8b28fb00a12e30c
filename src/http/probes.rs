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
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Whether the service wants requests.
pub struct Readiness {
    serving: AtomicBool,
    sound: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Readiness {
    /// Wanting none yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        LazyLock::force(&STARTED);
        Self { serving: AtomicBool::new(false), sound: AtomicBool::new(false), metrics }
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
    }
    #[derive(Serialize)]
    struct Checks {
        serving: Check,
        policy: Check,
    }
    #[derive(Serialize)]
    struct Check {
        ok: bool,
        detail: &'static str,
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
    (code, Json(Ready { status, checks: Checks { serving, policy } })).into_response()
}

/// The metrics as Prometheus reads them.
pub(super) async fn metrics(State(metrics): State<Arc<Metrics>>) -> Result<Response, Refusal> {
    let text = metrics.encode().map_err(|error| Failure::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
