//! Every form in every output mode, on documents that try to get out of it.

use super::*;
use crate::{
    failure::{Code, Failure},
    scan::{Charset, Options, Scanner, StoppedBy},
};
use std::num::NonZero;

const DOCUMENT: &str = "{*AGENT: Smith*}\n{*the door is east*} {*https://x.example*}\n{* open\n\
                        {*LONG_VALUE: 1234567890123456789012345*}\n{**}";

/// The answer to a document in the form that `form` makes.
fn answer<'a>(
    document: &str,
    output: Output,
    to: &'a mut Vec<u8>,
    form: impl FnOnce(&'a mut Vec<u8>, Output) -> Box<dyn Form + 'a>,
) {
    let options = Options {
        max_secrets: NonZero::new(200).unwrap(),
        max_secret_chars: NonZero::new(20).unwrap(),
        ..Options::default()
    };
    let mut form = form(to, output);
    let mut tally = Tally::new(output);
    let mut sink = |secret: Secret<'_>| {
        tally.count(&secret);
        form.secret(&secret).unwrap()
    };
    let mut scanner = Scanner::new(&options, Charset::UTF_8);
    assert!(scanner.push(document.as_bytes(), &mut sink).is_continue());
    let summary = scanner.finish(&mut sink);
    let timing = Timing { total: 1.5, body: Some(0.25), ..Timing::default() };
    let finished = Finished { summary: &summary, tally: &tally, fetch: None, timing };
    form.finish(&finished).unwrap();
    form.flush().unwrap();
}

fn json(document: &str, output: Output) -> String {
    let mut text = Vec::new();
    answer(document, output, &mut text, |to, output| {
        Box::new(Json::new(to, Heading::default(), output, None))
    });
    String::from_utf8(text).unwrap()
}

fn ndjson(document: &str, output: Output) -> String {
    let mut text = Vec::new();
    answer(document, output, &mut text, |to, output| {
        Box::new(Ndjson::new(to, Heading::default(), output, None))
    });
    String::from_utf8(text).unwrap()
}

fn report(document: &str, output: Output) -> String {
    let mut text = Vec::new();
    answer(document, output, &mut text, |to, output| {
        Box::new(Report::new(to, output, "a\u{1b}b", false, None).unwrap())
    });
    String::from_utf8(text).unwrap()
}

const TIMING: &str = r#""timing_ms":{"total":1.5,"queue":null,"dns":null,"connect":null,"first_byte":null,"body":0.25}}"#;

#[test]
fn json_in_full() {
    let text = json(DOCUMENT, Output::Full);

    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    let expected = r#"{"secrets":[
{"index":1,"value":"AGENT: Smith","category":"AGENT","offset":0,"line":1,"pair":0,"truncated":false},
{"index":2,"value":"the door is east","category":"UNCLASSIFIED","offset":17,"line":2,"pair":0,"truncated":false},
{"index":3,"value":"https://x.example","category":"https","offset":38,"line":2,"pair":0,"truncated":false},
{"index":4,"value":"LONG_VALUE: 12345678","category":"LONG_VALUE","offset":68,"line":4,"pair":0,"truncated":true},
{"index":5,"value":"","category":"UNCLASSIFIED","offset":110,"line":5,"pair":0,"truncated":false}
],
"summary":{"returned":5,"stopped_by":null,"bytes_scanned":114,"unterminated":1,"categories":{"AGENT":1,"LONG_VALUE":1,"UNCLASSIFIED":2,"https":1}},"#;
    assert_eq!(text, format!("{expected}{TIMING}\n"));
}

#[test]
fn masked_shows_labels_and_no_more() {
    let text = json(DOCUMENT, Output::Masked);

    let expected = r#"{"secrets":[
{"index":1,"pair":0,"value":"AGENT: ********"},
{"index":2,"pair":0,"value":"********"},
{"index":3,"pair":0,"value":"********"},
{"index":4,"pair":0,"value":"LONG_VALUE: ********"},
{"index":5,"pair":0,"value":"********"}
],
"summary":{"returned":5,"stopped_by":null,"bytes_scanned":114,"unterminated":1,"categories":{"AGENT":1,"LONG_VALUE":1,"UNCLASSIFIED":3}},"#;
    assert_eq!(text, format!("{expected}{TIMING}\n"));
}

#[test]
fn summary_shows_counts_and_no_more() {
    let expected = r#""summary":{"returned":5,"stopped_by":null,"bytes_scanned":114,"unterminated":1,"categories":{"AGENT":1,"LONG_VALUE":1,"UNCLASSIFIED":3}},"#;

    assert_eq!(json(DOCUMENT, Output::Summary), format!("{{{expected}{TIMING}\n"));
    assert_eq!(ndjson(DOCUMENT, Output::Summary), format!("{{{expected}{TIMING}\n"));
}

