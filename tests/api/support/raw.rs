//! A client that writes what a test says, byte by byte, whether or not it is a request.

use super::app::Answer;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes, and reads until the service closes the connection. Who wants an answer
/// to a request that is whole asks for `Connection: close`.
pub(crate) async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let exchanged = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(bytes.as_ref()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an end in order");
        answer
    };
    parse(&timeout(PATIENCE, exchanged).await.expect("an answer and its end in time"))
}

/// Sends bytes and leaves.
pub(crate) async fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes.as_ref()).await.expect("sent");
}

/// An answer whose body has a length or ends with the connection.
fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.parse().ok()?, value.trim().parse().ok()?))
    });
    Answer {
        status: status.parse().expect("a status"),
        headers: headers.collect(),
        text: body.to_owned(),
    }
}

/// A connection that has room for next to nothing that is not read.
pub(crate) async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    socket.connect(address).await.expect("a connection")
}

/// How long a client that is slow on purpose waits before the next byte.
const PAUSE: Duration = Duration::from_millis(20);

/// One connection; dropping it is leaving.
pub(crate) struct Raw {
    stream: TcpStream,
    /// What came and was not asked for yet.
    received: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self { stream, received: Vec::new() }
    }

    /// One that has room for next to nothing that it does not read.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        Self { stream: narrow(address).await, received: Vec::new() }
    }

    /// Writes a text as it is.
    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("written");
    }

    /// Begins a `POST /decode` with this id, whose body is so long and is not sent yet.
    pub(crate) async fn begin_decode(&mut self, id: &str, headers: &str, length: usize) {
        let head = format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n{headers}\
             Content-Length: {length}\r\n\r\n"
        );
        self.send(head).await;
    }

    /// Sends a `POST /decode` in JSON with this id.
    pub(crate) async fn decode(&mut self, id: &str, headers: &str, body: &serde_json::Value) {
        let body = body.to_string();
        let headers = format!("Content-Type: application/json\r\n{headers}");
        self.begin_decode(id, &headers, body.len()).await;
        self.send(body).await;
    }

    /// Reads until a text has come; all that came up to its end.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let found = async {
            loop {
                let windows = || self.received.windows(text.len());
                if let Some(at) = windows().position(|bytes| bytes == text.as_bytes()) {
                    let taken: Vec<u8> = self.received.drain(..at + text.len()).collect();
                    return String::from_utf8_lossy(&taken).into_owned();
                }
                let read = self.stream.read_buf(&mut self.received).await.expect("readable");
                assert!(read > 0, "no {text:?} in {:?}", String::from_utf8_lossy(&self.received));
            }
        };
        timeout(PATIENCE, found).await.expect("what is waited for comes in time")
    }

    /// Sends requests one behind the other, waiting for no answer, and reads until the
    /// service closes: the last one must ask for that.
    pub(crate) async fn pipeline(self, requests: String) -> String {
        let (mut reading, mut writing) = self.stream.into_split();
        // To let go of the writing half would be to leave: the task keeps it.
        let writer =
            tokio::spawn(
                async move { writing.write_all(requests.as_bytes()).await.map(|()| writing) },
            );
        let mut answers = Vec::new();
        let read = timeout(PATIENCE, reading.read_to_end(&mut answers)).await;
        read.expect("all answers in time").expect("readable");
        drop(writer.await.expect("no panic").expect("written"));
        String::from_utf8(answers).expect("UTF-8")
    }

    /// Sends a byte at a time while the service listens, and reads until it closes.
    pub(crate) async fn drip(mut self, text: impl AsRef<[u8]>) -> String {
        let (mut reading, mut writing) = self.stream.split();
        let dripping = async {
            for byte in text.as_ref() {
                if writing.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(PAUSE).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = timeout(PATIENCE, reading.read_to_end(&mut self.received)) => {}
            () = dripping => {}
        }
        self.rest().await
    }

    /// Reads a little at a time, for as long as nobody ends it.
    pub(crate) async fn sip<T>(&mut self) -> T {
        let mut little = [0; 512];
        // A reset is an end, too.
        while let Ok(read @ 1..) = self.stream.read(&mut little).await {
            self.received.extend_from_slice(&little[..read]);
            sleep(PAUSE).await;
        }
        std::future::pending().await
    }

    /// Leaves as a client does whose plug is pulled: the connection is reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("set");
    }

    /// Reads until the service closes the connection.
    pub(crate) async fn rest(mut self) -> String {
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut self.received)).await;
        // A reset is an end, too.
        let _ = read.expect("closed in time");
        String::from_utf8_lossy(&self.received).into_owned()
    }
}
