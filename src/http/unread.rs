//! The body of a request that was refused before it was read.
//!
//! A client that has sent one sends its next request behind it, so either it is read or the
//! connection ends. A little that is on its way anyhow is read, so that a client that is
//! refused need not connect again for it.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, Response, header::EXPECT},
};
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Sleep, sleep};

/// The largest body that is read for nothing.
const LITTLE: u64 = 64 * 1024;

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// A little body, on its way from where the request was refused to where it is answered.
#[derive(Clone)]
struct Unread(Arc<Mutex<Option<Body>>>);

/// Hands the body of a refused request over to its answer, if it is worth it. One that
/// waits to be asked for is not asked for.
pub(super) fn keep(headers: &HeaderMap, body: Body, response: &mut Response<Body>) {
    let length = body.size_hint().exact();
    let is_little = length.is_some_and(|length| length > 0 && length <= LITTLE);
    if is_little && !headers.contains_key(EXPECT) {
        response.extensions_mut().insert(Unread(Arc::new(Mutex::new(Some(body)))));
    }
}

/// A body that is read for nothing.
pub(super) struct Draining {
    body: Body,
    /// While it does not come.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Draining {
    /// What an answer was handed over.
    pub(super) fn of<B>(response: &mut Response<B>) -> Option<Self> {
        let Unread(kept) = response.extensions_mut().remove()?;
        let body = kept.lock().ok()?.take()?;
        Some(Self { body, waiting: None })
    }

    /// Whether all of it was read.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Pending => {
                    let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                    ready!(waiting.as_mut().poll(context));
                    return Poll::Ready(false);
                }
            }
        }
    }
}
