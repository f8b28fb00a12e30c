//! The record of one request.
//!
//! A record is opened with the head of a request. The last byte of the response, a panic, or the
//! client leaving closes it. Closing writes the log line and updates the metrics from the same values,
//! so they agree.

use super::{
    Input, Metrics, RecentFailure, RecentFailures, RequestProgress, TenantMetrics, labels::no_code,
    log, progress::Steps,
};
use crate::failure::{Code, Failure, Fault, Outcome};
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tracing::Level;

/// What is known from the head of a request.
#[derive(Debug, Clone)]
pub struct Head {
    /// The caller's request id, or a new one.
    pub request_id: String,
    /// The address of the client, as far as trusted proxies tell.
    pub client: IpAddr,
    /// The caller's trace id, if there is one.
    pub trace_id: Option<String>,
    /// A standard method, or `other`.
    pub method: &'static str,
    /// The route, or `none`.
    pub route: &'static str,
    /// Whether it is a decode.
    pub is_decode: bool,
    /// Whether it is a probe or a scrape, which do not count as in flight.
    pub is_probe: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The last byte was handed to the connection.
    Complete,
    /// The client left before that.
    Abandoned,
}

/// The record of one request. Dropping it unclosed means that the client left.
pub struct AccessRecord {
    head: Head,
    began: Instant,
    /// The progress of its work.
    pub trail: Arc<RequestProgress>,
    /// The metrics of its tenant, once that is known.
    tenant: OnceLock<Arc<TenantMetrics>>,
    verdict: Mutex<Verdict>,
    /// Whether it counts as in flight.
    is_in_flight: AtomicBool,
    metrics: Arc<Metrics>,
    recent: Arc<RecentFailures>,
}

#[derive(Default)]
struct Verdict {
    status: Option<u16>,
    failure: Option<Failure>,
    /// Whether the response is an answer and not a problem.
    has_answer: bool,
    closed: bool,
}

/// The status label if the client left before the response.
const CLIENT_LEFT: u16 = 499;

impl AccessRecord {
    /// Opens the record of a request whose head has just arrived.
    pub fn open(head: Head, metrics: Arc<Metrics>, recent: Arc<RecentFailures>) -> Arc<Self> {
        let is_in_flight = AtomicBool::new(!head.is_probe);
        if !head.is_probe {
            metrics.in_flight.inc();
        }
        Arc::new(Self {
            head,
            began: Instant::now(),
            trail: Arc::default(),
            tenant: OnceLock::new(),
            verdict: Mutex::default(),
            is_in_flight,
            metrics,
            recent,
        })
    }

    /// What is known from the head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// When the head had arrived.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Sets the tenant.
    pub fn is_of(&self, tenant: &Arc<TenantMetrics>) {
        self.tenant.get_or_init(|| Arc::clone(tenant));
    }

    fn tenant(&self) -> &Arc<TenantMetrics> {
        self.tenant.get().unwrap_or(&self.metrics.callers.anonymous)
    }

    /// The metrics that this record updates.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Stops counting it as in flight; closing does that at the latest.
    pub fn leave_flight(&self) {
        if self.is_in_flight.swap(false, Ordering::Relaxed) {
            self.metrics.in_flight.dec();
        }
    }

    /// Notes the status of the response.
    pub fn answered(&self, status: u16) {
        let mut verdict = self.verdict();
        verdict.status = Some(status);
        verdict.has_answer = verdict.failure.is_none();
    }

    /// Notes a failure; only the first one counts.
    pub fn failed(&self, failure: Failure) {
        self.verdict().failure.get_or_insert(failure);
    }

    /// Writes the log line and updates the metrics. Only the first call does anything.
    pub fn close(&self, ending: Ending) {
        let (status, failure, has_answer) = {
            let mut verdict = self.verdict();
            if verdict.closed {
                return;
            }
            verdict.closed = true;
            (verdict.status, verdict.failure.take(), verdict.has_answer)
        };
        let is_cut_off =
            ending == Ending::Abandoned && self.metrics.cutting_off.load(Ordering::Relaxed);
        let failure = failure.or_else(|| {
            let detail = "the service shut down before the answer was complete";
            is_cut_off.then(|| Failure::new(Code::ShuttingDown, detail))
        });
        let duration = self.began.elapsed();
        let Head { method, route, is_decode, .. } = self.head;
        self.leave_flight();
        let outcome = match (&failure, ending) {
            (Some(failure), _) => failure.outcome,
            (None, Ending::Complete) => Outcome::Success,
            (None, Ending::Abandoned) => Outcome::Cancelled,
        };
        // A client that has left did not get the problem.
        let reached = has_answer || outcome != Outcome::Cancelled;
        let status = status.filter(|_| reached).unwrap_or(CLIENT_LEFT);
        self.metrics.request(method, route, status, duration);
        // The client was not told of it.
        let failure = failure.filter(|_| outcome != Outcome::Cancelled);
        let mut steps = std::mem::take(&mut *self.trail.steps());
        if !has_answer {
            // No secret was sent.
            steps.secrets = 0;
        }
        if is_decode {
            self.count_decode(outcome, failure.as_ref(), &steps);
        }
        self.write_line(status, outcome, failure.as_ref(), &steps, duration);
        if let Some(failure) = failure {
            self.recent.push(self.recent_failure(status, failure, steps, duration));
        }
    }

