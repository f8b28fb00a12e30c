//! What a caller may ask of a scan.

use super::marker::Marker;
use std::{fmt, num::NonZero, sync::Arc};

/// The most pairs of one scan.
pub const MAX_PAIRS: usize = 8;

/// What to look for in a document, and how much of it to return.
#[derive(Debug, Clone)]
pub struct Options {
    /// The pairs, in the order in which secrets that end together are returned.
    pub pairs: Pairs,
    /// The scan ends with the byte that completes this many secrets.
    pub max_secrets: NonZero<u64>,
    /// A value is cut after this many Unicode scalar values.
    pub max_secret_chars: NonZero<usize>,
    /// Whether a secret may contain line feeds.
    pub multiline: bool,
    /// Whether it matters on which line a secret stands: counting line feeds takes as
    /// long as looking for a marker that is rare.
    pub lines: bool,
    /// The scan ends after this many bytes of the document as it was sent, before
    /// transcoding. `None`: no cap.
    pub max_bytes: Option<u64>,
}

/// A start marker and the end marker that closes it; they may be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerPair {
    /// What opens a secret.
    pub start: Marker,
    /// What closes it.
    pub end: Marker,
}

/// 1 to [`MAX_PAIRS`] pairs, each listed once.
#[derive(Debug, Clone)]
pub struct Pairs(Vec<Arc<MarkerPair>>);

/// Why a list of pairs is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairsFault {
    /// The list is empty.
    None,
    /// The list has more than [`MAX_PAIRS`] pairs; it has this many.
    TooMany(usize),
    /// The pair at the second place stands already at the first.
    Repeated(usize, usize),
}

impl MarkerPair {
    /// Splits `start:end` at the first colon that leaves both sides non-empty.
    pub fn split(text: &str) -> Option<(&str, &str)> {
        text.match_indices(':')
            .map(|(at, _)| (&text[..at], &text[at + 1..]))
            .find(|(start, end)| !start.is_empty() && !end.is_empty())
    }
}

impl Pairs {
    /// Accepts a list of pairs, or says why it is refused.
    pub fn new(pairs: Vec<MarkerPair>) -> Result<Self, PairsFault> {
        if pairs.is_empty() {
            return Err(PairsFault::None);
        }
        if pairs.len() > MAX_PAIRS {
            return Err(PairsFault::TooMany(pairs.len()));
        }
        for (at, pair) in pairs.iter().enumerate() {
            if let Some(first) = pairs[..at].iter().position(|earlier| earlier == pair) {
                return Err(PairsFault::Repeated(first, at));
            }
        }
        Ok(Self(pairs.into_iter().map(Arc::new).collect()))
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<MarkerPair>> {
        self.0.iter()
    }
}

impl Default for Options {
    /// `{*` to `*}`, 10 secrets of 200 characters, within a line, with lines, no cap.
    fn default() -> Self {
        Self {
            pairs: Pairs::default(),
            max_secrets: const { NonZero::new(10).unwrap() },
            max_secret_chars: const { NonZero::new(200).unwrap() },
            multiline: false,
            lines: true,
            max_bytes: None,
        }
    }
}

impl Default for Pairs {
    /// The one pair `{*` and `*}`.
    #[expect(clippy::expect_used, reason = "both are markers as they stand here")]
    fn default() -> Self {
        let marker = |text| Marker::new(text).expect("two bytes of ASCII");
        let pair = MarkerPair { start: marker("{*"), end: marker("*}") };
        Self(vec![Arc::new(pair)])
    }
}

impl fmt::Display for PairsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "at least one pair of markers is needed"),
            Self::TooMany(count) => {
                write!(f, "at most {MAX_PAIRS} pairs of markers are allowed, not {count}")
            }
            Self::Repeated(first, second) => write!(
                f,
                "pair {} is the same as pair {}; list each pair once",
                second + 1,
                first + 1
            ),
        }
    }
}

impl std::error::Error for PairsFault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> MarkerPair {
        let (start, end) = MarkerPair::split(text).unwrap();
        MarkerPair { start: Marker::new(start).unwrap(), end: Marker::new(end).unwrap() }
    }

    #[test]
    fn a_pair_is_split_at_the_first_colon_that_leaves_two_sides() {
        let check = |text: &str, expected| assert_eq!(MarkerPair::split(text), expected, "{text}");
        check("{*:*}", Some(("{*", "*}")));
        check("`:`", Some(("`", "`")));
        check(":::", Some((":", ":")));
        check("::", None);
        check("::x", Some((":", "x")));
        check("a::b", Some(("a", ":b")));
        check("a:", None);
        check(":a", None);
        check("", None);
        check("ab", None);
    }

    #[test]
    fn a_list_has_one_to_eight_pairs_and_each_once() {
        let check = |texts: &[&str], expected| {
            let pairs = texts.iter().map(|text| pair(text)).collect();
            assert_eq!(Pairs::new(pairs).map(|p| p.iter().len()), expected);
        };
        let nine = ["1:a", "2:a", "3:a", "4:a", "5:a", "6:a", "7:a", "8:a", "9:a"];
        check(&["a:b"], Ok(1));
        check(&["a:b", "b:a", "a:a"], Ok(3));
        check(&nine[..8], Ok(8));
        check(&[], Err(PairsFault::None));
        check(&nine, Err(PairsFault::TooMany(9)));
        check(&["x:y", "a:b", "c:d", "a:b"], Err(PairsFault::Repeated(1, 3)));
    }

    #[test]
    fn a_fault_says_what_would_be_right() {
        let check = |fault: PairsFault, expected| assert_eq!(fault.to_string(), expected);
        check(PairsFault::None, "at least one pair of markers is needed");
        check(PairsFault::TooMany(9), "at most 8 pairs of markers are allowed, not 9");
        check(PairsFault::Repeated(0, 2), "pair 3 is the same as pair 1; list each pair once");
    }
}
