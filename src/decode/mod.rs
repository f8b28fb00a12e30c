//! The decoder service: one decode, from the request to its result.
//!
//! [`Decoder::decode`] is the entry point for HTTP and for the command line. It takes a [`DecodeJob`],
//! streams the document through the scanner, and writes the answer to a form. It reads no more of a
//! document than it needs. Dropping its future stops all work at once. Its progress stands in a
//! [`RequestProgress`].
//!
//! A file needs no service: the command line scans it with a [`ScanRun`].

mod cpu_budget;
mod deadline;
mod explain;
mod failing;
mod lending;
mod run;
mod scan_run;
mod source;
mod tenant;

pub use deadline::{Deadline, too_slow};
pub use explain::{Explanation, Hop, JudgedAddress, Verdict};
pub use failing::Stopped;
pub use lending::Lending;
pub use scan_run::{ScanRun, Scanned};
pub use tenant::{Switch, Tenant, TenantSettings};

use crate::{
    answer::{Form, Output, WipedBuffer},
    failure::{Blame, Code, Failure},
    fetch::{BuildError, Fetcher, ShownOrigin},
    overload::{Admission, CpuScheduler, Overloaded, Permit, PermitPool},
    policy::{ApprovedTarget, Network, Policy},
    quota_key::QuotaKey,
    scan::{Charset, Options, Summary},
    telemetry::{Input, Metrics, PoolKind, RequestProgress},
};
use bytes::Bytes;
use cpu_budget::CpuBudget;
use deadline::within;
use futures_core::Stream;
use run::Run;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Waker,
    time::{Duration, Instant},
};
use tenant::Reach;
use tokio::{
    sync::watch,
    task::{block_in_place, spawn_blocking},
    time::sleep,
};

/// How often files that may have changed are read again.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// Runs decodes.
pub struct Decoder {
    /// For tenants without rules of their own.
    reach: Arc<Reach>,
    fetcher: Arc<Fetcher>,
    limits: Limits,
    pools: Option<DecodePools>,
    metrics: Arc<Metrics>,
    /// Whether the last self-check of the policy passed.
    is_sound: AtomicBool,
    /// Notified when a tenant is disabled or a host is blocked.
    switched: watch::Sender<()>,
}

/// Bounds how many decodes run at once, and shares the processors among them.
#[derive(Clone)]
pub struct DecodePools {
    /// For documents that callers upload.
    pub inline: PermitPool,
    /// For documents that the service fetches.
    pub fetch: PermitPool,
    /// The processors, for both.
    pub cpu: Arc<CpuScheduler>,
}

/// The pool of one kind of decode.
#[derive(Clone, Copy)]
struct DecodePool<'a> {
    permits: &'a PermitPool,
    cpu: &'a CpuScheduler,
}

/// The limits of every decode.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The time for all attempts to fetch a document.
    pub fetch_timeout: Duration,
    /// How many redirects are followed for one document.
    pub max_redirects: usize,
}

/// One decode to do.
pub struct DecodeJob {
    /// What to decode.
    pub document: Document,
    /// What to look for. The decoder sets the size limit.
    pub options: Options,
    /// How much of each secret to show; the form must agree.
    pub output: Output,
    /// Whether a document over the size limit is decoded up to the limit.
    pub allow_partial: bool,
    /// The tenant.
    pub tenant: Arc<Tenant>,
    /// What its caller is counted as in queues.
    pub quota_key: QuotaKey,
    /// The permit that it has already, if any.
    pub permit: Option<Permit>,
    /// When the request arrived.
    pub began: Instant,
    /// When it must be over.
    pub deadline: Option<Deadline>,
}

/// What to decode.
pub enum Document {
    /// A URL to fetch; made by [`Decoder::approve`].
    Source(Approved),
    /// A text in the request.
    Content(WipedBuffer),
    /// A body that is still arriving.
    Upload(Upload),
}

/// A source that the policy allows.
pub struct Approved {
    target: ApprovedTarget,
    /// The policy that approved it.
    reach: Arc<Reach>,
}

impl Approved {
    /// Its URL without userinfo, query and fragment.
    pub fn shown(&self) -> String {
        self.target.shown()
    }
}

/// A document that is decoded while it arrives.
pub struct Upload {
    /// Its bytes, or the failure that ended it.
    pub bytes: Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>,
    /// The declared charset.
    pub charset: Charset,
}

/// The request that a decode belongs to.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// What its caller is counted as in queues.
    pub quota_key: QuotaKey,
    /// When it must be over.
    pub deadline: Option<Deadline>,
    /// Its progress.
    pub trail: &'a RequestProgress,
}

