//! Places, and those who wait for one.
//!
//! No caller has all places: the more of them one has, the more must be free for another one,
//! so whoever comes new finds one. Whoever may have none waits in the line of their caller; the
//! lines take turns. Nobody waits who would wait too long: how long it would be is told by how fast
//! places come free. How long is too long is decided as CoDel does: a burst may wait as
//! long as it may at all, but where those of a line have waited longer than a tenth of that
//! for a while, the queue is standing, which helps nobody: until it is empty, the line is
//! kept so short that they do not. So what is refused is refused at once, and what is not is
//! served soon.

use super::{Caller, throughput::Throughput};
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::{Duration, Instant},
};

/// What a queue keeps to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Places.
    pub places: usize,
    /// How many may wait.
    pub waiting: usize,
    /// How long one may wait.
    pub max_wait: Duration,
    /// Whether some are always left to other callers.
    pub leaves_some: bool,
}

/// A queue of waiters, of whom it knows nothing but whose they are and since when.
#[derive(Debug)]
pub struct Queue<W> {
    bounds: Bounds,
    /// How many places are given out: all, unless that is more than the machine can bear.
    allowed: usize,
    taken: usize,
    /// How many of these are beyond the share of who has them.
    extra: usize,
    /// How many callers have one or more.
    holders: usize,
    waiting: usize,
    /// Those who have places or wait for them.
    lines: HashMap<Caller, Line<W>>,
    /// Whose line is next, the next one first; those that have one.
    turns: VecDeque<Caller>,
    throughput: Throughput,
    tickets: u64,
}

#[derive(Debug)]
struct Line<W> {
    /// The places that its caller has.
    held: usize,
    waiters: VecDeque<Waiter<W>>,
    /// Since when the first of them has always waited too long.
    late_since: Option<Instant>,
    /// Whether that was long ago.
    is_standing: bool,
}

#[derive(Debug)]
struct Waiter<W> {
    ticket: u64,
    since: Instant,
    waiter: W,
}

/// What becomes of who comes.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<W> {
    /// There is a place.
    Admitted,
    /// There will be one.
    Waits {
        /// To give up with.
        ticket: u64,
        /// Who had to make room, having more before them than this one.
        displaced: Option<W>,
    },
    /// Too many wait.
    Refused,
}

/// Who has a place next.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<W> {
    /// Whose it is.
    pub caller: Caller,
    /// Since when they have waited.
    pub since: Instant,
    /// To tell them.
    pub waiter: W,
}

/// A caller has at most so many places for each that is left to others.
const SHARE: usize = 8;
/// A line is late when its first has waited for this part of the longest wait,
const TARGET: u32 = 10;
/// and standing when it has been late for this part of it.
const INTERVAL: u32 = 5;

