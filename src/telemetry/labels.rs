//! The labels of the metrics: closed sets, each with all that can be.

use crate::failure::{Blame, Code, Outcome};

/// Where the document of a decode came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It was fetched.
    Source,
    /// It was handed over, or nothing says where it is.
    Content,
}

/// How an attempt to fetch a document ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchResult {
    /// With as much of the document as was wanted.
    Ok,
    /// The source answered 4xx.
    Status4xx,
    /// The source answered 5xx.
    Status5xx,
    /// No name, or no connection.
    Connect,
    /// No TLS.
    Tls,
    /// A budget was spent.
    Timeout,
    /// An answer that is none, breaks off, or cannot be used.
    Protocol,
    /// The policy forbids the address.
    Denied,
    /// Nobody waited for it any longer.
    Cancelled,
}

/// What became of an attempt that failed in a way that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// There was another one.
    Retried,
    /// Too many were tried again lately, or the origin is left alone.
    BudgetExhausted,
    /// It was tried as often as may be.
    AttemptsExhausted,
    /// The time did not suffice.
    Deadline,
}

/// A part of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Resolving the name.
    Dns,
    /// TCP and TLS.
    Connect,
    /// From the request to the head of the answer.
    FirstByte,
    /// Reading the document.
    Body,
}

/// What is said of a request by rates and quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may pass.
    Allowed,
    /// There were too many of late.
    RateLimited,
    /// There were all the decodes of the day.
    QuotaExceeded,
    /// Nobody can say.
    Unavailable,
}

/// Where rates and quotas are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In this process.
    Memory,
    /// For all replicas.
    Valkey,
}

/// The labels of one route: every method with every status that it can answer.
#[derive(Debug, Clone, Copy)]
pub struct RouteLabels {
    /// The `route` label.
    pub route: &'static str,
    /// The method that it has. A route with `GET` also has `HEAD`.
    pub method: &'static str,
    /// The statuses of that method.
    pub answers: &'static [u16],
    /// The statuses of all other methods.
    pub refused: &'static [u16],
}

impl RouteLabels {
    /// Each method with its statuses.
    pub(super) fn by_method(self) -> impl Iterator<Item = (&'static str, &'static [u16])> {
        METHODS.into_iter().map(move |method| {
            let is_own = method == self.method || (method, self.method) == ("HEAD", "GET");
            (method, if is_own { self.answers } else { self.refused })
        })
    }
}

/// The `method` labels: the standard methods, and one for all others.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other"];

/// The `method` label of a method.
pub fn method_label(method: &str) -> &'static str {
    METHODS.into_iter().find(|label| *label == method).unwrap_or("other")
}

/// The decodes that run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// Documents handed over.
    Inline,
    /// Documents fetched.
    Fetch,
}

/// The kinds of security events that this version can notice.
pub(super) const SECURITY_EVENTS: [&str; 13] = [
    "scheme",
    "userinfo",
    "host",
    "port",
    "path",
    "address",
    "redirect",
    "malformed_url",
    "malformed_input",
    "decompression",
    "auth_failed",
    "forbidden",
    "cross_site",
];

/// The code of what ended without a failure.
pub(super) fn no_code(outcome: Outcome) -> &'static str {
    if outcome == Outcome::Success { "ok" } else { "cancelled" }
}

/// Every way in which a decode of this input can fail.
pub(super) fn endings(input: Input) -> impl Iterator<Item = (Outcome, Code, Blame)> {
    let usual = Code::ALL.into_iter().filter(move |code| match code {
        // What belongs to other routes.
        Code::NotFound | Code::MethodNotAllowed => false,
        // What only a source can do.
        Code::SourceDenied
        | Code::SourceNotFound
        | Code::SourceRejected
        | Code::SourceFailed
        | Code::SourceTimeout
        | Code::CircuitOpen
        | Code::DocumentTooLarge => input == Input::Source,
        _ => true,
    });
    let ending = move |code: Code| match (code, input) {
        (Code::UnsupportedDocument, Input::Content) => (code.outcome(), code, Blame::Caller),
        _ => (code.outcome(), code, code.blame()),
    };
    // A caller who was patient enough.
    let patient = (Outcome::Failed, Code::DeadlineExceeded, Blame::Caller);
    usual.map(ending).chain([patient])
}

impl Input {
    pub(super) const ALL: [Self; 2] = [Self::Source, Self::Content];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Content => "content",
        }
    }
}

impl FetchResult {
    pub(super) const ALL: [Self; 9] = [
        Self::Ok,
        Self::Status4xx,
        Self::Status5xx,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Protocol,
        Self::Denied,
        Self::Cancelled,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Retry {
    pub(super) const ALL: [Self; 4] =
        [Self::Retried, Self::BudgetExhausted, Self::AttemptsExhausted, Self::Deadline];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Retried => "retried",
            Self::BudgetExhausted => "budget_exhausted",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Deadline => "deadline",
        }
    }
}

impl Decision {
    pub(super) const ALL: [Self; 4] =
        [Self::Allowed, Self::RateLimited, Self::QuotaExceeded, Self::Unavailable];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Backend {
    pub(super) const ALL: [Self; 2] = [Self::Memory, Self::Valkey];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Valkey => "valkey",
        }
    }
}

impl Phase {
    pub(super) const ALL: [Self; 4] = [Self::Dns, Self::Connect, Self::FirstByte, Self::Body];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Body => "body",
        }
    }
}

impl PoolKind {
    pub(super) const ALL: [Self; 2] = [Self::Inline, Self::Fetch];

    /// The label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Fetch => "fetch",
        }
    }
}
