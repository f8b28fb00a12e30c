//! Answers that come before the request body is complete, as the HTTP/2 clients that people use
//! receive them. Behind the feature `real-tools`: a missing client is a failure, and `.ci/setup`
//! installs all four.

use crate::support::app::TestApp;
use std::{io::Write, process::Stdio, time::Duration};
use tempfile::NamedTempFile;
use tokio::{process::Command, time::timeout};

/// How many requests each client makes for each case.
const RUNS: usize = 20;

/// How long a client may take for its requests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Posts a file with httpx; the arguments are URL, content type, file and number of requests.
const HTTPX: &str = r#"
import sys, httpx
url, kind, file, runs = sys.argv[1:]
body = open(file, "rb").read()
for _ in range(int(runs)):
    with httpx.Client(http1=False, http2=True, timeout=10) as client:
        print(client.post(url, content=body, headers={"Content-Type": kind}).text)
"#;

/// The same with Node's own client.
const NODE: &str = r#"
const http2 = require('node:http2'), fs = require('node:fs');
const [url, kind, file, runs] = process.argv.slice(1);
const { origin, pathname, search } = new URL(url);
const body = fs.readFileSync(file);
const post = () => new Promise((resolve, reject) => {
  const session = http2.connect(origin).on('error', reject);
  const headers = { ':method': 'POST', ':path': pathname + search, 'content-type': kind };
  const request = session.request({ ...headers, 'content-length': body.length });
  request.setTimeout(10_000, () => reject(new Error('no answer within 10 seconds')));
  let answer = '';
  request.setEncoding('utf8').on('error', reject).on('data', (data) => { answer += data; });
  request.on('end', () => { session.close(); resolve(answer); });
  request.end(body);
});
(async () => { for (let run = 0; run < Number(runs); run += 1) console.log(await post()); })()
  .catch((error) => { console.error(error); process.exit(1); });
"#;

/// Makes [`RUNS`] requests for each case with one client. `command` makes a command that posts a
/// file, given a URL, a content type and the file; it makes `requests` requests each time it runs.
async fn check(command: impl Fn(&str, &str, &str) -> Command, requests: usize) {
    let app = TestApp::start("limits.max_request_bytes = \"1MiB\"").await;
    let mut file = NamedTempFile::new().expect("a file");
    let document = format!("{}{}", "{*a*}".repeat(10), "x".repeat(2 << 20));
    file.write_all(document.as_bytes()).expect("written");
    let file = file.path().to_str().expect("UTF-8");
    for (query, kind, expected) in [
        // Ten secrets is the default limit; what follows them is not scanned.
        ("", "text/plain", "\"stopped_by\":\"max_secrets\""),
        ("", "application/json", "\"code\":\"request_too_large\""),
        ("", "application/pdf", "\"code\":\"unsupported_media_type\""),
        ("?max_secrets=0", "text/plain", "\"code\":\"invalid_request\""),
    ] {
        let mut answered = 0;
        for _ in 0..RUNS / requests {
            let mut command = command(&app.url(&format!("/decode{query}")), kind, file);
            command.stdin(Stdio::null()).kill_on_drop(true);
            let output = timeout(PATIENCE, command.output()).await.expect("it ends in time");
            let hint = "run .ci/setup if it is missing, then: source .ci/env";
            let output = output.unwrap_or_else(|error| panic!("{error}; {hint}"));
            let is_ok = output.status.success();
            assert!(is_ok, "{expected} after {answered} requests ({hint}): {output:?}");
            answered += String::from_utf8_lossy(&output.stdout).matches(expected).count();
        }
        assert_eq!(answered, RUNS, "{expected}");
    }
    app.at_rest().await;
}

#[tokio::test]
async fn curl_receives_every_early_answer() {
    let post = |url: &str, kind: &str, file: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "10", "--http2-prior-knowledge"]);
        command.args(["--header", &format!("Content-Type: {kind}")]);
        command.args(["--data-binary", &format!("@{file}"), url]);
        command
    };
    check(post, 1).await;
}

#[tokio::test]
async fn httpx_receives_every_early_answer() {
    let post = |url: &str, kind: &str, file: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", HTTPX, url, kind, file, &RUNS.to_string()]);
        command
    };
    check(post, RUNS).await;
}

#[tokio::test]
async fn node_receives_every_early_answer() {
    let post = |url: &str, kind: &str, file: &str| {
        let mut command = Command::new("node");
        command.args(["-e", NODE, url, kind, file, &RUNS.to_string()]);
        command
    };
    check(post, RUNS).await;
}

#[tokio::test]
async fn nghttp_receives_every_early_answer() {
    let post = |url: &str, kind: &str, file: &str| {
        let mut command = Command::new("nghttp");
        command.args(["--timeout=10", "--header=:method: POST"]);
        command.args([&format!("--header=content-type: {kind}"), &format!("--data={file}"), url]);
        command
    };
    check(post, 1).await;
}
