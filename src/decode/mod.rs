//! The decoder service: one decode, from the request to its result.
//!
//! [`Decoder::decode`] is the one way in, for HTTP and for the command line. It takes a
//! [`Job`], brings the document under the scanner, wherever it comes from, and writes
//! the answer to a form. It reads no more of a document than it needs, and dropping it
//! at any point stops what it does. What it has done so far stands in a [`Trail`].
//!
//! A document that is at hand byte by byte, as a file is, goes through a [`Pass`]
//! alone.

mod failing;
mod pass;
mod source;
mod turn;

pub use failing::Stopped;
pub use pass::{Pass, Scanned};
pub use turn::Lending;

use crate::{
    answer::{Form, Output, Timing, WipedBuffer},
    failure::{Blame, Code, Failure, Outcome},
    fetch::{Fetcher, Times},
    limit::{Caller, Entry, Place, Pool, Shed},
    policy::{ApprovedTarget, Policy},
    scan::{Charset, Options, StoppedBy, Summary},
    telemetry::{Input, Metrics, PoolKind, Trail},
};
use bytes::Bytes;
use futures_core::Stream;
use std::{
    future::poll_fn,
    ops::ControlFlow,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};
use turn::Turns;

/// Runs decodes.
pub struct Decoder {
    policy: Policy,
    fetcher: Fetcher,
    limits: Limits,
    pools: Option<Pools>,
    metrics: Arc<Metrics>,
    /// Whether the policy denied what it must when it was last checked.
    is_sound: AtomicBool,
}

/// How many decodes run at once, by what they wait for.
#[derive(Clone)]
pub struct Pools {
    /// Documents handed over.
    pub inline: Pool,
    /// Documents fetched.
    pub fetch: Pool,
}

/// What no decode exceeds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The bytes of a document, unpacked and before transcoding.
    pub max_document_bytes: u64,
    /// How long fetching a document may take as a whole.
    pub fetch_timeout: Duration,
    /// How many redirects are followed on the way to one.
    pub max_redirects: usize,
}

/// One decode to be done.
pub struct Job {
    /// What to decode.
    pub document: Document,
    /// What to look for. The cap on bytes is the decoder's.
    pub options: Options,
    /// How much of the secrets to show; the form must agree.
    pub output: Output,
    /// Whether a document over the cap is worth what was found in it.
    pub allow_partial: bool,
    /// Who asks for it, among those who wait for a place.
    pub caller: Caller,
    /// The place that it has already.
    pub place: Option<Place>,
    /// When the request came.
    pub began: Instant,
    /// When it must be over.
    pub deadline: Option<Deadline>,
}

/// What to decode.
pub enum Document {
    /// What stands at this URL. [`Decoder::approve`] makes one.
    Source(Approved),
    /// This text.
    Content(WipedBuffer),
    /// What arrives.
    Upload(Upload),
}

/// A source that the policy allows.
pub struct Approved(ApprovedTarget);

impl Approved {
    /// Its URL without userinfo, query and fragment.
    pub fn shown(&self) -> String {
        self.0.shown()
    }
}

/// A document that arrives while it is decoded.
pub struct Upload {
    /// Its bytes, or why there are no more.
    pub bytes: Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>,
    /// What it declares.
    pub charset: Charset,
}

/// When a request must be over.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// How much time the caller gave, where that is the shorter one.
    pub given: Option<Duration>,
}

/// Says whether all is taken, and wakes when it is.
pub type IsTaken<'a> = dyn Fn(&Waker) -> bool + Sync + 'a;

/// Who takes what a decode writes.
pub struct Reply<'a> {
    /// The form of the answer.
    pub form: &'a mut (dyn Form + Send),
    /// Whether all that was written is taken; until then nothing more is read, and then the
    /// waker is woken.
    pub is_taken: &'a IsTaken<'a>,
}

/// A decode that has written its answer.
pub struct Done {
    /// What the scan says.
    pub summary: Summary,
    /// To be kept until the answer has left: so much work is under way.
    pub place: Option<Place>,
}

