//! Why there is no document.

use super::{circuit::Conduct, resolver::NoAddress};
use crate::policy::{Denied, Location};
use std::{error::Error as _, io, time::Duration};

/// Why there is no document. The texts are for the log: they may name addresses.
#[derive(Debug)]
pub enum Error {
    /// The name resolves to what the policy forbids.
    Denied(Denied),
    /// The name could not be resolved.
    Name(String),
    /// No connection came about.
    Connect(String),
    /// No connection came about, for want of something on this machine.
    Unable(String),
    /// No TLS came about.
    Tls(String),
    /// No connection in time.
    ConnectTimeout,
    /// The connection ended before an answer began.
    Reset(String),
    /// No answer began in time.
    FirstByteTimeout,
    /// The source answered this instead of a document, and when it may be asked again.
    Status(u16, Option<Duration>),
    /// What is asked for is elsewhere: what the source says where.
    Redirect(Location),
    /// What the source sent is no HTTP, or breaks off.
    Protocol(String),
    /// The body is not what its head says: no gzip, or chunks without a valid size.
    Corrupt(String),
    /// The document is none that is scanned.
    Unsupported(Unsupported),
    /// The origin was not asked: it has failed of late, and is left alone for so long.
    CircuitOpen(Duration),
    /// The origin was not asked: as many requests as may be are there or wait.
    Crowded,
    /// The name was not looked up: as many are for the caller as may be.
    NotLookedUp,
}

/// What about a document is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// Its type.
    ContentType,
    /// Its content encoding.
    ContentEncoding,
    /// Its charset.
    Charset,
}

impl Error {
    /// What it says of the origin.
    pub fn conduct(&self) -> Conduct {
        match self {
            Self::Connect(_)
            | Self::Tls(_)
            | Self::ConnectTimeout
            | Self::Reset(_)
            | Self::FirstByteTimeout
            | Self::Status(500.., _)
            | Self::Protocol(_) => Conduct::Bad,
            Self::Status(_, _) | Self::Redirect(_) => Conduct::Good,
            Self::Corrupt(_) | Self::Unsupported(_) => Conduct::Odd,
            // Whoever fails to answer about a name is not the origin.
            Self::Name(_)
            | Self::Unable(_)
            | Self::Denied(_)
            | Self::CircuitOpen(_)
            | Self::Crowded
            | Self::NotLookedUp => Conduct::Unknown,
        }
    }

    /// Whether the same request may fare better soon.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Unable(_) | Self::ConnectTimeout | Self::Reset(_) => true,
            Self::Status(status, _) => matches!(status, 408 | 429 | 502..=504),
            _ => false,
        }
    }

    /// What it means that there was no head of an answer.
    pub(super) fn before_the_head(error: &reqwest::Error) -> Self {
        match Self::of(error) {
            Self::Protocol(words) if !is_garbled(error) => Self::Reset(words),
            error => error,
        }
    }

    /// What an error means that came after the head of an answer.
    pub(super) fn after_the_head(error: &reqwest::Error) -> Self {
        match Self::of(error) {
            Self::Protocol(words) if is_misframed(error) => Self::Corrupt(words),
            error => error,
        }
    }

    /// What reqwest's error means. Only the kinds of the errors beneath it count,
    /// never their words.
    fn of(error: &reqwest::Error) -> Self {
        let mut cause = error.source();
        let (mut words, mut is_ours) = (String::new(), false);
        while let Some(beneath) = cause {
            match beneath.downcast_ref::<NoAddress>() {
                Some(NoAddress::Denied(denied)) => return Self::Denied(denied.clone()),
                Some(NoAddress::Crowded) => return Self::NotLookedUp,
                Some(no_address) => return Self::Name(no_address.to_string()),
                None => {}
            }
            if let Some(tls) = tls_error(beneath) {
                return Self::Tls(tls.to_string());
            }
            is_ours |= beneath.downcast_ref().is_some_and(is_want);
            words = beneath.to_string();
            cause = beneath.source();
        }
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => Self::ConnectTimeout,
            (true, false) if is_ours => Self::Unable(words),
            (true, false) => Self::Connect(words),
            (false, _) => Self::Protocol(words),
        }
    }
}

/// Whether this machine has no descriptor, no port, no memory or no way to where it is.
fn is_want(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, OutOfMemory};
    // Too many files, of the process or of the system; no room for buffers.
    const NO_FILES: [i32; 3] = [24, 23, 105];
    matches!(error.kind(), AddrNotAvailable | NetworkUnreachable | OutOfMemory)
        || error.raw_os_error().is_some_and(|code| NO_FILES.contains(&code))
}

/// Whether there was an answer, that cannot be read.
fn is_garbled(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(hyper::Error::is_parse))
}

/// Whether all of a body arrives, on a connection that stands, and its chunks cannot be told
/// apart. A connection that ends or is reset has other kinds.
fn is_misframed(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};
    causes(error).any(|cause| {
        let kind = cause.downcast_ref().map(io::Error::kind);
        matches!(kind, Some(InvalidData | InvalidInput))
    })
}

/// The errors beneath one.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// An error of TLS, which travels within one of I/O, and that in another.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let within = || tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?);
    error.downcast_ref().or_else(within)
}
