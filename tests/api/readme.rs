//! The curl lines of the README, executed by curl as they are printed.

use crate::support::app::TestApp;
use regex::Regex;
use std::process::Command;

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
