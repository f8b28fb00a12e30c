//! Connections: accepted, watched, served, and let go of without losing what was said.
//!
//! What guards them stands in `pace.rs`: a connection notes what it waits for, and the
//! watch of its listener closes it when that takes too long. Neither the parser nor the
//! handlers know of it.

mod clock;
mod pace;
mod reader;
mod stream;
mod watch;

pub(super) use pace::Pace;
pub(super) use reader::Reader;

use crate::telemetry::Metrics;
use axum::{Router, body::Body, response::Response, routing::future::RouteFuture};
use clock::ticks;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::rt::TokioIo;
use pace::{LAST_WORDS, Patience};
use reader::Readers;
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use stream::{Open, Stream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch::Receiver},
    time::sleep,
};
use tower::Service;

pub use watch::Watch;

/// What a connection is granted.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// How long a head may take.
    pub header_timeout: Duration,
    /// How long there may be no request.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is written.
    pub write_timeout: Duration,
    /// From the head of a request to the last byte of its answer.
    pub request_timeout: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// The bytes of the head of a request.
    pub max_header_bytes: usize,
}

/// Who a request comes from, as far as its connection tells; an extension of the request.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) pace: Arc<Pace>,
}

/// How long to wait when the system gives no more connections.
const PAUSE: Duration = Duration::from_millis(50);

/// How many answers may be in the making on one connection of HTTP/2.
const MAX_STREAMS: u32 = 128;
/// What a client may send ahead on one of them, and on all of them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of an answer is kept for a client that has no room for it.
const SEND_BUFFER: usize = 64 * 1024;

/// A listener, and all that was accepted from it.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    served: Arc<Served>,
}

/// What all connections of a listener have in common.
struct Served {
    routes: Router,
    grants: ConnectionLimits,
    metrics: Arc<Metrics>,
    watch: Arc<Watch>,
    http_1: http1::Builder,
    http_2: http2::Builder<Readers>,
}

impl Server {
    /// Serves routes on a listener, once it runs.
    pub fn new(
        listener: TcpListener,
        routes: Router,
        grants: ConnectionLimits,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let watch = Watch::new(Patience {
            header: ticks(grants.header_timeout),
            idle: ticks(grants.idle_timeout),
            write: ticks(grants.write_timeout),
        });
        let mut http_1 = http1::Builder::new();
        http_1
            // The watch does that, and knows an idle connection from half a head.
            .header_read_timeout(None)
            .max_header_size(grants.max_header_bytes)
            .max_buf_size(SEND_BUFFER.max(grants.max_header_bytes));
        let readers = Readers {
            clock: Arc::clone(&watch.clock),
            write: grants.write_timeout,
            longest: grants.request_timeout + LAST_WORDS,
            // Over HTTP/1, too, at most every connection lingers.
            discards: Arc::new(Semaphore::new(grants.max_connections)),
        };
        let mut http_2 = http2::Builder::new(readers);
        http_2
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(grants.max_header_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        let served = Served { routes, grants, metrics, watch, http_1, http_2 };
        Ok(Self { listener, address, served: Arc::new(served) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has under way, for who must know.
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.served.watch)
    }

    /// Accepts until `stop` changes; then closes what is idle, and returns when all else
    /// has come to its end.
    pub async fn run(self, mut stop: Receiver<()>) {
        let Self { listener, served, .. } = self;
        let watch = Arc::clone(&served.watch);
        let serving = async {
            served.accept_until(&mut stop, listener).await;
            watch.come_to(0).await;
        };
        tokio::select! {
            never = watch.keep() => match never {},
            () = serving => {}
        }
    }
}

impl Served {
    async fn accept_until(self: &Arc<Self>, stop: &mut Receiver<()>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                // The sender says so, or is gone.
                _ = stop.changed() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    tokio::select! {
                        biased;
                        () = self.watch.fewer_than(self.grants.max_connections) => {}
                        // Then there is no need for room.
                        _ = stop.changed() => {}
                    }
                    self.admit(stream, peer);
                }
                Err(error) => {
                    // Of one connection, or of all while descriptors are short.
                    tracing::warn!(%error, "connection could not be accepted");
                    self.watch.make_room();
                    sleep(PAUSE).await;
                }
            }
        }
        self.watch.stop();
        // Connections in the backlog are still accepted; later ones are not.
        if let Ok(listener) = listener.into_std() {
            let come = std::iter::from_fn(|| listener.accept().ok());
            for (stream, peer) in come.take(self.grants.max_connections) {
                let stream =
                    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    self.admit(stream, peer);
                }
            }
        }
    }

    /// Begins to serve a connection.
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let pace = Pace::new(Arc::clone(&self.watch.clock));
        let ticket = self.watch.over(Arc::clone(&pace));
        let stream = Stream::new(stream, Arc::clone(&pace), Open::new(ticket, &self.metrics));
        let peer = Peer { address: peer.ip(), pace };
        tokio::spawn(Arc::clone(self).attend(stream, peer));
    }

    async fn attend(self: Arc<Self>, mut stream: Stream, peer: Peer) {
        let Ok(is_http_2) = stream.is_http_2().await else { return };
        let pace = Arc::clone(&peer.pace);
        let requests = Requests { served: Arc::clone(&self), peer };
        let io = TokioIo::new(stream);
        let ended = if is_http_2 {
            pace.speaks_http_2();
            // Boxed, so that the others do not carry its size.
            let mut connection = Box::pin(self.http_2.serve_connection(io, requests));
            tokio::select! {
                biased;
                ended = &mut connection => ended,
                () = pace.farewell() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        } else {
            self.http_1.serve_connection(io, requests).await
        };
        // What a connection dies of is its client's affair; requests are recorded.
        if let Err(error) = ended {
            if error.is_parse() {
                self.metrics.security_event("malformed_input");
            }
            tracing::debug!(%error, "connection ended with an error");
        }
    }
}

/// Serves the requests of one connection.
struct Requests {
    served: Arc<Served>,
    peer: Peer,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.clone());
        self.served.routes.clone().call(request)
    }
}
