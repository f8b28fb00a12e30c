//! The progress of a request, readable at any point, also after its work was dropped.

use super::Input;
use bytes::Bytes;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The progress of a request, shared by its work and its record.
#[derive(Debug, Default)]
pub struct RequestProgress(Mutex<Steps>);

/// What is left of the limits of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// The value of `RateLimit-Policy`.
    pub policy: Bytes,
    /// How many requests are left, and the `t` of `RateLimit`.
    pub requests: (u64, Duration),
    /// The same for decodes, with a daily quota.
    pub decodes: Option<(u64, Duration)>,
}

/// What is known of a request so far.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// Where its document comes from, once that is known.
    pub input: Option<Input>,
    /// What is left of its caller's limits.
    pub allowance: Option<Allowance>,
    /// When the request was complete.
    pub complete: Option<Instant>,
    /// Whether the body of the request was read to its end.
    pub received: bool,
    /// Whether its document is being uploaded.
    pub uploading: bool,
    /// Since when the client has not read its answer, if it reads slowly.
    pub unread_since: Option<Instant>,
    /// How long the client has not read before that, in total.
    pub unread: Duration,
    /// The bytes of the document so far.
    pub bytes: u64,
    /// The secrets written so far.
    pub secrets: u64,
    /// The host of the source.
    pub source_host: Option<String>,
    /// The rule that allows the source.
    pub rule: Option<String>,
    /// How many attempts to fetch have begun.
    pub attempts: Option<u32>,
    /// How long the fetch took.
    pub fetched: Option<Duration>,
}

impl Steps {
    /// How long the client has not read its answer, in total.
    pub fn waited_for_reader(&self) -> Duration {
        self.unread + self.unread_since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

impl RequestProgress {
    /// Locks the steps, to read or change them.
    pub fn steps(&self) -> MutexGuard<'_, Steps> {
        // Plain values, which a panic leaves whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
