//! The deadline of a request, and whose fault it is when it passes.

use super::Stopped;
use crate::{
    failure::{Code, Failure, Outcome},
    telemetry::RequestProgress,
};
use std::time::{Duration, Instant};

/// When a request must have ended.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// The time that the caller allowed, if it is shorter than `server.request_timeout`.
    pub given: Option<Duration>,
}

/// Runs work until a deadline.
pub(super) async fn within<T>(
    deadline: Option<Deadline>,
    trail: &RequestProgress,
    work: impl Future<Output = Result<T, Stopped>>,
) -> Result<T, Stopped> {
    let Some(deadline) = deadline else { return work.await };
    match tokio::time::timeout_at(deadline.at.into(), work).await {
        Ok(done) => done,
        Err(_) => Err(deadline.passed(trail).into()),
    }
}

impl Deadline {
    /// If a caller allows at least this much time, a passed deadline is a failure of the service.
    const PATIENT: Duration = Duration::from_secs(2);

    /// The failure of a request whose deadline has passed.
    ///
    /// The caller's own deadline is named even if its body was slow, because the caller can allow more
    /// time or send faster.
    pub fn passed(self, trail: &RequestProgress) -> Failure {
        if let Some(given) = self.given
            && trail.steps().uploading
        {
            let milliseconds = given.as_millis();
            let detail = format!(
                "the body did not arrive within the {milliseconds} ms of X-Request-Timeout-Ms; \
                 give more time there, or send the body faster"
            );
            let failure = Failure::new(Code::DeadlineExceeded, detail);
            // The service waited for the caller, however long that was.
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

/// A client that has not read its answer for this long has itself used up the time.
const SLOW_READER: Duration = Duration::from_secs(1);

/// The failure if the client has used up the time: its upload or its reading was slow.
pub(super) fn caller_was_slow(trail: &RequestProgress) -> Option<Failure> {
    let steps = trail.steps();
    if steps.uploading {
        return Some(too_slow());
    }
    let detail =
        "the response was not read in time: read it as it arrives, or ask for fewer secrets";
    (steps.waited_for_reader() >= SLOW_READER).then(|| Failure::new(Code::RequestTimeout, detail))
}

/// The failure for a body that does not arrive in time.
pub fn too_slow() -> Failure {
    let detail = "the body did not arrive in time: send it faster, or send a smaller one";
    Failure::new(Code::RequestTimeout, detail)
}
