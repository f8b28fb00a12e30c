//! The time by which connections are waited for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The time as the watch has it: a count of [`Clock::TICK`]s that is moved on by the watch,
/// so that looking at it is free.
pub(in crate::http) struct Clock {
    began: Instant,
    now: AtomicU32,
}

impl Clock {
    pub(super) const TICK: Duration = Duration::from_millis(25);

    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), now: AtomicU32::new(1) })
    }

    pub(super) fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    #[cfg(test)]
    pub(super) fn set(&self, now: u32) {
        self.now.store(now, Relaxed);
    }

    pub(super) fn move_on(&self) -> u32 {
        let now = 1 + ticks(self.began.elapsed());
        self.now.store(now, Relaxed);
        now
    }
}

/// How many ticks a duration has.
pub(super) fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / Clock::TICK.as_millis()).unwrap_or(u32::MAX)
}
