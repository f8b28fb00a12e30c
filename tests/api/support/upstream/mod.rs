//! A source on loopback that says exactly what a test tells it to, over real TLS or
//! plain, and tells what it was asked and how far it came.
//!
//! ```ignore
//! let upstream = Upstream::tls().await;
//! let gate = Gate::default();
//! upstream.on("/honest", Reply::ok("{*one*}"));
//! upstream.on("/slow", Reply::stream([Send("{*o".into()), Wait(gate.clone()), Send("ne*}".into())]));
//! upstream.on("/broken", [Send("HTTP/1.1 200 OK\r\n".into()), Reset]);
//! ```
//!
//! It speaks HTTP/1.1 without request bodies, takes a client that shuts its sending
//! half for one that has gone, and never lets time pass on purpose: what has to wait
//! waits for a [`Gate`], for the client, or for the upstream to be dropped.

mod certificates;
mod connection;
mod script;

pub(crate) use certificates::{TlsFault, honest_http_2};
pub(crate) use script::{Gate, Reply, Script, Step};

use connection::Connection;
use std::{
    collections::HashMap,
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempPath;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;

/// How long a test waits before it says in vain for what.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stops, and drops every connection, when it is dropped.
pub(crate) struct Upstream {
    origin: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

impl Upstream {
    /// `https://source.test`, with a certificate for that name, for `localhost` and for
    /// 127.0.0.1 by the authority of [`Upstream::ca_file`].
    pub(crate) async fn tls() -> Self {
        let acceptor = TlsAcceptor::from(certificates::honest());
        Self::start("https://source.test", Some(acceptor)).await
    }

    /// The same with a certificate that nobody should trust.
    pub(crate) async fn tls_with(fault: TlsFault) -> Self {
        let acceptor = TlsAcceptor::from(certificates::with(fault));
        Self::start("https://source.test", Some(acceptor)).await
    }

    /// The same, that says nothing of TLS to anyone until a gate is open.
    pub(crate) async fn tls_behind(gate: &Gate) -> Self {
        let acceptor = TlsAcceptor::from(certificates::honest());
        Self::start_behind("https://source.test", Some(acceptor), gate.clone()).await
    }

    /// `http://127.0.0.1`. To a client that begins TLS it says nothing, for ever.
    pub(crate) async fn plain() -> Self {
        Self::start("http://127.0.0.1", None).await
    }

    async fn start(origin: &str, tls: Option<TlsAcceptor>) -> Self {
        let gate = Gate::default();
        gate.open();
        Self::start_behind(origin, tls, gate).await
    }

    async fn start_behind(origin: &str, tls: Option<TlsAcceptor>, gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls, gate, Arc::clone(&shared)));
        let origin = format!("{origin}:{}", address.port());
        Self { origin, address, shared, _accepting: accepting }
    }

    /// The certificate of the authority, as PEM. The file goes when the path is dropped.
    pub(crate) fn ca_file() -> TempPath {
        certificates::ca_file()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// What to answer at a path, whatever the query. Said again for the same path, it is
    /// what comes next: each answer is given once, the last one from then on. A path of
    /// which nothing was said is 404.
    pub(crate) fn on(&self, path: &str, script: impl Into<Script>) {
        let mut routes = self.shared.routes.lock().expect("no panic while it is held");
        routes.entry(path.to_owned()).or_default().scripts.push(Arc::new(script.into()));
    }

    /// The connections accepted so far, whether or not they came to a request.
    pub(crate) fn connections(&self) -> usize {
        self.shared.seen.borrow().connections
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Head> {
        let seen = self.shared.seen.borrow();
        seen.exchanges.iter().map(|exchange| exchange.head.clone()).collect()
    }

    /// The next request for a path: the first call tells of the first, and so on.
    pub(crate) async fn requested(&self, path: &str) -> Head {
        let claim = |exchange: &mut Exchange| {
            (!mem::replace(&mut exchange.told, true)).then(|| exchange.head.clone())
        };
        self.next("was not asked for", path, claim).await
    }

    /// The next end of a connection that served a path: both sides have closed it, or one
    /// has reset it. A connection that served it twice ends twice.
    pub(crate) async fn closed(&self, path: &str) -> Ended {
        self.next("saw no connection end", path, |exchange| exchange.ended.take()).await
    }

    async fn next<T>(
        &self,
        what: &str,
        path: &str,
        mut claim: impl FnMut(&mut Exchange) -> Option<T>,
    ) -> T {
        let mut changes = self.shared.seen.subscribe();
        let claimed = async {
            loop {
                let mut claimed = None;
                self.shared.seen.send_if_modified(|seen| {
                    let mut here = seen.exchanges.iter_mut().filter(|it| it.head.path() == path);
                    claimed = here.find_map(&mut claim);
                    false
                });
                if let Some(claimed) = claimed {
                    return claimed;
                }
                changes.changed().await.expect("the sender is ours");
            }
        };
        timeout(PATIENCE, claimed).await.unwrap_or_else(|_| {
            panic!("{path} {what} (again) in {PATIENCE:?}: {:#?}", self.shared.seen.borrow())
        })
    }
}

/// The head of a request.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Which of the accepted connections it came on, from 1.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    fn parse(connection: usize, text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let (method, rest) = lines.next()?.split_once(' ')?;
        let target = rest.strip_suffix(" HTTP/1.1")?.to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        let headers = lines.map(header).collect::<Option<_>>()?;
        Some(Self { connection, method: method.to_owned(), target, headers })
    }

    /// The first value of a header, whatever the case of its name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// How a connection was for one of its requests when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// How many bytes of the steps of the script were written, before TLS and chunks.
    /// What the client has read of them may be less by what the sockets hold.
    pub(crate) written: u64,
    pub(crate) by: Party,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Client,
    Source,
}

