//! The text of a string in JSON.

use memchr::memchr;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The text that a value is, borrowed where it can be; none where it is no string, or has
/// half of a surrogate pair.
///
/// A value is known to be JSON, so all there is to look for is the next escape. A text is
/// never moved while it grows: no part of it stays behind.
pub(super) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let mut rest = value.get().strip_prefix('"')?.strip_suffix('"')?;
    let Some(mut escape) = memchr(b'\\', rest.as_bytes()) else { return Some(rest.into()) };
    let mut text = String::with_capacity(rest.len());
    loop {
        text.push_str(&rest[..escape]);
        let (character, after) = unescape(&rest[escape + 1..])?;
        text.push(character);
        rest = after;
        match memchr(b'\\', rest.as_bytes()) {
            Some(next) => escape = next,
            None => break,
        }
    }
    text.push_str(rest);
    Some(text.into())
}

/// What an escape stands for, and what comes after it.
fn unescape(escaped: &str) -> Option<(char, &str)> {
    let kind = *escaped.as_bytes().first()?;
    let after = escaped.get(1..)?;
    let character = match kind {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(after),
        itself => char::from(itself),
    };
    Some((character, after))
}

/// Four digits, or a pair of surrogates.
fn unicode(digits: &str) -> Option<(char, &str)> {
    let (unit, after) = unit(digits)?;
    if let Some(character) = char::from_u32(unit.into()) {
        return Some((character, after));
    }
    let (low, after) = self::unit(after.strip_prefix("\\u")?)?;
    Some((char::decode_utf16([unit, low]).next()?.ok()?, after))
}

fn unit(digits: &str) -> Option<(u16, &str)> {
    let (digits, after) = digits.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What another reader makes of it.
    fn expected(json: &str) -> Option<String> {
        serde_json::from_str(json).ok()
    }

    fn check(json: &str) {
        let value: &RawValue = serde_json::from_str(json).unwrap();
        assert_eq!(text(value).as_deref(), expected(json).as_deref(), "{json}");
    }

    #[test]
    fn what_is_a_text() {
        for json in [
            r#""""#,
            r#""plain \u00fc, \"quoted\" \\ \/ \b\f\n\r\t""#,
            r#""\uD83D\uDE00 \ud83d\ude00x""#,
            r#""\u0000\uffff\ufffe""#,
            r#""\ud83d""#,
            r#""\ud83dxxxxxx""#,
            r#""\ud83d\n""#,
            r#""\ud83d\ud83d""#,
            r#""\ude00\ud83d""#,
            r#""\ude00""#,
            "null",
            "1",
            r#"["x"]"#,
            r#"{"x":"y"}"#,
        ] {
            check(json);
        }
    }

    #[test]
    fn a_text_without_escapes_is_borrowed() {
        let value: &RawValue = serde_json::from_str("\"plain\"").unwrap();
        assert!(matches!(text(value), Some(Cow::Borrowed("plain"))));
    }

    proptest! {
        #[test]
        fn a_text_is_what_others_make_of_it(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[^\"\\\\\\x00-\\x1f]{0,9}",
                    "\\\\[\"\\\\/bfnrt]",
                    "\\\\u[0-9a-fA-F]{4}",
                    "\\\\u[dD][89abAB][0-9a-f]{2}\\\\u[dD][cdefCDEF][0-9a-f]{2}",
                ],
                0..9,
            ),
        ) {
            check(&format!("\"{}\"", parts.concat()));
        }
    }
}
