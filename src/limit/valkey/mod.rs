//! Rates and quotas that all replicas share, kept by a Valkey server (or a Redis one, from
//! version 5).
//!
//! The rules are those of [`Terms::decide`], by the server's clock. It must never hold up a
//! request: a decision is one round trip with a bound, and where there is no connection none
//! is waited for. Whoever asks learns [`Unavailable`] and decides otherwise. The first
//! request without an answer marks the server as down for all that follow, until
//! [`Valkey::keep_connected`] has a connection over which a decision was made.
//!
//! A decision that was sent and not waited for may still be counted by the server: never one
//! too many pass, but some that count may not have.

mod link;
mod script;
mod settings;
mod tls;
mod why;

#[cfg(test)]
mod tests;

pub use settings::{ValkeyFault, ValkeySettings};

use super::{Terms, Verdict};
use link::{Dial, Link};
use redis::{RedisResult, aio::MultiplexedConnection};
use script::Questions;
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

/// A server that keeps what callers have used.
pub struct Valkey {
    dial: Dial,
    timeout: Duration,
    questions: Questions,
    state: watch::Sender<State>,
    /// The number of the next connection.
    next: AtomicU64,
    told: Box<dyn Fn(bool) + Send + Sync>,
}

/// The server cannot be asked, or did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

enum State {
    Up { number: u64, connection: MultiplexedConnection },
    Down(Why),
}

/// Between attempts to connect: first so long, then twice as long each time,
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// and no longer than this. Nor is there a pause after a connection that lasted so long: one
/// that is lost sooner may be lost each time.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// As many are asked about at once: decisions do not wait long behind them.
const ASKED_AT_ONCE: usize = 256;

impl Valkey {
    /// Reads the files, and connects to nothing yet. `told` is told whether the server is of
    /// use: now that it is not, and then by [`Self::keep_connected`] whenever that changes.
    pub fn new(
        settings: ValkeySettings,
        told: Box<dyn Fn(bool) + Send + Sync>,
    ) -> Result<Self, ValkeyFault> {
        let timeout = settings.timeout;
        let dial = Dial::new(settings)?;
        let (state, _) = watch::channel(State::Down(Why::Untried));
        told(false);
        Ok(Self {
            dial,
            timeout,
            questions: Questions::new(),
            state,
            next: AtomicU64::new(0),
            told,
        })
    }

    /// Connects, and connects again when the connection is of no use, for ever. To be run
    /// once.
    pub async fn keep_connected(&self) -> Infallible {
        let (mut pause, mut known) = (FIRST_PAUSE, None);
        loop {
            let lasted = match self.dial.connect(&self.questions).await {
                Ok(link) => {
                    let lasted = self.use_up(link).await;
                    known = self.why_down();
                    lasted
                }
                Err(why) => {
                    // Each reason once, until it is another one.
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

    /// Whether decisions are made, as far as is known.
    pub fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up { .. })
    }

    /// Why they are not, in words that may be shown.
    pub fn why_down(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Up { .. } => None,
            State::Down(why) => Some(why.to_string()),
        }
    }

    /// Decides about a request of a caller, which may be one for a decode, and notes it;
    /// `count` is the name it is counted under. It takes one round trip, and no longer than
    /// the timeout; without a connection, no time.
    pub async fn decide(
        &self,
        count: &str,
        terms: &Terms,
        is_decode: bool,
    ) -> Result<Verdict, Unavailable> {
        let (number, mut connection) = self.connection()?;
        let asked = self.questions.decide(&mut connection, count, terms, is_decode);
        self.answer(number, asked).await
    }

    /// What each has used of today's decodes. Of one without a quota, those are known since
    /// it was last at rest.
    pub async fn decodes_today(&self, counts: &[&str]) -> Result<Vec<u64>, Unavailable> {
        let mut decodes = Vec::with_capacity(counts.len());
        for counts in counts.chunks(ASKED_AT_ONCE) {
            let (number, mut connection) = self.connection()?;
            let asked = self.questions.decodes_today(&mut connection, counts);
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

    /// The answer, if there is one in time.
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

    /// This connection is of no use any more; another one may be by now.
    fn lose(&self, number: u64, why: Why) {
        self.state.send_if_modified(|state| {
            let is_this = matches!(state, State::Up { number: this, .. } if *this == number);
            if is_this {
                *state = State::Down(why);
            }
            is_this
        });
    }

    /// Lets decisions be made over a connection until it is of no use; how long it was.
    async fn use_up(&self, mut link: Link) -> Duration {
        let began = Instant::now();
        let number = self.next.fetch_add(1, Relaxed);
        let mut state = self.state.subscribe();
        self.state.send_replace(State::Up { number, connection: link.connection.clone() });
        tracing::info!("the Valkey server is of use: it keeps what callers have used");
        (self.told)(true);
        tokio::select! {
            () = link.ended() => self.lose(number, Why::Closed),
            _ = state.wait_for(|state| matches!(state, State::Down(_))) => {}
        }
        (self.told)(false);
        if let State::Down(why) = &*self.state.borrow() {
            log_down(why);
        }
        began.elapsed()
    }
}

fn log_down(why: &Why) {
    let message = "the Valkey server is of no use: what callers use is not counted there";
    tracing::warn!(reason = %why, detail = why.detail(), message);
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Valkey server cannot be asked")
    }
}

impl std::error::Error for Unavailable {}
