//! What is counted of callers: what they may, and what they do.

use super::{
    families::{counters, gauge, registered},
    labels::{Backend, Decision},
};
use crate::failure::Outcome;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

/// What is counted of callers.
pub struct CallerMetrics {
    /// By backend and decision.
    decisions: [[IntCounter; 4]; 2],
    /// Whether what rates and quotas are counted in is there.
    pub backend_up: IntGauge,
    tenant_decodes: IntCounterVec,
    rule_decodes: IntCounterVec,
    /// By name; none but those that the operator has written.
    rules: RwLock<HashMap<String, ByOutcome>>,
    /// Of whoever need not say who they are, or did not.
    pub anonymous: Arc<TenantMetrics>,
    /// Whether the tenants file could be used when it was last read.
    pub reload_success: IntGauge,
    reload_timestamp: IntGauge,
    expiry: GaugeVec,
}

/// What is counted of one tenant.
pub struct TenantMetrics {
    /// What it is called.
    pub name: String,
    decodes: ByOutcome,
}

/// Decodes by outcome.
type ByOutcome = [IntCounter; 4];

/// The tenant of those who are not known.
pub const ANONYMOUS: &str = "anonymous";

const TENANT_DECODES: &str = "decoder_tenant_decodes_total";
const RULE_DECODES: &str = "decoder_rule_decodes_total";
const EXPIRY: &str = "decoder_expiry_timestamp_seconds";

/// The families that tell of tenants.
pub(super) const OF_TENANTS: [&str; 3] = [TENANT_DECODES, RULE_DECODES, EXPIRY];

impl CallerMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        let decisions = counters(
            r,
            "decoder_rate_limit_decisions_total",
            "Decisions of rate limits and quotas.",
            &["decision", "backend"],
        )?;
        let of_backend = |backend: Backend| {
            Decision::ALL
                .map(|decision| decisions.with_label_values(&[decision.as_str(), backend.as_str()]))
        };
        let help = "Decodes by tenant and outcome.";
        let tenant_decodes = counters(r, TENANT_DECODES, help, &["tenant", "outcome"])?;
        let help = "Decodes of documents that a rule allows to be fetched.";
        let rule_decodes = counters(r, RULE_DECODES, help, &["rule", "outcome"])?;
        let expiry =
            Opts::new(EXPIRY, "When the next one expires that has not; absent where none does.");
        let metrics = Self {
            decisions: Backend::ALL.map(of_backend),
            backend_up: gauge(
                r,
                "decoder_rate_limit_backend_up",
                "Whether the shared store of rate limits and quotas is up.",
            )?,
            anonymous: Arc::new(TenantMetrics::new(&tenant_decodes, ANONYMOUS)),
            tenant_decodes,
            rule_decodes,
            rules: RwLock::default(),
            reload_success: gauge(
                r,
                "decoder_config_reload_success",
                "Whether the last reload of the tenants file succeeded.",
            )?,
            reload_timestamp: gauge(
                r,
                "decoder_config_reload_timestamp_seconds",
                "When the tenants file last came into force.",
            )?,
            expiry: registered(r, GaugeVec::new(expiry, &["kind"])?)?,
        };
        metrics.backend_up.set(1);
        metrics.reloaded(SystemTime::now());
        Ok(metrics)
    }

    /// What rates and quotas said of a request.
    pub fn decided(&self, decision: Decision, backend: Backend) {
        self.decisions[backend as usize][decision as usize].inc();
    }

    /// What is counted of a tenant.
    pub fn tenant(&self, name: &str) -> Arc<TenantMetrics> {
        Arc::new(TenantMetrics::new(&self.tenant_decodes, name))
    }

    /// There is no such tenant any more.
    pub fn forget_tenant(&self, name: &str) {
        forget(&self.tenant_decodes, name);
    }

    /// From now on there are rules of these names, and no others.
    pub fn rules(&self, names: &BTreeSet<String>) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|name, _| {
            let is_there = names.contains(name);
            if !is_there {
                forget(&self.rule_decodes, name);
            }
            is_there
        });
        for name in names {
            let make = || by_outcome(&self.rule_decodes, name);
            rules.entry(name.clone()).or_insert_with(make);
        }
    }

    /// A decode ended so, of a document that this rule allows. One that is gone counts no more.
    pub fn rule_decoded(&self, name: &str, outcome: Outcome) {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(decodes) = rules.get(name) {
            decodes[outcome as usize].inc();
        }
    }

    /// What was reloaded is in force.
    pub fn reloaded(&self, now: SystemTime) {
        self.reload_success.set(1);
        self.reload_timestamp.set(seconds(now) as i64);
    }

    /// The next key expires then, if any does.
    pub fn next_key_expires(&self, at: Option<SystemTime>) {
        match at {
            Some(at) => self.expiry.with_label_values(&["key"]).set(seconds(at)),
            // Where there is none, it need not go.
            None => drop(self.expiry.remove_label_values(&["key"])),
        }
    }
}

impl TenantMetrics {
    fn new(decodes: &IntCounterVec, name: &str) -> Self {
        Self { name: name.to_owned(), decodes: by_outcome(decodes, name) }
    }

    /// A decode ended so.
    pub fn decoded(&self, outcome: Outcome) {
        self.decodes[outcome as usize].inc();
    }

    /// How many have ended so.
    pub fn decodes(&self, outcome: Outcome) -> u64 {
        self.decodes[outcome as usize].get()
    }
}

fn by_outcome(decodes: &IntCounterVec, name: &str) -> ByOutcome {
    Outcome::ALL.map(|outcome| decodes.with_label_values(&[name, outcome.as_str()]))
}

fn forget(decodes: &IntCounterVec, name: &str) {
    for outcome in Outcome::ALL {
        // One that was never there is as good as gone.
        let _ = decodes.remove_label_values(&[name, outcome.as_str()]);
    }
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as f64
}
