//! Pages for whoever comes by: what this is, and what each problem means. HTML for a
//! browser, else JSON.

use super::{
    Refusal,
    accept::{self, MediaType},
    problem::{Entry, entry},
    routes::{Listener, ROUTES, Route},
};
use crate::failure::{Blame, Code, Failure};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{
        HeaderMap,
        header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY},
    },
    response::{Html, IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{fmt::Write, sync::Arc};

const JSON: MediaType = ("application", "json");
const HTML: MediaType = ("text", "html");

/// What `GET /` of one listener shows.
pub(super) struct Index {
    about: &'static str,
    /// The routes of the listener, without this page.
    routes: Vec<&'static Route>,
    /// What the other listener has.
    elsewhere: Option<&'static str>,
    /// A command to try.
    example: Option<&'static str>,
}

impl Index {
    /// The index of a listener; with `has_admin`, there is an admin listener.
    pub(super) fn new(listener: Listener, has_admin: bool) -> Self {
        let is_listed = |route: &&Route| route.path != "/" && route.is_on(listener, has_admin);
        let routes = ROUTES.iter().filter(is_listed).collect();
        match listener {
            Listener::Public => Self {
                about: "Finds the marked fragments of a document and returns them, bounded, in \
                        order, and honest about what was cut.",
                routes,
                elsewhere: has_admin.then_some(
                    "GET /metrics and everything below /admin are on the admin listener \
                     (server.admin_bind), and so are GET /health and GET /health/ready.",
                ),
                example: Some(
                    "curl http://127.0.0.1:8080/decode -H 'Content-Type: text/plain' \
                     --data-binary '{* the secret *}'",
                ),
            },
            Listener::Admin => Self {
                about: "The admin listener: health, metrics, and what operators look at and \
                        change.",
                routes,
                elsewhere: Some("POST /decode and GET /problems are on the public listener."),
                example: None,
            },
        }
    }
}

/// What this listener is and which routes it has.
pub(super) async fn index(
    State(index): State<Arc<Index>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Index { about, routes, elsewhere, example } = &*index;
    if !accept::best(&headers, &[(JSON, false), (HTML, true)])? {
        let listed = |route: &&Route| {
            json!({
                "route": format!("{} {}", route.method, route.path),
                "about": route.purpose,
            })
        };
        let mut shown = json!({
            "name": "blueprint-decoder",
            "version": env!("CARGO_PKG_VERSION"),
            "about": about,
            "routes": routes.iter().map(listed).collect::<Vec<_>>(),
        });
        if let Some(elsewhere) = elsewhere {
            shown["elsewhere"] = json!(elsewhere);
        }
        return Ok(Json(shown).into_response());
    }
    let mut body = format!("<p>{about}</p>\n<dl>\n");
    for Route { method, path, purpose, .. } in routes {
        let shown = match *method == "GET" && !path.contains('{') {
            true => format!("<a href=\"{path}\">{method} {path}</a>"),
            false => format!("{method} {path}"),
        };
        let _ = writeln!(body, "<dt><code>{shown}</code></dt><dd>{purpose}</dd>");
    }
    body.push_str("</dl>");
    if let Some(elsewhere) = elsewhere {
        let _ = write!(body, "\n<p>{elsewhere}</p>");
    }
    if let Some(example) = example {
        let _ = write!(body, "\n<pre>{example}</pre>");
    }
    Ok(page("blueprint-decoder", &body))
}

/// Every problem.
pub(super) async fn problems(headers: HeaderMap) -> Result<Response, Refusal> {
    if !accept::best(&headers, &[(JSON, false), (HTML, true)])? {
        return Ok(Json(json!({ "problems": list() })).into_response());
    }
    let mut rows = String::new();
    for code in Code::ALL {
        let Entry { title, .. } = entry(code);
        let name = code.as_str();
        let _ = writeln!(
            rows,
            "<dt><a href=\"/problems/{name}\"><code>{name}</code></a></dt><dd>{title}</dd>"
        );
    }
    Ok(page("Problems", &format!("<dl>\n{rows}</dl>")))
}

/// Every problem, as `GET /problems` lists them.
pub fn list() -> Vec<Value> {
    Code::ALL.into_iter().map(|code| described(&entry(code))).collect()
}

/// One problem.
pub(super) async fn problem(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // A name that is not UTF-8 is none that there is.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let Some(code) = Code::ALL.into_iter().find(|code| code.as_str() == name) else {
        let detail = "there is no such problem; GET /problems lists them";
        return Err(Failure::new(Code::NotFound, detail).into());
    };
    let entry = entry(code);
    if !accept::best(&headers, &[(JSON, false), (HTML, true)])? {
        return Ok(Json(described(&entry)).into_response());
    }
    let Entry { status, title, retryable, advice, .. } = &entry;
    let again = if *retryable { "may succeed later" } else { "will fail again" };
    let body = format!(
        "<p>{title}.</p>\n<dl>\n<dt>Status</dt><dd>{status}</dd>\n<dt>Whose fault</dt><dd>{}</dd>\n\
         <dt>The same request</dt><dd>{again}</dd>\n<dt>What to do</dt><dd>{advice}</dd>\n</dl>\n\
         <p><a href=\"/problems\">All problems</a></p>",
        whose(code)
    );
    Ok(page(code.as_str(), &body))
}

fn described(entry: &Entry) -> Value {
    json!({
        "code": entry.code.as_str(),
        "type": format!("/problems/{}", entry.code.as_str()),
        "status": entry.status.as_u16(),
        "title": entry.title,
        "blame": entry.code.blame().as_str(),
        "retryable": entry.retryable,
        "advice": entry.advice,
    })
}

fn whose(code: Code) -> &'static str {
    match code.blame() {
        Blame::Caller => "the caller's",
        Blame::Policy => "nobody's: the operator's policy says no",
        Blame::Source => "the source's",
        Blame::Service => "the service's",
    }
}

/// A page. What goes into it is ours, never a client's.
fn page(title: &str, body: &str) -> Response {
    let headers = [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
    ];
    let html = Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>body{{font:1rem/1.5 \
         system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem;color:#222;\
         background:#fff}}dt{{margin-top:.75rem;font-weight:600}}dd{{margin:0}}pre{{overflow:auto;\
         background:#f4f4f4;padding:.75rem}}</style>\n<h1>{title}</h1>\n{body}\n</html>\n"
    ));
    (headers, html).into_response()
}
