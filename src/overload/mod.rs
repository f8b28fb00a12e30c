//! Overload protection: how much runs at once, and who waits for it.
//!
//! A [`PermitPool`] bounds how many decodes (or requests to an origin, or lookups) run at once and
//! shares its permits fairly among callers. The [`CpuScheduler`] does the same for processor time
//! within decodes. [`govern`] issues fewer permits while the processors are overloaded.
//!
//! The decisions are made by a [`Queue`], which is pure: it does no I/O and is told the time.

mod cpu;
mod governor;
mod permit_pool;
mod queue;
mod release_rate;

pub use cpu::{CpuScheduler, CpuSlot};
pub use governor::govern;
pub use permit_pool::{Admission, Overloaded, Permit, PermitPool, Waiter};
pub use queue::{Arrival, Next, PoolLimits, Queue};
