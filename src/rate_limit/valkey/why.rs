//! Why the server is of no use, in words that may be shown.

use redis::{ErrorKind, RedisError};
use std::{fmt, io};

/// Why the server is of no use. What [`fmt::Display`] says of it names no address, and
/// nothing that the server or a library wrote.
#[derive(Debug)]
pub(super) enum Why {
    /// Nobody has tried yet.
    Untried,
    /// No connection came about.
    Unreachable(io::Error),
    /// No TLS came about.
    Tls(io::Error),
    /// Our password cannot be read.
    Password(io::Error),
    /// It did not answer in time.
    Silent,
    /// It ended the connection.
    Closed,
    /// It answered with an error of this code.
    Refused(String),
    /// Its answer was none to what was asked.
    Strange,
}

impl Why {
    /// What else the log may say of it: never what the server wrote but a code, for it
    /// repeats at times what it was sent.
    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::Unreachable(error) | Self::Tls(error) | Self::Password(error) => {
                Some(error.to_string())
            }
            Self::Refused(code) => Some(code.clone()),
            Self::Untried | Self::Silent | Self::Closed | Self::Strange => None,
        }
    }
}

impl From<&RedisError> for Why {
    fn from(error: &RedisError) -> Self {
        let is_code = |code: &&str| {
            (1..=16).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_uppercase())
        };
        match error.kind() {
            ErrorKind::Io => Self::Closed,
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Self::Refused(error.code().filter(is_code).unwrap_or("ERR").to_owned())
            }
            _ => Self::Strange,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untried => "it was not reached yet",
            Self::Unreachable(_) => "no connection to it comes about",
            Self::Tls(_) => "no TLS with it comes about",
            Self::Password(_) => "the password for it cannot be read",
            Self::Silent => "it does not answer in time",
            Self::Closed => "it ended the connection",
            Self::Refused(code) => match code.as_str() {
                "LOADING" => "it is still loading what it keeps",
                "MISCONF" => "it cannot write to its disk",
                "NOAUTH" => "it wants a password",
                "NOPERM" => "it does not permit what is needed",
                "OOM" => "its memory is full",
                "READONLY" => "it is a replica that takes no writes",
                "WRONGPASS" => "it does not accept the password",
                _ => "it answers with an error",
            },
            Self::Strange => "its answers make no sense",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::make_extension_error;

    #[test]
    fn what_the_server_writes_is_not_repeated() {
        let check = |code: &str, words: &str, detail: &str| {
            let written = Some("with args beginning with: 'hunter2'".to_owned());
            let why = Why::from(&make_extension_error(code.to_owned(), written));
            assert_eq!((why.to_string().as_str(), why.detail().as_deref()), (words, Some(detail)));
        };
        check("OOM", "its memory is full", "OOM");
        check("WRONGPASS", "it does not accept the password", "WRONGPASS");
        check("NOVEL", "it answers with an error", "NOVEL");
        check("hunter2", "it answers with an error", "ERR");
        check("", "it answers with an error", "ERR");
    }

    #[test]
    fn what_is_no_error_answer_is_told_apart() {
        let closed = RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(Why::from(&closed).to_string(), "it ended the connection");
        let strange = RedisError::from((ErrorKind::UnexpectedReturnType, "hunter2"));
        let strange = Why::from(&strange);
        assert_eq!(strange.to_string(), "its answers make no sense");
        assert_eq!(strange.detail(), None);
    }

    #[test]
    fn only_the_log_tells_what_the_system_says() {
        let error = || io::Error::other("203.0.113.7");
        for why in [Why::Unreachable(error()), Why::Tls(error()), Why::Password(error())] {
            assert!(!why.to_string().contains("203.0.113.7"), "{why}");
            assert_eq!(why.detail().as_deref(), Some("203.0.113.7"));
        }
        assert_eq!(Why::Untried.to_string(), "it was not reached yet");
    }
}
