//! Processor time, shared by decodes slice by slice.

use super::{Admission, Permit, PermitPool, PoolLimits};
use crate::quota_key::QuotaKey;
use std::{
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread::available_parallelism,
    time::Duration,
};

/// As many CPU slots as there are processors.
///
/// TenantSnapshot take turns; the decodes of one caller are served in order. A decode releases its slot
/// after a short time slice, so that everything else that is ready (a probe, a refusal) runs
/// first. Long computations therefore wait for each other, and all else waits one slice at most.
pub struct CpuScheduler {
    slots: PermitPool,
    count: usize,
    /// The shortest wait for a slot since the governor last asked, in nanoseconds. It counts waits
    /// after which the same caller, or no caller, still had waiters.
    shortest_wait: AtomicU64,
    /// The same for all other waits.
    shortest_other_wait: AtomicU64,
}

/// The right to compute for one time slice; released when dropped.
pub type CpuSlot = Permit;

const NO_WAIT_SEEN: u64 = u64::MAX;

impl CpuScheduler {
    /// The number of processors. This asks the system, which is slow.
    pub fn count() -> usize {
        available_parallelism().map_or(1, NonZero::get)
    }

    /// A scheduler for the processors of this machine.
    pub fn new() -> Self {
        let count = Self::count();
        // A slice is short, so no slot need be kept in reserve and no wait need be bounded.
        let limits =
            PoolLimits { permits: count, queue: usize::MAX, max_wait: None, keeps_reserve: false };
        Self {
            slots: PermitPool::new(limits, None),
            count,
            shortest_wait: AtomicU64::new(NO_WAIT_SEEN),
            shortest_other_wait: AtomicU64::new(NO_WAIT_SEEN),
        }
    }

    /// Waits for a slot. `None` would mean that the queue refused, which it never does.
    pub async fn slot(&self, key: QuotaKey) -> Option<CpuSlot> {
        let waiter = match self.slots.request(key) {
            Admission::Admitted(slot) => {
                note(&self.shortest_wait, Duration::ZERO);
                return Some(slot);
            }
            Admission::Queued(waiter) => waiter,
            Admission::Refused(_) => return None,
        };
        let slot = waiter.permit().await.ok()?;
        let (all, own) = self.slots.waiting_with(key);
        // That one caller waits briefly does not tell how long the queue of another is.
        let is_telling = all == 0 || own > 0;
        note(
            if is_telling { &self.shortest_wait } else { &self.shortest_other_wait },
            slot.waited(),
        );
        Some(slot)
    }

    /// The shortest wait since the last call. If no decode got a slot although all are taken, it is
    /// as long as can be.
    pub(super) fn take_shortest_wait(&self) -> Duration {
        let other = self.shortest_other_wait.swap(NO_WAIT_SEEN, Relaxed);
        match self.shortest_wait.swap(NO_WAIT_SEEN, Relaxed) {
            NO_WAIT_SEEN if self.slots.in_use() < self.count => Duration::ZERO,
            NO_WAIT_SEEN => Duration::from_nanos(other),
            wait => Duration::from_nanos(wait),
        }
    }
}

fn note(shortest: &AtomicU64, wait: Duration) {
    let wait = u64::try_from(wait.as_nanos()).unwrap_or(NO_WAIT_SEEN);
    if wait < shortest.load(Relaxed) {
        shortest.fetch_min(wait, Relaxed);
    }
}

impl Default for CpuScheduler {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::time::timeout;

    const BRIEFLY: Duration = Duration::from_millis(1);

    fn key(number: u32) -> QuotaKey {
        QuotaKey::Tenant(number)
    }

    async fn take_all(cpu: &CpuScheduler) -> Vec<Option<CpuSlot>> {
        let mut taken = Vec::new();
        for _ in 0..CpuScheduler::count() {
            taken.push(cpu.slot(key(0)).await);
        }
        taken
    }

    #[tokio::test]
    async fn slots_are_given_in_order_of_arrival() {
        let cpu = CpuScheduler::new();
        assert_eq!(cpu.take_shortest_wait(), Duration::ZERO);
        let mut taken = take_all(&cpu).await;
        assert_eq!(cpu.take_shortest_wait(), Duration::ZERO);
        assert_eq!(cpu.take_shortest_wait(), Duration::from_nanos(NO_WAIT_SEEN));

        let (mut first, mut second) = (pin!(cpu.slot(key(0))), pin!(cpu.slot(key(0))));
        assert!(timeout(BRIEFLY, first.as_mut()).await.is_err());
        assert!(timeout(BRIEFLY, second.as_mut()).await.is_err());
        drop(taken.pop());
        assert!(timeout(BRIEFLY, second.as_mut()).await.is_err());
        let slot = first.await;
        let wait = cpu.take_shortest_wait();
        assert!(wait > Duration::ZERO && wait < Duration::from_nanos(NO_WAIT_SEEN));

        drop(slot);
        assert!(timeout(BRIEFLY, second).await.is_ok());
    }

    #[tokio::test]
    async fn a_caller_with_one_decode_waits_for_one_slice_of_a_caller_with_many() {
        let cpu = CpuScheduler::new();
        let mut taken = take_all(&cpu).await;
        let mut many: Vec<_> = (0..10).map(|_| Box::pin(cpu.slot(key(0)))).collect();
        for one in &mut many {
            assert!(timeout(BRIEFLY, one).await.is_err());
        }
        let mut other = pin!(cpu.slot(key(1)));
        assert!(timeout(BRIEFLY, other.as_mut()).await.is_err());
        cpu.take_shortest_wait();

        drop(taken.pop());
        let first = many.remove(0).await;
        drop(first);

        assert!(timeout(BRIEFLY, other).await.is_ok());
        // Its short wait does not hide that the others wait long.
        let shortest = cpu.take_shortest_wait();
        assert!(shortest >= 9 * BRIEFLY, "{shortest:?}");
    }
}
