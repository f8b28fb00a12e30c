//! `decode --source`: what the command line fetches, under the same policy.

use crate::support::{
    app::{allowing, program},
    upstream::{
        Reply,
        Step::{Endless, Send},
        Upstream,
    },
};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::process::Command;

/// A run that has ended.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    /// The code of a failure, from the last line on standard error.
    fn failure(&self) -> &str {
        let last = self.stderr.lines().last().unwrap_or_default();
        let rest = last.strip_prefix("blueprint-decoder: ");
        rest.and_then(|rest| Some(rest.split_once(": ")?.0)).unwrap_or_else(|| panic!("{self:?}"))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

async fn decode(config: &str, source: &str, arguments: &[&str]) -> Run {
    let file = NamedTempFile::with_suffix(".toml").expect("a file");
    std::fs::write(file.path(), config).expect("written");
    let mut command = Command::from(program());
    command.args(["decode", "--source", source, "--config"]).arg(file.path()).args(arguments);
    let output = command.kill_on_drop(true).output();
    let patience = std::time::Duration::from_secs(20);
    let output = tokio::time::timeout(patience, output).await.expect("it ends").expect("it starts");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[tokio::test]
async fn a_source_is_fetched_and_the_answer_says_so() {
    let upstream = Upstream::tls().await;
    upstream.on("/a.txt", Reply::gzip("x {*DOOR: east*}"));
    let ca = Upstream::ca_file();
    let config = allowing(&[&upstream], &ca, "");
    let source = upstream.url("/a.txt?key=1");

    let run = decode(&config, &source, &["--format", "json"]).await;
    let report = decode(&config, &source, &[]).await;
    let lines = decode(&config, &source, &["--format", "ndjson", "--output", "masked"]).await;

    assert_eq!(run.code, Some(0), "{run:?}");
    let json = run.json();
    assert_eq!(json["source"], upstream.url("/a.txt"));
    assert_eq!(json["secrets"][0]["value"], "DOOR: east");
    assert_eq!(json["fetch"]["status"], 200);
    assert_eq!(json["fetch"]["attempts"], 1);
    assert_eq!(json["fetch"]["final_source"], upstream.url("/a.txt"));
    assert!(json["timing_ms"]["connect"].is_f64(), "{json}");
    assert!(json.get("request_id").is_none(), "{json}");
    assert!(report.code == Some(0) && report.stdout.contains("DOOR: east"), "{report:?}");
    assert!(lines.code == Some(0) && lines.stdout.contains("\"DOOR: ********\""), "{lines:?}");
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn a_failure_is_a_line_with_its_code_and_exit_code_1() {
    let upstream = Upstream::tls().await;
    let endless = Reply::stream([Send("{*a*}".into()), Endless(vec![b' '; 1000])]);
    upstream.on("/large", endless);
    upstream.on("/500", Reply::ok("").status(500));
    upstream.on("/403", Reply::ok("").status(403));
    upstream.on("/png", Reply::ok("").header("Content-Type", "image/png"));
    let ca = Upstream::ca_file();
    let config = allowing(&[&upstream], &ca, "hosts.\"private.test\" = [\"10.0.0.1\"]")
        + "[limits]\nmax_document_bytes = \"64KiB\"\n";
    let others = "allow = [\"https://private.test\", \"https://[::1]\", {";
    let config = config.replace("allow = [{", others);
    for (source, code) in [
        (upstream.url("/large"), "document_too_large"),
        (upstream.url("/none"), "source_not_found"),
        (upstream.url("/500"), "source_failed"),
        (upstream.url("/403"), "source_rejected"),
        (upstream.url("/png"), "unsupported_document"),
        ("https://private.test/".to_owned(), "source_denied"),
        ("https://[::1]/".to_owned(), "source_denied"),
        ("https://evil.test/".to_owned(), "source_denied"),
        ("evil.test".to_owned(), "invalid_request"),
    ] {
        let run = decode(&config, &source, &["--format", "json"]).await;

        assert_eq!((run.code, run.failure()), (Some(1), code), "{source}: {run:?}");
        // What was found may stand there, but no answer that looks whole.
        let whole = serde_json::from_str::<Value>(&run.stdout).ok();
        assert!(whole.is_none_or(|json| json["error"]["code"] == code), "{run:?}");
    }
}

/// A failure has a sentence for callers and one for the log, which may be the same.
#[tokio::test]
async fn no_sentence_of_a_failure_stands_there_twice() {
    let upstream = Upstream::tls().await;
    let location = upstream.url("/around");
    upstream.on("/around", Reply::ok("").status(302).header("Location", &location));
    let ca = Upstream::ca_file();
    let config = allowing(&[&upstream], &ca, "");
    let check = async |source: &str, expected: &str| {
        let run = decode(&config, source, &[]).await;
        assert_eq!(run.stderr, format!("blueprint-decoder: {expected}\n"), "{run:?}");
    };
    check(
        "./x",
        "invalid_request: --source: this is not an absolute URL: begin with https:// and a host",
    )
    .await;
    let userinfo = "a URL must not contain a user or a password: leave out everything up to the @";
    check("https://u:p@source.test/", &format!("source_denied: {userinfo}")).await;
    let around = format!("redirect 2, of {location}: the source redirects in a circle");
    check(&location, &format!("source_denied: {around}")).await;
}

#[tokio::test]
async fn lines_end_with_the_problem() {
    let upstream = Upstream::tls().await;
    let short = Reply::stream([Send("{*a*}\n".into())]).header("Content-Length", "99");
    upstream.on("/short", short);
    let ca = Upstream::ca_file();

    let config = allowing(&[&upstream], &ca, "");
    let run = decode(&config, &upstream.url("/short"), &["--format", "ndjson"]).await;

    assert_eq!((run.code, run.failure()), (Some(1), "source_failed"), "{run:?}");
    let lines: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{run:?}");
    assert_eq!(lines[0]["value"], "a");
    assert_eq!(lines[1]["error"]["code"], "source_failed");
}

#[tokio::test]
async fn more_than_the_limits_of_the_configuration_is_a_fault_of_usage() {
    let more = ["--max-secrets", "10001"];
    let run = decode("", "https://raw.githubusercontent.com/", &more).await;

    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stdout.is_empty() && run.stderr.contains("--max-secrets"), "{run:?}");
}

#[tokio::test]
async fn a_configuration_that_is_refused_is_exit_code_78() {
    let run = decode("[egress]\nallow = [\"nonsense\"]\n", "https://x.test/", &[]).await;

    assert_eq!(run.code, Some(78), "{run:?}");
    assert!(run.stderr.contains("egress.allow"), "{run:?}");
}
