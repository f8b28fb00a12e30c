//! A thousand slow connections of slowhttptest, and those who only want an answer. Behind
//! the feature `real-tools`; a program that is missing is a failure.

#![allow(clippy::print_stdout)]

use crate::support::app::TestApp;
use std::{process::Stdio, time::Duration};
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, interval, timeout},
};

/// How long an attack lasts.
const SECONDS: &str = "8";

/// Fifty requests a second for as long as the attack goes on; how long each took.
async fn fifty_a_second(app: &TestApp, mut attack: tokio::process::Child) -> Vec<Duration> {
    let mut ticks = interval(Duration::from_millis(20));
    let mut asked = JoinSet::new();
    let attacked = loop {
        tokio::select! {
            ended = attack.wait() => break ended.expect("a status"),
            due = ticks.tick() => {
                let request = app.client.post(app.url("/decode"));
                let request = request.header("Content-Type", "text/plain").body("{*a*}");
                asked.spawn(async move {
                    let answer = timeout(Duration::from_secs(20), request.send()).await;
                    (answer.expect("an answer in time").expect("an answer").status(), due.elapsed())
                });
            }
        }
    };
    assert!(attacked.success(), "{attacked}");
    let mut took = Vec::new();
    while let Some(answer) = asked.join_next().await {
        let (status, duration) = answer.expect("no panic");
        assert_eq!(status, 200);
        took.push(duration);
    }
    took.sort();
    took
}

/// All requests succeed beside such an attack; how fast is printed.
async fn attacked(name: &str, arguments: &[&str], path: &str) {
    let app = TestApp::start("").await;
    let mut attack = Command::new("bash");
    // It wants a descriptor for each connection.
    attack.args(["-c", "ulimit -n 4096; exec slowhttptest \"$@\"", "attack"]);
    attack.args(["-c", "1000", "-r", "500", "-l", SECONDS, "-v", "1", "-u", &app.url(path)]);
    attack.args(arguments).stdout(Stdio::null()).kill_on_drop(true);
    let began = Instant::now();
    let attack = attack.spawn().expect("bash");

    let took = fifty_a_second(&app, attack).await;

    // Who has no slowhttptest was done at once.
    assert!(began.elapsed() > Duration::from_secs(3), "slowhttptest: apt-get install slowhttptest");
    assert!(took.len() > 100, "{}", took.len());
    let (p99, most) = (took[took.len() * 99 / 100], took[took.len() - 1]);
    println!("{name}: {} requests, p99 {p99:?}, at most {most:?}", took.len());
    let connections = "decoder_http_connections";
    let is_over = |metrics: &std::collections::BTreeMap<String, f64>| metrics[connections] < 60.0;
    app.metrics_when(is_over).await;
}

#[tokio::test]
async fn slow_clients_are_in_nobodys_way() {
    attacked("slow heads", &["-H", "-i", "1"], "/decode").await;
    let bodies = ["-B", "-i", "1", "-f", "text/plain", "-s", "8192", "-x", "10"];
    attacked("slow bodies", &bodies, "/decode").await;
    let readers = ["-X", "-w", "1", "-y", "64", "-n", "1", "-z", "16"];
    attacked("slow readers", &readers, "/problems").await;
}
