//! Every layer, outermost first, each with the reason why it sits there.

use super::{
    Readiness, Refusal,
    callers::{Admitted, Door},
    gate::Gating,
    recording::Recording,
};
use crate::{
    decode::Deadline,
    failure::{Code, Failure, Fault},
    identity::Proxies,
    telemetry::{Metrics, Recent, Record},
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Response, Uri,
        header::{
            CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::IntoResponse,
};
use std::{any::Any, net::IpAddr, sync::Arc, time::Duration};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

/// What the layers hold requests to.
pub struct Gates {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The last failures.
    pub recent: Arc<Recent>,
    /// Whether more requests are wanted: where not, each is the last of its connection.
    pub readiness: Arc<Readiness>,
    /// Who is believed about whom they speak for.
    pub proxies: Proxies,
    /// The hosts that are answered.
    pub hosts: AllowedHosts,
    /// Who may call, and how often.
    pub door: Arc<Door>,
    /// Whether only this machine reaches the listener.
    pub is_local: bool,
    /// From the head of a request to the last byte of its answer.
    pub request_timeout: Duration,
    /// Requests at a time.
    pub max_in_flight: u64,
    /// The bytes of a JSON request.
    pub max_request_bytes: u64,
}

/// Puts the layers around all routes, the fallbacks included.
pub fn layered(routes: Router, gates: &Arc<Gates>) -> Router {
    routes.layer(
        ServiceBuilder::new()
            // Request id, access log and metrics: outermost, so that nothing ends unseen,
            // and one layer, so that id, line and counters tell the same story. Failures
            // from within become problems here, where the id is known.
            .layer(Recording(Arc::clone(gates)))
            // Security headers: on every response, whoever within made it.
            .map_response(with_security_headers)
            // A panic is a 500 and not the end of the connection: outside of all that
            // could panic, inside of what tells of it.
            .layer(CatchPanicLayer::custom(panicked))
            // The gates: innermost, so that whatever one of them does is seen by all above.
            .layer(Gating(Arc::clone(gates))),
    )
}

fn with_security_headers<B>(mut response: Response<B>) -> Response<B> {
    const POLICY: HeaderValue =
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
    headers.insert(CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    // A page says what it needs.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    response
}

/// What was said in panicking may repeat what was at hand: only its place is logged,
/// by the hook.
fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    Refusal(Failure::internal("panicked; the line before says where")).into_response()
}

const TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

pub(super) fn set_deadline(
    gates: &Gates,
    record: &Record,
    request: &mut Request,
) -> Result<(), Failure> {
    let began = record.began();
    let mut deadline = Deadline { at: began + gates.request_timeout, given: None };
    if record.head().is_decode
        && let Some(given) = given_timeout(request.headers())?
        && given < gates.request_timeout
    {
        deadline = Deadline { at: began + given, given: Some(given) };
    }
    request.extensions_mut().insert(deadline);
    Ok(())
}

fn given_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    match number {
        Some(number @ 1..=3_600_000) => Ok(Some(Duration::from_millis(number))),
        _ => {
            let detail = "X-Request-Timeout-Ms must be a whole number from 1 to 3600000";
            Err(Failure::invalid(vec![Fault::new("", detail)]))
        }
    }
}

pub(super) fn cap_in_flight(gates: &Gates, record: &Record) -> Result<(), Failure> {
    // The count has this request in it.
    let in_flight = u64::try_from(gates.metrics.in_flight.get()).unwrap_or(0);
    if record.head().is_probe || in_flight <= gates.max_in_flight {
        return Ok(());
    }
    gates.metrics.shed_in_flight.inc();
    let detail = "there are more requests in flight than this service takes on";
    Err(Failure {
        retry_after: Some(Duration::from_secs(1)),
        ..Failure::new(Code::Overloaded, detail)
    })
}

/// The `Host` names that are answered.
#[derive(Debug)]
pub enum AllowedHosts {
    /// Any.
    Any,
    /// Names and addresses of this machine for itself.
    Loopback,
    /// These.
    Listed(Vec<String>),
}

impl AllowedHosts {
    /// Those that the operator lists, or what fits the address of the listener.
    pub fn new(listed: &[String], bind: IpAddr) -> Self {
        if !listed.is_empty() {
            Self::Listed(listed.iter().map(|name| name.to_ascii_lowercase()).collect())
        } else if bind.is_loopback() {
            Self::Loopback
        } else {
            Self::Any
        }
    }

