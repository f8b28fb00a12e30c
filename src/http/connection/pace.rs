//! What a connection is waiting for, and since when.
//!
//! The connection moves its pace as it goes, which must cost next to nothing; the watch
//! looks at it from time to time and closes what has kept it waiting for too long.

use super::clock::{Clock, ticks};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Duration,
};
use tokio::sync::Notify;

/// How long each state of a connection may last, in ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) header: u32,
    pub(super) idle: u32,
    pub(super) write: u32,
}

/// After the end of its time a request has this long to say so.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// The pace of one connection.
pub(in crate::http) struct Pace {
    clock: Arc<Clock>,
    state: AtomicU64,
    /// When the latest request must be over.
    ends: AtomicU32,
    /// Since when the client has taken nothing of what is written; 0: it has.
    stalled_since: AtomicU32,
    /// When it was asked to come to an end; 0: it was not.
    farewell_since: AtomicU32,
    is_http_2: AtomicBool,
    /// How it is to be closed, unless something happens; 0: not at all.
    end: AtomicU8,
    /// Whom to wake for that.
    waker: Mutex<Option<Waker>>,
    farewell: Notify,
}

/// What is awaited: the bits of [`Pace::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Requests under way.
    requests: u16,
    awaits: Awaits,
    /// Since when, where no request is under way.
    since: u32,
}

/// What a connection without a request is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// Its first byte.
    First,
    /// The rest of a head.
    Head,
    /// The next request.
    Next,
}

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// Reading for a while what was on its way.
    Gently,
    /// At once.
    AtOnce,
    /// And what was written is taken back.
    Reset,
}

/// What the watch is to do about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Leave,
    /// It is asked to come to its end.
    Farewell,
    End(Close),
}

impl State {
    fn pack(self) -> u64 {
        let awaits = match self.awaits {
            Awaits::First => 0,
            Awaits::Head => 1,
            Awaits::Next => 2,
        };
        u64::from(self.since) | awaits << 32 | u64::from(self.requests) << 48
    }

    fn unpack(bits: u64) -> Self {
        let awaits = match bits >> 32 & 3 {
            0 => Awaits::First,
            1 => Awaits::Head,
            _ => Awaits::Next,
        };
        Self { requests: (bits >> 48) as u16, awaits, since: bits as u32 }
    }

    fn read(self, now: u32) -> Self {
        match (self.requests, self.awaits) {
            // The first head counts from the beginning of the connection.
            (0, Awaits::First) => Self { awaits: Awaits::Head, ..self },
            (0, Awaits::Next) => Self { awaits: Awaits::Head, since: now, ..self },
            _ => self,
        }
    }

    fn begun(self) -> Self {
        Self { requests: self.requests.saturating_add(1), ..self }
    }

    fn done(self, now: u32) -> Self {
        Self { requests: self.requests.saturating_sub(1), awaits: Awaits::Next, since: now }
    }

    /// The tick after which it has waited for too long.
    fn due(self, patience: Patience) -> Option<u32> {
        let longest = match self.awaits {
            _ if self.requests > 0 => return None,
            Awaits::First | Awaits::Head => patience.header,
            Awaits::Next => patience.idle,
        };
        Some(self.since.saturating_add(longest))
    }
}

impl Pace {
    pub(super) fn new(clock: Arc<Clock>) -> Arc<Self> {
        // However late the watch is, a new connection has all of its time.
        let state = State { requests: 0, awaits: Awaits::First, since: clock.move_on() };
        Arc::new(Self {
            clock,
            state: AtomicU64::new(state.pack()),
            ends: AtomicU32::new(u32::MAX),
            stalled_since: AtomicU32::new(0),
            farewell_since: AtomicU32::new(0),
            is_http_2: AtomicBool::new(false),
            end: AtomicU8::new(0),
            waker: Mutex::default(),
            farewell: Notify::new(),
        })
    }

    /// It turns out to be HTTP/2.
    pub(super) fn speaks_http_2(&self) {
        self.is_http_2.store(true, Relaxed);
    }

