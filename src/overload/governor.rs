//! Lowers the permit limit of a pool while its decodes overload the processors.
//!
//! Permits bound what waits: for sources and for clients that read slowly. They do not bound
//! computing. If every decode with a permit has something to scan, each takes that many times as
//! long. The governor notices by the wait for CPU slots. It then lowers the limit of each pool
//! whose decodes do much of the computing, and raises it again once slots are free soon.

use super::{CpuScheduler, PermitPool};
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often the governor looks.
const EVERY: Duration = Duration::from_millis(20);
/// Above this shortest wait for a slot, too many decodes compute.
const LATE: Duration = Duration::from_millis(2);
/// Below this shortest wait, more decodes may compute.
const SOON: Duration = Duration::from_millis(1);
/// A pool that used less than this part of one processor is not the cause and keeps its limit.
const SHARE: u32 = 4;

/// Adjusts the limits of the pools for as long as it is polled.
pub async fn govern(pools: &[PermitPool], cpu: &CpuScheduler) -> Infallible {
    // Fewer would leave a processor idle now and then.
    let least = 2 * CpuScheduler::count();
    loop {
        let began = Instant::now();
        sleep_until(began + EVERY).await;
        let wait = cpu.take_shortest_wait();
        for pool in pools {
            let has_share = pool.take_cpu_time() > began.elapsed() / SHARE;
            if wait > LATE && has_share {
                pool.lower_limit(least);
            } else if wait < SOON || !has_share {
                pool.raise_limit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        overload::{Admission, PoolLimits},
        quota_key::QuotaKey,
        telemetry::{Metrics, PoolKind},
    };
    use tokio::time::timeout;

    /// One round of the governor, and not two.
    const ONCE: Duration = Duration::from_millis(30);

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_computes_much_while_slots_are_late_has_its_limit_lowered() {
        let metrics = Metrics::new(&[]).unwrap();
        let cpu = CpuScheduler::new();
        let limits = PoolLimits { permits: 1000, queue: 0, max_wait: None, keeps_reserve: false };
        let inline = metrics.pool(PoolKind::Inline);
        let pool = PermitPool::new(limits, Some(inline.clone()));
        let _taken: Vec<Admission> = (0..1000).map(|_| pool.request(QuotaKey::LOCAL)).collect();
        let round = async |cpu_milliseconds: u64| {
            pool.add_cpu_time(Duration::from_millis(cpu_milliseconds));
            let never = timeout(ONCE, govern(std::slice::from_ref(&pool), &cpu));
            assert!(never.await.is_err());
            inline.limit.get()
        };

        // Slots are free at once.
        assert_eq!(round(20).await, 1000);
        let mut slots = Vec::new();
        for _ in 0..CpuScheduler::count() {
            slots.push(cpu.slot(QuotaKey::LOCAL).await);
        }
        cpu.take_shortest_wait();
        // No slot is free, but a quarter of a processor is not much.
        assert_eq!(round(5).await, 1000);
        assert_eq!(round(6).await, 500);
        assert_eq!(round(20).await, 250);
        // This pool is not the cause.
        assert_eq!(round(0).await, 266);
        for _ in 0..20 {
            round(20).await;
        }
        assert_eq!(inline.limit.get(), i64::try_from(2 * CpuScheduler::count()).unwrap());
        slots.clear();
        assert!(round(20).await > i64::try_from(2 * CpuScheduler::count()).unwrap());
    }
}
