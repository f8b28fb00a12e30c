//! The body of a request that is answered before all of it is read.
//!
//! Over HTTP/1 the client sends its next request behind the body, so either the body is read or
//! the connection ends. A little that is on its way anyhow is read, so that a refused client need
//! not connect again. Over HTTP/2 every such body is handed to the task of its request, which
//! reads and drops the rest within bounds (`connection/reader.rs`).

use super::connection::Reader;
use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, Response, header::EXPECT},
};
use http_body::{Frame, SizeHint};
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

/// A request body over HTTP/2. Dropped before its end, it leaves the rest to be discarded.
pub(super) struct Discarded {
    body: Body,
    reader: Arc<Reader>,
}

impl Discarded {
    /// Wraps the body of a request over HTTP/2 that has one.
    pub(super) fn wrap(body: Body) -> Body {
        match Reader::current() {
            Some(reader) if !body.is_end_stream() => Body::new(Self { body, reader }),
            _ => body,
        }
    }
}

impl HttpBody for Discarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Discarded {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            self.reader.discard(std::mem::take(&mut self.body));
        }
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
