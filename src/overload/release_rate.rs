//! How fast permits are released while all of them are taken.

use std::time::{Duration, Instant};

/// Counts releases while no permit is free, to estimate how long a waiter would wait.
///
/// Time with a free permit does not count. After ten windows without a full pool, what was
/// learned is forgotten.
#[derive(Debug)]
pub(super) struct ReleaseRate {
    window: Duration,
    /// Since when the pool is full, as far as that time is not counted yet.
    full_since: Option<Instant>,
    last_full: Option<Instant>,
    current: Span,
    previous: Option<Span>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Span {
    full: Duration,
    released: u64,
}

/// For how many windows an estimate stays useful.
const MEMORY: u32 = 10;

impl ReleaseRate {
    /// Starts without an estimate. Estimates use the last two windows.
    pub(super) fn new(window: Duration) -> Self {
        Self { window, full_since: None, last_full: None, current: Span::default(), previous: None }
    }

    /// The last free permit was taken.
    pub(super) fn full(&mut self, now: Instant) {
        let is_old = |last: Instant| now.duration_since(last) > self.window * MEMORY;
        if self.last_full.is_some_and(is_old) {
            (self.current, self.previous) = (Span::default(), None);
        }
        self.full_since.get_or_insert(now);
    }

    /// A permit was released; `still_full` when a waiter took it at once.
    pub(super) fn released(&mut self, now: Instant, still_full: bool) {
        let Some(since) = self.full_since else { return };
        self.current.released += 1;
        self.current.full += now.duration_since(since);
        self.full_since = still_full.then_some(now);
        self.last_full = Some(now);
        if self.current.full >= self.window {
            self.previous = Some(std::mem::take(&mut self.current));
        }
    }

    /// A permit is free although none was released.
    pub(super) fn free(&mut self, now: Instant) {
        if let Some(since) = self.full_since.take() {
            self.current.full += now.duration_since(since);
            self.last_full = Some(now);
        }
    }

    /// How long it takes to release that many permits; `None` before there is an estimate.
    pub(super) fn time_for(&self, permits: usize, now: Instant) -> Option<Duration> {
        let running = self.full_since.map(|since| now.duration_since(since)).unwrap_or_default();
        let previous = self.previous.unwrap_or_default();
        let full = previous.full + self.current.full + running;
        if full < self.window {
            return None;
        }
        let released = (previous.released + self.current.released).max(1) as f64;
        Some(full.mul_f64(permits as f64 / released))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_rate_is_learned_while_the_pool_is_full() {
        let start = Instant::now();
        let mut rate = ReleaseRate::new(100 * MS);
        rate.full(start);
        assert_eq!(rate.time_for(1, start + 50 * MS), None);

        for at in 1..=20 {
            rate.released(start + 10 * MS * at, true);
        }
        assert_eq!(rate.time_for(3, start + 200 * MS), Some(30 * MS));

        // Time with free permits changes nothing until the estimate is forgotten.
        rate.released(start + 210 * MS, false);
        rate.full(start + 300 * MS);
        assert_eq!(rate.time_for(3, start + 300 * MS), Some(30 * MS));
        rate.released(start + 310 * MS, false);
        rate.full(start + 5000 * MS);
        assert_eq!(rate.time_for(3, start + 5000 * MS), None);
    }

    #[test]
    fn without_a_release_the_estimate_grows() {
        let start = Instant::now();
        let mut rate = ReleaseRate::new(100 * MS);
        rate.full(start);

        assert_eq!(rate.time_for(2, start + 100 * MS), Some(200 * MS));
        assert_eq!(rate.time_for(2, start + 300 * MS), Some(600 * MS));
    }
}
