//! A running decode: the bytes of a document on their way through the scanner to the form.

use super::{
    Asker, DecodePool, Decoder, IsTaken, Lending, Reply, ScanRun, Stopped, Upload,
    cpu_budget::CpuBudget,
};
use crate::{
    answer::Form,
    answer::{Output, Timing},
    failure::{Code, Failure},
    fetch::Times,
    overload::Permit,
    scan::{Charset, Options, StoppedBy, Summary},
    telemetry::RequestProgress,
};
use std::{
    future::poll_fn,
    ops::ControlFlow,
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// A running decode.
pub(super) struct Run<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) asker: Asker<'a>,
    pub(super) pool: Option<DecodePool<'a>>,
    pub(super) options: Options,
    /// The size limit of a document.
    pub(super) cap: u64,
    pub(super) output: Output,
    pub(super) allow_partial: bool,
    pub(super) began: Instant,
    /// How long it waited for its permit.
    pub(super) waited: Duration,
}

impl Run<'_> {
    pub(super) async fn content(&self, text: &[u8], reply: Reply<'_>) -> Result<Summary, Stopped> {
        self.asker.trail.steps().complete.get_or_insert_with(Instant::now);
        let mut scan_run = self.scan_run(Charset::UTF_8, reply.form);
        // The whole document is here, so whether the scan wants more does not matter.
        let _ = self
            .scan(
                &mut scan_run,
                &mut CpuBudget::new(self.pool, self.asker.quota_key),
                text,
                reply.is_taken,
            )
            .await?;
        self.handed_over(scan_run)
    }

    /// While nothing arrives for a while, the permit is lent: a slow client, or one that stalls on
    /// purpose, blocks no permit.
    pub(super) async fn upload(
        &self,
        mut upload: Upload,
        permit: &mut Option<Permit>,
        reply: Reply<'_>,
    ) -> Result<Summary, Stopped> {
        self.asker.trail.steps().uploading = true;
        let (mut budget, mut lending) =
            (CpuBudget::new(self.pool, self.asker.quota_key), Lending::default());
        let mut scan_run = self.scan_run(upload.charset, reply.form);
        loop {
            let next = poll_fn(|context| upload.bytes.as_mut().poll_next(context));
            let arrived = lending.wait(permit, next).await;
            let Some(bytes) = arrived else { break };
            if self.scan(&mut scan_run, &mut budget, &bytes?, reply.is_taken).await?.is_break() {
                break;
            }
        }
        {
            let mut steps = self.asker.trail.steps();
            steps.uploading = false;
            steps.complete.get_or_insert_with(Instant::now);
        }
        self.handed_over(scan_run)
    }

    pub(super) fn scan_run<'f>(
        &self,
        charset: Charset,
        form: &'f mut (dyn Form + Send),
    ) -> ScanRun<'f> {
        ScanRun::new(&self.options, charset, self.output, form)
    }

    /// Scans the next bytes, slice by slice, and waits until the client has read what was found.
    pub(super) async fn scan(
        &self,
        scan_run: &mut ScanRun<'_>,
        budget: &mut CpuBudget<'_>,
        mut bytes: &[u8],
        is_taken: &IsTaken<'_>,
    ) -> Result<ControlFlow<()>, Stopped> {
        let needs_slot = budget.needs_slot_for(bytes.len());
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue() && !bytes.is_empty() {
            if needs_slot {
                budget.begin().await;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(budget.piece()));
            bytes = rest;
            flow = self.push(scan_run, piece)?;
            if needs_slot {
                budget.piece_done().await;
            }
            if flow.is_continue() && !is_taken(Waker::noop()) {
                budget.end().await;
                taken(is_taken, self.asker.trail).await;
            }
        }
        budget.end().await;
        Ok(flow)
    }

    /// Scans the next bytes.
    fn push(&self, scan_run: &mut ScanRun<'_>, bytes: &[u8]) -> Result<ControlFlow<()>, Stopped> {
        let flow = scan_run.push(bytes)?;
        let mut steps = self.asker.trail.steps();
        steps.bytes += bytes.len() as u64;
        steps.secrets = scan_run.secrets();
        Ok(flow)
    }

    /// Ends the decode of an uploaded document.
    fn handed_over(&self, scan_run: ScanRun<'_>) -> Result<Summary, Stopped> {
        let scanned = scan_run.end()?;
        if self.is_too_large(&scanned.summary) {
            let cap = self.cap;
            let detail = format!(
                "the document is larger than {cap} bytes (max_document_bytes); send a smaller one, \
                 or set allow_partial=true to decode it up to that limit"
            );
            return Err(Failure::new(Code::RequestTooLarge, detail).into());
        }
        self.asker.trail.steps().secrets = scanned.summary.returned;
        Ok(scanned.finish(None, self.timing(&[]))?)
    }

    /// The largest size of a gzip stream of a document within the limit. Gzip adds little to data that
    /// cannot be compressed.
    pub(super) fn most_packed(&self) -> u64 {
        let most = self.cap;
        most.saturating_add(most / 64).saturating_add(4096)
    }

    pub(super) fn is_too_large(&self, summary: &Summary) -> bool {
        summary.stopped_by == Some(StoppedBy::MaxBytes) && !self.allow_partial
    }

    /// The phase times of all hops together.
    pub(super) fn timing(&self, hops: &[Arc<Times>]) -> Timing {
        let of = |part: fn(&Times) -> Option<Duration>| {
            let parts = hops.iter().filter_map(|times| part(times));
            parts.reduce(|sum, next| sum + next).map(milliseconds)
        };
        Timing {
            total: milliseconds(self.began.elapsed()),
            queue: Some(milliseconds(self.waited)),
            dns: of(Times::dns),
            connect: of(Times::connect),
            first_byte: of(Times::first_byte),
            body: of(Times::body),
        }
    }
}

/// Waits until the client has read everything written so far.
async fn taken(is_taken: &IsTaken<'_>, trail: &RequestProgress) {
    trail.steps().unread_since = Some(Instant::now());
    poll_fn(|context| match is_taken(context.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
    let mut steps = trail.steps();
    steps.unread = steps.waited_for_reader();
    steps.unread_since = None;
}

/// Milliseconds with three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
