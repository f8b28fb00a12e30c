//! How decodes get along with each other: nobody keeps the processor, nor a place that is
//! not needed just now.

use crate::limit::{Caller, Place, Pool, Turn};
use std::time::{Duration, Instant};
use tokio::{task::yield_now, time::timeout};

/// How long a client may let its document be waited for in all before others have the place.
const LEND_AFTER: Duration = Duration::from_millis(50);

/// The patience of those who wait for a place with who has one.
pub struct Lending(Duration);

impl Default for Lending {
    fn default() -> Self {
        Self(LEND_AFTER)
    }
}

impl Lending {
    /// Waits for what a client sends; where that has taken too long by now, others have the
    /// place meanwhile.
    pub async fn of<T>(&mut self, place: &mut Option<Place>, next: impl Future<Output = T>) -> T {
        let (mut next, began) = (std::pin::pin!(next), Instant::now());
        if let Ok(arrived) = timeout(self.0, &mut next).await {
            self.0 = self.0.saturating_sub(began.elapsed());
            return arrived;
        }
        self.0 = Duration::ZERO;
        place.iter_mut().for_each(Place::lend);
        let arrived = next.await;
        place.iter_mut().for_each(Place::take_back);
        arrived
    }
}

/// The processors, as one decode has them: for half a millisecond at a time, however hard
/// its document is.
pub(super) struct Turns<'a> {
    pool: Option<&'a Pool>,
    /// Whose they are.
    caller: Caller,
    /// The present one.
    now: Option<Begun>,
    /// How much of the document fits into one, as far as is known.
    piece: usize,
    /// How much there was to do by now.
    seen: usize,
    /// How long all turns took since others came first.
    unbroken: Duration,
}

struct Begun {
    at: Instant,
    _turn: Option<Turn>,
}

impl<'a> Turns<'a> {
    const LENGTH: Duration = Duration::from_micros(500);
    /// So short a time delays nobody.
    const SHORT: Duration = Duration::from_micros(125);
    /// What is scanned without a turn; the hardest document that is known takes a third of
    /// a millisecond.
    const SMALL: usize = 4 * 1024;
    /// What is scanned before the next look at the clock, however easy the last piece was.
    const LARGE: usize = 32 * 1024;

    pub(super) fn new(pool: Option<&'a Pool>, caller: Caller) -> Self {
        let (piece, seen, unbroken) = (Self::SMALL, 0, Duration::ZERO);
        Self { pool, caller, now: None, piece, seen, unbroken }
    }

    /// There is so much more to do: whether that, with all before it, takes turns.
    pub(super) fn are_taken_for(&mut self, bytes: usize) -> bool {
        self.seen = self.seen.saturating_add(bytes);
        self.seen > Self::SMALL
    }

    /// There is something to do: waits for a turn, where this is none.
    pub(super) async fn begin(&mut self) {
        if self.now.is_none() {
            let turn = match self.pool {
                Some(pool) => pool.turn(self.caller).await,
                None => None,
            };
            self.now = Some(Begun { at: Instant::now(), _turn: turn });
        }
    }

    /// How much is to be done before the next look at the clock.
    pub(super) fn piece(&self) -> usize {
        self.piece
    }

    /// A piece is done. Where the turn is over, others have theirs.
    pub(super) async fn pass(&mut self) {
        let took = self.took();
        if took > Self::LENGTH {
            self.end().await;
            self.piece = (self.piece / 2).max(Self::SMALL / 2);
        } else if took < Self::SHORT {
            self.piece = (self.piece * 2).min(Self::LARGE);
        }
    }

    /// There is nothing to do for the moment.
    pub(super) async fn end(&mut self) {
        let took = self.took();
        if let (Some(_), Some(pool)) = (&self.now, self.pool) {
            pool.worked(took);
        }
        self.unbroken += took;
        if self.unbroken > Self::SHORT {
            // All else that is ready comes before the next turn, whose ever that is.
            yield_now().await;
            self.unbroken = Duration::ZERO;
        }
        self.now = None;
    }

    fn took(&self) -> Duration {
        self.now.as_ref().map(|begun| begun.at.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    };

    #[tokio::test]
    async fn short_turns_add_up() {
        let others = Arc::new(AtomicU32::new(0));
        let counts = Arc::clone(&others);
        let other = tokio::spawn(async move {
            loop {
                counts.fetch_add(1, Relaxed);
                yield_now().await;
            }
        });
        let mut turns = Turns::new(None, Caller::HERE);
        for _ in 0..200 {
            turns.begin().await;
            let began = Instant::now();
            while began.elapsed() < Turns::SHORT / 10 {}
            turns.end().await;
        }
        other.abort();

        assert!(others.load(Relaxed) >= 15, "{others:?}");
    }
}
