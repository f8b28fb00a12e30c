//! The answer for programs: one JSON document, or a line of JSON for each secret.

use super::{Failure, Form, Outcome, Output, Tally, Timing, UNCLASSIFIED};
use crate::scan::{Secret, StoppedBy, Summary};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::io::{self, Write};

/// One JSON document. The secrets are written as they come, a line each.
pub struct Json<W> {
    to: W,
    output: Output,
    secrets: u64,
}

impl<W: Write> Json<W> {
    /// A document yet to be begun.
    pub fn new(to: W, output: Output) -> Self {
        Self { to, output, secrets: 0 }
    }
}

impl<W: Write> Form for Json<W> {
    fn secret(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        let Some(shown) = Shown::of(secret, self.output) else { return Ok(()) };
        let before: &[u8] = if self.secrets == 0 { b"{\"secrets\":[\n" } else { b",\n" };
        self.secrets += 1;
        self.to.write_all(before)?;
        Ok(serde_json::to_writer(&mut self.to, &shown)?)
    }

    fn finish(&mut self, outcome: &Outcome<'_>) -> io::Result<()> {
        let before: &[u8] = match (self.output, self.secrets) {
            (Output::Summary, _) => b"{",
            (_, 0) => b"{\"secrets\":[],\n",
            _ => b"\n],\n",
        };
        self.to.write_all(before)?;
        let End { summary, timing_ms } = End::of(outcome);
        self.to.write_all(b"\"summary\":")?;
        serde_json::to_writer(&mut self.to, &summary)?;
        self.to.write_all(b",\"timing_ms\":")?;
        serde_json::to_writer(&mut self.to, &timing_ms)?;
        self.to.write_all(b"}\n")
    }

    /// A document that fails half way stays half a document: no reader can take it
    /// for a whole one. One that fails before its first secret is the problem.
    fn fail(&mut self, failure: &Failure) -> io::Result<()> {
        if self.secrets > 0 {
            return Ok(());
        }
        write_error(&mut self.to, failure)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A JSON object a line: each secret, then the end.
pub struct Ndjson<W> {
    to: W,
    output: Output,
}

impl<W: Write> Ndjson<W> {
    /// Lines yet to be written.
    pub fn new(to: W, output: Output) -> Self {
        Self { to, output }
    }
}

impl<W: Write> Form for Ndjson<W> {
    fn secret(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        let Some(shown) = Shown::of(secret, self.output) else { return Ok(()) };
        serde_json::to_writer(&mut self.to, &shown)?;
        self.to.write_all(b"\n")
    }

    fn finish(&mut self, outcome: &Outcome<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, &End::of(outcome))?;
        self.to.write_all(b"\n")
    }

    fn fail(&mut self, failure: &Failure) -> io::Result<()> {
        write_error(&mut self.to, failure)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn write_error(to: &mut impl Write, failure: &Failure) -> io::Result<()> {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a Failure,
    }
    serde_json::to_writer(&mut *to, &Error { error: failure })?;
    to.write_all(b"\n")
}

/// A secret as an output shows it.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Full {
        index: u64,
        value: &'a str,
        category: &'a str,
        offset: u64,
        line: Option<u64>,
        pair: usize,
        truncated: bool,
    },
    Masked {
        index: u64,
        pair: usize,
        value: Mask<'a>,
    },
}

impl<'a> Shown<'a> {
    fn of(secret: &Secret<'a>, output: Output) -> Option<Self> {
        match output {
            Output::Full => Some(Self::Full {
                index: secret.index,
                value: secret.reveal(),
                category: secret.category(),
                offset: secret.offset,
                line: secret.line,
                pair: secret.pair,
                truncated: secret.truncated,
            }),
            Output::Masked => Some(Self::Masked {
                index: secret.index,
                pair: secret.pair,
                value: Mask::of(secret),
            }),
            Output::Summary => None,
        }
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
    fn of(outcome: &Outcome<'a>) -> Self {
        let Summary { returned, stopped_by, bytes_scanned, unterminated } = *outcome.summary;
        Self {
            summary: SummaryAndCategories {
                returned,
                stopped_by: stopped_by.map(stopped_by_name),
                bytes_scanned,
                unterminated,
                categories: outcome.tally,
            },
            timing_ms: outcome.timing,
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
