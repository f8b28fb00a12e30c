//! When an origin that fails is left alone, and for how long.
//!
//! A circuit is told what came of the requests to one origin and what time it is; it
//! knows no clock and rolls no dice.

use std::time::{Duration, Instant};

/// When circuits open.
#[derive(Debug, Clone, Copy)]
pub struct CircuitSettings {
    /// So many failures in a row open one, or half of the last 20.
    pub failures: u32,
    /// For how long at first; each time that it does not help, twice as long.
    pub open_for: Duration,
}

/// How many results are looked back on.
const RECENT: u32 = 20;
/// No circuit is open for longer before the origin is tried again.
const LONGEST: Duration = Duration::from_secs(120);
/// Who comes during a probe may come back after this.
const PROBE: Duration = Duration::from_secs(1);

/// Whether an origin is asked.
#[derive(Debug)]
pub(super) struct Circuit {
    settings: CircuitSettings,
    state: State,
    /// How often it has closed again.
    closings: u32,
    in_a_row: u32,
    /// A bit for each of the last results, 1 for a failure, the latest in the lowest.
    recent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is asked.
    Closed,
    /// It is not, until that.
    Open { until: Instant, span: Duration },
    /// One request finds out how it is.
    Probing { span: Duration },
}

/// How a request may go to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// As one of many, after so many closings.
    Usual(u32),
    /// As the one that finds out how the origin is.
    Probe,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// The origin did what an origin does.
    Good,
    /// It failed.
    Bad,
    /// The head of the answer was good, and what came after it is no document: counts neither
    /// way, because one document says nothing of the origin's others. A probe needs no more than
    /// the head.
    Odd,
    /// Nobody waited for it, or it was not the origin's doing.
    Unknown,
}

impl Circuit {
    pub(super) fn new(settings: CircuitSettings) -> Self {
        Self { settings, state: State::Closed, closings: 0, in_a_row: 0, recent: 0 }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// How many failures came in a row.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Whether nothing is held against the origin.
    pub(super) fn is_spotless(&self) -> bool {
        self.state == State::Closed && self.recent == 0
    }

    /// Lets a request pass, or says when the next one may come.
    pub(super) fn pass(&mut self, now: Instant) -> Result<Pass, Duration> {
        match self.state {
            State::Closed => Ok(self.usual()),
            State::Open { until, span } if now >= until => {
                self.state = State::Probing { span };
                Ok(Pass::Probe)
            }
            _ => Err(self.refuses(now).unwrap_or(PROBE)),
        }
    }

    /// How a request passes that nothing depends on.
    pub(super) fn usual(&self) -> Pass {
        Pass::Usual(self.closings)
    }

    /// In what time a request may come, if none may now.
    pub(super) fn refuses(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open { until, .. } => {
                Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
            }
            State::Probing { .. } => Some(PROBE),
        }
    }

