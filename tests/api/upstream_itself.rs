//! The upstream itself, asked by a client that shows every byte.

use crate::support::upstream::{
    Ended, Gate, Party, Reply,
    Step::{Close, Cut, Endless, Hold, Reset, Send, Wait},
    TlsFault, Upstream,
};
use flate2::read::GzDecoder;
use std::{
    io::{self, ErrorKind, Read},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

struct Client(BufReader<Box<dyn Stream>>);

impl Client {
    async fn connect(upstream: &Upstream) -> Self {
        if upstream.url("").starts_with("http://") {
            let tcp = TcpStream::connect(upstream.address()).await.expect("connected");
            return Self(BufReader::new(Box::new(tcp)));
        }
        Self::connect_as(upstream, "source.test").await.expect("a handshake")
    }

    async fn connect_as(upstream: &Upstream, name: &'static str) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(Upstream::ca_file()).expect("PEM");
        roots.add(authority).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that ring has")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(upstream.address()).await.expect("connected");
        let name = ServerName::try_from(name).expect("a name");
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Self(BufReader::new(Box::new(tls))))
    }

    /// Asks, and reads the head of the answer.
    async fn get(&mut self, target: &str) -> String {
        self.ask(target).await;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head += &self.take(1).await;
        }
        head
    }

    async fn ask(&mut self, target: &str) {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: source.test\r\nX-Mark:  a b \r\n\r\n");
        self.0.write_all(request.as_bytes()).await.expect("written");
        self.0.flush().await.expect("written");
    }

    async fn take(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        bounded(self.0.read_exact(&mut bytes)).await.expect("so many bytes");
        String::from_utf8(bytes).expect("UTF-8")
    }

    /// Everything until the source ends the connection, or how that failed.
    async fn rest(&mut self) -> Result<String, ErrorKind> {
        let mut text = String::new();
        bounded(self.0.read_to_string(&mut text)).await.map_err(|error| error.kind())?;
        Ok(text)
    }
}

async fn bounded<T>(read: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), read).await.expect("the source says something")
}

/// What holds with TLS holds without.
async fn both() -> [Upstream; 2] {
    [Upstream::tls().await, Upstream::plain().await]
}

