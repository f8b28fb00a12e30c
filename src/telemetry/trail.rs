//! What a decode leaves behind on its way, for those who tell of it: also when it is
//! cut off at any point.

use super::Input;
use bytes::Bytes;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What is known of a decode so far. Shared by who runs it and who tells of it.
#[derive(Debug, Default)]
pub struct Trail(Mutex<Steps>);

/// What a caller may still ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// What it may in all, as it is told.
    pub policy: Bytes,
    /// So many requests are left, and when it has all of them again.
    pub requests: (u64, Duration),
    /// The same of decodes, where they are limited.
    pub decodes: Option<(u64, Duration)>,
}

/// The steps of a decode.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// Where the document comes from, once that is known.
    pub input: Option<Input>,
    /// What its caller may still ask for, where that is limited.
    pub allowance: Option<Allowance>,
    /// When the request was complete, once it is.
    pub complete: Option<Instant>,
    /// Whether the body of the request was read to its end.
    pub received: bool,
    /// Whether the document is being handed over just now.
    pub uploading: bool,
    /// Since when the client has been waited for to read its answer, if it is.
    pub unread_since: Option<Instant>,
    /// How long it was waited for before that.
    pub unread: Duration,
    /// The bytes of the document so far.
    pub bytes: u64,
    /// The secrets that left so far.
    pub secrets: u64,
    /// The host of the source.
    pub source_host: Option<String>,
    /// The rule that allows the source.
    pub rule: Option<String>,
    /// How often the source was tried.
    pub attempts: Option<u32>,
    /// How long fetching took.
    pub fetched: Option<Duration>,
}

impl Steps {
    /// How long the client has let its answer wait.
    pub fn waited_for_reader(&self) -> Duration {
        self.unread + self.unread_since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

impl Trail {
    /// The steps, to add to them.
    pub fn steps(&self) -> MutexGuard<'_, Steps> {
        // Plain values: whoever panicked left none of them half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
