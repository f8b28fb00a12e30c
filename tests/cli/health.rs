//! `health`: asks a running service whether it is alive, or ready.

use super::support::{Folder, Run, command, run};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, ChildStdout},
    thread,
};

/// A running service on a free port; stopped when it is dropped.
struct Service {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Service {
    fn start() -> Self {
        let mut child =
            command(&["serve", "--bind", "127.0.0.1:0"]).spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout }
    }

    /// Where it listens, which it says as soon as it does.
    fn address(&mut self) -> String {
        for line in self.stdout.by_ref().lines() {
            let line: serde_json::Value =
                serde_json::from_str(&line.expect("UTF-8")).expect("JSON");
            if line["message"] == "listening" {
                return line["address"].as_str().expect("an address").to_owned();
            }
        }
        panic!("it ended before it listened");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line on standard error, with the code.
fn assert_not_healthy(run: &Run) {
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.stderr.starts_with("blueprint-decoder: not_healthy: "), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
}

#[test]
fn a_running_service_is_alive_and_ready() {
    let mut service = Service::start();
    let address = service.address();
    let url = format!("http://{address}");

    let alive = run(&["health", "--url", &url]).assert_done();
    let ready = run(&["health", "--ready", "--url", &format!("{url}/")]).assert_done();

    assert_eq!(alive.json()["status"], "ok");
    assert_eq!(ready.json()["status"], "ready");
    assert_eq!(ready.json()["checks"]["serving"]["ok"], true);
}

#[test]
fn without_a_url_the_configured_address_is_asked() {
    let mut service = Service::start();
    let config = format!("[server]\nbind = \"{}\"\n", service.address());
    let (_folder, path) = Folder::with("config.toml", config);

    let alive = run(&["health", "--config", path.to_str().expect("UTF-8")]).assert_done();

    assert_eq!(alive.json()["status"], "ok");
}

#[test]
fn where_nobody_listens_nothing_is_healthy() {
    assert_not_healthy(&run(&["health", "--url", "http://127.0.0.1:1"]));
    assert_not_healthy(&run(&["health", "--ready", "--url", "http://127.0.0.1:1"]));
}

#[test]
fn an_answer_other_than_200_is_not_healthy() {
    for answer in [
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).expect("a head");
            }
            stream.get_mut().write_all(answer.as_bytes()).expect("written");
        });

        assert_not_healthy(&run(&["health", "--url", &url]));

        server.join().expect("it was asked");
    }
}

#[test]
fn what_is_no_url_of_a_service_is_a_fault_of_usage() {
    for url in ["https://localhost", "localhost:8080", "http://", "http://x/y"] {
        let run = run(&["health", "--url", url]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    }
}
