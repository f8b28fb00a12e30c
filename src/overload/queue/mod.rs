//! The decision who gets a permit, who waits, and who is refused.
//!
//! - **Fair shares.** No caller gets all permits. The more permits a caller has, the more must stay
//!   free for others, so a new caller finds one.
//! - **Turns.** Each caller has its own line of waiters. Released permits go to the lines in turn.
//! - **Short waits.** A request that would wait too long is refused at once. The expected wait comes
//!   from the [release rate](super::release_rate). The bound follows CoDel: a burst may wait as long
//!   as `max_wait`. A line whose first waiter has been later than a tenth of that for a while is a
//!   *standing* line. It is kept so short that its waiters wait a tenth at most, until it is empty.

use super::release_rate::ReleaseRate;
use crate::quota_key::QuotaKey;
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::{Duration, Instant},
};

/// The limits of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// How many permits there are.
    pub permits: usize,
    /// How many requests may wait.
    pub queue: usize,
    /// How long a request may wait; `None` for as long as it takes.
    pub max_wait: Option<Duration>,
    /// Whether some permits are always kept for other callers.
    pub keeps_reserve: bool,
}

/// The state of a pool: permits in use, and a line of waiters for each caller.
///
/// It is pure. `W` is whatever tells a waiter that it has a permit.
#[derive(Debug)]
pub struct Queue<W> {
    limits: PoolLimits,
    /// How many permits may be in use: all, or fewer while the machine is overloaded.
    limit: usize,
    in_use: usize,
    /// How many of these were reclaimed beyond their caller's share.
    extra: usize,
    /// How many callers have a permit.
    holders: usize,
    waiting: usize,
    /// TenantSnapshot that have permits or wait for one.
    lines: HashMap<QuotaKey, Line<W>>,
    /// TenantSnapshot with waiters, the next in turn first.
    turns: VecDeque<QuotaKey>,
    /// Absent where waits are not bounded.
    release_rate: Option<ReleaseRate>,
    tickets: u64,
}

#[derive(Debug)]
struct Line<W> {
    /// The permits that its caller has.
    held: usize,
    waiters: VecDeque<Waiting<W>>,
    /// Since when its first waiter has always been late.
    late_since: Option<Instant>,
    is_standing: bool,
}

#[derive(Debug)]
struct Waiting<W> {
    ticket: u64,
    since: Instant,
    waiter: W,
}

/// What happens to a request that arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<W> {
    /// It has a permit.
    Admitted,
    /// It waits.
    Queued {
        /// Identifies it to [`Queue::give_up`].
        ticket: u64,
        /// The waiter of a longer line that had to make room.
        displaced: Option<W>,
    },
    /// It is refused: the queue is full, or the wait would be too long.
    Refused,
}

/// A waiter that now has a permit.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<W> {
    /// Its caller.
    pub key: QuotaKey,
    /// Since when it has waited.
    pub since: Instant,
    /// What tells it.
    pub waiter: W,
}

/// A caller may hold this many permits for each one that stays free for others.
const SHARE: usize = 8;
/// A line is late when its first waiter has waited for this part of the longest wait.
const TARGET: u32 = 10;
/// A line is standing when it has been late for this part of the longest wait.
const INTERVAL: u32 = 5;

