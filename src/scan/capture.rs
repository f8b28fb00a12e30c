//! The value of a secret, taken from its bytes in bounded memory.
//!
//! A value is the fragment's bytes as lossy UTF-8, trimmed at both ends, then cut
//! after `max_chars` characters. [`whole`] does that to a fragment that lies in one
//! piece; [`Capture`] does the same to one that comes in parts, and keeps no more
//! of it than can still be returned.

use super::secret::SecretText;
use zeroize::{Zeroize, Zeroizing};

/// The value of a fragment in one piece and whether it was cut, borrowed from the
/// fragment; `None` where that needs a [`Capture`], because it is no valid UTF-8.
pub(super) fn whole(fragment: &[u8], max_chars: usize) -> Option<(&str, bool)> {
    let value = std::str::from_utf8(fragment).ok()?.trim();
    if value.len() <= max_chars {
        return Some((value, false));
    }
    Some(match value.char_indices().nth(max_chars) {
        Some((cut, _)) => (&value[..cut], true),
        None => (value, false),
    })
}

/// A value in the making.
#[derive(Default)]
pub(super) struct Capture {
    /// What came so far, without the white space it began with, at most
    /// `max_chars` characters.
    text: SecretText,
    chars: usize,
    /// Something other than white space came after `max_chars` characters.
    cut: bool,
    /// The bytes of a character whose last byte has not come yet.
    partial: Zeroizing<Vec<u8>>,
}

impl Capture {
    /// Whether nothing came so far that could show in the value.
    pub(super) fn is_empty(&self) -> bool {
        self.text.reveal().is_empty() && self.partial.is_empty()
    }

    /// Begins another value.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.chars = 0;
        self.cut = false;
        self.partial.zeroize();
    }

    /// Takes the next part of the fragment.
    pub(super) fn push(&mut self, mut bytes: &[u8], max_chars: usize) {
        if self.cut {
            return;
        }
        bytes = self.complete_partial(bytes, max_chars);
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.push_text(chunk.valid(), max_chars);
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_beginning(invalid) {
                self.partial.extend_from_slice(invalid);
            } else if !invalid.is_empty() {
                self.push_text(REPLACEMENT, max_chars);
            }
        }
    }

    /// Takes the first `count` bytes of two parts.
    pub(super) fn push_first(&mut self, count: usize, parts: [&[u8]; 2], max_chars: usize) {
        let [first, second] = parts;
        let of_first = count.min(first.len());
        self.push(&first[..of_first], max_chars);
        self.push(&second[..count - of_first], max_chars);
    }

    /// Ends the fragment: its value and whether it was cut.
    pub(super) fn finish(&mut self, max_chars: usize) -> (&str, bool) {
        if !self.partial.is_empty() {
            self.partial.zeroize();
            self.push_text(REPLACEMENT, max_chars);
        }
        if !self.cut {
            self.text.truncate(self.text.reveal().trim_end().len());
        }
        (self.text.reveal(), self.cut)
    }

    /// Feeds a partial character until it is whole or broken; returns the bytes
    /// that are not used up.
    fn complete_partial<'b>(&mut self, mut bytes: &'b [u8], max_chars: usize) -> &'b [u8] {
        while let ([_, ..], [byte, rest @ ..]) = (self.partial.as_slice(), bytes) {
            self.partial.push(*byte);
            let partial = std::mem::take(&mut self.partial);
            match std::str::from_utf8(&partial) {
                Ok(character) => self.push_text(character, max_chars),
                Err(_) if is_beginning(&partial) => self.partial = partial,
                Err(_) => {
                    // The new byte breaks the character and begins the next one.
                    self.push_text(REPLACEMENT, max_chars);
                    return bytes;
                }
            }
            bytes = rest;
        }
        bytes
    }

    fn push_text(&mut self, mut text: &str, max_chars: usize) {
        if self.text.reveal().is_empty() {
            text = text.trim_start();
        }
        let room = max_chars - self.chars;
        let (fits, rest) = match text.char_indices().nth(room) {
            Some((at, _)) => text.split_at(at),
            None => (text, ""),
        };
        self.chars += if rest.is_empty() { fits.chars().count() } else { room };
        self.text.push_str(fits);
        self.cut |= !rest.trim_start().is_empty();
    }
}

/// What `String::from_utf8_lossy` writes for bytes that are no UTF-8.
const REPLACEMENT: &str = "\u{fffd}";

/// Whether `bytes` are the beginning of one character.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentence of the contract, said in the plainest way.
    fn oracle(fragment: &[u8], max_chars: usize) -> (String, bool) {
        let text = String::from_utf8_lossy(fragment);
        let value: String = text.trim().chars().take(max_chars).collect();
        let cut = text.trim().chars().count() > max_chars;
        (value, cut)
    }

    #[test]
    fn a_value_is_the_same_in_every_number_of_parts() {
        let fragments: [&[u8]; 18] = [
            b"",
            b" ",
            b"abcdef",
            b"  abcdef  ",
            b"abc   def",
            b"abcd        ",
            b"abcd        e",
            "éèê".as_bytes(),
            "\u{a0}\u{2003}日本語\u{3000}\u{2028}".as_bytes(),
            "👩\u{200d}🚀 e\u{301}".as_bytes(),
            b"a\xff\xfeb",
            b"a\xf0\x9f\x98",
            b"\xed\xa0\x80",
            b"\xe2\x80",
            b"\xe2\x80\xe2\x80\x83x",
            b"\xf0\x9f\xf0\x9f\x98\x80",
            b"\xc3\x28\xc3",
            b" \xff \xff ",
        ];
        for fragment in fragments {
            for max_chars in [1, 2, 3, 4, 5, 6, 100] {
                let expected = oracle(fragment, max_chars);
                for first in 0..=fragment.len() {
                    for second in first..=fragment.len() {
                        let mut capture = Capture::default();
                        capture.push(b"an earlier value", max_chars);
                        capture.clear();
                        capture.push(&fragment[..first], max_chars);
                        capture.push(&fragment[first..second], max_chars);
                        capture.push(&fragment[second..], max_chars);
                        let (value, cut) = capture.finish(max_chars);
                        assert_eq!(
                            (value.to_owned(), cut),
                            expected,
                            "{fragment:?}, {max_chars} characters, cut at {first} and {second}"
                        );
                    }
                }
                if let Some((value, cut)) = whole(fragment, max_chars) {
                    assert_eq!((value.to_owned(), cut), expected, "{fragment:?}");
                } else {
                    assert!(std::str::from_utf8(fragment).is_err(), "{fragment:?}");
                }
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_can_be_returned() {
        let mut capture = Capture::default();
        for _ in 0..1000 {
            capture.push(b"                ", 4);
        }
        for _ in 0..1000 {
            capture.push("日本語\u{2003}".as_bytes(), 4);
        }
        assert_eq!(capture.text.reveal(), "日本語\u{2003}");
        assert_eq!(capture.finish(4), ("日本語\u{2003}", true));
    }
}
