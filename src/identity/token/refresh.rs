//! When the keys of an issuer are fetched.
//!
//! A machine that is told the time and what became of a fetch. It fetches nothing, waits for
//! nothing, and never says that keys are to be thrown away: those that are there stay until
//! others take their place.

use std::time::{Duration, Instant};

/// Keys are fetched again after so long, whoever asks for them.
const AGE: Duration = Duration::from_secs(5 * 60);
/// After the first failure there is another try so soon; each further pause is twice the last,
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// and at most this long.
const LONGEST_PAUSE: Duration = AGE;
/// Tokens that name unknown keys are written by anyone: they have no more than one fetch made
/// in this time.
const BETWEEN_TRIGGERED: Duration = Duration::from_secs(60);

/// When the next fetch is, and whether a token may have one made before that.
#[derive(Debug, Clone)]
pub(in crate::identity) struct Refresh {
    due: Instant,
    /// The pause after the next failure.
    pause: Duration,
    /// When a token had a fetch made last.
    triggered: Option<Instant>,
}

impl Refresh {
    /// Nothing was fetched yet: the first fetch is due now.
    pub(in crate::identity) fn new(now: Instant) -> Self {
        Self { due: now, pause: FIRST_PAUSE, triggered: None }
    }

    /// When the next fetch is due.
    pub(in crate::identity) fn due(&self) -> Instant {
        self.due
    }

    /// A fetch brought keys.
    pub(in crate::identity) fn fetched(&mut self, now: Instant) {
        (self.due, self.pause) = (now + AGE, FIRST_PAUSE);
    }

    /// A fetch brought none that are of use.
    pub(in crate::identity) fn failed(&mut self, now: Instant) {
        self.due = now + self.pause;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }

    /// A token named a key that is not there. Whether a fetch is to be made now; who is told
    /// so makes it, and tells what became of it like of any other.
    pub(in crate::identity) fn unknown_key(&mut self, now: Instant) -> bool {
        let since = self.triggered.map(|last| now.saturating_duration_since(last));
        let is_allowed = since.is_none_or(|since| since >= BETWEEN_TRIGGERED);
        if is_allowed {
            self.triggered = Some(now);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keys_are_fetched_at_once_and_then_every_five_minutes() {
        let start = Instant::now();
        let mut refresh = Refresh::new(start);
        assert_eq!(refresh.due(), start);
        for minutes in [0, 5, 11] {
            let now = start + 60 * minutes * SECOND;
            refresh.fetched(now);
            assert_eq!(refresh.due(), now + 300 * SECOND);
        }
    }

    #[test]
    fn pauses_after_failures_double_up_to_five_minutes_and_begin_anew() {
        let mut now = Instant::now();
        let mut refresh = Refresh::new(now);
        for _ in 0..2 {
            for pause in [5, 10, 20, 40, 80, 160, 300, 300, 300] {
                refresh.failed(now);
                assert_eq!(refresh.due(), now + pause * SECOND);
                now = refresh.due();
            }
            refresh.fetched(now);
        }
    }

    #[test]
    fn unknown_keys_have_one_fetch_made_in_a_minute_whatever_becomes_of_it() {
        let outcomes: [fn(&mut Refresh, Instant); 3] =
            [|_, _| {}, Refresh::fetched, Refresh::failed];
        for outcome in outcomes {
            let start = Instant::now();
            let mut refresh = Refresh::new(start);
            let mut check = |seconds, expected| {
                let now = start + seconds * SECOND;
                assert_eq!(refresh.unknown_key(now), expected, "{seconds}");
                outcome(&mut refresh, now);
            };
            check(10, true);
            check(10, false);
            check(69, false);
            check(70, true);
            check(75, false);
            check(129, false);
            check(1000, true);
            check(1059, false);
        }
    }

    #[test]
    fn a_token_does_not_change_when_the_next_fetch_is_due() {
        let start = Instant::now();
        let mut refresh = Refresh::new(start);
        refresh.fetched(start);
        assert!(refresh.unknown_key(start + SECOND));
        assert_eq!(refresh.due(), start + AGE);
    }

    proptest! {
        #[test]
        fn whatever_happens_triggered_fetches_are_a_minute_apart_and_one_is_always_due(
            events in prop::collection::vec((0..4u8, 0..90_000u64), 0..200),
        ) {
            let mut now = Instant::now();
            let mut refresh = Refresh::new(now);
            let mut last: Option<Instant> = None;
            for (event, later) in events {
                now += Duration::from_millis(later);
                match event {
                    0 => refresh.fetched(now),
                    1 => refresh.failed(now),
                    _ if refresh.unknown_key(now) => {
                        prop_assert!(last.is_none_or(|last| now - last >= 60 * SECOND));
                        last = Some(now);
                    }
                    _ => prop_assert!(last.is_some_and(|last| now - last < 60 * SECOND)),
                }
                prop_assert!(refresh.due() <= now + AGE);
            }
        }
    }
}
