//! `decode`: one document, here and now.

use super::{
    Failure, Result, config_args::ConfigArgs, document::DocumentArgs, fetched, progress::Progress,
    standard::Standard, wiping_writer::WipingWriter,
};
use crate::{
    answer::{Form, Heading, Json, Ndjson, Output, Problem, Report, Timing},
    decode::ScanRun,
    scan::{Charset, Marker, MarkerPair, Options, Pairs, UnknownCharset},
};
use clap::{Args, ValueEnum};
use std::{
    io::{self, IsTerminal, Write},
    num::NonZero,
    str::FromStr,
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

#[derive(Debug, Args)]
pub(super) struct DecodeArgs {
    #[command(flatten)]
    document: DocumentArgs,

    #[command(flatten)]
    config: ConfigArgs,

    /// A pair of markers; repeat it for several [default: {*:*}]
    #[arg(long = "marker", value_name = "START:END", value_parser = marker_pair)]
    markers: Vec<MarkerPair>,

    /// Stop after so many secrets
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one::<NonZero<u64>>, allow_negative_numbers = true)]
    max_secrets: NonZero<u64>,

    /// Cut each value after so many characters
    #[arg(long, value_name = "N", default_value = "200", value_parser = at_least_one::<NonZero<usize>>, allow_negative_numbers = true)]
    max_secret_chars: NonZero<usize>,

    /// Let a secret contain line feeds
    #[arg(long)]
    multiline: bool,

    /// The charset of the file or of standard input, unless a byte-order mark declares one
    /// [default: utf-8]
    #[arg(long, value_name = "LABEL", conflicts_with = "source")]
    charset: Option<String>,

    /// How much of each secret to show
    #[arg(long, value_enum, default_value_t = OutputArg::Full)]
    output: OutputArg,

    /// The form of the answer
    #[arg(long, value_enum, default_value_t = FormatArg::Report)]
    format: FormatArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OutputArg {
    /// Value, category and place
    Full,
    /// A label and asterisks
    Masked,
    /// Nothing but the counts
    Summary,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// For people
    Report,
    /// One JSON document
    Json,
    /// A JSON object a line, each secret as soon as it is found
    Ndjson,
}

/// How much is read at once. Measured: smaller pieces cost more in system calls,
/// larger ones gain nothing.
const CHUNK: usize = 128 * 1024;

pub(super) fn run(arguments: &DecodeArgs) -> Result<()> {
    match &arguments.document.source {
        Some(source) => fetched::run(source, &arguments.config, arguments),
        None => run_here(arguments),
    }
}

/// Decodes what is on this machine, without caps.
fn run_here(arguments: &DecodeArgs) -> Result<()> {
    let start = Instant::now();
    let options = arguments.options()?;
    let charset = arguments.charset()?;
    let mut document = arguments.document.open()?;
    let progress = Progress::new(document.length, document.typed);
    let stdout = WipingWriter::new(progress.beside(Standard::output()?));
    let mut form = arguments.form(stdout, &document.name, Heading::default(), None)?;
    let mut scan_run = ScanRun::new(&options, charset, arguments.output(), form.as_mut());
    let mut reading = Duration::ZERO;
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    loop {
        let began = Instant::now();
        let read = document.read(&mut chunk);
        reading += began.elapsed();
        let length = match read {
            Ok(length) => length,
            Err(failure) => {
                drop(scan_run);
                form.fail(&Problem::from(&failure))?;
                form.flush()?;
                return Err(failure.into());
            }
        };
        progress.advance(length);
        if length == 0 || scan_run.push(&chunk[..length])?.is_break() {
            break;
        }
        // A whole chunk is overwritten by the next one, which is there or nearly. After
        // less than that the reader may wait: with nothing in its hands.
        if length < CHUNK {
            chunk[..length].fill(0);
        }
    }
    let scanned = scan_run.end()?;
    let timing = Timing {
        total: milliseconds(start.elapsed()),
        body: Some(milliseconds(reading)),
        ..Timing::default()
    };
    let summary = scanned.finish(None, timing)?;
    drop(progress);
    say_what_was_done(summary.returned, reading);
    Ok(())
}

/// At the end, on a terminal.
pub(super) fn say_what_was_done(secrets: u64, fetching: Duration) {
    if io::stderr().is_terminal() {
        let fetched = milliseconds(fetching);
        // That the terminal is gone changes nothing about the result.
        let _ = writeln!(io::stderr(), "secrets_recovered={secrets} fetch_duration_ms={fetched}");
    }
}

/// Milliseconds with three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl DecodeArgs {
    pub(super) fn output(&self) -> Output {
        self.output.into()
    }

    pub(super) fn options(&self) -> Result<Options> {
        let pairs = match self.markers.as_slice() {
            [] => Pairs::default(),
            markers => {
                Pairs::new(markers.to_vec()).map_err(|fault| Failure::usage(&["decode"], fault))?
            }
        };
        Ok(Options {
            pairs,
            max_secrets: self.max_secrets,
            max_secret_chars: self.max_secret_chars,
            multiline: self.multiline,
            lines: self.output().shows_places(),
            max_bytes: None,
        })
    }

    fn charset(&self) -> Result<Charset> {
        let Some(label) = &self.charset else { return Ok(Charset::UTF_8) };
        Charset::for_label(label).map_err(|UnknownCharset| {
            let fault = format!(
                "--charset {label}: this charset cannot be decoded; use a label of the Encoding \
                 Standard, such as utf-8, windows-1252 or shift_jis"
            );
            Failure::usage(&["decode"], fault)
        })
    }

    pub(super) fn form<'a, W: Write + Send + 'a>(
        &self,
        to: W,
        document: &str,
        heading: Heading,
        max_bytes: Option<u64>,
    ) -> Result<Box<dyn Form + Send + 'a>> {
        let output = self.output();
        Ok(match self.format {
            FormatArg::Report => {
                let several = self.markers.len() > 1;
                Box::new(Report::new(to, output, document, several, max_bytes)?)
            }
            FormatArg::Json => Box::new(Json::new(to, heading, output, max_bytes)),
            FormatArg::Ndjson => Box::new(Ndjson::new(to, heading, output, max_bytes)),
        })
    }
}

impl From<OutputArg> for Output {
    fn from(output: OutputArg) -> Self {
        match output {
            OutputArg::Full => Self::Full,
            OutputArg::Masked => Self::Masked,
            OutputArg::Summary => Self::Summary,
        }
    }
}

fn marker_pair(text: &str) -> std::result::Result<MarkerPair, String> {
    let (start, end) = MarkerPair::split(text)
        .ok_or("write a start and an end marker with a colon between them, such as '{*:*}'")?;
    let marker = |text| Marker::new(text).map_err(|fault| fault.to_string());
    Ok(MarkerPair { start: marker(start)?, end: marker(end)? })
}

fn at_least_one<T: FromStr>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|_| format!("use a whole number from 1 to {}", u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_in_milliseconds() {
        let check = |nanoseconds, expected: &str| {
            let shown = milliseconds(Duration::from_nanos(nanoseconds)).to_string();
            assert_eq!(shown, expected);
        };
        check(0, "0");
        check(1_234_567, "1.235");
        check(2_500_000_000, "2500");
    }
}