#[test]
fn json_without_secrets_has_an_empty_list() {
    let text = json("nothing", Output::Full);

    assert!(text.starts_with("{\"secrets\":[],\n\"summary\""), "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
}

#[test]
fn ndjson_has_an_object_a_line() {
    let text = ndjson(DOCUMENT, Output::Full);

    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["value"], "AGENT: Smith");
    assert_eq!(lines[4]["index"], 5);
    assert_eq!(lines[5]["summary"]["returned"], 5);
    assert!(lines[5].get("secrets").is_none());
    assert_eq!(ndjson(DOCUMENT, Output::Masked).lines().count(), 6);
}

#[test]
fn a_report_in_full() {
    let expected = "\
MISSION REPORT: a\\u{1b}b

  1. AGENT: Smith
     AGENT, line 1, byte 0

  2. the door is east
     UNCLASSIFIED, line 2, byte 17

  3. https://x.example
     https, line 2, byte 38

  4. LONG_VALUE: 12345678
     LONG_VALUE, line 4, byte 68, cut after 20 characters

  5. (empty)
     UNCLASSIFIED, line 5, byte 110

5 secrets recovered. The whole document was scanned, 114 bytes.
1 start marker without an end marker.
  AGENT         1
  LONG_VALUE    1
  UNCLASSIFIED  2
  https         1
";
    assert_eq!(report(DOCUMENT, Output::Full), expected);
}

#[test]
fn a_masked_report_and_a_summary() {
    let expected = "\
MISSION REPORT: a\\u{1b}b

  1. AGENT: ********
  2. ********

2 secrets recovered. The whole document was scanned, 24 bytes.
  AGENT         1
  UNCLASSIFIED  1
";
    assert_eq!(report("{*AGENT: Smith*}{*door*}", Output::Masked), expected);
    let expected = "\
MISSION REPORT: a\\u{1b}b

0 secrets recovered. The whole document was scanned, 1 byte.
";
    assert_eq!(report("x", Output::Summary), expected);
    assert_eq!(report("x", Output::Masked), expected);
}

#[test]
fn a_report_escapes_what_a_document_says() {
    let text = report("{*\u{1b}[2Jx\u{202e}: y*}", Output::Full);

    assert!(text.contains("  1. \\u{1b}[2Jx\\u{202e}: y\n"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
}

#[test]
fn why_a_scan_ended_is_said() {
    let check = |stopped_by, expected: &str| {
        let mut text = Vec::new();
        let summary =
            Summary { returned: 1, stopped_by, bytes_scanned: 1_234_567, unterminated: 1_000 };
        let mut report = Report::new(&mut text, Output::Full, "x", false, None).unwrap();
        let tally = Tally::new(Output::Full);
        let timing = Timing::default();
        let finished = Finished { summary: &summary, tally: &tally, fetch: None, timing };
        report.finish(&finished).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("1 secret recovered."), "{text}");
        assert!(text.contains("after 1,234,567 bytes"), "{text}");
        assert!(text.contains("1,000 start markers without"), "{text}");
        let mut text = Vec::new();
        Ndjson::new(&mut text, Heading::default(), Output::Full, None).finish(&finished).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let name = json["summary"]["stopped_by"].as_str().unwrap();
        assert!(expected.contains(name), "{name}");
    };
    check(Some(StoppedBy::MaxSecrets), "the last one asked for (max_secrets)");
    check(Some(StoppedBy::MaxBytes), "at the size cap (max_bytes)");
    check(Some(StoppedBy::MaxResponse), "the answer is full (max_response)");
}

#[test]
fn a_failure_ends_each_form_so_that_none_is_taken_for_whole() {
    let problem = Problem::from(&Failure::new(Code::SourceFailed, "gone\u{7}"));
    let error = "{\"error\":{\"code\":\"source_failed\",\"detail\":\"gone\\u0007\"}}\n";
    let secret = |form: &mut dyn Form| {
        let mut scanner = Scanner::new(&Options::default(), Charset::UTF_8);
        let mut sink = |secret: Secret<'_>| form.secret(&secret).unwrap();
        assert!(scanner.push(b"{*x*}", &mut sink).is_continue());
        form.fail(&problem).unwrap();
    };

    let mut text = Vec::new();
    Json::new(&mut text, Heading::default(), Output::Full, None).fail(&problem).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), error);

    let mut text = Vec::new();
    secret(&mut Json::new(&mut text, Heading::default(), Output::Full, None));
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("{\"secrets\":[\n{\"index\":1,") && text.ends_with('}'), "{text}");
    assert!(!text.contains("error") && !text.contains(']'), "{text}");

    let mut text = Vec::new();
    secret(&mut Ndjson::new(&mut text, Heading::default(), Output::Full, None));
    assert_eq!(String::from_utf8(text).unwrap().lines().nth(1), Some(error.trim_end()));

    let mut text = Vec::new();
    secret(&mut Report::new(&mut text, Output::Full, "x", false, None).unwrap());
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("The report ends here: gone\\u{7}\n"), "{text}");
}

