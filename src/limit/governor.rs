//! Keeps the processors from being given more than they can bear.
//!
//! Places bound what waits: for sources, for readers. They do not bound computing: as many
//! decodes as there are places, all with something to scan, would each take that many times
//! as long. The governor sees that by how long they wait for their turns. Then the pool
//! whose decodes do much of the computing gives out fewer places, until turns are had soon
//! again.

use super::{Pool, Processors};
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(20);
/// Where nobody had a turn sooner, there are too many decodes;
const LATE: Duration = Duration::from_millis(2);
/// where someone had one so soon, there may be more.
const SOON: Duration = Duration::from_millis(1);
/// A pool whose decodes have less than this part of a processor is left alone: it is not
/// they who are too many.
const SHARE: u32 = 4;

/// Governs pools for as long as it is asked to.
pub async fn govern(pools: &[Pool], processors: &Processors) -> Infallible {
    // Fewer would leave a processor without work now and then.
    let least = 2 * Processors::count();
    loop {
        let began = Instant::now();
        sleep_until(began + EVERY).await;
        let wait = processors.take_least_wait();
        for pool in pools {
            let has_share = pool.take_worked() > began.elapsed() / SHARE;
            if wait > LATE && has_share {
                pool.narrow(least);
            } else if wait < SOON || !has_share {
                pool.widen();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limit::{Bounds, Caller, Entry},
        telemetry::{Metrics, PoolKind},
    };
    use std::sync::Arc;
    use tokio::time::timeout;

    /// Once round, and not twice.
    const ONCE: Duration = Duration::from_millis(30);

    #[tokio::test(start_paused = true)]
    async fn who_computes_much_while_turns_come_late_has_fewer_places() {
        let metrics = Metrics::new(&[]).unwrap();
        let processors = Arc::new(Processors::new());
        let bounds =
            Bounds { places: 1000, waiting: 0, max_wait: Duration::ZERO, leaves_some: false };
        let inline = metrics.pool(PoolKind::Inline);
        let pool = Pool::new(bounds, Arc::clone(&processors), inline.clone());
        let _taken: Vec<Entry> = (0..1000).map(|_| pool.enter(Caller::HERE)).collect();
        let round = async |worked: u64| {
            pool.worked(Duration::from_millis(worked));
            let never = timeout(ONCE, govern(std::slice::from_ref(&pool), &processors));
            assert!(never.await.is_err());
            inline.limit.get()
        };

        // Turns are had at once.
        assert_eq!(round(20).await, 1000);
        let mut turns = Vec::new();
        for _ in 0..Processors::count() {
            turns.push(processors.turn(Caller::HERE).await);
        }
        processors.take_least_wait();
        // Nobody has one, but a quarter of a processor's time is not much.
        assert_eq!(round(5).await, 1000);
        assert_eq!(round(6).await, 500);
        assert_eq!(round(20).await, 250);
        // It is not they who are too many.
        assert_eq!(round(0).await, 266);
        for _ in 0..20 {
            round(20).await;
        }
        assert_eq!(inline.limit.get(), i64::try_from(2 * Processors::count()).unwrap());
        turns.clear();
        assert!(round(20).await > i64::try_from(2 * Processors::count()).unwrap());
    }
}
