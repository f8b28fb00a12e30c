//! An answer that leaves line by line.
//!
//! The decode is driven by whoever reads the answer: it is polled when the connection
//! has room, and waits while lines have not been taken. So a slow reader slows its own
//! decode and nothing gathers; and a reader that leaves drops it.

use crate::{answer::WipedBuffer, failure::Failure, limit::Place};
use axum::body::{Bytes, HttpBody};
use http_body::Frame;
use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, Write},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

/// A decode. Its place is kept until the last line has left.
type Run = Pin<Box<dyn Future<Output = Result<Option<Place>, Box<Failure>>> + Send>>;

/// What was written and not taken yet.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: WipedBuffer,
    /// Whether anything has been taken, or is about to be.
    begun: bool,
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Whether the answer is on its way. What waits for the first time is not, and can
    /// still be kept back.
    pub(super) fn has_begun(&self) -> bool {
        self.lock().begun
    }

    /// Runs until there is a first line; what fails before is the failure.
    pub(super) async fn body(self, mut run: Run) -> Result<LinesBody, Box<Failure>> {
        let first = poll_fn(|context| match run.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.is_empty() => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        });
        let (run, place) = match first.await {
            Some(done) => (None, done?),
            None => (Some(run), None),
        };
        self.lock().begun = true;
        Ok(LinesBody { lines: self, run, place })
    }

    fn take(&self) -> Option<Bytes> {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            return None;
        }
        Some(Bytes::from_owner(std::mem::take(&mut state.waiting)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().waiting.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of such an answer.
pub(super) struct LinesBody {
    lines: Lines,
    /// The decode, as long as it goes on.
    run: Option<Run>,
    /// And afterwards, what it leaves.
    place: Option<Place>,
}

impl HttpBody for LinesBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let waiting = match self.lines.take() {
            // What is there leaves before more is made.
            Some(bytes) => Some(bytes),
            None => {
                if let Some(run) = &mut self.run
                    && let Poll::Ready(done) = run.as_mut().poll(context)
                {
                    self.run = None;
                    self.place = done.unwrap_or_default();
                }
                self.lines.take()
            }
        };
        match waiting {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.run.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.run.is_none() && self.lines.is_empty()
    }
}
