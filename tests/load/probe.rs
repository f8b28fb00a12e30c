//! Asks for `/health` each 100 ms, as an orchestrator would, and counts from the moment
//! when each question was due.

use crate::{
    answer::{self, PATIENCE},
    figures::Latencies,
    server::get,
};
use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

/// Probes until they are asked for their figures: over a kept connection, and over a fresh
/// one each time.
pub(crate) struct Probes {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Probed>>,
}

#[derive(Default)]
pub(crate) struct Probed {
    latencies: Vec<u32>,
    pub(crate) unanswered: usize,
}

const INTERVAL: Duration = Duration::from_millis(100);

impl Probes {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let probe = |keeps: bool| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || probe(address, keeps, &is_over))
        };
        let threads = vec![probe(true), probe(false)];
        Self { is_over, threads }
    }

    /// Those of the kept connection, and those of the fresh ones.
    pub(crate) fn end(self) -> Vec<Probed> {
        self.is_over.store(true, Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    }
}

impl Probed {
    pub(crate) fn latencies(&self) -> Latencies {
        Latencies::of(self.latencies.iter().copied())
    }
}

fn probe(address: SocketAddr, keeps: bool, is_over: &AtomicBool) -> Probed {
    let mut probed = Probed::default();
    let mut kept = None;
    let began = Instant::now();
    for due in (0..).map(|number| INTERVAL * number) {
        sleep(due.saturating_sub(began.elapsed()));
        if is_over.load(Relaxed) {
            break;
        }
        match ask(address, kept.take()) {
            Ok((200, stream)) => {
                let latency = began.elapsed().saturating_sub(due);
                probed.latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
                kept = keeps.then_some(stream);
            }
            Ok(_) | Err(_) => probed.unanswered += 1,
        }
    }
    probed
}

fn ask(address: SocketAddr, kept: Option<TcpStream>) -> io::Result<(u16, TcpStream)> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&address, PATIENCE)?,
    };
    let request = get(address, "/health", "keep-alive");
    let answer = answer::ask(&mut stream, request.as_bytes())?;
    Ok((answer.status, stream))
}
