//! Reading the body of a request.

use super::{super::body::too_large, Entrance};
use crate::{
    decode::{self, Lending},
    failure::{Failure, Fault, Outcome},
    overload::Permit,
    telemetry::RequestProgress,
};
use axum::body::{Body, Bytes, HttpBody};
use futures_core::Stream;
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::{Sleep, sleep};

/// Who has sent so much keeps its permit while nothing more comes: permits bound memory, and of what
/// is lent, there is as much as there are requests in flight.
const LENT: u64 = 64 * 1024;

/// The body as it arrives, for as long as it does. Its cap is the affair of who reads it,
/// and may want only the beginning.
pub(super) struct Arriving {
    body: Body,
    trail: Arc<RequestProgress>,
    /// How long nothing may come.
    patience: Duration,
    /// While nothing comes.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    pub(super) fn new(body: Body, patience: Duration, trail: Arc<RequestProgress>) -> Self {
        Self { body, trail, patience, waiting: None }
    }

    /// The whole body, in one piece, for a decode that may have a permit already. One that is
    /// larger than `without_permit` enters for one.
    pub(super) async fn whole(
        mut self,
        cap: u64,
        permit: &mut Option<Permit>,
        without_permit: u64,
        entrance: &Entrance<'_>,
    ) -> Result<Bytes, Failure> {
        let mut lending = Lending::default();
        let mut first = Bytes::new();
        let mut all = Vec::new();
        let mut length = 0;
        loop {
            self.trail.steps().uploading = true;
            let next = poll_fn(|context| Pin::new(&mut self).poll_next(context));
            let data = match permit {
                Some(_) if length <= LENT => Box::pin(lending.wait(permit, next)).await,
                _ => next.await,
            };
            self.trail.steps().uploading = false;
            let Some(data) = data.transpose()? else { break };
            length += data.len() as u64;
            if length > cap {
                return Err(too_large(cap));
            }
            if permit.is_none() && length > without_permit {
                *permit = Box::pin(entrance.enter()).await?;
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                // What grows bit by bit needs its size several times over.
                if let Some(whole) = self.body.size_hint().exact().filter(|_| all.is_empty()) {
                    all.reserve_exact(first.len() + data.len() + whole.min(cap - length) as usize);
                }
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
        self.trail.steps().complete = Some(Instant::now());
        Ok(if all.is_empty() { first } else { all.into() })
    }
}

impl Stream for Arriving {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(broken(&error)))),
                Poll::Ready(None) => {
                    self.trail.steps().received = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let patience = self.patience;
                    let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
                    return waiting.as_mut().poll(context).map(|()| Some(Err(decode::too_slow())));
                }
            };
            self.waiting = None;
            if let Ok(data) = frame.into_data() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }
}

/// The body broke off: its framing is not valid, or its client left.
fn broken(error: &axum::Error) -> Failure {
    let mut cause = std::error::Error::source(error);
    let mut is_malformed = false;
    while let Some(beneath) = cause {
        is_malformed |= beneath.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
        });
        cause = beneath.source();
    }
    let detail = "the body ended early, or its framing is not valid";
    let failure = Failure::invalid(vec![Fault::new("", detail)]).because(error.to_string());
    if is_malformed { failure } else { Failure { outcome: Outcome::Cancelled, ..failure } }
}
