//! A signal right after a system call by which the service prepares for signals, where
//! `strace` puts it. Behind the feature `real-tools`; a program that is missing is a
//! failure: `apt-get install strace`.

use crate::support::app::{PATIENCE, program, undisturbed};
use rustix::process::{Pid, Signal, kill_process};
use std::{os::unix::process::ExitStatusExt, path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

#[tokio::test]
async fn no_signal_is_lost_while_the_service_gets_ready_for_it() {
    let mut signalled = 0;
    while is_ended_by_a_signal_after_call(signalled + 1).await {
        signalled += 1;
    }
    // The runtime of the language has some, and each of the two signals.
    assert!(signalled >= 6, "{signalled}");
}

/// Whether there is such a call; then the service must end.
async fn is_ended_by_a_signal_after_call(number: u32) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let inject = format!("inject=rt_sigaction:signal=SIGTERM:when={number}");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=rt_sigaction", "-e", &inject]).arg("-o").arg(&trace);
    let mut service = program();
    undisturbed(&mut service, "");
    strace.arg(service.get_program()).args(["serve", "--bind", "127.0.0.1:0"]);
    for (name, value) in service.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut strace = strace.spawn().expect("strace is there: apt-get install strace");
    let mut log = BufReader::new(strace.stdout.take().expect("piped")).lines();
    let mut is_signalled = true;
    let ended = timeout(PATIENCE, async {
        while let Some(line) = log.next_line().await.expect("read") {
            if line.contains("\"listening\"") && !read(&trace).contains("--- SIGTERM") {
                is_signalled = false;
                // Each line of the trace begins with the process.
                let pid = read(&trace).split(' ').next().and_then(|pid| pid.parse().ok());
                let service = pid.and_then(Pid::from_raw).expect("traced");
                kill_process(service, Signal::TERM).expect("sent");
            }
        }
        strace.wait().await
    });
    let status = ended.await.expect("an end").expect("a status");
    // Before anyone listens, the signal itself ends the service, and strace with it.
    let by_signal = status.signal() == Some(Signal::TERM.as_raw());
    assert!(status.code() == Some(0) || by_signal, "{status:?} after {number}");
    is_signalled
}

fn read(trace: &Path) -> String {
    std::fs::read_to_string(trace).unwrap_or_default()
}