impl Decoder {
    /// A decoder that fetches under a policy. Without pools, all that comes runs at once.
    pub fn new(
        policy: Policy,
        fetcher: Fetcher,
        limits: Limits,
        pools: Option<Pools>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let is_sound = AtomicBool::new(false);
        let decoder = Self { policy, fetcher, limits, pools, metrics, is_sound };
        // Who wants to know why not asks again.
        let _ = decoder.check_policy();
        decoder
    }

    /// Checks the policy; as long as it is unsound, nothing is fetched.
    pub fn check_policy(&self) -> Result<(), &'static str> {
        let checked = self.policy.check_itself();
        self.note_check(checked.is_ok());
        checked
    }

    fn note_check(&self, is_sound: bool) {
        self.is_sound.store(is_sound, Relaxed);
        self.metrics.policy_selfcheck_ok.set(is_sound.into());
    }

    /// Asks the policy about the URL of a document.
    pub fn approve(&self, source: &str, trail: &Trail) -> Result<Approved, Failure> {
        if !self.is_sound.load(Relaxed) {
            return Err(Failure::internal("the policy failed its self-check: nothing is fetched"));
        }
        let target = self.policy.approve(source).map_err(|denied| {
            self.metrics.security_event(denied.kind.as_str());
            failing::denied(denied)
        })?;
        let mut steps = trail.steps();
        steps.source_host = Some(target.host().to_owned());
        steps.rule = Some(target.rule().to_owned());
        Ok(Approved(target))
    }

    /// Does the job, once there is a place for it, and writes its answer.
    pub async fn decode(&self, job: Job, reply: Reply<'_>, trail: &Trail) -> Result<Done, Stopped> {
        let Job { document, mut options, output, allow_partial, caller, place, .. } = job;
        let (began, deadline) = (job.began, job.deadline);
        options.max_bytes = Some(self.limits.max_document_bytes);
        let (input, kind) = match &document {
            Document::Source(_) => (Input::Source, PoolKind::Fetch),
            Document::Content(_) | Document::Upload(_) => (Input::Content, PoolKind::Inline),
        };
        trail.steps().input = Some(input);
        let pool = self.pool(kind);
        // Where it turns out to be another pool's, others have it at once.
        let mut place = match place.filter(|place| place.is_of(pool)) {
            None => self.enter(kind, caller, deadline, trail).await?,
            place => place,
        };
        let waited = place.as_ref().map(Place::waited).unwrap_or_default();
        let run = Run { decoder: self, pool, options, output, allow_partial, began, waited, trail };
        let summary = match document {
            Document::Source(source) => Box::pin(run.source(&source.0, deadline, reply)).await?,
            Document::Content(text) => within(deadline, trail, run.content(&text, reply)).await?,
            Document::Upload(upload) => {
                within(deadline, trail, Box::pin(run.upload(upload, &mut place, reply))).await?
            }
        };
        Ok(Done { summary, place })
    }

    /// Takes a place for a decode of a kind, or waits for one; none where there are no pools.
    pub async fn enter(
        &self,
        kind: PoolKind,
        caller: Caller,
        deadline: Option<Deadline>,
        trail: &Trail,
    ) -> Result<Option<Place>, Stopped> {
        let Some(pool) = self.pool(kind) else { return Ok(None) };
        match pool.enter(caller) {
            Entry::Admitted(place) => Ok(Some(place)),
            Entry::Refused(shed) => Err(overloaded(shed)),
            // Boxed, so that those who wait for little carry little.
            Entry::Waits(waiting) => {
                let place = async { waiting.place().await.map(Some).map_err(overloaded) };
                Box::pin(within(deadline, trail, place)).await
            }
        }
    }

    /// Does what takes long and cannot be interrupted, as a turn of its own, and with others
    /// on another thread meanwhile.
    pub async fn heavily<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut turns = Turns::new(self.pool(PoolKind::Inline));
        turns.begin().await;
        let done = tokio::task::block_in_place(work);
        turns.end().await;
        done
    }

    fn pool(&self, kind: PoolKind) -> Option<&Pool> {
        let pools = self.pools.as_ref()?;
        Some(match kind {
            PoolKind::Inline => &pools.inline,
            PoolKind::Fetch => &pools.fetch,
        })
    }
}

