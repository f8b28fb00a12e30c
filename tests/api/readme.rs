//! The curl lines of the README, executed by curl as they are printed.

use crate::support::app::{TestApp, undisturbed};
use regex::Regex;
use std::{net::TcpListener, process::Command};

/// The commands of the README that ask the service, with what they print.
fn examples() -> Vec<(String, String)> {
    let readme = include_str!("../../README.md");
    let block = Regex::new(r"(?ms)^```console\n\$ (curl [^\n]*)\n(.*?)^```").expect("a regex");
    let found = block.captures_iter(readme);
    found.map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
}

/// What differs from one run to the next, made the same.
fn settled(text: &str) -> String {
    let id = Regex::new(r#""request_id":"[^"]*""#).expect("a regex");
    let time = Regex::new(r#""total":[0-9.]+"#).expect("a regex");
    let text = id.replace_all(text, r#""request_id":"…""#);
    time.replace_all(&text, r#""total":0"#).trim_end().to_owned()
}

#[tokio::test]
async fn what_the_readme_prints_is_what_curl_gets() {
    let app = TestApp::start("").await;
    let examples = examples();
    assert!(examples.len() >= 4, "{examples:?}");

    for (command, expected) in examples {
        assert!(command.contains("http://127.0.0.1:8080/"), "{command}");
        let command = command.replace("127.0.0.1:8080", &app.address.to_string());
        let shell = Command::new("sh").args(["-c", &command]).output();
        let output = shell.expect("a shell and curl: apt-get install curl");
        assert!(output.status.success(), "{command}: {output:?}: apt-get install curl");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        if expected.is_empty() {
            // Its document is on the internet, which may not be there.
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert!(json["request_id"].is_string(), "{text}");
        } else {
            assert_eq!(settled(&text), settled(&expected), "{command}");
        }
    }
}

/// The three commands that make a key and use it, as they are printed, in a folder of their own.
#[test]
fn three_commands_lead_to_a_decode_that_a_key_opens() {
    let readme = include_str!("../../README.md");
    let block = Regex::new(r"(?ms)^```console\n(\$ umask .*?)^```").expect("a regex");
    let block = block.captures(readme).expect("the commands")[1].to_owned();
    let (commands, printed): (Vec<&str>, Vec<&str>) =
        block.lines().partition(|line| line.starts_with("$ "));
    assert_eq!(commands.len(), 3, "{commands:?}");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_blueprint-decoder"));
    let folder = tempfile::tempdir().expect("a folder");
    let script = commands.iter().map(|command| command[2..].replace("127.0.0.1:8080", &address));
    let script = script.collect::<Vec<_>>().join("\n");
    // What it leaves behind ends with it.
    let script = format!("trap 'kill %1' EXIT\nset -m\n{script}\n");

    let mut command = Command::new("bash");
    undisturbed(&mut command, "[rate_limit]");
    let path = format!(
        "{}:{}",
        binary.parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    command.env("PATH", path).env("DECODER__SERVER__BIND", &address).current_dir(folder.path());
    let output = command.args(["-c", &script]).output().expect("bash runs");

    let text = String::from_utf8_lossy(&output.stdout);
    for line in printed {
        assert!(text.contains(line), "{line} not in {text} {output:?}");
    }
    assert!(text.contains("\"value\":\"DOOR: east\""), "{text}");
    let log = text.lines().filter(|line| line.contains("\"message\":\"request\""));
    assert!(log.into_iter().all(|line| line.contains("\"tenant\":\"league\"")), "{text}");
}
