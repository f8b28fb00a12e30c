//! Turns errors of fetch and policy into the failures that a caller sees.

use crate::{
    failure::{Code, Failure, Fault},
    fetch::{Error, Unsupported},
    policy::{Denied, DeniedKind},
};
use std::{io, time::Duration};

/// Why a decode ended without an answer.
#[derive(Debug)]
pub enum Stopped {
    /// It failed.
    Failed(Box<Failure>),
    /// The answer could not be written.
    Unwritten(io::Error),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Unwritten(error)
    }
}

/// The `Retry-After` of a refused request; queues do not last longer.
const COME_BACK: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is passed on from a source.
const LATEST: Duration = Duration::from_secs(3600);

/// The failure for a denial of the policy.
pub(super) fn denied(denied: Denied) -> Failure {
    let Denied { kind, detail, reason } = denied;
    match kind {
        DeniedKind::MalformedUrl => Failure::invalid(vec![Fault::new("/source", detail)]),
        _ => Failure::new(Code::SourceDenied, detail),
    }
    .because(reason)
}

/// The failure for a document that could not be fetched.
pub(super) fn not_fetched(error: Error) -> Failure {
    let failure = |code, detail: &str, reason| Failure::new(code, detail).because(reason);
    match error {
        Error::Denied(no) => denied(no),
        Error::Name(reason) => {
            failure(Code::SourceFailed, "the host of the source has no address", reason)
        }
        Error::Connect(reason) | Error::Unable(reason) => {
            failure(Code::SourceFailed, "the service could not connect to the source", reason)
        }
        Error::Tls(reason) => {
            let detail = "the TLS handshake with the source failed; its certificate may be invalid, \
                          or signed by an authority that is not trusted here";
            failure(Code::SourceFailed, detail, reason)
        }
        Error::ConnectTimeout => {
            Failure::new(Code::SourceTimeout, "the service could not connect to the source in time")
        }
        Error::Redirect(_) => Failure::internal("a redirect that was neither followed nor denied"),
        Error::Reset(reason) => {
            let detail = "the source closed the connection without a response";
            failure(Code::SourceFailed, detail, reason)
        }
        Error::FirstByteTimeout => {
            Failure::new(Code::SourceTimeout, "the source did not begin its response in time")
        }
        Error::CircuitOpen(wait) => {
            let detail = "the host of the source has failed repeatedly; no request is sent to it \
                          for a while; try again later";
            Failure { retry_after: Some(wait), ..Failure::new(Code::CircuitOpen, detail) }
        }
        Error::Crowded => {
            let detail = "too many documents of this host are being fetched or wait to be fetched; \
                          try again later";
            Failure { retry_after: Some(COME_BACK), ..Failure::new(Code::Overloaded, detail) }
        }
        Error::NotLookedUp => {
            let detail = "too many names are being resolved for you; try again later";
            Failure { retry_after: Some(COME_BACK), ..Failure::new(Code::Overloaded, detail) }
        }
        Error::Status(status, retry_after) => {
            let retry_after = retry_after.map(|after| after.min(LATEST));
            Failure { source_status: Some(status), retry_after, ..of_status(status) }
        }
        Error::Protocol(reason) | Error::Corrupt(reason) => {
            let detail = "the response of the source is not valid HTTP, or ended early";
            failure(Code::SourceFailed, detail, reason)
        }
        Error::Unsupported(what) => Failure::new(
            Code::UnsupportedDocument,
            match what {
                Unsupported::ContentType => "the Content-Type of the document is not supported",
                Unsupported::ContentEncoding => {
                    "the document has a Content-Encoding other than gzip, which is not supported"
                }
                Unsupported::Charset => "the charset of the document is not supported",
            },
        ),
    }
}

fn of_status(status: u16) -> Failure {
    match status {
        404 | 410 => Failure::new(Code::SourceNotFound, "the source has no such document"),
        408 | 429 => Failure::new(
            Code::SourceFailed,
            format!("the source could not serve the document now (status {status})"),
        ),
        400..=499 => Failure::new(
            Code::SourceRejected,
            format!("the source refused to serve the document (status {status})"),
        ),
        _ => Failure::new(
            Code::SourceFailed,
            format!("the source answered with status {status} instead of the document"),
        ),
    }
}
