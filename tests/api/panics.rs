//! What a bug does to a request: it ends it, and nothing else. In process, because the
//! service has no route that panics.

use crate::support::raw::Raw;
use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    routing::{get, post},
};
use blueprint_decoder::{
    app,
    config::Config,
    failure::{Code, Failure},
    http::{
        self, ActiveTenant, AllowedHosts, Authenticator, ConnectionLimits, Gates, Readiness,
        Refusal, Server, TenantLimits, TenantSnapshot,
    },
    identity::{KeyTable, Proxies},
    rate_limit::{CallerLimits, Gcra},
    telemetry::{
        LineWriter, Metrics, RecentFailures,
        log::{self, Format},
    },
};
use http_body::Frame;
use serde_json::Value;
use std::{
    io::{self, Write},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

/// What the panics say, and nobody may repeat.
const WORDS: &str = "s3cret words of a panic";

/// The log of this process, which has one for all tests.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines so far that contain a text.
fn lines_with(text: &str) -> Vec<Value> {
    let (writer, kept) = logging();
    writer.flush_within(Duration::from_secs(10));
    let kept = kept.0.lock().expect("not poisoned");
    let lines =
        std::str::from_utf8(&kept).expect("UTF-8").lines().filter(|line| line.contains(text));
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn logging() -> &'static (LineWriter, Kept) {
    static LOG: OnceLock<(LineWriter, Kept)> = OnceLock::new();
    LOG.get_or_init(|| {
        let kept = Kept::default();
        let dropped = Metrics::new(&[]).expect("metrics").log_lines_dropped;
        let writer = LineWriter::start(kept.clone(), dropped).expect("a thread");
        log::start("info".parse().expect("a filter"), Format::Json, &writer).expect("the first");
        (writer, kept)
    })
}

/// Some bytes and, when it is told to, a panic.
struct Panicking {
    begun: bool,
    told: oneshot::Receiver<()>,
}

impl HttpBody for Panicking {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{*begun*}\n")))));
        }
        let told = ready!(Pin::new(&mut self.told).poll(context));
        panic!("{WORDS} {told:?}")
    }
}

struct Served {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    recent: Arc<RecentFailures>,
}

/// Lets everyone in.
fn open_door(metrics: &Arc<Metrics>) -> Authenticator {
    let config = Config::load(None, [], &[]).expect("the defaults").config;
    let decoder = app::decoder(&config, Vec::new(), Arc::clone(metrics)).expect("a decoder");
    let tenant = app::anonymous(&decoder, 1 << 20).expect("a tenant");
    let limits = CallerLimits { rate: Gcra::new(1, 1), decodes_per_day: None };
    let counted = Arc::clone(&metrics.callers.anonymous);
    let anonymous =
        Arc::new(ActiveTenant { tenant, limits: TenantLimits::new(limits, 1), counted });
    let nobody = TenantSnapshot { key_table: KeyTable::default(), members: Vec::new() };
    Authenticator::new(false, nobody, anonymous, None, None, Arc::clone(metrics))
}

