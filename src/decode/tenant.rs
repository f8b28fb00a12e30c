//! The tenants of decodes, and the switches that stop a tenant or a host.

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

/// A tenant, as decodes need it.
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// What its usage is counted as; `None`: each client by its address.
    pub quota_key: Option<QuotaKey>,
    /// The markers for requests that name none; `None` for the default ones.
    pub markers: Option<Pairs>,
    /// The size limit of a document, after decompression and before transcoding.
    pub max_document_bytes: u64,
    reach: Arc<Reach>,
    switch: Switch,
}

/// Whether a tenant is served; on at first. Its work in progress shares the same switch.
#[derive(Clone)]
pub struct Switch(Arc<AtomicBool>);

impl Default for Switch {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

/// The settings of a tenant.
pub struct TenantSettings {
    /// See [`Tenant`].
    pub name: String,
    /// See [`Tenant`].
    pub quota_key: Option<QuotaKey>,
    /// The switch that it already had, if it was known before.
    pub switch: Switch,
    /// See [`Tenant`].
    pub markers: Option<Pairs>,
    /// See [`Tenant`].
    pub max_document_bytes: u64,
    /// Its rules; `None` for those of everyone.
    pub allow: Option<Vec<Rule>>,
}

/// A policy with the connections made under it. Tenants that share the one share the other.
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

    /// The names of its rules.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.reach.policy.rules().iter().map(|named| named.name.as_str())
    }

    /// Turns the tenant on or off. Call [`Decoder::switched`] afterwards, for its work in progress.
    pub fn serve(&self, is_served: bool) {
        self.switch.0.store(is_served, Relaxed);
    }

    /// Refuses if the tenant is disabled.
    pub fn check_served(&self) -> Result<(), Failure> {
        let detail = "the operator has disabled this tenant";
        let is_served = self.switch.0.load(Relaxed);
        is_served.then_some(()).ok_or_else(|| Failure::new(Code::Forbidden, detail))
    }
}

impl Decoder {
    /// Makes a tenant. If it was known before and its rules are the same, it keeps its connections.
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

    /// Replaces the blocked hosts. Call [`Decoder::switched`] afterwards, for work in progress.
    pub fn block(&self, hosts: Vec<BlockedHost>) {
        self.reach.policy.block(hosts);
    }

    /// Makes all work in progress check whether its tenant is disabled or its host is blocked.
    pub fn switched(&self) {
        self.switched.send_replace(());
    }

    /// Runs work until it is done or its tenant is disabled.
    pub async fn while_served<T>(
        &self,
        tenant: &Tenant,
        work: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, Stopped> {
        self.unless_stopped(tenant, None, work).await
    }

    /// Runs work until it is done, its tenant is disabled, or the host of the present request is
    /// blocked.
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
        // Work is often done at once and then needs no subscription.
        let at_once = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(done) = at_once.await {
            return done;
        }
        let mut switched = self.switched.subscribe();
        loop {
            // Subscribed before the check, so that no change is missed.
            may_go_on()?;
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = switched.changed() => {}
            }
        }
    }

    /// The failure for a denial, counted as a security event.
    pub(super) fn denied(&self, denied: Denied) -> Failure {
        self.metrics.security_event(denied.kind.as_str());
        failing::denied(denied)
    }
}