#[derive(Default)]
struct Shared {
    routes: Mutex<HashMap<String, Route>>,
    seen: watch::Sender<Seen>,
}

#[derive(Default)]
struct Route {
    scripts: Vec<Arc<Script>>,
    next: usize,
}

impl Route {
    fn give(&mut self) -> Arc<Script> {
        let index = self.next.min(self.scripts.len() - 1);
        self.next = index + 1;
        Arc::clone(&self.scripts[index])
    }
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    exchanges: Vec<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    head: Head,
    told: bool,
    ended: Option<Ended>,
}

impl Shared {
    fn connected(&self) -> usize {
        self.seen.send_modify(|seen| seen.connections += 1);
        self.seen.borrow().connections
    }

    /// The number of the exchange, and what to answer.
    fn requested(&self, head: Head) -> (usize, Arc<Script>) {
        let mut routes = self.routes.lock().expect("no panic while it is held");
        let script = match routes.get_mut(head.path()) {
            Some(route) => route.give(),
            None => Arc::new(Reply::ok("").status(404).into()),
        };
        let mut number = 0;
        self.seen.send_modify(|seen| {
            number = seen.exchanges.len();
            seen.exchanges.push(Exchange { head, told: false, ended: None });
        });
        (number, script)
    }

    fn ended(&self, exchange: usize, ended: Ended) {
        self.seen.send_modify(|seen| seen.exchanges[exchange].ended = Some(ended));
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, gate: Gate, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.expect("a connection");
        tcp.set_nodelay(true).expect("an option that every TCP socket has");
        let number = shared.connected();
        let (tls, gate, shared) = (tls.clone(), gate.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            gate.opened().await;
            match tls {
                None => Connection::new(tcp, number, shared).serve().await,
                Some(tls) => {
                    // A client that refuses our certificate ends the handshake.
                    if let Ok(stream) = tls.accept(tcp).await {
                        Connection::new(stream, number, shared).serve().await;
                    }
                }
            }
        });
    }
}
