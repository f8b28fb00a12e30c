//! A bounded number of permits, shared fairly among callers.

use super::queue::{Arrival, Next, PoolLimits, Queue};
use crate::{quota_key::QuotaKey, telemetry::PoolMetrics};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout_at};

/// Permits behind a fair [`Queue`]. Clones share the same permits.
#[derive(Clone)]
pub struct PermitPool(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue<oneshot::Sender<Permit>>>,
    max_wait: Option<Duration>,
    metrics: Option<PoolMetrics>,
    /// Nanoseconds of processor time that holders of permits have used.
    cpu_time: AtomicU64,
}

/// The right to run one piece of work; released when dropped.
pub struct Permit {
    pool: PermitPool,
    key: QuotaKey,
    waited: Duration,
    is_lent: bool,
    /// Whether it was reclaimed beyond its caller's share.
    is_extra: bool,
}

/// Why no permit was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overloaded {
    /// Too many requests wait already, or this one would wait too long.
    QueueFull,
    /// No permit was released in time.
    TimedOut,
}

/// The answer to a request for a permit.
pub enum Admission {
    /// A permit was free.
    Admitted(Permit),
    /// The request waits in the queue.
    Queued(Waiter),
    /// The request was refused.
    Refused(Overloaded),
}

/// A request in the queue; leaves it when dropped.
pub struct Waiter {
    pool: PermitPool,
    key: QuotaKey,
    ticket: u64,
    latest: Option<Instant>,
    receiver: oneshot::Receiver<Permit>,
}

impl PermitPool {
    /// A pool with all permits free.
    pub fn new(limits: PoolLimits, metrics: Option<PoolMetrics>) -> Self {
        let pool = Self(Arc::new(Shared {
            queue: Mutex::new(Queue::new(limits)),
            max_wait: limits.max_wait,
            metrics,
            cpu_time: AtomicU64::new(0),
        }));
        pool.report_limit(limits.permits);
        pool
    }

    /// Asks for a permit. This does not wait; [`Waiter::permit`] does.
    pub fn request(&self, key: QuotaKey) -> Admission {
        let mut receiver = None;
        let arrival = self.queue().arrive(key, Instant::now, || {
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
                Admission::Admitted(self.permit(key, Duration::ZERO))
            }
            (Arrival::Queued { ticket, displaced }, Some(receiver)) => {
                // The displaced waiter sees its sender go.
                drop(displaced);
                if let Some(metrics) = &self.0.metrics {
                    metrics.depth.inc();
                }
                let latest = self.0.max_wait.map(|wait| Instant::now() + wait);
                Admission::Queued(Waiter { pool: self.clone(), key, ticket, latest, receiver })
            }
            _ => Admission::Refused(self.refuse(Overloaded::QueueFull)),
        }
    }

    /// How many permits are taken.
    pub fn in_use(&self) -> usize {
        self.queue().in_use()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.queue().waiting()
    }

    /// How many requests wait, and how many of these belong to one caller.
    pub(super) fn waiting_with(&self, key: QuotaKey) -> (usize, usize) {
        let queue = self.queue();
        (queue.waiting(), queue.waiting_of(key))
    }

    /// Whether the permit belongs to this pool.
    pub fn issued(&self, permit: &Permit) -> bool {
        Arc::ptr_eq(&self.0, &permit.pool.0)
    }

    /// Counts a refusal that was decided elsewhere, by a pool that only this pool's work uses.
    pub fn count_refusal(&self) {
        self.refuse(Overloaded::QueueFull);
    }

    /// Adds processor time that a holder of a permit has used.
    pub fn add_cpu_time(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.cpu_time.fetch_add(nanoseconds, Relaxed);
    }

    /// The processor time used since the last call.
    pub(super) fn take_cpu_time(&self) -> Duration {
        Duration::from_nanos(self.0.cpu_time.swap(0, Relaxed))
    }

    /// Halves the number of permits in use, but to no less than `least`.
    pub(super) fn lower_limit(&self, least: usize) {
        let mut queue = self.queue();
        queue.lower_limit(least, Instant::now());
        self.report_limit(queue.limit());
    }

