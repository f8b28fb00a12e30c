//! When what is being written may be taken for written.

use std::time::{Duration, Instant};

/// What has stood so long is written,
pub(super) const SHORT: Duration = Duration::from_millis(100);
/// and what does not look as if it were, when it has stood so long.
pub(super) const LONG: Duration = Duration::from_millis(550);

/// What has changed for so long without a rest may go on for ever.
const RESTLESS: Duration = Duration::from_secs(5);

/// Watches what changes, and says when it is to be judged anew. Half of what is being written
/// may look like a whole.
pub(super) struct Settling<T> {
    judged: T,
    /// What is there instead, and since when.
    seen: Option<(T, Instant)>,
    /// Since when there is something else.
    changing: Option<Instant>,
}

impl<T: PartialEq + Clone> Settling<T> {
    /// This was judged.
    pub(super) fn new(judged: T) -> Self {
        Self { judged, seen: None, changing: None }
    }

    /// What was judged last.
    pub(super) fn last(&self) -> &T {
        &self.judged
    }

    /// Whether nothing else is there than was judged.
    pub(super) fn is_settled(&self) -> bool {
        self.seen.is_none()
    }

    /// Whether there has been something else for long, and it has not stood still.
    pub(super) fn is_restless(&self, now: Instant) -> bool {
        self.changing.is_some_and(|since| now.duration_since(since) >= RESTLESS)
    }

    /// This was judged by now.
    pub(super) fn judged(&mut self, judged: T) {
        *self = Self::new(judged);
    }

    /// Whether what is there is to be judged. What is another than was judged has to have been
    /// there for a while, which is a longer one where it does not seem to be whole, whoever
    /// waits for it; what is the same is judged once more where that is wanted.
    pub(super) fn is_due(
        &mut self,
        there: &T,
        is_whole: bool,
        once_more: bool,
        now: Instant,
    ) -> bool {
        if *there == self.judged {
            (self.seen, self.changing) = (None, None);
            return once_more;
        }
        self.changing.get_or_insert(now);
        match &self.seen {
            Some((seen, since)) if seen == there => {
                now.duration_since(*since) >= if is_whole { SHORT } else { LONG }
            }
            _ => {
                self.seen = Some((there.clone(), now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_changes_is_not_judged() {
        let (start, mut settling) = (Instant::now(), Settling::new("old"));
        let mut check = |there, is_whole, once_more, milliseconds, expected| {
            let now = start + Duration::from_millis(milliseconds);
            let is_due = settling.is_due(&there, is_whole, once_more, now);
            assert_eq!(is_due, expected, "{milliseconds}");
            if expected {
                settling.judged(there);
            }
        };
        check("old", true, false, 0, false);
        check("n", true, false, 150, false);
        check("new", true, false, 300, false);
        check("new", true, false, 399, false);
        check("new", true, false, 400, true);
        check("new", true, false, 550, false);
        // Half of something, perhaps.
        check("ne", false, false, 700, false);
        check("ne", false, false, 1249, false);
        check("new", true, false, 1300, false);
        check("ne", false, false, 1400, false);
        check("ne", false, false, 1950, true);
        // There and back is no change.
        check("old", true, false, 2000, false);
        check("ne", false, false, 2100, false);
        check("old", true, false, 2150, false);
        check("old", true, false, 2250, true);
        // Who asks has the same judged once more,
        check("old", true, true, 2300, true);
        // and does not have judged what is being written.
        check("o", false, true, 2400, false);
        check("o", false, true, 2900, false);
        check("old and new", true, true, 2950, false);
        check("old and new", true, true, 3049, false);
        check("old and new", true, true, 3050, true);
    }

    #[test]
    fn what_never_stands_still_is_known_to() {
        let (start, mut settling) = (Instant::now(), Settling::new(0));
        let mut look = |there, milliseconds| {
            let now = start + Duration::from_millis(milliseconds);
            assert!(!settling.is_due(&there, true, false, now), "{milliseconds}");
            settling.is_restless(now)
        };
        for at in 1..60 {
            assert_eq!(look(at, 90 * at), 90 * (at - 1) >= 5000, "{at}");
        }
        // Back where it was, it rests.
        assert!(!look(0, 6000) && !look(1, 6090));
    }
}
