//! One document's pass through the scanner, from its first byte to its answer.

use crate::{
    answer::{Fetch, Finished, Form, Output, Tally, Timing},
    scan::{Charset, Options, Scanner, Secret, Summary},
};
use std::{io, ops::ControlFlow};

/// A decode under way: takes the document in chunks, from whatever reads it, and
/// writes secrets to the form as they are found. It does no I/O but through the form.
pub struct Pass<'a> {
    scanner: Scanner,
    answer: Answer<'a>,
}

struct Answer<'a> {
    tally: Tally,
    form: &'a mut (dyn Form + Send),
    taken: u64,
    /// Whether all secrets so far could be written.
    written: io::Result<()>,
}

impl<'a> Pass<'a> {
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

    /// Takes the next bytes of the document; the secrets in them are handed on when
    /// this returns. `Break`: no more bytes are wanted.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<ControlFlow<()>> {
        let Self { scanner, answer } = self;
        let flow = scanner.push(bytes, &mut |secret| answer.take(&secret));
        answer.hand_on()?;
        Ok(flow)
    }

    /// How many secrets were handed on.
    pub fn secrets(&self) -> u64 {
        self.answer.taken
    }

    /// Ends the scan, because the document has ended or no more of it is wanted.
    pub fn end(self) -> io::Result<Scanned<'a>> {
        let Self { scanner, mut answer } = self;
        let summary = scanner.finish(&mut |secret| answer.take(&secret));
        answer.hand_on()?;
        Ok(Scanned { summary, answer })
    }
}

/// A document that was scanned and whose answer wants its end.
pub struct Scanned<'a> {
    /// What the scan says.
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
