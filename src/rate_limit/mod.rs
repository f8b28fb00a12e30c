//! Rate limits and quotas: how often one caller may call, and how many decodes it has per day.
//!
//! The decisions are pure and are told the time: [`Gcra`] for a rate, [`CallerLimits`] for a rate
//! and a daily quota. [`LocalLimiter`] keeps the counts of many callers in memory; [`Valkey`] keeps
//! them on a server that all replicas share. [`Limiter`] asks whichever is configured.

mod gcra;
mod limiter;
mod limits;
mod local;
mod valkey;

pub use gcra::{Gcra, RateOutcome};
pub use limiter::{CountedOutcome, LimitRequest, Limiter, SharedStore};
pub use limits::{CallerLimits, LimitDecision, LimitOutcome, Now, QuotaLeft, Usage};
pub use local::LocalLimiter;
pub use valkey::{Unavailable, Valkey, ValkeyFault, ValkeySettings};
