//! A bounded number of decodes at a time.

use super::{
    Caller, Processors, Turn,
    queue::{Arrival, Bounds, Next, Queue},
};
use crate::telemetry::PoolMetrics;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout_at};

/// Places for decodes of one kind, and a [`Queue`] before them.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    processors: Arc<Processors>,
    /// Nanoseconds for which those who have a place have had a processor.
    worked: AtomicU64,
    queue: Mutex<Queue<oneshot::Sender<Place>>>,
    max_wait: Duration,
    metrics: PoolMetrics,
}

/// A place in a pool; free again when it is dropped.
pub struct Place {
    pool: Pool,
    caller: Caller,
    waited: Duration,
    is_lent: bool,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Too many wait already.
    QueueFull,
    /// None came free in time.
    Waited,
}

impl Pool {
    /// All places free, for decodes that take turns at these processors.
    pub fn new(bounds: Bounds, processors: Arc<Processors>, metrics: PoolMetrics) -> Self {
        metrics.limit.set(gauge(bounds.places));
        let queue = Mutex::new(Queue::new(bounds));
        let (worked, max_wait) = (AtomicU64::new(0), bounds.max_wait);
        Self(Arc::new(Shared { processors, worked, queue, max_wait, metrics }))
    }

    /// Has a place at once, or will wait for one, or has none.
    pub fn enter(&self, caller: Caller) -> Entry {
        let mut receiver = None;
        let arrival = self.queue().arrive(caller, Instant::now, || {
            let (sender, receives) = oneshot::channel();
            receiver = Some(receives);
            sender
        });
        match (arrival, receiver) {
            (Arrival::Admitted, _) => {
                self.0.metrics.in_use.inc();
                self.0.metrics.wait.observe(0.0);
                Entry::Admitted(self.place(caller, Duration::ZERO))
            }
            (Arrival::Waits { ticket, displaced }, Some(receiver)) => {
                // Who is displaced sees the sender go.
                drop(displaced);
                self.0.metrics.depth.inc();
                let latest = Instant::now() + self.0.max_wait;
                Entry::Waits(Waiting { pool: self.clone(), caller, ticket, latest, receiver })
            }
            _ => Entry::Refused(self.shed(Shed::QueueFull)),
        }
    }

    /// Someone is turned away for want of what only this pool's decodes take.
    pub fn turned_away(&self) {
        self.shed(Shed::QueueFull);
    }

    fn shed(&self, shed: Shed) -> Shed {
        match shed {
            Shed::QueueFull => self.0.metrics.queue_full.inc(),
            Shed::Waited => self.0.metrics.waited.inc(),
        }
        shed
    }

    fn place(&self, caller: Caller, waited: Duration) -> Place {
        Place { pool: self.clone(), caller, waited, is_lent: false }
    }

    /// A caller's place comes free, for who is next.
    fn leave(&self, caller: Caller) {
        let next = self.queue().leave(caller, Instant::now);
        match next {
            Some(next) => self.give(next),
            None => self.0.metrics.in_use.dec(),
        }
    }

    /// Gives a place to one who waits. Who does not any longer drops it, and it comes free
    /// again.
    fn give(&self, next: Next<oneshot::Sender<Place>>) {
        let Next { caller, since, waiter } = next;
        drop(waiter.send(self.place(caller, since.elapsed())));
    }

    /// Waits for a turn at a processor.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        self.0.processors.turn().await
    }

    /// One who has a place has had a processor for so long.
    pub fn worked(&self, time: Duration) {
        self.0.worked.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long they have had since this was last asked.
    pub(super) fn take_worked(&self) -> Duration {
        Duration::from_nanos(self.0.worked.swap(0, Relaxed))
    }

    /// Gives out fewer places, but no less than that.
    pub(super) fn narrow(&self, least: usize) {
        let mut queue = self.queue();
        queue.narrow(least, Instant::now());
        self.0.metrics.limit.set(gauge(queue.allowed()));
    }

    /// Gives out more again, where it does not give out all.
    pub(super) fn widen(&self) {
        let next = {
            let mut queue = self.queue();
            if queue.is_wide() {
                return;
            }
            let next = queue.widen(Instant::now());
            self.0.metrics.limit.set(gauge(queue.allowed()));
            next
        };
        for next in next {
            self.0.metrics.in_use.inc();
            self.give(next);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Place>>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What becomes of who wants to enter.
pub enum Entry {
    /// There is a place.
    Admitted(Place),
    /// There will be one, or not.
    Waits(Waiting),
    /// There is none.
    Refused(Shed),
}

/// One who waits; gives up when dropped.
pub struct Waiting {
    pool: Pool,
    caller: Caller,
    ticket: u64,
    latest: Instant,
    receiver: oneshot::Receiver<Place>,
}

impl Waiting {
    /// Waits for a place, but not for long.
    pub async fn place(mut self) -> Result<Place, Shed> {
        match timeout_at(self.latest.into(), &mut self.receiver).await {
            Ok(Ok(place)) => {
                self.pool.0.metrics.wait.observe(place.waited.as_secs_f64());
                Ok(place)
            }
            Ok(Err(_)) => Err(self.pool.shed(Shed::QueueFull)),
            Err(_) => Err(self.pool.shed(Shed::Waited)),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pool.0.metrics.depth.dec();
        self.pool.queue().give_up(self.caller, self.ticket);
    }
}

impl Place {
    /// How long it was waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether it is a place of this pool.
    pub fn is_of(&self, pool: Option<&Pool>) -> bool {
        pool.is_some_and(|pool| Arc::ptr_eq(&self.pool.0, &pool.0))
    }

    /// Lets others have it for as long as there is nothing to do here.
    pub fn lend(&mut self) {
        if !self.is_lent {
            self.is_lent = true;
            self.pool.leave(self.caller);
        }
    }

    /// Has it again, at once: who has begun does not wait a second time.
    pub fn take_back(&mut self) {
        if self.is_lent {
            self.is_lent = false;
            self.pool.queue().come_back(self.caller);
            self.pool.0.metrics.in_use.inc();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_lent {
            self.pool.leave(self.caller);
        }
    }
}
