//! How long the parts of a fetch took, and what came of the lookup.

use std::{
    net::IpAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How long the parts of a fetch took, as far as they happened.
#[derive(Debug)]
pub struct Times {
    began: Instant,
    pub(super) dns: OnceLock<Duration>,
    pub(super) connect: OnceLock<Duration>,
    pub(super) stands_since: OnceLock<Instant>,
    first_byte: OnceLock<Duration>,
    body_began: OnceLock<Instant>,
    pub(super) addresses: OnceLock<Vec<IpAddr>>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            dns: OnceLock::new(),
            connect: OnceLock::new(),
            stands_since: OnceLock::new(),
            first_byte: OnceLock::new(),
            body_began: OnceLock::new(),
            addresses: OnceLock::new(),
        }
    }
}

impl Times {
    /// Since the beginning.
    pub fn total(&self) -> Duration {
        self.began.elapsed()
    }

    /// Resolving the name.
    pub fn dns(&self) -> Option<Duration> {
        self.dns.get().copied()
    }

    /// What the lookup found, where there was one.
    pub fn addresses(&self) -> Option<&[IpAddr]> {
        self.addresses.get().map(Vec::as_slice)
    }

    /// TCP and TLS.
    pub fn connect(&self) -> Option<Duration> {
        self.connect.get().copied()
    }

    /// From there to the head of the answer.
    pub fn first_byte(&self) -> Option<Duration> {
        self.first_byte.get().copied()
    }

    /// Since when the connection that was made stands.
    pub(super) fn stands_since(&self) -> Option<Instant> {
        self.stands_since.get().copied()
    }

    /// Since the head of an answer that is the document.
    pub fn body(&self) -> Option<Duration> {
        self.body_began.get().map(Instant::elapsed)
    }

    /// The head of the answer is there. Each of these is set once: there is one request.
    pub(super) fn answered(&self) {
        let before = self.dns().unwrap_or_default() + self.connect().unwrap_or_default();
        let _ = self.first_byte.set(self.total().saturating_sub(before));
    }

    /// And it promises the document.
    pub(super) fn body_begins(&self) {
        let _ = self.body_began.set(Instant::now());
    }
}
