//! What cannot be done is said in one clear line with the right exit code.

use super::support::{Folder, command, output, run, run_with_input};
use std::process::Stdio;

#[test]
fn arguments_that_cannot_be_are_usage() {
    let check = |arguments: &[&str], expected: &str| {
        let run = run(&[&["decode"], arguments].concat());
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(expected), "{run:?}");
    };
    let long = format!("{}:x", "m".repeat(33));
    let nine = ["1:x", "2:x", "3:x", "4:x", "5:x", "6:x", "7:x", "8:x", "9:x"];
    let nine: Vec<&str> = nine.iter().flat_map(|pair| ["--marker", pair]).chain(["-"]).collect();
    check(&["-", "--marker", &long], "a marker has at most 32 bytes, not 33");
    check(&["-", "--marker", "a\nb:c"], "no line feed and no NUL");
    check(&["-", "--marker", "ab"], "a colon between them");
    check(&["-", "--marker", ":b"], "a colon between them");
    check(&nine, "at most 8 pairs of markers are allowed, not 9");
    check(&["-", "--marker", "a:b", "--marker", "a:b"], "pair 2 is the same as pair 1");
    check(&["-", "--max-secrets", "0"], "a whole number from 1 to 18446744073709551615");
    check(&["-", "--max-secrets", "-1"], "a whole number from 1 to 18446744073709551615");
    check(
        &["-", "--max-secrets", "99999999999999999999"],
        "a whole number from 1 to 18446744073709551615",
    );
    check(&["-", "--max-secret-chars", "0"], "a whole number from 1 to 18446744073709551615");
    check(&["-", "--max-secret-chars", "-5"], "a whole number from 1 to 18446744073709551615");
    check(&["-", "--output", "raw"], "invalid value 'raw'");
    check(&["-", "--format", "xml"], "invalid value 'xml'");
    check(&["-", "--nonsense"], "unexpected argument '--nonsense'");
    check(&["x"], "a file is named by --file x");
    check(&["\u{1b}[31m"], "\\u{1b}[31m");
    check(&["-", "--file", "x"], "cannot be used with");
    check(&[], "required arguments were not provided");
}

#[test]
fn a_document_that_cannot_be_read_is_one_line() {
    let (folder, _) = Folder::with("x", "");
    let folder = folder.path().to_str().expect("UTF-8");
    let check = |arguments: &[&str], expected: &str| {
        let run = run(&[&["decode"], arguments].concat());
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        assert!(run.stderr.starts_with(&format!("blueprint-decoder: {expected}")), "{run:?}");
    };
    check(&["--file", "/no/such/file"], "source_not_found: cannot read /no/such/file: No such");
    check(&["--file", folder], &format!("source_failed: cannot read {folder}: is a directory"));
    check(&["--file", "/no/\u{1b}[31m\n"], "source_not_found: cannot read /no/\\u{1b}[31m\\n: No");
    check(&["-", "--charset", "klingon"], "unsupported_document: --charset klingon: ");
    check(&["-", "--charset", "replacement"], "unsupported_document: --charset replacement: ");
}

/// The memory of a process is a file that opens and cannot be read at its start.
#[test]
fn a_document_that_breaks_off_is_said_in_the_form_asked_for() {
    let run = run(&["decode", "--file", "/proc/self/mem", "--format", "ndjson"]);

    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(run.json()["error"]["code"], "source_failed");
    assert!(run.stderr.starts_with("blueprint-decoder: source_failed: cannot read /proc/self/mem"));
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let run = output(command(&["decode", "-"]).stdin(Stdio::null()).stdout(full));

    assert_eq!(run.code, Some(1));
    assert!(run.stderr.starts_with("blueprint-decoder: output_failed: cannot write the result"));
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for arguments in [&["--help"][..], &["--version"], &["decode", "--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let run = output(command(arguments).stdout(full));
        assert_eq!(run.code, Some(1), "{run:?}");
    }
}

#[test]
fn documents_with_nothing_to_find_are_done() {
    let check = |document: &str, unterminated: u64| {
        let run = run_with_input(&["decode", "-", "--format", "json"], document.as_bytes());
        let json = run.assert_done().json();
        assert_eq!(json["summary"]["returned"], 0);
        assert_eq!(json["summary"]["unterminated"], unterminated);
        assert_eq!(json["summary"]["bytes_scanned"], document.len());
    };
    check("", 0);
    check(&"{*".repeat(100_000), 1);
    check(&"{*\n".repeat(100_000), 100_000);
}

#[test]
fn commands_of_later_versions_say_so() {
    let check = |arguments: &[&str], name: &str| {
        let run = run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
        let expected = format!("blueprint-decoder: not_built: {name} is not part of version");
        assert!(run.stderr.starts_with(&expected), "{run:?}");
    };
    check(&["audit", "verify", "x"], "audit");
}

#[test]
fn a_key_is_for_a_tenant_or_for_the_staff_in_a_role_that_there_is() {
    let check = |arguments: &[&str], expected: &str| {
        let run = run(&[&["keys", "new"], arguments].concat());
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
        assert!(run.stderr.contains(expected), "{run:?}");
    };
    check(&["--role", "viewer"], "--tenant <NAME>|--staff");
    check(&["--tenant", "x"], "--role <ROLE>");
    check(&["--tenant", "x", "--staff", "--role", "viewer"], "cannot be used with");
    check(&["--tenant", "x", "--role", "operator"], "--role is viewer or decoder here");
    check(&["--staff", "--role", "decoder"], "--role is auditor or operator here");
    check(&["--tenant", "Big", "--role", "viewer"], "is no name of a tenant: 1 to 32 of a-z");
    check(&["--tenant", "anonymous", "--role", "viewer"], "is no name of a tenant");
}

#[test]
fn ten_faults_in_the_configuration_are_ten_lines() {
    let faults = "a = 1\nb = 2\nserver.bind = 3\nserver.x = 4\nlimits.max_secrets = -5\n\
                  limits.max_secret_chars = \"6\"\nlimits.max_document_bytes = \"7\"\n\
                  audit.keep_days = 8\negress.attempts = 0\ntelemetry.log_format = \"ten\"\n";
    let (_folder, path) = Folder::with("bad.toml", faults);

    let run = run(&["check-config", "--config", path.to_str().expect("UTF-8")]);

    assert_eq!((run.code, run.stdout.as_str()), (Some(78), ""), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 10, "{run:?}");
    for line in run.stderr.lines() {
        assert!(line.starts_with("blueprint-decoder: configuration: "), "{line}");
        assert!(line.contains("bad.toml:"), "{line}");
    }
}
