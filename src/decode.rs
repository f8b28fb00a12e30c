//! One decode from its first byte to its answer.
//!
//! A [`Decode`] takes the document in chunks, from whatever reads it, and writes
//! secrets in the form that the caller wants as they are found. It does no I/O but
//! through the form.

use crate::{
    answer::{Failure, Form, Outcome, Output, Tally, Timing},
    scan::{Charset, Options, Scanner, Secret, Summary},
};
use std::{io, ops::ControlFlow};

/// A decode under way.
pub struct Decode<'a> {
    scanner: Scanner,
    answer: Answer<'a>,
}

struct Answer<'a> {
    tally: Tally,
    form: Box<dyn Form + 'a>,
    /// Whether all secrets so far could be written.
    written: io::Result<()>,
}

impl<'a> Decode<'a> {
    /// Begins a decode whose answer is written to `form`.
    pub fn new(
        options: &Options,
        charset: Charset,
        output: Output,
        form: Box<dyn Form + 'a>,
    ) -> Self {
        Self {
            scanner: Scanner::new(options, charset),
            answer: Answer { tally: Tally::new(output), form, written: Ok(()) },
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

    /// Ends the decode, because the document has ended or no more of it is wanted.
    pub fn finish(self, timing: impl FnOnce() -> Timing) -> io::Result<Summary> {
        let Self { scanner, mut answer } = self;
        let summary = scanner.finish(&mut |secret| answer.take(&secret));
        answer.hand_on()?;
        let outcome = Outcome { summary: &summary, tally: &answer.tally, timing: timing() };
        answer.form.finish(&outcome)?;
        answer.hand_on()?;
        Ok(summary)
    }

    /// Ends the decode, because the document cannot be read further.
    pub fn fail(mut self, failure: &Failure) -> io::Result<()> {
        self.answer.form.fail(failure)?;
        self.answer.hand_on()
    }
}

impl Answer<'_> {
    fn take(&mut self, secret: &Secret<'_>) -> ControlFlow<()> {
        self.tally.count(secret);
        self.written = self.form.secret(secret);
        if self.written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.written, Ok(()))?;
        self.form.flush()
    }
}