/// There is no place.
fn overloaded(shed: Shed) -> Stopped {
    let reason = match shed {
        Shed::QueueFull => "too many decodes wait",
        Shed::Waited => "no place came free in time",
    };
    let detail = "more documents are to be decoded than this service takes on at a time";
    let failure = Failure::new(Code::Overloaded, detail).because(reason);
    Failure { retry_after: Some(COME_BACK), ..failure }.into()
}

/// When who was turned away may come back: a queue does not last longer.
const COME_BACK: Duration = Duration::from_secs(1);

/// Work that must be over at a deadline.
async fn within<T>(
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

/// A decode under way.
struct Run<'a> {
    decoder: &'a Decoder,
    pool: Option<&'a Pool>,
    options: Options,
    output: Output,
    allow_partial: bool,
    began: Instant,
    /// For a place.
    waited: Duration,
    trail: &'a Trail,
}

impl Run<'_> {
    async fn content(&self, text: &[u8], reply: Reply<'_>) -> Result<Summary, Stopped> {
        self.trail.steps().complete.get_or_insert_with(Instant::now);
        let mut pass = self.pass(Charset::UTF_8, reply.form);
        // Whatever it wants, there is no more.
        let _ = self.scan(&mut pass, &mut Turns::new(self.pool), text, reply.is_taken).await?;
        self.handed_over(pass)
    }

    /// While nothing arrives for a while, the place is lent to others: who sends slowly, or
    /// means to be in the way, takes none.
    async fn upload(
        &self,
        mut upload: Upload,
        place: &mut Option<Place>,
        reply: Reply<'_>,
    ) -> Result<Summary, Stopped> {
        self.trail.steps().uploading = true;
        let (mut turns, mut lending) = (Turns::new(self.pool), Lending::default());
        let mut pass = self.pass(upload.charset, reply.form);
        loop {
            let next = poll_fn(|context| upload.bytes.as_mut().poll_next(context));
            let arrived = lending.of(place, next).await;
            let Some(bytes) = arrived else { break };
            if self.scan(&mut pass, &mut turns, &bytes?, reply.is_taken).await?.is_break() {
                break;
            }
        }
        {
            let mut steps = self.trail.steps();
            steps.uploading = false;
            steps.complete.get_or_insert_with(Instant::now);
        }
        self.handed_over(pass)
    }

    fn pass<'f>(&self, charset: Charset, form: &'f mut (dyn Form + Send)) -> Pass<'f> {
        Pass::new(&self.options, charset, self.output, form)
    }

    /// Scans the next bytes, turn by turn, and waits until what was found is taken.
    async fn scan(
        &self,
        pass: &mut Pass<'_>,
        turns: &mut Turns<'_>,
        mut bytes: &[u8],
        is_taken: &IsTaken<'_>,
    ) -> Result<ControlFlow<()>, Stopped> {
        let takes_turns = turns.are_taken_for(bytes.len());
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue() && !bytes.is_empty() {
            if takes_turns {
                turns.begin().await;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(turns.piece()));
            bytes = rest;
            flow = self.push(pass, piece)?;
            if takes_turns {
                turns.pass().await;
            }
            if flow.is_continue() && !is_taken(Waker::noop()) {
                turns.end().await;
                taken(is_taken, self.trail).await;
            }
        }
        turns.end().await;
        Ok(flow)
    }

    /// Scans the next bytes at once.
    fn push(&self, pass: &mut Pass<'_>, bytes: &[u8]) -> Result<ControlFlow<()>, Stopped> {
        let flow = pass.push(bytes)?;
        let mut steps = self.trail.steps();
        steps.bytes += bytes.len() as u64;
        steps.secrets = pass.secrets();
        Ok(flow)
    }

    /// Ends the decode of a document that the caller handed over.
    fn handed_over(&self, pass: Pass<'_>) -> Result<Summary, Stopped> {
        let scanned = pass.end()?;
        if self.is_too_large(&scanned.summary) {
            let cap = self.decoder.limits.max_document_bytes;
            let detail = format!(
                "the document is over the cap of {cap} bytes (max_document_bytes); hand over less, \
                 or ask with allow_partial for what is found up to there"
            );
            return Err(Failure::new(Code::RequestTooLarge, detail).into());
        }
        self.trail.steps().secrets = scanned.summary.returned;
        Ok(scanned.finish(None, self.timing(&[]))?)
    }

    fn is_too_large(&self, summary: &Summary) -> bool {
        summary.stopped_by == Some(StoppedBy::MaxBytes) && !self.allow_partial
    }

    /// The parts of all hops of a fetch together.
    fn timing(&self, hops: &[Arc<Times>]) -> Timing {
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

/// Waits until all that was written is taken.
async fn taken(is_taken: &IsTaken<'_>, trail: &Trail) {
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

impl Deadline {
    /// The caller's patience from which on a deadline that passes is a failure of ours.
    const PATIENT: Duration = Duration::from_secs(2);

    /// What it means that it has passed, for who was waited for.
    pub fn passed(self, trail: &Trail) -> Failure {
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
                let detail = "the request took longer than this service allows; try again later";
                Failure::new(Code::ServiceTimeout, detail)
            }
        }
    }
}

