//! A bounded number of decodes at a time.

use super::{Bounds, Caller, Entry, Place, Places, Processors, Shed, Turn};
use crate::telemetry::PoolMetrics;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Places for decodes of one kind, and what these have of the processors.
#[derive(Clone)]
pub struct Pool {
    places: Places,
    processors: Arc<Processors>,
    /// Nanoseconds for which those who have a place have had a processor.
    worked: Arc<AtomicU64>,
}

impl Pool {
    /// All places free, for decodes that take turns at these processors.
    pub fn new(bounds: Bounds, processors: Arc<Processors>, metrics: PoolMetrics) -> Self {
        Self { places: Places::new(bounds, Some(metrics)), processors, worked: Arc::default() }
    }

    /// Has a place at once, or will wait for one, or has none.
    pub fn enter(&self, caller: Caller) -> Entry {
        self.places.enter(caller)
    }

    /// Whether a place is one of this pool.
    pub fn has(&self, place: &Place) -> bool {
        place.is_of(&self.places)
    }

    /// Someone is turned away for want of what only this pool's decodes take.
    pub fn turned_away(&self) {
        self.places.shed(Shed::QueueFull);
    }

    /// Waits for a turn at a processor.
    pub async fn turn(&self, caller: Caller) -> Option<Turn> {
        self.processors.turn(caller).await
    }

    /// One who has a place has had a processor for so long.
    pub fn worked(&self, time: Duration) {
        self.worked.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long they have had since this was last asked.
    pub(super) fn take_worked(&self) -> Duration {
        Duration::from_nanos(self.worked.swap(0, Relaxed))
    }

    /// Gives out fewer places, but no less than that.
    pub(super) fn narrow(&self, least: usize) {
        self.places.narrow(least);
    }

    /// Gives out more again, where it does not give out all.
    pub(super) fn widen(&self) {
        self.places.widen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Metrics, PoolKind};

    #[test]
    fn what_was_worked_is_told_once() {
        let bounds = Bounds { places: 1, waiting: 0, max_wait: Duration::ZERO, leaves_some: false };
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Inline);
        let pool = |metrics| Pool::new(bounds, Arc::new(Processors::new()), metrics);
        let (one, other) = (pool(metrics.clone()), pool(metrics.clone()));
        one.worked(Duration::from_millis(2));
        one.worked(Duration::from_micros(3));

        assert_eq!(other.take_worked(), Duration::ZERO);
        assert_eq!(one.take_worked(), Duration::from_micros(2003));
        assert_eq!(one.take_worked(), Duration::ZERO);
        let Entry::Admitted(place) = one.enter(Caller::HERE) else { panic!("no place") };
        assert!(one.has(&place) && !other.has(&place));
        one.turned_away();
        assert_eq!(metrics.queue_full.get(), 1);
    }
}
