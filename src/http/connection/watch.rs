//! The watch over all connections of a listener: who keeps them waiting too long is sent
//! away, and so is whoever waits longest when there is no room for another.

use super::{
    clock::Clock,
    pace::{Close, Pace, Patience, Verdict},
};
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, timeout},
};

/// The connections of a listener.
pub struct Watch {
    pub(super) clock: Arc<Clock>,
    patience: Patience,
    watched: Mutex<Watched>,
    /// Whether no more requests are wanted.
    is_stopping: AtomicBool,
    /// Someone left.
    left: Notify,
}

#[derive(Default)]
struct Watched {
    next: u64,
    connections: HashMap<u64, Arc<Pace>>,
}

/// One connection under watch; dropping it ends that.
pub(super) struct Ticket {
    watch: Arc<Watch>,
    number: u64,
}

impl Watch {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::start(),
            patience,
            watched: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            left: Notify::new(),
        })
    }

    /// Watches over a connection for as long as the ticket is kept.
    pub(super) fn over(self: &Arc<Self>, pace: Arc<Pace>) -> Ticket {
        let mut watched = self.watched();
        watched.next += 1;
        let number = watched.next;
        watched.connections.insert(number, pace);
        Ticket { watch: Arc::clone(self), number }
    }

    fn count(&self) -> usize {
        self.watched().connections.len()
    }

    /// Whether anything is under way.
    pub fn is_busy(&self) -> bool {
        self.watched().connections.values().any(|pace| pace.is_busy())
    }

    /// Waits until there are fewer connections than that, making room.
    pub(super) async fn fewer_than(&self, count: usize) {
        while self.count() >= count {
            self.make_room();
            // Where it turns out not to be idle, another one is looked for.
            let _ = timeout(Clock::TICK, self.come_to(count - 1)).await;
        }
    }

    /// Sends away who has been waiting for the longest without a request.
    pub(super) fn make_room(&self) {
        let watched = self.watched();
        let idle = |pace: &&Arc<Pace>| pace.waiting_since().is_some();
        let idle = watched.connections.values().filter(idle);
        if let Some(pace) = idle.min_by_key(|pace| pace.waiting_since()) {
            pace.end(Close::AtOnce);
        }
    }

    /// Waits until there are no more connections than that.
    pub(super) async fn come_to(&self, count: usize) {
        while self.count() > count {
            self.left.notified().await;
        }
    }

    /// From now on no more requests are wanted.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
        self.look();
    }

    /// Watches for as long as it is asked to.
    pub(super) async fn keep(&self) -> Infallible {
        let mut ticks = interval(Clock::TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        let now = self.clock.move_on();
        let is_stopping = self.is_stopping.load(Relaxed);
        for pace in self.watched().connections.values() {
            match pace.judge(now, self.patience, is_stopping) {
                Verdict::Leave => {}
                Verdict::Farewell => pace.say_farewell(now),
                Verdict::End(how) => pace.end(how),
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.watch.watched().connections.remove(&self.number);
        self.watch.left.notify_one();
    }
}
