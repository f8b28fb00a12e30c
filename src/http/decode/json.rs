//! A request in JSON.
//!
//! It is read field by field and never as a whole: a value is looked at where it stands in
//! the body, and what does not belong is skipped, so a hostile body costs no more memory
//! than its bytes, however it is built. A fault is written down and reading goes on, so all
//! of them are told at once.

use super::{
    super::authenticator::Admitted,
    Decoding,
    asked::{Asked, Asking},
    text::text,
};
use crate::{
    answer::WipedBuffer,
    decode::{Decoder, Document},
    failure::{Code, Failure},
    identity::Principal,
    scan::MAX_PAIRS,
    telemetry::{AccessRecord, Input, RequestProgress},
};
use serde::{
    Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Reads a request.
pub(super) fn parse(
    body: &[u8],
    query: Option<&str>,
    decoding: &Decoding,
    admitted: &Admitted,
    record: &AccessRecord,
) -> Result<Asked, Failure> {
    let asking = Asking::new(decoding, &admitted.member.tenant);
    let mut reading = Reading { asking, source: None, content: None, seen: 0 };
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let read = if is_object {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let fields = Fields(|name, value| reading.field(name, value));
        deserializer.deserialize_map(fields).and_then(|()| deserializer.end())
    } else {
        serde_json::from_slice::<&RawValue>(body).map(drop)
    };
    record.trail.steps().input = Some(match (&reading.source, &reading.content) {
        (Some(_), None) => Input::Source,
        _ => Input::Content,
    });
    if let Err(error) = read {
        record.metrics().security_event("malformed_input");
        return Err(malformed(&error, body));
    }
    if !is_object {
        reading.asking.fault("", "the body must be one JSON object");
    }
    if query.is_some() {
        let detail = "query parameters are allowed only with a document as the body, not with JSON";
        reading.asking.fault("", detail);
    }
    if is_object && reading.source.is_none() && reading.content.is_none() {
        let detail = "either source (a URL) or content (the document) is required";
        reading.asking.fault("", detail);
    }
    reading.end(&decoding.decoder, &admitted.principal, &record.trail)
}

fn malformed(error: &serde_json::Error, body: &[u8]) -> Failure {
    let detail = if body.is_empty() {
        "the body is empty: send a JSON object with source or content".to_owned()
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
    /// A bit for each of [`FIELDS`].
    seen: u8,
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

impl Reading<'_> {
    fn field(&mut self, name: &RawValue, value: &RawValue) {
        if self.asking.is_hopeless() {
            return;
        }
        let Some(name) = text(name) else { return self.asking.fault("", NO_NAME) };
        if !self.is_new(&name) {
            return self.asking.fault(pointer(&name), "given twice");
        }
        if is_absent(value) && FIELDS.contains(&&*name) {
            return;
        }
        match &*name {
            "source" => self.source = Some(self.document(&name, value)),
            "content" => self.content = Some(self.document(&name, value).map(WipedBuffer::from)),
            "markers" => self.markers(value),
            "max_secrets" => self.asking.max_secrets(value.get().parse().ok()),
            "max_secret_chars" => self.asking.max_secret_chars(value.get().parse().ok()),
            "multiline" => self.asking.multiline(value.get().parse().ok()),
            "allow_partial" => self.asking.allow_partial(value.get().parse().ok()),
            "output" => self.asking.output(text(value).as_deref()),
            _ => {
                let detail = format!("unknown field; known fields are {}", FIELDS.join(", "));
                self.asking.fault(pointer(&name), detail);
            }
        }
    }

    /// Notes a field; `false` where it was there before.
    fn is_new(&mut self, name: &str) -> bool {
        let place = FIELDS.iter().position(|known| *known == name);
        let bit = place.map_or(0, |place| 1 << place);
        let is_new = self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }

    /// A document, or where it is.
    fn document(&mut self, name: &str, value: &RawValue) -> Option<String> {
        let text = text(value);
        if text.is_none() {
            self.asking.fault(pointer(name), NO_TEXT);
        }
        text.map(Cow::into_owned)
    }

    fn markers(&mut self, list: &RawValue) {
        let mut count = 0;
        let is_list = elements(list, |pair| {
            if count < MAX_PAIRS {
                self.pair(count, pair);
            }
            count += 1;
        });
        if is_list {
            self.asking.pairs_end(count);
        } else {
            self.asking.fault("/markers", "a list of objects with start and end");
        }
    }

    fn pair(&mut self, place: usize, pair: &RawValue) {
        let asking = &mut self.asking;
        let (mut start, mut end) = (None, None);
        let is_object = fields(pair, |name, value| {
            if asking.is_hopeless() {
                return;
            }
            let Some(name) = text(name) else {
                return asking.fault(format!("/markers/{place}"), NO_NAME);
            };
            let at = || format!("/markers/{place}{}", pointer(&name));
            let side = match &*name {
                "start" => &mut start,
                "end" => &mut end,
                _ => return asking.fault(at(), "unknown field; known fields are start and end"),
            };
            if side.is_some() {
                return asking.fault(at(), "given twice");
            }
            let text = text(value);
            if text.is_none() {
                asking.fault(at(), if is_absent(value) { MISSING } else { NO_TEXT });
            }
            *side = Some(text);
        });
        if !is_object {
            return asking.fault(format!("/markers/{place}"), "an object with start and end");
        }
        for (name, side) in [("start", &start), ("end", &end)] {
            if side.is_none() {
                asking.fault(format!("/markers/{place}/{name}"), MISSING);
            }
        }
        asking.pair(place, start.flatten().as_deref(), end.flatten().as_deref());
    }

    fn end(
        self,
        decoder: &Decoder,
        principal: &Principal,
        trail: &RequestProgress,
    ) -> Result<Asked, Failure> {
        let Self { mut asking, source, content, .. } = self;
        if source.is_some() && content.is_some() {
            asking.fault("/content", "only one of source and content is allowed");
        }
        let hands_over = content.is_some();
        let tenant = asking.tenant;
        asking.check_may(principal, hands_over)?;
        let approved = source.flatten().map(|source| decoder.approve(tenant, &source, trail));
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
}

/// What is said where a text should be.
const NO_TEXT: &str = "a string, without halves of surrogate pairs";
/// What is said of a field that is needed.
const MISSING: &str = "is missing";
/// What is said of a field whose name is no text.
const NO_NAME: &str = "a field whose name has half of a surrogate pair";

/// Whether a field with this value counts as absent.
fn is_absent(value: &RawValue) -> bool {
    value.get() == "null"
}

/// Takes the fields of an object one by one; `false` where it is none.
fn fields<'de>(value: &'de RawValue, take: impl FnMut(&'de RawValue, &'de RawValue)) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(value.get());
    value.get().starts_with('{') && deserializer.deserialize_map(Fields(take)).is_ok()
}

/// Takes the elements of a list one by one; `false` where it is none.
fn elements<'de>(value: &'de RawValue, take: impl FnMut(&'de RawValue)) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(value.get());
    value.get().starts_with('[') && deserializer.deserialize_seq(Elements(take)).is_ok()
}

/// Who takes the fields of an object: its names, which may be no text, and its values.
struct Fields<F>(F);

impl<'de, F: FnMut(&'de RawValue, &'de RawValue)> Visitor<'de> for Fields<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry()? {
            self.0(name, value);
        }
        Ok(())
    }
}

/// Who takes the elements of a list.
struct Elements<F>(F);

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            self.0(element);
        }
        Ok(())
    }
}
