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
