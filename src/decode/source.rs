//! Decodes a source: fetches the document attempt by attempt, hop by hop, and scans it as it arrives.

use super::{
    Approved, Asker, Deadline, Lending, Reply, Stopped, cpu_budget::CpuBudget,
    deadline::caller_was_slow, failing, run::Run,
};
use crate::{
    answer::{Fetch, Output},
    failure::{Code, Failure},
    fetch::{Asked, Conduct, Corrupt, Decision, Document, Error, Times, Visit},
    overload::Permit,
    policy::{ApprovedTarget, Route},
    scan::Summary,
    telemetry::{FetchResult, Metrics, Phase, RequestProgress, Retry},
};
use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::time::{sleep, timeout_at};

/// A document that decompresses to this many times its size looks like a decompression bomb.
const SUSPICIOUS: u64 = 100;

impl Run<'_> {
    pub(super) async fn source(
        &self,
        source: &Approved,
        permit: &mut Option<Permit>,
        reply: Reply<'_>,
    ) -> Result<Summary, Stopped> {
        let Asker { tenant, deadline, trail, .. } = self.asker;
        {
            let mut steps = trail.steps();
            steps.complete.get_or_insert_with(Instant::now);
        }
        // Whichever ends first counts: the deadline of the request or the time limit for fetching.
        let budget = self.decoder.limits.fetch_timeout;
        let until = Instant::now() + budget;
        let deadline = deadline.filter(|deadline| deadline.at <= until);
        let at = deadline.map_or(until, |deadline| deadline.at);
        let here = Mutex::new(source.target.clone());
        let mut fetching = Fetching::new(self, source, &here, at);
        let decode = fetching.decode(permit, reply);
        let decode = self.decoder.unless_stopped(tenant, Some(&here), decode);
        let done = match timeout_at(at.into(), decode).await {
            Ok(done) => done,
            Err(_) => Err(fetching.timed_out(deadline).into()),
        };
        done.map_err(|stopped| match stopped {
            Stopped::Failed(failure) => Stopped::Failed(Box::new(fetching.located(*failure))),
            unwritten => unwritten,
        })
    }
}

/// The fetch of one document, over all its attempts.
struct Fetching<'a> {
    run: &'a Run<'a>,
    source: &'a Approved,
    /// The target of the present request.
    here: &'a Mutex<ApprovedTarget>,
    began: Instant,
    /// When the fetch must have ended.
    until: Instant,
    /// The redirects of the present attempt.
    route: Route,
    /// How many attempts have begun.
    attempts: u32,
    /// The present attempt.
    attempt: Option<Attempt<'a>>,
    /// The phase times of each hop of earlier attempts.
    hops: Vec<Arc<Times>>,
    lending: Lending,
}

impl<'a> Fetching<'a> {
    fn new(
        run: &'a Run<'a>,
        source: &'a Approved,
        here: &'a Mutex<ApprovedTarget>,
        until: Instant,
    ) -> Self {
        let route = Route::new(source.target.clone(), run.decoder.limits.max_redirects);
        let (attempts, attempt) = (0, None);
        let (hops, lending) = (Vec::new(), Lending::default());
        let began = Instant::now();
        Self { run, source, here, began, until, route, attempts, attempt, hops, lending }
    }

    fn is_at(&self, target: &ApprovedTarget) {
        *self.here.lock().unwrap_or_else(PoisonError::into_inner) = target.clone();
    }

