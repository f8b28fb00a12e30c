//! Rolling restarts of two instances: behind nginx, and with clients that talk to them
//! directly. Not one request may fail.

use crate::{
    answer::{Answer, PATIENCE, ask},
    figures::{Latencies, Report, ms},
    requests,
    server::{Server, free_address, is_ready, status_of},
};
use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

const CONFIG: &str = "[rate_limit]\nenabled = false\n[server.shutdown]\nnotice = \"1s\"\n\
                      grace = \"5s\"\n";
const CLIENTS: usize = 8;
/// Between the requests of one client.
const PAUSE: Duration = Duration::from_millis(4);

/// What all clients of one kind have seen.
#[derive(Default)]
struct Seen(Mutex<Counts>);

#[derive(Default, Clone)]
struct Counts {
    latencies: Vec<u32>,
    closed: usize,
    failed: Vec<String>,
}

impl Seen {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, began: Instant, asked: &io::Result<Answer>) {
        let mut counts = self.counts();
        match asked {
            Ok(answer) if answer.status == 200 => {
                counts.latencies.push(began.elapsed().as_micros() as u32);
                counts.closed += usize::from(answer.closes);
            }
            Ok(answer) => counts.failed.push(format!("status {}", answer.status)),
            Err(error) => counts.failed.push(error.to_string()),
        }
    }
}

/// Restarts one of two instances so many times, in turn.
pub(crate) fn prove(restarts: usize, directory: &Path, report: &mut Report) -> io::Result<()> {
    let addresses = [free_address()?, free_address()?];
    let start = |address| Server::start_at(address, directory, CONFIG);
    let mut instances = [start(addresses[0])?, start(addresses[1])?];
    let nginx = Nginx::start(directory, &addresses)?;
    let (direct, proxied, is_over) = (Seen::default(), Seen::default(), AtomicBool::new(false));
    let (mut codes, mut refused, mut longest) = (Vec::new(), 0, Duration::ZERO);
    let restarted = thread::scope(|scope| {
        for first in 0..CLIENTS {
            let (direct, proxied, is_over, nginx) = (&direct, &proxied, &is_over, nginx.address);
            scope.spawn(move || direct_client(addresses, first, direct, is_over));
            // A connection of its own for each request: that nginx ends idle ones with its
            // own reload says nothing of the service.
            scope.spawn(move || proxied_client(nginx, proxied, is_over));
        }
        let mut restart = |number: usize| {
            sleep(Duration::from_millis(300));
            let instance = &mut instances[number % 2];
            let (address, other) = (addresses[number % 2], addresses[(number + 1) % 2]);
            let began = Instant::now();
            instance.terminate()?;
            // As an endpoint controller does: it sees that it is not ready, and takes it out.
            while status_of(address, "/health/ready", PATIENCE)? == 200 {
                sleep(Duration::from_millis(10));
            }
            nginx.serve_from(&[other])?;
            codes.push(instance.ended()?);
            longest = longest.max(began.elapsed());
            refused += usize::from(is_ready(address));
            *instance = start(address)?;
            nginx.serve_from(&addresses)
        };
        let restarted = (0..restarts).try_for_each(&mut restart);
        sleep(Duration::from_millis(300));
        is_over.store(true, Relaxed);
        restarted
    });
    report.tell("restarts", codes.len());
    report.tell("longest from SIGTERM to the exit", ms(longest));
    for (seen, clients) in [(&direct, "direct"), (&proxied, "behind nginx")] {
        let counts = seen.counts().clone();
        let latencies = Latencies::of(counts.latencies.iter().copied());
        let (requests, failed) = (latencies.count() + counts.failed.len(), counts.failed.len());
        report.tell(&format!("{clients}: requests"), requests);
        report.tell(&format!("{clients}: last of their connection"), counts.closed);
        report.tell(&format!("{clients}: p99"), ms(latencies.p99()));
        report.tell(&format!("{clients}: max"), ms(latencies.max()));
        report.demand(&format!("{clients}: failed or reset"), failed, "0", failed == 0);
        for failure in counts.failed.iter().take(5) {
            println!("    {failure}");
        }
    }
    let others: Vec<_> = codes.iter().filter(|code| **code != Some(0)).collect();
    report.demand("exit codes but 0", format!("{others:?}"), "[]", others.is_empty());
    report.demand("serving after their end", refused, "0", refused == 0);
    restarted
}

