//! The figures of overload and of rolling restarts: `cargo bench --bench load`.
//!
//! The service runs on one core, all that asks it on another. Behaviour decides about the
//! exit code; timings are printed beside their bounds and decide nothing: they depend on
//! what else the machine does. `LOAD_SECONDS` is how long each overload lasts (60),
//! `LOAD_RESTARTS` how often instances are restarted (50; 0: not, which needs no nginx),
//! and `LOAD_ONLY` the scenarios, by their letters (ABCDEF).

#![allow(clippy::print_stdout)]

// Reads answers.
mod answer;
// One tenant that asks for too much.
mod fairness;
// What was measured, beside what is asked for.
mod figures;
// Sends requests at given moments.
mod generator;
// Keys that open nothing.
mod keys;
// More than the service can do.
mod overload;
// Whether the service is alive all the while.
mod probe;
// What is asked for.
mod requests;
// Instances that come and go.
mod restarts;
// The service as a process.
mod server;
// Fetches that take long beside documents that are there.
mod slow;
// Where documents are fetched from.
mod source;

use figures::Report;
use overload::Overload;
use requests::Hard;
use server::Server;
use source::Source;
use std::{io, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

const UNLIMITED: &str = "[rate_limit]\nenabled = false\n";

/// What is run.
struct Plan {
    length: Duration,
    restarts: usize,
    scenarios: String,
}

fn main() -> io::Result<ExitCode> {
    let number = |name: &str, usual: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let plan = Plan {
        length: Duration::from_secs(number("LOAD_SECONDS", 60).max(1)),
        restarts: number("LOAD_RESTARTS", 50) as usize,
        scenarios: std::env::var("LOAD_ONLY").unwrap_or_else(|_| "ABCDEF".to_owned()),
    };
    if !server::step_aside() {
        println!("the generator is not kept off the service's core: taskset does not do it");
    }
    let mut report = Report::default();
    let directory = tempfile::tempdir()?;
    run(&plan, directory.path(), &mut report)?;
    Ok(if report.end() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(plan: &Plan, directory: &Path, report: &mut Report) -> io::Result<()> {
    if plan.scenarios.contains('A') {
        documents_fetched(plan, directory, report)?;
    }
    if plan.scenarios.contains('B') {
        documents_handed_over(plan, directory, report)?;
    }
    if plan.scenarios.contains('C') {
        slow::prove(plan.length, directory, report)?;
    }
    if plan.scenarios.contains('E') {
        fairness::prove(plan.length, directory, report)?;
    }
    if plan.scenarios.contains('F') {
        keys::prove(directory, report)?;
    }
    if plan.scenarios.contains('D') && plan.restarts > 0 {
        report.begin(&format!("D. {} rolling restarts", plan.restarts));
        restarts::prove(plan.restarts, directory, report)?;
    }
    Ok(())
}

/// Bound by places: each fetch waits for its source.
fn documents_fetched(plan: &Plan, directory: &Path, report: &mut Report) -> io::Result<()> {
    report.begin("A. ten times what can be fetched (64 places, a source that takes 50 ms)");
    let source = Source::start(Duration::from_millis(50))?;
    let config = format!("{UNLIMITED}[overload]\nfetch = 64\n{}", source.rule());
    let server = Server::start(directory, &config)?;
    let document = serde_json::json!({"source": format!("http://{}/", source.address)});
    let request = requests::json_request(server.address, &document);
    prove(&server, &request, 100.0, plan.length, report)
}

/// Bound by the processor.
fn documents_handed_over(plan: &Plan, directory: &Path, report: &mut Report) -> io::Result<()> {
    let (dense, long) = (Hard::dense(), Hard::long());
    let in_json: fn(&Hard, SocketAddr) -> Vec<u8> = Hard::in_json;
    let cases = [
        (256, "18 KB in JSON, 9,600 secrets", &dense, in_json),
        (256, "256 KiB in JSON, none", &long, in_json),
        (256, "256 KiB as the body, none", &long, Hard::as_body),
        (4, "256 KiB in JSON, none", &long, in_json),
        (4, "256 KiB as the body, none", &long, Hard::as_body),
    ];
    for (inline, name, document, request) in cases {
        report.begin(&format!("B. ten times what can be scanned ({inline} places, {name})"));
        let config = format!("{UNLIMITED}[overload]\ninline = {inline}\n");
        let server = Server::start(directory, &config)?;
        prove(&server, &request(document, server.address), 20.0, plan.length, report)?;
    }
    Ok(())
}

fn prove(
    server: &Server,
    request: &[u8],
    begin: f64,
    length: Duration,
    report: &mut Report,
) -> io::Result<()> {
    let queue_bound = Duration::from_millis(500);
    let overload = Overload { server, request, queue_bound, begin, length };
    let capacity = overload.sweep(report)?;
    overload.prove(capacity, report)
}
