//! What the errors beneath a decode mean for whoever asked for it.

use crate::{
    failure::{Code, Failure, Fault},
    fetch::{Error, Unsupported},
    policy::{Denied, DeniedKind},
};
use std::{io, time::Duration};

/// Why a decode ended without its answer.
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

/// When who was turned away may come back: those who are there do not stay longer.
const COME_BACK: Duration = Duration::from_secs(1);
/// However long a source asks for, it may be tried again by then.
const LATEST: Duration = Duration::from_secs(3600);

/// The policy's no.
pub(super) fn denied(denied: Denied) -> Failure {
    let Denied { kind, detail, reason } = denied;
    match kind {
        DeniedKind::MalformedUrl => Failure::invalid(vec![Fault::new("/source", detail)]),
        _ => Failure::new(Code::SourceDenied, detail),
    }
    .because(reason)
}

/// What came of asking the source.
pub(super) fn not_fetched(error: Error) -> Failure {
    let failure = |code, detail: &str, reason| Failure::new(code, detail).because(reason);
    match error {
        Error::Denied(no) => denied(no),
        Error::Name(reason) => {
            failure(Code::SourceFailed, "the host of the source has no address", reason)
        }
        Error::Connect(reason) | Error::Unable(reason) => {
            failure(Code::SourceFailed, "no connection to the source could be made", reason)
        }
        Error::Tls(reason) => {
            let detail = "no secure connection to the source could be made; its certificate may be \
                          invalid or not trusted here";
            failure(Code::SourceFailed, detail, reason)
        }
        Error::ConnectTimeout => {
            Failure::new(Code::SourceTimeout, "no connection to the source could be made in time")
        }
        Error::Redirect(_) => Failure::internal("a redirect that was neither followed nor denied"),
        Error::Reset(reason) => {
            let detail = "the connection to the source ended before an answer came";
            failure(Code::SourceFailed, detail, reason)
        }
        Error::FirstByteTimeout => {
            Failure::new(Code::SourceTimeout, "the source did not begin to answer in time")
        }
        Error::CircuitOpen(wait) => {
            let detail = "the host of the source has failed of late and is left alone for a \
                          while; try again later";
            Failure { retry_after: Some(wait), ..Failure::new(Code::CircuitOpen, detail) }
        }
        Error::Crowded => {
            let detail = "as many documents of this host are being fetched and waited for as may \
                          be at a time; try again later";
            Failure { retry_after: Some(COME_BACK), ..Failure::new(Code::Overloaded, detail) }
        }
        Error::NotLookedUp => {
            let detail = "as many names are being looked up for you as may be at a time; try \
                          again later";
            Failure { retry_after: Some(COME_BACK), ..Failure::new(Code::Overloaded, detail) }
        }
        Error::Status(status, retry_after) => {
            let retry_after = retry_after.map(|after| after.min(LATEST));
            Failure { source_status: Some(status), retry_after, ..of_status(status) }
        }
        Error::Protocol(reason) | Error::Corrupt(reason) => {
            let detail = "the answer of the source is not valid, or broke off";
            failure(Code::SourceFailed, detail, reason)
        }
        Error::Unsupported(what) => Failure::new(
            Code::UnsupportedDocument,
            match what {
                Unsupported::ContentType => "the type of the document is none that is scanned",
                Unsupported::ContentEncoding => {
                    "the document is packed in another way than gzip, which was not asked for"
                }
                Unsupported::Charset => "the charset of the document is none that can be read",
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
