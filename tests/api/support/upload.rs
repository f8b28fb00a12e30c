//! A request body that a test sends piece by piece.

use bytes::Bytes;
use http_body::Frame;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// The pieces as they are sent; the body ends when the sender is dropped.
pub(crate) struct Upload(mpsc::Receiver<Bytes>);

impl Upload {
    /// A body that has no length, so it is sent in chunks, and where its pieces come from.
    pub(crate) fn open() -> (mpsc::Sender<Bytes>, reqwest::Body) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, reqwest::Body::wrap(Self(receiver)))
    }

    /// The same with all of its pieces.
    pub(crate) fn of(pieces: Vec<Bytes>) -> reqwest::Body {
        let (sender, body) = Self::open();
        tokio::spawn(async move {
            for piece in pieces {
                // Who has its answer may not want the rest.
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        body
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}
