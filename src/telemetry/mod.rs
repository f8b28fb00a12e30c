//! What the service says about itself: log lines and metrics.
//!
//! A [`AccessRecord`] follows one request from its head to its last byte and then says so
//! once: one log line, its metrics and its outcome, which therefore agree, however the
//! request ended. A [`RequestProgress`] is what a decode leaves behind on its way.
//!
//! Nothing here ever holds a secret, a document, a query string or a credential.

mod access_record;
mod callers;
mod confines;
mod families;
mod labels;
mod levels;
pub mod log;
mod metrics;
mod network;
mod pools;
mod progress;
mod recent_failures;
mod writer;

pub use access_record::{AccessRecord, Ending, Head};
pub use callers::{ANONYMOUS, CallerMetrics, TenantMetrics};
pub use labels::{
    Backend, Decision, FetchResult, Input, Phase, PoolKind, Retry, RouteLabels, method_label,
};
pub use levels::{FOR as LEVELS_LAST, Levels};
pub use log::rfc3339;
pub use metrics::Metrics;
pub use pools::PoolMetrics;
pub use progress::{Allowance, RequestProgress};
pub use recent_failures::{RecentFailure, RecentFailures};
pub use writer::LineWriter;
