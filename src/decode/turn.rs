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

/// The processor, as one decode has it: for half a millisecond at a time, however hard its
/// document is.
pub(super) struct Turns<'a> {
    pool: Option<&'a Pool>,
    /// When the present one began.
    began: Instant,
    /// How much of the document fits into one, as far as is known.
    piece: usize,
}

impl<'a> Turns<'a> {
    const LENGTH: Duration = Duration::from_micros(500);
    /// What is scanned without looking at the clock; the hardest document that is known
    /// takes a third of a millisecond.
    pub(super) const SMALL: usize = 4 * 1024;
    const LARGE: usize = 256 * 1024;

    /// `now` need not be exact: each begins anew.
    pub(super) fn new(pool: Option<&'a Pool>, now: Instant) -> Self {
        Self { pool, began: now, piece: Self::SMALL }
    }

    /// There is something to do again.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// For so long there was nothing to do.
    pub(super) fn waited(&mut self, time: Duration) {
        self.began += time;
    }

    /// How much is to be done before the next look at the clock.
    pub(super) fn piece(&self) -> usize {
        self.piece
    }

    /// A piece is done. Lets others have a turn, where this one is over.
    pub(super) async fn pass(&mut self) {
        let took = self.began.elapsed();
        if took > Self::LENGTH {
            self.end();
            tokio::task::yield_now().await;
            self.begin();
            self.piece = (self.piece / 2).max(Self::SMALL / 2);
        } else if took < Self::LENGTH / 4 {
            self.piece = (self.piece * 2).min(Self::LARGE);
        }
    }

    /// There is nothing to do for the moment.
    pub(super) fn end(&self) {
        if let Some(pool) = self.pool {
            pool.worked(self.began.elapsed());
        }
    }
}
