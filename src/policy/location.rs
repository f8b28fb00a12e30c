//! The `Location` headers of a redirect, read as browsers read them.

use std::fmt::Write;

/// Where a redirect points: a reference to a URL, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A reference in printable ASCII, empty perhaps.
    One(String),
    /// Headers that differ: browsers follow none of them.
    Several,
}

impl Location {
    /// Reads the values of all `Location` headers. `None` without a header.
    ///
    /// What the URL standard removes is removed first: spaces and control characters at both
    /// ends, tabs and line breaks anywhere. Then each byte that is no printable ASCII is
    /// percent-encoded, inner spaces and bytes that are no UTF-8 included; so is a backslash in a
    /// query, where it is an ordinary character. A fragment is dropped. A path or query gets
    /// the bytes that the URL standard gives it, and the host is the same, because the standard
    /// decodes a host before it reads it. So whatever reads the result finds in it what a browser
    /// finds in the header.
    pub fn read<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut values = values.into_iter().map(in_ascii);
        let first = values.next()?;
        Some(if values.all(|value| value == first) { Self::One(first) } else { Self::Several })
    }

    /// The reference without what may be secret in it: for the operator.
    pub fn shown(&self) -> &str {
        let Self::One(reference) = self else { return "several places" };
        let end = reference.find(['?', '#']).unwrap_or(reference.len());
        let reference = &reference[..end];
        // Userinfo, if that is what it is.
        if reference.contains('@') { "a place with an @ in it" } else { reference }
    }
}

fn in_ascii(value: &[u8]) -> String {
    let start = value.iter().position(|byte| *byte > b' ').unwrap_or(value.len());
    let end = value.iter().rposition(|byte| *byte > b' ').map_or(start, |last| last + 1);
    let mut reference = String::with_capacity(value.len());
    let mut is_in_query = false;
    for byte in value[start..end].iter().filter(|byte| !b"\t\n\r".contains(byte)) {
        is_in_query |= *byte == b'?';
        if *byte == b'#' {
            break;
        } else if byte.is_ascii_graphic() && !(is_in_query && *byte == b'\\') {
            reference.push(char::from(*byte));
        } else {
            // Writing to a `String` never fails.
            let _ = write!(reference, "%{byte:02X}");
        }
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::{Position, Url};

    #[test]
    fn a_location_is_encoded_as_the_url_standard_does() {
        let check = |value: &[u8], expected: &str| {
            let location = Location::read([value]);
            assert_eq!(location, Some(Location::One(expected.to_owned())));
            // The parser of the standard agrees, wherever the bytes are text.
            if let Ok(value) = std::str::from_utf8(value) {
                let base = Url::parse("https://a.example/dir/one?q").unwrap();
                let requested = |reference: &str| {
                    let url =
                        base.join(reference).map(|url| url[..Position::AfterQuery].to_owned());
                    url.map(|url| url.replace('\\', "%5C"))
                };
                assert_eq!(requested(expected), requested(value), "{value:?}");
            }
        };
        check(b"", "");
        check(b"/two?p#f", "/two?p");
        check(b"/two?\\p#\\f", "/two?%5Cp");
        check(b"/\\two", "/\\two");
        check(" \t/a b\u{1f}".as_bytes(), "/a%20b");
        check("/ü?日#é".as_bytes(), "/%C3%BC?%E6%97%A5");
        check(b"/\xff", "/%FF");
        check(b"/%zz%\xc3\xbc", "/%zz%%C3%BC");
        check("//bücher.example/".as_bytes(), "//b%C3%BCcher.example/");
        check("https://a。example/\u{3000}".as_bytes(), "https://a%E3%80%82example/%E3%80%80");
        check("https://a\u{3000}b.example/".as_bytes(), "https://a%E3%80%80b.example/");
        check("https://a＠b.example/".as_bytes(), "https://a%EF%BC%A0b.example/");
        check(b"https://a b.example/", "https://a%20b.example/");
        check(b"ht tps://a.example/", "ht%20tps://a.example/");
        check(b"ht\ttps://a.example/", "https://a.example/");
        check(b"/\t/a.example\r\n/", "//a.example/");
        check(b"/a\x01\x7f", "/a%01%7F");
        check(b"https://a.example:8 0/", "https://a.example:8%200/");
    }

    #[test]
    fn equal_headers_are_one_and_others_are_several() {
        let read = |values: &[&str]| Location::read(values.iter().map(|value| value.as_bytes()));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["/a", " /a"]), read(&["/a"]));
        assert_eq!(read(&["/a", "/a", "/b"]), Some(Location::Several));
        assert_eq!(read(&["", "/a"]), Some(Location::Several));
    }

    #[test]
    fn what_is_shown_has_no_query_and_no_userinfo() {
        let check = |value: &str, expected: &str| {
            assert_eq!(Location::read([value.as_bytes()]).unwrap().shown(), expected);
        };
        check("/a?s3cret", "/a");
        check("/a#s3cret", "/a");
        check("https://s3cret@a.example/", "a place with an @ in it");
        assert_eq!(Location::Several.shown(), "several places");
    }
}
