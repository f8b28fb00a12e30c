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

/// Whether some server could read a `..` in a path, or characters that servers disagree about.
fn may_lead_up(path: &str) -> bool {
    let bytes = fully_decoded(path);
    if bytes.iter().any(u8::is_ascii_control) || hides_structure(&bytes) {
        return true;
    }
    let text = String::from_utf8_lossy(&bytes);
    text.contains(is_other_dot) || hides_escape(&text) || text.split(is_separator).any(is_parent)
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

/// Whether there is UTF-8 that is longer than needed and stands for a character that has a
/// meaning in a path: some decoders read `%c0%ae` as a dot. Other pairs of these bytes are
/// ordinary characters in GBK, EUC-KR and other charsets.
fn hides_structure(bytes: &[u8]) -> bool {
    let has_meaning = |code: u8| code.is_ascii_control() || b"./\\;%?#".contains(&code);
    (0..bytes.len()).any(|at| match bytes[at..] {
        // Some decoders do not check that the second byte continues the first.
        [0xc0 | 0xc1, b'.' | b'/' | b'\\', ..] => true,
        [lead @ (0xc0 | 0xc1), last @ 0x80..=0xbf, ..]
        | [0xe0, lead @ (0x80 | 0x81), last @ 0x80..=0xbf, ..]
        | [0xf0, 0x80, lead @ (0x80 | 0x81), last @ 0x80..=0xbf, ..]
        | [0xf8, 0x80, 0x80, lead @ (0x80 | 0x81), last @ 0x80..=0xbf, ..]
        | [0xfc, 0x80, 0x80, 0x80, lead @ (0x80 | 0x81), last @ 0x80..=0xbf, ..] => {
            has_meaning((lead & 1) << 6 | last & 0x3f)
        }
        _ => false,
    })
}

/// Whether there is a `%uXXXX`, which Microsoft's servers decode, or an escape with another
/// percent sign.
fn hides_escape(text: &str) -> bool {
    let is_hex = |text: &str, digits: usize| {
        text.len() >= digits && text.bytes().take(digits).all(|byte| byte.is_ascii_hexdigit())
    };
    let others = ['\u{ff05}', '\u{fe6a}'];
    text.split('%')
        .skip(1)
        .any(|rest| rest.strip_prefix(['u', 'U']).is_some_and(|digits| is_hex(digits, 4)))
        || text.split(others).skip(1).any(|rest| is_hex(rest, 2))
}

/// A character that compatibility mappings turn into one or two full stops.
fn is_other_dot(c: char) -> bool {
    matches!(c, '\u{2024}' | '\u{2025}' | '\u{fe30}' | '\u{fe52}' | '\u{ff0e}')
}

/// A slash or backslash, or what some conversion turns into one: compatibility mappings,
/// transliteration, or Shift_JIS and JOHAB, where the yen and won signs are the backslash.
fn is_separator(c: char) -> bool {
    matches!(
        c,
        '/' | '\\'
            | '\u{a5}'
            | '\u{2044}'
            | '\u{20a9}'
            | '\u{2215}'
            | '\u{2216}'
            | '\u{2571}'
            | '\u{29f5}'
            | '\u{29f8}'
            | '\u{29f9}'
            | '\u{fe68}'
            | '\u{ff0f}'
            | '\u{ff3c}'
    )
}

/// Whether a segment is `..` to some server: without its parameters, a query or a fragment
/// that decoding revealed, and the characters that some servers or file systems ignore.
fn is_parent(segment: &str) -> bool {
    let ends = |c| matches!(c, ';' | '?' | '#' | '\u{37e}' | '\u{fe54}' | '\u{ff1b}');
    let is_ignored = |c: char| {
        let is_invisible =
            matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
        c.is_whitespace() || c == '+' || is_invisible
    };
    // Transliteration turns a middle dot into a full stop.
    let is_dot = |c| matches!(c, '.' | '\u{b7}');
    let name = segment.split(ends).next().unwrap_or_default();
    let dots = name.chars().filter(|c| is_dot(*c)).count();
    let is_only_dots = name.chars().all(|c| is_dot(c) || is_ignored(c));
    is_only_dots && (dots == 2 || dots > 2 && name.contains(is_ignored))
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
            "..%c2%85",
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
            "%ef%b8%b0",
            "..%c2%a5b",
            "..%e2%82%a9b",
            "..%e2%95%b1b",
            "%c2%b7%c2%b7",
            ".%e2%80%8b.",
            "..%ef%bb%bf",
            "..%cd%bex",
            "..%ef%b9%94x",
            "..%ef%bc%852fb",
            "%ef%b9%aa2e%ef%b9%aa2e",
            "..%c0%bbx",
        ] {
            check("/a/", &format!("/a/{segment}"), false);
            check("/a/", &format!("/a/{segment}/b"), false);
            check("/", &format!("/a/{segment}/b"), true);
        }
    }

    #[test]
    fn names_in_other_charsets_lead_nowhere() {
        for name in [
            // GBK, EUC-KR, TIS-620 and windows-1251.
            "%C1%AA%CF%B5/%C0%B4%D4%B4.txt",
            "%C1%A6%C7%B0.txt",
            "%CA%C1%BA%D1%B5%D4.txt",
            "%C2%962.txt",
            // UTF-8, encoded twice and once.
            "Stra%C3%83%C2%9Fe",
            "%E2%80%A6/%C2%A5100/%EF%BC%9A/50%EF%BC%85",
        ] {
            check("/a/", &format!("/a/{name}"), true);
            check(&format!("/{name}/"), &format!("/{name}/x"), true);
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