/// Tells whether the client has read everything written so far; wakes the waker when it has.
pub type IsTaken<'a> = dyn Fn(&Waker) -> bool + Sync + 'a;

/// Where a decode writes its answer.
pub struct Reply<'a> {
    /// The form of the answer.
    pub form: &'a mut (dyn Form + Send),
    /// Whether the client has read everything written so far. Until it has, the decode reads nothing
    /// more.
    pub is_taken: &'a IsTaken<'a>,
}

/// A finished decode.
pub struct Done {
    /// The summary of the scan.
    pub summary: Summary,
    /// To be kept until the answer has been sent.
    pub permit: Option<Permit>,
}

impl Decoder {
    /// A decoder that fetches under a policy. Without pools, nothing bounds how many decodes run.
    pub fn new(
        policy: Policy,
        fetcher: Fetcher,
        limits: Limits,
        pools: Option<DecodePools>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BuildError> {
        let reach = Arc::new(Reach { clients: fetcher.clients(policy.rules())?, policy });
        let (fetcher, is_sound) = (Arc::new(fetcher), AtomicBool::new(false));
        let switched = watch::Sender::new(());
        let decoder = Self { reach, fetcher, limits, pools, metrics, is_sound, switched };
        // The caller checks again and logs the reason.
        let _ = decoder.check_policy();
        Ok(decoder)
    }

    /// Checks the policy. Nothing is fetched until a check passes.
    pub fn check_policy(&self) -> Result<(), &'static str> {
        let checked = self.reach.policy.check_itself();
        self.note_check(checked.is_ok());
        checked
    }

    /// Sets the networks whose addresses belong to this machine.
    pub fn is_reached_at(&self, local: Vec<Network>) {
        self.reach.policy.is_reached_at(local);
    }

    fn note_check(&self, is_sound: bool) {
        self.is_sound.store(is_sound, Relaxed);
        self.metrics.policy_selfcheck_ok.set(is_sound.into());
    }

    /// Approves the URL of a document under the policy of a tenant.
    pub fn approve(
        &self,
        tenant: &Tenant,
        source: &str,
        trail: &RequestProgress,
    ) -> Result<Approved, Failure> {
        self.check_is_sound()?;
        let reach = Arc::clone(tenant.reach());
        let target = reach.policy.approve(source).map_err(|denied| self.denied(denied))?;
        let mut steps = trail.steps();
        steps.source_host = Some(target.host().to_owned());
        steps.rule = Some(target.rule().to_owned());
        Ok(Approved { target, reach })
    }

    fn check_is_sound(&self) -> Result<(), Failure> {
        let unsound = "the policy failed its self-check; nothing is fetched";
        self.is_sound.load(Relaxed).then_some(()).ok_or_else(|| Failure::internal(unsound))
    }

    /// Does the job once it has a permit, and writes its answer.
    pub async fn decode(
        &self,
        job: DecodeJob,
        reply: Reply<'_>,
        trail: &RequestProgress,
    ) -> Result<Done, Stopped> {
        let DecodeJob {
            document,
            mut options,
            output,
            allow_partial,
            tenant,
            quota_key,
            permit,
            ..
        } = job;
        let (began, deadline) = (job.began, job.deadline);
        let (cap, tenant) = (tenant.max_document_bytes, &*tenant);
        options.max_bytes = Some(cap);
        let asker = Asker { tenant, quota_key, deadline, trail };
        // The tenant may have been disabled while the body arrived.
        tenant.check_served()?;
        let (input, kind) = match &document {
            Document::Source(_) => (Input::Source, PoolKind::Fetch),
            Document::Content(_) | Document::Upload(_) => (Input::Content, PoolKind::Inline),
        };
        trail.steps().input = Some(input);
        let pool = self.pool(kind);
        // A permit of the other pool is released at once.
        let mut permit =
            match permit.filter(|permit| pool.is_some_and(|pool| pool.permits.issued(permit))) {
                None => {
                    let target = match &document {
                        Document::Source(source) => Some(Mutex::new(source.target.clone())),
                        _ => None,
                    };
                    self.enter(kind, asker, target.as_ref()).await?
                }
                permit => permit,
            };
        let waited = permit.as_ref().map(Permit::waited).unwrap_or_default();
        let decoder = self;
        let run = Run { decoder, asker, pool, options, cap, output, allow_partial, began, waited };
        let summary = match document {
            Document::Source(source) => Box::pin(run.source(&source, &mut permit, reply)).await?,
            Document::Content(text) => within(deadline, trail, run.content(&text, reply)).await?,
            Document::Upload(upload) => {
                let upload = run.upload(upload, &mut permit, reply);
                let upload = self.unless_stopped(tenant, None, upload);
                within(deadline, trail, Box::pin(upload)).await?
            }
        };
        Ok(Done { summary, permit })
    }