impl<W> Queue<W> {
    /// All places free.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            allowed: bounds.places,
            taken: 0,
            extra: 0,
            holders: 0,
            waiting: 0,
            lines: HashMap::new(),
            turns: VecDeque::new(),
            throughput: Throughput::new(bounds.max_wait),
            tickets: 0,
        }
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many of a caller's wait.
    pub fn waiting_of(&self, caller: Caller) -> usize {
        self.lines.get(&caller).map_or(0, |line| line.waiters.len())
    }

    /// Someone comes; `waiter` is made only where they wait. The clock is asked only where
    /// places are short.
    pub fn arrive(
        &mut self,
        caller: Caller,
        clock: impl Fn() -> Instant,
        waiter: impl FnOnce() -> W,
    ) -> Arrival<W> {
        // Looked for once: this is on the way of every decode.
        let line = self.lines.entry(caller);
        let held = match &line {
            Entry::Occupied(line) => line.get().held,
            Entry::Vacant(_) => 0,
        };
        let taken = self.taken - self.extra;
        let given = Given { taken, holders: self.holders, allowed: self.allowed };
        if given.leaves_one_for(held, self.bounds) {
            line.or_default().held += 1;
            self.holders += usize::from(held == 0);
            self.taken += 1;
            if self.taken == self.allowed {
                self.throughput.full(clock());
            }
            return Arrival::Admitted;
        }
        let now = clock();
        self.throughput.full(now);
        if self.would_wait_too_long(caller, now) {
            return Arrival::Refused;
        }
        let mut displaced = None;
        if self.waiting >= self.bounds.waiting {
            displaced = self.displace(caller);
            if displaced.is_none() {
                return Arrival::Refused;
            }
        }
        self.tickets += 1;
        let waiter = Waiter { ticket: self.tickets, since: now, waiter: waiter() };
        let line = self.lines.entry(caller).or_default();
        if line.waiters.is_empty() {
            self.turns.push_back(caller);
        }
        line.waiters.push_back(waiter);
        self.waiting += 1;
        Arrival::Waits { ticket: self.tickets, displaced }
    }

    /// A caller's place comes free, which may have been one beyond its share. Who has one next:
    /// they must take it, or leave in their turn.
    pub fn leave(
        &mut self,
        caller: Caller,
        is_extra: bool,
        clock: impl Fn() -> Instant,
    ) -> Vec<Next<W>> {
        self.taken -= 1;
        self.extra -= usize::from(is_extra);
        if let Entry::Occupied(mut line) = self.lines.entry(caller) {
            line.get_mut().held -= 1;
            self.holders -= usize::from(line.get().held == 0);
            if line.get().is_idle() {
                line.remove();
            }
        }
        if self.waiting == 0 && self.taken + 1 < self.allowed {
            return Vec::new();
        }
        let now = clock();
        let next = self.all_next(now);
        self.throughput.left(now, self.is_short());
        next
    }

    /// One who left has a place again, whether or not there is one: there may be more
    /// taken than there are, until some leave. True where it is one beyond its share, which
    /// must not be at the expense of others.
    pub fn come_back(&mut self, caller: Caller) -> bool {
        let held = self.lines.get(&caller).map_or(0, |line| line.held);
        let is_extra = !self.given().leaves_one_for(held, self.bounds);
        self.extra += usize::from(is_extra);
        self.taken += 1;
        let held = &mut self.lines.entry(caller).or_default().held;
        self.holders += usize::from(*held == 0);
        *held += 1;
        is_extra
    }

    /// Gives out half of those that are taken, but no less than `least`: nobody has to go,
    /// but who goes is not followed for a while.
    pub fn narrow(&mut self, least: usize, now: Instant) {
        let fewer = self.allowed.min(self.taken) / 2;
        self.allowed = fewer.max(least).min(self.allowed);
        if self.taken >= self.allowed {
            self.throughput.full(now);
        }
    }

    /// Gives out a little more again, up to all. Who has a place now, as in `leave`.
    pub fn widen(&mut self, now: Instant) -> Vec<Next<W>> {
        self.allowed = (self.allowed + self.allowed.div_ceil(16)).min(self.bounds.places);
        let next = self.all_next(now);
        if !self.is_short() {
            self.throughput.free(now);
        }
        next
    }

    /// How many places are given out.
    pub fn allowed(&self) -> usize {
        self.allowed
    }

    /// Whether all places are given out.
    pub fn is_wide(&self) -> bool {
        self.allowed == self.bounds.places
    }

    /// One who waits does so no longer. False where they are not waiting.
    pub fn give_up(&mut self, caller: Caller, ticket: u64, now: Instant) -> bool {
        let Some(line) = self.lines.get_mut(&caller) else { return false };
        let Some(at) = line.waiters.iter().position(|waiter| waiter.ticket == ticket) else {
            return false;
        };
        line.waiters.remove(at);
        self.waiting -= 1;
        self.end_turns_if_empty(caller);
        if !self.is_short() {
            self.throughput.free(now);
        }
        true
    }

    /// Whether someone would have to wait, or does.
    fn is_short(&self) -> bool {
        self.taken >= self.allowed || self.waiting > 0
    }

    /// Gives places to all in turn who may have one.
    fn all_next(&mut self, now: Instant) -> Vec<Next<W>> {
        std::iter::from_fn(|| self.next(now)).collect()
    }

    fn given(&self) -> Given {
        // Those beyond a share are not there, as far as others are concerned.
        let taken = self.taken - self.extra;
        Given { taken, holders: self.holders, allowed: self.allowed }
    }

    /// Gives a place to the next one in turn who may have it.
    fn next(&mut self, now: Instant) -> Option<Next<W>> {
        let given = self.given();
        let may_have_one = |caller: &Caller| {
            let held = self.lines.get(caller).map_or(0, |line| line.held);
            given.leaves_one_for(held, self.bounds)
        };
        let at = self.turns.iter().position(may_have_one)?;
        let caller = self.turns.remove(at)?;
        let line = self.lines.get_mut(&caller)?;
        let Waiter { since, waiter, .. } = line.waiters.pop_front()?;
        line.note(now.duration_since(since), now, self.bounds.max_wait);
        if line.waiters.is_empty() {
            line.forget_lateness();
        } else {
            self.turns.push_back(caller);
        }
        self.holders += usize::from(line.held == 0);
        line.held += 1;
        self.taken += 1;
        self.waiting -= 1;
        Some(Next { caller, since, waiter })
    }

    fn would_wait_too_long(&mut self, caller: Caller, now: Instant) -> bool {
        let Bounds { max_wait, .. } = self.bounds;
        if self.waiting == 0 {
            return max_wait.is_zero();
        }
        let line = self.lines.get_mut(&caller);
        let (own, is_standing) = line.map_or((0, false), |line| {
            let first = line.waiters.front().map(|first| now.duration_since(first.since));
            line.note(first.unwrap_or_default(), now, max_wait);
            (line.waiters.len(), line.is_standing)
        });
        // In each turn before this one's, every line that is long enough has its share.
        let ahead: usize = self.lines.values().map(|line| line.waiters.len().min(own + 1)).sum();
        let allowed = if is_standing { max_wait / TARGET } else { max_wait };
        self.throughput.time_for(ahead + 1, now).is_some_and(|expected| expected > allowed)
    }

    /// Makes the last of the longest line give up, if that line is longer than the caller's
    /// would be.
    fn displace(&mut self, caller: Caller) -> Option<W> {
        let own = self.lines.get(&caller).map_or(0, |line| line.waiters.len());
        let length = |line: &Line<W>| line.waiters.len();
        let (longest, line) = self.lines.iter_mut().max_by_key(|(_, line)| length(line))?;
        if line.waiters.len() <= own + 1 {
            return None;
        }
        let longest = *longest;
        let last = line.waiters.pop_back()?;
        self.waiting -= 1;
        self.end_turns_if_empty(longest);
        Some(last.waiter)
    }

    fn end_turns_if_empty(&mut self, caller: Caller) {
        let Some(line) = self.lines.get_mut(&caller) else { return };
        if line.waiters.is_empty() {
            line.forget_lateness();
            self.turns.retain(|other| *other != caller);
            if line.is_idle() {
                self.lines.remove(&caller);
            }
        }
    }
}

