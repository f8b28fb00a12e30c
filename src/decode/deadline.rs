//! The end of the time that a request has, and whose fault it is that it has come.

use super::Stopped;
use crate::{
    failure::{Code, Failure, Outcome},
    telemetry::Trail,
};
use std::time::{Duration, Instant};

/// When a request must be over.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// How much time the caller gave, where that is the shorter one.
    pub given: Option<Duration>,
}

/// Work that must be over at a deadline.
pub(super) async fn within<T>(
    deadline: Option<Deadline>,
    trail: &Trail,
    work: impl Future<Output = Result<T, Stopped>>,
) -> Result<T, Stopped> {
    let Some(deadline) = deadline else { return work.await };
    match tokio::time::timeout_at(deadline.at.into(), work).await {
        Ok(done) => done,
        Err(_) => Err(deadline.passed(trail).into()),
    }
}

impl Deadline {
    /// The caller's patience from which on a deadline that passes is a failure of ours.
    const PATIENT: Duration = Duration::from_secs(2);

    /// The failure of a request whose deadline has passed.
    ///
    /// A deadline of the caller's own is named also where it was the body that took too long:
    /// that caller may as well give more time as send faster.
    pub fn passed(self, trail: &Trail) -> Failure {
        if let Some(given) = self.given
            && trail.steps().uploading
        {
            let milliseconds = given.as_millis();
            let detail = format!(
                "the body did not arrive within the {milliseconds} ms of X-Request-Timeout-Ms; \
                 give more time there, or send the body faster"
            );
            let failure = Failure::new(Code::DeadlineExceeded, detail);
            // However long that was, the service waited for the caller.
            return Failure { outcome: Outcome::Rejected, ..failure };
        }
        if let Some(failure) = caller_was_slow(trail) {
            return failure;
        }
        match self.given {
            Some(given) => {
                let milliseconds = given.as_millis();
                let detail = format!("the {milliseconds} ms of X-Request-Timeout-Ms have passed");
                let failure = Failure::new(Code::DeadlineExceeded, detail);
                let patient = given >= Self::PATIENT;
                Failure {
                    outcome: if patient { Outcome::Failed } else { Outcome::Rejected },
                    ..failure
                }
            }
            None => {
                let detail = "the request took longer than the service allows; try again later";
                Failure::new(Code::ServiceTimeout, detail)
            }
        }
    }
}

/// A client that has let its answer wait so long has used up its time by itself.
const SLOW_READER: Duration = Duration::from_secs(1);

/// What it means that time has run out, where it was the client that took it.
pub(super) fn caller_was_slow(trail: &Trail) -> Option<Failure> {
    let steps = trail.steps();
    if steps.uploading {
        return Some(too_slow());
    }
    let detail =
        "the response was not read in time: read it as it arrives, or ask for fewer secrets";
    (steps.waited_for_reader() >= SLOW_READER).then(|| Failure::new(Code::RequestTimeout, detail))
}

/// A request that does not arrive.
pub fn too_slow() -> Failure {
    let detail = "the body did not arrive in time: send it faster, or send a smaller one";
    Failure::new(Code::RequestTimeout, detail)
}
