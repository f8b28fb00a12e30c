//! What a request says of its body before that is read.

use crate::{
    failure::{Code, Failure},
    scan::{Charset, ContentType, UnknownCharset},
};
use axum::http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

/// The length of a body, where its request says it.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The `Content-Type` of a request; `None` where it has none or one that is no MIME type.
fn content_type(headers: &HeaderMap) -> Option<ContentType> {
    ContentType::parse(headers.get(CONTENT_TYPE)?.as_bytes())
}

/// The charset of a document that is handed over.
pub(super) fn charset(headers: &HeaderMap) -> Result<Charset, UnknownCharset> {
    content_type(headers).map_or(Ok(Charset::UTF_8), |parsed| parsed.charset())
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
        let Some(parsed) = content_type(headers) else { return Self::Other };
        match parsed.essence() {
            ("application", "json") => Self::Json,
            ("text", _) | ("application", "octet-stream") => Self::Document,
            _ => Self::Other,
        }
    }
}

/// The body is over its cap.
pub(super) fn too_large(cap: u64) -> Failure {
    Failure::new(
        Code::RequestTooLarge,
        format!(
            "the body is larger than {cap} bytes (max_request_bytes for JSON, \
             max_document_bytes for a document)"
        ),
    )
}
