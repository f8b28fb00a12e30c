//! A bounded number of decodes at a time.

use super::{
    Caller,
    queue::{Arrival, Bounds, Queue},
};
use crate::telemetry::PoolMetrics;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout_at};

/// Places for decodes of one kind, and a [`Queue`] before them.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue<oneshot::Sender<Place>>>,
    max_wait: Duration,
    metrics: PoolMetrics,
}

/// A place in a pool; free again when it is dropped.
pub struct Place {
    pool: Pool,
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
    /// All places free.
    pub fn new(bounds: Bounds, metrics: PoolMetrics) -> Self {
        metrics.limit.set(i64::try_from(bounds.places).unwrap_or(i64::MAX));
        let queue = Mutex::new(Queue::new(bounds));
        Self(Arc::new(Shared { queue, max_wait: bounds.max_wait, metrics }))
    }

    /// Waits for a place, but not for long.
    pub async fn enter(&self, caller: Caller) -> Result<Place, Shed> {
        let now = Instant::now();
        let mut receiver = None;
        let arrival = self.queue().arrive(caller, now, || {
            let (sender, receives) = oneshot::channel();
            receiver = Some(receives);
            sender
        });
        let metrics = &self.0.metrics;
        let entered = match (arrival, receiver) {
            (Arrival::Admitted, _) => {
                metrics.in_use.inc();
                Ok(self.place(Duration::ZERO))
            }
            (Arrival::Waits { ticket, displaced }, Some(receiver)) => {
                // Who is displaced sees the sender go.
                drop(displaced);
                let waiting = Waiting { pool: self, caller, ticket };
                waiting.until(now + self.0.max_wait, receiver).await
            }
            _ => Err(Shed::QueueFull),
        };
        match &entered {
            Ok(place) => metrics.wait.observe(place.waited.as_secs_f64()),
            Err(Shed::QueueFull) => metrics.queue_full.inc(),
            Err(Shed::Waited) => metrics.waited.inc(),
        }
        entered
    }

    fn place(&self, waited: Duration) -> Place {
        Place { pool: self.clone(), waited, is_lent: false }
    }

    /// A place comes free, for who is next.
    fn leave(&self) {
        let next = self.queue().leave(Instant::now());
        match next {
            // Who does not wait any longer drops it, and it comes free again.
            Some((sender, since)) => drop(sender.send(self.place(since.elapsed()))),
            None => self.0.metrics.in_use.dec(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Place>>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits; gives up when dropped.
struct Waiting<'a> {
    pool: &'a Pool,
    caller: Caller,
    ticket: u64,
}

impl Waiting<'_> {
    async fn until(
        self,
        latest: Instant,
        receiver: oneshot::Receiver<Place>,
    ) -> Result<Place, Shed> {
        self.pool.0.metrics.depth.inc();
        match timeout_at(latest.into(), receiver).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(Shed::QueueFull),
            Err(_) => Err(Shed::Waited),
        }
    }
}

impl Drop for Waiting<'_> {
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

    /// Lets others have it for as long as there is nothing to do here.
    pub fn lend(&mut self) {
        if !self.is_lent {
            self.is_lent = true;
            self.pool.leave();
        }
    }

    /// Has it again, at once: who has begun does not wait a second time.
    pub fn take_back(&mut self) {
        if self.is_lent {
            self.is_lent = false;
            self.pool.queue().come_back();
            self.pool.0.metrics.in_use.inc();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_lent {
            self.pool.leave();
        }
    }
}
