//! One tenant asks for ten times its share, and another one for little.

use crate::{
    UNLIMITED,
    figures::{Report, ms, per_second},
    generator::{Flow, Generator, NOT_SENT, Outcome},
    overload::demand_order,
    requests::{self, Hard},
    server::Server,
    source::Source,
};
use blueprint_decoder::identity::NewKey;
use std::{fmt::Write, fs, io, path::Path, time::Duration};

/// What the modest tenant asks for, a second.
const MODEST: f64 = 20.0;
/// Half of what the places can do is the share of each; ten times that, for the greedy one.
const GREEDY_FETCHES: f64 = 6_400.0;
/// The same of the hardest documents that are handed over.
const GREEDY_SCANS: f64 = 4_500.0;
/// How long a queue may stand: `max_wait` / 10.
const TARGET: Duration = Duration::from_millis(50);

/// Both ways to have a document decoded.
pub(crate) fn prove(length: Duration, directory: &Path, report: &mut Report) -> io::Result<()> {
    let keys = [key()?, key()?];
    let mut roster = String::new();
    for (key, name) in keys.iter().zip(["greedy", "modest"]) {
        let NewKey { id, hash, .. } = key;
        let _ = write!(
            roster,
            "[[tenant]]\nname = \"{name}\"\n[[tenant.key]]\nid = \"{id}\"\nsha256 = \"{hash}\"\n\
             role = \"decoder\"\n"
        );
    }
    let file = directory.join("tenants.toml");
    fs::write(&file, roster)?;
    let auth = format!("[auth]\nmode = \"required\"\ntenants_file = {file:?}\n");

    report.begin("E. fairness: one tenant at ten times its share of 64 places (a source of 50 ms)");
    let source = Source::start(Duration::from_millis(50))?;
    let config = format!("{UNLIMITED}{auth}[overload]\nfetch = 64\n{}", source.rule());
    let server = Server::start(directory, &config)?;
    let document = serde_json::json!({"source": format!("http://{}/", source.address)});
    let request = requests::json_request(server.address, &document);
    beside(&server, &request, &keys, GREEDY_FETCHES, length, report)?;

    report.begin("E. fairness: one tenant at ten times its share of the processor");
    let server = Server::start(directory, &format!("{UNLIMITED}{auth}"))?;
    let request = Hard::dense().in_json(server.address);
    beside(&server, &request, &keys, GREEDY_SCANS, length, report)
}

fn key() -> io::Result<NewKey> {
    NewKey::make().map_err(|_| io::Error::other("no random bytes"))
}

/// The modest one alone, and then beside the greedy one.
fn beside(
    server: &Server,
    request: &[u8],
    [greedy, modest]: &[NewKey; 2],
    rate: f64,
    length: Duration,
    report: &mut Report,
) -> io::Result<()> {
    let with = |key: &NewKey| requests::with_header(request, "X-Api-Key", &key.text);
    let (greedy, modest) = (with(greedy), with(modest));
    let flow = |request, rate| Flow { request, rate, from: Duration::ZERO, until: length };
    let mut generator = Generator::new(server.address)?;
    let alone = generator.run(&[flow(&modest, MODEST)])?.remove(0);
    let mut both = generator.run(&[flow(&modest, MODEST), flow(&greedy, rate)])?;
    let (others, beside) = (both.remove(1), both.remove(0));

    report.tell("the greedy one asks for", per_second(rate));
    report.tell("and has", per_second(others.goodput()));
    tell_of("the modest one alone", &alone, report);
    tell_of("beside the greedy one", &beside, report);
    let (before, now) = (alone.latencies(200).p99(), beside.latencies(200).p99());
    let bound = before + before / 10 + TARGET;
    report.judge("the modest one's p99", ms(now), format!("under {}", ms(bound)), now < bound);
    report.tell(
        "the modest one's, not answered with 200",
        format!("{:?}", beside.unexpected(&[200])),
    );
    // Whoever has its share is served, however busy this machine is with other things.
    let sent = beside.samples.len() - beside.with(NOT_SENT).count();
    let share = beside.with(200).count() as f64 / sent as f64;
    report.demand("the modest one is served", format!("{share:.2}"), "over 0.9", share > 0.9);
    demand_order(&others, report);
    demand_order(&beside, report);
    Ok(())
}

fn tell_of(when: &str, outcome: &Outcome, report: &mut Report) {
    let latencies = outcome.latencies(200);
    report.tell(&format!("{when}: p50"), ms(latencies.p50()));
    report.tell(&format!("{when}: p99"), ms(latencies.p99()));
}
