//! One pair of markers and where it stands in the document.
//!
//! A pair is either seeking its start marker or open: between a start marker and
//! what ends it, which is the end marker or the line feed that leaves it
//! unterminated. The text comes in pieces; all offsets but [`Found::offset`] are
//! offsets in the piece at hand.

use super::{
    capture::{self, Capture},
    options::{MarkerPair, Options},
};
use memchr::{memchr, memchr_iter};
use std::{ops::Range, sync::Arc};

/// What a pair meets next.
pub(super) struct Event {
    /// Just behind the byte that completes it.
    pub(super) end: usize,
    /// `None`: a line that ended before the secret did.
    pub(super) found: Option<Found>,
}

/// A secret, but for its value.
pub(super) struct Found {
    pub(super) offset: u64,
    pub(super) line: Option<u64>,
    /// Where its bytes are; `None`: they began in an earlier piece and were kept.
    pub(super) body: Option<Range<usize>>,
}

pub(super) struct PairScan {
    markers: Arc<MarkerPair>,
    max_chars: usize,
    multiline: bool,
    state: State,
    /// How many bytes of the sought marker the text before `at` ends with; not 0
    /// only where `at` is 0.
    matched: usize,
    /// From here on nothing was looked at.
    at: usize,
    /// The first line feed from `lines.at` on, or the length of the piece, where
    /// that is known; passed where it is less than `at`.
    line_end: Option<usize>,
    lines: Lines,
    capture: Capture,
    /// The next event, once it was looked for.
    next: Option<Event>,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    Seeking,
    Open {
        offset: u64,
        line: Option<u64>,
    },
}

/// How many line feeds were passed up to an offset, where that is counted.
#[derive(Default, Clone, Copy)]
pub(super) struct Lines {
    pub(super) at: usize,
    passed: Option<u64>,
}

impl Lines {
    pub(super) fn count_to(&mut self, at: usize, piece: &[u8]) {
        let count = || memchr_iter(b'\n', &piece[self.at..at]).count() as u64;
        self.passed = self.passed.map(|passed| passed + count());
        self.at = at;
    }
}

impl PairScan {
    pub(super) fn new(options: &Options, markers: &Arc<MarkerPair>) -> Self {
        Self {
            markers: Arc::clone(markers),
            max_chars: options.max_secret_chars.get(),
            multiline: options.multiline,
            state: State::Seeking,
            matched: 0,
            at: 0,
            line_end: None,
            lines: Lines { at: 0, passed: options.lines.then_some(0) },
            capture: Capture::default(),
            next: None,
        }
    }

    /// Where the next event of the piece ends. `base` is the offset of the piece in
    /// the text.
    pub(super) fn next_end(&mut self, piece: &[u8], base: u64) -> Option<usize> {
        if self.next.is_none() {
            self.next = match self.state {
                State::Seeking => self.seek(piece, base),
                State::Open { offset, line } => self.close(piece, offset, line),
            };
        }
        self.next.as_ref().map(|event| event.end)
    }

    /// The event that [`PairScan::next_end`] spoke of.
    pub(super) fn take(&mut self) -> Option<Event> {
        self.next.take()
    }

    /// The value of a secret that was taken, and whether it was cut.
    pub(super) fn value<'s>(
        &'s mut self,
        body: Option<Range<usize>>,
        piece: &'s [u8],
    ) -> (&'s str, bool) {
        if let Some(body) = body {
            let body = &piece[body];
            if let Some(value) = capture::whole(body, self.max_chars) {
                return value;
            }
            self.capture.push(body, self.max_chars);
        }
        self.capture.finish(self.max_chars)
    }

    /// Forgets the value that was shown.
    pub(super) fn forget(&mut self) {
        self.capture.clear();
    }

    /// How far the lines of the piece are counted.
    pub(super) fn lines(&self) -> Lines {
        self.lines
    }

    /// Goes on to the next piece; `lines` is counted to the end of this one.
    pub(super) fn leave(&mut self, lines: Lines) {
        self.at = 0;
        self.line_end = None;
        self.lines = Lines { at: 0, ..lines };
    }

    /// Whether a start marker still waits for its end.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    fn seek(&mut self, piece: &[u8], base: u64) -> Option<Event> {
        let marker = &self.markers.start;
        let Some(end) = marker.find(&mut self.matched, &piece[self.at..]) else {
            self.at = piece.len();
            return None;
        };
        self.at += end;
        match self.line_end {
            Some(line_end) if line_end >= self.at => self.lines.at = self.at,
            _ => self.lines.count_to(self.at, piece),
        }
        let offset = base + self.at as u64 - marker.bytes().len() as u64;
        let line = self.lines.passed.map(|passed| passed + 1);
        self.state = State::Open { offset, line };
        self.close(piece, offset, line)
    }

    fn close(&mut self, piece: &[u8], offset: u64, line: Option<u64>) -> Option<Event> {
        let limit = if self.multiline { piece.len() } else { self.line_end(piece) };
        let marker = &self.markers.end;
        // What was held back as a beginning of the end marker may be the value's.
        let held = &marker.bytes()[..self.matched];
        let rest = &piece[self.at..limit];
        let Some(end) = marker.find(&mut self.matched, rest) else {
            if limit < piece.len() {
                self.matched = 0;
                self.capture.clear();
                self.at = limit + 1;
                self.lines =
                    Lines { at: self.at, passed: self.lines.passed.map(|passed| passed + 1) };
                self.state = State::Seeking;
                return Some(Event { end: self.at, found: None });
            }
            let sure = held.len() + rest.len() - self.matched;
            self.capture.push_first(sure, [held, rest], self.max_chars);
            self.at = piece.len();
            return None;
        };
        let sure = held.len() + end - marker.bytes().len();
        let body = if held.is_empty() && self.capture.is_empty() {
            Some(self.at..self.at + sure)
        } else {
            self.capture.push_first(sure, [held, rest], self.max_chars);
            None
        };
        self.at += end;
        self.state = State::Seeking;
        Some(Event { end: self.at, found: Some(Found { offset, line, body }) })
    }

    /// The end of the line that `at` is in, where `at` is also where the lines are
    /// counted to or stands before an end that is known.
    fn line_end(&mut self, piece: &[u8]) -> usize {
        match self.line_end {
            Some(line_end) if line_end >= self.at => line_end,
            _ => {
                debug_assert_eq!(self.lines.at, self.at);
                let rest = &piece[self.at..];
                let line_end = self.at + memchr(b'\n', rest).unwrap_or(rest.len());
                self.line_end = Some(line_end);
                line_end
            }
        }
    }
}
