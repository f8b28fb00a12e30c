//! A request to an origin: who has one may ask, and says what came of it.

use super::{
    Error,
    circuit::{Circuit, Conduct, Pass},
    origin::Origin,
    origins::Origins,
    retry::{Decision, Failed},
};
use crate::{overload::Permit, quota_key::QuotaKey};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A permit among the requests to an origin, until its last clone is dropped: a lookup that
/// nobody can give up has one, too.
#[derive(Clone)]
pub struct OriginPermit(Arc<Permit>);

impl OriginPermit {
    /// Whose it is.
    pub(super) fn caller(&self) -> QuotaKey {
        self.0.key()
    }
}

/// A request to an origin, from before it is sent until all of its answer is there.
pub struct Visit {
    origins: Arc<Origins>,
    origin: Arc<Origin>,
    pub(super) pass: Pass,
    permit: OriginPermit,
    began: Instant,
    has_answered: bool,
    is_noted: bool,
}

/// An origin that was asked, and may have to be again.
pub struct Asked(Arc<Origin>);

impl Visit {
    pub(super) fn begin(
        origins: Arc<Origins>,
        origin: Arc<Origin>,
        pass: Pass,
        permit: Permit,
    ) -> Self {
        let (permit, began) = (OriginPermit(Arc::new(permit)), Instant::now());
        Self { origins, origin, pass, permit, began, has_answered: false, is_noted: false }
    }

    /// How long it has taken.
    fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// How the origin behaved if the time of `budget` for the fetch is over before all of the
    /// document is there. A head that is missing is its fault, unless others had most of the time.
    pub fn conduct_out_of_time(&self, budget: Duration) -> Conduct {
        match (self.has_answered, self.age() >= budget / 2) {
            (true, _) => Conduct::Odd,
            (false, true) => Conduct::Bad,
            (false, false) => Conduct::Unknown,
        }
    }

    /// Its permit, to be kept by what cannot be given up.
    pub fn permit(&self) -> OriginPermit {
        self.permit.clone()
    }

    /// The head of a document is there. If this finds out how the origin is, that is known
    /// now, however long whoever asked takes to read on.
    pub fn answered(&mut self) {
        self.has_answered = true;
        if self.pass == Pass::Probe {
            self.tell(Conduct::Good);
            self.pass = self.origin.usual();
        }
    }

    /// It is over, and the origin did so.
    pub fn over(mut self, conduct: Conduct) -> Asked {
        self.note(conduct);
        Asked(Arc::clone(&self.origin))
    }

    /// It failed for the so-manieth time, with so much time left: what becomes of the
    /// document, where the failure is one that may pass. Those who were asked before in the
    /// same attempt are asked again, too.
    pub fn failed(
        mut self,
        error: &Error,
        attempts: u32,
        left: Duration,
        before: &[Asked],
    ) -> Option<Decision> {
        self.note(error.conduct());
        let retry_after = match error {
            Error::Status(_, retry_after) => *retry_after,
            _ => None,
        };
        let most = self.origins.settings.attempts;
        let failed = Failed { attempts, most, retry_after, left, roll: fastrand::f64() };
        error.may_pass().then(|| self.decide(failed, before))
    }

    fn decide(&self, failed: Failed, before: &[Asked]) -> Decision {
        let decision = self.decide_here(failed);
        let is_other = |asked: &&Asked| !Arc::ptr_eq(&asked.0, &self.origin);
        let mut others = before.iter().filter(is_other);
        let pays = |asked: &Asked| asked.0.state().budget.pay(Instant::now());
        match decision {
            Decision::Retried(_) if !others.all(pays) => Decision::BudgetExhausted,
            decision => decision,
        }
    }

    fn decide_here(&self, failed: Failed) -> Decision {
        let (mut state, now) = (self.origin.state(), Instant::now());
        let is_open = |circuit: &Circuit| circuit.refuses(now).is_some();
        if failed.attempts < failed.most && state.circuit.as_ref().is_some_and(is_open) {
            return Decision::BudgetExhausted;
        }
        failed.decide(&mut state.budget, now)
    }

    fn note(&mut self, conduct: Conduct) {
        if !std::mem::replace(&mut self.is_noted, true) {
            self.tell(conduct);
        }
    }

    fn tell(&self, conduct: Conduct) {
        let Some(is_open) = self.origin.note(self.pass, conduct) else { return };
        let origin = self.origin.name();
        if is_open {
            tracing::warn!(origin, "circuit opened: the origin keeps failing");
        } else {
            tracing::info!(origin, "circuit closed: the origin has recovered");
        }
        self.origins.recount();
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.note(Conduct::Unknown);
    }
}