    /// Bytes came. Those of HTTP/2 may be frames of any kind: there, only requests count.
    pub(super) fn read(&self) {
        // Who takes nothing, or was asked to go, does not stay for what it sends.
        if self.stalled_since.load(Relaxed) == 0 && self.farewell_since.load(Relaxed) == 0 {
            self.goes_on();
        }
        let state = self.state();
        if state.requests == 0 && !self.is_http_2.load(Relaxed) {
            self.state.store(state.read(self.clock.now()).pack(), Relaxed);
        }
    }

    /// A request begins.
    pub(in crate::http) fn begun(&self, longest: Duration) {
        self.ends.store(self.clock.now().saturating_add(ticks(longest)), Relaxed);
        self.change(State::begun);
    }

    /// A request is over.
    pub(in crate::http) fn done(&self) {
        let now = self.clock.now();
        self.change(|state| state.done(now));
    }

    /// The client takes what is written, or it does not.
    pub(super) fn writes(&self, is_taken: bool) {
        let is_stalled = self.stalled_since.load(Relaxed) != 0;
        if is_stalled == is_taken {
            let since = if is_taken { 0 } else { self.clock.now() };
            self.stalled_since.store(since, Relaxed);
            self.goes_on();
        }
    }

    fn goes_on(&self) {
        if self.end.load(Relaxed) != 0 {
            self.end.store(0, Relaxed);
        }
    }

    /// Whether it is to end now, there being nothing to read and no room to write; if not,
    /// whoever waits is woken when it is.
    ///
    /// It is the connection that ends itself, once it has looked: where the service is
    /// slow, what a client has sent may not have been read yet.
    pub(super) fn ends(&self, context: &Context<'_>) -> bool {
        let mut waker = self.waker();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        // Behind the lock: who sets it wakes afterwards.
        self.end.load(Relaxed) != 0
    }

    /// It is to end, if it is still waiting when it comes to know.
    pub(super) fn end(&self, how: Close) {
        let how = match how {
            Close::Gently => 1,
            Close::AtOnce => 2,
            Close::Reset => 3,
        };
        self.end.store(how, Relaxed);
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the connection is to come to its end.
    pub(super) async fn farewell(&self) {
        self.farewell.notified().await;
    }

    /// How it is closed.
    pub(super) fn close(&self) -> Close {
        match self.end.load(Relaxed) {
            0 | 1 => Close::Gently,
            2 => Close::AtOnce,
            _ => Close::Reset,
        }
    }

    /// Whether the watch closes it, gently: its client has had all its answers for a while.
    pub(super) fn was_idle(&self) -> bool {
        self.end.load(Relaxed) == 1
    }

    /// Whether another connection needs its room.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.close() == Close::AtOnce
    }

    /// Whether something is under way that would be cut off.
    pub(super) fn is_busy(&self) -> bool {
        self.state().requests > 0 || self.stalled_since.load(Relaxed) != 0
    }

    /// Since when it has been waiting without a request.
    pub(super) fn waiting_since(&self) -> Option<u32> {
        (!self.is_busy()).then(|| self.state().since)
    }

    /// What is to be done about it at `now`; `is_stopping`: no more requests are wanted.
    pub(super) fn judge(&self, now: u32, patience: Patience, is_stopping: bool) -> Verdict {
        let state = self.state();
        let stalled_since = self.stalled_since.load(Relaxed);
        if stalled_since != 0 {
            let ends = self.ends.load(Relaxed).saturating_add(ticks(LAST_WORDS));
            let is_over = now > stalled_since.saturating_add(patience.write) || now > ends;
            return if is_over { Verdict::End(Close::Reset) } else { Verdict::Leave };
        }
        let said = self.farewell_since.load(Relaxed);
        if said != 0 {
            let is_over = state.requests == 0 && now > said.saturating_add(patience.header);
            return if is_over { Verdict::End(Close::AtOnce) } else { Verdict::Leave };
        }
        let is_due = state.due(patience).is_some_and(|due| now > due);
        if self.is_http_2.load(Relaxed) {
            return if is_due || is_stopping { Verdict::Farewell } else { Verdict::Leave };
        }
        let unwanted = is_stopping
            && state.requests == 0
            && match state.awaits {
                Awaits::Next => true,
                // Who has just come may be about to say something.
                Awaits::First => now > state.since.saturating_add(ticks(LAST_WORDS)),
                Awaits::Head => false,
            };
        match state.awaits {
            _ if !is_due && !unwanted => Verdict::Leave,
            Awaits::Next => Verdict::End(Close::Gently),
            Awaits::First | Awaits::Head => Verdict::End(Close::AtOnce),
        }
    }

