//! What is left of connections and requests that are over: nothing.
//!
//! `LEFTOVERS` says how many of each there are; the nightly run has 100,000.

use crate::support::{
    app::{PATIENCE, TestApp},
    upstream::{
        Reply,
        Step::{Hold, Send},
        Upstream,
    },
};
use blueprint_decoder::{
    app::{self, Listeners, Signals},
    config::Config,
    http,
    telemetry::{
        LineWriter, Metrics,
        log::{self, Format},
    },
};
use serde_json::json;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::timeout,
};

fn count() -> u64 {
    std::env::var("LEFTOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// Numbers that look like chance and are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Requests of every kind; some are answered at once, some take for ever.
fn requests(upstream: &Upstream) -> Vec<Vec<u8>> {
    upstream.on("/quick", Reply::ok("{*a*}"));
    upstream.on("/held", [Hold]);
    let half = [Send("{*a*}\n".into()), Hold];
    upstream.on("/half", Reply::stream(half));
    let post = |accept: &str, body: String| {
        let length = body.len();
        format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: {accept}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let source = |path: &str| json!({ "source": upstream.url(path) }).to_string();
    let document = json!({ "content": "{*a*}\n".repeat(10_000), "max_secrets": 10_000 });
    let chunked = "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
                   Transfer-Encoding: chunked\r\n\r\n6\r\n{*a*}\n\r\n0\r\n\r\n";
    let all = [
        post("*/*", source("/quick")),
        post("*/*", source("/held")),
        post("application/x-ndjson", source("/half")),
        post("*/*", document.to_string()),
        post("application/x-ndjson", document.to_string()),
        chunked.to_owned(),
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
    ];
    all.into_iter().map(String::into_bytes).collect()
}

/// Opens connections, says some of a request on each, hears some of the answer, and leaves.
async fn leave(address: SocketAddr, requests: &[Vec<u8>], count: u64) {
    let mut dice = Dice(0x5eed);
    let at_once = Arc::new(Semaphore::new(100));
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let request = &requests[dice.below(requests.len())];
        // A third says it all.
        let said = dice.below(request.len() * 3 / 2).min(request.len());
        let (request, hears) = (request[..said].to_vec(), dice.below(3) * 100);
        let is_rude = dice.below(2) == 0;
        let permit = Arc::clone(&at_once).acquire_owned().await.expect("open");
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let _ = stream.write_all(&request).await;
            let mut heard = vec![0; hears];
            // What is held says nothing.
            let _ = timeout(Duration::from_millis(20), stream.read(&mut heard)).await;
            if is_rude {
                let _ = stream.set_zero_linger();
            }
            drop((stream, permit));
        });
        while let Some(left) = clients.try_join_next() {
            left.expect("no panic");
        }
    }
    while let Some(left) = clients.join_next().await {
        left.expect("no panic");
    }
}

/// The descriptors of a process, and its memory in bytes.
fn has(pid: u32) -> (usize, u64) {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kilobytes: u64 = memory.trim_end_matches(" kB").trim().parse().expect("a number");
    (descriptors, kilobytes << 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_gauges_and_memory_are_back_where_they_were() {
    let upstream = Upstream::tls().await;
    let requests = requests(&upstream);
    let config = "[server]\nheader_timeout = \"1s\"\n";
    let app = TestApp::with_source(&upstream, "", config).await;
    let at_rest = || async {
        app.metrics_when(|metrics| {
            let at_most = |series: &str, value: f64| metrics[series] <= value;
            at_most("decoder_http_requests_in_flight", 0.0)
                // The client that asks keeps one, or two.
                && at_most("decoder_http_connections", 2.0)
                && at_most("decoder_pool_in_use{pool=\"inline\"}", 0.0)
                && at_most("decoder_pool_in_use{pool=\"fetch\"}", 0.0)
                && at_most("decoder_queue_depth{pool=\"fetch\"}", 0.0)
        })
        .await
    };
    // What is made once is made now, and pages that lie free are taken again.
    let (mut descriptors, mut memory) = (0, 0);
    for _ in 0..2 {
        leave(app.address, &requests, count()).await;
        at_rest().await;
        let (descriptors_now, memory_now) = has(app.pid());
        (descriptors, memory) = (descriptors.max(descriptors_now), memory.max(memory_now));
    }

    leave(app.address, &requests, count()).await;
    at_rest().await;

    let (descriptors_now, memory_now) = has(app.pid());
    // Connections to the source are kept for a while.
    assert!(descriptors_now <= descriptors + 10, "{descriptors_now} after {descriptors}");
    assert!(memory_now < memory + (8 << 20), "{memory_now} after {memory}");
    let metrics = at_rest().await;
    assert_eq!(metrics["decoder_log_lines_dropped_total"], 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_is_left() {
    let upstream = Upstream::tls().await;
    let requests = requests(&upstream);
    let ca = Upstream::ca_file();
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    let config = crate::support::app::allowing(&[&upstream], &ca, "")
        + "[server]\nbind = \"127.0.0.1:0\"\nheader_timeout = \"1s\"\n\
           [rate_limit]\nenabled = false\n[server.shutdown]\nnotice = \"0s\"\n";
    std::fs::write(file.path(), config).expect("written");
    let loaded = Config::load(Some(file.path()), [], &[]).expect("a configuration");
    let metrics = Arc::new(Metrics::new(&http::labels()).expect("metrics"));
    let listeners = Listeners::bind(&loaded.config).expect("a port");
    let address = listeners.public.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let writer = LineWriter::start(io::sink(), metrics.log_lines_dropped.clone()).expect("a log");
    let (_, levels) = log::subscriber("info".parse().expect("a level"), Format::Json, writer);
    let counted = Arc::clone(&metrics);
    let service = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        let hangups = signal(SignalKind::hangup()).expect("a signal");
        let signals = Signals { shutdown: stopped, hangups };
        app::run(&loaded.config, &loaded.settings, counted, levels, listeners, signals).await
    });
    // What serves, and what waits for connections of the source.
    leave(address, &requests, 100).await;
    let alive = || Handle::current().metrics().num_alive_tasks();
    // Waits until there are no more tasks than that.
    let rests_with = |tasks: usize| {
        let metrics = &metrics;
        async move {
            while metrics.connections.get() > 0 || metrics.in_flight.get() > 0 || alive() > tasks {
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(PATIENCE, rests_with(usize::MAX)).await.expect("rest");
    let before = alive();

    leave(address, &requests, count()).await;
    // Of connections to the source a few may come and go.
    let rest = timeout(PATIENCE, rests_with(before + 10)).await;
    let after = alive();
    stop.send(()).expect("it serves");
    service.await.expect("no panic").expect("an end");

    assert!(rest.is_ok(), "{after} after {before}");
}
