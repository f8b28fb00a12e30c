//! The metrics of the contract, in one registry.
//!
//! Every child is made here, at the start: what has not happened yet is exposed as 0,
//! and no request can make a series.

use super::{
    callers::{CallerMetrics, OF_TENANTS},
    confines::Confines,
    families::{SECONDS, counter, counters, gauge, gauges, histograms, registered},
    labels::{
        FetchResult, Input, Phase, PoolKind, Retry, RouteLabels, SECURITY_EVENTS, endings, no_code,
    },
    network::NetworkBytes,
    pools::{PoolMetrics, Pools},
};
use crate::failure::{Blame, Code, Outcome};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
    TextEncoder, exponential_buckets, process_collector::ProcessCollector,
};
use std::{sync::atomic::AtomicBool, time::Duration};

/// The registry and the handles of what is counted.
pub struct Metrics {
    registry: Registry,
    decodes: IntCounterVec,
    /// By input.
    successes: [IntCounter; 2],
    /// By outcome and input.
    decode_duration: [[Histogram; 2]; 4],
    /// By input.
    document_bytes: [Histogram; 2],
    /// Secrets of decodes whose answer the client got.
    pub secrets_recovered: IntCounter,
    /// How many those were, by decode.
    pub secrets_per_decode: Histogram,
    fetch_duration: HistogramVec,
    fetch_phase: HistogramVec,
    fetch_attempts: IntCounterVec,
    fetch_retries: IntCounterVec,
    /// Origins that are left alone.
    pub circuits_open: IntGauge,
    /// Bytes of documents that were fetched, as they came from the network.
    pub fetch_bytes: IntCounter,
    security_events: IntCounterVec,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    /// The children of both, by route.
    routes: Vec<RouteMetrics>,
    /// Requests between their head and their last byte.
    pub in_flight: IntGauge,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Requests that were shed by the cap on requests in flight.
    pub shed_in_flight: IntCounter,
    pools: Pools,
    /// What callers may and do.
    pub callers: CallerMetrics,
    /// Log lines that nobody read in time.
    pub log_lines_dropped: IntCounter,
    /// Whether the policy denied what it must when it was last checked.
    pub policy_selfcheck_ok: IntGauge,
    /// Whether the service wants requests.
    pub ready: IntGauge,
    /// Whether what is still under way is being cut off, which is no client's doing.
    pub cutting_off: AtomicBool,
}

