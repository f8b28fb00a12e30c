//! How much of the service one caller may have: requests in a time, and places among
//! the decodes that run at once.
//!
//! What decides is pure and told the time: [`Gcra`] for rates, [`Queue`] for places.
//! [`RateLimiter`] and [`Places`] are their shells: they hold the state, read the clock and
//! wait. [`Valkey`] decides about rates in a server that all replicas share; [`Limiter`] asks
//! whichever is there.

mod caller;
mod gcra;
mod governor;
mod limiter;
mod places;
mod pool;
mod processors;
mod queue;
mod rate;
mod terms;
mod throughput;
mod valkey;

pub use caller::Caller;
pub use gcra::{Decision, Gcra};
pub use governor::govern;
pub use limiter::{Held, Limiter, Ruled, Shared};
pub use places::{Entry, Place, Places, Shed, Waiting};
pub use pool::Pool;
pub use processors::{Processors, Turn};
pub use queue::{Arrival, Bounds, Next, Queue};
pub use rate::RateLimiter;
pub use terms::{Now, Quota, Ruling, Terms, Used, Verdict};
pub use valkey::{Unavailable, Valkey, ValkeyFault, ValkeySettings};
