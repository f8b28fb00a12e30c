//! Keeps the machine from being given more than it can bear.
//!
//! Places bound what waits: for sources, for readers. They do not bound computing: as many
//! decodes as there are places, all with something to scan, would each take that many times
//! as long, and whatever else is to be done (a probe, a refusal) would wait for a turn among
//! them. The governor sees that by how late it is woken itself. Then the pool whose decodes
//! do much of the computing gives out fewer places, until it is woken in time again.

use super::Pool;
use std::{
    convert::Infallible,
    num::NonZero,
    thread::available_parallelism,
    time::{Duration, Instant},
};
use tokio::time::sleep_until;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(20);
/// So late is too late,
const LATE: Duration = Duration::from_millis(5);
/// and so late is in time.
const IN_TIME: Duration = Duration::from_millis(3);
/// A pool whose decodes have less than this part of a processor is left alone: whatever
/// makes the machine late, it is not they.
const SHARE: u32 = 4;

/// Governs pools for as long as it is asked to.
pub async fn govern(pools: &[Pool]) -> Infallible {
    // Fewer would leave a processor without work now and then.
    let least = 2 * available_parallelism().map_or(1, NonZero::get);
    loop {
        let due = Instant::now() + EVERY;
        sleep_until(due.into()).await;
        let late = due.elapsed();
        for pool in pools {
            let has_share = pool.take_worked() > (EVERY + late) / SHARE;
            if late > LATE && has_share {
                pool.narrow(least);
            } else if late < IN_TIME || !has_share {
                pool.widen();
            }
        }
    }
}
