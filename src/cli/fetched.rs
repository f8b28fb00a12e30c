//! `decode --source`: a document that is fetched, as the service would fetch it.

use super::{
    Failure, Result,
    config_args::ConfigArgs,
    decode::{DecodeArgs, say_what_was_done},
    progress::Progress,
    serve::{not_started, start_logging},
    standard::Standard,
    wiping_writer::WipingWriter,
};
use crate::{
    answer::{Heading, Problem},
    app,
    config::Limits,
    decode::{DecodeJob, Document, Reply, Stopped},
    quota_key::QuotaKey,
    scan::Options,
    telemetry::{Metrics, RequestProgress},
};
use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// How long the last lines of the log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

pub(super) fn run(source: &str, config: &ConfigArgs, arguments: &DecodeArgs) -> Result<()> {
    let began = Instant::now();
    let config = config.load(&[])?.config;
    let options = within(arguments.options()?, &config.limits)?;
    let not_begun = |error: anyhow::Error| not_started("not_begun", &error);
    let metrics = Arc::new(Metrics::new(&[]).map_err(|error| not_begun(error.into()))?);
    let (log, _) =
        start_logging(&config.telemetry, Standard::error()?, &metrics).map_err(not_begun)?;
    let own = app::own_listeners(&config);
    let decoder = app::decoder(&config, own, metrics).map_err(not_begun)?;
    let tenant = app::anonymous(&decoder, config.limits.max_document_bytes).map_err(not_begun)?;

    let trail = RequestProgress::default();
    let source = decoder.approve(&tenant, source, &trail)?;
    let shown = source.shown();
    let progress = Progress::new(None, false);
    let stdout = WipingWriter::new(progress.beside(Standard::output()?));
    let heading = Heading { request_id: None, source: Some(shown.clone()) };
    let room = Some(config.limits.max_response_bytes);
    let mut form = arguments.form(stdout, &shown, heading, room)?;
    let job = DecodeJob {
        document: Document::Source(source),
        options,
        output: arguments.output(),
        allow_partial: false,
        tenant,
        // Nobody else is.
        quota_key: QuotaKey::LOCAL,
        permit: None,
        began,
        deadline: None,
    };
    let show_progress = |_: &Waker| {
        progress.reached(trail.steps().bytes);
        true
    };
    let reply = Reply { form: form.as_mut(), is_taken: &show_progress };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(decoder.decode(job, reply, &trail));
    // A lookup that nobody waits for may take its time.
    runtime.shutdown_background();
    log.flush_within(LAST_LINES);
    let ended = match done {
        Ok(_) => Ok(()),
        Err(Stopped::Unwritten(error)) => Err(error.into()),
        Err(Stopped::Failed(failure)) => {
            form.fail(&Problem::from(&*failure))?;
            form.flush()?;
            Err((*failure).into())
        }
    };
    drop(form);
    drop(progress);
    if ended.is_ok() {
        let steps = trail.steps().clone();
        say_what_was_done(steps.secrets, steps.fetched.unwrap_or_default());
    }
    ended
}

/// The options, if they are within the limits that hold for fetched documents.
fn within(options: Options, limits: &Limits) -> Result<Options> {
    let asked = [
        ("--max-secrets", options.max_secrets.get(), limits.max_secrets),
        ("--max-secret-chars", options.max_secret_chars.get() as u64, limits.max_secret_chars),
    ];
    for (name, asked, most) in asked {
        if asked > most {
            let fault =
                format!("{name} is at most {most} for a source (limits in the configuration)");
            return Err(Failure::usage(&["decode"], fault));
        }
    }
    Ok(options)
}
