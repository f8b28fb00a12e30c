//! The route table: every route of both listeners, with all that depends on it.
//!
//! The router, authorisation, the access record, the index pages and the metric labels all read
//! this table. To add a route, add a constant, list it in [`ROUTES`], and serve it in [`public`] or
//! [`admin`].

use super::{
    Authenticator, Gates, Refusal,
    decode::{self, Decoding},
    layered,
    operator::{self, EffectiveConfig, Explained, Reloads},
    pages::{self, Index},
    probes::{self, Readiness, Scraped},
    usage,
};
use crate::{
    failure::{Code, Failure},
    identity::Action,
    telemetry::{Levels, Metrics, RecentFailures, RouteLabels},
};
use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, on},
};
use std::sync::Arc;

/// One route: a path and the method that it answers.
#[derive(Debug)]
pub struct Route {
    /// `GET` also answers `HEAD`.
    pub method: &'static str,
    /// The path as the router and the metrics have it.
    pub path: &'static str,
    /// What kind of route it is.
    pub kind: Kind,
    /// What a caller must be allowed to do; `None` if anyone may call it.
    pub action: Option<Action>,
    /// What it is for, in the words of the index page.
    pub purpose: &'static str,
    /// Every status that it can answer. What only a bug can cause is left out where there is no
    /// work to do.
    pub answers: &'static [u16],
}

/// What kind of route it is: which listener has it, and how its requests are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For people and generators; on the public listener.
    Page,
    /// Decodes documents; on the public listener.
    Decode,
    /// For Kubernetes; on both listeners. Never limited, never refused because of load.
    Probe,
    /// For Prometheus, and treated as a probe; on the admin listener if there is one, else on the
    /// public one.
    Metrics,
    /// For staff; on the admin listener.
    Admin,
}

const DECODE: Route = Route {
    method: "POST",
    path: "/decode",
    kind: Kind::Decode,
    action: Some(Action::Survey),
    purpose: "decode a document: its URL, or the document itself",
    answers: &[200, 400, 401, 403, 406, 408, 413, 415, 422, 424, 429, 499, 500, 503, 504],
};
const INDEX: Route = Route::page("/", "the routes of the listener", &[200, 403, 406, 429, 503]);
const HEALTH: Route = Route {
    kind: Kind::Probe,
    ..Route::page("/health", "whether the process is alive", &[200, 403])
};
const READY: Route = Route {
    kind: Kind::Probe,
    ..Route::page("/health/ready", "whether the service accepts requests", &[200, 403, 503])
};
const PROBLEMS: Route =
    Route::page("/problems", "what each problem means and what to do", &[200, 403, 406, 429, 503]);
const PROBLEM: Route =
    Route::page("/problems/{code}", "one problem", &[200, 403, 404, 406, 429, 503]);
const METRICS: Route =
    Route { kind: Kind::Metrics, ..Route::page("/metrics", "metrics for Prometheus", &[200, 403]) };
const ERRORS: Route =
    Route::seen("/admin/errors", Action::SeeErrors, "the last failures with their reasons");
const CONFIG: Route = Route::seen(
    "/admin/config",
    Action::Operate,
    "the configuration in force, and where each value is from",
);
const USAGE: Route = Route::seen("/admin/usage", Action::SeeUsage, "what each tenant has used");
const CIRCUITS: Route = Route::seen(
    "/admin/circuits",
    Action::Operate,
    "the origins that were asked, and those that are failing",
);
const EXPLAIN: Route = Route {
    method: "POST",
    answers: &[200, 400, 401, 403, 408, 413, 415, 422, 429, 499, 503],
    ..Route::seen(
        "/admin/explain",
        Action::Operate,
        "whether a URL may be fetched, and which rule decides",
    )
};
const LOG_LEVEL: Route = Route {
    method: "PUT",
    answers: &[200, 400, 401, 403, 408, 413, 415, 422, 429, 499, 503],
    ..Route::seen("/admin/log-level", Action::Operate, "change the log level for 15 minutes")
};
const RELOAD: Route = Route {
    method: "POST",
    answers: &[200, 401, 403, 422, 429, 499, 500, 503],
    ..Route::seen("/admin/reload", Action::Operate, "read the tenants file again")
};

/// The table. The busiest route stands first.
pub static ROUTES: [Route; 14] = [
    DECODE, INDEX, HEALTH, READY, PROBLEMS, PROBLEM, METRICS, ERRORS, CONFIG, USAGE, CIRCUITS,
    EXPLAIN, LOG_LEVEL, RELOAD,
];

/// What a method that a route does not have is answered.
const REFUSED: &[u16] = &[403, 405, 429, 503];
/// The same below `/admin`.
const REFUSED_ADMIN: &[u16] = &[401, 403, 405, 429, 503];
/// What any method is answered where there is no route.
const NOT_FOUND: &[u16] = &[403, 404, 429, 503];

impl Route {
    const fn page(path: &'static str, purpose: &'static str, answers: &'static [u16]) -> Self {
        Self { method: "GET", path, kind: Kind::Page, action: None, purpose, answers }
    }

