//! What a test tells an upstream to say.

use flate2::{Compression, write::GzEncoder};
use std::{io::Write, sync::Arc};
use tokio::sync::watch;

/// One step of an answer.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Says no more until the gate is open or the client has gone.
    Wait(Gate),
    /// Says the same again and again until the client has gone.
    Endless(Vec<u8>),
    /// Says no more until the client has gone.
    Hold,
    /// Ends the connection in order.
    Close,
    /// Ends the TCP connection in order, but leaves TLS without its end. (Without TLS,
    /// that is to close.)
    Cut,
    /// Ends the TCP connection with RST. What the client has not received is lost.
    Reset,
}

/// Something that a test opens to let a script go on. Clones are the same gate.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn opened(&self) {
        self.0.subscribe().wait_for(|open| *open).await.expect("the sender is ours");
    }
}

/// An answer whose head is made, and well made unless the test gives bad headers.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    steps: Vec<Step>,
}

/// How a client knows where the body ends.
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

impl Reply {
    /// A body of known length; the connection goes on afterwards.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let framing = Framing::Length(body.len());
        Self { status: 200, headers: Vec::new(), framing, steps: vec![Step::Send(body)] }
    }

    /// A body of known length that is compressed on the way.
    pub(crate) fn gzip(body: impl AsRef<[u8]>) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body.as_ref()).expect("memory takes everything");
        let compressed = encoder.finish().expect("memory takes everything");
        Self::ok(compressed).header("Content-Encoding", "gzip")
    }

    /// A body that ends where the connection does, after the last step. With a
    /// `Content-Length` as a header, one that may lie.
    pub(crate) fn stream(steps: impl Into<Vec<Step>>) -> Self {
        Self { status: 200, headers: Vec::new(), framing: Framing::Close, steps: steps.into() }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Each piece that a step sends is a chunk; the connection goes on after the last.
    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }
}

/// What an upstream does for one request: a [`Reply`], or bare steps, to which nothing is
/// added, and after which the connection is closed.
pub(crate) struct Script {
    pub(super) head: Vec<u8>,
    pub(super) steps: Vec<Step>,
    pub(super) chunked: bool,
    pub(super) close: bool,
}

impl From<Reply> for Script {
    fn from(mut reply: Reply) -> Self {
        let framing = match reply.framing {
            Framing::Length(length) => ("Content-Length", length.to_string()),
            Framing::Chunked => ("Transfer-Encoding", "chunked".to_owned()),
            Framing::Close => ("Connection", "close".to_owned()),
        };
        reply.headers.push((framing.0.to_owned(), framing.1));
        let mut head = format!("HTTP/1.1 {} \r\n", reply.status);
        for (name, value) in &reply.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        Self {
            head: head.into_bytes(),
            steps: reply.steps,
            chunked: matches!(reply.framing, Framing::Chunked),
            close: matches!(reply.framing, Framing::Close),
        }
    }
}

impl<const N: usize> From<[Step; N]> for Script {
    fn from(steps: [Step; N]) -> Self {
        Self { head: Vec::new(), steps: steps.into(), chunked: false, close: true }
    }
}
