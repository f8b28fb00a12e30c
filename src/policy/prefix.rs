//! The path of a rule, and which paths lie below it.
//!
//! Servers differ in how often they decode a path, in what they do with path parameters,
//! empty segments and backslashes, and in when they resolve dot segments; a proxy in front may
//! do all of that once before. So a path is below a prefix only if it begins with it as
//! written, and no server can read a `..` in what follows. Without a `..` no reading leads up,
//! whatever else a server does.

/// The beginning of a path in normal form; it ends at a segment boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix(String);

impl Prefix {
    /// Accepts a path as the URL parser leaves it, or `None` if servers may read other
    /// segments than it shows.
    pub(super) fn new(path: &str) -> Option<Self> {
        let upper = path.to_ascii_uppercase();
        let hides_structure = ["%2E", "%2F", "%5C", "//"].iter().any(|text| upper.contains(text));
        let is_plain = path.starts_with('/') && !hides_structure && !may_lead_up(path);
        is_plain.then(|| Self(normal_form(path)))
    }

    /// Its length in bytes: of two rules that cover a path, the longer prefix is narrower.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a path, as the URL parser leaves it, lies below in every reading.
    pub(super) fn covers(&self, path: &str) -> bool {
        self.0 == "/" || self.begins(path) && !may_lead_up(path)
    }

    /// Whether a path begins with the prefix as written.
    pub(super) fn begins(&self, path: &str) -> bool {
        let path = normal_form(path);
        path.strip_prefix(&self.0)
            .is_some_and(|rest| self.0.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    }
}

/// The path as RFC 3986 compares it: unreserved characters decoded, hex digits in upper case.
fn normal_form(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        normal.push_str(before);
        let code = escape.get(1..3).and_then(|digits| hex(digits.as_bytes()));
        rest = match code {
            Some(code) if code.is_ascii_alphanumeric() || b"-._~".contains(&code) => {
                normal.push(char::from(code));
                &escape[3..]
            }
            Some(_) => {
                normal.push_str(&escape[..3].to_ascii_uppercase());
                &escape[3..]
            }
            None => {
                normal.push('%');
                &escape[1..]
            }
        };
    }
    normal + rest
}

/// Whether some server could read a `..` in a path, or bytes that servers disagree about.
fn may_lead_up(path: &str) -> bool {
    let bytes = fully_decoded(path);
    if is_overlong(&bytes) || has_unicode_escape(&bytes) {
        return true;
    }
    let text = String::from_utf8_lossy(&bytes);
    text.contains(|c: char| c.is_control() || is_other_dot(c))
        || text.split(is_separator).any(is_parent)
}

/// Percent-decodes again and again until nothing is left to decode, in linear time.
fn fully_decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        decoded.push(byte);
        // A decoded byte can complete another escape: `%25` and `2e`, `%%32` and `e`.
        while let [.., b'%', high, low] = decoded[..]
            && let Some(code) = hex(&[high, low])
        {
            decoded.truncate(decoded.len() - 3);
            decoded.push(code);
        }
    }
    decoded
}

/// The byte that two hexadecimal digits stand for.
fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let &[high, low] = digits else { return None };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Whether there is UTF-8 that is longer than needed: some decoders read `%c0%ae` as a dot.
///
/// Some also skip the check that the second byte continues the first, so that `%c0%2e` is
/// a dot to them.
fn is_overlong(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| {
        matches!(
            pair,
            [0xc0 | 0xc1, 0x80..=0xbf | b'.' | b'/' | b'\\']
                | [0xe0, 0x80..=0x9f]
                | [0xf0, 0x80..=0x8f]
                | [0xf8, 0x80..=0x87]
                | [0xfc, 0x80..=0x83]
        )
    })
}

/// Whether there is a `%uXXXX`, which Microsoft's servers decode.
fn has_unicode_escape(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|six| {
        six[0] == b'%'
            && matches!(six[1], b'u' | b'U')
            && six[2..].iter().all(u8::is_ascii_hexdigit)
    })
}

/// A character that compatibility mappings turn into one or two full stops.
fn is_other_dot(c: char) -> bool {
    matches!(c, '\u{2024}' | '\u{2025}' | '\u{fe52}' | '\u{ff0e}')
}

/// A slash or backslash, or what compatibility mappings turn into one.
fn is_separator(c: char) -> bool {
    matches!(
        c,
        '/' | '\\'
            | '\u{2044}'
            | '\u{2215}'
            | '\u{2216}'
            | '\u{29f5}'
            | '\u{29f8}'
            | '\u{fe68}'
            | '\u{ff0f}'
            | '\u{ff3c}'
    )
}

