//! A real Valkey or Redis server on loopback, which tests stop, kill and start again. Whoever
//! uses it is behind the feature `real-tools`: `apt-get install redis-server` has one.
//!
//! The library's own tests use it as well.

#![allow(dead_code)] // Each of the two that use it leaves something of it unused.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{self, BufRead, BufReader, ErrorKind, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Killed when it is dropped.
pub(crate) struct ValkeyServer {
    folder: TempDir,
    port: u16,
    args: Vec<String>,
    password: Option<String>,
    process: Child,
}

/// A port on loopback that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl ValkeyServer {
    /// One that keeps nothing on disk and asks for no password.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// One with these arguments besides.
    pub(crate) fn start_with(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let password = args.iter().position(|arg| arg == "--requirepass");
        let password = password.map(|at| args[at + 1].clone());
        let folder = tempfile::tempdir().expect("a folder");
        // Someone else may take the port before the server does.
        let (port, process) = (0..5)
            .find_map(|_| {
                let port = free_port();
                Some((port, spawn(&folder, port, &args)?))
            })
            .expect("the server starts");
        Self { folder, port, args, password, process }
    }

    /// On loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Of its database 0, without TLS.
    pub(crate) fn url(&self) -> String {
        format!("valkey://127.0.0.1:{}", self.port)
    }

    /// From now on it answers nothing, though connections to it come about.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on after a stop.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// It is gone, with all that it kept.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it ends");
    }

    /// Starts it again on the same port after [`Self::kill`].
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.folder, self.port, &self.args).expect("it starts again");
    }

    /// It forgets all keys and all scripts.
    pub(crate) fn flush(&self) {
        assert_eq!(self.command(&["FLUSHALL"]), "OK");
        assert_eq!(self.command(&["SCRIPT", "FLUSH"]), "OK");
    }

    /// What it answers: errors begin with `-`, what is in lists is on lines of its own, and
    /// nothing is an empty line.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let mut stream = connect(self.port).expect("it listens");
        if let Some(password) = &self.password {
            assert_eq!(ask(&mut stream, &["AUTH", password]).expect("an answer"), "OK");
        }
        ask(&mut stream, words).expect("an answer")
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("it is ours");
    }
}

impl Drop for ValkeyServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server that answers; nothing where it ended instead, as for a port that is taken.
fn spawn(folder: &TempDir, port: u16, args: &[String]) -> Option<Child> {
    let start = |program| {
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]).args(args);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
    };
    let mut process = start("valkey-server")
        .or_else(|_| start("redis-server"))
        .expect("valkey-server or redis-server is there: apt-get install redis-server");
    let began = Instant::now();
    while process.try_wait().expect("it is ours").is_none() {
        let pong = connect(port).and_then(|mut stream| ask(&mut stream, &["PING"]));
        if pong.is_ok_and(|said| said == "PONG" || said.starts_with("-NOAUTH")) {
            return Some(process);
        }
        if began.elapsed() > PATIENCE {
            let _ = process.kill();
            break;
        }
        sleep(Duration::from_millis(5));
    }
    let _ = process.wait();
    None
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, words: &[&str]) -> io::Result<String> {
    let mut asked = format!("*{}\r\n", words.len());
    for word in words {
        asked += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(asked.as_bytes())?;
    answer(&mut BufReader::new(stream))
}

fn answer(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let length = || line[1..].parse::<usize>().ok();
    match line.as_bytes().first() {
        Some(b'+' | b':') => Ok(line[1..].to_owned()),
        Some(b'-') => Ok(line.to_owned()),
        Some(b'$') => {
            let Some(length) = length() else { return Ok(String::new()) };
            let mut text = vec![0; length + 2];
            from.read_exact(&mut text)?;
            text.truncate(length);
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        Some(b'*') => {
            let items = (0..length().unwrap_or_default()).map(|_| answer(from));
            Ok(items.collect::<io::Result<Vec<_>>>()?.join("\n"))
        }
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}
