//! The kinds of values: what each accepts, from a file and from the environment,
//! and how it is shown.
//!
//! A file is held to its types: a number is not a string, and `1` is not `true`.
//! The environment has only text, so there the text is parsed.

use config::{Value, ValueKind};
use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

/// A value as a layer has it.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    /// From a TOML file.
    Toml(&'a Value),
    /// From an environment variable.
    Text(&'a str),
}

/// What a key accepts.
pub(super) struct Kind<T> {
    /// Ends the sentence "allowed is …".
    pub(super) allowed: String,
    pub(super) parse: Box<dyn Fn(Raw<'_>) -> Option<T>>,
    /// The value as TOML.
    pub(super) show: Box<dyn Fn(&T) -> String>,
}

impl<T: 'static> Kind<T> {
    pub(super) fn new(
        allowed: impl Into<String>,
        parse: impl Fn(Raw<'_>) -> Option<T> + 'static,
        show: impl Fn(&T) -> String + 'static,
    ) -> Self {
        Self { allowed: allowed.into(), parse: Box::new(parse), show: Box::new(show) }
    }

    /// A kind that is written as a string everywhere.
    pub(super) fn string(
        allowed: impl Into<String>,
        parse: impl Fn(&str) -> Option<T> + 'static,
        show: impl Fn(&T) -> String + 'static,
    ) -> Self {
        Self::new(allowed, move |raw| parse(raw.string()?), move |value| quoted(&show(value)))
    }

    /// The same, or none, which is written as the empty string.
    pub(super) fn optional(self) -> Kind<Option<T>> {
        let Self { allowed, parse, show } = self;
        Kind::new(
            format!("{allowed}, or \"\" for none"),
            move |raw| match raw.string() {
                Some("") => Some(None),
                _ => parse(raw).map(Some),
            },
            move |value| value.as_ref().map_or_else(|| quoted(""), &show),
        )
    }

    /// A list of the same; separated by commas in the environment.
    pub(super) fn list(self) -> Kind<Vec<T>> {
        let Self { allowed, parse, show } = self;
        let parse = move |raw: Raw<'_>| match raw {
            Raw::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Raw::Text(text) => text.split(',').map(|item| parse(Raw::Text(item.trim()))).collect(),
            Raw::Toml(value) => match &value.kind {
                ValueKind::Array(items) => {
                    items.iter().map(|item| parse(Raw::Toml(item))).collect()
                }
                _ => None,
            },
        };
        let show = move |values: &Vec<T>| {
            format!("[{}]", values.iter().map(&show).collect::<Vec<_>>().join(", "))
        };
        Kind::new(format!("a list, each {allowed}"), parse, show)
    }
}

impl<'a> Raw<'a> {
    pub(super) fn string(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Toml(value) => match &value.kind {
                ValueKind::String(text) => Some(text),
                _ => None,
            },
        }
    }

    /// The value as JSON.
    pub(super) fn as_json(self) -> serde_json::Value {
        let Self::Toml(value) = self else { return self.string().into() };
        match &value.kind {
            ValueKind::Boolean(flag) => (*flag).into(),
            ValueKind::I64(number) => (*number).into(),
            ValueKind::Float(number) => (*number).into(),
            ValueKind::String(text) => text.as_str().into(),
            ValueKind::Array(items) => items.iter().map(|item| Raw::Toml(item).as_json()).collect(),
            ValueKind::Table(table) => {
                table.iter().map(|(key, item)| (key.clone(), Raw::Toml(item).as_json())).collect()
            }
            // Nothing else is the value of a key.
            _ => serde_json::Value::Null,
        }
    }

    /// Whether the value is or may contain a string.
    pub(super) fn has_text(self) -> bool {
        let Self::Toml(value) = self else { return true };
        matches!(value.kind, ValueKind::String(_) | ValueKind::Array(_))
    }

    /// The value as it was written, nearly; of a table only the keys.
    pub(super) fn show(self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Toml(value) => match &value.kind {
                ValueKind::String(text) => quoted(text),
                ValueKind::Array(items) => {
                    let items = items.iter().map(|item| Raw::Toml(item).show());
                    format!("[{}]", items.collect::<Vec<_>>().join(", "))
                }
                ValueKind::Table(table) => {
                    let mut keys: Vec<_> = table.keys().map(String::as_str).collect();
                    keys.sort_unstable();
                    format!("{{ {} }}", keys.join(", "))
                }
                ValueKind::Float(number) => format!("{number:?}"),
                ValueKind::Nil => "(a date)".to_owned(),
                other => other.to_string(),
            },
        }
    }
}

pub(super) fn flag() -> Kind<bool> {
    Kind::new(
        "true or false",
        |raw| match raw {
            Raw::Text(text) => text.parse().ok(),
            Raw::Toml(value) => match value.kind {
                ValueKind::Boolean(flag) => Some(flag),
                _ => None,
            },
        },
        bool::to_string,
    )
}

