//! Whether a source is tried once more, and when.
//!
//! Nothing here knows a clock or rolls dice: both are told.

use std::time::{Duration, Instant};

/// The first pause is at most this long, and each one after it at most twice the last.
const PAUSE: Duration = Duration::from_millis(200);

/// What becomes of an attempt that failed in a way that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// There is another one after a pause.
    Retried(Duration),
    /// Too many were tried again lately, or the origin is left alone.
    BudgetExhausted,
    /// It was tried as often as may be.
    AttemptsExhausted,
    /// The time does not suffice.
    Deadline,
}

/// An attempt that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    /// How many there were, with this one.
    pub(super) attempts: u32,
    /// How many there may be.
    pub(super) most: u32,
    /// When the source asks to be tried again.
    pub(super) retry_after: Option<Duration>,
    /// How much time is left.
    pub(super) left: Duration,
    /// What the dice say, from 0 to 1.
    pub(super) roll: f64,
}

impl Failed {
    /// What becomes of it. The budget is asked last, and pays where there is another.
    pub(super) fn decide(self, budget: &mut Budget, now: Instant) -> Decision {
        if self.attempts >= self.most {
            return Decision::AttemptsExhausted;
        }
        let longest = PAUSE.saturating_mul(1 << (self.attempts - 1).min(16));
        // Full jitter: those who failed together do not come back together.
        let pause = longest.mul_f64(self.roll.clamp(0.0, 1.0));
        let pause = self.retry_after.unwrap_or_default().max(pause);
        if pause >= self.left {
            Decision::Deadline
        } else if budget.pay(now) {
            Decision::Retried(pause)
        } else {
            Decision::BudgetExhausted
        }
    }
}

/// How much of what goes to an origin may be said again: an outage is not multiplied.
#[derive(Debug)]
pub(super) struct Budget {
    /// The seconds of the window, the present one first.
    seconds: [Second; WINDOW],
    /// When the present one began.
    since: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    requests: u32,
    retries: u32,
}

/// In seconds.
const WINDOW: usize = 10;
/// One retry for so many requests,
const SHARE: u32 = 5;
/// and at least so many.
const LEAST: u32 = 3;

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { seconds: [Second::default(); WINDOW], since: now }
    }

    /// A request begins that is no retry.
    pub(super) fn request(&mut self, now: Instant) {
        self.move_on(now);
        self.seconds[0].requests = self.seconds[0].requests.saturating_add(1);
    }

    /// Takes a retry out of the budget, if there is one in it.
    pub(super) fn pay(&mut self, now: Instant) -> bool {
        self.move_on(now);
        let sum = |of: fn(&Second) -> u32| self.seconds.iter().map(of).fold(0, u32::saturating_add);
        let allowed = (sum(|second| second.requests) / SHARE).max(LEAST);
        let pays = sum(|second| second.retries) < allowed;
        self.seconds[0].retries += u32::from(pays);
        pays
    }

    fn move_on(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs();
        let gone = usize::try_from(passed).unwrap_or(WINDOW).min(WINDOW);
        if gone > 0 {
            self.seconds.rotate_right(gone % WINDOW);
            self.seconds[..gone].fill(Second::default());
            self.since += Duration::from_secs(passed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn decide(failed: Failed) -> Decision {
        let now = Instant::now();
        failed.decide(&mut Budget::new(now), now)
    }

    fn failed(attempts: u32, roll: f64) -> Failed {
        Failed { attempts, most: 100, retry_after: None, left: 1000 * SECOND, roll }
    }

    #[test]
    fn pauses_double_and_are_anything_up_to_that() {
        for (attempts, longest) in [(1, 200), (2, 400), (3, 800), (5, 3200)] {
            for roll in [0.0, 0.25, 1.0] {
                let pause = (longest * MS).mul_f64(roll);
                assert_eq!(decide(failed(attempts, roll)), Decision::Retried(pause));
            }
        }
        // However often.
        assert_eq!(decide(failed(99, 1.0)), Decision::Deadline);
        assert_eq!(decide(failed(1, 7.0)), Decision::Retried(200 * MS));
    }

    #[test]
    fn there_are_so_many_attempts() {
        let of = |attempts| decide(Failed { most: 3, ..failed(attempts, 0.0) });
        assert_eq!(of(2), Decision::Retried(Duration::ZERO));
        assert_eq!(of(3), Decision::AttemptsExhausted);
        assert_eq!(of(4), Decision::AttemptsExhausted);
    }

    #[test]
    fn who_asks_for_a_pause_gets_it_if_there_is_time() {
        let of = |retry_after, left| {
            let retry_after = Some(retry_after);
            decide(Failed { retry_after, left, ..failed(1, 0.5) })
        };
        assert_eq!(of(2 * SECOND, 3 * SECOND), Decision::Retried(2 * SECOND));
        assert_eq!(of(50 * MS, 3 * SECOND), Decision::Retried(100 * MS));
        assert_eq!(of(3 * SECOND, 3 * SECOND), Decision::Deadline);
        assert_eq!(of(Duration::MAX, 3 * SECOND), Decision::Deadline);
        assert_eq!(of(Duration::ZERO, 100 * MS), Decision::Deadline);
        assert_eq!(of(Duration::ZERO, 101 * MS), Decision::Retried(100 * MS));
    }

    #[test]
    fn a_fifth_of_what_goes_there_may_be_said_again_and_at_least_three() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let mut pays = |requests: u32, at: u32| {
            let now = start + at * SECOND;
            (0..requests).for_each(|_| budget.request(now));
            (0..100).take_while(|_| budget.pay(now)).count()
        };
        assert_eq!(pays(0, 0), 3);
        assert_eq!(pays(19, 0), 0);
        assert_eq!(pays(1, 0), 1);
        assert_eq!(pays(80, 9), 16);
        // What was in the first second is over.
        assert_eq!(pays(0, 10), 0);
        assert_eq!(pays(10, 10), 2);
        assert_eq!(pays(0, 18), 0);
        assert_eq!(pays(0, 19), 1);
        assert_eq!(pays(0, 20), 2);
        assert_eq!(pays(0, 30), 3);
        assert_eq!(pays(0, 1_000_000), 3);
    }

    #[test]
    fn only_another_attempt_is_paid_for() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..10 {
            let none = Failed { most: 1, ..failed(1, 0.0) };
            assert_eq!(none.decide(&mut budget, now), Decision::AttemptsExhausted);
            let late = Failed { left: Duration::ZERO, ..failed(1, 0.0) };
            assert_eq!(late.decide(&mut budget, now), Decision::Deadline);
        }
        for _ in 0..LEAST {
            let paid = failed(1, 0.0).decide(&mut budget, now);
            assert_eq!(paid, Decision::Retried(Duration::ZERO));
        }
        assert_eq!(failed(1, 0.0).decide(&mut budget, now), Decision::BudgetExhausted);
    }
}
