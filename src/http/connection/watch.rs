//! The watch over all connections of a listener: who keeps them waiting too long is sent
//! away, and so is whoever waits longest when there is no room for another.

use super::pace::{Clock, Close, Pace, Patience, Verdict};
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
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
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
    connections: HashMap<u64, Connection>,
}

struct Connection {
    pace: Arc<Pace>,
    task: AbortHandle,
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

    /// Watches over a connection, whose task is begun with its ticket.
    pub(super) fn over(
        self: &Arc<Self>,
        pace: Arc<Pace>,
        begin: impl FnOnce(Ticket) -> AbortHandle,
    ) {
        let mut watched = self.watched();
        watched.next += 1;
        let number = watched.next;
        // A task that ends at once waits here for the lock.
        let task = begin(Ticket { watch: Arc::clone(self), number });
        watched.connections.insert(number, Connection { pace, task });
    }

    pub(super) fn count(&self) -> usize {
        self.watched().connections.len()
    }

    /// Whether anything is under way.
    pub fn is_busy(&self) -> bool {
        self.watched().connections.values().any(|connection| connection.pace.is_busy())
    }

    /// Sends away who has been waiting for the longest without a request. False where all
    /// have one.
    pub(super) fn make_room(&self) -> bool {
        let mut watched = self.watched();
        let since = |(number, connection): (&u64, &Connection)| {
            Some((connection.pace.waiting_since()?, *number))
        };
        let longest = watched.connections.iter().filter_map(since).min();
        // It counts no longer, whenever its task ends.
        let connection = longest.and_then(|(_, number)| watched.connections.remove(&number));
        if let Some(connection) = &connection {
            connection.end(Close::AtOnce);
        }
        connection.is_some()
    }

    /// Waits until someone has left, or may have.
    pub(super) async fn left(&self) {
        let _ = tokio::time::timeout(Clock::TICK, self.left.notified()).await;
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
        for connection in self.watched().connections.values() {
            match connection.pace.judge(now, self.patience, is_stopping) {
                Verdict::Leave => {}
                Verdict::Farewell => connection.pace.say_farewell(now),
                Verdict::End(how) => connection.end(how),
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn end(&self, how: Close) {
        self.pace.set_close(how);
        self.task.abort();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.watch.watched().connections.remove(&self.number);
        self.watch.left.notify_waiters();
    }
}
