//! What cannot be done is said in one clear line with the right exit code.

use super::support::{Folder, command, output, run, run_with_input};
use std::process::{Command, Stdio};

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
    check(&["\u{1b}[31m"], "\\u{1b}[31m");
    check(&["-", "--charset", "klingon"], "--charset klingon: this charset cannot be decoded");
    check(&["-", "--charset", "replacement"], "such as utf-8, windows-1252 or shift_jis");
    check(&["-", "--charset", "klingon"], "Usage: blueprint-decoder decode ");
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
}

/// The shell itself reads what the hint says, and `decode` takes it as it was meant.
#[test]
fn the_hint_for_a_document_that_is_no_hyphen_can_be_pasted() {
    let hinted = |document: &str| {
        let run = run(&["decode", "--", document]);
        assert_eq!(run.code, Some(2), "{run:?}");
        let (_, hint) = run.stderr.split_once("write ").expect("a hint");
        let hint = hint.lines().next().expect("a line").to_owned();
        let script = format!("printf '%s\\0' {hint}");
        let words = output(Command::new("bash").args(["-c", &script])).stdout;
        (hint, words.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>())
    };
    let files = [
        "x",
        "my file.txt",
        "it's",
        "-x",
        "$(id)",
        "a\"b`c\\d",
        "~",
        "#x",
        "*",
        "\u{1b}[31m",
        "line\nfeed\t1",
        "\u{202e}txt.exe",
        "ü 日本",
        "a;b",
        "!x",
        "'",
    ];
    for file in files {
        let (hint, words) = hinted(file);
        assert_eq!(words, [format!("--file={file}")], "{hint}");
        let run = run(&["decode", &words[0]]);
        assert!(run.stderr.contains("source_not_found: cannot read "), "{run:?}");
    }
    assert_eq!(hinted("x").0, "--file=x");
    assert_eq!(hinted("my file.txt").0, "--file='my file.txt'");
    let url = "https://a.example/x?y=1&z";
    assert_eq!(hinted(url), (format!("--source='{url}'"), vec![format!("--source={url}")]));
}

#[test]
fn an_address_to_listen_on_is_shown_as_it_must_look() {
    let check = |given: &str, expected: &str| {
        for command in [&["serve"][..], &[]] {
            let run = run(&[command, &["--bind", given]].concat());
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
            let expected = format!(": write an address with a port, such as {expected}\n");
            assert!(run.stderr.contains(&expected), "{run:?}");
        }
    };
    check("9000", "127.0.0.1:9000");
    check(":9000", "127.0.0.1:9000");
    check("localhost:9000", "127.0.0.1:9000");
    check("http://127.0.0.1:9000", "127.0.0.1:9000");
    check("10.1.2.3", "10.1.2.3:8080");
    check("::1", "[::1]:8080");
    check("[::1]", "[::1]:8080");
    check("nowhere", "127.0.0.1:8080");
    check("99999", "127.0.0.1:8080");
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
    check(
        &["--tenant", "x", "--role", "operator"],
        "--role operator is not for --tenant: use viewer or decoder",
    );
    check(
        &["--staff", "--role", "decoder"],
        "--role decoder is not for --staff: use auditor or operator",
    );
    check(&["--tenant", "Big", "--role", "viewer"], "is no name of a tenant: 1 to 32 of a-z");
    check(&["--tenant", "anonymous", "--role", "viewer"], "is no name of a tenant");
    check(&["--role", "admin"], "[possible values: viewer, decoder, auditor, operator]");
    check(&["--staff", "--role", "viewer"], "Usage: blueprint-decoder keys new ");
    check(&["--tenant", "Big", "--role", "viewer"], "Usage: blueprint-decoder keys new ");
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
