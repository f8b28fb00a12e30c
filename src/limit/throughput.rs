//! How fast places come free while all of them are taken.

use std::time::{Duration, Instant};

/// Counts who leaves while there is no free place; the time in which there is one does
/// not count. What was long ago is forgotten.
#[derive(Debug)]
pub(super) struct Throughput {
    window: Duration,
    /// Since when there is no free place, as far as it is not counted yet.
    full_since: Option<Instant>,
    ended: Option<Instant>,
    now: Span,
    before: Option<Span>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Span {
    full: Duration,
    left: u64,
}

/// What was learned is of use for so many windows.
const MEMORY: u32 = 10;

impl Throughput {
    /// Nothing is known; an estimate is made of two windows.
    pub(super) fn new(window: Duration) -> Self {
        Self { window, full_since: None, ended: None, now: Span::default(), before: None }
    }

    /// The last free place was taken.
    pub(super) fn full(&mut self, now: Instant) {
        let is_old = |ended: Instant| now.duration_since(ended) > self.window * MEMORY;
        if self.ended.is_some_and(is_old) {
            (self.now, self.before) = (Span::default(), None);
        }
        self.full_since.get_or_insert(now);
    }

    /// Someone left; `full` says whether the place was taken at once.
    pub(super) fn left(&mut self, now: Instant, full: bool) {
        let Some(since) = self.full_since else { return };
        self.now.left += 1;
        self.now.full += now.duration_since(since);
        self.full_since = full.then_some(now);
        self.ended = Some(now);
        if self.now.full >= self.window {
            self.before = Some(std::mem::take(&mut self.now));
        }
    }

    /// There is a free place, though nobody left.
    pub(super) fn free(&mut self, now: Instant) {
        if let Some(since) = self.full_since.take() {
            self.now.full += now.duration_since(since);
            self.ended = Some(now);
        }
    }

    /// How long it takes for so many places to come free, if that can be told.
    pub(super) fn time_for(&self, places: usize, now: Instant) -> Option<Duration> {
        let running = self.full_since.map(|since| now.duration_since(since)).unwrap_or_default();
        let before = self.before.unwrap_or_default();
        let full = before.full + self.now.full + running;
        if full < self.window {
            return None;
        }
        let left = (before.left + self.now.left).max(1) as f64;
        Some(full.mul_f64(places as f64 / left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_is_learned_while_there_is_no_free_place() {
        let start = Instant::now();
        let mut throughput = Throughput::new(100 * MS);
        throughput.full(start);
        assert_eq!(throughput.time_for(1, start + 50 * MS), None);

        for at in 1..=20 {
            throughput.left(start + 10 * MS * at, true);
        }
        assert_eq!(throughput.time_for(3, start + 200 * MS), Some(30 * MS));

        // An hour with free places changes nothing but the memory.
        throughput.left(start + 210 * MS, false);
        throughput.full(start + 300 * MS);
        assert_eq!(throughput.time_for(3, start + 300 * MS), Some(30 * MS));
        throughput.left(start + 310 * MS, false);
        throughput.full(start + 5000 * MS);
        assert_eq!(throughput.time_for(3, start + 5000 * MS), None);
    }

    #[test]
    fn where_nobody_leaves_it_takes_longer_and_longer() {
        let start = Instant::now();
        let mut throughput = Throughput::new(100 * MS);
        throughput.full(start);

        assert_eq!(throughput.time_for(2, start + 100 * MS), Some(200 * MS));
        assert_eq!(throughput.time_for(2, start + 300 * MS), Some(600 * MS));
    }
}