/// A client that has let its answer wait so long has used up its time by itself.
const SLOW_READER: Duration = Duration::from_secs(1);

/// What it means that time has run out, where it was the client that took it.
fn caller_was_slow(trail: &Trail) -> Option<Failure> {
    let steps = trail.steps();
    if steps.uploading {
        return Some(too_slow());
    }
    let detail = "the answer was not read in time; read it as it comes, or ask for less";
    (steps.waited_for_reader() >= SLOW_READER).then(|| Failure::new(Code::RequestTimeout, detail))
}

/// A request that does not arrive.
pub fn too_slow() -> Failure {
    let detail = "the request did not arrive in time; send it faster or in smaller parts";
    Failure::new(Code::RequestTimeout, detail)
}

/// Milliseconds with three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Whose fault an unsupported document is that was handed over.
pub fn unsupported_upload(detail: impl Into<String>) -> Failure {
    Failure::new(Code::UnsupportedDocument, detail).blamed_on(Blame::Caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fetch::{self, ContentTypes, Settings},
        policy::Rule,
    };

    #[test]
    fn while_the_policy_is_unsound_nothing_is_fetched() {
        let settings = Settings {
            connect_timeout: Duration::from_secs(1),
            user_agent: "test".to_owned(),
            content_types: ContentTypes(Vec::new()),
            hosts: Default::default(),
            roots: fetch::roots(None).unwrap(),
        };
        let rules = vec![Rule::parse("https://a.example").unwrap()];
        let policy = Policy::new(rules, Vec::new(), Vec::new(), Vec::new());
        let fetcher = Fetcher::new(settings, 1).unwrap();
        let limits = Limits {
            max_document_bytes: 1,
            fetch_timeout: Duration::from_secs(1),
            max_redirects: 0,
        };
        let metrics = Arc::new(Metrics::new(&[]).unwrap());
        let decoder = Decoder::new(policy, fetcher, limits, None, Arc::clone(&metrics));
        let approve = || decoder.approve("https://a.example/x", &Trail::default()).map(drop);
        assert!(approve().is_ok());
        assert_eq!(metrics.policy_selfcheck_ok.get(), 1);

        decoder.note_check(false);

        assert_eq!(approve().unwrap_err().code, Code::Internal);
        assert_eq!(metrics.policy_selfcheck_ok.get(), 0);
        assert_eq!(decoder.check_policy(), Ok(()));
        assert!(approve().is_ok());
    }
}
