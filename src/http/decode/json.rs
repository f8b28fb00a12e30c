//! A request in JSON.
//!
//! It is read field by field and never as a whole: what does not belong is skipped, so
//! a hostile body costs no more memory than its bytes, however it is built. A fault is
//! written down and reading goes on, so all of them are told at once.

use super::{
    super::router::Decoding,
    asked::{Asked, Asking},
};
use crate::{
    answer::WipedBuffer,
    decode::{Decoder, Document},
    failure::{Code, Failure},
    scan::MAX_PAIRS,
    telemetry::{Input, Record, Trail},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Reads a request.
pub(super) fn parse(
    body: &[u8],
    query: Option<&str>,
    decoding: &Decoding,
    record: &Record,
) -> Result<Asked, Failure> {
    let mut reading = Reading {
        asking: Asking::new(decoding),
        source: None,
        content: None,
        is_cut_short: false,
        seen: 0,
        field: None,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = Object(&mut reading).deserialize(&mut deserializer);
    let read = read.and_then(|()| deserializer.end());
    record.trail.steps().input = Some(match (&reading.source, &reading.content) {
        (Some(_), None) => Input::Source,
        _ => Input::Content,
    });
    if let Err(error) = read {
        if !is_json(body) {
            record.metrics().security_event("malformed_input");
            return Err(malformed(&error, body));
        }
        // What the grammar allows and no value can be.
        reading.is_cut_short = true;
        let field = reading.field.map(pointer).unwrap_or_default();
        let detail = "a number beyond all bounds, or half of a surrogate pair";
        reading.asking.fault(field, detail);
    }
    if query.is_some() {
        let detail = "query parameters are for a document as the body; beside JSON there are none";
        reading.asking.fault("", detail);
    }
    reading.end(&decoding.decoder, &record.trail)
}

fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn malformed(error: &serde_json::Error, body: &[u8]) -> Failure {
    let detail = if body.is_empty() {
        "the body is empty; send a JSON object with source or content".to_owned()
    } else if std::str::from_utf8(body).is_err() {
        "the body is not JSON: it is not UTF-8".to_owned()
    } else {
        format!("the body is not JSON (line {}, column {})", error.line(), error.column())
    };
    Failure::new(Code::MalformedJson, detail)
}

/// A JSON pointer to a field of the request, of which no more is repeated than helps.
pub(super) fn pointer(field: &str) -> String {
    let short: String = field.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("/{}", short.replace('~', "~0").replace('/', "~1"))
}

/// A request as far as it was read.
struct Reading<'a> {
    asking: Asking<'a>,
    source: Option<Option<String>>,
    content: Option<Option<WipedBuffer>>,
    /// Whether there is more, or something else, that cannot be read, as was said.
    is_cut_short: bool,
    /// A bit for each of [`FIELDS`].
    seen: u8,
    /// The field at hand, if it is one of ours.
    field: Option<&'static str>,
}

impl Reading<'_> {
    fn end(self, decoder: &Decoder, trail: &Trail) -> Result<Asked, Failure> {
        let Self { mut asking, source, content, is_cut_short, .. } = self;
        match (&source, &content) {
            (None, None) if !is_cut_short => {
                asking.fault("", "one of source (a URL) and content (the document) is needed");
            }
            (Some(_), Some(_)) => {
                asking.fault("/content", "only one of source and content is allowed");
            }
            _ => {}
        }
        let approved = source.flatten().map(|source| decoder.approve(&source, trail));
        if let Some(Err(Failure { code: Code::InvalidRequest, faults, .. })) = &approved {
            // One of all that are told.
            faults.iter().for_each(|fault| asking.fault(&*fault.pointer, &*fault.detail));
        }
        let options = asking.end()?;
        let document = match (approved, content.flatten()) {
            (Some(approved), _) => Document::Source(approved?),
            (None, Some(content)) => Document::Content(content),
            (None, None) => return Err(Failure::internal("a request without a document")),
        };
        Ok(Asked { document, options })
    }

    /// Notes the field at hand; `false` where it was there before.
    fn is_new(&mut self, name: &str) -> bool {
        let place = FIELDS.iter().position(|known| *known == name);
        self.field = place.map(|place| FIELDS[place]);
        let bit = place.map_or(0, |place| 1 << place);
        let is_new = self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }
}

const FIELDS: [&str; 8] = [
    "source",
    "content",
    "markers",
    "max_secrets",
    "max_secret_chars",
    "multiline",
    "output",
    "allow_partial",
];

