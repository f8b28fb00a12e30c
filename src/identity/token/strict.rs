//! JSON in which nothing is said twice.
//!
//! Of two members with one name, one reader believes the first and the next one the last: who
//! can have both written, can be two callers at once. Such a text is refused, at any depth,
//! and never read as either.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The object that a text is; none if it is anything else, or if an object in it has two
/// members of one name.
pub(super) fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(text) {
        Ok(Strict(Value::Object(members))) => Some(members),
        _ => None,
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON in which no member is there twice")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = object.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_once_is_read_as_anywhere_else() {
        for text in [
            "{}",
            " {\"a\": 1}\r\n\t ",
            r#"{"a": [1, -2, 3.5, 18446744073709551615, 1e300, -0.0], "b": {"a": null, "b": {}}}"#,
            r#"{"a": true, "A": false, "": "\u00e9\ud83d\ude00\u0000\n", "a ": "é"}"#,
            r#"{"$serde_json::private::RawValue": "{\"alg\": 1}"}"#,
            r#"[{"a": 1}, {"a": 2}]"#,
            "\"text\"",
            "null",
            "7",
        ] {
            let strict: Strict = serde_json::from_str(text).unwrap();
            let lax: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let expected = serde_json::from_str::<Value>(text).unwrap();
            if !text.contains("private") {
                assert_eq!(strict.0, expected, "{text}");
            }
            assert_eq!(object(text.as_bytes()).unwrap_or_default(), lax, "{text}");
        }
    }

    #[test]
    fn what_is_said_twice_is_not_read() {
        let deep = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let check = |text: &[u8], expected| {
            assert_eq!(object(text).is_some(), expected, "{}", String::from_utf8_lossy(text));
        };
        check(br#"{"a": 1, "b": 1}"#, true);
        check(br#"{"a": 1, "a": 1}"#, false);
        check(br#"{"a": 1, "\u0061": 2}"#, false);
        check(br#"{"a": 1, "b": {"c": 1, "d": [{"e": 1, "e": 1}]}}"#, false);
        check(deep(100).as_bytes(), true);
        check(deep(200).as_bytes(), false);
    }

    #[test]
    fn what_is_no_object_is_not_read() {
        for text in [
            &b""[..],
            b" ",
            b"null",
            b"[]",
            b"\"{}\"",
            b"{} {}",
            b"{}x",
            b"{\"a\":1,}",
            b"{'a':1}",
            b"{\"a\":1e400}",
            b"{\"a\":NaN}",
            b"{\"a\":01}",
            b"{\"a\":\"\n\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":\"\xff\"}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":1}\0",
        ] {
            assert_eq!(object(text), None, "{}", String::from_utf8_lossy(text));
        }
    }
}
