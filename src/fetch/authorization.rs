//! What a rule says of who we are to its origin, read from a file that may change.

use crate::named_file;
use reqwest::header::HeaderValue;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// A value is no longer than this.
const LONGEST: u64 = 8 * 1024;

/// The value of an `Authorization` header.
pub(super) struct Authorization {
    path: PathBuf,
    value: RwLock<HeaderValue>,
    /// Whether it could be read when it was last tried.
    is_well: AtomicBool,
}

/// A file has no such value.
#[derive(Debug)]
pub enum Unusable {
    /// It cannot be read.
    Unreadable(io::Error),
    /// There is nothing in it.
    Empty,
    /// There is more in it than one line of visible characters.
    NoValue,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::Empty => f.write_str("it is empty; write the value of the header into it"),
            Self::NoValue => f.write_str(
                "it holds more than the value of a header: one line of visible ASCII, such as \
                 \"Bearer ...\"",
            ),
        }
    }
}

impl std::error::Error for Unusable {}

impl Authorization {
    pub(super) fn read(path: &Path) -> Result<Self, Unusable> {
        let (path, value) = (path.to_owned(), RwLock::new(read(path)?));
        Ok(Self { path, value, is_well: AtomicBool::new(true) })
    }

    pub(super) fn value(&self) -> HeaderValue {
        self.value.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again, if it has changed. Where it cannot be used, the last value
    /// stays in force.
    pub(super) fn refresh(&self) {
        let read = read(&self.path);
        let was_well = self.is_well.swap(read.is_ok(), Relaxed);
        let path = self.path.display();
        match read {
            Ok(value) if value == self.value() => {}
            Ok(value) => {
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = value;
                tracing::info!(%path, "authorization file reloaded");
            }
            Err(error) if was_well => {
                let message = "authorization file could not be read; keeping the previous value";
                tracing::error!(%path, %error, message);
            }
            Err(_) => {}
        }
    }
}

fn read(path: &Path) -> Result<HeaderValue, Unusable> {
    let text = named_file::read(path, LONGEST).map_err(Unusable::Unreadable)?;
    let value = text.trim_ascii();
    if value.is_empty() {
        return Err(Unusable::Empty);
    }
    if !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Unusable::NoValue);
    }
    let mut value = HeaderValue::from_bytes(value).map_err(|_| Unusable::NoValue)?;
    // Neither shown nor kept in tables.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        let check = |text: &[u8], expected: Result<&str, &str>| {
            std::fs::write(&path, text).unwrap();
            let found = read(&path).map_err(|unusable| unusable.to_string());
            match (found, expected) {
                (Ok(value), Ok(expected)) => {
                    assert_eq!(value.to_str().unwrap(), expected);
                    assert_eq!(format!("{value:?}"), "Sensitive");
                }
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, _) => panic!("{text:?}: {found:?}"),
            }
        };
        check(b"Bearer abc", Ok("Bearer abc"));
        check(b"  Basic dTpw\r\n", Ok("Basic dTpw"));
        check(b"", Err("empty"));
        check(b" \n\n", Err("empty"));
        check(b"Bearer a\nX-Evil: b", Err("more than"));
        check("Bearer ä".as_bytes(), Err("more than"));
        check(b"a\0b", Err("more than"));
        check(&vec![b'a'; LONGEST as usize + 1], Err("larger than 8 KiB"));
        check(&vec![b'a'; LONGEST as usize], Ok(&"a".repeat(LONGEST as usize)));
    }

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        assert!(matches!(Authorization::read(&path), Err(Unusable::Unreadable(_))));
        std::fs::write(&path, "one").unwrap();
        let authorization = Authorization::read(&path).unwrap();
        let check = |change: &dyn Fn(), is_ok, expected: &str| {
            change();
            authorization.refresh();
            assert_eq!(authorization.is_well.load(Relaxed), is_ok);
            assert_eq!(authorization.value(), expected);
        };
        check(&|| {}, true, "one");
        check(&|| std::fs::write(&path, "").unwrap(), false, "one");
        check(&|| std::fs::remove_file(&path).unwrap(), false, "one");
        check(&|| std::fs::write(&path, "two\n").unwrap(), true, "two");
    }
}
