//! More is asked for than the service can do.

use crate::{
    figures::{Latencies, Report, mib, ms, per_second},
    generator::{Flow, Generator, NOT_SENT, Outcome, RESET},
    probe::Probes,
    server::{Core, Server},
};
use std::{io, thread, time::Duration};

/// What is overloaded.
pub(crate) struct Overload<'a> {
    pub(crate) server: &'a Server,
    pub(crate) request: &'a [u8],
    /// The longest that the service lets anyone wait.
    pub(crate) queue_bound: Duration,
    /// Where the sweep begins, a second.
    pub(crate) begin: f64,
    /// How long the overload lasts.
    pub(crate) length: Duration,
}

/// The best that the service does, and how long one takes where nobody waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) peak: f64,
    pub(crate) unloaded_p99: Duration,
}

/// A rate grows by this much from step to step,
const STEP: f64 = 1.3;
/// and a step that brings less than this brings nothing.
const GAIN: f64 = 1.03;
const TIMES: f64 = 10.0;
const RECOVERY: Duration = Duration::from_secs(5);

impl Overload<'_> {
    fn flow(&self, rate: f64, from: Duration, length: Duration) -> Flow<'_> {
        Flow { request: self.request, rate, from, until: from + length }
    }

    /// Raises the rate until that brings nothing.
    pub(crate) fn sweep(&self, report: &mut Report) -> io::Result<Capacity> {
        let step = Duration::from_secs(if self.length.as_secs() < 20 { 1 } else { 3 });
        let mut generator = Generator::new(self.server.address)?;
        let warm = self.flow(self.begin, Duration::ZERO, Duration::from_secs(1));
        generator.run(&[warm])?;
        let low = generator.run(&[self.flow(self.begin, Duration::ZERO, 2 * step)])?.remove(0);
        let unloaded = low.latencies(200);
        let (mut rate, mut peak, mut vain) = (self.begin, 0.0_f64, 0);
        while vain < 3 {
            rate *= STEP;
            let outcome = generator.run(&[self.flow(rate, Duration::ZERO, step)])?.remove(0);
            let goodput = outcome.goodput();
            vain = if goodput > peak * GAIN { 0 } else { vain + 1 };
            peak = peak.max(goodput);
        }
        report.tell("capacity by the sweep", per_second(peak));
        report.tell("unloaded p50", ms(unloaded.p50()));
        report.tell("unloaded p99", ms(unloaded.p99()));
        Ok(Capacity { peak, unloaded_p99: unloaded.p99() })
    }

    /// Ten times the capacity, and what comes after it.
    pub(crate) fn prove(&self, capacity: Capacity, report: &mut Report) -> io::Result<()> {
        let Capacity { peak, unloaded_p99 } = capacity;
        let mut generator = Generator::new(self.server.address)?;
        let dropped_before = dropped_connections();
        let probes = Probes::start(self.server.address);
        let memory_before = self.server.memory();
        let rate = TIMES * peak;
        let early = (self.length / 6).min(Duration::from_secs(10));
        let core_before = self.server.core();
        let low = self.flow((peak / 10.0).max(5.0), self.length, RECOVERY);
        let flows = [self.flow(rate, Duration::ZERO, self.length), low];
        let (run, watched) = thread::scope(|scope| {
            let memory = scope.spawn(|| {
                thread::sleep(early);
                let memory = self.server.memory();
                thread::sleep(self.length - early);
                (memory, self.server.memory(), self.server.core())
            });
            (generator.run(&flows), memory.join().unwrap_or_default())
        });
        let (memory_early, memory_late, core) = watched;
        let mut outcomes = run?;
        let (after, load) = (outcomes.remove(1), outcomes.remove(0));
        let probed = probes.end();

        tell_of(&load, rate, report);
        let share = |of: fn(&Core) -> Duration| {
            let spent = of(&core).saturating_sub(of(&core_before));
            format!("{:.0} %", 100.0 * spent.as_secs_f64() / self.length.as_secs_f64())
        };
        report.tell("its core: the service", share(|core| core.service));
        report.tell("its core: interrupts", share(|core| core.interrupts));
        report.tell(
            "its core: other processes",
            share(|core| core.processes.saturating_sub(core.service)),
        );
        let goodput = load.goodput();
        let is_met = goodput >= 0.95 * peak;
        let share = format!("{:.0} /s = {:.1} %", goodput, 100.0 * goodput / peak);
        report.judge("goodput, of the peak", share, "at least 95 %", is_met);
        let accepted = load.latencies(200);
        let bound = self.queue_bound + 3 * unloaded_p99;
        let is_met = accepted.p99() < bound;
        report.tell("accepted p50", ms(accepted.p50()));
        report.judge("accepted p99", ms(accepted.p99()), format!("under {}", ms(bound)), is_met);
        let shed = load.latencies(503);
        let bound = Duration::from_millis(5);
        report.tell("shed p50", ms(shed.p50()));
        let is_met = shed.count() > 0 && shed.p99() < bound;
        report.judge("shed p99", ms(shed.p99()), "under 5 ms", is_met);
        report.tell("shed p99, since it was sent", ms(load.latencies_since_sent(503).p99()));
        for (probed, connection) in probed.iter().zip(["kept", "fresh"]) {
            let latencies = probed.latencies();
            let figure = |name: &str| format!("/health, {connection} connection, {name}");
            let is_met = latencies.max() <= Duration::from_millis(50);
            report.tell(&figure("p99"), ms(latencies.p99()));
            report.judge(&figure("max"), ms(latencies.max()), "within 50 ms", is_met);
            let is_met = probed.unanswered == 0;
            report.demand(&figure("unanswered"), probed.unanswered, "none", is_met);
        }
        report.tell("memory before", mib(memory_before));
        report.tell(&format!("memory after {} s", early.as_secs()), mib(memory_early));
        let is_met = memory_late <= memory_early + memory_early / 10;
        let bound = "at most a tenth more";
        report.judge("memory at the end", mib(memory_late), bound, is_met);
        let dropped = dropped_connections() - dropped_before;
        report.tell("listen queue overflows, whole machine", dropped);
        for name in ["decoder_shed_total", "decoder_http_connections"] {
            for (series, value) in self.server.series(name)? {
                report.tell(&series, value);
            }
        }
        let broken = load.latencies_since_sent(RESET);
        if broken.count() > 0 {
            report.tell("reset, p50 since it was sent", ms(broken.p50()));
        }
        self.judge_recovery(&after, unloaded_p99, report);
        demand_order(&load, report);
        demand_order(&after, report);
        Ok(())
    }

    fn judge_recovery(&self, after: &Outcome, unloaded_p99: Duration, report: &mut Report) {
        let usual = 3 * unloaded_p99.max(Duration::from_millis(2));
        let is_bad = |latency: u32, status: u16| {
            status != 200 || Duration::from_micros(latency.into()) > usual
        };
        let bad = after.samples.iter().filter(|sample| is_bad(sample.latency, sample.status));
        let last = bad.map(|sample| u64::from(sample.due)).max();
        let last = last
            .map_or(Duration::ZERO, |due| Duration::from_micros(due).saturating_sub(self.length));
        let is_met = last < Duration::from_secs(3);
        report.judge("normal again after", ms(last), "within 3 s", is_met);
    }
}

