//! Logging: which events become lines, and what a line looks like.

use super::{levels::Levels, writer::LineWriter};
use std::{
    cell::Cell,
    fmt::{self, Write as _},
    str::FromStr,
    time::{Duration, SystemTime},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::SetGlobalDefaultError,
};
use tracing_subscriber::{
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
};

/// Which events become lines: a level, and levels of targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    text: String,
    targets: Targets,
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object, for programs.
    Json,
    /// For people at a terminal.
    Pretty,
}

impl FromStr for Filter {
    type Err = ();

    /// `info` or `info,some::module=debug`; anything else is no filter.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut targets = Targets::new().with_default(LevelFilter::INFO);
        for directive in text.split(',').map(str::trim) {
            targets = match directive.split_once('=') {
                None => targets.with_default(level(directive).ok_or(())?),
                Some((target, name)) => {
                    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
                    if target.is_empty() || !target.bytes().all(is_path) {
                        return Err(());
                    }
                    targets.with_target(target, level(name).ok_or(())?)
                }
            };
        }
        Ok(Self { text: text.to_owned(), targets })
    }
}

impl Filter {
    pub(super) fn targets(&self) -> &Targets {
        &self.targets
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A level by its name; none where there is no such.
pub fn level(name: &str) -> Option<LevelFilter> {
    match name {
        "off" => Some(LevelFilter::OFF),
        "error" => Some(LevelFilter::ERROR),
        "warn" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" => Some(LevelFilter::TRACE),
        _ => None,
    }
}

/// Begins to log, for the whole process and once.
pub fn start(
    filter: Filter,
    format: Format,
    to: &LineWriter,
) -> Result<Levels, SetGlobalDefaultError> {
    let (subscriber, levels) = subscriber(filter, format, to.clone());
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(levels)
}

/// What turns events into lines, and what changes which.
pub fn subscriber(
    filter: Filter,
    format: Format,
    to: LineWriter,
) -> (Box<dyn Subscriber + Send + Sync>, Levels) {
    let writer = Lines(to);
    let layer = tracing_subscriber::fmt::layer();
    let (levels, decides) = Levels::new(filter);
    let events = tracing_subscriber::registry().with(decides);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        Format::Json => {
            let layer = layer.event_format(JsonLine).with_writer(writer);
            Box::new(events.with(layer))
        }
        Format::Pretty => Box::new(events.with(layer.with_writer(writer))),
    };
    (subscriber, levels)
}

/// A panic is a line too, with its place. Not with its message: that may repeat what
/// was at hand.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "blueprint_decoder::panic", place, "panicked");
    }));
}

struct Lines(LineWriter);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        self.0.clone()
    }
}

/// One flat JSON object an event.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Gathered in one piece: each part by itself would be a dynamic call.
        let mut text = LINE.take();
        text.clear();
        let metadata = event.metadata();
        text.push_str("{\"timestamp\":\"");
        push_rfc3339(&mut text, SystemTime::now());
        text.push_str("\",\"level\":\"");
        text.push_str(metadata.level().as_str());
        text.push_str("\",\"target\":");
        push_json(&mut text, metadata.target());
        event.record(&mut JsonFields(&mut text));
        text.push_str("}\n");
        let written = line.write_str(&text);
        LINE.set(text);
        written
    }
}

thread_local! {
    /// The buffer of the last line, for the next one.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

struct JsonFields<'a>(&'a mut String);

impl JsonFields<'_> {
    fn name(&mut self, field: &Field) -> &mut String {
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
        self.0
    }

    fn display(&mut self, field: &Field, value: impl fmt::Display) {
        // A string takes everything.
        let _ = write!(self.name(field), "{value}");
    }
}

