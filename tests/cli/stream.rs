//! Input that is still being written, output that nobody reads any more, and how
//! much memory that takes.

use super::support::{command, run_with_input, spawn};
use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Child,
    time::{Duration, Instant},
};

#[test]
fn a_line_leaves_while_the_input_is_still_written() {
    let mut child = spawn(&["decode", "-", "--format", "ndjson"]);
    let mut stdin = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("UTF-8");

    stdin.write_all(b"\xef\xbb\xbf{*on").expect("written");
    stdin.write_all(b"e*} {*two*} {*three*").expect("written");
    assert!(next().contains("\"value\":\"one\""));
    assert!(next().contains("\"value\":\"two\""));
    stdin.write_all(b"}").expect("written");
    assert!(next().contains("\"value\":\"three\""));
    drop(stdin);
    assert!(next().starts_with("{\"summary\""));

    assert!(child.wait().expect("ended").success());
}

#[test]
fn the_scan_ends_with_the_last_secret_asked_for_though_input_goes_on() {
    let mut child = spawn(&["decode", "-", "--max-secrets", "1"]);
    let mut stdin = child.stdin.take().expect("piped");

    stdin.write_all(b"{*one*} and more").expect("written");

    // The input stays open until the binary has ended.
    assert!(child.wait().expect("ended").success());
    drop(stdin);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = spawn(&["decode", "-", "--format", "ndjson", "--max-secrets", "100000000"]);
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));

    stdin.write_all(b"{*one*}").expect("written");
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    drop(stdout);
    let mut written = 0_u64;
    while stdin.write_all(b"{*more*}{*more*}{*more*}{*more*}").is_ok() {
        written += 1;
        assert!(written < 100_000_000, "the binary does not notice");
    }

    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!(stderr, "");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
}

/// The peak memory of a running process in KiB.
fn peak_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// The peak after so many MiB of `piece`, while the input is still open.
fn peak_after(mebibytes: usize, beginning: &[u8], piece: &[u8]) -> u64 {
    let mut child = spawn(&["decode", "-", "--format", "ndjson", "--max-secrets", "100000000"]);
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let block = piece.repeat((1 << 20) / piece.len());
    stdin.write_all(b"{*first*}\n").expect("written");
    stdin.write_all(beginning).expect("written");
    for _ in 0..mebibytes {
        stdin.write_all(&block).expect("written");
    }
    // A pipe holds at most 1 MiB: with the last secret out, the rest was scanned.
    stdin.write_all(b"*}\n{*last*}\n").expect("written");
    let mut line = String::new();
    while !line.contains("\"last\"") {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("a line") > 0, "the answer ended");
    }
    let peak = peak_kib(&child);
    drop(stdin);
    assert!(child.wait().expect("ended").success());
    peak
}

#[test]
fn memory_does_not_grow_with_the_document_the_line_or_the_secret() {
    for (beginning, piece) in [
        (&b""[..], &b"nothing to see here\n"[..]),
        (b"", b"no line feed "),
        (b"{*", b"one long secret, "),
        (b"{*", b"                "),
        (b"", b"{* open\n"),
        (b"", b"{*{*{*{*"),
    ] {
        let small = peak_after(1, beginning, piece);
        let large = peak_after(48, beginning, piece);
        assert!(large < small + 1024, "{piece:?}: {small} KiB, then {large} KiB");
        assert!(large < 20 * 1024, "{piece:?}: {large} KiB");
    }
}

#[test]
fn a_document_that_ends_at_every_boundary_of_a_read_is_whole() {
    for length in [128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 256 * 1024] {
        let mut document = vec![b'x'; length - 5];
        document.extend_from_slice(b"{*z*}");
        let json = run_with_input(&["decode", "-", "--format", "json"], &document).assert_done();
        let json = json.json();
        assert_eq!(json["secrets"][0]["offset"], length - 5);
        assert_eq!(json["summary"]["bytes_scanned"], length);
    }
}

/// How often `text` stands in the memory of a process.
fn occurrences(child: &Child, text: &str) -> usize {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).expect("procfs");
    let memory = std::fs::File::open(format!("/proc/{}/mem", child.id())).expect("procfs");
    let mut count = 0;
    for map in maps.lines().filter(|map| map.contains(" rw-p ")) {
        let (from, to) =
            map.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let address = |hex| u64::from_str_radix(hex, 16).expect("an address");
        let mut bytes = vec![0; usize::try_from(address(to) - address(from)).expect("a length")];
        // Some are not there to be read, like guard pages.
        if memory.read_exact_at(&mut bytes, address(from)).is_ok() {
            count += bytes.windows(text.len()).filter(|bytes| *bytes == text.as_bytes()).count();
        }
    }
    count
}

/// Looks again and again, but not for ever.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::yield_now();
    }
}

/// Nothing of a secret stays with a process that waits for more.
#[test]
fn a_secret_that_was_handed_on_is_wiped() {
    for (output, charset) in [("full", "utf-8"), ("masked", "utf-8"), ("full", "latin1")] {
        let arguments = ["decode", "-", "--format", "ndjson", "--output", output];
        // Without the address space that the allocator reserves, which takes long to read.
        let mut child = command(&[&arguments[..], &["--charset", charset]].concat())
            .env("MIMALLOC_ARENA_RESERVE", "0")
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();

        // The value is complete only with the second piece: it goes through every buffer.
        stdin.write_all(b"{*KEY: the hidden do").expect("written");
        wait_until(|| occurrences(&child, "the hidden do") > 0);
        stdin.write_all(b"or*}").expect("written");
        stdout.read_line(&mut line).expect("a line");

        // The line leaves before the last buffer is wiped: wait for that.
        wait_until(|| occurrences(&child, "hidden do") == 0);
        assert!(line.contains("KEY: "), "{line}");
        drop(stdin);
        assert!(child.wait().expect("ended").success());
    }
}

/// Another process that has the same pipe may have made it non-blocking.
#[test]
fn pipes_that_do_not_block_are_waited_for() {
    use rustix::fs::{OFlags, fcntl_setfl};
    let (input, mut to_input) = std::io::pipe().expect("a pipe");
    let (mut from_output, output) = std::io::pipe().expect("a pipe");
    fcntl_setfl(&input, OFlags::NONBLOCK).expect("set");
    fcntl_setfl(&output, OFlags::NONBLOCK).expect("set");
    let mut child = command(&["decode", "-", "--format", "ndjson", "--max-secrets", "100000"])
        .stdin(input)
        .stdout(output)
        .spawn()
        .expect("started");

    // The input is empty while the binary looks for the first time, and the output,
    // which nobody reads, is full before the input has ended.
    wait_until(|| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        status.expect("procfs").contains("State:\tS")
    });
    let writer = std::thread::spawn(move || {
        to_input.write_all(&b"{*one*}".repeat(20_000)).expect("written");
    });
    wait_until(|| rustix::io::ioctl_fionread(&from_output).expect("a count") > 60_000);
    let mut lines = String::new();
    from_output.read_to_string(&mut lines).expect("UTF-8");

    writer.join().expect("all was taken");
    assert_eq!(lines.lines().count(), 20_001);
    assert!(child.wait().expect("ended").success());
}
