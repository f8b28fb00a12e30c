//! What a request says of its body before that is read.

use crate::failure::{Code, Failure};
use axum::http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

/// The length of a body, where its request says it.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
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