impl Visit for JsonFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        push_json(self.name(field), &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        push_json(self.name(field), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.display(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.display(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.display(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.display(field, value);
        } else {
            self.name(field).push_str("null");
        }
    }
}

/// A JSON string.
fn push_json(to: &mut String, text: &str) {
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    to.push('"');
    // Nearly never: looked for without a branch for each byte.
    if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        to.push_str(text);
    } else {
        for character in text.chars() {
            match u8::try_from(character) {
                Ok(byte) if is_special(byte) => {
                    let _ = write!(to, "\\u{byte:04x}");
                }
                _ => to.push(character),
            }
        }
    }
    to.push('"');
}

/// A time in UTC with microseconds.
pub fn rfc3339(time: SystemTime) -> String {
    let mut text = String::with_capacity(27);
    push_rfc3339(&mut text, time);
    text
}

/// A time in UTC with microseconds, `2026-11-21T06:11:05.000000Z`.
fn push_rfc3339(text: &mut String, time: SystemTime) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let mut written = *b"0000-00-00T00:00:00.000000Z";
    for (mut number, digits) in [
        (year, 0..4),
        (month, 5..7),
        (day, 8..10),
        (second / 3600, 11..13),
        (second / 60 % 60, 14..16),
        (second % 60, 17..19),
        (u64::from(since.subsec_micros()), 20..26),
    ] {
        for digit in written[digits].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    text.push_str(str::from_utf8(&written).unwrap_or_default());
}

/// The date so many days after 1970-01-01. Years are counted from March, so that the
/// leap day comes last; 400 of them have always the same number of days.
fn date(days: u64) -> (u64, u64, u64) {
    let from_march = days + 719_468;
    let (era, day) = (from_march / 146_097, from_march % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// The level of an event about a request: the service's own faults are errors, those of
/// sources are worth a look, the rest is what callers do.
pub(super) const fn level_of(blame: Option<crate::failure::Blame>) -> Level {
    match blame {
        Some(crate::failure::Blame::Service) => Level::ERROR,
        Some(crate::failure::Blame::Source | crate::failure::Blame::Policy) => Level::WARN,
        _ => Level::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::IntCounter;
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(filter: &str, format: Format, events: impl FnOnce()) -> String {
        let kept = Kept::default();
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let writer = LineWriter::start(kept.clone(), dropped).unwrap();
        let (subscriber, _) = subscriber(filter.parse().unwrap(), format, writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        writer.flush_within(Duration::from_secs(10));
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_is_one_flat_json_object() {
        let text = lines("info", Format::Json, || {
            let none: Option<u64> = None;
            tracing::warn!(
                target: "a::b",
                count = 3, less = -1, share = 0.5, nan = f64::NAN, yes = true, none,
                text = "quote \" back \\ line \n end", shown = ?Some(1),
                "hello"
            );
        });

        let line: serde_json::Value = serde_json::from_str(&text).unwrap();

        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "a::b");
        assert_eq!(line["message"], "hello");
        assert_eq!((&line["count"], &line["less"]), (&3.into(), &(-1).into()));
        assert_eq!((&line["share"], &line["yes"]), (&0.5.into(), &true.into()));
        assert_eq!(line["nan"], serde_json::Value::Null);
        assert_eq!(line["text"], "quote \" back \\ line \n end");
        assert_eq!(line["shown"], "Some(1)");
        assert!(line.get("none").is_none());
        assert_eq!(line["timestamp"].as_str().map(str::len), Some(27));
    }

    #[test]
    fn the_filter_decides_what_becomes_a_line() {
        let events = || {
            tracing::debug!(target: "a", "one");
            tracing::debug!(target: "b", "two");
            tracing::warn!(target: "b", "three");
        };
        let text = lines("error,a=debug", Format::Pretty, events);
        assert!(text.contains("one") && !text.contains("two") && !text.contains("three"));
    }

    #[test]
    fn what_is_a_filter() {
        let check = |text: &str, fits: bool| {
            assert_eq!(text.parse::<Filter>().is_ok(), fits, "{text}");
        };
        check("info", true);
        check("warn,hyper=off,a::b_1=trace", true);
        check("verbose", false);
        check("infoo", false);
        check("a=loud", false);
        check("=info", false);
        check("info,", false);
        check("a b=info", false);
        check("", false);
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        let check = |seconds: u64, expected: &str| {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 1_234_567);
            assert_eq!(rfc3339(time), expected);
        };
        check(0, "1970-01-01T00:00:00.001234Z");
        check(951_782_399, "2000-02-28T23:59:59.001234Z");
        check(951_782_400, "2000-02-29T00:00:00.001234Z");
        check(951_868_800, "2000-03-01T00:00:00.001234Z");
        check(1_709_164_800, "2024-02-29T00:00:00.001234Z");
        check(4_107_542_400, "2100-03-01T00:00:00.001234Z");
        check(1_798_761_599, "2026-12-31T23:59:59.001234Z");
    }
}