impl<W> Queue<W> {
    /// A queue with all permits free.
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            limit: limits.permits,
            in_use: 0,
            extra: 0,
            holders: 0,
            waiting: 0,
            lines: HashMap::new(),
            turns: VecDeque::new(),
            release_rate: limits.max_wait.map(ReleaseRate::new),
            tickets: 0,
        }
    }

    /// How many permits are in use.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many requests of one caller wait.
    pub fn waiting_of(&self, key: QuotaKey) -> usize {
        self.lines.get(&key).map_or(0, |line| line.waiters.len())
    }

    /// Decides about a request. `waiter` is called only if it waits, and the clock is read only
    /// while permits are short, because every decode comes through here.
    pub fn arrive(
        &mut self,
        key: QuotaKey,
        clock: impl Fn() -> Instant,
        waiter: impl FnOnce() -> W,
    ) -> Arrival<W> {
        // One lookup serves the common case.
        let line = self.lines.entry(key);
        let held = match &line {
            Entry::Occupied(line) => line.get().held,
            Entry::Vacant(_) => 0,
        };
        let in_use = self.in_use - self.extra;
        let usage = Usage { in_use, holders: self.holders, limit: self.limit };
        if usage.allows_one_more(held, self.limits) {
            line.or_default().held += 1;
            self.holders += usize::from(held == 0);
            self.in_use += 1;
            if self.in_use == self.limit {
                self.note_full(clock());
            }
            return Arrival::Admitted;
        }
        let now = clock();
        self.note_full(now);
        if self.would_wait_too_long(key, now) {
            return Arrival::Refused;
        }
        let mut displaced = None;
        if self.waiting >= self.limits.queue {
            displaced = self.displace(key);
            if displaced.is_none() {
                return Arrival::Refused;
            }
        }
        self.tickets += 1;
        let waiter = Waiting { ticket: self.tickets, since: now, waiter: waiter() };
        let line = self.lines.entry(key).or_default();
        if line.waiters.is_empty() {
            self.turns.push_back(key);
        }
        line.waiters.push_back(waiter);
        self.waiting += 1;
        Arrival::Queued { ticket: self.tickets, displaced }
    }

    /// Releases a permit; `is_extra` is what [`Queue::reclaim`] said of it. Returns the waiters
    /// that now have a permit. Each must use it or release it.
    pub fn release(
        &mut self,
        key: QuotaKey,
        is_extra: bool,
        clock: impl Fn() -> Instant,
    ) -> Vec<Next<W>> {
        self.in_use -= 1;
        self.extra -= usize::from(is_extra);
        if let Entry::Occupied(mut line) = self.lines.entry(key) {
            line.get_mut().held -= 1;
            self.holders -= usize::from(line.get().held == 0);
            if line.get().is_idle() {
                line.remove();
            }
        }
        if self.waiting == 0 && self.in_use + 1 < self.limit {
            return Vec::new();
        }
        let now = clock();
        let next = self.admit_waiters(now);
        let still_full = self.is_short();
        if let Some(rate) = &mut self.release_rate {
            rate.released(now, still_full);
        }
        next
    }

    /// Takes a lent permit back even if none is free, so more may be in use than the limit for a
    /// while. True if it is beyond its caller's share; others are then admitted as if it were not
    /// in use.
    pub fn reclaim(&mut self, key: QuotaKey) -> bool {
        let held = self.lines.get(&key).map_or(0, |line| line.held);
        let is_extra = !self.usage().allows_one_more(held, self.limits);
        self.extra += usize::from(is_extra);
        self.in_use += 1;
        let held = &mut self.lines.entry(key).or_default().held;
        self.holders += usize::from(*held == 0);
        *held += 1;
        is_extra
    }

    /// Lowers the limit to half of the permits in use, but to no less than `least`. No permit is
    /// revoked; released ones are not given out until fewer than the limit are in use.
    pub fn lower_limit(&mut self, least: usize, now: Instant) {
        let half = self.limit.min(self.in_use) / 2;
        self.limit = half.max(least).min(self.limit);
        if self.in_use >= self.limit {
            self.note_full(now);
        }
    }

    /// Raises the limit by a sixteenth, up to all permits. Returns the waiters that now have a
    /// permit, as `release` does.
    pub fn raise_limit(&mut self, now: Instant) -> Vec<Next<W>> {
        self.limit = (self.limit + self.limit.div_ceil(16)).min(self.limits.permits);
        let next = self.admit_waiters(now);
        self.note_free(now);
        next
    }

    /// How many permits may be in use.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether all permits may be in use.
    pub fn is_at_full_limit(&self) -> bool {
        self.limit == self.limits.permits
    }

    /// Removes a waiter. False if it does not wait any longer.
    pub fn give_up(&mut self, key: QuotaKey, ticket: u64, now: Instant) -> bool {
        let Some(line) = self.lines.get_mut(&key) else { return false };
        let Some(at) = line.waiters.iter().position(|waiter| waiter.ticket == ticket) else {
            return false;
        };
        line.waiters.remove(at);
        self.waiting -= 1;
        self.end_turns_if_empty(key);
        self.note_free(now);
        true
    }

    fn note_full(&mut self, now: Instant) {
        if let Some(rate) = &mut self.release_rate {
            rate.full(now);
        }
    }

    fn note_free(&mut self, now: Instant) {
        let is_short = self.is_short();
        if let Some(rate) = self.release_rate.as_mut().filter(|_| !is_short) {
            rate.free(now);
        }
    }

    /// Whether a new request would have to wait, or some request waits.
    fn is_short(&self) -> bool {
        self.in_use >= self.limit || self.waiting > 0
    }

    /// Gives permits to waiters in turn until no waiter may have one.
    fn admit_waiters(&mut self, now: Instant) -> Vec<Next<W>> {
        std::iter::from_fn(|| self.next(now)).collect()
    }

    fn usage(&self) -> Usage {
        // Permits beyond a share do not count against others.
        let in_use = self.in_use - self.extra;
        Usage { in_use, holders: self.holders, limit: self.limit }
    }

    /// Gives a permit to the next waiter in turn that may have one.
    fn next(&mut self, now: Instant) -> Option<Next<W>> {
        let usage = self.usage();
        let may_have_one = |key: &QuotaKey| {
            let held = self.lines.get(key).map_or(0, |line| line.held);
            usage.allows_one_more(held, self.limits)
        };
        let at = self.turns.iter().position(may_have_one)?;
        let key = self.turns.remove(at)?;
        let line = self.lines.get_mut(&key)?;
        let Waiting { since, waiter, .. } = line.waiters.pop_front()?;
        if let Some(max_wait) = self.limits.max_wait {
            line.note_wait(now.duration_since(since), now, max_wait);
        }
        if line.waiters.is_empty() {
            line.forget_lateness();
        } else {
            self.turns.push_back(key);
        }
        self.holders += usize::from(line.held == 0);
        line.held += 1;
        self.in_use += 1;
        self.waiting -= 1;
        Some(Next { key, since, waiter })
    }

    fn would_wait_too_long(&mut self, key: QuotaKey, now: Instant) -> bool {
        let (Some(max_wait), Some(rate)) = (self.limits.max_wait, &self.release_rate) else {
            return false;
        };
        if self.waiting == 0 {
            return max_wait.is_zero();
        }
        let line = self.lines.get_mut(&key);
        let (own, is_standing) = line.map_or((0, false), |line| {
            let first = line.waiters.front().map(|first| now.duration_since(first.since));
            line.note_wait(first.unwrap_or_default(), now, max_wait);
            (line.waiters.len(), line.is_standing)
        });
        // Before this one's turn, every line that is long enough has had as many turns.
        let ahead: usize = self.lines.values().map(|line| line.waiters.len().min(own + 1)).sum();
        let allowed = if is_standing { max_wait / TARGET } else { max_wait };
        rate.time_for(ahead + 1, now).is_some_and(|expected| expected > allowed)
    }

    /// Removes the last waiter of the longest line, if that line is longer than the caller's would
    /// become.
    fn displace(&mut self, key: QuotaKey) -> Option<W> {
        let own = self.lines.get(&key).map_or(0, |line| line.waiters.len());
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

    fn end_turns_if_empty(&mut self, key: QuotaKey) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        if line.waiters.is_empty() {
            line.forget_lateness();
            self.turns.retain(|other| *other != key);
            if line.is_idle() {
                self.lines.remove(&key);
            }
        }
    }
}

