//! The reader of one answer over HTTP/2: whether it has room for more.
//!
//! Beneath an HTTP/2 connection lies one stream for all requests, which flows while one of
//! them is stuck for want of room. So each answer is watched by itself.

use super::clock::{Clock, ticks};
use hyper::rt::Executor;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, interval};

tokio::task_local! {
    static READER: Arc<Reader>;
}

/// Whoever reads an answer.
pub(in crate::http) struct Reader {
    clock: Arc<Clock>,
    /// Since when there has been no room for more; 0: there is.
    full_since: AtomicU32,
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
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Readers {
    fn execute(&self, answer: F) {
        let clock = Arc::clone(&self.clock);
        let reader = Arc::new(Reader { clock, full_since: AtomicU32::new(0) });
        let Self { write, longest, .. } = *self;
        tokio::spawn(READER.scope(Arc::clone(&reader), async move {
            tokio::select! {
                biased;
                _ = answer => {}
                () = is_over(&reader, write, longest) => {}
            }
        }));
    }
}

async fn is_over(reader: &Reader, write: Duration, longest: Duration) {
    let end = Instant::now() + longest;
    let mut looks = interval((write / 8).clamp(Clock::TICK, Duration::from_millis(200)));
    while Instant::now() < end && reader.full_for() <= ticks(write) {
        looks.tick().await;
    }
}
