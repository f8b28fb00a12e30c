//! What `decode` finds and how it says it.

use super::support::{Folder, run, run_with_input};

const SCROLL: &str = "Welcome.\n{*AGENT: Smith*}\n  {* the door is east *}\n{* never closed\n";

#[test]
fn a_file_is_reported() {
    let (folder, path) = Folder::with("scroll.txt", SCROLL);

    let run = run(&["decode", "--file", path.to_str().expect("UTF-8")]).assert_done();

    let expected = format!(
        "MISSION REPORT: {}/scroll.txt\n\n  1. AGENT: Smith\n     AGENT, line 2, byte 9\n\n  \
         2. the door is east\n     UNCLASSIFIED, line 3, byte 28\n\n\
         2 secrets recovered. The whole document was scanned, 67 bytes.\n\
         1 start marker without an end marker.\n  AGENT         1\n  UNCLASSIFIED  1\n",
        folder.path().display()
    );
    assert_eq!(run.stdout, expected);
}

#[test]
fn standard_input_is_decoded_in_every_form() {
    let json = run_with_input(&["decode", "-", "--format", "json"], SCROLL.as_bytes());
    let lines = run_with_input(&["decode", "-", "--format", "ndjson"], SCROLL.as_bytes());
    let report = run_with_input(&["decode", "-"], SCROLL.as_bytes());

    let json = json.assert_done().json();
    assert_eq!(json["secrets"][1]["value"], "the door is east");
    assert_eq!(json["summary"]["unterminated"], 1);
    assert!(json["timing_ms"]["total"].as_f64().expect("a number") > 0.0);
    assert_eq!(lines.assert_done().stdout.lines().count(), 3);
    assert!(report.assert_done().stdout.starts_with("MISSION REPORT: standard input\n"));
}

#[test]
fn several_pairs_are_told_apart() {
    let arguments = ["decode", "-", "--marker", "<<:>>", "--marker", "`:`"];
    let run = run_with_input(&arguments, b"<<a `b` c>>").assert_done();

    assert!(run.stdout.contains("  1. b\n     UNCLASSIFIED, pair 1, line 1, byte 4\n"), "{run:?}");
    assert!(run.stdout.contains("  2. a `b` c\n     UNCLASSIFIED, pair 0,"), "{run:?}");
    let alone = run_with_input(&["decode", "-", "--marker", "<<:>>"], b"<<a>>").assert_done();
    assert!(alone.stdout.contains("  1. a\n     UNCLASSIFIED, line 1, byte 0\n"), "{alone:?}");
}

#[test]
fn options_reach_the_scanner() {
    let json = |options: &[&str], input: &[u8]| {
        let arguments = [&["decode", "-", "--format", "json"], options].concat();
        run_with_input(&arguments, input).assert_done().json()
    };

    let limited = json(&["--max-secrets", "1", "--max-secret-chars", "3"], SCROLL.as_bytes());
    assert_eq!(limited["secrets"][0]["value"], "AGE");
    assert_eq!(limited["summary"]["stopped_by"], "max_secrets");

    let lines = json(&["--multiline"], b"{*a\nb*}");
    assert_eq!(lines["secrets"][0]["value"], "a\nb");

    let latin = json(&["--charset", "iso-8859-1"], b"{*\xe9*}");
    assert_eq!(latin["secrets"][0]["value"], "é");

    let utf16 = json(&["--charset", "iso-8859-1"], b"\xff\xfe{\0*\0\xe9\0*\0}\0");
    assert_eq!(utf16["secrets"][0]["value"], "é");
}

#[test]
fn output_modes_keep_values_back() {
    let run = |output: &str, format: &str| {
        let arguments = ["decode", "-", "--output", output, "--format", format];
        run_with_input(&arguments, SCROLL.as_bytes()).assert_done().stdout
    };
    for format in ["report", "json", "ndjson"] {
        let masked = run("masked", format);
        assert!(masked.contains("AGENT: ********"), "{masked}");
        assert!(!masked.contains("Smith") && !masked.contains("door"), "{masked}");
        let summary = run("summary", format);
        assert!(summary.contains("AGENT") && !summary.contains("****"), "{summary}");
        assert!(!summary.contains("Smith") && !summary.contains("door"), "{summary}");
    }
}

#[test]
fn the_command_line_knows_no_caps() {
    let document = format!("{{*{}*}}", "x".repeat(100_000)).repeat(11);
    let arguments = ["decode", "-", "--format", "json", "--max-secrets", "1000000"];
    let arguments = [&arguments[..], &["--max-secret-chars", "18446744073709551615"]].concat();

    let json = run_with_input(&arguments, document.as_bytes()).assert_done().json();

    assert_eq!(json["summary"]["returned"], 11);
    assert_eq!(json["secrets"][10]["value"].as_str().expect("a string").len(), 100_000);
}

#[test]
fn a_document_that_ends_in_a_half_character_is_decoded() {
    let arguments =
        ["decode", "-", "--format", "json", "--charset", "utf-16le", "--marker", "<:\u{fffd}"];
    let json = run_with_input(&arguments, b"<\0a\0b").assert_done().json();

    assert_eq!(json["secrets"][0]["value"], "a", "the decoder's last word is scanned too");
}
