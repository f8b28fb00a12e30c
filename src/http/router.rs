//! Every route, on one screen, with what it can answer.

use super::{
    Door, Gates, Refusal,
    decode::{self, Decoding},
    layered,
    operator::{self, Explained, Reloads, Shown},
    pages::{self, Index},
    probes::{self, Readiness, Scraped},
    usage,
};
use crate::{
    failure::{Code, Failure},
    telemetry::{Levels, Metrics, Recent, RouteLabels},
};
use axum::{
    Router,
    routing::{get, post, put},
};
use std::sync::Arc;

/// What the public listener serves.
pub struct Public {
    /// Behind `/decode`.
    pub decoding: Arc<Decoding>,
    /// Behind `/health/ready`.
    pub readiness: Arc<Readiness>,
    /// Behind `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Whether `/metrics` and all that is the operator's are elsewhere.
    pub has_admin: bool,
    /// Whether `/metrics`, which everyone may read, names tenants.
    pub names_tenants: bool,
}

/// What the admin listener serves.
pub struct Admin {
    /// Behind `/admin/circuits` and `/admin/explain`.
    pub decoding: Arc<Decoding>,
    /// Behind `/health/ready`.
    pub readiness: Arc<Readiness>,
    /// Behind `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Behind `/admin/errors`.
    pub recent: Arc<Recent>,
    /// Behind `/admin/config`.
    pub config: Arc<Shown>,
    /// Behind `/admin/usage` and `/admin/explain`.
    pub door: Arc<Door>,
    /// Behind `/admin/reload`.
    pub reloads: Reloads,
    /// Behind `/admin/log-level`.
    pub levels: Levels,
}

/// The routes of the public listener.
pub fn public(public: Public, gates: &Arc<Gates>) -> Router {
    let Public { decoding, readiness, metrics, has_admin, names_tenants } = public;
    let mut routes = Router::new()
        .route("/", get(pages::index).with_state(Index::public(has_admin)))
        .route("/decode", post(decode::decode).with_state(decoding))
        .route("/health", get(probes::health))
        .route("/health/ready", get(probes::ready).with_state(readiness))
        .route("/problems", get(pages::problems))
        .route("/problems/{code}", get(pages::problem));
    if !has_admin {
        let scraped = Scraped { metrics, names_tenants };
        routes = routes.route("/metrics", get(probes::metrics).with_state(scraped));
    }
    finished(routes, gates)
}

/// The routes of the admin listener.
pub fn admin(served: Admin, gates: &Arc<Gates>) -> Router {
    let Admin { decoding, readiness, metrics, recent, config, door, reloads, levels } = served;
    let scraped = Scraped { metrics, names_tenants: true };
    let explained = Explained { decoding: Arc::clone(&decoding), door: Arc::clone(&door) };
    let routes = Router::new()
        .route("/", get(pages::index).with_state(Index::admin()))
        .route("/health", get(probes::health))
        .route("/health/ready", get(probes::ready).with_state(readiness))
        .route("/metrics", get(probes::metrics).with_state(scraped))
        .route("/admin/circuits", get(operator::circuits).with_state(decoding))
        .route("/admin/explain", post(operator::explain).with_state(explained))
        .route("/admin/usage", get(usage::usage).with_state(door))
        .route("/admin/reload", post(operator::reload).with_state(reloads))
        .route("/admin/log-level", put(operator::log_level).with_state(levels))
        .route("/admin/errors", get(operator::errors).with_state(recent))
        .route("/admin/config", get(operator::config).with_state(config));
    finished(routes, gates)
}

fn finished(routes: Router, gates: &Arc<Gates>) -> Router {
    let routes = routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    layered(routes, gates)
}

async fn not_found() -> Refusal {
    Refusal(Failure::new(Code::NotFound, "there is nothing here; GET / says what there is"))
}

