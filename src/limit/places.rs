//! A bounded number of places, shared fairly by callers.

use super::{
    Caller,
    queue::{Arrival, Bounds, Next, Queue},
};
use crate::telemetry::PoolMetrics;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout_at};

/// Places, and a [`Queue`] before them.
#[derive(Clone)]
pub struct Places(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue<oneshot::Sender<Place>>>,
    max_wait: Duration,
    metrics: Option<PoolMetrics>,
}

/// A place; free again when it is dropped.
pub struct Place {
    places: Places,
    caller: Caller,
    waited: Duration,
    is_lent: bool,
    /// Whether it was had again beyond the share of its caller.
    is_extra: bool,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Too many wait already.
    QueueFull,
    /// None came free in time.
    Waited,
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
    places: Places,
    caller: Caller,
    ticket: u64,
    latest: Instant,
    receiver: oneshot::Receiver<Place>,
}

impl Places {
    /// All of them free.
    pub fn new(bounds: Bounds, metrics: Option<PoolMetrics>) -> Self {
        let max_wait = bounds.max_wait;
        let places =
            Self(Arc::new(Shared { queue: Mutex::new(Queue::new(bounds)), max_wait, metrics }));
        places.tell_limit(bounds.places);
        places
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
                if let Some(metrics) = &self.0.metrics {
                    metrics.in_use.inc();
                    metrics.wait.observe(0.0);
                }
                Entry::Admitted(self.place(caller, Duration::ZERO))
            }
            (Arrival::Waits { ticket, displaced }, Some(receiver)) => {
                // Who is displaced sees the sender go.
                drop(displaced);
                if let Some(metrics) = &self.0.metrics {
                    metrics.depth.inc();
                }
                let latest = Instant::now() + self.0.max_wait;
                Entry::Waits(Waiting { places: self.clone(), caller, ticket, latest, receiver })
            }
            _ => Entry::Refused(self.shed(Shed::QueueFull)),
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.queue().taken()
    }

    /// How many wait for one.
    pub fn waiting(&self) -> usize {
        self.queue().waiting()
    }

    /// How many wait for one, and how many of these are a caller's.
    pub(super) fn waiting_with(&self, caller: Caller) -> (usize, usize) {
        let queue = self.queue();
        (queue.waiting(), queue.waiting_of(caller))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn shed(&self, shed: Shed) -> Shed {
        if let Some(metrics) = &self.0.metrics {
            match shed {
                Shed::QueueFull => metrics.queue_full.inc(),
                Shed::Waited => metrics.waited.inc(),
            }
        }
        shed
    }

    /// Gives out fewer, but no less than that.
    pub(super) fn narrow(&self, least: usize) {
        let mut queue = self.queue();
        queue.narrow(least, Instant::now());
        self.tell_limit(queue.allowed());
    }

    /// Gives out more again, where it does not give out all.
    pub(super) fn widen(&self) {
        let next = {
            let mut queue = self.queue();
            if queue.is_wide() {
                return;
            }
            let next = queue.widen(Instant::now());
            self.tell_limit(queue.allowed());
            next
        };
        for next in next {
            if let Some(metrics) = &self.0.metrics {
                metrics.in_use.inc();
            }
            self.give(next);
        }
    }

    fn place(&self, caller: Caller, waited: Duration) -> Place {
        Place { places: self.clone(), caller, waited, is_lent: false, is_extra: false }
    }

    /// A caller's place comes free, for who is next.
    fn leave(&self, caller: Caller, is_extra: bool) {
        let next = self.queue().leave(caller, is_extra, Instant::now);
        if let Some(metrics) = &self.0.metrics {
            metrics.in_use.add(i64::try_from(next.len()).unwrap_or(i64::MAX) - 1);
        }
        next.into_iter().for_each(|next| self.give(next));
    }

    /// Gives a place to one who waits. Who does not any longer drops it, and it comes free
    /// again.
    fn give(&self, next: Next<oneshot::Sender<Place>>) {
        let Next { caller, since, waiter } = next;
        drop(waiter.send(self.place(caller, since.elapsed())));
    }

    fn tell_limit(&self, allowed: usize) {
        if let Some(metrics) = &self.0.metrics {
            metrics.limit.set(i64::try_from(allowed).unwrap_or(i64::MAX));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Place>>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits for a place, but not for long.
    pub async fn place(mut self) -> Result<Place, Shed> {
        match timeout_at(self.latest.into(), &mut self.receiver).await {
            Ok(Ok(place)) => {
                if let Some(metrics) = &self.places.0.metrics {
                    metrics.wait.observe(place.waited.as_secs_f64());
                }
                Ok(place)
            }
            Ok(Err(_)) => Err(self.places.shed(Shed::QueueFull)),
            Err(_) => Err(self.places.shed(Shed::Waited)),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(metrics) = &self.places.0.metrics {
            metrics.depth.dec();
        }
        self.places.queue().give_up(self.caller, self.ticket, Instant::now());
    }
}

impl Place {
    /// Whose it is.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// How long it was waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether it is one of these.
    pub fn is_of(&self, places: &Places) -> bool {
        self.places.is_same(places)
    }

    /// Lets others have it for as long as there is nothing to do here.
    pub fn lend(&mut self) {
        if !self.is_lent {
            self.is_lent = true;
            self.places.leave(self.caller, self.is_extra);
        }
    }

    /// Has it again, at once: who has begun does not wait a second time.
    pub fn take_back(&mut self) {
        if self.is_lent {
            self.is_lent = false;
            self.is_extra = self.places.queue().come_back(self.caller);
            if let Some(metrics) = &self.places.0.metrics {
                metrics.in_use.inc();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_lent {
            self.places.leave(self.caller, self.is_extra);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Metrics, PoolKind};

    fn caller(number: u32) -> Caller {
        Caller::Tenant(number)
    }

    fn bounds(places: usize) -> Bounds {
        Bounds { places, waiting: 1, max_wait: Duration::from_secs(60), leaves_some: false }
    }

    fn admitted(places: &Places, number: u32) -> Place {
        match places.enter(caller(number)) {
            Entry::Admitted(place) => place,
            _ => panic!("{number} has no place"),
        }
    }

    fn waits(places: &Places, number: u32) -> Waiting {
        match places.enter(caller(number)) {
            Entry::Waits(waiting) => waiting,
            _ => panic!("{number} does not wait"),
        }
    }

    #[tokio::test]
    async fn what_comes_free_is_had_by_who_waits_and_the_gauges_say_so() {
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Fetch);
        let places = Places::new(bounds(1), Some(metrics.clone()));
        let check = |in_use: i64, waiting: i64, limit: i64| {
            let gauges = [&metrics.in_use, &metrics.depth, &metrics.limit].map(|of| of.get());
            assert_eq!(gauges, [in_use, waiting, limit]);
            let counts = (places.taken() as i64, places.waiting() as i64);
            assert_eq!(counts, (in_use, waiting));
        };
        check(0, 0, 1);
        let first = admitted(&places, 1);
        check(1, 0, 1);
        let second = waits(&places, 2);
        check(1, 1, 1);
        assert!(matches!(places.enter(caller(3)), Entry::Refused(Shed::QueueFull)));
        assert_eq!(metrics.queue_full.get(), 1);

        drop(first);
        let second = second.place().await.unwrap();

        check(1, 0, 1);
        assert_eq!((second.caller(), second.is_of(&places)), (caller(2), true));
        assert!(!second.is_of(&Places::new(bounds(1), None)));
        drop(second);
        check(0, 0, 1);
        assert_eq!(metrics.wait.get_sample_count(), 2);
        // Who gives up is not counted as waiting.
        let (first, second) = (admitted(&places, 1), waits(&places, 2));
        drop(second);
        check(1, 0, 1);
        drop(first);
        check(0, 0, 1);
    }

    #[tokio::test]
    async fn what_is_lent_is_had_by_others_and_had_again_at_once() {
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Fetch);
        let places = Places::new(bounds(1), Some(metrics.clone()));
        let in_use = || (places.taken(), metrics.in_use.get());
        let mut first = admitted(&places, 1);

        first.lend();
        // Twice is once.
        first.lend();
        assert_eq!(in_use(), (0, 0));
        let second = admitted(&places, 2);
        first.take_back();
        first.take_back();

        assert_eq!(in_use(), (2, 2));
        drop(second);
        assert_eq!(in_use(), (1, 1));
        first.lend();
        drop(first);
        assert_eq!(in_use(), (0, 0));
    }

    #[tokio::test]
    async fn fewer_are_given_out_and_more_again() {
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Inline);
        let places = Places::new(bounds(4), Some(metrics.clone()));
        let taken: Vec<Place> = (1..=4).map(|number| admitted(&places, number)).collect();

        places.narrow(1);
        assert_eq!(metrics.limit.get(), 2);
        places.narrow(2);
        assert_eq!(metrics.limit.get(), 2);

        drop(taken);
        for limit in [3, 4, 4] {
            places.widen();
            assert_eq!(metrics.limit.get(), limit);
        }
        // Who waits for more of them has one as soon as there is.
        let held = [admitted(&places, 1), admitted(&places, 2)];
        places.narrow(1);
        places.narrow(1);
        let waiting = waits(&places, 3);
        for _ in 0..3 {
            places.widen();
        }
        assert!(waiting.place().await.is_ok());
        drop(held);
        assert_eq!(metrics.in_use.get(), 0);
    }
}