#[tokio::test]
async fn one_connection_serves_one_request_after_the_other() {
    for upstream in both().await {
        upstream.on("/a", Reply::ok("first").header("X-Seen", "yes"));
        upstream.on("/b", Reply::ok("second").status(203));
        let mut client = Client::connect(&upstream).await;

        let a = client.get("/a?query").await + &client.take(5).await;
        let b = client.get("/b").await + &client.take(6).await;
        let unknown = client.get("/c").await;

        assert_eq!(a, "HTTP/1.1 200 \r\nX-Seen: yes\r\nContent-Length: 5\r\n\r\nfirst");
        assert_eq!(b, "HTTP/1.1 203 \r\nContent-Length: 6\r\n\r\nsecond");
        assert_eq!(unknown, "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n");
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test]
async fn requests_are_told_in_order_with_their_connection() {
    let upstream = Upstream::tls().await;
    let mut one = Client::connect(&upstream).await;
    let mut two = Client::connect(&upstream).await;

    one.get("/a?b=c").await;
    two.get("/d").await;
    one.get("/e").await;

    let requests = upstream.requests();
    let seen: Vec<_> = requests.iter().map(|it| (it.connection, it.target.as_str())).collect();
    assert_eq!(seen, [(1, "/a?b=c"), (2, "/d"), (1, "/e")]);
    assert_eq!(requests[0].method, "GET");
    assert_eq!(requests[0].headers[0], ("Host".to_owned(), "source.test".to_owned()));
    assert_eq!(requests[0].get("x-mark"), Some("a b"));
    assert_eq!(requests[0].get("X-Other"), None);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn urls_name_the_host_of_the_certificate() {
    let [tls, plain] = both().await;

    let port = tls.address().port();
    assert_eq!(tls.url("/a?b"), format!("https://source.test:{port}/a?b"));
    assert_eq!(plain.url("/"), format!("http://{}/", plain.address()));
    for name in ["source.test", "localhost", "127.0.0.1"] {
        assert!(Client::connect_as(&tls, name).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn a_bad_certificate_is_bad_in_one_way() {
    for (fault, message) in [
        (TlsFault::WrongName, "not valid for name"),
        (TlsFault::Expired, "certificate expired"),
        (TlsFault::UnknownAuthority, "UnknownIssuer"),
    ] {
        let upstream = Upstream::tls_with(fault).await;

        let Err(error) = Client::connect_as(&upstream, "source.test").await else {
            panic!("{fault:?} was accepted");
        };

        assert!(error.to_string().contains(message), "{fault:?}: {error}");
        assert_eq!((upstream.connections(), upstream.requests().len()), (1, 0));
    }
}

#[tokio::test]
async fn answers_of_one_path_come_in_turn_and_the_last_one_stays() {
    let upstream = Upstream::plain().await;
    let mut client = Client::connect(&upstream).await;
    let mut statuses = Vec::new();

    for status in [503, 200] {
        upstream.on("/", Reply::ok("").status(status));
    }
    for _ in 0..3 {
        statuses.push(client.get("/").await[9..12].to_owned());
    }
    upstream.on("/", Reply::ok("").status(429));
    statuses.push(client.get("/").await[9..12].to_owned());

    assert_eq!(statuses, ["503", "200", "200", "429"]);
}

#[tokio::test]
async fn chunks_are_the_pieces_and_do_not_count() {
    for upstream in both().await {
        let pieces = [Send("{*one".into()), Send("".into()), Send("*} and ten.".into())];
        upstream.on("/chunks", Reply::stream(pieces).chunked());
        upstream.on("/chunk", Reply::ok("whole").chunked());
        let mut client = Client::connect(&upstream).await;
        let head = "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n";

        let chunks = client.get("/chunks").await + &client.take(31).await;
        let chunk = client.get("/chunk").await + &client.take(15).await;
        drop(client);

        assert_eq!(chunks, head.to_owned() + "5\r\n{*one\r\nb\r\n*} and ten.\r\n0\r\n\r\n");
        assert_eq!(chunk, head.to_owned() + "5\r\nwhole\r\n0\r\n\r\n");
        assert_eq!(upstream.closed("/chunks").await, Ended { written: 16, by: Party::Client });
        assert_eq!(upstream.closed("/chunk").await, Ended { written: 5, by: Party::Client });
    }
}

#[tokio::test]
async fn a_compressed_body_is_what_it_was() {
    let upstream = Upstream::plain().await;
    upstream.on("/", Reply::gzip("a".repeat(100_000)));
    let mut client = Client::connect(&upstream).await;

    let head = client.get("/").await;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.expect("a length").parse().expect("a number")];
    bounded(client.0.read_exact(&mut body)).await.expect("a body");
    let mut text = String::new();
    GzDecoder::new(&*body).read_to_string(&mut text).expect("gzip");

    assert!(head.contains("Content-Encoding: gzip\r\n"), "{head}");
    assert!(body.len() < 1000, "{} bytes", body.len());
    assert_eq!(text, "a".repeat(100_000));
}

#[tokio::test]
async fn a_stream_ends_with_its_connection() {
    for upstream in both().await {
        upstream.on("/open", Reply::stream([Send("text".into())]));
        let short = Reply::stream([Send("text".into())]).header("Content-Length", "5");
        upstream.on("/short", short);

        for (path, header) in [("/open", ""), ("/short", "Content-Length: 5\r\n")] {
            let mut client = Client::connect(&upstream).await;
            let head = client.get(path).await;
            let body = client.rest().await;
            drop(client);

            assert_eq!(head, format!("HTTP/1.1 200 \r\n{header}Connection: close\r\n\r\n"));
            assert_eq!(body.as_deref(), Ok("text"));
            assert_eq!(upstream.closed(path).await, Ended { written: 4, by: Party::Source });
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_for_the_end_gets_it() {
    let upstream = Upstream::plain().await;
    upstream.on("/", Reply::ok("all"));
    let mut client = Client::connect(&upstream).await;

    let request = b"GET / HTTP/1.1\r\nconnection: Close\r\n\r\n";
    client.0.write_all(request).await.expect("written");
    let answer = client.rest().await.expect("an end in order");
    drop(client);

    assert!(answer.ends_with("\r\n\r\nall"), "{answer}");
    assert_eq!(upstream.closed("/").await.by, Party::Source);
}

#[tokio::test]
async fn bare_steps_are_all_there_is() {
    for upstream in both().await {
        upstream.on("/", [Send("HTTP/1.1 2".into()), Close, Send("never".into())]);
        let mut client = Client::connect(&upstream).await;

        client.ask("/").await;
        let answer = client.rest().await;
        drop(client);

        assert_eq!(answer.as_deref(), Ok("HTTP/1.1 2"));
        assert_eq!(upstream.closed("/").await, Ended { written: 10, by: Party::Source });
    }
}

#[tokio::test]
async fn nothing_passes_a_gate_before_it_is_open() {
    for upstream in both().await {
        let gate = Gate::default();
        upstream.on("/", [Send("before".into()), Wait(gate.clone()), Send("after".into())]);
        let mut client = Client::connect(&upstream).await;

        client.ask("/").await;
        let before = client.take(6).await;
        // What the gate lets through would be there with the answer to another client.
        Client::connect(&upstream).await.get("/other").await;
        let early = tokio::select! {
            biased;
            byte = client.0.read_u8() => Some(byte),
            () = std::future::ready(()) => None,
        };
        gate.open();
        let after = client.rest().await;

        assert_eq!(before, "before");
        assert!(early.is_none(), "{early:?}");
        assert_eq!(after.as_deref(), Ok("after"));
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_whatever_it_waits_for() {
    for upstream in both().await {
        upstream.on("/gate", Reply::stream([Send("12345".into()), Wait(Gate::default())]));
        upstream.on("/hold", Reply::stream([Send("12345".into()), Hold]));
        upstream.on("/idle", Reply::ok("12345"));

        for path in ["/gate", "/hold", "/idle"] {
            let mut client = Client::connect(&upstream).await;
            client.get(path).await;
            client.take(5).await;
            drop(client);

            assert_eq!(upstream.closed(path).await, Ended { written: 5, by: Party::Client });
        }
    }
}

#[tokio::test]
async fn an_endless_body_goes_on_until_the_client_leaves() {
    const READ: usize = 3 << 20;
    for upstream in both().await {
        upstream.on("/", Reply::stream([Endless("{*again*} ".repeat(100).into())]));
        let mut client = Client::connect(&upstream).await;

        client.get("/").await;
        let text = client.take(READ).await;
        drop(client);
        let ended = upstream.closed("/").await;

        assert!(text.starts_with("{*again*} {*again*} "));
        assert_eq!(ended.by, Party::Client);
        // What the client has not read is what the sockets hold.
        let range = READ as u64..READ as u64 + (32 << 20);
        assert!(range.contains(&ended.written), "{ended:?}");
    }
}

#[tokio::test]
async fn reset_is_no_end_in_order() {
    for upstream in both().await {
        let gate = Gate::default();
        upstream.on("/", Reply::stream([Send("12345".into()), Wait(gate.clone()), Reset]));
        let mut client = Client::connect(&upstream).await;

        client.get("/").await;
        client.take(5).await;
        gate.open();
        let rest = client.rest().await;

        assert_eq!(rest, Err(ErrorKind::ConnectionReset));
        // The client still has its end: a reset waits for nobody.
        assert_eq!(upstream.closed("/").await, Ended { written: 5, by: Party::Source });
    }
}

#[tokio::test]
async fn a_cut_shows_with_tls_alone() {
    for (upstream, rest) in
        both().await.into_iter().zip([Err(ErrorKind::UnexpectedEof), Ok("12345".to_owned())])
    {
        upstream.on("/", Reply::stream([Send("12345".into()), Cut]));
        let mut client = Client::connect(&upstream).await;

        client.get("/").await;
        let seen = client.rest().await;
        drop(client);

        assert_eq!(seen, rest);
        assert_eq!(upstream.closed("/").await, Ended { written: 5, by: Party::Source });
    }
}

#[tokio::test]
async fn each_wait_tells_of_the_next_request() {
    let upstream = Upstream::plain().await;
    upstream.on("/", [Reset]);
    upstream.on("/", [Hold]);
    let waits = async {
        let first = upstream.requested("/").await.connection;
        let reset = upstream.closed("/").await.by;
        (first, reset, upstream.requested("/").await.connection)
    };
    let asks = async {
        let mut one = Client::connect(&upstream).await;
        one.ask("/").await;
        assert!(one.rest().await.is_err());
        let mut two = Client::connect(&upstream).await;
        two.ask("/").await;
        two
    };

    let (waited, client) = tokio::join!(waits, asks);
    drop(client);

    assert_eq!(waited, (1, Party::Source, 2));
    assert_eq!(upstream.closed("/").await.by, Party::Client);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "/never was not asked for (again) in 10s")]
async fn a_wait_in_vain_says_for_what() {
    let upstream = Upstream::plain().await;

    upstream.requested("/never").await;
}

#[tokio::test]
async fn an_upstream_that_is_dropped_leaves_nobody_waiting() {
    for upstream in both().await {
        upstream.on("/", [Hold]);
        let mut client = Client::connect(&upstream).await;
        client.ask("/").await;
        upstream.requested("/").await;

        drop(upstream);

        // Without a word about the end, as far as TLS goes.
        assert!(matches!(client.rest().await.as_deref(), Ok("") | Err(ErrorKind::UnexpectedEof)));
    }
}