    pub(super) fn say_farewell(&self, now: u32) {
        self.farewell_since.store(now, Relaxed);
        self.farewell.notify_one();
    }

    fn state(&self) -> State {
        State::unpack(self.state.load(Relaxed))
    }

    fn change(&self, change: impl Fn(State) -> State) {
        let change = |bits| Some(change(State::unpack(bits)).pack());
        // It always changes.
        let _ = self.state.fetch_update(Relaxed, Relaxed, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { header: 10, idle: 100, write: 20 };

    fn pace() -> Arc<Pace> {
        Pace::new(Clock::start())
    }

    fn at(pace: &Pace, now: u32) {
        pace.clock.set(now);
    }

    /// The last tick at which it is left alone, and what is done at the next.
    fn check(pace: &Pace, last: u32, then: Verdict) {
        assert_eq!(pace.judge(last, PATIENCE, false), Verdict::Leave);
        assert_eq!(pace.judge(last + 1, PATIENCE, false), then);
    }

    #[test]
    fn a_state_is_what_was_packed() {
        for awaits in [Awaits::First, Awaits::Head, Awaits::Next] {
            let state = State { requests: 65535, awaits, since: u32::MAX };
            assert_eq!(State::unpack(state.pack()), state);
        }
    }

    #[test]
    fn a_head_has_its_time_from_the_connection_or_from_its_first_byte() {
        let pace = pace();
        check(&pace, 11, Verdict::End(Close::AtOnce));
        at(&pace, 5);
        pace.read();
        check(&pace, 11, Verdict::End(Close::AtOnce));
        pace.begun(Duration::from_secs(1));
        assert_eq!(pace.judge(1_000_000, PATIENCE, false), Verdict::Leave);

        at(&pace, 200);
        pace.done();
        check(&pace, 300, Verdict::End(Close::Gently));
        at(&pace, 250);
        pace.read();
        at(&pace, 255);
        pace.read();
        check(&pace, 260, Verdict::End(Close::AtOnce));
    }

    #[test]
    fn who_does_not_read_is_waited_for_until_the_time_of_the_request_is_over() {
        let pace = pace();
        at(&pace, 100);
        pace.begun(Clock::TICK * 50);
        pace.writes(false);
        at(&pace, 110);
        pace.writes(false);
        check(&pace, 120, Verdict::End(Close::Reset));
        pace.writes(true);
        assert_eq!(pace.judge(1000, PATIENCE, false), Verdict::Leave);
        // A little now and then is not enough: 50 ticks, and a second for last words.
        at(&pace, 185);
        pace.writes(false);
        check(&pace, 190, Verdict::End(Close::Reset));
    }

    #[test]
    fn what_is_left_when_no_more_is_wanted() {
        let check = |pace: &Pace, now, expected| {
            assert_eq!(pace.judge(now, PATIENCE, true), expected, "{:?}", pace.state());
        };
        let new = pace();
        check(&new, 2, Verdict::Leave);
        let head = pace();
        head.read();
        check(&head, 11, Verdict::Leave);
        check(&head, 12, Verdict::End(Close::AtOnce));
        let busy = pace();
        busy.begun(Duration::from_secs(1));
        check(&busy, 1000, Verdict::Leave);
        busy.done();
        check(&busy, 2, Verdict::End(Close::Gently));
    }

    #[test]
    fn a_connection_of_http_2_is_asked_first() {
        let pace = pace();
        pace.speaks_http_2();
        pace.begun(Duration::from_secs(1));
        pace.done();
        // Frames that are no request do not keep it.
        at(&pace, 50);
        pace.read();
        check(&pace, 101, Verdict::Farewell);
        pace.say_farewell(102);
        check(&pace, 112, Verdict::End(Close::AtOnce));
        pace.begun(Duration::from_secs(1));
        assert_eq!(pace.judge(200, PATIENCE, true), Verdict::Leave);
    }
}
