//! Why there is no document.

use super::dial::NoAddress;
use crate::policy::Denied;
use std::error::Error as _;

/// Why there is no document. The texts are for the log: they may name addresses.
#[derive(Debug)]
pub enum Error {
    /// The name resolves to what the policy forbids.
    Denied(Denied),
    /// The name could not be resolved.
    Name(String),
    /// No connection came about.
    Connect(String),
    /// No TLS came about.
    Tls(String),
    /// No connection in time.
    ConnectTimeout,
    /// The source answered this instead of a document.
    Status(u16),
    /// What is asked for is elsewhere: what the source says where.
    Redirect(String),
    /// What the source sent is no HTTP, or breaks off.
    Protocol(String),
    /// The document is none that is scanned.
    Unsupported(Unsupported),
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
    /// What reqwest's error means. Only the kinds of the errors beneath it count,
    /// never their words.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let mut cause = error.source();
        let mut words = String::new();
        while let Some(beneath) = cause {
            match beneath.downcast_ref::<NoAddress>() {
                Some(NoAddress::Denied(denied)) => return Self::Denied(denied.clone()),
                Some(no_address) => return Self::Name(no_address.to_string()),
                None => {}
            }
            if let Some(tls) = tls_error(beneath) {
                return Self::Tls(tls.to_string());
            }
            words = beneath.to_string();
            cause = beneath.source();
        }
        if error.is_timeout() {
            Self::ConnectTimeout
        } else if error.is_connect() {
            Self::Connect(words)
        } else {
            Self::Protocol(words)
        }
    }
}

/// An error of TLS, which travels within one of I/O, and that in another.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let within = || tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?);
    error.downcast_ref().or_else(within)
}
