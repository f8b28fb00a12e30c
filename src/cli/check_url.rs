//! `check-url`: what the policy says of a URL and why, as the service would find it.

use super::{
    Failure, Result,
    config_args::ConfigArgs,
    print,
    serve::{not_started, start_logging},
    standard::Standard,
};
use crate::{
    answer::Escaped,
    app,
    decode::{Explanation, Verdict},
    telemetry::Metrics,
};
use clap::Args;
use std::{fmt::Write, sync::Arc};

#[derive(Debug, Args)]
pub(super) struct CheckUrlArgs {
    /// The URL to check
    #[arg(value_name = "URL")]
    url: String,

    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(arguments: &CheckUrlArgs) -> Result<()> {
    let config = arguments.config.load(&[])?.config;
    let not_begun = |error: anyhow::Error| not_started("not_begun", &error);
    let metrics = Arc::new(Metrics::new(&[]).map_err(|error| not_begun(error.into()))?);
    let _log = start_logging(&config.telemetry, Standard::error()?, &metrics).map_err(not_begun)?;
    let own = app::own_listeners(&config);
    let decoder = app::decoder(&config, own, metrics).map_err(not_begun)?;
    let tenant = app::anonymous(&decoder, config.limits.max_document_bytes).map_err(not_begun)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let explanation = runtime.block_on(decoder.explain(&tenant, &arguments.url));
    // A lookup that nobody waits for may take its time.
    runtime.shutdown_background();
    print(told(&explanation).as_bytes())?;
    let (code, happened) = match explanation.verdict {
        Verdict::Allowed => return Ok(()),
        Verdict::Denied { .. } => ("source_denied", "this URL may not be fetched"),
        Verdict::Failed { code, .. } => (code, "there is no document at this URL"),
        Verdict::TimedOut => ("source_timeout", "the document did not come in time"),
    };
    Err(Failure::Work { code, detail: format!("{happened}; standard output says why") })
}

/// A paragraph for each hop, and the verdict.
fn told(explanation: &Explanation) -> String {
    let mut text = String::new();
    for hop in &explanation.hops {
        let _ = writeln!(text, "{}", Escaped(&hop.source));
        let _ = writeln!(text, "  rule     {}", Escaped(&hop.rule));
        for judged in &hop.addresses {
            let verdict = if judged.allowed { "allowed" } else { "denied" };
            let (address, reason) = (judged.address, &judged.reason);
            let _ = writeln!(text, "  address  {address}: {verdict}, {}", Escaped(reason));
        }
        if let Some(answer) = &hop.answer {
            let _ = writeln!(text, "  answer   {}", Escaped(answer));
        }
    }
    let _ = match &explanation.verdict {
        Verdict::Allowed => writeln!(text, "allowed"),
        Verdict::Denied { kind, reason } => writeln!(text, "denied ({kind}): {}", Escaped(reason)),
        Verdict::Failed { code, reason } => {
            writeln!(text, "no document ({code}): {}", Escaped(reason))
        }
        Verdict::TimedOut => writeln!(text, "no document (source_timeout)"),
    };
    text
}
