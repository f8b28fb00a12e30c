//! The hosts file of the system, usually `/etc/hosts`.
//!
//! It is read for each lookup, as the C library does: a change is in force at once, nothing is
//! kept in memory, and a lookup happens only for a new connection.

use crate::named_file;
use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// A larger file is not read. Lists of blocked hosts have a few MiB.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A hosts file, which may be missing.
pub(super) struct HostsFile {
    path: PathBuf,
    /// It could not be read the last time: that is logged once.
    is_broken: AtomicBool,
}

impl HostsFile {
    pub(super) fn at(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), is_broken: AtomicBool::new(false) }
    }

    /// Every address that the file has for a name, in the order of the file. None where the
    /// file cannot be read: the name server is asked then, as the C library does. Blocks.
    pub(super) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let text = match named_file::read(&self.path, MAX_BYTES) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                if !self.is_broken.swap(true, Relaxed) {
                    let (path, error) = (self.path.display().to_string(), error.to_string());
                    tracing::warn!(path, error, "hosts file could not be read; ignoring it");
                }
                return Vec::new();
            }
            read => read.unwrap_or_default(),
        };
        self.is_broken.store(false, Relaxed);
        addresses_of(name, &String::from_utf8_lossy(&text))
    }
}

/// The addresses of a name in the text of a hosts file. Each line is an address, then names for
/// it; `#` begins a comment. Names are compared whole, without regard to case or to one dot at
/// the end.
fn addresses_of(name: &str, text: &str) -> Vec<IpAddr> {
    let whole = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let name = whole(name);
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| whole(word) == name).then_some(address)
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_name_has_the_addresses_of_every_line_that_has_the_whole_name() {
        let text = "# 10.0.0.9 docs.example.org\n\
                    127.0.0.1\tlocalhost\r\n\
                    ::1 localhost ip6-localhost\n\
                    \n\
                    \t10.0.0.1   Docs.Example.org. docs # 10.0.0.8 hidden\n\
                    10.0.0.2 x-docs.example.org docs.example.org.x docs.example.org..\n\
                    fd00::1 docs\n\
                    fe80::1%eth0 scoped\n\
                    10.0.0 short\n\
                    10.0.0.010 octal\n\
                    10.0.0.3\n\
                    docs 10.0.0.4\n\
                    10.0.0.5 d\u{f6}cs#\n\
                    10.0.0.6 last";
        let check = |name: &str, expected: &[&str]| {
            let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(addresses_of(name, text), expected, "{name}");
        };
        check("localhost", &["127.0.0.1", "::1"]);
        check("LocalHost.", &["127.0.0.1", "::1"]);
        check("ip6-localhost", &["::1"]);
        check("docs.example.org", &["10.0.0.1"]);
        check("docs.example.org.", &["10.0.0.1"]);
        check("docs", &["10.0.0.1", "fd00::1"]);
        check("example.org", &[]);
        check("hidden", &[]);
        check("10.0.0.8", &[]);
        check("scoped", &[]);
        check("short", &[]);
        check("octal", &[]);
        check("10.0.0.4", &[]);
        check("last", &["10.0.0.6"]);
        check("", &[]);
    }

    #[test]
    fn a_file_is_read_as_it_is_now_and_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = HostsFile::at(folder.path().join("hosts"));
        let check = |expected: &[[u8; 4]]| {
            let expected: Vec<IpAddr> = expected.iter().copied().map(IpAddr::from).collect();
            assert_eq!(file.addresses("a"), expected);
        };
        check(&[]);
        fs::write(&file.path, "10.0.0.1 a\n").unwrap();
        check(&[[10, 0, 0, 1]]);
        fs::write(&file.path, b"10.0.0.9 \xff\n10.0.0.2 a\n").unwrap();
        check(&[[10, 0, 0, 2]]);
        fs::File::create(&file.path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        check(&[]);
        fs::remove_file(&file.path).unwrap();
        fs::create_dir(&file.path).unwrap();
        check(&[]);
    }
}
