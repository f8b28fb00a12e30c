//! The scan of one document: pieces in, secrets out, in the order of their ends.

use super::{
    charset::{Charset, Transcoder},
    options::Options,
    pair::{Event, PairScan},
    secret::Secret,
};
use std::ops::ControlFlow;

/// One scan of one document. See the module for an example.
pub struct Scanner {
    transcoder: Transcoder,
    text: TextScan,
    /// How many more bytes of the document the cap allows.
    room: u64,
}

/// What a scan can say about itself when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many secrets the sink took.
    pub returned: u64,
    /// What ended the scan; `None`: the document.
    pub stopped_by: Option<StoppedBy>,
    /// The offset at which the scan ended, in UTF-8 text without a leading
    /// byte-order mark.
    pub bytes_scanned: u64,
    /// How many lines (with `multiline`: documents) ended within a secret, counted
    /// once for each pair.
    pub unterminated: u64,
}

/// What ends a scan before the document does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoppedBy {
    /// The last secret that was asked for is complete.
    MaxSecrets,
    /// The document goes on beyond the cap.
    MaxBytes,
    /// The sink took no more.
    MaxResponse,
}

impl Scanner {
    /// Begins the scan of a document in the declared charset.
    pub fn new(options: &Options, charset: Charset) -> Self {
        Self {
            transcoder: Transcoder::new(charset),
            text: TextScan {
                pairs: options.pairs.iter().map(|pair| PairScan::new(options, pair)).collect(),
                max_secrets: options.max_secrets.get(),
                summary: Summary {
                    returned: 0,
                    stopped_by: None,
                    bytes_scanned: 0,
                    unterminated: 0,
                },
            },
            room: options.max_bytes.unwrap_or(u64::MAX),
        }
    }

    /// Takes the next bytes of the document and hands the secrets that they
    /// complete to `sink`, which answers `Break` to a secret that it does not take.
    ///
    /// `Break` says that the scan has ended: more bytes would change nothing.
    pub fn push(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Secret<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.text.summary.stopped_by.is_some() {
            return ControlFlow::Break(());
        }
        let within = match usize::try_from(self.room) {
            Ok(room) if room < bytes.len() => &bytes[..room],
            _ => bytes,
        };
        self.room -= within.len() as u64;
        self.transcoder.push(within, &mut |text| self.text.push(text, sink))?;
        if within.len() < bytes.len() {
            self.transcoder.finish(false, &mut |text| self.text.push(text, sink))?;
            self.text.summary.stopped_by = Some(StoppedBy::MaxBytes);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Ends the scan: where nothing stopped it before, the document is over.
    pub fn finish(mut self, sink: &mut impl FnMut(Secret<'_>) -> ControlFlow<()>) -> Summary {
        if self.text.summary.stopped_by.is_none() {
            let text = &mut |text: &[u8]| self.text.push(text, sink);
            if self.transcoder.finish(true, text).is_continue() {
                self.text.end();
            }
        }
        self.text.summary
    }
}

/// The scan of the document's text by all pairs.
struct TextScan {
    pairs: Vec<PairScan>,
    max_secrets: u64,
    summary: Summary,
}

impl TextScan {
    fn push(
        &mut self,
        piece: &[u8],
        sink: &mut impl FnMut(Secret<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let base = self.summary.bytes_scanned;
        while let Some((pair, event)) = self.next_event(piece, base) {
            let Some(found) = event.found else {
                self.summary.unterminated += 1;
                continue;
            };
            let (value, truncated) = self.pairs[pair].value(found.body, piece);
            let taken = sink(Secret {
                index: self.summary.returned + 1,
                pair,
                offset: found.offset,
                line: found.line,
                truncated,
                value,
            });
            self.pairs[pair].forget();
            if taken.is_continue() {
                self.summary.returned += 1;
                if self.summary.returned < self.max_secrets {
                    continue;
                }
                self.summary.stopped_by = Some(StoppedBy::MaxSecrets);
            } else {
                self.summary.stopped_by = Some(StoppedBy::MaxResponse);
            }
            self.summary.bytes_scanned = base + event.end as u64;
            return ControlFlow::Break(());
        }
        self.leave(piece);
        ControlFlow::Continue(())
    }

    /// The event of the piece that ends first, and whose it is; of several, that of
    /// the first in the list.
    fn next_event(&mut self, piece: &[u8], base: u64) -> Option<(usize, Event)> {
        let ends = self.pairs.iter_mut().enumerate();
        let (pair, _) = ends
            .filter_map(|(pair, scan)| Some((pair, scan.next_end(piece, base)?)))
            .min_by_key(|(_, end)| *end)?;
        Some((pair, self.pairs[pair].take()?))
    }

    /// Goes on to the next piece. The lines are counted by the pair that got
    /// furthest, for all.
    fn leave(&mut self, piece: &[u8]) {
        let furthest = self.pairs.iter().map(PairScan::lines).max_by_key(|lines| lines.at);
        let mut lines = furthest.unwrap_or_default();
        lines.count_to(piece.len(), piece);
        for pair in &mut self.pairs {
            pair.leave(lines);
        }
        self.summary.bytes_scanned += piece.len() as u64;
    }

    /// Ends the text: what is open stays unterminated.
    fn end(&mut self) {
        let open = self.pairs.iter().filter(|pair| pair.is_open());
        self.summary.unterminated += open.count() as u64;
    }
}
