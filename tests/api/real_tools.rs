//! The metrics as Prometheus' own tool sees them. Behind the feature `real-tools`; a
//! program that is missing is a failure: `apt-get install prometheus` has `promtool`.

use crate::support::app::TestApp;
use serde_json::json;
use std::{
    io::Write,
    process::{Command, Stdio},
};

#[tokio::test]
async fn promtool_has_nothing_to_say_about_the_metrics() {
    let app = TestApp::start("").await;
    app.decode(&json!({ "content": "{*a*}" })).await;
    app.decode(&json!({ "source": "https://evil.test/" })).await;

    let metrics = app.get("/metrics").await;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = command.spawn();
    let mut promtool = started.expect("promtool is there: apt-get install prometheus");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(metrics.text.as_bytes()).expect("taken");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");

    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
}