/// What is counted of a route, at hand without a look-up by text.
struct RouteMetrics {
    route: &'static str,
    duration: Histogram,
    requests: Vec<(&'static str, u16, IntCounter)>,
}

impl Metrics {
    /// Everything at its first value.
    pub fn new(routes: &[RouteLabels]) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let sizes = exponential_buckets(256.0, 4.0, 10)?;
        let decodes = counters(
            r,
            "decoder_decodes_total",
            "Decodes by outcome.",
            &["outcome", "code", "blame", "input"],
        )?;
        let success =
            |input: Input| decodes.with_label_values(&["success", "ok", "none", input.as_str()]);
        let decode_duration = histograms(
            r,
            "decoder_decode_duration_seconds",
            "Time from the complete request to the last byte of its response.",
            &["outcome", "input"],
            &SECONDS,
        )?;
        let duration = |outcome: Outcome| {
            Input::ALL
                .map(|input| decode_duration.with_label_values(&[outcome.as_str(), input.as_str()]))
        };
        let document_bytes = histograms(
            r,
            "decoder_document_bytes",
            "Size of scanned documents in bytes, before transcoding.",
            &["input"],
            &sizes,
        )?;
        let http_requests = counters(
            r,
            "decoder_http_requests_total",
            "Requests. Status 499: the client left before the response.",
            &["method", "route", "status"],
        )?;
        let http_duration = histograms(
            r,
            "decoder_http_request_duration_seconds",
            "Time from the head of a request to the last byte of its response.",
            &["route"],
            &SECONDS,
        )?;
        let route =
            |labels: &RouteLabels| RouteMetrics::new(labels, &http_requests, &http_duration);
        let pools = Pools::new(r)?;
        let secrets = vec![0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0, 10_000.0];
        let metrics = Self {
            successes: Input::ALL.map(success),
            decode_duration: Outcome::ALL.map(duration),
            document_bytes: Input::ALL
                .map(|input| document_bytes.with_label_values(&[input.as_str()])),
            decodes,
            secrets_recovered: counter(
                r,
                "decoder_secrets_recovered_total",
                "Secrets in responses.",
            )?,
            secrets_per_decode: registered(
                r,
                Histogram::with_opts(
                    HistogramOpts::new("decoder_secrets_per_decode", "Secrets in one response.")
                        .buckets(secrets),
                )?,
            )?,
            fetch_duration: histograms(
                r,
                "decoder_fetch_duration_seconds",
                "Time to fetch a document, from name resolution to the last byte read.",
                &["result"],
                &SECONDS,
            )?,
            fetch_phase: histograms(
                r,
                "decoder_fetch_phase_duration_seconds",
                "Time of each phase of a fetch. A phase that did not happen is not observed.",
                &["phase"],
                &SECONDS,
            )?,
            fetch_attempts: counters(
                r,
                "decoder_fetch_attempts_total",
                "Attempts to fetch a document, by result.",
                &["result"],
            )?,
            fetch_retries: counters(
                r,
                "decoder_fetch_retries_total",
                "Failed attempts that could be retried, by decision.",
                &["decision"],
            )?,
            circuits_open: gauge(
                r,
                "decoder_circuits_open",
                "Origins whose circuit is open because they keep failing.",
            )?,
            fetch_bytes: counter(
                r,
                "decoder_fetch_bytes_total",
                "Bytes of fetched documents, as received from the network.",
            )?,
            security_events: counters(
                r,
                "decoder_security_events_total",
                "Security events by kind.",
                &["kind"],
            )?,
            routes: routes.iter().map(route).collect(),
            http_requests,
            http_duration,
            in_flight: gauge(
                r,
                "decoder_http_requests_in_flight",
                "Requests in progress, without probes and scrapes.",
            )?,
            connections: gauge(r, "decoder_http_connections", "Open connections.")?,
            shed_in_flight: pools.shed.with_label_values(&["none", "in_flight"]),
            pools,
            callers: CallerMetrics::new(r)?,
            log_lines_dropped: counter(
                r,
                "decoder_log_lines_dropped_total",
                "Log lines that were dropped because they were not read in time.",
            )?,
            policy_selfcheck_ok: gauge(
                r,
                "decoder_policy_selfcheck_ok",
                "Whether the last self-check of the policy passed.",
            )?,
            ready: gauge(r, "decoder_ready", "Whether the service is ready for requests.")?,
            cutting_off: AtomicBool::new(false),
            registry: registry.clone(),
        };
        metrics.make_children();
        let help = "Version and commit of the program; always 1.";
        let info = gauges(r, "decoder_build_info", help, &["version", "commit"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), env!("DECODER_COMMIT")]).set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        registry.register(Box::new(NetworkBytes::new()?))?;
        Confines::register(&registry)?;
        Ok(metrics)
    }

    fn make_children(&self) {
        for input in Input::ALL {
            self.decode(Outcome::Cancelled, None, None, input);
            for (outcome, code, blame) in endings(input) {
                self.decode(outcome, Some(code), Some(blame), input);
            }
        }
        for result in FetchResult::ALL {
            self.fetch_attempts.with_label_values(&[result.as_str()]);
            self.fetch_duration.with_label_values(&[result.as_str()]);
        }
        for decision in Retry::ALL {
            self.fetch_retries.with_label_values(&[decision.as_str()]);
        }
        for phase in Phase::ALL {
            self.fetch_phase.with_label_values(&[phase.as_str()]);
        }
        for kind in SECURITY_EVENTS {
            self.security_events.with_label_values(&[kind]);
        }
    }

    /// The counter of decodes that ended so; success and cancelled have no code.
    pub fn decode(
        &self,
        outcome: Outcome,
        code: Option<Code>,
        blame: Option<Blame>,
        input: Input,
    ) -> IntCounter {
        if outcome == Outcome::Success {
            return self.successes[input as usize].clone();
        }
        let code = code.map_or_else(|| no_code(outcome), Code::as_str);
        let blame = blame.map_or("none", Blame::as_str);
        self.decodes.with_label_values(&[outcome.as_str(), code, blame, input.as_str()])
    }

    /// What is to be counted of a pool.
    pub fn pool(&self, kind: PoolKind) -> PoolMetrics {
        self.pools.of(kind)
    }

    /// How long a decode took.
    pub fn decode_took(&self, outcome: Outcome, input: Input, duration: Duration) {
        let histogram = &self.decode_duration[outcome as usize][input as usize];
        histogram.observe(duration.as_secs_f64());
    }

    /// The size of a document, as far as it was read.
    pub fn document(&self, input: Input, bytes: u64) {
        self.document_bytes[input as usize].observe(bytes as f64);
    }

    /// An attempt to fetch a document.
    pub fn attempt(&self, result: FetchResult, duration: Duration) {
        self.fetch_attempts.with_label_values(&[result.as_str()]).inc();
        let histogram = self.fetch_duration.with_label_values(&[result.as_str()]);
        histogram.observe(duration.as_secs_f64());
    }

    /// What became of an attempt that failed in a way that may pass.
    pub fn retry(&self, decision: Retry) {
        self.fetch_retries.with_label_values(&[decision.as_str()]).inc();
    }

    /// A part of a fetch.
    pub fn phase(&self, phase: Phase, duration: Duration) {
        self.fetch_phase.with_label_values(&[phase.as_str()]).observe(duration.as_secs_f64());
    }

    /// Something that an attack would look like.
    pub fn security_event(&self, kind: &'static str) {
        self.security_events.with_label_values(&[kind]).inc();
    }

    /// A request that has ended.
    pub fn request(&self, method: &'static str, route: &str, status: u16, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let known = self.routes.iter().find(|known| known.route == route);
        if let Some(known) = known {
            known.duration.observe(seconds);
            let is_it = |of: &&(&str, u16, IntCounter)| of.1 == status && of.0 == method;
            if let Some((.., counter)) = known.requests.iter().find(is_it) {
                counter.inc();
                return;
            }
        } else {
            self.http_duration.with_label_values(&[route]).observe(seconds);
        }
        // What only a cap or a bug can answer to a method that the route does not have.
        let status = status.to_string();
        self.http_requests.with_label_values(&[method, route, &status]).inc();
    }

    /// The text format that Prometheus reads; with or without what tells of
    /// tenants.
    pub fn encode(&self, names_tenants: bool) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(64 * 1024);
        let mut families = self.registry.gather();
        families.retain(|family| names_tenants || !OF_TENANTS.contains(&family.name()));
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

impl RouteMetrics {
    fn new(labels: &RouteLabels, requests: &IntCounterVec, duration: &HistogramVec) -> Self {
        let route = labels.route;
        let pairs = labels
            .by_method()
            .flat_map(|(method, statuses)| statuses.iter().map(move |status| (method, *status)));
        let child = |(method, status): (&'static str, u16)| {
            let counter = requests.with_label_values(&[method, route, &status.to_string()]);
            (method, status, counter)
        };
        Self {
            route,
            duration: duration.with_label_values(&[route]),
            requests: pairs.map(child).collect(),
        }
    }
}
