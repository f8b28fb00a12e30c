//! An answer that leaves line by line.
//!
//! The decode is a task of its own, which waits while lines have not been taken: a slow
//! reader slows its own decode, nothing gathers, and while it waits for its reader it is in
//! nobody's way. A reader that leaves ends it.

use crate::{answer::WipedBuffer, failure::Failure, overload::Permit};
use axum::body::{Bytes, HttpBody};
use http_body::Frame;
use std::{
    future::poll_fn,
    io::{self, Write},
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::task::JoinHandle;

/// What a decode leaves: its permit, to be kept until the last line has left.
type Done = Result<Option<Permit>, Box<Failure>>;

/// A decode under way; dropping it ends it.
struct Run(JoinHandle<Done>);

/// What was written and not taken yet.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: WipedBuffer,
    /// Whether the decode waits for them to be taken.
    is_offered: bool,
    /// Whom to wake when they are offered,
    reader: Option<Waker>,
    /// and when they are taken.
    decode: Option<Waker>,
    fate: Fate,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Open,
    /// Lines of it leave.
    Begun,
    /// None does.
    KeptBack,
}

impl Lines {
    /// Whether all are taken. If not, they are offered, and the decode is woken when they are.
    pub(super) fn are_taken(&self, decode: &Waker) -> bool {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            return true;
        }
        state.is_offered = true;
        state.decode = Some(decode.clone());
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        false
    }

    /// Keeps the answer back, unless it is on its way.
    pub(super) fn keep_back(&self) -> bool {
        let mut state = self.lock();
        if state.fate == Fate::Open {
            state.fate = Fate::KeptBack;
        }
        state.fate == Fate::KeptBack
    }

    /// Whether there are lines to begin with. If not, the reader is woken when there are.
    fn begin(&self, reader: &Waker) -> bool {
        let mut state = self.lock();
        if state.is_offered && state.fate == Fate::Open {
            state.fate = Fate::Begun;
        } else {
            state.reader = Some(reader.clone());
        }
        state.fate == Fate::Begun
    }

    /// Runs until there is a first line; what fails before is the failure.
    pub(super) async fn body(
        self,
        run: impl Future<Output = Done> + Send + 'static,
    ) -> Result<LinesBody, Box<Failure>> {
        let mut run = Run(tokio::spawn(run));
        let first = poll_fn(|context| match run.poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.begin(context.waker()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let (run, permit) = match first.await {
            Some(done) => (None, done?),
            None => (Some(run), None),
        };
        Ok(LinesBody { lines: self, run, is_broken: false, permit })
    }

    /// Takes what is offered, or `all`. Where there is nothing, the reader is woken when
    /// there is.
    fn take(&self, all: bool, reader: &Waker) -> Option<Bytes> {
        let mut state = self.lock();
        if state.waiting.is_empty() || !(all || state.is_offered) {
            state.reader = Some(reader.clone());
            return None;
        }
        state.is_offered = false;
        let taken = std::mem::take(&mut state.waiting);
        let decode = state.decode.take();
        drop(state);
        decode.into_iter().for_each(Waker::wake);
        Some(Bytes::from_owner(taken))
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

impl Run {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        Pin::new(&mut self.0).poll(context).map(|ended| match ended {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // With the runtime.
                Err(error) => Err(Box::new(Failure::internal(error.to_string()))),
            },
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body of such an answer.
pub(super) struct LinesBody {
    lines: Lines,
    /// The decode, as long as it goes on.
    run: Option<Run>,
    /// Whether it broke off.
    is_broken: bool,
    /// And afterwards, what it leaves.
    permit: Option<Permit>,
}

impl HttpBody for LinesBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(run) = &mut self.run
            && let Poll::Ready(done) = run.poll(context)
        {
            self.run = None;
            // Only with the runtime, by now: what breaks off must not look like an end.
            self.is_broken = done.is_err();
            self.permit = done.map_err(|failure| io::Error::other(failure.detail))?;
        }
        let has_ended = self.run.is_none();
        match self.lines.take(has_ended, context.waker()) {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if has_ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.run.is_none() && !self.is_broken && self.lines.lock().waiting.is_empty()
    }
}
