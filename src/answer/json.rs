//! The answer for programs: one JSON document, or a line of JSON for each secret.

use super::{
    Fetch, Finished, Form, Heading, Output, Problem, Tally, Timing, UNCLASSIFIED, WipedBuffer,
};
use crate::scan::{Secret, StoppedBy, Summary};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{
    io::{self, Write},
    ops::ControlFlow,
};

/// One JSON document. The secrets are written as they come, a line each.
pub struct Json<W> {
    to: W,
    heading: Heading,
    encoder: Encoder,
    secrets: u64,
}

impl<W: Write> Json<W> {
    /// A document yet to be begun, whose secrets take at most so many bytes.
    pub fn new(to: W, heading: Heading, output: Output, max_bytes: Option<u64>) -> Self {
        Self { to, heading, encoder: Encoder::new(output, max_bytes), secrets: 0 }
    }

    /// The brace that opens the document, and what it says before its secrets.
    fn open(&mut self) -> io::Result<()> {
        self.to.write_all(b"{")?;
        let Heading { request_id, source } = &self.heading;
        for (name, value) in [("request_id", request_id), ("source", source)] {
            if let Some(value) = value {
                write!(self.to, "\"{name}\":")?;
                serde_json::to_writer(&mut self.to, value)?;
                self.to.write_all(b",")?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Form for Json<W> {
    fn secret(&mut self, secret: &Secret<'_>) -> io::Result<ControlFlow<()>> {
        match self.encoder.encode(secret)? {
            Encoded::Nothing => return Ok(ControlFlow::Continue(())),
            Encoded::NoRoom => return Ok(ControlFlow::Break(())),
            Encoded::Json => {}
        }
        if self.secrets == 0 {
            self.open()?;
            self.to.write_all(b"\"secrets\":[\n")?;
        } else {
            self.to.write_all(b",\n")?;
        }
        self.secrets += 1;
        self.to.write_all(&self.encoder.json)?;
        Ok(ControlFlow::Continue(()))
    }

    fn finish(&mut self, finished: &Finished<'_>) -> io::Result<()> {
        if self.secrets > 0 {
            self.to.write_all(b"\n],\n")?;
        } else {
            self.open()?;
            if self.encoder.output != Output::Summary {
                self.to.write_all(b"\"secrets\":[],\n")?;
            }
        }
        let End { summary, fetch, timing_ms } = End::of(finished);
        self.to.write_all(b"\"summary\":")?;
        serde_json::to_writer(&mut self.to, &summary)?;
        if let Some(fetch) = fetch {
            self.to.write_all(b",\"fetch\":")?;
            serde_json::to_writer(&mut self.to, fetch)?;
        }
        self.to.write_all(b",\"timing_ms\":")?;
        serde_json::to_writer(&mut self.to, &timing_ms)?;
        self.to.write_all(b"}\n")
    }

    /// A document that fails half way stays half a document: no reader can take it
    /// for a whole one. One that fails before its first secret is the problem.
    fn fail(&mut self, problem: &Problem) -> io::Result<()> {
        if self.secrets > 0 {
            return Ok(());
        }
        write_error(&mut self.to, problem)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.forget();
        self.to.flush()
    }
}

/// A JSON object a line: each secret, then the end.
pub struct Ndjson<W> {
    to: W,
    heading: Heading,
    encoder: Encoder,
}

impl<W: Write> Ndjson<W> {
    /// Lines yet to be written, whose secrets take at most so many bytes.
    pub fn new(to: W, heading: Heading, output: Output, max_bytes: Option<u64>) -> Self {
        Self { to, heading, encoder: Encoder::new(output, max_bytes) }
    }
}

impl<W: Write> Form for Ndjson<W> {
    fn secret(&mut self, secret: &Secret<'_>) -> io::Result<ControlFlow<()>> {
        match self.encoder.encode(secret)? {
            Encoded::Nothing => return Ok(ControlFlow::Continue(())),
            Encoded::NoRoom => return Ok(ControlFlow::Break(())),
            Encoded::Json => {}
        }
        self.to.write_all(&self.encoder.json)?;
        self.to.write_all(b"\n")?;
        Ok(ControlFlow::Continue(()))
    }

    fn finish(&mut self, finished: &Finished<'_>) -> io::Result<()> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(flatten)]
            heading: &'a Heading,
            #[serde(flatten)]
            end: End<'a>,
        }
        let line = Line { heading: &self.heading, end: End::of(finished) };
        serde_json::to_writer(&mut self.to, &line)?;
        self.to.write_all(b"\n")
    }

    fn fail(&mut self, problem: &Problem) -> io::Result<()> {
        write_error(&mut self.to, problem)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.forget();
        self.to.flush()
    }
}

fn write_error(to: &mut impl Write, problem: &Problem) -> io::Result<()> {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a Problem,
    }
    serde_json::to_writer(&mut *to, &Error { error: problem })?;
    to.write_all(b"\n")
}

/// Turns secrets into JSON, one at a time, as long as there is room for them.
pub(super) struct Encoder {
    output: Output,
    /// The secret at hand.
    json: WipedBuffer,
    /// How many more bytes the answer may have, where that is bounded.
    room: Option<u64>,
}

/// What became of a secret.
pub(super) enum Encoded {
    /// The output shows nothing of it.
    Nothing,
    /// It stands in the encoder's buffer.
    Json,
    /// It would exceed the bound.
    NoRoom,
}

impl Encoder {
    pub(super) fn new(output: Output, max_bytes: Option<u64>) -> Self {
        Self { output, json: WipedBuffer::default(), room: max_bytes }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.room.is_some()
    }

    pub(super) fn encode(&mut self, secret: &Secret<'_>) -> io::Result<Encoded> {
        self.json.clear();
        match self.output {
            Output::Full => self.full(secret)?,
            Output::Masked => self.masked(secret)?,
            Output::Summary => return Ok(Encoded::Nothing),
        }
        if let Some(room) = &mut self.room {
            // A byte more for what separates it from the next.
            let Some(left) = room.checked_sub(self.json.len() as u64 + 1) else {
                return Ok(Encoded::NoRoom);
            };
            *room = left;
        }
        Ok(Encoded::Json)
    }

    /// Keeps nothing of the last secret.
    pub(super) fn forget(&mut self) {
        self.json.clear();
    }

    // Field by field: derived code costs half as much again as the scan of a page.

    fn full(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        self.field(b"{\"index\":", &secret.index)?;
        self.field(b",\"value\":", secret.reveal())?;
        self.field(b",\"category\":", secret.category())?;
        self.field(b",\"offset\":", &secret.offset)?;
        self.field(b",\"line\":", &secret.line)?;
        self.field(b",\"pair\":", &secret.pair)?;
        self.field(b",\"truncated\":", &secret.truncated)?;
        self.json.write_all(b"}")
    }

    fn masked(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        self.field(b"{\"index\":", &secret.index)?;
        self.field(b",\"pair\":", &secret.pair)?;
        self.field(b",\"value\":", &Mask::of(secret))?;
        self.json.write_all(b"}")
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &[u8], value: &T) -> io::Result<()> {
        self.json.write_all(name)?;
        Ok(serde_json::to_writer(&mut self.json, value)?)
    }
}

/// `LABEL: ********`, or the asterisks alone.
pub(super) struct Mask<'a>(Option<&'a str>);

impl<'a> Mask<'a> {
    pub(super) fn of(secret: &Secret<'a>) -> Self {
        Self(Some(Output::Masked.category(secret)).filter(|label| *label != UNCLASSIFIED))
    }
}

impl std::fmt::Display for Mask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(label) => write!(f, "{label}: ********"),
            None => f.write_str("********"),
        }
    }
}

