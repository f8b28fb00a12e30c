//! Why a decode did not succeed: the codes of the contract, whose fault each is, and
//! what it counts as.
//!
//! Every module has its own small errors; where one ends a request, it becomes a
//! [`Failure`]. What its `detail` says is for the caller; its `reason` is for the log
//! and never leaves the process otherwise.

use serde::Serialize;
use std::time::Duration;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Who asked.
    Caller,
    /// What the operator allows.
    Policy,
    /// Who serves the document.
    Source,
    /// This program.
    Service,
}

/// How a decode ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Success,
    /// The request could not be served by anyone.
    Rejected,
    /// It should have been served.
    Failed,
    /// The client went away.
    Cancelled,
}

/// A stable name of what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The body is not JSON.
    MalformedJson,
    /// The request says what cannot be.
    InvalidRequest,
    /// A document or a request in a type that is not read.
    UnsupportedMediaType,
    /// No form of answer that the client accepts.
    NotAcceptable,
    /// The body is over its cap.
    RequestTooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
    /// No valid credential.
    Unauthenticated,
    /// Not allowed here.
    Forbidden,
    /// No such route.
    NotFound,
    /// No such method of a route.
    MethodNotAllowed,
    /// Called more often than allowed.
    RateLimited,
    /// All decodes of the day are used up.
    QuotaExceeded,
    /// The egress policy allows no such source.
    SourceDenied,
    /// The source has no such document.
    SourceNotFound,
    /// The source refused to serve it.
    SourceRejected,
    /// The source could not serve it.
    SourceFailed,
    /// The source did not serve it in time.
    SourceTimeout,
    /// The source fails, and was not asked.
    CircuitOpen,
    /// The document is over its cap.
    DocumentTooLarge,
    /// The type, encoding or charset of the document is none that is scanned.
    UnsupportedDocument,
    /// The caller's own deadline passed.
    DeadlineExceeded,
    /// The server's deadline passed.
    ServiceTimeout,
    /// More work than the server takes on.
    Overloaded,
    /// The server is on its way out.
    ShuttingDown,
    /// What quotas are counted in is down.
    QuotaUnavailable,
    /// A bug.
    Internal,
}

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its stable name.
    pub code: Code,
    /// Whose fault it is.
    pub blame: Blame,
    /// What it counts as.
    pub outcome: Outcome,
    /// What happened and what to do, for the caller; nothing of a document.
    pub detail: String,
    /// What the detail hides, for the log.
    pub reason: Option<String>,
    /// Each fault of a request.
    pub faults: Vec<Fault>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// What the source answered.
    pub source_status: Option<u16>,
    /// How often the source was tried.
    pub attempts: Option<u32>,
    /// After how many redirects, if any.
    pub hop: Option<u32>,
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where it is, as a JSON pointer.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Code {
    /// Every code, in the order of the contract.
    pub const ALL: [Self; 26] = [
        Self::MalformedJson,
        Self::InvalidRequest,
        Self::UnsupportedMediaType,
        Self::NotAcceptable,
        Self::RequestTooLarge,
        Self::RequestTimeout,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::SourceDenied,
        Self::SourceNotFound,
        Self::SourceRejected,
        Self::SourceFailed,
        Self::SourceTimeout,
        Self::CircuitOpen,
        Self::DocumentTooLarge,
        Self::UnsupportedDocument,
        Self::DeadlineExceeded,
        Self::ServiceTimeout,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::QuotaUnavailable,
        Self::Internal,
    ];

    /// The name in problems, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed_json",
            Self::InvalidRequest => "invalid_request",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::NotAcceptable => "not_acceptable",
            Self::RequestTooLarge => "request_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::SourceDenied => "source_denied",
            Self::SourceNotFound => "source_not_found",
            Self::SourceRejected => "source_rejected",
            Self::SourceFailed => "source_failed",
            Self::SourceTimeout => "source_timeout",
            Self::CircuitOpen => "circuit_open",
            Self::DocumentTooLarge => "document_too_large",
            Self::UnsupportedDocument => "unsupported_document",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::ServiceTimeout => "service_timeout",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
            Self::QuotaUnavailable => "quota_unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whose fault it is, unless the failure knows better.
    pub const fn blame(self) -> Blame {
        match self {
            Self::MalformedJson
            | Self::InvalidRequest
            | Self::UnsupportedMediaType
            | Self::NotAcceptable
            | Self::RequestTooLarge
            | Self::RequestTimeout
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::RateLimited
            | Self::QuotaExceeded
            | Self::DeadlineExceeded => Blame::Caller,
            Self::SourceDenied => Blame::Policy,
            Self::SourceNotFound
            | Self::SourceRejected
            | Self::SourceFailed
            | Self::SourceTimeout
            | Self::CircuitOpen
            | Self::DocumentTooLarge
            | Self::UnsupportedDocument => Blame::Source,
            Self::ServiceTimeout
            | Self::Overloaded
            | Self::ShuttingDown
            | Self::QuotaUnavailable
            | Self::Internal => Blame::Service,
        }
    }

    /// What it counts as, unless the failure knows better.
    pub const fn outcome(self) -> Outcome {
        match (self, self.blame()) {
            (_, Blame::Caller | Blame::Policy)
            | (
                Self::SourceNotFound
                | Self::SourceRejected
                | Self::DocumentTooLarge
                | Self::UnsupportedDocument,
                _,
            ) => Outcome::Rejected,
            _ => Outcome::Failed,
        }
    }
}

impl Failure {
    /// A failure with a sentence for the caller.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            blame: code.blame(),
            outcome: code.outcome(),
            detail: detail.into(),
            reason: None,
            faults: Vec::new(),
            retry_after: None,
            source_status: None,
            attempts: None,
            hop: None,
        }
    }

    /// A request with faults; all of them.
    pub fn invalid(faults: Vec<Fault>) -> Self {
        let detail = match faults.as_slice() {
            [fault] if fault.pointer.is_empty() => fault.detail.clone(),
            [fault] => format!("{}: {}", fault.pointer, fault.detail),
            faults => format!("the request has {} faults; see errors", faults.len()),
        };
        Self { faults, ..Self::new(Code::InvalidRequest, detail) }
    }

    /// A bug; the reason is for the log.
    pub fn internal(reason: impl Into<String>) -> Self {
        let detail = "something went wrong within the service; report it with the request id";
        Self::new(Code::Internal, detail).because(reason)
    }

    /// With what the log may say beyond the detail.
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// With another's fault than is usual for the code.
    pub fn blamed_on(self, blame: Blame) -> Self {
        Self { blame, ..self }
    }
}

impl Fault {
    /// A fault at a JSON pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Blame {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Policy => "policy",
            Self::Source => "source",
            Self::Service => "service",
        }
    }
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Success, Self::Rejected, Self::Failed, Self::Cancelled];

    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
