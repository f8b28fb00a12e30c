//! Sources turn slow while documents are handed over.

use crate::{
    UNLIMITED,
    figures::{Report, ms, per_second},
    generator::{Flow, Generator, NOT_SENT, Outcome},
    overload::demand_order,
    requests,
    server::Server,
    source::Source,
};
use std::{io, path::Path, time::Duration};

/// Documents handed over, a second.
const STEADY: f64 = 200.0;
/// What 64 places can fetch from a source that takes 50 ms, ten times.
const FETCHES: f64 = 12_800.0;

/// The same documents handed over, alone and then beside fetches from a source that takes
/// two seconds.
pub(crate) fn prove(length: Duration, directory: &Path, report: &mut Report) -> io::Result<()> {
    report.begin("C. sources turn slow (64 places, 2 s) while documents are handed over");
    let source = Source::start(Duration::from_millis(50))?;
    let config = format!("{UNLIMITED}[overload]\nfetch = 64\n{}", source.rule());
    let server = Server::start(directory, &config)?;
    let document = serde_json::json!({"source": format!("http://{}/", source.address)});
    let fetch = requests::json_request(server.address, &document);
    let hand_over = requests::document(server.address, "", requests::SMALL);
    let flow = |request, rate| Flow { request, rate, from: Duration::ZERO, until: length };
    let mut generator = Generator::new(server.address)?;

    let alone = generator.run(&[flow(&hand_over, STEADY)])?.remove(0);
    let half = [flow(&hand_over, STEADY), flow(&fetch, FETCHES / 20.0)];
    let beside = generator.run(&half)?.remove(0);
    source.take(Duration::from_secs(2));
    let mut outcomes = generator.run(&[flow(&hand_over, STEADY), flow(&fetch, FETCHES)])?;
    let (fetched, during) = (outcomes.remove(1), outcomes.remove(0));

    report.tell("documents handed over", per_second(STEADY));
    report.tell("fetches", per_second(FETCHES));
    report.tell("fetches sent", per_second(fetched.sent()));
    let count = |status| fetched.with(status).count();
    report.tell("fetches accepted / shed", format!("{} / {}", count(200), count(503)));
    report.tell("shed fetches, p99", ms(fetched.latencies(503).p99()));
    tell_of("alone", &alone, report);
    tell_of("beside half of the fetches", &beside, report);
    tell_of("while sources are slow", &during, report);
    let (before, now) = (alone.latencies(200).p99(), during.latencies(200).p99());
    let bound = Duration::from_millis(5).max(3 * before);
    report.judge("handed over, p99", ms(now), format!("under {}", ms(bound)), now < bound);
    for outcome in [&alone, &beside, &during] {
        // What a busy machine kept from being sent, nobody has refused.
        let failed = outcome.unexpected(&[200, NOT_SENT]);
        let shown = format!("{failed:?}");
        report.demand("handed over, not answered with 200", shown, "[]", failed.is_empty());
    }
    demand_order(&fetched, report);
    let unsent: usize = [&alone, &beside, &during].map(|of| of.with(NOT_SENT).count()).iter().sum();
    report.tell("handed over, not sent for want of a connection", unsent);
    let unsent = fetched.with(NOT_SENT).count();
    report.tell("fetches not sent for want of a connection", unsent);
    Ok(())
}

fn tell_of(when: &str, outcome: &Outcome, report: &mut Report) {
    let latencies = outcome.latencies(200);
    report.tell(&format!("{when}: p50"), ms(latencies.p50()));
    report.tell(&format!("{when}: p99"), ms(latencies.p99()));
    report.tell(&format!("{when}: max"), ms(latencies.max()));
}
