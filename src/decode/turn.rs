//! How decodes get along with each other: nobody keeps the processor, nor a place that is
//! not needed just now.

use crate::limit::{Place, Pool};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long nothing of a document may arrive before others have its place.
const LEND_AFTER: Duration = Duration::from_millis(50);

/// Waits for what a client sends; where nothing comes for a while, others have the place
/// meanwhile.
pub async fn lending<T>(place: &mut Option<Place>, next: impl Future<Output = T>) -> T {
    let mut next = std::pin::pin!(next);
    if let Ok(arrived) = timeout(LEND_AFTER, &mut next).await {
        return arrived;
    }
    place.iter_mut().for_each(Place::lend);
    let arrived = next.await;
    place.iter_mut().for_each(Place::take_back);
    arrived
}

/// The processor, as one decode has it.
pub(super) struct Turn<'a> {
    pool: Option<&'a Pool>,
    began: Instant,
}

impl<'a> Turn<'a> {
    /// How long it is had at a time.
    const LENGTH: Duration = Duration::from_millis(1);

    pub(super) fn begin(pool: Option<&'a Pool>) -> Self {
        Self { pool, began: Instant::now() }
    }

    /// Lets others have a turn, where this one is over.
    pub(super) async fn pass(&mut self) {
        if self.began.elapsed() > Self::LENGTH {
            self.note();
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
    }

    fn note(&self) {
        if let Some(pool) = self.pool {
            pool.worked(self.began.elapsed());
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.note();
    }
}
