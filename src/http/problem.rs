//! From failures to problems (RFC 9457): the one place where a code gets a status.

use super::rate;
use crate::{
    answer::Problem,
    failure::{Blame, Code, Failure},
    telemetry::Record,
};
use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};

/// What a code is, for whoever meets it.
pub(super) struct Entry {
    pub(super) code: Code,
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    /// Whether the same request may succeed later.
    pub(super) retryable: bool,
    /// What to do about it.
    pub(super) advice: &'static str,
}

/// The entry of a code. Exhaustive: a new code has no other way out.
pub(super) const fn entry(code: Code) -> Entry {
    use StatusCode as S;
    let (status, title, retryable, advice) = match code {
        Code::MalformedJson => (
            S::BAD_REQUEST,
            "The body is not JSON",
            false,
            "Send one JSON object in UTF-8, or the document itself as text/plain.",
        ),
        Code::InvalidRequest => (
            S::UNPROCESSABLE_ENTITY,
            "The request says what cannot be",
            false,
            "The member errors names every fault and what would be right.",
        ),
        Code::UnsupportedMediaType => (
            S::UNSUPPORTED_MEDIA_TYPE,
            "The type of the request is not read here",
            false,
            "Send application/json with source or content, or the document itself as text/* or \
             application/octet-stream, unpacked.",
        ),
        Code::NotAcceptable => (
            S::NOT_ACCEPTABLE,
            "No form of answer is acceptable to you",
            false,
            "Accept application/json, application/x-ndjson or text/plain.",
        ),
        Code::RequestTooLarge => (
            S::PAYLOAD_TOO_LARGE,
            "The request is too large",
            false,
            "A JSON body has at most limits.max_request_bytes, a document \
             limits.max_document_bytes. For a document, allow_partial returns what is found up to \
             there.",
        ),
        Code::RequestTimeout => (
            S::REQUEST_TIMEOUT,
            "The request did not arrive in time",
            true,
            "Send the body faster, or less of it.",
        ),
        Code::Unauthenticated => (
            S::UNAUTHORIZED,
            "Nobody valid asks",
            false,
            "Send Authorization: Bearer with an API key or a token that is valid now, or the key \
             as X-Api-Key; one of them, once. The operator makes keys.",
        ),
        Code::Forbidden => (
            S::FORBIDDEN,
            "This is not allowed",
            false,
            "The detail says what is not: something that the role of the key does not include, a \
             tenant that is disabled, another Host than this service's, or a page of another site.",
        ),
        Code::NotFound => {
            (S::NOT_FOUND, "There is nothing here", false, "GET / says what there is.")
        }
        Code::MethodNotAllowed => (
            S::METHOD_NOT_ALLOWED,
            "There is something here, but not for this method",
            false,
            "The header Allow names the methods.",
        ),
        Code::RateLimited => (
            S::TOO_MANY_REQUESTS,
            "You call more often than you may",
            true,
            "Wait as long as Retry-After says. The header RateLimit-Policy says how many calls \
             (q) may be made in how many seconds (w); RateLimit how many (r) may still be made \
             within the next seconds (t).",
        ),
        Code::QuotaExceeded => (
            S::TOO_MANY_REQUESTS,
            "The decodes of the day are used up",
            true,
            "Wait as long as Retry-After says: until the next day begins in UTC.",
        ),
        Code::SourceDenied => (
            S::FORBIDDEN,
            "The policy does not allow this source",
            false,
            "Only what the operator has allowed is fetched: https unless a rule says otherwise, \
             no address that is not public. Ask the operator for a rule.",
        ),
        Code::SourceNotFound => {
            (S::FAILED_DEPENDENCY, "The source has no such document", false, "Check the URL.")
        }
        Code::SourceRejected => (
            S::FAILED_DEPENDENCY,
            "The source refused to serve the document",
            false,
            "The document may need an authorization, which the operator gives to a rule.",
        ),
        Code::SourceFailed => (
            S::FAILED_DEPENDENCY,
            "The source could not serve the document",
            true,
            "Try again later. If it goes on, ask whoever runs the source.",
        ),
        Code::SourceTimeout => (
            S::FAILED_DEPENDENCY,
            "The source did not serve the document in time",
            true,
            "Try again later.",
        ),
        Code::CircuitOpen => (
            S::FAILED_DEPENDENCY,
            "The source fails and is left alone for a while",
            true,
            "Wait as long as Retry-After says and try again. Nothing was asked of that host.",
        ),
        Code::DocumentTooLarge => (
            S::FAILED_DEPENDENCY,
            "The document is too large",
            false,
            "A document has at most limits.max_document_bytes, unpacked; allow_partial returns \
             what is found up to there.",
        ),
        Code::UnsupportedDocument => (
            S::FAILED_DEPENDENCY,
            "The document is none that is scanned",
            false,
            "The detail says whether its type, its packing or its charset is the reason. Of a \
             document that was handed over, it is the caller's affair (status 415).",
        ),
        Code::DeadlineExceeded => (
            S::GATEWAY_TIMEOUT,
            "Your deadline has passed",
            true,
            "Give more time in X-Request-Timeout-Ms.",
        ),
        Code::ServiceTimeout => (
            S::GATEWAY_TIMEOUT,
            "The service did not finish in time",
            true,
            "Try again later; the operator sees it.",
        ),
        Code::Overloaded => (
            S::SERVICE_UNAVAILABLE,
            "The service has more to do than it takes on",
            true,
            "Wait as long as Retry-After says and try again.",
        ),
        Code::ShuttingDown => (
            S::SERVICE_UNAVAILABLE,
            "The service is shutting down",
            true,
            "Try again: another instance answers, or this one when it is back.",
        ),
        Code::QuotaUnavailable => (
            S::SERVICE_UNAVAILABLE,
            "Nobody can say whether you may",
            true,
            "Try again: what limits are counted in is down, and the operator sees it.",
        ),
        Code::Internal => (
            S::INTERNAL_SERVER_ERROR,
            "Something went wrong within the service",
            false,
            "Report it with the request id.",
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
pub(super) fn problem(failure: &Failure, record: &Record) -> Problem {
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
pub(super) fn render<B>(response: &mut Response<B>, record: &Record) -> Option<Body> {
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
