//! Decoding what stands at a URL.

use super::{Deadline, Reply, Stopped, deadline::caller_was_slow, failing, run::Run, turn::Turns};
use crate::{
    answer::Fetch,
    failure::{Code, Failure},
    fetch::{self, Corrupt, Document, Times},
    policy::{ApprovedTarget, Route},
    scan::Summary,
    telemetry::{FetchResult, Metrics, Phase, Trail},
};
use std::{ops::ControlFlow, sync::Arc, time::Instant};

/// An unpacked document this much larger than what arrived looks like a bomb.
const SUSPICIOUS: u64 = 100;

impl Run<'_> {
    pub(super) async fn source(
        &self,
        target: &ApprovedTarget,
        deadline: Option<Deadline>,
        reply: Reply<'_>,
    ) -> Result<Summary, Stopped> {
        {
            let mut steps = self.trail.steps();
            steps.complete.get_or_insert_with(Instant::now);
            steps.attempts = Some(1);
        }
        // Of the deadline and the budget for fetching, the shorter one has its say.
        let budget = self.decoder.limits.fetch_timeout;
        let until = Instant::now() + budget;
        let deadline = deadline.filter(|deadline| deadline.at <= until);
        let at = deadline.map_or(until, |deadline| deadline.at);
        let mut attempt = Attempt::begin(&self.decoder.metrics, self.trail);
        let route = Route::new(target.clone(), self.decoder.limits.max_redirects);
        let fetched = self.fetched(route, reply, &mut attempt);
        if let Ok(done) = tokio::time::timeout_at(at.into(), fetched).await {
            return done;
        }
        let failure = match deadline {
            Some(deadline) => deadline.passed(self.trail),
            None => caller_was_slow(self.trail).unwrap_or_else(|| {
                attempt.result = FetchResult::Timeout;
                let milliseconds = budget.as_millis();
                let detail = format!("the document was not there within {milliseconds} ms");
                Failure::new(Code::SourceTimeout, detail)
            }),
        };
        Err(Failure { attempts: Some(1), ..failure }.into())
    }

    /// One attempt.
    async fn fetched(
        &self,
        mut route: Route,
        reply: Reply<'_>,
        attempt: &mut Attempt<'_>,
    ) -> Result<Summary, Stopped> {
        let mut document = self.document(&mut route, attempt).await?;
        let mut pass = self.pass(document.charset, reply.form);
        let mut turns = Turns::new(self.pool);
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue() {
            let chunk = document.chunk().await;
            let chunk = chunk.map_err(|error| self.not_fetched(error, attempt))?;
            let Some(chunk) = chunk else { break };
            attempt.bytes += chunk.len() as u64;
            match &mut document.gunzip {
                None => flow = self.scan(&mut pass, &mut turns, &chunk, reply.is_taken).await?,
                Some(gunzip) => {
                    let mut packed = &chunk[..];
                    while flow.is_continue() {
                        turns.begin().await;
                        let unpacked = gunzip.unpack(&mut packed);
                        let unpacked = unpacked.map_err(|Corrupt| self.corrupt(attempt))?;
                        let Some(bytes) = unpacked else { break };
                        flow = self.scan(&mut pass, &mut turns, bytes, reply.is_taken).await?;
                    }
                    turns.end().await;
                }
            }
        }
        if flow.is_continue()
            && let Some(gunzip) = &document.gunzip
        {
            gunzip.finish().map_err(|Corrupt| self.corrupt(attempt))?;
        }
        attempt.result = FetchResult::Ok;
        let status = document.status;
        // No more of it is wanted: the connection is free, or closed.
        drop(document);
        let scanned = pass.end()?;
        if self.is_too_large(&scanned.summary) {
            return Err(self.too_large(attempt.bytes).into());
        }
        let fetch = Fetch {
            status,
            attempts: 1,
            redirects: u32::try_from(route.redirects()).unwrap_or(u32::MAX),
            bytes: attempt.bytes,
            final_source: route.target().shown(),
        };
        self.trail.steps().secrets = scanned.summary.returned;
        let timing = self.timing(&attempt.hops);
        Ok(scanned.finish(Some(&fetch), timing)?)
    }

    /// Asks for the document, wherever the source says that it is.
    async fn document(
        &self,
        route: &mut Route,
        attempt: &mut Attempt<'_>,
    ) -> Result<Document, Failure> {
        loop {
            let times = attempt.hop();
            let error = match self.decoder.fetcher.get(route.target(), &times).await {
                Ok(document) => return Ok(document),
                Err(fetch::Error::Redirect(location)) => match route.follow(&location) {
                    Ok(()) => continue,
                    Err(denied) => fetch::Error::Denied(denied),
                },
                Err(error) => error,
            };
            return Err(self.not_fetched(error, attempt));
        }
    }

    fn not_fetched(&self, error: fetch::Error, attempt: &mut Attempt<'_>) -> Failure {
        attempt.result = result_of(&error);
        if let fetch::Error::Denied(denied) = &error {
            self.decoder.metrics.security_event(denied.kind.as_str());
        }
        Failure { attempts: Some(1), ..failing::not_fetched(error) }
    }

    fn corrupt(&self, attempt: &mut Attempt<'_>) -> Failure {
        self.not_fetched(fetch::Error::Protocol("corrupt gzip".to_owned()), attempt)
    }

    fn too_large(&self, arrived: u64) -> Failure {
        let cap = self.decoder.limits.max_document_bytes;
        if self.trail.steps().bytes > arrived.saturating_mul(SUSPICIOUS) {
            self.decoder.metrics.security_event("decompression");
        }
        let detail = format!(
            "the document is over the cap of {cap} bytes (max_document_bytes); ask with \
             allow_partial for what is found up to there"
        );
        Failure { attempts: Some(1), ..Failure::new(Code::DocumentTooLarge, detail) }
    }
}

fn result_of(error: &fetch::Error) -> FetchResult {
    match error {
        fetch::Error::Denied(_) => FetchResult::Denied,
        fetch::Error::Name(_) | fetch::Error::Connect(_) => FetchResult::Connect,
        fetch::Error::Tls(_) => FetchResult::Tls,
        fetch::Error::ConnectTimeout => FetchResult::Timeout,
        fetch::Error::Status(400..=499) => FetchResult::Status4xx,
        fetch::Error::Status(500..=599) => FetchResult::Status5xx,
        fetch::Error::Status(_)
        | fetch::Error::Redirect(_)
        | fetch::Error::Protocol(_)
        | fetch::Error::Unsupported(_) => FetchResult::Protocol,
    }
}

/// An attempt to fetch a document, which is counted when it is over, however it ends.
struct Attempt<'a> {
    metrics: &'a Metrics,
    trail: &'a Trail,
    began: Instant,
    /// How long the parts of each hop took.
    hops: Vec<Arc<Times>>,
    bytes: u64,
    result: FetchResult,
}

impl<'a> Attempt<'a> {
    fn begin(metrics: &'a Metrics, trail: &'a Trail) -> Self {
        let (began, hops) = (Instant::now(), Vec::with_capacity(1));
        Self { metrics, trail, began, hops, bytes: 0, result: FetchResult::Cancelled }
    }

    /// Another hop begins.
    fn hop(&mut self) -> Arc<Times> {
        let times = Arc::default();
        self.hops.push(Arc::clone(&times));
        times
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let total = self.began.elapsed();
        self.trail.steps().fetched = Some(total);
        self.metrics.attempt(self.result, total);
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
