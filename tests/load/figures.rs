//! Figures: what was measured, what is asked for, and whether it fits.

use std::time::Duration;

/// Latencies, in microseconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn of(values: impl Iterator<Item = u32>) -> Self {
        let mut values: Vec<u32> = values.collect();
        values.sort_unstable();
        Self(values)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value below which this share of all lies; none of none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let at = (self.0.len() as f64 * share).ceil() as usize;
        let value = self.0.get(at.saturating_sub(1)).or(self.0.last()).copied();
        Duration::from_micros(value.unwrap_or(0).into())
    }

    pub(crate) fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    pub(crate) fn max(&self) -> Duration {
        self.quantile(1.0)
    }
}

/// All that is printed, and what must not be.
#[derive(Default)]
pub(crate) struct Report {
    failures: Vec<String>,
    missed: usize,
}

impl Report {
    pub(crate) fn begin(&self, scenario: &str) {
        println!("\n== {scenario}");
        println!("{:<44} {:>16}  {:<30} verdict", "figure", "value", "bound");
    }

    /// A figure without a bound.
    pub(crate) fn tell(&self, figure: &str, value: impl std::fmt::Display) {
        println!("{figure:<44} {value:>16}");
    }

    /// A figure with a bound, which is told and decides nothing.
    pub(crate) fn judge(
        &mut self,
        figure: &str,
        value: impl std::fmt::Display,
        bound: impl std::fmt::Display,
        is_met: bool,
    ) {
        self.missed += usize::from(!is_met);
        let verdict = if is_met { "ok" } else { "missed" };
        println!("{figure:<44} {value:>16}  {bound:<30} {verdict}");
    }

    /// What must be so.
    pub(crate) fn demand(
        &mut self,
        figure: &str,
        value: impl std::fmt::Display,
        bound: impl std::fmt::Display,
        is_met: bool,
    ) {
        let verdict = if is_met { "ok" } else { "FAILED" };
        println!("{figure:<44} {value:>16}  {bound:<30} {verdict}");
        if !is_met {
            self.failures.push(format!("{figure}: {value}, not {bound}"));
        }
    }

    /// Whether all was so that had to be.
    pub(crate) fn end(self) -> bool {
        println!("\n{} timings missed, {} demands failed", self.missed, self.failures.len());
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        self.failures.is_empty()
    }
}

/// As a person reads it.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(crate) fn per_second(rate: f64) -> String {
    format!("{rate:.0} /s")
}
