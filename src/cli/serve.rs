//! `serve`: the service, until it is told to stop.

use super::{Failure, Result, config_args::ConfigArgs, health::reachable, standard::Standard};
use crate::{
    app::{self, Ended, Listeners, Signals, UnusableKeys, UnusableTenants},
    config::{Config, Loaded, LogFormat, Said, Server, Shutdown, Telemetry},
    fetch::{BuildError, RootsError},
    http,
    rate_limit::ValkeyFault,
    telemetry::{
        Levels, LineWriter, Metrics,
        log::{self, Format},
    },
};
use anyhow::Context;
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// The address to listen on, such as 127.0.0.1:8080, instead of server.bind
    #[arg(long, value_name = "ADDR", value_parser = address)]
    bind: Option<SocketAddr>,
}

/// How long it may take to let go of what was cut off.
const LAST_WORK: Duration = Duration::from_millis(400);
/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_millis(400);

pub(super) fn run(arguments: &ServeArgs) -> Result<()> {
    let bind = |address: SocketAddr| Said {
        key: "server.bind",
        argument: "--bind",
        value: address.to_string(),
    };
    let said: Vec<Said> = arguments.bind.map(bind).into_iter().collect();
    let loaded = arguments.config.load(&said)?;
    match serve(&loaded) {
        Ok(Ended::Finished) => Ok(()),
        Ok(Ended::CutOff) => {
            let detail = "work was cut off, by a second signal or at the end of \
                          server.shutdown.grace"
                .to_owned();
            Err(Failure::Work { code: "cut_off", detail })
        }
        Err(error) => Err(not_started("not_served", &error)),
    }
}

/// Why nothing could be begun: what the configuration names, or the machine.
pub(super) fn not_started(code: &'static str, error: &anyhow::Error) -> Failure {
    let detail = format!("{error:#}");
    let is_authorization = |error: &BuildError| matches!(error, BuildError::Authorization(_, _));
    let is_named = error.is::<RootsError>()
        || error.is::<UnusableKeys>()
        || error.is::<ValkeyFault>()
        || error.downcast_ref().is_some_and(is_authorization);
    if let Some(UnusableTenants(faults)) = error.downcast_ref() {
        Failure::Configuration(faults.clone())
    } else if is_named {
        Failure::Configuration(vec![detail])
    } else {
        Failure::Work { code, detail }
    }
}

/// An address with a port. What is none, such as a port alone, is shown as it would be one.
fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().and_then(|port| port.parse().ok());
        let example = match text.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 8080),
            Err(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.unwrap_or(8080)),
        };
        format!("write an address with a port, such as {example}")
    })
}

fn serve(loaded: &Loaded) -> anyhow::Result<Ended> {
    // A signal that comes before all is set up to hear it would be lost: it has to wait. The
    // other threads leave signals to this one for good.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block()?;
    let runtime = Runtime::new().context("no runtime")?;
    let (shutdown, at_once, hangups) = {
        let _within = runtime.enter();
        (told_to_stop()?, told_again()?, signal(SignalKind::hangup())?)
    };
    // From here on a signal is an end in order.
    signals.thread_unblock()?;
    let metrics = Arc::new(Metrics::new(&http::labels())?);
    let stdout = Standard::output()?;
    // Where JSON is asked for, a program reads the lines, even of a terminal.
    let is_for_a_person =
        stdout.is_terminal() && loaded.config.telemetry.log_format != LogFormat::Json;
    let (writer, levels) = start_logging(&loaded.config.telemetry, stdout, &metrics)?;
    raise_descriptors(&loaded.config);
    let ended = runtime.block_on(async {
        let listeners = Listeners::bind(&loaded.config)?;
        let Loaded { config, settings } = loaded;
        let terminal = is_for_a_person.then(|| writer.clone());
        let notices = notices(&listeners.addresses()?, &config.server);
        let shutdown = announced(shutdown, terminal, notices);
        let signals = Signals { shutdown, hangups };
        let run = app::run(config, settings, Arc::clone(&metrics), levels, listeners, signals);
        tokio::select! {
            ended = run => ended,
            () = at_once => {
                metrics.cutting_off.store(true, Ordering::Relaxed);
                Ok(if metrics.in_flight.get() == 0 { Ended::Finished } else { Ended::CutOff })
            }
        }
    });
    // What is cut off is dropped, and tells of itself; a lookup that nobody waits for any
    // longer is not waited for here either.
    runtime.shutdown_timeout(LAST_WORK);
    writer.flush_within(LAST_LINES);
    ended
}

/// Asks for as many descriptors as the system allows: a connection is one.
fn raise_descriptors(config: &Config) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let needed = config.server.max_connections + config.overload.fetch + OTHER_DESCRIPTORS;
    if raised.is_err() || maximum.is_some_and(|maximum| maximum < needed) {
        let allowed = getrlimit(Resource::Nofile).current;
        tracing::warn!(
            allowed,
            needed,
            "the limit of open files is too low for server.max_connections"
        );
    }
}

/// Listeners, files, what the runtime has, and connections that are on their way out.
const OTHER_DESCRIPTORS: u64 = 256;

/// Logs to `to`, in the form that fits it.
pub(super) fn start_logging(
    telemetry: &Telemetry,
    to: Standard,
    metrics: &Metrics,
) -> anyhow::Result<(LineWriter, Levels)> {
    let format = match telemetry.log_format {
        LogFormat::Json => Format::Json,
        LogFormat::Pretty => Format::Pretty,
        LogFormat::Auto if to.is_terminal() => Format::Pretty,
        LogFormat::Auto => Format::Json,
    };
    let writer = LineWriter::start(to, metrics.log_lines_dropped.clone())?;
    let levels = log::start(telemetry.log.clone(), format, &writer)?;
    log::report_panics();
    Ok((writer, levels))
}

/// What a person at a terminal reads beside the log: the URLs of the service, once it serves, and
/// how long it takes to stop, once it begins to.
fn notices(addresses: &[SocketAddr], server: &Server) -> (String, String) {
    let url = |address: &SocketAddr| format!("http://{}", reachable(*address));
    let mut ready = String::new();
    for (place, address) in addresses.iter().enumerate() {
        ready += &match place {
            0 => format!("Ready at {} (press Ctrl-C to stop)\n", url(address)),
            _ => format!("Admin listener at {}\n", url(address)),
        };
    }
    let Shutdown { notice, grace } = server.shutdown;
    let answering = if notice.is_zero() {
        String::new()
    } else {
        format!("new requests are still answered for {notice:?}, then ")
    };
    let stopping = format!(
        "Stopping: {answering}work has {grace:?} to finish. Press Ctrl-C again to stop at once.\n"
    );
    (ready, stopping)
}

/// Resolves with `shutdown`, and writes the notices around it to the terminal, if there is one.
async fn announced(
    shutdown: impl Future<Output = ()>,
    mut terminal: Option<LineWriter>,
    (ready, stopping): (String, String),
) {
    let mut say = |notice: String| {
        if let Some(terminal) = &mut terminal {
            // It takes every line, and counts those that it cannot write.
            let _ = terminal.write_all(notice.as_bytes());
        }
    };
    say(ready);
    shutdown.await;
    say(stopping);
}

/// Resolves with the first signal that asks for an end.
fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// Resolves with the second one: who repeats it does not want to wait.
fn told_again() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        }
    })
}
