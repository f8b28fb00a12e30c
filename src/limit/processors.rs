//! Turns at the processors.

use super::{Bounds, Caller, Entry, Place, Places};
use std::{
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread::available_parallelism,
    time::Duration,
};

/// As many turns at a time as there are processors; callers take turns at them, and of each
/// caller who came first is first. Whoever has one lets all else that is ready (a probe, a
/// refusal) go first before the next one has it: so what has much to compute waits for its
/// like, and all else for one turn at most.
pub struct Processors {
    turns: Places,
    count: usize,
    /// The shortest wait for a turn since it was last asked for, in nanoseconds: of those behind
    /// whom others of their caller wait, or nobody,
    least_wait: AtomicU64,
    /// and of all others.
    least_wait_of_others: AtomicU64,
}

/// The turn of one; over when it is dropped.
pub type Turn = Place;

const NO_TURN: u64 = u64::MAX;
/// Whoever waits for one waits as long as it takes.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

impl Processors {
    /// How many there are, as the system says; which takes a while.
    pub fn count() -> usize {
        available_parallelism().map_or(1, NonZero::get)
    }

    /// Those of this machine.
    pub fn new() -> Self {
        // A turn is short: none need be left for others.
        let leaves_some = false;
        let (count, waiting) = (Self::count(), usize::MAX);
        let bounds = Bounds { places: count, waiting, max_wait: MAX_WAIT, leaves_some };
        let none = || AtomicU64::new(NO_TURN);
        let (least_wait, least_wait_of_others) = (none(), none());
        Self { turns: Places::new(bounds, None), count, least_wait, least_wait_of_others }
    }

    /// Waits for a turn; none where turns are not taken any longer, which does not happen.
    pub async fn turn(&self, caller: Caller) -> Option<Turn> {
        let waiting = match self.turns.enter(caller) {
            Entry::Admitted(turn) => {
                note(&self.least_wait, Duration::ZERO);
                return Some(turn);
            }
            Entry::Waits(waiting) => waiting,
            Entry::Refused(_) => return None,
        };
        let turn = waiting.place().await.ok()?;
        let (all, own) = self.turns.waiting_with(caller);
        // That one caller waits little says nothing of how long the line of another is.
        let says_much = all == 0 || own > 0;
        let least = if says_much { &self.least_wait } else { &self.least_wait_of_others };
        note(least, turn.waited());
        Some(turn)
    }

    /// The shortest wait since this was last asked; endless where nobody had a turn though
    /// someone has one.
    pub(super) fn take_least_wait(&self) -> Duration {
        let of_others = self.least_wait_of_others.swap(NO_TURN, Relaxed);
        match self.least_wait.swap(NO_TURN, Relaxed) {
            NO_TURN if self.turns.taken() < self.count => Duration::ZERO,
            NO_TURN => Duration::from_nanos(of_others),
            time => Duration::from_nanos(time),
        }
    }
}

fn note(least: &AtomicU64, wait: Duration) {
    let wait = u64::try_from(wait.as_nanos()).unwrap_or(NO_TURN);
    if wait < least.load(Relaxed) {
        least.fetch_min(wait, Relaxed);
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

    const WHILE: Duration = Duration::from_millis(1);

    fn caller(number: u32) -> Caller {
        Caller::Tenant(number)
    }

    async fn all_taken(processors: &Processors) -> Vec<Option<Turn>> {
        let mut taken = Vec::new();
        for _ in 0..Processors::count() {
            taken.push(processors.turn(caller(0)).await);
        }
        taken
    }

    #[tokio::test]
    async fn who_comes_first_has_the_next_turn() {
        let processors = Processors::new();
        assert_eq!(processors.take_least_wait(), Duration::ZERO);
        let mut taken = all_taken(&processors).await;
        assert_eq!(processors.take_least_wait(), Duration::ZERO);
        assert_eq!(processors.take_least_wait(), Duration::from_nanos(NO_TURN));

        let (mut first, mut second) =
            (pin!(processors.turn(caller(0))), pin!(processors.turn(caller(0))));
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

    #[tokio::test]
    async fn who_wants_few_turns_waits_for_one_of_who_wants_many() {
        let processors = Processors::new();
        let mut taken = all_taken(&processors).await;
        let mut many: Vec<_> = (0..10).map(|_| Box::pin(processors.turn(caller(0)))).collect();
        for one in &mut many {
            assert!(timeout(WHILE, one).await.is_err());
        }
        let mut few = pin!(processors.turn(caller(1)));
        assert!(timeout(WHILE, few.as_mut()).await.is_err());
        processors.take_least_wait();

        drop(taken.pop());
        let first = many.remove(0).await;
        drop(first);

        assert!(timeout(WHILE, few).await.is_ok());
        // Nor does the short wait of the one hide that the others wait long.
        let least = processors.take_least_wait();
        assert!(least >= 9 * WHILE, "{least:?}");
    }
}