#[test]
fn what_looks_like_a_label() {
    let check = |category: &str, expected| assert_eq!(is_label(category), expected, "{category}");
    check("A", true);
    check("AGENT_CODENAME", true);
    check("KEY-2", true);
    check(&"A".repeat(32), true);
    check(&"A".repeat(33), false);
    check("", false);
    check("agent", false);
    check("Agent", false);
    check("2KEY", false);
    check("_KEY", false);
    check("TWO WORDS", false);
    check("ÄGENT", false);
}

/// 70 names: 64 of them are counted by name, the rest together.
#[test]
fn categories_are_bounded() {
    let name = |number: usize| format!("C{number:02}");
    let document: String = (0..70).map(|n| format!("{{*{}: x*}}", name(n))).collect();
    let json: serde_json::Value =
        serde_json::from_str(&json(&document.repeat(2), Output::Full)).unwrap();

    let categories = json["summary"]["categories"].as_object().unwrap();

    assert_eq!(categories.len(), 65);
    assert_eq!(categories["C00"], 2);
    assert_eq!(categories["C63"], 2);
    assert_eq!(categories["OTHER"], 12);
}

#[test]
fn a_category_that_is_called_other_is_counted_there() {
    let document: String = (0..64).map(|n| format!("{{*C{n:02}: x*}}")).collect();
    let named = format!("{{*OTHER: x*}}{document}");
    let json: serde_json::Value = serde_json::from_str(&json(&named, Output::Full)).unwrap();

    assert_eq!(json["summary"]["categories"]["OTHER"], 2);
}

/// What a form takes of three secrets when there is so much room, and what it wrote.
fn with_room(
    room: u64,
    form: impl for<'a> FnOnce(&'a mut Vec<u8>, Option<u64>) -> Box<dyn Form + 'a>,
) -> (Summary, String) {
    let mut text = Vec::new();
    let mut form = form(&mut text, Some(room));
    let mut scanner = Scanner::new(&Options::default(), Charset::UTF_8);
    let mut sink = |secret: Secret<'_>| form.secret(&secret).unwrap();
    let _ = scanner.push(b"{*1*} {*2*} {*\"*}", &mut sink);
    let summary = scanner.finish(&mut sink);
    drop(form);
    (summary, String::from_utf8(text).unwrap())
}

#[test]
fn an_answer_has_room_for_so_many_bytes_of_json_in_every_form() {
    let (_, whole) = with_room(u64::MAX, |to, room| {
        Box::new(Ndjson::new(to, Heading::default(), Output::Full, room))
    });
    let check = |room: u64, returned: u64| {
        let stopped_by = (returned < 3).then_some(StoppedBy::MaxResponse);
        let (summary, text) = with_room(room, |to, room| {
            Box::new(Ndjson::new(to, Heading::default(), Output::Full, room))
        });
        assert_eq!((summary.returned, summary.stopped_by), (returned, stopped_by), "{room}");
        assert!(text.len() as u64 <= room && whole.starts_with(&text), "{text}");
        let (summary, _) = with_room(room, |to, room| {
            Box::new(Json::new(to, Heading::default(), Output::Full, room))
        });
        assert_eq!((summary.returned, summary.stopped_by), (returned, stopped_by), "{room}");
        let (summary, _) = with_room(room, |to, room| {
            Box::new(Report::new(to, Output::Full, "x", false, room).unwrap())
        });
        assert_eq!((summary.returned, summary.stopped_by), (returned, stopped_by), "{room}");
    };
    let whole = whole.len() as u64;
    let line = whole / 3;
    check(whole, 3);
    check(whole - 1, 2);
    check(line, 1);
    check(line - 2, 0);
    check(0, 0);
}

#[test]
fn an_answer_over_a_network_says_what_was_asked_and_how_it_was_fetched() {
    let heading = Heading {
        request_id: Some("id-1".to_owned()),
        source: Some("https://x.example/a".to_owned()),
    };
    let summary = Summary { returned: 0, stopped_by: None, bytes_scanned: 9, unterminated: 0 };
    let fetch = Fetch {
        status: 203,
        attempts: 1,
        redirects: 0,
        bytes: 7,
        final_source: "https://x.example/a".to_owned(),
    };
    let tally = Tally::new(Output::Full);
    let timing = Timing { total: 1.5, queue: Some(0.0), ..Timing::default() };
    let finished = Finished { summary: &summary, tally: &tally, fetch: Some(&fetch), timing };

    let mut text = Vec::new();
    Json::new(&mut text, heading.clone(), Output::Full, None).finish(&finished).unwrap();
    let json = String::from_utf8(text).unwrap();
    let mut text = Vec::new();
    Ndjson::new(&mut text, heading, Output::Full, None).finish(&finished).unwrap();
    let ndjson = String::from_utf8(text).unwrap();

    let source = r#""source":"https://x.example/a","#;
    assert!(json.starts_with(&format!(r#"{{"request_id":"id-1",{source}"secrets":[],"#)), "{json}");
    assert_eq!(json.replace("\"secrets\":[],\n", ""), ndjson);
    let fetch = r#""fetch":{"status":203,"attempts":1,"redirects":0,"bytes":7,"final_source":"#;
    assert!(ndjson.contains(fetch), "{ndjson}");
}
