//! The metrics of the pools and their queues.

use super::{
    families::{SECONDS, counters, gauges, histograms},
    labels::PoolKind,
};
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

/// What is counted of a pool and its queue.
#[derive(Clone)]
pub struct PoolMetrics {
    /// Places.
    pub limit: IntGauge,
    /// Places that are taken.
    pub in_use: IntGauge,
    /// How many wait.
    pub depth: IntGauge,
    /// How long who got a place had waited for it.
    pub wait: Histogram,
    /// Those who were turned away at once.
    pub queue_full: IntCounter,
    /// Those who waited in vain.
    pub waited: IntCounter,
}

/// The families of the pools.
pub(super) struct Pools {
    limit: IntGaugeVec,
    in_use: IntGaugeVec,
    depth: IntGaugeVec,
    wait: HistogramVec,
    /// Also those that no pool has to do with.
    pub(super) shed: IntCounterVec,
}

impl Pools {
    pub(super) fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        let pool = &["pool"];
        let pools = Self {
            limit: gauges(r, "decoder_pool_limit", "Permits that may be in use.", pool)?,
            in_use: gauges(r, "decoder_pool_in_use", "Permits in use.", pool)?,
            depth: gauges(r, "decoder_queue_depth", "Requests that wait for a permit.", pool)?,
            wait: histograms(
                r,
                "decoder_queue_wait_seconds",
                "Time that requests waited for their permit.",
                pool,
                &SECONDS,
            )?,
            shed: counters(
                r,
                "decoder_shed_total",
                "Requests refused because of overload.",
                &["pool", "reason"],
            )?,
        };
        for kind in PoolKind::ALL {
            pools.of(kind);
        }
        Ok(pools)
    }

    pub(super) fn of(&self, kind: PoolKind) -> PoolMetrics {
        let label = kind.as_str();
        PoolMetrics {
            limit: self.limit.with_label_values(&[label]),
            in_use: self.in_use.with_label_values(&[label]),
            depth: self.depth.with_label_values(&[label]),
            wait: self.wait.with_label_values(&[label]),
            queue_full: self.shed.with_label_values(&[label, "queue_full"]),
            waited: self.shed.with_label_values(&[label, "waited"]),
        }
    }
}