/// How many permits are in use, by how many callers, and the limit.
#[derive(Clone, Copy)]
struct Usage {
    in_use: usize,
    holders: usize,
    limit: usize,
}

impl Usage {
    /// Whether a caller that holds `held` permits may have one more.
    ///
    /// Part of the free permits is kept for other callers. While the limit is lowered, that holds
    /// back callers that have permits; a caller without any need not wait until they are done.
    fn allows_one_more(self, held: usize, limits: PoolLimits) -> bool {
        let Self { in_use, holders, limit } = self;
        let left = limits.permits.saturating_sub(in_use + 1);
        let is_new =
            limits.keeps_reserve && held == 0 && holders < limit && in_use < limits.permits;
        let leaves_some = !limits.keeps_reserve || held == 0 || held < left.saturating_mul(SHARE);
        is_new || in_use < limit && leaves_some
    }
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self { held: 0, waiters: VecDeque::new(), late_since: None, is_standing: false }
    }
}

impl<W> Line<W> {
    /// Whether its caller neither waits nor has a permit.
    fn is_idle(&self) -> bool {
        self.held == 0 && self.waiters.is_empty()
    }

    fn forget_lateness(&mut self) {
        (self.late_since, self.is_standing) = (None, false);
    }

    /// Notes how long its first waiter has waited.
    fn note_wait(&mut self, wait: Duration, now: Instant, max_wait: Duration) {
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