    /// Raises a lowered limit by one step.
    pub(super) fn raise_limit(&self) {
        let next = {
            let mut queue = self.queue();
            if queue.is_at_full_limit() {
                return;
            }
            let next = queue.raise_limit(Instant::now());
            self.report_limit(queue.limit());
            next
        };
        for next in next {
            if let Some(metrics) = &self.0.metrics {
                metrics.in_use.inc();
            }
            self.give(next);
        }
    }

    fn permit(&self, key: QuotaKey, waited: Duration) -> Permit {
        Permit { pool: self.clone(), key, waited, is_lent: false, is_extra: false }
    }

    fn refuse(&self, reason: Overloaded) -> Overloaded {
        if let Some(metrics) = &self.0.metrics {
            match reason {
                Overloaded::QueueFull => metrics.queue_full.inc(),
                Overloaded::TimedOut => metrics.waited.inc(),
            }
        }
        reason
    }

    /// Releases a permit and gives it to the next waiter.
    fn release(&self, key: QuotaKey, is_extra: bool) {
        let next = self.queue().release(key, is_extra, Instant::now);
        if let Some(metrics) = &self.0.metrics {
            metrics.in_use.add(i64::try_from(next.len()).unwrap_or(i64::MAX) - 1);
        }
        next.into_iter().for_each(|next| self.give(next));
    }

    /// Gives a permit to a waiter. If the waiter has gone, the permit is dropped and so released.
    fn give(&self, next: Next<oneshot::Sender<Permit>>) {
        let Next { key, since, waiter } = next;
        drop(waiter.send(self.permit(key, since.elapsed())));
    }