pub(super) fn number(range: RangeInclusive<u64>) -> Kind<u64> {
    Kind::new(
        format!("a whole number from {} to {}", range.start(), range.end()),
        move |raw| {
            let number = match raw {
                Raw::Text(text) => text.parse().ok()?,
                Raw::Toml(value) => match value.kind {
                    ValueKind::I64(number) => u64::try_from(number).ok()?,
                    _ => return None,
                },
            };
            Some(number).filter(|number| range.contains(number))
        },
        u64::to_string,
    )
}

pub(super) fn ratio() -> Kind<f64> {
    Kind::new(
        "a number from 0.0 to 1.0, with a decimal point",
        |raw| {
            let number = match raw {
                Raw::Text(text) => text.parse().ok()?,
                Raw::Toml(value) => match value.kind {
                    ValueKind::Float(number) => number,
                    _ => return None,
                },
            };
            Some(number).filter(|number| (0.0..=1.0).contains(number))
        },
        |number| format!("{number:?}"),
    )
}

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

pub(super) fn duration(range: RangeInclusive<&str>) -> Kind<Duration> {
    let what = ("a duration", "\"500ms\", \"10s\" or \"2m\"");
    let number = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    measure(what, DURATIONS, &range, Duration::from_millis, number)
}

pub(super) fn size(range: RangeInclusive<&str>) -> Kind<u64> {
    let what = ("a size", "\"512B\", \"16KiB\" or \"10MiB\"");
    measure(what, SIZES, &range, |bytes| bytes, |bytes| *bytes)
}

/// A quantity of something that has units, between two others, both allowed.
fn measure<T: 'static>(
    (what, examples): (&str, &str),
    units: &'static [(&str, u64)],
    range: &RangeInclusive<&str>,
    of: fn(u64) -> T,
    number: fn(&T) -> u64,
) -> Kind<T> {
    let (start, end) = (quantity(range.start(), units), quantity(range.end(), units));
    let within = start.unwrap_or(0)..=end.unwrap_or(0);
    Kind::string(
        format!("{what} from {} to {}, such as {examples}", range.start(), range.end()),
        move |text| quantity(text, units).filter(|quantity| within.contains(quantity)).map(of),
        move |value| with_unit(number(value), units),
    )
}

/// A whole number with a unit behind it, in the smallest unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The same in the largest unit that leaves a whole number.
fn with_unit(number: u64, units: &[(&str, u64)]) -> String {
    let fits =
        |(_, factor): &&(&str, u64)| *factor == 1 || (number > 0 && number.is_multiple_of(*factor));
    match units.iter().rev().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None => number.to_string(),
    }
}

/// One of several words.
pub(super) fn choice<T: Copy + PartialEq + 'static>(words: &'static [(&str, T)]) -> Kind<T> {
    let names: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
    Kind::string(
        names.join(" or "),
        |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value),
        |value| words.iter().find(|(_, of)| of == value).map_or("", |(word, _)| *word).to_owned(),
    )
}

/// Text on one line that is not empty.
pub(super) fn text(what: &str) -> Kind<String> {
    let parse = |text: &str| {
        let fits = text.trim() == text && is_plain(text);
        fits.then(|| text.to_owned())
    };
    Kind::string(what, parse, String::clone)
}

pub(super) fn path() -> Kind<PathBuf> {
    let parse = |text: &str| is_plain(text).then(|| PathBuf::from(text));
    Kind::string("the path of a file or folder", parse, |path| path.display().to_string())
}

/// Not empty, without control characters, and not what stands for broken UTF-8.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control() || c == '\u{fffd}')
}

