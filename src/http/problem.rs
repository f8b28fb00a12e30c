//! Turns failures into problem responses (RFC 9457). The only place where a code gets a status.

use super::rate;
use crate::{
    answer::Problem,
    failure::{Blame, Code, Failure},
    telemetry::AccessRecord,
};
use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};

/// What a client is told about a code.
pub(super) struct Entry {
    pub(super) code: Code,
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    /// Whether the same request may succeed later.
    pub(super) retryable: bool,
    /// What to do about it.
    pub(super) advice: &'static str,
}

/// The entry of a code. The match is exhaustive, so a new code must get an entry here.
pub(super) const fn entry(code: Code) -> Entry {
    use StatusCode as S;
    let (status, title, retryable, advice) = match code {
        Code::MalformedJson => (
            S::BAD_REQUEST,
            "Malformed JSON",
            false,
            "Send one JSON object in UTF-8, or send the document itself as text/plain.",
        ),
        Code::InvalidRequest => (
            S::UNPROCESSABLE_ENTITY,
            "Invalid request",
            false,
            "The list errors names every fault and what is expected instead.",
        ),
        Code::UnsupportedMediaType => (
            S::UNSUPPORTED_MEDIA_TYPE,
            "Unsupported media type",
            false,
            "Send application/json with source or content, or send the document itself as text/* or \
             application/octet-stream, without Content-Encoding.",
        ),
        Code::NotAcceptable => (
            S::NOT_ACCEPTABLE,
            "No acceptable response format",
            false,
            "Send an Accept header with application/json, application/x-ndjson or text/plain.",
        ),
        Code::RequestTooLarge => (
            S::PAYLOAD_TOO_LARGE,
            "Request too large",
            false,
            "Send a smaller body: limits.max_request_bytes bounds JSON, limits.max_document_bytes a \
             document. With allow_partial=true, a document is decoded up to its limit.",
        ),
        Code::RequestTimeout => (
            S::REQUEST_TIMEOUT,
            "Request timed out",
            true,
            "Send the body faster, or send a smaller one.",
        ),
        Code::Unauthenticated => (
            S::UNAUTHORIZED,
            "Authentication required",
            false,
            "Send exactly one credential: a valid API key or token as Authorization: Bearer, or the \
             key as X-Api-Key. The operator issues keys.",
        ),
        Code::Forbidden => (
            S::FORBIDDEN,
            "Not allowed",
            false,
            "The detail says why: the role of the key does not include it, the tenant is disabled, \
             the Host header is not one of this service, or the request comes from a page of \
             another site.",
        ),
        Code::NotFound => (S::NOT_FOUND, "Not found", false, "GET / lists the routes."),
        Code::MethodNotAllowed => (
            S::METHOD_NOT_ALLOWED,
            "Method not allowed",
            false,
            "The Allow header lists the methods of this path.",
        ),
        Code::RateLimited => (
            S::TOO_MANY_REQUESTS,
            "Rate limit exceeded",
            true,
            "Wait for the seconds in Retry-After. RateLimit-Policy tells how many requests (q) are \
             allowed in how many seconds (w); RateLimit tells how many (r) are left for the next \
             seconds (t).",
        ),
        Code::QuotaExceeded => (
            S::TOO_MANY_REQUESTS,
            "Daily quota exceeded",
            true,
            "Wait for the seconds in Retry-After: the quota is renewed at midnight UTC.",
        ),
        Code::SourceDenied => (
            S::FORBIDDEN,
            "Source not allowed by policy",
            false,
            "The service fetches only what a rule of the operator allows: https unless the rule \
             says otherwise, and only from public addresses. Ask the operator for a rule.",
        ),
        Code::SourceNotFound => {
            (S::FAILED_DEPENDENCY, "Document not found at the source", false, "Check the URL.")
        }
        Code::SourceRejected => (
            S::FAILED_DEPENDENCY,
            "Access refused by the source",
            false,
            "The document may need a credential; ask the operator to add one to the rule.",
        ),
        Code::SourceFailed => (
            S::FAILED_DEPENDENCY,
            "The source failed",
            true,
            "Try again later. If it keeps failing, ask the operator of the source.",
        ),
        Code::SourceTimeout => {
            (S::FAILED_DEPENDENCY, "The source timed out", true, "Try again later.")
        }
        Code::CircuitOpen => (
            S::FAILED_DEPENDENCY,
            "Circuit open: the source keeps failing",
            true,
            "Wait for the seconds in Retry-After, then try again. No request was sent to the source.",
        ),
        Code::DocumentTooLarge => (
            S::FAILED_DEPENDENCY,
            "Document too large",
            false,
            "limits.max_document_bytes bounds a document after decompression. With \
             allow_partial=true, it is decoded up to that limit.",
        ),
        Code::UnsupportedDocument => (
            S::FAILED_DEPENDENCY,
            "Unsupported document type",
            false,
            "The detail says whether the reason is its type, its Content-Encoding or its charset. \
             For a document that you send yourself, the status is 415.",
        ),
        Code::DeadlineExceeded => (
            S::GATEWAY_TIMEOUT,
            "Deadline exceeded",
            true,
            "Allow more time in X-Request-Timeout-Ms.",
        ),
        Code::ServiceTimeout => (
            S::GATEWAY_TIMEOUT,
            "Service timed out",
            true,
            "Try again later. The operator can see this error.",
        ),
        Code::Overloaded => (
            S::SERVICE_UNAVAILABLE,
            "Service overloaded",
            true,
            "Wait for the seconds in Retry-After, then try again.",
        ),
        Code::ShuttingDown => (
            S::SERVICE_UNAVAILABLE,
            "Service shutting down",
            true,
            "Try again: another instance will answer, or this one after its restart.",
        ),
        Code::QuotaUnavailable => (
            S::SERVICE_UNAVAILABLE,
            "Rate limits cannot be checked right now",
            true,
            "Try again later: the store of rate limits and quotas is down. The operator can see this \
             error.",
        ),
        Code::Internal => (
            S::INTERNAL_SERVER_ERROR,
            "Internal error",
            false,
            "Report it to the operator with the request id.",
        ),
    };
    Entry { code, status, title, retryable, advice }
}

