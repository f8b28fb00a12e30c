//! A source that speaks HTTP/2 over TLS, frame by frame as a test tells it to.

use super::{
    frames::{ACK, END_HEADERS, Frame, Kind, frame, header, next, settings},
    upstream::honest_http_2,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::{
    io::{AsyncWriteExt, split},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// What is said to a request: the bytes of frames, given the number of its stream.
pub(crate) type Says = fn(u32) -> Vec<u8>;

/// Stops when it is dropped.
pub(crate) struct Http2Source {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    /// Each is said once, the last one from then on; nothing: from then on the connection
    /// is silent, whatever comes.
    script: Mutex<Vec<Option<Says>>>,
    requests: AtomicUsize,
    connections: AtomicUsize,
}

impl Http2Source {
    pub(crate) async fn start(script: &[Option<Says>]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared { script: Mutex::new(script.to_vec()), ..Shared::default() });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, _serving: serving }
    }

    /// Connections so far, and requests.
    pub(crate) fn seen(&self) -> (usize, usize) {
        (self.shared.connections.load(Relaxed), self.shared.requests.load(Relaxed))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let acceptor = TlsAcceptor::from(honest_http_2());
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Relaxed);
        connections.spawn(serve(acceptor.clone(), stream, Arc::clone(&shared)));
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, shared: Arc<Shared>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let (mut reading, mut writing) = split(stream);
    let mut received = Vec::new();
    let mut preface = [0; 24];
    if tokio::io::AsyncReadExt::read_exact(&mut reading, &mut preface).await.is_err() {
        return;
    }
    let mut is_silent = false;
    let mut said = settings(&[]);
    loop {
        if writing.write_all(&said).await.is_err() || writing.flush().await.is_err() {
            return;
        }
        let Some(Frame { kind, flags, stream, payload }) = next(&mut reading, &mut received).await
        else {
            return;
        };
        said = match kind {
            _ if is_silent => Vec::new(),
            Kind::Settings if flags & ACK == 0 => frame(Kind::Settings, ACK, 0, []),
            Kind::Ping if flags & ACK == 0 => frame(Kind::Ping, ACK, 0, payload),
            Kind::Headers => {
                let place = shared.requests.fetch_add(1, Relaxed);
                let says = {
                    let script = shared.script.lock().expect("no panic");
                    script[place.min(script.len() - 1)]
                };
                is_silent = says.is_none();
                says.map(|says| says(stream)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
    }
}

/// The head of an answer with a document.
pub(crate) fn ok(stream: u32) -> Vec<u8> {
    frame(
        Kind::Headers,
        END_HEADERS,
        stream,
        [&[0x88][..], &header("content-type", "text/plain")].concat(),
    )
}