    fn verdict(&self) -> MutexGuard<'_, Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_decode(&self, outcome: Outcome, failure: Option<&Failure>, steps: &Steps) {
        let metrics = &self.metrics;
        let input = steps.input.unwrap_or(Input::Content);
        let (code, blame) = (failure.map(|of| of.code), failure.map(|of| of.blame));
        metrics.decode(outcome, code, blame, input).inc();
        self.tenant().decoded(outcome);
        if let Some(rule) = &steps.rule {
            metrics.callers.rule_decoded(rule, outcome);
        }
        let took = steps.complete.unwrap_or(self.began).elapsed();
        metrics.decode_took(outcome, input, took);
        metrics.secrets_recovered.inc_by(steps.secrets);
        if outcome == Outcome::Success {
            metrics.secrets_per_decode.observe(steps.secrets as f64);
            metrics.document(input, steps.bytes);
        }
    }

    fn write_line(
        &self,
        status: u16,
        outcome: Outcome,
        failure: Option<&Failure>,
        steps: &Steps,
        duration: Duration,
    ) {
        /// tracing fixes the level of an event in the source.
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: "blueprint_decoder::request",
                    $level,
                    request_id = self.head.request_id.as_str(),
                    trace_id = self.head.trace_id.as_deref(),
                    tenant = self.tenant().name.as_str(),
                    method = self.head.method,
                    route = self.head.route,
                    status,
                    code = failure.map_or_else(|| no_code(outcome), |of| of.code.as_str()),
                    outcome = outcome.as_str(),
                    blame = failure.map_or("none", |of| of.blame.as_str()),
                    reason = failure.and_then(|of| of.reason.as_deref()),
                    duration_ms = milliseconds(duration),
                    secrets_recovered = self.head.is_decode.then_some(steps.secrets),
                    fetch_duration_ms = steps.fetched.map(milliseconds),
                    bytes = self.head.is_decode.then_some(steps.bytes),
                    attempts = steps.attempts,
                    rule = steps.rule.as_deref(),
                    source_host = steps.source_host.as_deref(),
                    "request"
                )
            };
        }
        match log::level_of(failure.map(|of| of.blame)) {
            Level::ERROR => line!(Level::ERROR),
            Level::WARN => line!(Level::WARN),
            _ => line!(Level::INFO),
        }
    }

    fn recent_failure(
        &self,
        status: u16,
        failure: Failure,
        steps: Steps,
        duration: Duration,
    ) -> RecentFailure {
        RecentFailure {
            time: SystemTime::now(),
            request_id: self.head.request_id.clone(),
            tenant: self.tenant().name.clone(),
            method: self.head.method,
            route: self.head.route,
            status,
            code: failure.code.as_str(),
            outcome: failure.outcome.as_str(),
            blame: failure.blame.as_str(),
            // Without the pointer, which contains names chosen by the caller.
            detail: match <[Fault; 1]>::try_from(failure.faults) {
                Ok([fault]) => fault.detail,
                Err(_) => failure.detail,
            },
            reason: failure.reason,
            source_host: steps.source_host,
            rule: steps.rule,
            source_status: failure.source_status,
            attempts: steps.attempts,
            duration_ms: milliseconds(duration),
        }
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        self.close(Ending::Abandoned);
    }
}

/// Milliseconds with three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(is_decode: bool) -> Arc<AccessRecord> {
        let head = Head {
            request_id: "id".to_owned(),
            client: IpAddr::from([127, 0, 0, 1]),
            trace_id: None,
            method: "POST",
            route: "/decode",
            is_decode,
            is_probe: false,
        };
        AccessRecord::open(head, Arc::new(Metrics::new(&[]).unwrap()), Arc::default())
    }

    fn count(record: &AccessRecord, line: &str) -> usize {
        let text = String::from_utf8(record.metrics.encode(true).unwrap()).unwrap();
        text.lines().filter(|found| *found == line).count()
    }

    #[test]
    fn a_record_is_written_once() {
        let told = record(true);
        told.answered(200);
        told.close(Ending::Complete);
        told.failed(Failure::new(Code::Internal, "late"));
        told.close(Ending::Abandoned);

        let success = "decoder_decodes_total{blame=\"none\",code=\"ok\",input=\"content\",\
                       outcome=\"success\"} 1";
        assert_eq!(count(&told, success), 1);
        assert_eq!(count(&told, "decoder_http_requests_in_flight 0"), 1);
        assert!(told.recent.newest_first().is_empty());
    }

    #[test]
    fn the_first_failure_counts_also_when_the_client_leaves() {
        let told = record(true);
        told.failed(Failure::new(Code::SourceFailed, "first"));
        told.failed(Failure::new(Code::Internal, "second"));
        told.close(Ending::Abandoned);

        let failures = told.recent.newest_first();
        assert_eq!(failures.len(), 1);
        assert_eq!((failures[0].code, failures[0].status), ("source_failed", 499));
    }

    #[test]
    fn a_record_that_is_dropped_was_abandoned() {
        let told = record(true);
        let metrics = Arc::clone(told.metrics());
        drop(told);

        let text = String::from_utf8(metrics.encode(true).unwrap()).unwrap();
        let cancelled = "decoder_decodes_total{blame=\"none\",code=\"cancelled\",\
                         input=\"content\",outcome=\"cancelled\"} 1";
        assert!(text.lines().any(|line| line == cancelled), "{text}");
    }
}
