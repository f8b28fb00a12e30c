//! Where the server is, and what is read for it from files.

use crate::named_file;
use rustls::pki_types::{ServerName, pem};
use std::{
    fmt, io,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    time::Duration,
};
use zeroize::Zeroizing;

/// Which server is asked. It has no `Debug`: who writes a password into the URL, where
/// none belongs, shall not find it in a log.
pub struct ValkeySettings {
    /// `valkey://host:port/database`, or `valkeys://` for TLS; `redis://` and `rediss://`
    /// mean the same. Without a port it is 6379.
    pub url: String,
    /// What the server wants to know; read again for each connection.
    pub password_file: Option<PathBuf>,
    /// Who signs the server's certificate, instead of those whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How long one decision may take.
    pub timeout: Duration,
}

/// Why a server cannot be asked that is set up so.
#[derive(Debug)]
pub enum ValkeyFault {
    /// The URL is none.
    Url,
    /// The password cannot be read.
    Password(io::Error),
    /// The file of authorities is no list of certificates in PEM.
    Ca(pem::Error),
    /// There is no certificate in it.
    CaEmpty,
    /// It is of no use, for the URL is one without TLS.
    CaWithoutTls,
    /// There is no such file, and the system trusts nobody.
    NoAuthority,
    /// A certificate in it cannot be an authority's.
    Tls(rustls::Error),
}

impl fmt::Display for ValkeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str(
                "url must be valkey://host:port or valkeys://host:port, with /database behind \
                 it where it is not 0, and without a password",
            ),
            Self::Password(error) => write!(f, "password_file cannot be read: {error}"),
            Self::Ca(error) => write!(f, "ca_file cannot be read as PEM: {error}"),
            Self::CaEmpty => f.write_str("there is no certificate in ca_file"),
            Self::CaWithoutTls => f.write_str("ca_file needs a url that begins with valkeys://"),
            Self::NoAuthority => f.write_str(
                "the system trusts no certificate authority: install the package \
                 ca-certificates or set ca_file",
            ),
            Self::Tls(error) => write!(f, "a certificate in ca_file cannot be trusted: {error}"),
        }
    }
}

impl std::error::Error for ValkeyFault {}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: u32,
    /// The name that its certificate must have, where there is one.
    pub(super) certified: Option<ServerName<'static>>,
}

const SCHEMES: [(&str, bool); 4] =
    [("valkey://", false), ("redis://", false), ("valkeys://", true), ("rediss://", true)];

const DEFAULT_PORT: u16 = 6379;

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, ValkeyFault> {
        Self::read(url).ok_or(ValkeyFault::Url)
    }

    fn read(url: &str) -> Option<Self> {
        let (rest, is_tls) = SCHEMES
            .iter()
            .find_map(|(scheme, is_tls)| Some((url.strip_prefix(scheme)?, *is_tls)))?;
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host.parse::<Ipv6Addr>().ok()?.to_string(), port)
            }
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                let (host, port) = authority.split_at(end);
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                (!host.is_empty() && host.bytes().all(is_name)).then(|| (host.to_owned(), port))?
            }
        };
        let port = match port {
            "" => DEFAULT_PORT,
            _ => u16::try_from(number(port.strip_prefix(':')?)?).ok().filter(|port| *port > 0)?,
        };
        let database = if database.is_empty() { 0 } else { number(database)? };
        let certified = match is_tls {
            true => Some(ServerName::try_from(host.clone()).ok()?),
            false => None,
        };
        Some(Self { host, port, database, certified })
    }
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A password is no longer than this.
const LONGEST_PASSWORD: u64 = 8 * 1024;

/// What is in a file, without the end of its line.
pub(super) fn read_password(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut password = named_file::read(path, LONGEST_PASSWORD)?;
    let text = password.strip_suffix(b"\n").unwrap_or(&password);
    let length = text.strip_suffix(b"\r").unwrap_or(text).len();
    password.truncate(length);
    match length {
        0 => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
        _ => Ok(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn urls_say_where_the_server_is() {
        let check = |url: &str, expected: Option<(&str, u16, u32, bool)>| {
            let address = Address::parse(url).ok();
            let found = address
                .as_ref()
                .map(|of| (of.host.as_str(), of.port, of.database, of.certified.is_some()));
            assert_eq!(found, expected, "{url}");
        };
        check("valkey://cache", Some(("cache", 6379, 0, false)));
        check("redis://127.0.0.1:7000/", Some(("127.0.0.1", 7000, 0, false)));
        check("valkeys://cache.example:6380/15", Some(("cache.example", 6380, 15, true)));
        check("rediss://[2001:DB8::1]", Some(("2001:db8::1", 6379, 0, true)));
        check("valkey://my_cache:1/0", Some(("my_cache", 1, 0, false)));
        for wrong in [
            "",
            "cache:6379",
            "http://cache",
            "valkey://",
            "valkey:///1",
            "valkey://:6379",
            "valkey://cache:",
            "valkey://cache:0",
            "valkey://cache:65536",
            "valkey://cache:+1",
            "valkey://cache/one",
            "valkey://cache/1/2",
            "valkey://cache/4294967296",
            "valkey://:hunter2@cache",
            "valkey://cache?protocol=resp3",
            "valkeys://cache#insecure",
            "valkey://2001:db8::1",
            "valkey://[2001:db8::1",
            "valkey://[cache]",
            "valkey://[::1]6379",
            "valkeys://-.",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_password_is_what_is_in_the_file_but_the_end_of_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |text: &str, expected: Option<&str>| {
            fs::write(file.path(), text).unwrap();
            let password = read_password(file.path()).ok();
            assert_eq!(
                password.as_ref().map(|of| &of[..]),
                expected.map(str::as_bytes),
                "{text:?}"
            );
        };
        check("hunter2", Some("hunter2"));
        check("hunter2\n", Some("hunter2"));
        check("hunter2\r\n", Some("hunter2"));
        check(" hunter 2 \n\n", Some(" hunter 2 \n"));
        check("", None);
        check("\n", None);
    }

    #[test]
    fn a_fault_does_not_repeat_the_url() {
        let fault = Address::parse("valkey://:hunter2@cache").unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("hunter2"));
    }
}
