//! The commands of the README and of `docs/`, executed by a shell and curl as they are printed, in
//! the order in which the README leads to the pages. Behind the feature `real-tools`; a program that is missing is a failure:
//! `apt-get install bash curl`.

use crate::support::app::{TestApp, program};
use regex::Regex;
use std::{fs, net::TcpListener, path::Path, process::Command};

/// A command with what it prints.
struct Example {
    command: String,
    printed: String,
}

/// The commands that need nothing but this program, a shell and curl.
fn examples() -> Vec<Example> {
    let pages = [
        include_str!("../../README.md"),
        include_str!("../../docs/cli.md"),
        include_str!("../../docs/configuration.md"),
        include_str!("../../docs/egress.md"),
        include_str!("../../docs/callers.md"),
    ];
    let block = Regex::new(r"(?ms)^```(console|sh)\n(.*?)^```").expect("a regex");
    let mut examples: Vec<Example> = Vec::new();
    for found in pages.iter().flat_map(|page| block.captures_iter(page)) {
        let is_console = &found[1] == "console";
        let mut within_document = false;
        for line in found[2].lines() {
            let command = if is_console { line.strip_prefix("$ ") } else { Some(line) };
            let last = examples.last_mut();
            match (command, last) {
                (_, Some(last)) if within_document => {
                    within_document = line != "END";
                    last.command += &format!("\n{line}");
                }
                (Some(command), _) => {
                    within_document = command.ends_with("<<'END'");
                    examples.push(Example { command: command.to_owned(), printed: String::new() });
                }
                (None, Some(last)) => last.printed += &format!("{line}\n"),
                (None, None) => panic!("{line} is printed by no command"),
            }
        }
    }
    examples
}

/// What differs from one run to the next, made the same.
fn settled(text: &str) -> String {
    let id = Regex::new(r#""request_id":"[^"]*""#).expect("a regex");
    let time = Regex::new(r#""total":[0-9.]+"#).expect("a regex");
    let text = id.replace_all(text, r#""request_id":"…""#);
    time.replace_all(&text, r#""total":0"#).trim_end().to_owned()
}

/// As a reader does it: the service of the first section runs on its port until the end, and the
/// program is not there before the page installs it.
#[tokio::test]
async fn the_readme_and_the_docs_do_what_they_say_in_order() {
    // Its document is on the internet, which is not asked here.
    let config = "[egress]\nhosts.\"raw.githubusercontent.com\" = [\"127.0.0.1\"]\n";
    let open = TestApp::start(config).await;
    let (folder, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let examples = examples();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let locked = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let here = |text: &str| {
        text.replace("127.0.0.1:8080", &open.address.to_string())
            .replace("127.0.0.1:8090", &locked)
            // It would follow the file for ever.
            .replace("tail -f", "tail -n +1")
    };
    let mut script = format!(
        "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\ncargo() {{\n  case \"$*\" in\n  \
         'run --release' | test) ;;\n  'install --path . --locked') ln -s {:?} {:?} ;;\n  \
         *) return 1 ;;\n  esac\n}}\n",
        program().get_program(),
        out.path().join("blueprint-decoder"),
    );
    // Its host is nobody's.
    let can_be_run = |command: &str| !command.starts_with("blueprint-decoder check-url ");
    for (place, Example { command, .. }) in examples.iter().enumerate() {
        if can_be_run(command) {
            script +=
                &format!("{{\n{}\n}} >{:?}\n", here(command), out.path().join(place.to_string()));
        }
    }

    let mut bash = Command::new("bash");
    let path = format!("{}:/usr/bin:/bin", out.path().display());
    bash.args(["-c", &script]).current_dir(folder.path()).env_clear();
    bash.env("PATH", path).env("DECODER__SERVER__SHUTDOWN__NOTICE", "0s");
    let ran = bash.output().expect("bash runs: apt-get install bash curl");

    let output = |place: usize| read(&out.path().join(place.to_string()));
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{stderr}\n{script}");
    for (place, Example { command, printed }) in examples.iter().enumerate() {
        let text = output(place);
        if !can_be_run(command) || command.ends_with('&') {
            continue;
        } else if command.contains("raw.githubusercontent.com") {
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(json["code"], "source_denied", "{text}");
        } else if command.contains("curl -si ") {
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            assert!(printed.lines().all(|line| lines.contains(&line)), "{command}: {text}");
        } else if command.starts_with("tail -f") {
            assert!(text.starts_with(printed), "{command}: {text}");
        } else {
            assert_eq!(settled(&text), settled(printed), "{command}");
        }
    }
    // Each of the two services was asked what was meant for it.
    let locked = examples.iter().position(|example| example.command.ends_with('&'));
    let locked = locked.expect("a second service");
    assert!(output(locked + 1).starts_with("HTTP/1.1 401 "), "{}", output(locked + 1));
    assert!(output(locked + 2).contains("\"value\":\"DOOR: east\""), "{}", output(locked + 2));
    let requests = |log: String| log.matches("\"message\":\"request\"").count();
    assert_eq!(requests(output(locked)), 2, "{}", output(locked));
    assert_eq!(requests(open.log_lines().join("\n")), 4);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