impl Serialize for Mask<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The answer but for its secrets.
#[derive(Serialize)]
struct End<'a> {
    summary: SummaryAndCategories<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetch: Option<&'a Fetch>,
    timing_ms: Timing,
}

#[derive(Serialize)]
struct SummaryAndCategories<'a> {
    returned: u64,
    stopped_by: Option<&'static str>,
    bytes_scanned: u64,
    unterminated: u64,
    #[serde(serialize_with = "categories")]
    categories: &'a Tally,
}

impl<'a> End<'a> {
    fn of(finished: &Finished<'a>) -> Self {
        let Summary { returned, stopped_by, bytes_scanned, unterminated } = *finished.summary;
        Self {
            summary: SummaryAndCategories {
                returned,
                stopped_by: stopped_by.map(stopped_by_name),
                bytes_scanned,
                unterminated,
                categories: finished.tally,
            },
            fetch: finished.fetch,
            timing_ms: finished.timing,
        }
    }
}

fn stopped_by_name(stopped_by: StoppedBy) -> &'static str {
    match stopped_by {
        StoppedBy::MaxSecrets => "max_secrets",
        StoppedBy::MaxBytes => "max_bytes",
        StoppedBy::MaxResponse => "max_response",
    }
}

fn categories<S: Serializer>(tally: &&Tally, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (name, count) in tally.iter() {
        map.serialize_entry(name, &count)?;
    }
    map.end()
}
