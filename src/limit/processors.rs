//! Turns at the processors.

use std::{
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread::available_parallelism,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// As many turns at a time as there are processors, first come, first served. Whoever has
/// one lets all else that is ready (a probe, a refusal) go first before the next one has it:
/// so what has much to compute waits for its like, and all else for one turn at most.
pub struct Processors {
    turns: Semaphore,
    /// The shortest wait for a turn since it was last asked for, in nanoseconds.
    least_wait: AtomicU64,
}

/// The turn of one; over when it is dropped.
pub type Turn<'a> = SemaphorePermit<'a>;

const NO_TURN: u64 = u64::MAX;

impl Processors {
    /// How many there are.
    pub fn count() -> usize {
        available_parallelism().map_or(1, NonZero::get)
    }

    /// Those of this machine.
    pub fn new() -> Self {
        Self { turns: Semaphore::new(Self::count()), least_wait: AtomicU64::new(NO_TURN) }
    }

    /// Waits for a turn; none where turns are not taken any longer, which does not happen.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        if let Ok(turn) = self.turns.try_acquire() {
            self.waited(Duration::ZERO);
            return Some(turn);
        }
        let since = Instant::now();
        let turn = self.turns.acquire().await.ok();
        self.waited(since.elapsed());
        turn
    }

    fn waited(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(NO_TURN);
        if time < self.least_wait.load(Relaxed) {
            self.least_wait.fetch_min(time, Relaxed);
        }
    }

    /// The shortest wait since this was last asked; endless where nobody had a turn though
    /// someone has one.
    pub(super) fn take_least_wait(&self) -> Duration {
        match self.least_wait.swap(NO_TURN, Relaxed) {
            NO_TURN if self.turns.available_permits() > 0 => Duration::ZERO,
            time => Duration::from_nanos(time),
        }
    }
}

impl Default for Processors {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn who_comes_first_has_the_next_turn() {
        const WHILE: Duration = Duration::from_millis(1);
        let processors = Processors::new();
        assert_eq!(processors.take_least_wait(), Duration::ZERO);
        let mut taken = Vec::new();
        for _ in 0..Processors::count() {
            taken.push(processors.turn().await);
        }
        assert_eq!(processors.take_least_wait(), Duration::ZERO);
        assert_eq!(processors.take_least_wait(), Duration::from_nanos(NO_TURN));

        let (mut first, mut second) = (pin!(processors.turn()), pin!(processors.turn()));
        assert!(timeout(WHILE, first.as_mut()).await.is_err());
        assert!(timeout(WHILE, second.as_mut()).await.is_err());
        drop(taken.pop());
        assert!(timeout(WHILE, second.as_mut()).await.is_err());
        let turn = first.await;
        let wait = processors.take_least_wait();
        assert!(wait > Duration::ZERO && wait < Duration::from_nanos(NO_TURN));

        drop(turn);
        assert!(timeout(WHILE, second).await.is_ok());
    }
}
