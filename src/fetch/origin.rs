//! What is remembered of one origin: how it did, and how many requests are there now.

use super::{
    circuit::{Circuit, CircuitSettings, Conduct, Pass, State},
    retry::Budget,
};
use crate::{
    overload::{Admission, Permit, PermitPool, PoolLimits},
    quota_key::QuotaKey,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How many requests may wait for one origin.
pub(super) const WAITING: usize = 512;

/// An origin, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownOrigin {
    /// Scheme, host and port.
    pub origin: String,
    /// `closed`; `open`; `due`, where the next request finds out how it is; or `probing`, where
    /// one does.
    pub circuit: &'static str,
    /// Failures in a row.
    pub failures: u32,
    /// How long it is still left alone.
    pub open_for: Option<Duration>,
    /// Requests under way.
    pub in_flight: usize,
}

/// What is remembered of an origin.
pub(super) struct Origin {
    name: String,
    pub(super) permits: PermitPool,
    state: Mutex<Remembered>,
}

pub(super) struct Remembered {
    pub(super) circuit: Option<Circuit>,
    pub(super) budget: Budget,
    asked: Instant,
}

/// Why an origin is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is left alone for so long.
    Open(Duration),
    /// Too many wait for it.
    Crowd,
}

impl Origin {
    pub(super) fn new(
        name: String,
        max_per_origin: usize,
        circuit: Option<CircuitSettings>,
    ) -> Self {
        let now = Instant::now();
        let (circuit, budget) = (circuit.map(Circuit::new), Budget::new(now));
        let bounds = PoolLimits {
            permits: max_per_origin,
            queue: WAITING,
            // Each fetch has a deadline of its own.
            max_wait: None,
            keeps_reserve: true,
        };
        Self {
            name,
            permits: PermitPool::new(bounds, None),
            state: Mutex::new(Remembered { circuit, budget, asked: now }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The less, the sooner it is forgotten: what is held against it, and when it was asked.
    pub(super) fn worth(&self) -> (bool, bool, Instant) {
        let state = self.state();
        let circuit = state.circuit.as_ref();
        let is_open = circuit.is_some_and(|circuit| circuit.state() != State::Closed);
        (is_open, !circuit.is_none_or(Circuit::is_spotless), state.asked)
    }

    /// A permit for a request of a caller, once there is one.
    pub(super) async fn permit(&self, caller: QuotaKey) -> Result<Permit, Refused> {
        match self.permits.request(caller) {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Refused(_) => Err(Refused::Crowd),
            Admission::Queued(waiter) => {
                self.let_wait()?;
                waiter.permit().await.map_err(|_| Refused::Crowd)
            }
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Remembered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits for what would be refused then.
    fn let_wait(&self) -> Result<(), Refused> {
        let state = self.state();
        let refuses = state.circuit.as_ref().and_then(|circuit| circuit.refuses(Instant::now()));
        refuses.map_or(Ok(()), |wait| Err(Refused::Open(jittered(wait))))
    }

    pub(super) fn pass(&self, is_retry: bool) -> Result<Pass, Refused> {
        let (mut state, now) = (self.state(), Instant::now());
        state.asked = now;
        let pass = match &mut state.circuit {
            None => Pass::Usual(0),
            Some(circuit) => circuit.pass(now).map_err(|wait| Refused::Open(jittered(wait)))?,
        };
        // Who is turned away adds nothing to what may be said again.
        if !is_retry {
            state.budget.request(now);
        }
        Ok(pass)
    }

    /// How a request passes that nothing depends on.
    pub(super) fn usual(&self) -> Pass {
        self.state().circuit.as_ref().map_or(Pass::Usual(0), Circuit::usual)
    }

    pub(super) fn is_left_alone(&self, now: Instant) -> bool {
        let state = self.state();
        state.circuit.as_ref().is_some_and(|circuit| circuit.refuses(now).is_some())
    }

    /// Returns whether it is left alone from now on, or no longer, if that has changed.
    pub(super) fn note(&self, pass: Pass, conduct: Conduct) -> Option<bool> {
        let mut state = self.state();
        let circuit = state.circuit.as_mut()?;
        let was_closed = circuit.state() == State::Closed;
        circuit.note(pass, conduct, Instant::now());
        let is_closed = circuit.state() == State::Closed;
        (was_closed != is_closed).then_some(!is_closed)
    }

    pub(super) fn shown(&self, now: Instant) -> ShownOrigin {
        let state = self.state();
        let circuit = state.circuit.as_ref();
        let (name, open_for) = match circuit.map_or(State::Closed, Circuit::state) {
            State::Closed => (CLOSED, None),
            State::Open { until, .. } if until <= now => ("due", None),
            State::Open { until, .. } => ("open", Some(until - now)),
            State::Probing { .. } => ("probing", None),
        };
        ShownOrigin {
            origin: self.name.clone(),
            circuit: name,
            failures: circuit.map_or(0, Circuit::in_a_row),
            open_for,
            in_flight: self.permits.in_use(),
        }
    }
}

pub(super) const CLOSED: &str = "closed";

/// Those who are told the same time do not come back at the same time.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + fastrand::f64() / 2.0)
}
