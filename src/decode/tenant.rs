//! For whom decodes are done, and whether they still are.

use super::{Decoder, Stopped, failing};
use crate::{
    failure::{Code, Failure},
    fetch::{BuildError, Clients},
    policy::{ApprovedTarget, BlockedHost, Denied, Policy, Rule},
    quota_key::QuotaKey,
    scan::Pairs,
};
use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
};

/// Who has documents decoded, and what is particular about it.
pub struct Tenant {
    /// What it is called.
    pub name: String,
    /// What its usage is counted as; `None`: each client by its address.
    pub quota_key: Option<QuotaKey>,
    /// Its markers, where a request names none; none: the usual ones.
    pub markers: Option<Pairs>,
    /// The bytes of a document, unpacked and before transcoding.
    pub max_document_bytes: u64,
    reach: Arc<Reach>,
    switch: Switch,
}

/// Whether a tenant is served, on at first; what is under way for it looks at the same one.
#[derive(Clone)]
pub struct Switch(Arc<AtomicBool>);

impl Default for Switch {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

/// What is said of a tenant.
pub struct TenantSettings {
    /// See [`Tenant`].
    pub name: String,
    /// See [`Tenant`].
    pub quota_key: Option<QuotaKey>,
    /// The one that it has had, if it was known before.
    pub switch: Switch,
    /// See [`Tenant`].
    pub markers: Option<Pairs>,
    /// See [`Tenant`].
    pub max_document_bytes: u64,
    /// What may be fetched; none: what may be for everyone.
    pub allow: Option<Vec<Rule>>,
}

/// What may be fetched, and the connections over which it is. Those who share the one share
/// the others.
pub(super) struct Reach {
    pub(super) policy: Policy,
    pub(super) clients: Arc<Clients>,
}

impl Reach {
    fn has(&self, rules: &[Rule]) -> bool {
        self.policy.rules().iter().map(|named| &named.rule).eq(rules)
    }
}

impl Tenant {
    pub(super) fn reach(&self) -> &Arc<Reach> {
        &self.reach
    }

    /// The names of the rules under which documents are fetched for it.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.reach.policy.rules().iter().map(|named| named.name.as_str())
    }

    /// From now on it is served or is not, also what it is waiting for; see
    /// [`Decoder::switched`].
    pub fn serve(&self, is_served: bool) {
        self.switch.0.store(is_served, Relaxed);
    }

    /// Refuses what is asked for one that is not served.
    pub fn check_served(&self) -> Result<(), Failure> {
        let detail = "the operator has disabled this tenant";
        let is_served = self.switch.0.load(Relaxed);
        is_served.then_some(()).ok_or_else(|| Failure::new(Code::Forbidden, detail))
    }
}

impl Decoder {
    /// A tenant. Where it was known before, its connections are kept if it may fetch the same as
    /// before.
    pub fn tenant(
        &self,
        settings: TenantSettings,
        before: Option<&Tenant>,
    ) -> Result<Tenant, BuildError> {
        let TenantSettings { name, quota_key, switch, markers, max_document_bytes, allow } =
            settings;
        let reach = match allow {
            None => Arc::clone(&self.reach),
            Some(rules) => match before.filter(|before| before.reach.has(&rules)) {
                Some(before) => Arc::clone(&before.reach),
                None => Arc::new(self.reach_of(rules)?),
            },
        };
        Ok(Tenant { name, quota_key, markers, max_document_bytes, reach, switch })
    }

    fn reach_of(&self, rules: Vec<Rule>) -> Result<Reach, BuildError> {
        let policy = self.reach.policy.with_rules(rules);
        let clients = self.fetcher.clients(policy.rules())?;
        Ok(Reach { policy, clients })
    }

    /// Nothing is fetched from these hosts from now on; see [`Decoder::switched`].
    pub fn block(&self, hosts: Vec<BlockedHost>) {
        self.reach.policy.block(hosts);
    }

    /// Who is served and which hosts are blocked may have changed: all that is under way looks
    /// whether it may go on.
    pub fn switched(&self) {
        self.switched.send_replace(());
    }

    /// Does work for a tenant, unless it is disabled meanwhile.
    pub async fn while_served<T>(
        &self,
        tenant: &Tenant,
        work: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, Stopped> {
        self.unless_stopped(tenant, None, work).await
    }

    /// Does work for a tenant, unless the operator says meanwhile that it may not go on: for the
    /// tenant, or for the host that is being asked.
    pub(super) async fn unless_stopped<T>(
        &self,
        tenant: &Tenant,
        asked: Option<&Mutex<ApprovedTarget>>,
        work: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, Stopped> {
        let may_go_on = || -> Result<(), Stopped> {
            tenant.check_served()?;
            let Some(asked) = asked else { return Ok(()) };
            let target = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Ok(target.still_allowed().map_err(|denied| self.denied(denied))?)
        };
        let mut work = pin!(work);
        may_go_on()?;
        // Often it is done at once: then nobody has to be told of switches.
        let at_once = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(done) = at_once.await {
            return done;
        }
        let mut switched = self.switched.subscribe();
        loop {
            // What is switched from here on is not overheard.
            may_go_on()?;
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = switched.changed() => {}
            }
        }
    }

    /// The policy's no, counted.
    pub(super) fn denied(&self, denied: Denied) -> Failure {
        self.metrics.security_event(denied.kind.as_str());
        failing::denied(denied)
    }
}