/// Keeps its connection until it is told to go, and then goes to an instance that is ready.
fn direct_client(addresses: [SocketAddr; 2], first: usize, seen: &Seen, is_over: &AtomicBool) {
    let mut kept: Option<(SocketAddr, TcpStream)> = None;
    let mut turn = first;
    while !is_over.load(Relaxed) {
        sleep(PAUSE);
        let began = Instant::now();
        let connected = match kept.take() {
            Some(kept) => Ok(kept),
            None => {
                turn += 1;
                let address = addresses[turn % 2];
                if !is_ready(address) {
                    continue;
                }
                TcpStream::connect_timeout(&address, PATIENCE).map(|stream| (address, stream))
            }
        };
        let asked = connected.and_then(|(address, mut stream)| {
            let answer = ask(&mut stream, &requests::document(address, "", requests::SMALL))?;
            if !answer.closes {
                kept = Some((address, stream));
            }
            Ok(answer)
        });
        seen.note(began, &asked);
    }
}

fn proxied_client(nginx: SocketAddr, seen: &Seen, is_over: &AtomicBool) {
    let request = requests::document(nginx, "", requests::SMALL);
    while !is_over.load(Relaxed) {
        sleep(PAUSE);
        let began = Instant::now();
        let asked = TcpStream::connect_timeout(&nginx, PATIENCE)
            .and_then(|mut stream| ask(&mut stream, &request))
            // It is the client that closes it.
            .map(|answer| Answer { closes: false, ..answer });
        seen.note(began, &asked);
    }
}

/// nginx in front of instances, with a configuration of its own.
struct Nginx {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Nginx {
    fn start(directory: &Path, instances: &[SocketAddr]) -> io::Result<Self> {
        let address = free_address()?;
        let directory = directory.to_owned();
        configure(&directory, address, instances)?;
        let mut command = nginx(&directory);
        let child = command.stdin(Stdio::null()).spawn().map_err(|error| {
            io::Error::other(format!("nginx does not start ({error}); LOAD_RESTARTS=0 is without"))
        })?;
        let nginx = Self { child, address, directory };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("nginx does not serve"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(nginx)
    }

    /// From now on it passes requests on to these.
    fn serve_from(&self, instances: &[SocketAddr]) -> io::Result<()> {
        configure(&self.directory, self.address, instances)?;
        let told = nginx(&self.directory).args(["-s", "reload"]).status()?;
        if told.success() { Ok(()) } else { Err(io::Error::other("nginx is not reloaded")) }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers with it.
        let _ = nginx(&self.directory).args(["-s", "stop"]).status();
        let _ = self.child.wait();
    }
}

fn nginx(directory: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).args(["-e", "nginx-error.log", "-c", "nginx.conf"]);
    command.stdout(Stdio::null());
    command
}

fn configure(directory: &Path, address: SocketAddr, instances: &[SocketAddr]) -> io::Result<()> {
    let servers: String =
        instances.iter().map(|instance| format!("server {instance} max_fails=0; ")).collect();
    let text = format!(
        "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log nginx-error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path body;\n  proxy_temp_path proxy;\n  \
         fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  \
         upstream decoder {{ {servers}keepalive 16; }}\n  server {{\n    listen {address};\n    \
         location / {{\n      proxy_pass http://decoder;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_set_header Host localhost;\n      \
         proxy_next_upstream off;\n    }}\n  }}\n}}\n"
    );
    fs::write(directory.join("nginx.conf"), text)
}