async fn method_not_allowed() -> Refusal {
    let detail = "there is something here, but not for this method; see Allow";
    Refusal(Failure::new(Code::MethodNotAllowed, detail))
}

/// A route that is read: what its methods can answer, the others being refused.
macro_rules! read {
    ($route:expr, $refused:expr, $($status:expr),+) => {
        RouteLabels { route: $route, answers: &[
            ("GET", &[$($status),+]), ("HEAD", &[$($status),+]), ("POST", $refused),
            ("PUT", $refused), ("DELETE", $refused), ("CONNECT", $refused),
            ("OPTIONS", $refused), ("TRACE", $refused), ("PATCH", $refused), ("other", $refused),
        ]}
    };
}

/// The same for a route that is written to.
macro_rules! written {
    ($route:expr, $refused:expr, $($status:expr),+) => {
        RouteLabels { route: $route, answers: &[
            ("GET", $refused), ("HEAD", $refused), ("POST", &[$($status),+]), ("PUT", $refused),
            ("DELETE", $refused), ("CONNECT", $refused), ("OPTIONS", $refused),
            ("TRACE", $refused), ("PATCH", $refused), ("other", $refused),
        ]}
    };
}

/// The same for what is replaced.
macro_rules! replaced {
    ($route:expr, $refused:expr, $($status:expr),+) => {
        RouteLabels { route: $route, answers: &[
            ("GET", $refused), ("HEAD", $refused), ("POST", $refused), ("PUT", &[$($status),+]),
            ("DELETE", $refused), ("CONNECT", $refused), ("OPTIONS", $refused),
            ("TRACE", $refused), ("PATCH", $refused), ("other", $refused),
        ]}
    };
}

/// What a method that a route does not have is answered.
const REFUSED: &[u16] = &[403, 405, 429, 503];
/// The same below `/admin`.
const NO_STAFF: &[u16] = &[401, 403, 405, 429, 503];
/// What any method is answered where there is no route.
const NOWHERE: &[u16] = &[403, 404, 429, 503];

/// Every route of both listeners as the metrics label it, with all it can answer. What
/// only a bug can answer is left out where there is no work.
pub const ROUTES: &[RouteLabels] = &[
    written!(
        "/decode", REFUSED, 200, 400, 401, 403, 406, 408, 413, 415, 422, 424, 429, 499, 500, 503,
        504
    ),
    read!("/", REFUSED, 200, 403, 406, 429, 503),
    read!("/health", REFUSED, 200, 403),
    read!("/health/ready", REFUSED, 200, 403, 503),
    read!("/metrics", REFUSED, 200, 403),
    read!("/problems", REFUSED, 200, 403, 406, 429, 503),
    read!("/problems/{code}", REFUSED, 200, 403, 404, 406, 429, 503),
    read!("/admin/circuits", NO_STAFF, 200, 401, 403, 429, 503),
    written!("/admin/explain", NO_STAFF, 200, 400, 401, 403, 408, 413, 415, 422, 429, 499, 503),
    read!("/admin/errors", NO_STAFF, 200, 401, 403, 429, 503),
    read!("/admin/config", NO_STAFF, 200, 401, 403, 429, 503),
    read!("/admin/usage", NO_STAFF, 200, 401, 403, 429, 503),
    replaced!("/admin/log-level", NO_STAFF, 200, 400, 401, 403, 408, 413, 415, 422, 429, 499, 503),
    written!("/admin/reload", NO_STAFF, 200, 401, 403, 422, 429, 499, 500, 503),
    RouteLabels {
        route: "none",
        answers: &[
            ("GET", NOWHERE),
            ("HEAD", NOWHERE),
            ("POST", NOWHERE),
            ("PUT", NOWHERE),
            ("DELETE", NOWHERE),
            ("CONNECT", NOWHERE),
            ("OPTIONS", NOWHERE),
            ("TRACE", NOWHERE),
            ("PATCH", NOWHERE),
            ("other", NOWHERE),
        ],
    },
];
