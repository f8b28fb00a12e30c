//! One marker, and how to find it in a stream that is cut anywhere.

use memchr::memmem::Finder;
use std::fmt;

/// The longest marker, in bytes.
pub const MAX_MARKER_BYTES: usize = 32;

/// A start or an end marker: 1 to 32 bytes of UTF-8 without line feed or NUL.
#[derive(Clone)]
pub struct Marker {
    finder: Finder<'static>,
    /// `failure[n]` is the length of the longest proper suffix of the marker's
    /// first `n + 1` bytes that is also a prefix of it (Knuth, Morris, Pratt).
    failure: [u8; MAX_MARKER_BYTES],
}

/// Why a text is no marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerFault {
    /// The text is empty.
    Empty,
    /// The text has more than [`MAX_MARKER_BYTES`] bytes; it has this many.
    TooLong(usize),
    /// The text contains a line feed or a NUL.
    Forbidden,
}

impl Marker {
    /// Accepts `text` as a marker, or says why it is none.
    pub fn new(text: &str) -> Result<Self, MarkerFault> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(MarkerFault::Empty);
        }
        if bytes.len() > MAX_MARKER_BYTES {
            return Err(MarkerFault::TooLong(bytes.len()));
        }
        if memchr::memchr2(b'\n', 0, bytes).is_some() {
            return Err(MarkerFault::Forbidden);
        }
        let mut marker =
            Self { finder: Finder::new(bytes).into_owned(), failure: [0; MAX_MARKER_BYTES] };
        let mut matched = 0;
        for (at, &byte) in bytes.iter().enumerate().skip(1) {
            matched = marker.step(matched, byte);
            marker.failure[at] = u8::try_from(matched).unwrap_or(0);
        }
        Ok(marker)
    }

    /// The marker's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    /// Searches the next piece of a stream and returns the offset in `piece` just
    /// behind the first occurrence.
    ///
    /// `matched` carries a beginning of the marker from piece to piece: how many
    /// of its bytes the stream ended with. It is 0 after a find. Linear in the
    /// length of `piece`.
    pub(super) fn find(&self, matched: &mut usize, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        // While the candidate began in an earlier piece, go byte by byte: at most
        // one byte less than the marker has.
        while at < *matched {
            *matched = self.step(*matched, *piece.get(at)?);
            at += 1;
            if *matched == self.bytes().len() {
                *matched = 0;
                return Some(at);
            }
        }
        let rest = &piece[at - *matched..];
        if let Some(found) = self.finder.find(rest) {
            let end = at - *matched + found + self.bytes().len();
            *matched = 0;
            return Some(end);
        }
        *matched = self.beginning_at_the_end(rest);
        None
    }

    /// How many bytes at the end of `piece` are a beginning of the marker, where
    /// the marker does not occur in `piece`.
    fn beginning_at_the_end(&self, piece: &[u8]) -> usize {
        let tail = piece.len().saturating_sub(self.bytes().len() - 1);
        piece[tail..].iter().fold(0, |matched, &byte| self.step(matched, byte))
    }

    /// The matched length after one more byte; `matched` is less than the whole.
    fn step(&self, mut matched: usize, byte: u8) -> usize {
        loop {
            if self.bytes()[matched] == byte {
                return matched + 1;
            }
            if matched == 0 {
                return 0;
            }
            matched = usize::from(self.failure[matched - 1]);
        }
    }
}

impl PartialEq for Marker {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Marker {}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.bytes()), f)
    }
}

impl fmt::Display for MarkerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a marker needs at least one byte"),
            Self::TooLong(bytes) => {
                write!(f, "a marker has at most {MAX_MARKER_BYTES} bytes, not {bytes}")
            }
            Self::Forbidden => write!(f, "a marker contains no line feed and no NUL"),
        }
    }
}

impl std::error::Error for MarkerFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_marker() {
        let check = |text: &str, expected: Result<(), MarkerFault>| {
            assert_eq!(Marker::new(text).map(|_| ()), expected, "{text:?}");
        };
        check("x", Ok(()));
        check("{*", Ok(()));
        check("„", Ok(()));
        check(&"x".repeat(32), Ok(()));
        check(&"é".repeat(16), Ok(()));
        check("", Err(MarkerFault::Empty));
        check(&"x".repeat(33), Err(MarkerFault::TooLong(33)));
        check(&"é".repeat(17), Err(MarkerFault::TooLong(34)));
        check("a\nb", Err(MarkerFault::Forbidden));
        check("a\0", Err(MarkerFault::Forbidden));
        check("\r\t ", Ok(()));
    }

    #[test]
    fn a_fault_says_what_would_be_right() {
        let check = |fault: MarkerFault, expected| assert_eq!(fault.to_string(), expected);
        check(MarkerFault::Empty, "a marker needs at least one byte");
        check(MarkerFault::TooLong(33), "a marker has at most 32 bytes, not 33");
        check(MarkerFault::Forbidden, "a marker contains no line feed and no NUL");
        assert_eq!(format!("{:?}", Marker::new("{*").unwrap()), "\"{*\"");
    }

    /// All occurrences that do not overlap, however the text is cut in three.
    #[test]
    fn a_marker_is_found_across_every_pair_of_cuts() {
        let check = |marker: &str, text: &str| {
            let expected: Vec<usize> =
                text.match_indices(marker).map(|(at, _)| at + marker.len()).collect();
            let marker = Marker::new(marker).unwrap();
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let mut found = Vec::new();
                    let mut matched = 0;
                    for range in [0..first, first..second, second..text.len()] {
                        let mut from = range.start;
                        while let Some(end) =
                            marker.find(&mut matched, &text.as_bytes()[from..range.end])
                        {
                            assert_eq!(matched, 0);
                            from += end;
                            found.push(from);
                        }
                    }
                    assert_eq!(found, expected, "{marker:?} in {text:?}, {first}, {second}");
                }
            }
        };
        check("{*", "{*{{**}{*");
        check("aa", "aaaaabaaa");
        check("aab", "aaaabaabaaab");
        check("abcab", "abcabcabcabxabcab");
        check("aabaaa", "aabaabaaaabaaaabaab");
        check("x", "xxyx");
        check("x", "");
    }

    #[test]
    fn a_beginning_is_carried_and_no_longer_than_it_is() {
        let check = |marker: &str, text: &str, expected: usize| {
            let mut matched = 0;
            let found = Marker::new(marker).unwrap().find(&mut matched, text.as_bytes());
            assert_eq!((found, matched), (None, expected), "{marker:?} in {text:?}");
        };
        check("{*", "a{", 1);
        check("{*", "{a", 0);
        check("abab", "xaba", 3);
        check("abab", "xabaab", 2);
        check("aaa", "baa", 2);
        check("x", "aaa", 0);
    }
}