    /// A request that had passed is over.
    pub(super) fn note(&mut self, pass: Pass, conduct: Conduct, now: Instant) {
        match (pass, self.state, conduct) {
            // Somebody else has to find out, at once.
            (Pass::Probe, State::Probing { span }, Conduct::Unknown) => {
                self.state = State::Open { until: now, span };
            }
            (Pass::Probe, State::Probing { .. }, Conduct::Good | Conduct::Odd) => {
                let closings = self.closings.wrapping_add(1);
                *self = Self { closings, ..Self::new(self.settings) };
            }
            (Pass::Probe, State::Probing { span }, Conduct::Bad) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.open((span * 2).min(LONGEST), now);
            }
            // What was begun before it opened says nothing new.
            (Pass::Usual(closings), ..) if closings != self.closings => {}
            (Pass::Usual(_), State::Closed, Conduct::Good) => self.push(false),
            (Pass::Usual(_), State::Closed, Conduct::Bad) => {
                self.push(true);
                let many = self.recent.count_ones() >= RECENT / 2;
                if many || self.in_a_row >= self.settings.failures {
                    self.open(self.settings.open_for, now);
                }
            }
            (_, _, _) => {}
        }
    }

    fn push(&mut self, is_failure: bool) {
        self.recent = (self.recent << 1 | u32::from(is_failure)) & ((1 << RECENT) - 1);
        self.in_a_row = if is_failure { self.in_a_row.saturating_add(1) } else { 0 };
    }

    fn open(&mut self, span: Duration, now: Instant) {
        self.state = State::Open { until: now + span, span };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SETTINGS: CircuitSettings =
        CircuitSettings { failures: 5, open_for: Duration::from_secs(10) };

    /// A circuit, and the time as it goes by.
    struct Bench {
        circuit: Circuit,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { circuit: Circuit::new(SETTINGS), now: Instant::now() }
        }

        /// Requests that pass one after the other and end so.
        fn usual(&mut self, count: u32, conduct: Conduct) {
            for _ in 0..count {
                let pass = self.circuit.pass(self.now).unwrap();
                assert_ne!(pass, Pass::Probe);
                self.circuit.note(pass, conduct, self.now);
            }
        }

        fn refused_for(&mut self, wait: Duration) {
            assert_eq!(self.circuit.refuses(self.now), Some(wait));
            assert_eq!(self.circuit.pass(self.now), Err(wait));
        }

        fn probe(&mut self, conduct: Conduct) {
            assert_eq!(self.circuit.pass(self.now), Ok(Pass::Probe));
            self.refused_for(PROBE);
            self.circuit.note(Pass::Probe, conduct, self.now);
        }
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let mut bench = Bench::new();
        bench.usual(4, Conduct::Bad);
        bench.usual(1, Conduct::Good);
        bench.usual(4, Conduct::Bad);
        bench.usual(1, Conduct::Unknown);
        assert_eq!((bench.circuit.in_a_row(), bench.circuit.is_spotless()), (4, false));
        bench.usual(1, Conduct::Bad);

        bench.refused_for(10 * SECOND);
        bench.now += 9 * SECOND;
        bench.refused_for(SECOND);
        bench.now += SECOND;
        assert_eq!(bench.circuit.refuses(bench.now), None);
        bench.probe(Conduct::Good);
        assert!(bench.circuit.is_spotless());
        bench.usual(4, Conduct::Bad);
    }

    #[test]
    fn half_of_the_last_twenty_open_it() {
        let mut bench = Bench::new();
        for _ in 0..4 {
            bench.usual(1, Conduct::Bad);
            bench.usual(1, Conduct::Good);
        }
        // Those leave one by one.
        bench.usual(13, Conduct::Good);
        for _ in 0..8 {
            bench.usual(1, Conduct::Bad);
            bench.usual(1, Conduct::Good);
        }
        bench.usual(1, Conduct::Bad);
        bench.usual(1, Conduct::Good);
        assert_eq!(bench.circuit.recent.count_ones(), 9);
        bench.usual(1, Conduct::Bad);
        bench.refused_for(10 * SECOND);
    }

    #[test]
    fn a_circuit_that_did_not_help_is_open_for_twice_as_long_up_to_two_minutes() {
        let mut bench = Bench::new();
        bench.usual(5, Conduct::Bad);
        for span in [10, 20, 40, 80, 120, 120] {
            bench.refused_for(span * SECOND);
            bench.now += span * SECOND;
            bench.probe(Conduct::Bad);
        }
        bench.now += 120 * SECOND;
        bench.probe(Conduct::Good);
        bench.usual(5, Conduct::Bad);
        bench.refused_for(10 * SECOND);
    }

    #[test]
    fn a_probe_that_nobody_waited_for_leaves_it_to_the_next() {
        let mut bench = Bench::new();
        bench.usual(5, Conduct::Bad);
        bench.now += 10 * SECOND;
        bench.probe(Conduct::Unknown);
        bench.probe(Conduct::Bad);
        bench.refused_for(20 * SECOND);
    }

    #[test]
    fn odd_documents_count_neither_way() {
        let mut bench = Bench::new();
        bench.usual(40, Conduct::Odd);
        assert!(bench.circuit.is_spotless());
        bench.usual(4, Conduct::Bad);
        bench.usual(40, Conduct::Odd);
        assert_eq!(bench.circuit.in_a_row(), 4);
        bench.usual(1, Conduct::Bad);
        bench.refused_for(10 * SECOND);

        bench.now += 10 * SECOND;
        bench.probe(Conduct::Odd);
        assert!(bench.circuit.is_spotless());
    }

    #[test]
    fn what_was_begun_before_it_opened_changes_nothing() {
        let mut bench = Bench::new();
        let old = bench.circuit.pass(bench.now).unwrap();
        bench.usual(5, Conduct::Bad);
        for conduct in [Conduct::Good, Conduct::Bad, Conduct::Odd, Conduct::Unknown] {
            bench.circuit.note(old, conduct, bench.now);
            bench.refused_for(10 * SECOND);
        }
        bench.now += 10 * SECOND;
        assert_eq!(bench.circuit.pass(bench.now), Ok(Pass::Probe));
        bench.circuit.note(old, Conduct::Good, bench.now);
        bench.refused_for(PROBE);
        bench.circuit.note(Pass::Probe, Conduct::Good, bench.now);
        // Nor when it has closed again.
        (0..20).for_each(|_| bench.circuit.note(old, Conduct::Bad, bench.now));
        assert!(bench.circuit.is_spotless());
    }
}
