//! What the service says about itself: log lines and metrics.
//!
//! A [`Record`] follows one request from its head to its last byte and then says so
//! once: one log line, its metrics and its outcome, which therefore agree, however the
//! request ended. A [`Trail`] is what a decode leaves behind on its way.
//!
//! Nothing here ever holds a secret, a document, a query string or a credential.

mod callers;
mod confines;
mod families;
mod labels;
mod levels;
pub mod log;
mod metrics;
mod network;
mod pools;
mod recent;
mod record;
mod trail;
mod writer;

pub use callers::{ANONYMOUS, CallerMetrics, TenantMetrics};
pub use labels::{
    Backend, Decision, FetchResult, Input, Phase, PoolKind, Retry, RouteLabels, method_label,
};
pub use levels::{FOR as LEVELS_LAST, Levels};
pub use log::rfc3339;
pub use metrics::Metrics;
pub use pools::PoolMetrics;
pub use recent::{Recent, RecentFailure};
pub use record::{Ending, Head, Record};
pub use trail::{Allowance, Trail};
pub use writer::LineWriter;