/// How often a queue of connections to be accepted was full, as the system counts.
fn dropped_connections() -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let found = pairs.find(|(name, _)| *name == "ListenOverflows");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// What was asked for and how much of it was sent.
pub(crate) fn tell_of(load: &Outcome, rate: f64, report: &mut Report) {
    report.tell("offered", per_second(rate));
    report.tell("sent", per_second(load.sent()));
    let sent = load.samples.iter().filter(|sample| sample.status != NOT_SENT);
    let lags = Latencies::of(sent.map(|sample| sample.lag));
    report.tell("generator's own delay, p50", ms(lags.p50()));
    report.tell("generator's own delay, p99", ms(lags.p99()));
    report.tell("accepted / shed", {
        let count = |status| load.with(status).count();
        format!("{} / {}", count(200), count(503))
    });
}

/// Every request is answered, with a document or with the advice to come back.
pub(crate) fn demand_order(load: &Outcome, report: &mut Report) {
    let unexpected = load.unexpected(&[200, 503, NOT_SENT]);
    let shown = format!("{unexpected:?}");
    report.demand("answers but 200 and 503", shown, "[]", unexpected.is_empty());
    let silent = load.with(503).filter(|sample| !sample.has_retry_after).count();
    report.demand("503 without Retry-After", silent, "0", silent == 0);
}
