//! A source of documents that answers after a while.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A source on the loopback interface, for as long as the process lives.
pub(crate) struct Source {
    pub(crate) address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
}

impl Source {
    pub(crate) fn start(delay: Duration) -> io::Result<Self> {
        let delay_ms = Arc::new(AtomicU64::new(0));
        let (tell, told) = mpsc::channel();
        let delays = Arc::clone(&delay_ms);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                let _ = tell.send(listener.local_addr()?);
                loop {
                    let (stream, _) = listener.accept().await?;
                    tokio::spawn(serve(stream, Arc::clone(&delays)));
                }
                #[expect(unreachable_code, reason = "it tells the type of the block")]
                io::Result::Ok(())
            })
        });
        let address = told.recv().map_err(io::Error::other)?;
        let source = Self { address, delay_ms };
        source.take(delay);
        Ok(source)
    }

    /// From now on it takes so long to answer.
    pub(crate) fn take(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis() as u64, Relaxed);
    }

    /// What allows the service to fetch from it.
    pub(crate) fn rule(&self) -> String {
        let address = self.address;
        format!(
            "[egress]\nallow = [{{ url = \"http://{address}\", addresses = [\"{address}\"] }}]\n"
        )
    }
}

async fn serve(mut stream: TcpStream, delay_ms: Arc<AtomicU64>) -> io::Result<()> {
    const DOCUMENT: &str = "Decoy data.\n{*VAULT_ACCESS_CODE: DELTA-7*}\n{*DOOR: east*}\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{DOCUMENT}",
        DOCUMENT.len()
    );
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = ([0; 4096], 0);
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            tokio::time::sleep(Duration::from_millis(delay_ms.load(Relaxed))).await;
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}