/// How many places are given out, to how many, and how many may be.
#[derive(Clone, Copy)]
struct Given {
    taken: usize,
    holders: usize,
    allowed: usize,
}

impl Given {
    /// Whether one more may go to a caller who holds so many: of those that are free, a part is
    /// left to others. Where fewer are given out than there are, because processors are short,
    /// that holds back who has some; who has none is not to wait until these are through.
    fn leaves_one_for(self, held: usize, bounds: Bounds) -> bool {
        let Self { taken, holders, allowed } = self;
        let left = bounds.places.saturating_sub(taken + 1);
        let is_new = bounds.leaves_some && held == 0 && holders < allowed && taken < bounds.places;
        let leaves_some = !bounds.leaves_some || held == 0 || held < left.saturating_mul(SHARE);
        is_new || taken < allowed && leaves_some
    }
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self { held: 0, waiters: VecDeque::new(), late_since: None, is_standing: false }
    }
}

impl<W> Line<W> {
    /// Nobody is in it, and nobody came from it.
    fn is_idle(&self) -> bool {
        self.held == 0 && self.waiters.is_empty()
    }

    /// Nobody waits in it any longer.
    fn forget_lateness(&mut self) {
        (self.late_since, self.is_standing) = (None, false);
    }

    /// Its first has waited for so long.
    fn note(&mut self, wait: Duration, now: Instant, max_wait: Duration) {
        if wait > max_wait / TARGET {
            let since = *self.late_since.get_or_insert(now);
            self.is_standing |= now.duration_since(since) >= max_wait / INTERVAL;
        } else {
            self.late_since = None;
        }
    }
}

#[cfg(test)]
mod tests;
