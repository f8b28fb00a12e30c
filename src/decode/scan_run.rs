//! One run of a document through the scanner, from its first byte to the end of its answer.

use crate::{
    answer::{Fetch, Finished, Form, Output, Tally, Timing},
    scan::{Charset, Options, Scanner, Secret, Summary},
};
use std::{io, ops::ControlFlow};

/// Takes a document in chunks and writes its secrets to a form as they are found. It does no I/O except
/// through the form.
pub struct ScanRun<'a> {
    scanner: Scanner,
    answer: Answer<'a>,
}

struct Answer<'a> {
    tally: Tally,
    form: &'a mut (dyn Form + Send),
    taken: u64,
    /// The result of writing the secrets so far.
    written: io::Result<()>,
}

impl<'a> ScanRun<'a> {
    /// Begins a decode whose answer is written to `form`.
    pub fn new(
        options: &Options,
        charset: Charset,
        output: Output,
        form: &'a mut (dyn Form + Send),
    ) -> Self {
        Self {
            scanner: Scanner::new(options, charset),
            answer: Answer { tally: Tally::new(output), form, taken: 0, written: Ok(()) },
        }
    }

    /// Scans the next bytes; their secrets are written when this returns. `Break` if no more bytes are
    /// needed.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<ControlFlow<()>> {
        let Self { scanner, answer } = self;
        let flow = scanner.push(bytes, &mut |secret| answer.take(&secret));
        answer.hand_on()?;
        Ok(flow)
    }

    /// How many secrets were written.
    pub fn secrets(&self) -> u64 {
        self.answer.taken
    }

    /// Ends the scan, at the end of the document or because no more bytes are needed.
    pub fn end(self) -> io::Result<Scanned<'a>> {
        let Self { scanner, mut answer } = self;
        let summary = scanner.finish(&mut |secret| answer.take(&secret));
        answer.hand_on()?;
        Ok(Scanned { summary, answer })
    }
}

/// A scanned document whose answer still needs its end.
pub struct Scanned<'a> {
    /// The summary of the scan.
    pub summary: Summary,
    answer: Answer<'a>,
}

impl Scanned<'_> {
    /// Writes the end of the answer.
    pub fn finish(self, fetch: Option<&Fetch>, timing: Timing) -> io::Result<Summary> {
        let Self { summary, mut answer } = self;
        let finished = Finished { summary: &summary, tally: &answer.tally, fetch, timing };
        answer.form.finish(&finished)?;
        answer.hand_on()?;
        Ok(summary)
    }
}

impl Answer<'_> {
    fn take(&mut self, secret: &Secret<'_>) -> ControlFlow<()> {
        match self.form.secret(secret) {
            Ok(ControlFlow::Continue(())) => {
                self.tally.count(secret);
                self.taken += 1;
                ControlFlow::Continue(())
            }
            Ok(ControlFlow::Break(())) => ControlFlow::Break(()),
            Err(error) => {
                self.written = Err(error);
                ControlFlow::Break(())
            }
        }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.written, Ok(()))?;
        self.form.flush()
    }
}