/// Serves a router behind the layers of the service.
async fn serve(routes: Router) -> Served {
    logging();
    let (metrics, recent) =
        (Arc::new(Metrics::new(&http::labels()).expect("metrics")), Arc::default());
    let readiness = Readiness::new(Arc::clone(&metrics));
    readiness.set_serving(true);
    let gates = Arc::new(Gates {
        metrics: Arc::clone(&metrics),
        recent: Arc::clone(&recent),
        readiness: Arc::new(readiness),
        proxies: Proxies::default(),
        hosts: AllowedHosts::Any,
        authenticator: Arc::new(open_door(&metrics)),
        is_local: true,
        request_timeout: Duration::from_secs(10),
        max_in_flight: 100,
        max_request_bytes: 1 << 20,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let grants = ConnectionLimits {
        header_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        max_connections: 100,
        max_header_bytes: 16 << 10,
    };
    let routes = http::layered(routes, &gates);
    let server = Server::new(listener, routes, grants, Arc::clone(&metrics)).expect("an address");
    let address = server.address();
    tokio::spawn(async {
        let (_never, stop) = watch::channel(());
        server.run(stop).await;
    });
    Served { address, metrics, recent }
}

impl Served {
    fn value(&self, series: &str) -> f64 {
        let text = self.metrics.encode(true).expect("metrics");
        let text = String::from_utf8(text).expect("UTF-8");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a number")
    }
}

const INTERNAL: &str = "decoder_decodes_total{blame=\"service\",code=\"internal\",\
                        input=\"content\",outcome=\"failed\"}";

fn routes() -> Router {
    let panics = post(async || -> String { panic!("{WORDS}") });
    Router::new().route("/decode", panics).route("/health", get(async || "alive"))
}

#[tokio::test]
async fn a_handler_that_panics_is_a_problem_that_says_nothing() {
    let served = serve(routes()).await;
    let mut client = Raw::connect(served.address).await;

    client.begin_decode("panics", "", 0).await;
    let head = client.until("\r\n\r\n").await;
    let body = client.until("}\n").await;
    client.send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let next = client.rest().await;

    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    assert!(head.contains("content-type: application/problem+json\r\n"), "{head}");
    assert!(head.contains("x-request-id: panics\r\n"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff\r\n"), "{head}");
    let problem: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(problem["code"], "internal");
    assert_eq!(problem["request_id"], "panics");
    assert_eq!(problem["retryable"], false);
    assert!(!body.contains(WORDS) && !body.contains(".rs"), "{body}");
    assert!(next.starts_with("HTTP/1.1 200 ") && next.ends_with("alive"), "{next}");
    assert_eq!(served.value(INTERNAL), 1.0);
    assert_eq!(served.value("decoder_http_requests_in_flight"), 0.0);
    let lines = lines_with("\"request_id\":\"panics\"");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!((&lines[0]["status"], &lines[0]["level"]), (&500.into(), &"ERROR".into()));
    assert_eq!(served.recent.newest_first().len(), 1);
    assert!(lines_with(WORDS).is_empty());
}

#[tokio::test]
async fn a_body_that_panics_ends_its_own_connection_and_counts_once() {
    let (tell, told) = oneshot::channel();
    let body = Arc::new(Mutex::new(Some(Panicking { begun: false, told })));
    let streams = post(async move || {
        Body::new(body.lock().expect("not poisoned").take().expect("one request"))
    });
    let alive = get(async || "alive");
    let served = serve(Router::new().route("/decode", streams).route("/health", alive)).await;
    let mut client = Raw::connect(served.address).await;

    client.begin_decode("streams", "", 0).await;
    let begun = client.until("{*begun*}").await;
    tell.send(()).expect("someone listens");
    let rest = client.rest().await;
    let mut next = Raw::connect(served.address).await;
    next.send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let next = next.rest().await;

    assert!(begun.starts_with("HTTP/1.1 200 "), "{begun}");
    // Nothing that a client could take for the end.
    assert!(!rest.ends_with("0\r\n\r\n") && !rest.contains(WORDS), "{rest}");
    assert!(next.ends_with("alive"), "{next}");
    assert_eq!(served.value(INTERNAL), 1.0);
    assert_eq!(served.value("decoder_http_requests_in_flight"), 0.0);
    let lines = lines_with("\"request_id\":\"streams\"");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!((&lines[0]["code"], &lines[0]["outcome"]), (&"internal".into(), &"failed".into()));
}

#[tokio::test]
async fn a_refusal_of_a_handler_keeps_its_headers_and_says_why_in_the_log_alone() {
    let refuse = async || -> Result<String, Refusal> {
        Err(Failure::new(Code::Overloaded, "come back").because("a reason").into())
    };
    let served = serve(Router::new().route("/decode", post(refuse))).await;
    let mut client = Raw::connect(served.address).await;

    client.begin_decode("refused", "Connection: close\r\n", 0).await;
    let answer = client.rest().await;

    assert!(answer.starts_with("HTTP/1.1 503 ") && !answer.contains("a reason"), "{answer}");
    let lines = lines_with("\"request_id\":\"refused\"");
    assert_eq!((lines.len(), &lines[0]["reason"]), (1, &"a reason".into()));
}
