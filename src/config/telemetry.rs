//! `[telemetry]`: logs and traces.

use super::{
    kind::{Kind, choice, ratio, text},
    reader::Section,
};

/// Logs and traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// A level, or directives.
    pub log: String,
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
        let log = "a level (error, warn, info, debug, trace) or directives";
        Self {
            log: section.take("log", text(log)),
            log_format: section.take("log_format", choice(formats)),
            otlp_endpoint: section.take("otlp_endpoint", endpoint().optional()),
            trace_ratio: section.take("trace_ratio", ratio()),
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
