//! What a caller is shown of a decode.
//!
//! [`Output`] says how much: everything, masked values, or no secrets at all.
//! [`Tally`] counts categories within bounds. The forms a decode is written in are
//! [`Json`], [`Ndjson`] and [`Report`]; each takes the secrets one by one, so none
//! keeps them.
//!
//! This module decides what leaves the process: with anything but
//! [`Output::Full`], nothing of a secret passes but a category that looks like a
//! label.

mod escape;
mod json;
mod problem;
mod report;
mod wiped;

pub use escape::Escaped;
pub use json::{Json, Ndjson};
pub use problem::Problem;
pub use report::Report;
pub use wiped::WipedBuffer;

use crate::scan::{Secret, SecretText, Summary};
use std::{io, ops::ControlFlow};

/// How much of each secret is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Value, category and place.
    Full,
    /// A label and asterisks.
    Masked,
    /// Nothing but the counts.
    Summary,
}

/// The category of what has none that may be shown.
const UNCLASSIFIED: &str = "UNCLASSIFIED";
/// The category of what is beyond [`MAX_CATEGORIES`].
const OTHER: &str = "OTHER";
/// How many categories are counted by name.
const MAX_CATEGORIES: usize = 64;

impl Output {
    /// Whether it is shown where a secret stood.
    pub fn shows_places(self) -> bool {
        self == Self::Full
    }

    /// The category of a secret as far as this output shows it.
    fn category<'a>(self, secret: &Secret<'a>) -> &'a str {
        match secret.category() {
            category if self == Self::Full || is_label(category) => category,
            _ => UNCLASSIFIED,
        }
    }
}

/// Whether a category looks like a label, `[A-Z][A-Z0-9_-]{0,31}`, and so is no
/// part of what is secret.
fn is_label(category: &str) -> bool {
    let mut bytes = category.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_uppercase())
        && category.len() <= 32
        && bytes.all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-'))
}

/// How many secrets there were of each category, at most 64 names; what is beyond
/// counts as `OTHER`.
#[derive(Debug)]
pub struct Tally {
    output: Output,
    /// Sorted by name.
    named: Vec<(SecretText, u64)>,
    other: u64,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(output: Output) -> Self {
        Self { output, named: Vec::new(), other: 0 }
    }

    /// Counts one secret.
    pub fn count(&mut self, secret: &Secret<'_>) {
        let category = self.output.category(secret);
        match self.named.binary_search_by(|(name, _)| name.reveal().cmp(category)) {
            Ok(at) => self.named[at].1 += 1,
            Err(at) if self.named.len() < MAX_CATEGORIES => {
                self.named.insert(at, (category.into(), 1));
            }
            Err(_) => self.other += 1,
        }
    }

    /// The names, sorted, with their counts; last what is beyond them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        // A document may name a category OTHER: it is counted there.
        let is_other = |name: &SecretText| name.reveal() == OTHER;
        let named_other = self.named.iter().find(|(name, _)| is_other(name));
        let other = self.other + named_other.map_or(0, |(_, count)| *count);
        let named = self.named.iter().filter(move |(name, _)| !is_other(name));
        named
            .map(|(name, count)| (name.reveal(), *count))
            .chain((other > 0).then_some((OTHER, other)))
    }
}

/// What an answer says of its request; absent where nobody asked over a network.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Heading {
    /// The id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Where the document is, without userinfo, query and fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// How a document was fetched.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Fetch {
    /// What the source answered.
    pub status: u16,
    /// How often it was tried.
    pub attempts: u32,
    /// How many redirects were followed.
    pub redirects: u32,
    /// The bytes of the document that were read, as they came from the network.
    pub bytes: u64,
    /// Where the document was in the end, shown like the source.
    pub final_source: String,
}

/// A decode that came to its end.
#[derive(Debug)]
pub struct Finished<'a> {
    /// What the scan says.
    pub summary: &'a Summary,
    /// The categories of the secrets.
    pub tally: &'a Tally,
    /// How the document was fetched, if it was.
    pub fetch: Option<&'a Fetch>,
    /// How long it took.
    pub timing: Timing,
}

/// How long the parts of a decode took, in milliseconds; `None`: did not happen.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Timing {
    /// From the request to the last byte.
    pub total: f64,
    /// Waiting for admission.
    pub queue: Option<f64>,
    /// Resolving the name.
    pub dns: Option<f64>,
    /// TCP and TLS.
    pub connect: Option<f64>,
    /// From the request to the first byte of the answer.
    pub first_byte: Option<f64>,
    /// Reading the document.
    pub body: Option<f64>,
}

/// A form in which a decode is written, piece by piece.
pub trait Form {
    /// Writes a secret; `Break` says that the answer has no room for it.
    fn secret(&mut self, secret: &Secret<'_>) -> io::Result<ControlFlow<()>>;
    /// Writes the end of a decode that succeeded.
    fn finish(&mut self, finished: &Finished<'_>) -> io::Result<()>;
    /// Writes the end of a decode that failed after it had begun.
    fn fail(&mut self, problem: &Problem) -> io::Result<()>;
    /// Hands on what was written so far.
    fn flush(&mut self) -> io::Result<()>;
}

#[cfg(test)]
mod tests;
