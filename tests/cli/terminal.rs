//! What a person at a terminal sees besides the result.

use super::support::{command, spawn};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::{
    fs::File,
    io::{Read, Write},
    process::Stdio,
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
