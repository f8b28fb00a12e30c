//! The task of one request over HTTP/2: how long it may wait for a client that does not read
//! the answer, and what becomes of a request body that is still arriving when it ends.
//!
//! Beneath an HTTP/2 connection lies one stream for all requests, which flows while one of
//! them is stuck for want of room. So each answer is watched by itself.

use super::{
    clock::{Clock, ticks},
    stream::LINGER,
};
use axum::body::{Body, Bytes, HttpBody};
use hyper::rt::Executor;
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    task::coop::consume_budget,
    time::{Instant, interval, timeout},
};

tokio::task_local! {
    static READER: Arc<Reader>;
}

/// The most bytes of one request body that are read and dropped.
const MAX_DISCARDED: usize = 32 << 20;

/// Whoever reads an answer.
pub(in crate::http) struct Reader {
    clock: Arc<Clock>,
    /// Since when there has been no room for more; 0: there is.
    full_since: AtomicU32,
    /// The rest of the request body, until [`Reader::discard_unread`] takes it.
    unread: Mutex<Option<Body>>,
    /// From when the rest of the body is handed over until it is discarded.
    is_discarding: AtomicBool,
    /// Wakes [`Reader::discard_unread`]: there is an unread body, or there will be none.
    is_known: Notify,
}

impl Reader {
    /// The one of the answer that this task is making, over HTTP/2.
    pub(in crate::http) fn current() -> Option<Arc<Self>> {
        READER.try_with(Arc::clone).ok()
    }

    /// There is room for more, or none until this says so again.
    pub(in crate::http) fn has_room(&self, has_room: bool) {
        let since = if has_room { 0 } else { self.clock.now() };
        self.full_since.store(since, Relaxed);
    }

    /// Takes over the rest of a request body that nothing needs any more, to read and drop it.
    ///
    /// If the body were dropped while the client still sends, the stream would be reset right
    /// behind the answer, and clients such as curl 7.88 and httpx would lose the answer.
    pub(in crate::http) fn discard(&self, body: Body) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        self.is_discarding.store(true, Relaxed);
        self.is_known.notify_one();
    }

    /// Whether the rest of the request body is still being discarded.
    pub(in crate::http) fn is_discarding(&self) -> bool {
        self.is_discarding.load(Relaxed)
    }

    /// Waits for an unread body and discards it within bounds. Beyond them, or without a permit,
    /// the body is dropped: the stream is reset once it is answered.
    async fn discard_unread(&self, permits: &Semaphore) {
        self.is_known.notified().await;
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(body), Ok(_permit)) = (unread, permits.try_acquire()) {
            let _ = timeout(LINGER, discard(body)).await;
        }
        self.is_discarding.store(false, Relaxed);
    }

    fn full_for(&self) -> u32 {
        match self.full_since.load(Relaxed) {
            0 => 0,
            since => self.clock.now().saturating_sub(since),
        }
    }
}

/// Runs what makes the answers of HTTP/2 connections, for no longer than they are read.
#[derive(Clone)]
pub(super) struct Readers {
    pub(super) clock: Arc<Clock>,
    /// How long a reader may have no room.
    pub(super) write: Duration,
    /// How long an answer may take.
    pub(super) longest: Duration,
    /// One for each request body that is being read and dropped.
    pub(super) discards: Arc<Semaphore>,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Readers {
    fn execute(&self, answer: F) {
        let reader = Arc::new(Reader {
            clock: Arc::clone(&self.clock),
            full_since: AtomicU32::new(0),
            unread: Mutex::default(),
            is_discarding: AtomicBool::new(false),
            is_known: Notify::new(),
        });
        let Self { write, longest, .. } = *self;
        let permits = Arc::clone(&self.discards);
        tokio::spawn(READER.scope(Arc::clone(&reader), async move {
            let mut discarding = pin!(reader.discard_unread(&permits));
            let is_discarded = tokio::select! {
                biased;
                is_discarded = answered(answer, discarding.as_mut()) => is_discarded,
                () = is_over(&reader, write, longest) => return,
            };
            if !is_discarded {
                reader.is_known.notify_one();
                discarding.await;
            }
        }));
    }
}

/// Runs an answer to its end and drops it; meanwhile the unread body is discarded, because a
/// client may read nothing before its body is sent. Returns whether that is done, too.
async fn answered(answer: impl Future, discarding: impl Future) -> bool {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        _ = &mut answer => false,
        _ = discarding => {
            answer.await;
            true
        }
    }
}

/// Reads a body and drops what it reads, up to [`MAX_DISCARDED`] bytes.
async fn discard(mut body: Body) {
    let mut left = MAX_DISCARDED;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
        // A client that never pauses does not keep other tasks from running.
        consume_budget().await;
    }
}

async fn is_over(reader: &Reader, write: Duration, longest: Duration) {
    let end = Instant::now() + longest;
    let mut looks = interval((write / 8).clamp(Clock::TICK, Duration::from_millis(200)));
    while (Instant::now() < end || reader.is_discarding()) && reader.full_for() <= ticks(write) {
        looks.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use std::{
        convert::Infallible,
        task::{Context, Poll},
    };

    const PIECE: usize = 100_000;

    /// A body that never ends: nothing more comes of it, or one piece after the other.
    struct Endless {
        piece: Option<Bytes>,
        sent: Arc<AtomicU32>,
    }

    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(piece) = self.piece.clone() else { return Poll::Pending };
            self.sent.fetch_add(piece.len() as u32, Relaxed);
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }
    }

    /// Discards a body; how much was read of it, in how much time.
    async fn discarded(piece: Option<Bytes>, permits: usize) -> (usize, Duration) {
        let (full_since, sent) = (AtomicU32::new(0), Arc::default());
        let reader = Reader {
            clock: Clock::start(),
            full_since,
            unread: Mutex::default(),
            is_discarding: AtomicBool::new(false),
            is_known: Notify::new(),
        };
        let began = Instant::now();
        reader.discard(Body::new(Endless { piece, sent: Arc::clone(&sent) }));
        assert!(reader.is_discarding());
        reader.discard_unread(&Semaphore::new(permits)).await;
        assert!(!reader.is_discarding());
        // It is not kept, either.
        assert_eq!(Arc::strong_count(&sent), 1);
        (sent.load(Relaxed) as usize, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_unread_body_is_discarded_up_to_a_number_of_bytes_and_for_a_while() {
        let piece = Some(Bytes::from(vec![0; PIECE]));
        let (sent, _) = discarded(piece.clone(), 1).await;
        assert!((MAX_DISCARDED..=MAX_DISCARDED + PIECE).contains(&sent), "{sent}");

        let (sent, took) = discarded(None, 1).await;
        assert_eq!(sent, 0);
        assert!((LINGER..LINGER * 2).contains(&took), "{took:?}");

        // As many bodies are discarded at a time as there are permits.
        let (sent, took) = discarded(piece, 0).await;
        assert_eq!((sent, took), (0, Duration::ZERO));
    }
}