    fn contain(&self, host: Option<&str>) -> bool {
        let host = host.map(without_port);
        match self {
            Self::Any => true,
            Self::Loopback => host.is_some_and(is_loopback),
            Self::Listed(names) => host.is_some_and(|host| {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let bare = bare.strip_suffix('.').unwrap_or(bare);
                names.iter().any(|name| name.eq_ignore_ascii_case(bare))
            }),
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(name).parse::<IpAddr>();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_below = name.len() > 10
        && name.bytes().all(is_name)
        && name.to_ascii_lowercase().ends_with(".localhost");
    name.eq_ignore_ascii_case("localhost")
        || is_below
        || address.is_ok_and(|address| address.is_loopback())
}

/// A page of another site, or a name that was made to point here, must not use a
/// service that trusts its network.
pub(super) fn check_host(gates: &Gates, request: &Request) -> Result<(), Failure> {
    let headers = request.headers();
    if !gates.hosts.contain(host(request.uri(), headers)) {
        gates.metrics.security_event("forbidden");
        let detail = "this service does not answer to the Host of the request; \
                      server.allowed_hosts lists the names that it answers to";
        return Err(Failure::new(Code::Forbidden, detail));
    }
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site.eq_ignore_ascii_case(b"cross-site")) {
        gates.metrics.security_event("cross_site");
        let detail = "a page of another site may not use this service";
        return Err(Failure::new(Code::Forbidden, detail));
    }
    Ok(())
}

/// The authority of the target, where there is one, else the header. None where there
/// are several: who is in front may have believed another one.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return None;
    }
    let header = || first?.to_str().ok();
    uri.authority().map(|authority| authority.as_str()).or_else(header)
}

pub(super) fn limit_body(gates: &Gates, record: &Record, request: &Request) -> Result<(), Failure> {
    if !record.head().is_decode {
        // Nothing else reads a body.
        return Ok(());
    }
    let headers = request.headers();
    let cap = match BodyKind::of(headers) {
        BodyKind::Json => gates.max_request_bytes,
        // A document that may be cut is read as far as it may be.
        BodyKind::Document if !asks_for_a_part(request.uri()) => {
            let admitted = request.extensions().get::<Admitted>();
            admitted.map_or(u64::MAX, |admitted| admitted.member.tenant.max_document_bytes)
        }
        BodyKind::Document | BodyKind::Other => return Ok(()),
    };
    match declared_length(headers) {
        Some(length) if length > cap => Err(too_large(cap)),
        _ => Ok(()),
    }
}

/// The length of a body, where its request says it.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn asks_for_a_part(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or("");
    form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "allow_partial" && value == "true")
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// A request in JSON.
    Json,
    /// The document itself.
    Document,
    /// Nothing that is read here.
    Other,
}

impl BodyKind {
    /// By the essence of the `Content-Type`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let essence = value.split(|byte| *byte == b';').next().unwrap_or(b"").trim_ascii();
        let is_text = essence.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"text/"));
        if essence.eq_ignore_ascii_case(b"application/json") {
            Self::Json
        } else if is_text && essence.len() > 5
            || essence.eq_ignore_ascii_case(b"application/octet-stream")
        {
            Self::Document
        } else {
            Self::Other
        }
    }
}

/// The body is over its cap.
pub(super) fn too_large(cap: u64) -> Failure {
    Failure::new(
        Code::RequestTooLarge,
        format!(
            "the body is over the cap of {cap} bytes (max_request_bytes for JSON, \
             max_document_bytes for a document)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_local() {
        let loopback = AllowedHosts::new(&[], "127.0.0.1".parse().unwrap());
        let check = |host: &str, expected: bool| {
            assert_eq!(loopback.contain(Some(host)), expected, "{host}");
        };
        check("localhost", true);
        check("LocalHost:8080", true);
        check("localhost.", true);
        check("a.localhost:1", true);
        check("127.0.0.1", true);
        check("127.8.9.10:8080", true);
        check("[::1]:8080", true);
        check("[::1]", true);
        check(".localhost", false);
        check("evil.example#.localhost", false);
        check("evil.example/.localhost", false);
        check("[[::1]]", false);
        check("::1]", false);
        check("localhost.evil.example", false);
        check("evillocalhost", false);
        check("127.0.0.1.evil.example", false);
        check("10.0.0.1", false);
        check("", false);
        assert!(!loopback.contain(None));
    }

    #[test]
    fn listed_names_are_answered_at_any_port() {
        let listed = AllowedHosts::new(&["Decoder.Example".to_owned()], IpAddr::from([0; 4]));
        assert!(listed.contain(Some("decoder.example")));
        assert!(listed.contain(Some("DECODER.example:443")));
        assert!(!listed.contain(Some("other.example")));
        assert!(!listed.contain(Some("localhost")));
        assert!(!listed.contain(None));
        assert!(AllowedHosts::new(&[], IpAddr::from([0; 4])).contain(None));
    }

    #[test]
    fn what_a_caller_may_give() {
        let check = |value: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_str(value).unwrap());
            let given = given_timeout(&headers).ok().flatten();
            assert_eq!(given, expected.map(Duration::from_millis), "{value}");
        };
        check("1", Some(1));
        check("3600000", Some(3_600_000));
        check("0", None);
        check("3600001", None);
        check("-1", None);
        check("+5", None);
        check("1.5", None);
        check("5s", None);
        check("", None);
        assert!(given_timeout(&HeaderMap::new()).unwrap().is_none());
    }
}