    /// Gets a permit for a decode, or waits for one; `None` without pools.
    pub async fn enter(
        &self,
        kind: PoolKind,
        asker: Asker<'_>,
        target: Option<&Mutex<ApprovedTarget>>,
    ) -> Result<Option<Permit>, Stopped> {
        let Asker { tenant, quota_key, deadline, trail } = asker;
        let Some(pool) = self.pool(kind) else { return Ok(None) };
        match pool.permits.request(quota_key) {
            Admission::Admitted(permit) => Ok(Some(permit)),
            Admission::Refused(shed) => Err(overloaded(shed)),
            // Boxed, because few requests wait and their future is large.
            Admission::Queued(waiter) => {
                let permit = async { waiter.permit().await.map(Some).map_err(overloaded) };
                let permit = self.unless_stopped(tenant, target, permit);
                Box::pin(within(deadline, trail, permit)).await
            }
        }
    }

    /// Each second, reloads authorization files and updates the circuits of origins.
    pub async fn keep_refreshed(&self) -> Infallible {
        loop {
            sleep(REFRESH_EVERY).await;
            let fetcher = Arc::clone(&self.fetcher);
            // On a thread of its own, because a disk may hang.
            let _ = spawn_blocking(move || fetcher.refresh()).await;
        }
    }

    /// All known origins, those with open circuits first.
    pub fn origins(&self) -> Vec<ShownOrigin> {
        self.fetcher.origins()
    }

    /// Runs long work that cannot be interrupted in a CPU slot, while other tasks move to another
    /// thread.
    pub async fn heavily<T>(&self, quota_key: QuotaKey, work: impl FnOnce() -> T) -> T {
        let mut budget = CpuBudget::new(self.pool(PoolKind::Inline), quota_key);
        budget.begin().await;
        let done = block_in_place(work);
        budget.end().await;
        done
    }

    fn pool(&self, kind: PoolKind) -> Option<DecodePool<'_>> {
        let pools = self.pools.as_ref()?;
        let permits = match kind {
            PoolKind::Inline => &pools.inline,
            PoolKind::Fetch => &pools.fetch,
        };
        Some(DecodePool { permits, cpu: &pools.cpu })
    }
}

/// The problem for a decode that got no permit.
fn overloaded(overloaded: Overloaded) -> Stopped {
    let reason = match overloaded {
        Overloaded::QueueFull => "the queue is full",
        Overloaded::TimedOut => "no permit was released in time",
    };
    let detail = "the service has more documents to decode than it can handle; try again later";
    let failure = Failure::new(Code::Overloaded, detail).because(reason);
    Failure { retry_after: Some(COME_BACK), ..failure }.into()
}

/// The `Retry-After` of a refused decode; a queue does not last longer.
const COME_BACK: Duration = Duration::from_secs(1);

/// The failure for an uploaded document that is not supported, which is the caller's fault.
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
            nameservers: Vec::new(),
            roots: fetch::roots(None).unwrap(),
            first_byte_timeout: Duration::from_secs(1),
            origins: fetch::OriginSettings {
                max_per_origin: 1,
                attempts: 1,
                circuit: None,
                circuits_open: Box::new(|_| ()),
            },
        };
        let rules = vec![Rule::parse("https://a.example").unwrap()];
        let policy = Policy::new(rules, Vec::new(), Vec::new(), Vec::new());
        let fetcher = Fetcher::new(settings).unwrap();
        let limits = Limits { fetch_timeout: Duration::from_secs(1), max_redirects: 0 };
        let metrics = Arc::new(Metrics::new(&[]).unwrap());
        let decoder = Decoder::new(policy, fetcher, limits, None, Arc::clone(&metrics)).unwrap();
        let settings = TenantSettings {
            name: "anonymous".to_owned(),
            quota_key: None,
            switch: Switch::default(),
            markers: None,
            max_document_bytes: 1,
            allow: None,
        };
        let tenant = decoder.tenant(settings, None).unwrap();
        let approve = || {
            decoder.approve(&tenant, "https://a.example/x", &RequestProgress::default()).map(drop)
        };
        assert!(approve().is_ok());
        assert_eq!(metrics.policy_selfcheck_ok.get(), 1);

        decoder.note_check(false);

        assert_eq!(approve().unwrap_err().code, Code::Internal);
        assert_eq!(metrics.policy_selfcheck_ok.get(), 0);
        assert_eq!(decoder.check_policy(), Ok(()));
        assert!(approve().is_ok());
    }
}