/// The status of a failure: 4xx the caller or the policy, 424 the source, 5xx the
/// service.
fn status(failure: &Failure) -> StatusCode {
    match (failure.code, failure.blame) {
        // A document that was handed over.
        (Code::UnsupportedDocument, Blame::Caller) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (code, _) => entry(code).status,
    }
}

/// The problem that a failure is to the client.
pub(super) fn problem(failure: &Failure, record: &AccessRecord) -> Problem {
    let Entry { title, retryable, .. } = entry(failure.code);
    Problem {
        kind: Some(format!("/problems/{}", failure.code.as_str())),
        title: Some(title),
        status: Some(status(failure).as_u16()),
        request_id: Some(record.head().request_id.clone()),
        retryable: Some(retryable),
        ..Problem::from(failure)
    }
}

/// A failure on its way out. The outermost layer makes the response of it.
#[derive(Debug)]
pub struct Refusal(pub Failure);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = status(&self.0).into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

/// Makes a problem of a response that carries a failure, keeping its headers.
pub(super) fn render<B>(response: &mut Response<B>, record: &AccessRecord) -> Option<Body> {
    let failure = response.extensions_mut().remove::<Failure>()?;
    let mut body = serde_json::to_vec(&problem(&failure, record)).unwrap_or_default();
    // On a terminal, the prompt belongs on the next line.
    body.push(b'\n');
    *response.status_mut() = status(&failure);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, const { HeaderValue::from_static("application/problem+json") });
    if failure.code == Code::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, const { HeaderValue::from_static("Bearer") });
    }
    if let Some(after) = failure.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(rate::seconds(after)));
    }
    record.failed(failure);
    Some(Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_the_blame() {
        for code in Code::ALL {
            let failure = Failure::new(code, "x");
            let status = status(&failure).as_u16();
            let fits = match failure.blame {
                Blame::Caller if code == Code::DeadlineExceeded => status == 504,
                Blame::Caller => (400..500).contains(&status) && status != 424,
                Blame::Policy => status == 403,
                Blame::Source => status == 424,
                Blame::Service => status >= 500,
            };
            assert!(fits, "{code:?} {status}");
        }
        let handed_over = Failure::new(Code::UnsupportedDocument, "x").blamed_on(Blame::Caller);
        assert_eq!(status(&handed_over), 415);
    }
}