impl Fields for Reading<'_> {
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if !self.is_new(name) {
            self.asking.fault(pointer(name), "given twice");
            map.next_value::<IgnoredAny>()?;
            self.field = None;
            return Ok(());
        }
        match name {
            "markers" => map.next_value_seed(MarkerList(&mut self.asking))?,
            "source" | "content" => {
                let text = scalar(map)?.text();
                if text.is_none() {
                    self.asking.fault(pointer(name), TEXT);
                }
                let text = text.map(Cow::into_owned);
                match name {
                    "source" => self.source = Some(text),
                    _ => self.content = Some(text.map(WipedBuffer::from)),
                }
            }
            "max_secrets" => self.asking.max_secrets(scalar(map)?.whole()),
            "max_secret_chars" => {
                self.asking.max_secret_chars(scalar(map)?.whole());
            }
            "multiline" => self.asking.multiline(scalar(map)?.flag()),
            "allow_partial" => self.asking.allow_partial(scalar(map)?.flag()),
            "output" => self.asking.output(scalar(map)?.text().as_deref()),
            _ => {
                let detail = format!("unknown field; there are {}", FIELDS.join(", "));
                self.asking.fault(pointer(name), detail);
                map.next_value::<IgnoredAny>()?;
            }
        }
        self.field = None;
        Ok(())
    }

    fn no_object(&mut self) {
        self.is_cut_short = true;
        self.asking.fault("", "the body must be one JSON object");
    }
}

/// The list of marker pairs.
struct MarkerList<'r, 'a>(&'r mut Asking<'a>);

impl<'de> DeserializeSeed<'de> for MarkerList<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MarkerList<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of marker pairs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut count = 0;
        while count < MAX_PAIRS {
            let mut pair = Pair { asking: self.0, place: count, start: None, end: None };
            if list.next_element_seed(Object(&mut pair))?.is_none() {
                break;
            }
            pair.end();
            count += 1;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        self.0.pairs_end(count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.no_list();
        skip(map)
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.no_list();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.no_list();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.no_list();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.no_list();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.no_list();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.no_list();
        Ok(())
    }
}

impl MarkerList<'_, '_> {
    fn no_list(self) {
        self.0.fault("/markers", "a list of objects with start and end");
    }
}

/// One pair as it is read.
struct Pair<'r, 'a> {
    asking: &'r mut Asking<'a>,
    place: usize,
    start: Option<String>,
    end: Option<String>,
}

impl Fields for Pair<'_, '_> {
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let pointer = format!("/markers/{}{}", self.place, pointer(name));
        let side = match name {
            "start" => &mut self.start,
            "end" => &mut self.end,
            _ => {
                self.asking.fault(pointer, "unknown field; there are start and end");
                return map.next_value::<IgnoredAny>().map(drop);
            }
        };
        if side.is_some() {
            self.asking.fault(pointer, "given twice");
            return map.next_value::<IgnoredAny>().map(drop);
        }
        match scalar(map)?.text() {
            Some(text) => *side = Some(text.into_owned()),
            None => {
                self.asking.fault(pointer, TEXT);
                // Said; it need not be missed as well.
                *side = Some("?".to_owned());
            }
        }
        Ok(())
    }

    fn no_object(&mut self) {
        let pointer = format!("/markers/{}", self.place);
        self.asking.fault(pointer, "an object with start and end");
        (self.start, self.end) = (Some("?".to_owned()), Some("?".to_owned()));
    }
}

impl Pair<'_, '_> {
    fn end(self) {
        let Self { asking, place, start, end } = self;
        for (name, side) in [("start", &start), ("end", &end)] {
            if side.is_none() {
                asking.fault(format!("/markers/{place}/{name}"), "is missing");
            }
        }
        if let (Some(start), Some(end)) = (start, end) {
            asking.pair(place, &start, &end);
        }
    }
}

/// Who wants the fields of an object, one by one.
trait Fields {
    /// Takes the value of a field.
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
    /// Something else stands where the object should.
    fn no_object(&mut self);
}

/// Reads an object for someone.
struct Object<'f, F>(&'f mut F);

impl<'de, F: Fields> DeserializeSeed<'de> for Object<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Fields> Visitor<'de> for Object<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.0.field(&name, &mut map)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.no_object();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.no_object();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.no_object();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.no_object();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.no_object();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.0.no_object();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.no_object();
        Ok(())
    }
}

fn skip<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// The name of a field, borrowed where it can be.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is said where a text should be.
const TEXT: &str = "a string, without halves of surrogate pairs";

/// The value of a field. What the grammar allows and no value can be, such as `1e400`, is
/// [`Scalar::Other`], and reading goes on behind it.
fn scalar<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Scalar<'de>, A::Error> {
    let raw: &RawValue = map.next_value()?;
    Ok(serde_json::from_str(raw.get()).unwrap_or(Scalar::Other))
}

/// A value that is no list and no object; of those, nothing is kept.
enum Scalar<'de> {
    Text(Cow<'de, str>),
    Whole(u64),
    Flag(bool),
    Other,
}

impl<'de> Scalar<'de> {
    fn text(self) -> Option<Cow<'de, str>> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn whole(&self) -> Option<u64> {
        if let Self::Whole(number) = self { Some(*number) } else { None }
    }

    fn flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(*flag) } else { None }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;

        impl<'de> Visitor<'de> for AnyScalar {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Whole(number))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Flag(flag))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Other)
            }

            fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar<'de>, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scalar<'de>, A::Error> {
                skip(map).map(|()| Scalar::Other)
            }
        }

        deserializer.deserialize_any(AnyScalar)
    }
}
