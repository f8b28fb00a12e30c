//! One connection: reads heads and plays scripts until either side ends it.

use super::{
    Ended, Head, Party, Shared,
    script::{Script, Step},
};
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// TCP, or TLS upon it.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&mut self) -> &mut TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&mut self) -> &mut TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }
}

pub(super) struct Connection<W> {
    wire: W,
    number: usize,
    shared: Arc<Shared>,
    /// What the client has said beyond the last head.
    received: Vec<u8>,
    /// The exchanges so far, and how many bytes of their steps were written.
    exchanges: Vec<(usize, u64)>,
}

/// Stops at once when one of the parties has ended the connection.
type Alive<T = ()> = Result<T, Party>;

/// What is written: bytes of a step, which count, or what is put around them.
#[derive(Clone, Copy)]
enum Part {
    Frame,
    Step,
}

impl<W: Wire> Connection<W> {
    pub(super) fn new(wire: W, number: usize, shared: Arc<Shared>) -> Self {
        Self { wire, number, shared, received: Vec::new(), exchanges: Vec::new() }
    }

    pub(super) async fn serve(mut self) {
        let by = loop {
            if let Err(by) = self.exchange().await {
                break by;
            }
        };
        // A connection has ended when nothing of it is left: only then it is told.
        drop(self.wire);
        for (number, written) in self.exchanges {
            self.shared.ended(number, Ended { written, by });
        }
    }

    async fn exchange(&mut self) -> Alive {
        let head = self.head().await?;
        let closing = head.get("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        let (number, script) = self.shared.requested(head);
        self.exchanges.push((number, 0));
        self.play(&script).await?;
        if script.close || closing { self.step(&Step::Close, false).await } else { Ok(()) }
    }

    async fn head(&mut self) -> Alive<Head> {
        let text = poll_fn(|cx| {
            let gone = self.poll_gone(cx);
            match self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(end) => {
                    let text = self.received.drain(..end + 4).take(end).collect::<Vec<u8>>();
                    Poll::Ready(Ok(text))
                }
                None => gone.map(|()| Err(Party::Client)),
            }
        });
        let text = String::from_utf8(text.await?).expect("a head is ASCII");
        Ok(Head::parse(self.number, &text).unwrap_or_else(|| panic!("no request: {text:?}")))
    }

    async fn play(&mut self, script: &Script) -> Alive {
        self.write(Part::Frame, &script.head).await?;
        for step in &script.steps {
            self.step(step, script.chunked).await?;
        }
        if script.chunked { self.write(Part::Frame, b"0\r\n\r\n").await } else { Ok(()) }
    }

    async fn step(&mut self, step: &Step, chunked: bool) -> Alive {
        match step {
            Step::Send(piece) => self.piece(piece, chunked).await,
            Step::Endless(piece) => loop {
                self.piece(piece, chunked).await?;
            },
            Step::Wait(gate) => tokio::select! {
                biased;
                () = self.gone() => Err(Party::Client),
                () = gate.opened() => Ok(()),
            },
            Step::Hold => {
                self.gone().await;
                Err(Party::Client)
            }
            Step::Close => {
                self.unless_gone(|wire, cx| Pin::new(wire).poll_shutdown(cx)).await?;
                self.gone().await;
                Err(Party::Source)
            }
            Step::Cut => {
                self.unless_gone(|wire, cx| Pin::new(wire.tcp()).poll_shutdown(cx)).await?;
                self.gone().await;
                Err(Party::Source)
            }
            Step::Reset => {
                self.wire.tcp().set_zero_linger().expect("an option that every TCP socket has");
                Err(Party::Source)
            }
        }
    }

    async fn piece(&mut self, piece: &[u8], chunked: bool) -> Alive {
        // An empty chunk would be the last one.
        if !chunked || piece.is_empty() {
            return self.write(Part::Step, piece).await;
        }
        self.write(Part::Frame, format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        self.write(Part::Step, piece).await?;
        self.write(Part::Frame, b"\r\n").await
    }

    async fn write(&mut self, part: Part, mut bytes: &[u8]) -> Alive {
        while !bytes.is_empty() {
            let taken = self.unless_gone(|wire, cx| Pin::new(wire).poll_write(cx, bytes)).await?;
            bytes = &bytes[taken..];
            if let (Part::Step, Some((_, written))) = (part, self.exchanges.last_mut()) {
                *written += taken as u64;
            }
            // TLS holds nothing back: what is counted is with the sockets.
            self.unless_gone(|wire, cx| Pin::new(wire).poll_flush(cx)).await?;
        }
        Ok(())
    }

    /// What `poll` comes to, or that the client has gone before.
    async fn unless_gone<T>(
        &mut self,
        mut poll: impl FnMut(&mut W, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Alive<T> {
        poll_fn(|cx| {
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Party::Client));
            }
            poll(&mut self.wire, cx).map_err(|_| Party::Client)
        })
        .await
    }

    async fn gone(&mut self) {
        poll_fn(|cx| self.poll_gone(cx)).await;
    }

    /// Ready once the client has gone. What it says until then is kept.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut buffer = [0; 4096];
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.wire).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.received.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}
