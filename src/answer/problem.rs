//! An error as who asked sees it.

use crate::failure::{Failure, Fault};
use serde::Serialize;
use std::time::Duration;

/// An error as who asked sees it (RFC 9457). What only makes sense over HTTP is absent
/// elsewhere.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// Where it is explained.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What the code means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
    /// The status of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The stable name.
    pub code: &'static str,
    /// What happened and what to do.
    pub detail: String,
    /// The request that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// Every fault of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// When to come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What the source answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_status: Option<u16>,
    /// How often the source was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// After how many redirects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<u32>,
}

/// In a millisecond.
const NANOS: u128 = 1_000_000;

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        // Rather later than too early.
        let milliseconds = |after: Duration| u64::try_from(after.as_nanos().div_ceil(NANOS)).ok();
        Self {
            kind: None,
            title: None,
            status: None,
            code: failure.code.as_str(),
            detail: failure.detail.clone(),
            request_id: None,
            retryable: None,
            errors: failure.faults.clone(),
            retry_after_ms: failure.retry_after.and_then(milliseconds),
            source_status: failure.source_status,
            attempts: failure.attempts,
            hop: failure.hop,
        }
    }
}