    fn report_limit(&self, limit: usize) {
        if let Some(metrics) = &self.0.metrics {
            metrics.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Permit>>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits for a permit, no longer than the pool's longest wait.
    pub async fn permit(mut self) -> Result<Permit, Overloaded> {
        let given = match self.latest {
            Some(latest) => timeout_at(latest.into(), &mut self.receiver).await,
            None => Ok((&mut self.receiver).await),
        };
        match given {
            Ok(Ok(permit)) => {
                if let Some(metrics) = &self.pool.0.metrics {
                    metrics.wait.observe(permit.waited.as_secs_f64());
                }
                Ok(permit)
            }
            // Another waiter displaced this one.
            Ok(Err(_)) => Err(self.pool.refuse(Overloaded::QueueFull)),
            Err(_) => Err(self.pool.refuse(Overloaded::TimedOut)),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(metrics) = &self.pool.0.metrics {
            metrics.depth.dec();
        }
        self.pool.queue().give_up(self.key, self.ticket, Instant::now());
    }
}

impl Permit {
    /// Whose permit it is.
    pub fn key(&self) -> QuotaKey {
        self.key
    }

    /// How long its request waited.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Releases the permit for as long as its holder has nothing to do.
    pub fn lend(&mut self) {
        if !self.is_lent {
            self.is_lent = true;
            self.pool.release(self.key, self.is_extra);
        }
    }

    /// Takes a lent permit back at once: work that has begun does not queue a second time.
    pub fn reclaim(&mut self) {
        if self.is_lent {
            self.is_lent = false;
            self.is_extra = self.pool.queue().reclaim(self.key);
            if let Some(metrics) = &self.pool.0.metrics {
                metrics.in_use.inc();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_lent {
            self.pool.release(self.key, self.is_extra);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Metrics, PoolKind};

    fn key(number: u32) -> QuotaKey {
        QuotaKey::Tenant(number)
    }

    fn limits(permits: usize) -> PoolLimits {
        let max_wait = Some(Duration::from_secs(60));
        PoolLimits { permits, queue: 1, max_wait, keeps_reserve: false }
    }

    fn admitted(pool: &PermitPool, number: u32) -> Permit {
        match pool.request(key(number)) {
            Admission::Admitted(permit) => permit,
            _ => panic!("{number} has no permit"),
        }
    }

    fn queued(pool: &PermitPool, number: u32) -> Waiter {
        match pool.request(key(number)) {
            Admission::Queued(waiter) => waiter,
            _ => panic!("{number} does not wait"),
        }
    }

    #[tokio::test]
    async fn a_released_permit_goes_to_the_waiter_and_the_gauges_agree() {
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Fetch);
        let pool = PermitPool::new(limits(1), Some(metrics.clone()));
        let check = |in_use: i64, waiting: i64, limit: i64| {
            let gauges = [&metrics.in_use, &metrics.depth, &metrics.limit].map(|of| of.get());
            assert_eq!(gauges, [in_use, waiting, limit]);
            let counts = (pool.in_use() as i64, pool.waiting() as i64);
            assert_eq!(counts, (in_use, waiting));
        };
        check(0, 0, 1);
        let first = admitted(&pool, 1);
        check(1, 0, 1);
        let second = queued(&pool, 2);
        check(1, 1, 1);
        assert!(matches!(pool.request(key(3)), Admission::Refused(Overloaded::QueueFull)));
        assert_eq!(metrics.queue_full.get(), 1);

        drop(first);
        let second = second.permit().await.unwrap();

        check(1, 0, 1);
        assert_eq!((second.key(), pool.issued(&second)), (key(2), true));
        assert!(!PermitPool::new(limits(1), None).issued(&second));
        drop(second);
        check(0, 0, 1);
        assert_eq!(metrics.wait.get_sample_count(), 2);
        // A waiter that gives up is not counted as waiting.
        let (first, second) = (admitted(&pool, 1), queued(&pool, 2));
        drop(second);
        check(1, 0, 1);
        drop(first);
        check(0, 0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_bound_and_without_a_bound_with_a_permit() {
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Fetch);
        let bounded = PermitPool::new(limits(1), Some(metrics.clone()));
        let _held = admitted(&bounded, 1);
        assert_eq!(queued(&bounded, 2).permit().await.err(), Some(Overloaded::TimedOut));
        assert_eq!(metrics.waited.get(), 1);

        let unbounded = PermitPool::new(PoolLimits { max_wait: None, ..limits(1) }, None);
        let held = admitted(&unbounded, 1);
        let waits = tokio::spawn(queued(&unbounded, 2).permit());
        tokio::time::sleep(Duration::from_secs(7 * 24 * 3600)).await;
        assert!(!waits.is_finished());
        drop(held);
        assert!(waits.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_lent_permit_is_free_for_others_and_reclaimed_at_once() {
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Fetch);
        let pool = PermitPool::new(limits(1), Some(metrics.clone()));
        let in_use = || (pool.in_use(), metrics.in_use.get());
        let mut first = admitted(&pool, 1);

        first.lend();
        // Twice is once.
        first.lend();
        assert_eq!(in_use(), (0, 0));
        let second = admitted(&pool, 2);
        first.reclaim();
        first.reclaim();

        assert_eq!(in_use(), (2, 2));
        drop(second);
        assert_eq!(in_use(), (1, 1));
        first.lend();
        drop(first);
        assert_eq!(in_use(), (0, 0));
    }

    #[tokio::test]
    async fn a_lowered_limit_is_raised_step_by_step() {
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Inline);
        let pool = PermitPool::new(limits(4), Some(metrics.clone()));
        let taken: Vec<Permit> = (1..=4).map(|number| admitted(&pool, number)).collect();

        pool.lower_limit(1);
        assert_eq!(metrics.limit.get(), 2);
        pool.lower_limit(2);
        assert_eq!(metrics.limit.get(), 2);

        drop(taken);
        for limit in [3, 4, 4] {
            pool.raise_limit();
            assert_eq!(metrics.limit.get(), limit);
        }
        // A waiter gets a permit as soon as the limit allows it.
        let held = [admitted(&pool, 1), admitted(&pool, 2)];
        pool.lower_limit(1);
        pool.lower_limit(1);
        let waiter = queued(&pool, 3);
        for _ in 0..3 {
            pool.raise_limit();
        }
        assert!(waiter.permit().await.is_ok());
        drop(held);
        assert_eq!(metrics.in_use.get(), 0);
    }

    #[test]
    fn cpu_time_and_refusals_are_counted_for_one_pool() {
        let metrics = Metrics::new(&[]).unwrap().pool(PoolKind::Inline);
        let pool = || PermitPool::new(limits(1), Some(metrics.clone()));
        let (one, other) = (pool(), pool());
        one.add_cpu_time(Duration::from_millis(2));
        one.add_cpu_time(Duration::from_micros(3));

        assert_eq!(other.take_cpu_time(), Duration::ZERO);
        assert_eq!(one.take_cpu_time(), Duration::from_micros(2003));
        assert_eq!(one.take_cpu_time(), Duration::ZERO);
        one.count_refusal();
        assert_eq!(metrics.queue_full.get(), 1);
    }
}
