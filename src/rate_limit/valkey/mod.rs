//! Usage counted by a Valkey server (or Redis, from version 5) that all replicas share.
//!
//! The rules are those of [`CallerLimits::decide`], by the server's clock. The server must never
//! delay a request: a decision is one round trip with a timeout, and without a connection it fails
//! at once with [`Unavailable`]. The first decision without an answer marks the server as down for
//! all that follow, until [`Valkey::keep_connected`] has made a decision over a new connection.
//!
//! The server may still count a decision that timed out. So some requests may be counted that did
//! not pass, but never does one too many pass.

mod link;
mod script;
mod settings;
mod tls;
mod why;

#[cfg(test)]
mod tests;

pub use settings::{ValkeyFault, ValkeySettings};

use super::{CallerLimits, LimitOutcome};
use link::{Dial, Link};
use redis::{RedisResult, aio::MultiplexedConnection};
use script::Commands;
use std::{
    convert::Infallible,
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use why::Why;

/// A connection to the server that counts usage.
pub struct Valkey {
    dial: Dial,
    timeout: Duration,
    commands: Commands,
    state: watch::Sender<State>,
    /// The number of the next connection.
    next: AtomicU64,
    on_change: Box<dyn Fn(bool) + Send + Sync>,
}

/// The server is not connected, or did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

enum State {
    Up { number: u64, connection: MultiplexedConnection },
    Down(Why),
}

/// The pause after the first failed attempt to connect; it doubles after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause. After a connection that lasted at least this long there is none; one that is
/// lost sooner may be lost each time.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many callers one command reads, so that decisions do not wait long behind it.
const ASKED_AT_ONCE: usize = 256;

impl Valkey {
    /// Reads the files; does not connect yet. `on_change` is called with whether the server is up:
    /// with `false` now, and later by [`Self::keep_connected`] whenever that changes.
    pub fn new(
        settings: ValkeySettings,
        on_change: Box<dyn Fn(bool) + Send + Sync>,
    ) -> Result<Self, ValkeyFault> {
        let timeout = settings.timeout;
        let dial = Dial::new(settings)?;
        let (state, _) = watch::channel(State::Down(Why::Untried));
        on_change(false);
        Ok(Self {
            dial,
            timeout,
            commands: Commands::new(),
            state,
            next: AtomicU64::new(0),
            on_change,
        })
    }

    /// Keeps a connection open, for ever. Run it once.
    pub async fn keep_connected(&self) -> Infallible {
        let (mut pause, mut known) = (FIRST_PAUSE, None);
        loop {
            let lasted = match self.dial.connect(&self.commands).await {
                Ok(link) => {
                    let lasted = self.use_up(link).await;
                    known = self.why_down();
                    lasted
                }
                Err(why) => {
                    // Logged again only when the reason changes.
                    let reason = Some(why.to_string());
                    if known != reason {
                        log_down(&why);
                    }
                    known = reason;
                    self.state.send_replace(State::Down(why));
                    Duration::ZERO
                }
            };
            if lasted >= LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            } else {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Whether the server is up, as far as is known.
    pub fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up { .. })
    }

    /// Why the server is down, in words that may be shown.
    pub fn why_down(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Up { .. } => None,
            State::Down(why) => Some(why.to_string()),
        }
    }

    /// Decides about a request of a key, which may be one for a decode, and notes it;
    /// `count` is the name it is counted under. It takes one round trip, and no longer than
    /// the timeout; without a connection, no time.
    pub async fn decide(
        &self,
        count: &str,
        limits: &CallerLimits,
        is_decode: bool,
    ) -> Result<LimitOutcome, Unavailable> {
        let (number, mut connection) = self.connection()?;
        let asked = self.commands.decide(&mut connection, count, limits, is_decode);
        self.answer(number, asked).await
    }

    /// How many decodes each caller has used today. For a caller without a quota, only those since
    /// its burst was last whole are known.
    pub async fn decodes_today(&self, counts: &[&str]) -> Result<Vec<u64>, Unavailable> {
        let mut decodes = Vec::with_capacity(counts.len());
        for counts in counts.chunks(ASKED_AT_ONCE) {
            let (number, mut connection) = self.connection()?;
            let asked = self.commands.decodes_today(&mut connection, counts);
            decodes.extend(self.answer(number, asked).await?);
        }
        Ok(decodes)
    }

    fn connection(&self) -> Result<(u64, MultiplexedConnection), Unavailable> {
        match &*self.state.borrow() {
            State::Up { number, connection } => Ok((*number, connection.clone())),
            State::Down(_) => Err(Unavailable),
        }
    }

    /// Waits for the answer, but no longer than the timeout.
    async fn answer<T>(
        &self,
        number: u64,
        asked: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Unavailable> {
        let why = match timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Why::from(&error),
            Err(_) => Why::Silent,
        };
        self.lose(number, why);
        Err(Unavailable)
    }

    /// Marks the server as down, unless there is a newer connection by now.
    fn lose(&self, number: u64, why: Why) {
        self.state.send_if_modified(|state| {
            let is_this = matches!(state, State::Up { number: this, .. } if *this == number);
            if is_this {
                *state = State::Down(why);
            }
            is_this
        });
    }

    /// Uses a connection until it fails; returns for how long.
    async fn use_up(&self, mut link: Link) -> Duration {
        let began = Instant::now();
        let number = self.next.fetch_add(1, Relaxed);
        let mut state = self.state.subscribe();
        self.state.send_replace(State::Up { number, connection: link.connection.clone() });
        tracing::info!("Valkey is up; usage is counted there");
        (self.on_change)(true);
        tokio::select! {
            () = link.ended() => self.lose(number, Why::Closed),
            _ = state.wait_for(|state| matches!(state, State::Down(_))) => {}
        }
        (self.on_change)(false);
        if let State::Down(why) = &*self.state.borrow() {
            log_down(why);
        }
        began.elapsed()
    }
}

fn log_down(why: &Why) {
    let message = "Valkey is down; usage is not counted there";
    tracing::warn!(reason = %why, detail = why.detail(), message);
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Valkey server is not available")
    }
}

impl std::error::Error for Unavailable {}
