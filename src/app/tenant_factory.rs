//! TenantFactory, made of what the tenants file says: those for whom decodes are done, with what they
//! may have.

use crate::{
    config::Config,
    decode::{Decoder, Switch, Tenant, TenantSettings},
    http::{ActiveTenant, Decoding, TenantLimits, TenantSnapshot},
    identity::{KeyTable, TenantConfig, TenantRegistry},
    quota_key::QuotaKey,
    rate_limit::{CallerLimits, Gcra},
    telemetry::{ANONYMOUS, Metrics},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What holds for everyone of whom nothing else is said.
struct Usual {
    requests_per_minute: u64,
    burst: u64,
    replicas: u64,
    max_document_bytes: u64,
}

/// Makes members of what is said of tenants.
pub(super) struct TenantFactory {
    usual: Usual,
    pub(super) decoding: Arc<Decoding>,
    pub(super) metrics: Arc<Metrics>,
    /// By name. A tenant keeps what it is counted as, and its switch, for as long as this process
    /// runs: where it goes and comes back, what is still under way for it is its own.
    known: Mutex<HashMap<String, (QuotaKey, Switch)>>,
}

impl TenantFactory {
    pub(super) fn new(config: &Config, decoding: Arc<Decoding>, metrics: Arc<Metrics>) -> Self {
        let rate_limit = &config.rate_limit;
        let usual = Usual {
            requests_per_minute: rate_limit.requests_per_minute,
            burst: rate_limit.burst,
            replicas: rate_limit.replicas_hint,
            max_document_bytes: config.limits.max_document_bytes,
        };
        Self { usual, decoding, metrics, known: Mutex::default() }
    }

    /// Whoever need not say who they are.
    pub(super) fn anonymous(&self) -> anyhow::Result<Arc<ActiveTenant>> {
        let tenant = anonymous(&self.decoding.decoder, self.usual.max_document_bytes)?;
        let rate = Gcra::new(self.usual.requests_per_minute, self.usual.burst);
        let limits = CallerLimits { rate, decodes_per_day: None };
        let counted = Arc::clone(&self.metrics.callers.anonymous);
        let limits = TenantLimits::new(limits, self.usual.replicas);
        Ok(Arc::new(ActiveTenant { tenant, limits, counted }))
    }

    pub(super) fn callers(
        &self,
        roster: &TenantRegistry,
        before: Option<&TenantSnapshot>,
    ) -> Result<TenantSnapshot, Vec<String>> {
        let tenants = roster.tenants.iter().map(|entry| self.tenant(entry, before));
        let (tenants, faults): (Vec<_>, Vec<_>) = tenants.partition(Result::is_ok);
        let faults: Vec<String> = faults.into_iter().filter_map(Result::err).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        // From here on nothing fails, so nobody is counted who is not there.
        let tenants = roster.tenants.iter().zip(tenants.into_iter().filter_map(Result::ok));
        let members = tenants.map(|(entry, tenant)| self.member(entry, tenant, before)).collect();
        Ok(TenantSnapshot {
            key_table: KeyTable::new(roster, before.map(|before| &before.key_table)),
            members,
        })
    }

    fn tenant(
        &self,
        entry: &TenantConfig,
        before: Option<&TenantSnapshot>,
    ) -> Result<Tenant, String> {
        let TenantConfig { name, .. } = entry;
        let before = before.and_then(|before| before.member(name));
        let max_document_bytes = self.usual.max_document_bytes;
        let (caller, switch) = self.known(name);
        let settings = TenantSettings {
            name: name.clone(),
            quota_key: Some(caller),
            switch,
            markers: entry.markers.clone(),
            max_document_bytes: entry
                .max_document_bytes
                .map_or(max_document_bytes, |bytes| bytes.min(max_document_bytes)),
            allow: entry.allow.clone(),
        };
        let tenant = self.decoding.decoder.tenant(settings, before.as_ref().map(|of| &*of.tenant));
        tenant.map_err(|error| format!("tenant {name}: {error}"))
    }

    fn member(
        &self,
        entry: &TenantConfig,
        tenant: Tenant,
        before: Option<&TenantSnapshot>,
    ) -> Arc<ActiveTenant> {
        let Usual { requests_per_minute, burst, replicas, .. } = self.usual;
        let rate = Gcra::new(
            entry.requests_per_minute.unwrap_or(requests_per_minute),
            entry.burst.unwrap_or(burst),
        );
        let limits = CallerLimits { rate, decodes_per_day: entry.decodes_per_day };
        let counted = match before.and_then(|before| before.member(&tenant.name)) {
            Some(before) => Arc::clone(&before.counted),
            None => self.metrics.callers.tenant(&tenant.name),
        };
        let (tenant, limits) = (Arc::new(tenant), TenantLimits::new(limits, replicas));
        Arc::new(ActiveTenant { tenant, limits, counted })
    }

    fn known(&self, name: &str) -> (QuotaKey, Switch) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let new = || (QuotaKey::Tenant(next), Switch::default());
        known.entry(name.to_owned()).or_insert_with(new).clone()
    }
}

/// The tenant of those who are not known.
pub fn anonymous(decoder: &Decoder, max_document_bytes: u64) -> anyhow::Result<Arc<Tenant>> {
    let name = ANONYMOUS.to_owned();
    let settings = TenantSettings {
        name,
        quota_key: None,
        switch: Switch::default(),
        markers: None,
        max_document_bytes,
        allow: None,
    };
    Ok(Arc::new(decoder.tenant(settings, None)?))
}
