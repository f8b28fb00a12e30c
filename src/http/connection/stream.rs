//! The stream beneath a connection: counted, watched, and closed without losing what was
//! said.

use super::{
    pace::{Close, Pace},
    watch::Ticket,
};
use crate::telemetry::Metrics;
use rustix::net::{RecvFlags, recv};
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    task::yield_now,
    time::timeout,
};

/// How long a client may go on sending after its last answer. To close at once while
/// bytes of it arrive would be a reset, and the reset could take the answer with it.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// A stream from a client.
pub(super) struct Stream {
    /// `None` once it is let go of.
    stream: Option<TcpStream>,
    /// What was read to see which protocol it is, until it is read again.
    begins: Begins,
    /// Whether the client has closed its side.
    is_over: bool,
    pace: Arc<Pace>,
    open: Option<Open>,
}

/// The first bytes of a connection: no more than [`PREFACE`] has.
#[derive(Default)]
struct Begins {
    bytes: [u8; PREFACE.len()],
    from: usize,
    to: usize,
}

/// What HTTP/2 begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection counts for as long as there is one of these.
pub(super) struct Open {
    _ticket: Ticket,
    metrics: Arc<Metrics>,
}

impl Open {
    pub(super) fn new(ticket: Ticket, metrics: &Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self { _ticket: ticket, metrics: Arc::clone(metrics) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Stream {
    pub(super) fn new(stream: TcpStream, pace: Arc<Pace>, open: Open) -> Self {
        // An answer is written whole; waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        let begins = Begins::default();
        Self { stream: Some(stream), begins, is_over: false, pace, open: Some(open) }
    }

    /// Waits until it is clear whether the client begins as HTTP/2 does.
    pub(super) async fn is_http_2(&mut self) -> io::Result<bool> {
        loop {
            let to = self.begins.to;
            let mut bytes = [0; PREFACE.len()];
            let mut buffer = ReadBuf::new(&mut bytes[to..]);
            poll_fn(|context| self.poll_stream(context, &mut buffer)).await?;
            let read = buffer.filled().len();
            self.begins.bytes[to..to + read].copy_from_slice(buffer.filled());
            self.begins.to += read;
            if read == 0 || !PREFACE.starts_with(&self.begins.bytes[..to + read]) {
                return Ok(false);
            }
            if self.begins.to == PREFACE.len() {
                return Ok(true);
            }
        }
    }

    /// Reads from the stream itself.
    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream()?.poll_read(context, buffer);
        match &read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => self.pace.read(),
            Poll::Ready(Ok(())) => self.is_over |= buffer.remaining() > 0,
            Poll::Ready(Err(_)) => self.is_over = true,
            Poll::Pending if self.pace.ends(context) => return Poll::Ready(Err(timed_out())),
            Poll::Pending => {}
        }
        read
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Notes whether something could be written.
    fn written<T>(
        &self,
        context: &Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.pace.writes(written.is_ready());
        if written.is_pending() && self.pace.ends(context) {
            return Poll::Ready(Err(timed_out()));
        }
        written
    }
}

/// The client has kept the connection waiting for too long.
fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl Drop for Stream {
    fn drop(&mut self) {
        let (Some(stream), Ok(runtime)) = (self.stream.take(), Handle::try_current()) else {
            return;
        };
        match self.pace.close() {
            Close::Gently if !self.is_over => {
                let linger = linger(stream, Arc::clone(&self.pace));
                // A shutdown does not wait for who was idle.
                let open = self.open.take().filter(|_| !self.pace.was_idle());
                runtime.spawn(async move {
                    linger.await;
                    drop(open);
                });
            }
            Close::Gently | Close::AtOnce => {}
            // What was not taken is not kept for a client that takes nothing.
            Close::Reset => drop(stream.set_zero_linger()),
        }
    }
}

/// Says that nothing more comes, and lets what the client had on its way come to nothing;
/// for a while, and for as long as nobody else needs the room.
async fn linger(mut stream: TcpStream, pace: Arc<Pace>) {
    let drain = async {
        stream.shutdown().await?;
        loop {
            stream.readable().await?;
            match stream.try_io(Interest::READABLE, || discard(&stream)) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                // Who sends without end is not the only one.
                _ => yield_now().await,
            }
        }
    };
    let is_in_the_way = poll_fn(|context| match pace.ends(context) && pace.is_in_the_way() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    // Whatever comes of it, the connection is closed.
    let _: Result<io::Result<()>, _> = timeout(LINGER, async {
        tokio::select! {
            drained = drain => drained,
            () = is_in_the_way => Ok(()),
        }
    })
    .await;
}

/// Takes what has come off a stream, without a copy of it.
fn discard(stream: &TcpStream) -> io::Result<usize> {
    thread_local! {
        /// So much at a time. With `TRUNC`, nothing is written to it.
        static UNUSED: RefCell<Box<[u8]>> = RefCell::new(vec![0; 256 * 1024].into());
    }
    let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    UNUSED.with_borrow_mut(|unused| Ok(recv(stream, &mut **unused, flags)?.0))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Begins { bytes, from, to } = &mut self.begins;
        if from < to {
            let length = buffer.remaining().min(*to - *from);
            buffer.put_slice(&bytes[*from..*from + length]);
            *from += length;
            self.pace.read();
            return Poll::Ready(Ok(()));
        }
        self.poll_stream(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