    async fn decode(
        &mut self,
        permit: &mut Option<Permit>,
        reply: Reply<'_>,
    ) -> Result<Summary, Stopped> {
        let run = self.run;
        let mut document = self.document(permit).await?;
        let mut scan_run = run.scan_run(document.charset, reply.form);
        let mut budget = CpuBudget::new(run.pool, run.asker.quota_key);
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue() {
            let chunk = document.chunk().await;
            let chunk = chunk.map_err(|error| self.broken_off(error))?;
            let Some(chunk) = chunk else { break };
            let arrived = self.arrived(chunk.len());
            match &mut document.gunzip {
                None => flow = run.scan(&mut scan_run, &mut budget, &chunk, reply.is_taken).await?,
                // Longer than any document within the limit can be compressed: padding without end.
                Some(_) if arrived > run.most_packed() => return Err(self.corrupt().into()),
                Some(gunzip) => {
                    let mut packed = &chunk[..];
                    while flow.is_continue() {
                        budget.begin().await;
                        let unpacked = gunzip.unpack(&mut packed);
                        let unpacked = unpacked.map_err(|Corrupt| self.corrupt())?;
                        let Some(bytes) = unpacked else { break };
                        flow = run.scan(&mut scan_run, &mut budget, bytes, reply.is_taken).await?;
                    }
                    budget.end().await;
                }
            }
        }
        if flow.is_continue()
            && let Some(gunzip) = &document.gunzip
        {
            gunzip.finish().map_err(|Corrupt| self.corrupt())?;
        }
        let (status, is_packed) = (document.status, document.gunzip.is_some());
        // The rest is not needed: the connection is reused or closed.
        drop(document);
        let bytes = self.arrived(0);
        let scanned = scan_run.end();
        let is_too_large = scanned.as_ref().is_ok_and(|it| run.is_too_large(&it.summary));
        self.end(FetchResult::Ok, if is_too_large { Conduct::Odd } else { Conduct::Good });
        let scanned = scanned?;
        if is_too_large {
            return Err(self.too_large(bytes).into());
        }
        let fetch = Fetch {
            status,
            attempts: self.attempts,
            redirects: self.redirects(),
            bytes: self.told_bytes(is_packed, bytes),
            final_source: self.route.target().shown(),
        };
        run.asker.trail.steps().secrets = scanned.summary.returned;
        Ok(scanned.finish(Some(&fetch), run.timing(&self.hops))?)
    }

    /// Makes attempts until the document begins to arrive, or a retry is not allowed.
    async fn document(&mut self, permit: &mut Option<Permit>) -> Result<Document, Failure> {
        let mut last = None;
        loop {
            let error = match self.ask(permit).await {
                Ok(document) => return Ok(document),
                Err(error) => error,
            };
            let visit = self.attempt.as_mut().map(|attempt| attempt.visit.take());
            let Some(visit) = visit else {
                // No request was sent. The error of the last attempt tells more, unless this is a denial.
                return Err(self.not_fetched(match (error, last) {
                    (denied @ Error::Denied(_), _) => denied,
                    (error, last) => last.unwrap_or(error),
                }));
            };
            let left = self.until.saturating_duration_since(Instant::now());
            let before = self.attempt.as_ref().map_or(&[][..], |attempt| &attempt.asked);
            let failed = |visit: Visit| visit.failed(&error, self.attempts, left, before);
            let decision = visit.and_then(failed);
            self.end(result_of(&error), Conduct::Unknown);
            if let Some(decision) = decision {
                self.run.decoder.metrics.retry(of_decision(decision));
            }
            let Some(Decision::Retried(pause)) = decision else {
                return Err(self.not_fetched(error));
            };
            let pause_ms = pause.as_millis();
            tracing::debug!(?error, self.attempts, pause_ms, "retrying the source");
            last = Some(error);
            self.lending.wait(permit, sleep(pause)).await;
        }
    }