pub(super) fn socket() -> Kind<SocketAddr> {
    Kind::string(
        "an address with a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"",
        |text| text.parse().ok(),
        SocketAddr::to_string,
    )
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{layers::Layer, network};

    fn from_toml(text: &str) -> Value {
        let layer = Layer::toml("x", &format!("value = {text}")).unwrap();
        let Some((Raw::Toml(value), "x:1")) = layer.get("value") else { panic!("{text}") };
        value.clone()
    }

    /// What a TOML value means, shown as TOML again.
    fn check<T: 'static>(kind: &Kind<T>, toml: &str, expected: Option<&str>) {
        let shown = (kind.parse)(Raw::Toml(&from_toml(toml))).map(|value| (kind.show)(&value));
        assert_eq!(shown.as_deref(), expected, "{toml}: {}", kind.allowed);
    }

    /// The same for the text of a variable.
    fn check_text<T: 'static>(kind: &Kind<T>, text: &str, expected: Option<&str>) {
        let shown = (kind.parse)(Raw::Text(text)).map(|value| (kind.show)(&value));
        assert_eq!(shown.as_deref(), expected, "{text}: {}", kind.allowed);
    }

    #[test]
    fn a_file_is_held_to_its_types() {
        check(&flag(), "true", Some("true"));
        check(&flag(), "\"true\"", None);
        check(&flag(), "1", None);
        check(&number(1..=5), "5", Some("5"));
        check(&number(1..=5), "0", None);
        check(&number(1..=5), "6", None);
        check(&number(1..=5), "-1", None);
        check(&number(1..=5), "1.0", None);
        check(&number(1..=5), "\"1\"", None);
        check(&number(1..=5), "99999999999999999999", None);
        check(&number(1..=5), "999999999999999999999999999999999999999999", None);
        check(&number(1..=5), "0x5", Some("5"));
        check(&text("x"), "1979-05-27", None);
        check(&number(0..=5), "true", None);
        check(&ratio(), "0.5", Some("0.5"));
        check(&ratio(), "1.0", Some("1.0"));
        check(&ratio(), "1.1", None);
        check(&ratio(), "nan", None);
        check(&ratio(), "1", None);
        check(&text("x"), "\"a b\"", Some("\"a b\""));
        check(&text("x"), "\"\"", None);
        check(&text("x"), "\" a\"", None);
        check(&text("x"), "\"a\\nb\"", None);
        check(&text("x"), "5", None);
        check(&path().optional(), "\"\"", Some("\"\""));
        check(&path().optional(), "\"/a\"", Some("\"/a\""));
        check(&path().optional(), "false", None);
        check(&socket(), "\"[::1]:80\"", Some("\"[::1]:80\""));
        check(&socket(), "\"localhost:80\"", None);
        check(&text("x").list(), "[\"a\", \"b\"]", Some("[\"a\", \"b\"]"));
        check(&text("x").list(), "[]", Some("[]"));
        check(&text("x").list(), "[\"a\", 1]", None);
        check(&text("x").list(), "\"a\"", None);
    }

    #[test]
    fn a_variable_is_parsed() {
        check_text(&flag(), "false", Some("false"));
        check_text(&flag(), "yes", None);
        check_text(&number(1..=5), "3", Some("3"));
        check_text(&number(1..=5), "3.0", None);
        check_text(&number(1..=5), "", None);
        check_text(&ratio(), "0.25", Some("0.25"));
        check_text(&ratio(), "1", Some("1.0"));
        check_text(&path().optional(), "", Some("\"\""));
        check_text(&text("x").list(), "a, b,c", Some("[\"a\", \"b\", \"c\"]"));
        check_text(&text("x").list(), " ", Some("[]"));
        check_text(&text("x").list(), "a,,b", None);
    }

    #[test]
    fn quantities_have_units() {
        let durations = duration("1ms"..="2h");
        check(&durations, "\"1500ms\"", Some("\"1500ms\""));
        check(&durations, "\"1000ms\"", Some("\"1s\""));
        check(&durations, "\"120s\"", Some("\"2m\""));
        check(&durations, "\"2h\"", Some("\"2h\""));
        check(&durations, "\"121m\"", None);
        check(&durations, "\"0ms\"", None);
        check(&durations, "\"10\"", None);
        check(&durations, "\"10 s\"", None);
        check(&durations, "\"-1s\"", None);
        check(&durations, "\"s\"", None);
        check(&durations, "\"1.5s\"", None);
        check(&durations, "\"99999999999999999999s\"", None);
        check(&durations, "\"9999999999999999999d\"", None);
        check(&durations, "10", None);
        check(&duration("0s"..="2h"), "\"0s\"", Some("\"0ms\""));
        let sizes = size("1B"..="1GiB");
        check(&sizes, "\"1024B\"", Some("\"1KiB\""));
        check(&sizes, "\"10MiB\"", Some("\"10MiB\""));
        check(&sizes, "\"1GiB\"", Some("\"1GiB\""));
        check(&sizes, "\"1025MiB\"", None);
        check(&sizes, "\"10MB\"", None);
        check(&sizes, "\"0B\"", None);
    }

    #[test]
    fn words_and_networks() {
        let words = choice(&[("on", true), ("off", false)]);
        assert_eq!(words.allowed, "\"on\" or \"off\"");
        check(&words, "\"off\"", Some("\"off\""));
        check(&words, "\"OFF\"", None);
        check(&words, "true", None);
        check(&network(), "\"10.0.0.0/8\"", Some("\"10.0.0.0/8\""));
        check(&network(), "\"10.0.0.1\"", Some("\"10.0.0.1/32\""));
        check(&network(), "\"fd00::/8\"", Some("\"fd00::/8\""));
        check(&network(), "\"10.0.0.1/8\"", None);
        check(&network(), "\"10.0.0.0/33\"", None);
        check(&network(), "\"10.0.0.0/\"", None);
        check(&network(), "\"10.0.0.0/+8\"", None);
        check(&network(), "\"::/0\"", Some("\"::/0\""));
        check(&network(), "\"0.0.0.0/0\"", Some("\"0.0.0.0/0\""));
        check(&network(), "\"host/8\"", None);
    }

    #[test]
    fn strings_are_quoted_as_toml() {
        for text in ["", "a\"b\\c", "tab\t and \u{7f} and é"] {
            assert_eq!(Raw::Toml(&from_toml(&quoted(text))).string(), Some(text));
        }
    }
}
