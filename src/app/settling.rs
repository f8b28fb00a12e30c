//! When what is being written may be taken for written.

use std::time::{Duration, Instant};

/// What has stood so long is written,
pub(super) const SHORT: Duration = Duration::from_millis(100);
/// and what does not look as if it were, when it has stood so long.
pub(super) const LONG: Duration = Duration::from_millis(550);

/// Watches what changes, and says when it is to be judged anew. Half of what is being written
/// may look like a whole.
pub(super) struct Settling<T> {
    judged: T,
    /// What is there instead, and since when.
    seen: Option<(T, Instant)>,
}

impl<T: PartialEq + Clone> Settling<T> {
    /// This was judged.
    pub(super) fn new(judged: T) -> Self {
        Self { judged, seen: None }
    }

    /// What was judged last.
    pub(super) fn last(&self) -> &T {
        &self.judged
    }

    /// This was judged by now.
    pub(super) fn judged(&mut self, judged: T) {
        *self = Self::new(judged);
    }

    /// Whether what is there is to be judged: it is another than was judged, and has been there
    /// for a while, which is a longer one where it does not seem to be whole.
    pub(super) fn has_settled(&mut self, there: &T, is_whole: bool, now: Instant) -> bool {
        if *there == self.judged {
            self.seen = None;
            return false;
        }
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
        let mut check = |there, is_whole, milliseconds, expected| {
            let now = start + Duration::from_millis(milliseconds);
            assert_eq!(settling.has_settled(&there, is_whole, now), expected, "{milliseconds}");
            if expected {
                settling.judged(there);
            }
        };
        check("old", true, 0, false);
        check("n", true, 150, false);
        check("new", true, 300, false);
        check("new", true, 399, false);
        check("new", true, 400, true);
        check("new", true, 550, false);
        // Half of something, perhaps.
        check("ne", false, 700, false);
        check("ne", false, 1249, false);
        check("new", true, 1300, false);
        check("ne", false, 1400, false);
        check("ne", false, 1950, true);
        // There and back is no change.
        check("old", true, 2000, false);
        check("ne", false, 2100, false);
        check("old", true, 2150, false);
        check("old", true, 2250, true);
    }
}