    /// One attempt: follows redirects to the document.
    async fn ask(&mut self, permit: &mut Option<Permit>) -> Result<Document, Error> {
        let decoder = self.run.decoder;
        let is_retry = self.attempts > 0;
        if is_retry {
            self.route = Route::new(self.source.target.clone(), decoder.limits.max_redirects);
            self.is_at(self.route.target());
            // Its host may have been blocked in the meantime.
            self.route.target().still_allowed().map_err(Error::Denied)?;
        }
        loop {
            let visit =
                decoder.fetcher.visit(self.route.target(), self.run.asker.quota_key, is_retry);
            let visit = self.lending.wait(permit, visit).await?;
            let kept = visit.permit();
            let times = self.hop(visit);
            let clients = &self.source.reach.clients;
            match decoder.fetcher.get(clients, &self.route, kept, &times).await {
                Err(Error::Redirect(location)) => {
                    self.left(Conduct::Good);
                    self.route.follow(&location).map_err(Error::Denied)?;
                    self.is_at(self.route.target());
                }
                Ok(document) => {
                    let visit = self.attempt.as_mut().and_then(|attempt| attempt.visit.as_mut());
                    visit.into_iter().for_each(Visit::answered);
                    return Ok(document);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins a hop, and with the first hop an attempt.
    fn hop(&mut self, visit: Visit) -> Arc<Times> {
        let Self { run, attempts, began, .. } = self;
        let attempt = self.attempt.get_or_insert_with(|| {
            *attempts += 1;
            run.asker.trail.steps().attempts = Some(*attempts);
            Attempt::begin(&run.decoder.metrics, run.asker.trail, *began)
        });
        let times = Arc::default();
        attempt.hops.push(Arc::clone(&times));
        attempt.visit = Some(visit);
        times
    }

    /// Ends the visit to the present origin.
    fn left(&mut self, conduct: Conduct) {
        if let Some(attempt) = &mut self.attempt
            && let Some(visit) = attempt.visit.take()
        {
            attempt.asked.push(visit.over(conduct));
        }
    }

    /// Ends the present attempt.
    fn end(&mut self, result: FetchResult, conduct: Conduct) {
        self.left(conduct);
        if let Some(mut attempt) = self.attempt.take() {
            attempt.result = result;
            self.hops.extend_from_slice(&attempt.hops);
        }
    }

    /// Adds bytes that have arrived; returns their sum.
    fn arrived(&mut self, bytes: usize) -> u64 {
        let Some(attempt) = &mut self.attempt else { return 0 };
        attempt.bytes += bytes as u64;
        attempt.bytes
    }

    fn broken_off(&mut self, error: Error) -> Failure {
        let Some(slow) = caller_was_slow(self.run.asker.trail) else { return self.broken(error) };
        // The source is not to blame if it does not wait for a slow client.
        self.end(result_of(&error), Conduct::Unknown);
        slow
    }

    fn corrupt(&mut self) -> Failure {
        self.broken(Error::Corrupt("corrupt gzip".to_owned()))
    }

    fn broken(&mut self, error: Error) -> Failure {
        self.end(result_of(&error), error.conduct());
        self.not_fetched(error)
    }

    fn timed_out(&mut self, deadline: Option<Deadline>) -> Failure {
        if let Some(deadline) = deadline {
            return deadline.passed(self.run.asker.trail);
        }
        caller_was_slow(self.run.asker.trail).unwrap_or_else(|| {
            let budget = self.run.decoder.limits.fetch_timeout;
            let visit = self.attempt.as_ref().and_then(|attempt| attempt.visit.as_ref());
            let conduct = visit.map(|visit| visit.conduct_out_of_time(budget));
            self.end(FetchResult::Timeout, conduct.unwrap_or(Conduct::Unknown));
            let milliseconds = budget.as_millis();
            let detail = format!("the source did not send the document within {milliseconds} ms");
            Failure::new(Code::SourceTimeout, detail)
        })
    }

    fn not_fetched(&self, error: Error) -> Failure {
        if let Error::Denied(denied) = &error {
            self.run.decoder.metrics.security_event(denied.kind.as_str());
        }
        if let (Error::Crowded | Error::NotLookedUp, Some(pool)) = (&error, self.run.pool) {
            pool.permits.count_refusal();
        }
        failing::not_fetched(error)
    }

    fn too_large(&self, arrived: u64) -> Failure {
        let cap = self.run.cap;
        if self.run.asker.trail.steps().bytes > arrived.saturating_mul(SUSPICIOUS) {
            self.run.decoder.metrics.security_event("decompression");
        }
        let detail = format!(
            "the document is larger than {cap} bytes (max_document_bytes); with \
             allow_partial=true it is decoded up to that limit"
        );
        Failure::new(Code::DocumentTooLarge, detail)
    }

    /// The number of bytes that the caller is told. The compressed size depends on the values of the
    /// secrets, so a caller that may not see these is told the decompressed size.
    fn told_bytes(&self, is_packed: bool, arrived: u64) -> u64 {
        match is_packed && self.run.output != Output::Full {
            true => self.run.asker.trail.steps().bytes,
            false => arrived,
        }
    }

    fn redirects(&self) -> u32 {
        u32::try_from(self.route.redirects()).unwrap_or(u32::MAX)
    }

    /// Adds the attempt and the hop to a failure.
    fn located(&self, failure: Failure) -> Failure {
        let hop = Some(self.redirects()).filter(|hop| *hop > 0);
        Failure { attempts: Some(self.attempts), hop, ..failure }
    }
}

fn result_of(error: &Error) -> FetchResult {
    match error {
        Error::Denied(_) => FetchResult::Denied,
        Error::Name(_) | Error::Connect(_) | Error::Unable(_) => FetchResult::Connect,
        Error::Tls(_) => FetchResult::Tls,
        Error::ConnectTimeout | Error::FirstByteTimeout => FetchResult::Timeout,
        Error::Status(400..=499, _) => FetchResult::Status4xx,
        Error::Status(500..=599, _) => FetchResult::Status5xx,
        Error::Status(_, _)
        | Error::Redirect(_)
        | Error::Reset(_)
        | Error::Protocol(_)
        | Error::Corrupt(_)
        | Error::Unsupported(_) => FetchResult::Protocol,
        Error::CircuitOpen(_) | Error::Crowded | Error::NotLookedUp => FetchResult::Cancelled,
    }
}

fn of_decision(decision: Decision) -> Retry {
    match decision {
        Decision::Retried(_) => Retry::Retried,
        Decision::BudgetExhausted => Retry::BudgetExhausted,
        Decision::AttemptsExhausted => Retry::AttemptsExhausted,
        Decision::Deadline => Retry::Deadline,
    }
}

/// One attempt. Dropping it updates the metrics, however it ends.
struct Attempt<'a> {
    metrics: &'a Metrics,
    trail: &'a RequestProgress,
    /// When the first attempt began.
    fetch_began: Instant,
    /// When this one began.
    began: Instant,
    /// The visit to the present origin.
    visit: Option<Visit>,
    /// The origins of earlier hops.
    asked: Vec<Asked>,
    /// The phase times of each hop.
    hops: Vec<Arc<Times>>,
    bytes: u64,
    result: FetchResult,
}

impl<'a> Attempt<'a> {
    fn begin(metrics: &'a Metrics, trail: &'a RequestProgress, fetch_began: Instant) -> Self {
        Self {
            fetch_began,
            metrics,
            trail,
            began: Instant::now(),
            visit: None,
            asked: Vec::new(),
            hops: Vec::with_capacity(1),
            bytes: 0,
            result: FetchResult::Cancelled,
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.trail.steps().fetched = Some(self.fetch_began.elapsed());
        self.metrics.attempt(self.result, took);
        self.metrics.fetch_bytes.inc_by(self.bytes);
        for times in &self.hops {
            let parts = [
                (Phase::Dns, times.dns()),
                (Phase::Connect, times.connect()),
                (Phase::FirstByte, times.first_byte()),
                (Phase::Body, times.body()),
            ];
            for (phase, duration) in parts {
                if let Some(duration) = duration {
                    self.metrics.phase(phase, duration);
                }
            }
        }
    }
}
