//! The path of a rule, and which paths lie below it.
//!
//! Servers differ in what they make of an encoded slash or dot, and in how often they
//! decode. A path lies below a prefix if it does so for all of them.

/// How often a path may be encoded over and over; nobody does it twice.
const MAX_DECODINGS: usize = 4;

/// The beginning of a path; ends where a segment does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix(Vec<u8>);

impl Prefix {
    /// Accepts a path as the URL parser leaves it. `None`: its segments are not those
    /// that it seems to have.
    pub(super) fn new(path: &str) -> Option<Self> {
        let path = path.as_bytes();
        let is_plain = decoded(path, is_structure) == path;
        let has_gap = path.windows(2).any(|pair| pair == b"//");
        (path.starts_with(b"/") && is_plain && !has_gap).then(|| Self(path.to_vec()))
    }

    /// The more, the narrower.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a path, as the URL parser leaves it, lies below.
    pub(super) fn covers(&self, path: &str) -> bool {
        if self.0 == b"/" {
            return true;
        }
        let once = decoded(path.as_bytes(), is_structure);
        // Without resolving, too: who does not decode would look elsewhere.
        self.begins(&once)
            && self.begins(&resolved(&once, Gaps::Count))
            && self.begins(&resolved(&once, Gaps::DoNotCount))
            && parents(path.as_bytes()).is_some_and(|all| all == count_parents(&once))
    }

    fn begins(&self, path: &[u8]) -> bool {
        let rest = path.strip_prefix(self.0.as_slice());
        rest.is_some_and(|rest| self.0.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/"))
    }
}

/// What makes segments.
fn is_structure(byte: u8) -> bool {
    matches!(byte, b'.' | b'/' | b'\\')
}

/// The path with those percent-encoded bytes decoded that `wanted` says, and every
/// backslash a slash.
fn decoded(path: &[u8], wanted: fn(u8) -> bool) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let pair = hex(path.get(at + 1)).zip(hex(path.get(at + 2)));
        let code = pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        let byte = match code.filter(|code| byte == b'%' && wanted(*code)) {
            Some(code) => {
                at += 2;
                code
            }
            None => byte,
        };
        decoded.push(if byte == b'\\' { b'/' } else { byte });
        at += 1;
    }
    decoded
}

/// Whether an empty segment is one: some servers drop them first, and then a parent is one
/// further up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gaps {
    Count,
    DoNotCount,
}

/// The path without dot segments.
fn resolved(path: &[u8], gaps: Gaps) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut is_folder = false;
    // Before the first slash there is nothing.
    let segments = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/');
    for segment in segments {
        is_folder = true;
        if is_parent(segment) {
            kept.pop();
        } else if segment != b"." && (gaps == Gaps::Count || !segment.is_empty()) {
            kept.push(segment);
            is_folder = false;
        }
    }
    let end: &[u8] = if is_folder && !kept.is_empty() { b"/" } else { b"" };
    [b"/", kept.join(&b'/').as_slice(), end].concat()
}

/// Some servers take what follows a semicolon for a parameter of the segment.
fn is_parent(segment: &[u8]) -> bool {
    segment.split(|byte| *byte == b';').next() == Some(b"..")
}

fn count_parents(path: &[u8]) -> usize {
    path.split(|byte| *byte == b'/').filter(|segment| is_parent(segment)).count()
}

/// How many parents there are when nothing is left to decode. `None`: something is.
fn parents(path: &[u8]) -> Option<usize> {
    let mut path = decoded(path, |_| true);
    for _ in 0..MAX_DECODINGS {
        let next = decoded(&path, |_| true);
        if next == path {
            return Some(count_parents(&path));
        }
        path = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prefix: &str, path: &str, expected: bool) {
        let prefix = Prefix::new(prefix).unwrap();
        assert_eq!(prefix.covers(path), expected, "{prefix:?} {path}");
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        check("/", "/", true);
        check("/", "/anything/%252e%252e/", true);
        check("/a/b", "/a/b", true);
        check("/a/b", "/a/b/", true);
        check("/a/b", "/a/b/c", true);
        check("/a/b", "/a/bc", false);
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
    fn encoded_dots_and_slashes_are_decoded_for_the_comparison() {
        check("/a/", "/a%2fb", true);
        check("/a/", "/a%2Fb", true);
        check("/a/", "/a%5cb", true);
        check("/a.b/", "/a%2eb/c", true);
        check("/a/", "/a/x%2f..%2fb", true);
        check("/a/", "/a/.%2fb", true);
        check("/a/", "/a/..%2fb", false);
        check("/a/", "/a/..%2f", false);
        check("/a/", "/a/..%5cb", false);
        check("/a/", "/a/%2e%2e%2fb", false);
        check("/a/", "/a%2f..%2fb", false);
        check("/a/", "/a/x%2f..%2f..%2fb", false);
        check("/a", "/a/..%2fab", false);
        check("/a/", "/a/%41", true);
        check("/A/", "/%41/b", false);
    }

    #[test]
    fn a_way_into_the_prefix_through_dots_is_none() {
        check("/a/", "/b%2f..%2fa/c", false);
        check("/a/", "/b/..%2fa/c", false);
        check("/a/", "/.%2fa/c", false);
    }

    #[test]
    fn empty_segments_and_parameters_hide_no_parent() {
        check("/a/", "/a/%2f..%2fb", false);
        check("/a/", "/a//..%2fb", false);
        check("/a/", "/a/..%2f/a/", false);
        check("/a/", "/a/b%2f..%2f/c", true);
        check("/a/", "/a/..;x/b", false);
        check("/a/", "/a/..;/b", false);
        check("/a/", "/a/..%3b/b", false);
        check("/a/", "/a/b;x/c", true);
        check("/a/", "/a/b/..;x/c", true);
    }

    #[test]
    fn what_is_encoded_twice_hides_no_parent() {
        check("/a/", "/a/%252e%252e/b", false);
        check("/a/", "/a/%252e%252e%252fb", false);
        check("/a/", "/a/..%252fb", false);
        check("/a/", "/a/%25252e%25252e/b", false);
        check("/a/", "/a/%25%32%65%25%32%65/b", false);
        check("/a/", "/a/x%25252fb/..%252f..%252fc", false);
        check("/a/", "/a/b/%252e%252e/c", false);
        check("/a/", "/a/100%25", true);
        check("/a/", "/a/%25zz%", true);
        check("/a/", "/a/%252fb", true);
        check("/a/", "/a/%25252525252525252e", false);
    }

    #[test]
    fn a_prefix_has_the_segments_that_it_seems_to_have() {
        let check = |path: &str, expected| {
            assert_eq!(Prefix::new(path).is_some(), expected, "{path}");
        };
        check("/", true);
        check("/a/b/", true);
        check("/a.b/%C3%BC", true);
        check("", false);
        check("a", false);
        check("/a//b", false);
        check("/a%2fb", false);
        check("/a%2Eb", false);
        check("/a%5cb", false);
    }
}
