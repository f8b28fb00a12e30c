//! The service as a process of its own, on a core of its own.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A running service; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// How a core has spent its time.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Core {
    pub(crate) service: Duration,
    /// The service, and all others.
    pub(crate) processes: Duration,
    /// What the system does besides: the packets of the service, for the most part.
    pub(crate) interrupts: Duration,
}

const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";

/// Keeps this process, and what it starts from here on, off the core of the service.
pub(crate) fn step_aside() -> bool {
    let pid = std::process::id().to_string();
    let mut command = Command::new("taskset");
    command.args(["-acp", GENERATOR_CORE, &pid]).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// An address that is free now.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(directory: &Path, config: &str) -> io::Result<Self> {
        Self::start_at(free_address()?, directory, config)
    }

    pub(crate) fn start_at(
        address: SocketAddr,
        directory: &Path,
        config: &str,
    ) -> io::Result<Self> {
        let path = directory.join(format!("decoder-{}.toml", address.port()));
        std::fs::write(&path, config)?;
        let log = File::create(directory.join(format!("decoder-{}.log", address.port())))?;
        let mut command = Command::new("taskset");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DECODER") {
                command.env_remove(name);
            }
        }
        command.args(["-c", SERVER_CORE, env!("CARGO_BIN_EXE_blueprint-decoder"), "serve"]);
        command.arg("--config").arg(&path).arg("--bind").arg(address.to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut server = Self { child, address };
        let began = Instant::now();
        while !is_ready(address) {
            let ended = server.child.try_wait()?;
            if ended.is_some() || began.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other(format!("{address} does not serve: {ended:?}")));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Its memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) << 10
    }

    /// How its core has spent its time so far.
    pub(crate) fn core(&self) -> Core {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let time = |text: &str| Duration::from_millis(text.parse::<u64>().unwrap_or(0) * 10);
        let stat = read(&format!("/proc/{}/stat", self.child.id()));
        // Behind the name, which ends with the last parenthesis.
        let fields = stat.rsplit(')').next().unwrap_or("").split_ascii_whitespace();
        let service = fields.skip(11).take(2).map(time).sum();
        let stat = read("/proc/stat");
        let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{SERVER_CORE} ")));
        let fields: Vec<_> = line.unwrap_or("").split_ascii_whitespace().map(time).collect();
        let sum = |of: &[usize]| of.iter().filter_map(|at| fields.get(*at)).sum();
        Core { service, processes: sum(&[0, 1, 2]), interrupts: sum(&[5, 6]) }
    }

    /// Its metrics of this name that are not 0.
    pub(crate) fn series(&self, name: &str) -> io::Result<Vec<(String, String)>> {
        let text = ask(self.address, "/metrics", Duration::from_secs(30))?;
        let series = text.lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0"));
        let parts = series.filter_map(|line| line.rsplit_once(' '));
        Ok(parts.map(|(series, value)| (series.to_owned(), value.to_owned())).collect())
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Waits until it has ended; its exit code.
    pub(crate) fn ended(&mut self) -> io::Result<Option<i32>> {
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status of `GET path`, asked over a connection of its own.
pub(crate) fn status_of(address: SocketAddr, path: &str, patience: Duration) -> io::Result<u16> {
    let answer = ask(address, path, patience)?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.ok_or_else(|| io::Error::other("no answer"))
}

fn ask(address: SocketAddr, path: &str, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(get(address, path, "close").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(crate) fn get(address: SocketAddr, path: &str, connection: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: {connection}\r\n\r\n")
}

/// Whether it wants requests.
pub(crate) fn is_ready(address: SocketAddr) -> bool {
    status_of(address, "/health/ready", Duration::from_secs(2)).is_ok_and(|status| status == 200)
}
