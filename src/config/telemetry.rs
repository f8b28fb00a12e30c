//! `[telemetry]`: logs and traces.

use super::{
    kind::{Kind, choice, ratio},
    reader::Section,
};
use crate::telemetry::log::Filter;

/// Logs and traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// Which events become lines.
    pub log: Filter,
    /// How a line looks.
    pub log_format: LogFormat,
    /// Where traces go.
    pub otlp_endpoint: Option<String>,
    /// The share of requests that are traced.
    pub trace_ratio: f64,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal.
    Auto,
    /// For programs.
    Json,
    /// For people.
    Pretty,
}

impl Telemetry {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let formats =
            &[("auto", LogFormat::Auto), ("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
        let log = "a level (off, error, warn, info, debug, trace), and directives such as \
                   \"info,some::module=debug\"";
        let filter = Kind::string(log, |text| text.parse().ok(), Filter::to_string);
        Self {
            log: section.take("log", filter),
            log_format: section.take("log_format", choice(formats)),
            otlp_endpoint: section.lacking("traces").take("otlp_endpoint", endpoint().optional()),
            trace_ratio: section.lacking("traces").take("trace_ratio", ratio()),
        }
    }
}

fn endpoint() -> Kind<String> {
    let parse = |text: &str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        (!rest.is_empty() && !rest.contains(['@', ' '])).then(|| text.to_owned())
    };
    Kind::string("an http or https URL without userinfo", parse, String::clone)
}
