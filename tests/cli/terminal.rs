//! What a person at a terminal sees besides the result.

use super::support::{command, run, spawn};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Stdio},
};

/// A terminal: what a process writes to the one side is read from the other.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let theirs = File::options().read(true).write(true).open(name).expect("the other side");
    (File::from(ours), theirs)
}

/// All that comes until the other side is closed, which reads as an error.
fn rest(terminal: &mut File) -> String {
    let mut text = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(length @ 1..) = terminal.read(&mut chunk) {
        text.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What comes until a line with this text is whole; a failure where nothing comes for long.
fn until(terminal: &mut File, expected: &str) -> String {
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    let mut text = String::new();
    while !text.split_inclusive('\n').any(|line| line.contains(expected) && line.ends_with('\n')) {
        let ready = poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&patience));
        assert_eq!(ready, Ok(1), "no {expected:?} in {text:?}");
        let mut byte = [0; 1];
        terminal.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        text.push(char::from(byte[0]));
    }
    text
}

/// A service on a free port; it is killed when it is dropped.
struct Service(Child);

impl Service {
    fn start(stdout: impl Into<Stdio>, log_format: &str) -> Self {
        let mut command = command(&["serve", "--bind", "127.0.0.1:0"]);
        // Nothing but a second signal ends it while a test runs.
        command.env("DECODER__SERVER__SHUTDOWN__NOTICE", "1000s");
        command.env("DECODER__SERVER__SHUTDOWN__GRACE", "20s");
        command.env("DECODER__SERVER__ADMIN_BIND", "127.0.0.1:0");
        command.env("DECODER__TELEMETRY__LOG_FORMAT", log_format);
        Self(command.stdin(Stdio::null()).stdout(stdout).spawn().expect("started"))
    }

    fn interrupt(&self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("sent");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_person_is_told_where_the_service_listens_and_how_long_it_takes_to_stop() {
    for log_format in ["auto", "pretty"] {
        let (mut ours, theirs) = terminal();
        let mut service = Service::start(theirs, log_format);

        let shown = until(&mut ours, "Admin listener at ");
        for (before, after) in
            [("Ready at ", " (press Ctrl-C to stop)\r\n"), ("Admin listener at ", "\r\n")]
        {
            let (_, rest) = shown.split_once(before).unwrap_or_else(|| panic!("{shown:?}"));
            let (url, _) = rest.split_once(after).unwrap_or_else(|| panic!("{shown:?}"));
            run(&["health", "--url", url]).assert_done();
        }
        service.interrupt();
        until(
            &mut ours,
            "Stopping: new requests are still answered for 1000s, then work has 20s to finish. \
             Press Ctrl-C again to stop at once.\r\n",
        );
        // It has not stopped: whoever asks is still answered.
        assert_eq!(service.0.try_wait().expect("asked"), None);
        service.interrupt();

        assert_eq!(service.0.wait().expect("ended").code(), Some(0));
    }
}

#[test]
fn a_log_for_programs_has_nothing_but_lines_of_json() {
    let check = |service: Service, log: &mut File| {
        let mut lines = until(log, "\"public\"");
        service.interrupt();
        lines += &until(log, "shutting down");
        service.interrupt();
        drop(service);
        lines += &rest(log);
        let message = |line: &str| -> String {
            let line: serde_json::Value = serde_json::from_str(line).expect(line);
            line["message"].as_str().expect("words").to_owned()
        };
        let messages: Vec<String> = lines.lines().map(message).collect();
        assert_eq!(messages, ["listening", "listening", "shutting down"]);
    };
    let (mut ours, theirs) = terminal();
    check(Service::start(theirs, "json"), &mut ours);
    for log_format in ["auto", "json"] {
        let mut service = Service::start(Stdio::piped(), log_format);
        let stdout = service.0.stdout.take().expect("piped");
        check(service, &mut File::from(std::os::fd::OwnedFd::from(stdout)));
    }
}

#[test]
fn at_the_end_the_counts_stand_on_standard_error() {
    let (mut ours, theirs) = terminal();
    let child = command(&["decode", "--file", "Cargo.toml"])
        .stdin(Stdio::null())
        .stderr(theirs)
        .spawn()
        .expect("started");

    let output = child.wait_with_output().expect("ended");

    let shown = rest(&mut ours);
    assert!(shown.starts_with("secrets_recovered=0 fetch_duration_ms="), "{shown:?}");
    assert_eq!(shown.lines().count(), 1, "no bar for short work: {shown:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("MISSION REPORT"));
}

#[test]
fn long_work_shows_a_bar_and_takes_it_away() {
    let (mut ours, theirs) = terminal();
    let mut child = command(&["decode", "-"]).stderr(theirs).spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"{*one*}").expect("written");

    // Nothing is shown before the bar, and the input stays open until it is there.
    let mut first = [0; 256];
    let length = ours.read(&mut first).expect("the bar");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");

    let bar = String::from_utf8_lossy(&first[..length]).into_owned();
    let shown = bar + &rest(&mut ours);
    assert!(shown.contains("7 B"), "{shown:?}");
    let (before, counts) = shown.split_once("secrets_recovered=1 ").expect("the counts");
    assert!(before.ends_with("\r\u{1b}[2K"), "the bar is cleared: {shown:?}");
    assert!(counts.starts_with("fetch_duration_ms="), "{shown:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1. one"));
}

#[test]
fn without_a_terminal_standard_error_is_silent() {
    let mut child = spawn(&["decode", "-"]);
    drop(child.stdin.take());

    let output = child.wait_with_output().expect("ended");

    assert_eq!(output.stderr, b"");
}

/// The bar and the result on one terminal: the result is whole all the same.
#[test]
fn the_bar_steps_aside_for_the_result() {
    let (mut ours, theirs) = terminal();
    let stdout = theirs.try_clone().expect("the same terminal");
    let mut child =
        command(&["decode", "-"]).stdout(stdout).stderr(theirs).spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");

    let mut shown = String::new();
    let mut chunk = [0; 256];
    while !shown.contains("0 B") {
        let length = ours.read(&mut chunk).expect("the bar");
        shown.push_str(&String::from_utf8_lossy(&chunk[..length]));
    }
    stdin.write_all(b"{*one*}").expect("written");
    drop(stdin);
    assert!(child.wait().expect("ended").success());

    let shown = shown + &rest(&mut ours);
    assert!(shown.contains("  1. one\r\n     UNCLASSIFIED, line 1, byte 0\r\n"), "{shown:?}");
}

/// A bar would wipe the line that is being typed.
#[test]
fn a_document_that_is_typed_shows_no_bar() {
    let (mut ours, theirs) = terminal();
    let (stdin, stderr) = (theirs.try_clone().expect("the terminal"), theirs);
    let mut child = command(&["decode", "-"]).stdin(stdin).stderr(stderr).spawn().expect("started");

    ours.write_all(b"{*one*}\n").expect("typed");
    let mut first = [0; 1];
    child.stdout.as_mut().expect("piped").read_exact(&mut first).expect("the report begins");
    // Longer than the patience of the bar: nothing else would show that there is none.
    let patience = std::time::Instant::now();
    while patience.elapsed() < std::time::Duration::from_millis(700) {
        std::thread::yield_now();
    }
    ours.write_all(b"\x04").expect("the end");
    let output = child.wait_with_output().expect("ended");

    let shown = rest(&mut ours);
    assert!(!shown.contains("B/s"), "{shown:?}");
    assert!(shown.contains("secrets_recovered=1"), "{shown:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1. one"));
}