/// Whether a segment is `..` to some server: without its parameters, a query or a fragment
/// that decoding revealed, and the blanks that some file systems ignore.
fn is_parent(segment: &str) -> bool {
    let ends = |c: char| matches!(c, ';' | '?' | '#' | '\u{ff1b}');
    let is_blank = |c: char| c.is_whitespace() || c == '+';
    let name = segment.split(ends).next().unwrap_or_default();
    let dots = name.chars().filter(|c| *c == '.').count();
    let has_blanks = name.contains(is_blank);
    let is_dots = name.chars().all(|c| c == '.' || is_blank(c));
    is_dots && (dots == 2 || dots > 2 && has_blanks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prefix: &str, path: &str, expected: bool) {
        let prefix = Prefix::new(prefix).unwrap();
        assert_eq!(prefix.covers(path), expected, "{prefix:?} {path}");
    }

    #[test]
    fn a_prefix_ends_at_a_segment_boundary() {
        check("/", "/", true);
        check("/", "/anything/%252e%252e/", true);
        check("/a/b", "/a/b", true);
        check("/a/b", "/a/b/", true);
        check("/a/b", "/a/b/c", true);
        check("/a/b", "/a/bc", false);
        check("/a/b", "/a/b;c", false);
        check("/a/b", "/a", false);
        check("/a/b", "/a/", false);
        check("/a/b/", "/a/b/", true);
        check("/a/b/", "/a/b/c", true);
        check("/a/b/", "/a/b", false);
        check("/a/b/", "/a/bc", false);
        check("/a", "/A", false);
        check("/a", "/b/a", false);
        check("/a", "//a", false);
        check("/a/", "/a//b", true);
    }

    #[test]
    fn a_prefix_is_compared_in_normal_form() {
        for prefix in ["/%c3%bc/", "/%C3%BC/", "/%c3%Bc/"] {
            check(prefix, "/%c3%bc/x", true);
            check(prefix, "/%C3%BC/x", true);
            check(prefix, "/%C3%BD/x", false);
        }
        for prefix in ["/~user/", "/%7Euser/", "/%7euser/", "/~%75ser/"] {
            check(prefix, "/~user/x", true);
            check(prefix, "/%7Euser/x", true);
            check(prefix, "/%7e%75%73er/x", true);
            check(prefix, "/%257Euser/x", false);
        }
        check("/a.b/", "/a%2eb/c", true);
        check("/A/", "/%41/b", true);
        check("/a%20b/", "/a%20b/c", true);
        // Reserved characters and their escapes may name different resources.
        check("/a@b/", "/a%40b/c", false);
        check("/a%40b/", "/a@b/c", false);
        check("/a%b/", "/a%b/c", true);
        check("/a%/", "/a%/%", true);
    }

    #[test]
    fn the_prefix_itself_is_read_as_written() {
        check("/a/", "/a%2fb", false);
        check("/a/", "/a%5cb", false);
        check("/a/", "/b%2f..%2fa/c", false);
        check("/a/", "/b/..%2fa/c", false);
        check("/a/", "/.%2fa/c", false);
    }

    #[test]
    fn encoded_dots_and_slashes_lead_nowhere_else() {
        check("/a/", "/a/..%2fb", false);
        check("/a/", "/a/..%2f", false);
        check("/a/", "/a/..%5cb", false);
        check("/a/", "/a/%2e%2e%2fb", false);
        check("/a/", "/a/x%2f..%2f..%2fb", false);
        check("/a/", "/a/%252e%252e/b", false);
        check("/a/", "/a/..%25252fb", false);
        check("/a/", "/a/%25%32%65%25%32%65/b", false);
        check("/a/", "/a/%%32%65./b", false);
        check("/a/", &format!("/a/%{}2e./b", "25".repeat(1000)), false);
    }

    #[test]
    fn parameters_and_empty_segments_hide_no_parent() {
        check("/a/", "/a/;/..;/b", false);
        check("/a/", "/a/.;/..;/b", false);
        check("/a/", "/a/;v=1/..;v=1/b", false);
        check("/a/", "/a/;/..%2fb", false);
        check("/a/", "/a/%3b/..;/b", false);
        check("/a/", "/a/%252e/..%2fb", false);
        check("/a/", "/a/%252f/..%2fb", false);
        check("/a/", "/a/%2f..%2fb", false);
        check("/a/", "/a//..%2fb", false);
        check("/a/", "/a/..%3bx/b", false);
        check("/a/", "/a/..%253bx/b", false);
        check("/a/", "/a/..%3fx/b", false);
        check("/a/", "/a/..%23x/b", false);
        check("/a", "/a/..;/ab", false);
    }

    #[test]
    fn what_servers_disagree_about_is_not_below() {
        for segment in [
            "..%00",
            "x%00",
            "x%0a",
            "x%7f",
            "x%c2%85",
            "..%20",
            "%20..",
            ".%20.",
            "..%20.",
            "..+",
            "..%c2%a0",
            "%c0%ae%c0%ae",
            "%c0%2e",
            "%c1%9c",
            "x%c0%af",
            "%e0%80%ae",
            "%f0%80%80%ae",
            "%f8%80%80%80%ae",
            "%fc%80%80%80%80%ae",
            "%25c0%25ae",
            "%u002e",
            "%U002E%u002e",
            "%25u002e",
            "%u00%32e",
            "%ef%bc%8e%ef%bc%8e",
            "%e2%80%a5",
            "%e2%80%a4",
            "..%ef%bc%8fb",
            "..%e2%88%95b",
            "..%ef%bc%9bb",
        ] {
            check("/a/", &format!("/a/{segment}"), false);
            check("/a/", &format!("/a/{segment}/b"), false);
            check("/", &format!("/a/{segment}/b"), true);
        }
    }

    #[test]
    fn a_prefix_has_the_segments_that_it_seems_to_have() {
        let check = |path: &str, expected| {
            assert_eq!(Prefix::new(path).is_some(), expected, "{path}");
        };
        check("/", true);
        check("/a/b/", true);
        check("/a.b/%C3%BC", true);
        check("/a;v=1/", true);
        check("", false);
        check("a", false);
        check("/a//b", false);
        check("/a%2fb", false);
        check("/a%2Eb", false);
        check("/a%5cb", false);
        check("/..;/b", false);
        check("/a%252f..%252fb", false);
        check("/a%00b", false);
    }
}
