//! A secret as the scanner shows it, and text that must not leak.

use std::fmt;
use zeroize::Zeroize;

/// One marked fragment, lent to the sink while the scanner goes no further.
///
/// The value is seen only through [`Secret::reveal`] and [`Secret::category`]:
/// `Debug` prints where the secret stood and nothing of what it says.
pub struct Secret<'a> {
    /// 1 for the first secret of the scan.
    pub index: u64,
    /// Which pair of the list marked it, from 0.
    pub pair: usize,
    /// The byte offset of the start marker.
    pub offset: u64,
    /// The line of the start marker, from 1, where the options ask for lines.
    pub line: Option<u64>,
    /// Whether the value was cut at `max_secret_chars`.
    pub truncated: bool,
    pub(super) value: &'a str,
}

/// The category of a value that names none.
const UNCLASSIFIED: &str = "UNCLASSIFIED";

impl<'a> Secret<'a> {
    /// The value: trimmed, valid UTF-8, at most `max_secret_chars` long.
    pub fn reveal(&self) -> &'a str {
        self.value
    }

    /// The text before the value's first colon, trimmed; `UNCLASSIFIED` where
    /// there is none.
    pub fn category(&self) -> &'a str {
        match memchr::memchr(b':', self.value.as_bytes()) {
            Some(colon) => match self.value[..colon].trim() {
                "" => UNCLASSIFIED,
                name => name,
            },
            None => UNCLASSIFIED,
        }
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("index", &self.index)
            .field("pair", &self.pair)
            .field("offset", &self.offset)
            .field("line", &self.line)
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

/// Text of a secret that is kept: wiped when it is dropped, cleared or moved to
/// a larger buffer, and never printed.
#[derive(Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretText(String);

impl SecretText {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Appends `text`. A buffer that is outgrown is wiped, not just freed.
    pub(super) fn push_str(&mut self, text: &str) {
        let needed = self.0.len() + text.len();
        if needed > self.0.capacity() {
            let mut larger = String::with_capacity(needed.max(self.0.capacity() * 2));
            larger.push_str(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
        self.0.push_str(text);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Forgets the text and keeps the buffer. Costs what the text is long, not
    /// what the buffer is large: a document must not make every clear a long one.
    pub(super) fn clear(&mut self) {
        self.0.as_mut_str().zeroize();
        self.0.clear();
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Secret<'_> {
        Secret { index: 7, pair: 1, offset: 99, line: Some(3), truncated: true, value }
    }

    #[test]
    fn the_category_is_what_stands_before_the_first_colon() {
        let check = |value, expected| assert_eq!(secret(value).category(), expected, "{value}");
        check("AGENT: x", "AGENT");
        check(" AGENT\u{a0} : x:y", "AGENT");
        check("a:b:c", "a");
        check("no colon", "UNCLASSIFIED");
        check(": nothing before", "UNCLASSIFIED");
        check("  : blank before", "UNCLASSIFIED");
        check("", "UNCLASSIFIED");
    }

    #[test]
    fn nothing_of_a_value_is_printed() {
        let shown = format!("{:?} {:?}", secret("hunter2"), SecretText::from("hunter2"));

        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("offset: 99") && shown.ends_with(" SecretText(…)"), "{shown}");
    }

    #[test]
    fn a_text_is_wiped_wherever_it_lay() {
        use std::os::unix::fs::FileExt;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        // The allocator writes into the first bytes of what is freed: look at the end.
        let (value, end) = ("x".repeat(64) + "the hidden door", "the hidden door");
        // Allocated before anything is freed, so that it cannot come to lie there.
        let mut bytes = vec![0; value.len()];
        let mut is_at = |address: usize| {
            memory.read_exact_at(&mut bytes, address as u64).unwrap();
            bytes.ends_with(end.as_bytes())
        };

        let mut text = SecretText::from(value.as_str());
        let first = text.0.as_ptr() as usize;
        assert!(is_at(first), "the method sees memory");
        text.push_str("y");
        assert!(!is_at(first), "outgrown");

        text.clear();
        text.push_str(&value);
        let second = text.0.as_ptr() as usize;
        assert!(is_at(second));
        text.clear();
        assert!(!is_at(second), "cleared");

        text.push_str(&value);
        let last = text.0.as_ptr() as usize;
        assert!(is_at(last));
        drop(text);
        assert!(!is_at(last), "dropped");
    }

    #[test]
    fn a_text_grows_by_doubling() {
        let mut text = SecretText::default();
        let mut moves = 0;
        for _ in 0..10_000 {
            let before = text.0.as_ptr();
            text.push_str("x");
            moves += usize::from(text.0.as_ptr() != before);
        }
        assert!(moves <= 16, "{moves} moves");
        assert_eq!(text.0.len(), 10_000);
    }

    #[test]
    fn a_text_grows_and_clears() {
        let mut text = SecretText::default();
        for part in ["ab", "", "cdefghijk", "l"] {
            text.push_str(part);
        }
        assert_eq!(text.reveal(), "abcdefghijkl");
        text.truncate(3);
        assert_eq!(text.reveal(), "abc");
        text.clear();
        assert_eq!(text.reveal(), "");
    }
}