    /// A route that shows something to staff.
    const fn seen(path: &'static str, action: Action, purpose: &'static str) -> Self {
        let answers = &[200, 401, 403, 429, 503];
        Self { method: "GET", path, kind: Kind::Admin, action: Some(action), purpose, answers }
    }

    /// The route of a path, if there is one.
    pub(super) fn of(path: &str) -> Option<&'static Self> {
        ROUTES.iter().find(|route| route.path == path)
    }

    /// Whether a listener has it; with `has_admin`, there is an admin listener.
    pub(super) fn is_on(&self, listener: Listener, has_admin: bool) -> bool {
        match self.kind {
            Kind::Probe => true,
            Kind::Page | Kind::Decode => listener == Listener::Public || self.path == INDEX.path,
            Kind::Metrics => listener == Listener::Admin || !has_admin,
            Kind::Admin => listener == Listener::Admin,
        }
    }

    /// What a request needs to be allowed to do.
    pub(super) fn needs(&self, method: &str) -> Option<Action> {
        // No other method of a public route reaches a handler, so nothing need be proven for it.
        self.action.filter(|_| self.kind == Kind::Admin || self.method == method)
    }
}

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// For callers.
    Public,
    /// For staff.
    Admin,
}

/// The metric labels of all routes.
pub fn labels() -> Vec<RouteLabels> {
    let labels = |route: &Route| RouteLabels {
        route: route.path,
        method: route.method,
        answers: route.answers,
        refused: if route.kind == Kind::Admin { REFUSED_ADMIN } else { REFUSED },
    };
    let none = RouteLabels { route: "none", method: "none", answers: &[], refused: NOT_FOUND };
    ROUTES.iter().map(labels).chain([none]).collect()
}

/// What the public listener serves.
pub struct Public {
    /// Behind `/decode`.
    pub decoding: Arc<Decoding>,
    /// Behind `/health/ready`.
    pub readiness: Arc<Readiness>,
    /// Behind `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Whether there is an admin listener.
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
    pub recent: Arc<RecentFailures>,
    /// Behind `/admin/config`.
    pub config: Arc<EffectiveConfig>,
    /// Behind `/admin/usage` and `/admin/explain`.
    pub authenticator: Arc<Authenticator>,
    /// Behind `/admin/reload`.
    pub reloads: Reloads,
    /// Behind `/admin/log-level`.
    pub levels: Levels,
}

/// The routes of the public listener.
pub fn public(public: Public, gates: &Arc<Gates>) -> Router {
    let Public { decoding, readiness, metrics, has_admin, names_tenants } = public;
    let index = Arc::new(Index::new(Listener::Public, has_admin));
    let mut router = Router::new();
    router = serve(router, &DECODE, decode::decode, decoding);
    router = serve(router, &INDEX, pages::index, index);
    router = serve(router, &HEALTH, probes::health, ());
    router = serve(router, &READY, probes::ready, readiness);
    router = serve(router, &PROBLEMS, pages::problems, ());
    router = serve(router, &PROBLEM, pages::problem, ());
    if !has_admin {
        router = serve(router, &METRICS, probes::metrics, Scraped { metrics, names_tenants });
    }
    finish(router, gates)
}

/// The routes of the admin listener.
pub fn admin(served: Admin, gates: &Arc<Gates>) -> Router {
    let Admin { decoding, readiness, metrics, recent, config, authenticator, reloads, levels } =
        served;
    let index = Arc::new(Index::new(Listener::Admin, true));
    let scraped = Scraped { metrics, names_tenants: true };
    let explained =
        Explained { decoding: Arc::clone(&decoding), authenticator: Arc::clone(&authenticator) };
    let mut router = Router::new();
    router = serve(router, &INDEX, pages::index, index);
    router = serve(router, &HEALTH, probes::health, ());
    router = serve(router, &READY, probes::ready, readiness);
    router = serve(router, &METRICS, probes::metrics, scraped);
    router = serve(router, &ERRORS, operator::errors, recent);
    router = serve(router, &CONFIG, operator::config, config);
    router = serve(router, &USAGE, usage::usage, authenticator);
    router = serve(router, &CIRCUITS, operator::circuits, decoding);
    router = serve(router, &EXPLAIN, operator::explain, explained);
    router = serve(router, &LOG_LEVEL, operator::log_level, levels);
    router = serve(router, &RELOAD, operator::reload, reloads);
    finish(router, gates)
}

fn serve<T: 'static, S: Clone + Send + Sync + 'static>(
    router: Router,
    route: &Route,
    handler: impl Handler<T, S>,
    state: S,
) -> Router {
    let method = match route.method {
        "POST" => MethodFilter::POST,
        "PUT" => MethodFilter::PUT,
        _ => MethodFilter::GET,
    };
    router.route(route.path, on(method, handler).with_state(state))
}

fn finish(router: Router, gates: &Arc<Gates>) -> Router {
    let router = router.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    layered(router, gates)
}

async fn not_found() -> Refusal {
    Refusal(Failure::new(Code::NotFound, "there is nothing at this path; GET / lists the routes"))
}

async fn method_not_allowed() -> Refusal {
    let detail = "this path does not answer this method; the Allow header lists those it answers";
    Refusal(Failure::new(Code::MethodNotAllowed, detail))
}
