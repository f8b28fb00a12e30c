//! What systemd is told: that the service is ready, that it stops, and that it is alive.
//!
//! The protocol is a datagram to the socket that `NOTIFY_SOCKET` names. Without one, nobody
//! is told anything. What cannot be sent is lost: the service does not depend on it.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// Whoever started the service, if they want to know.
pub(super) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// How often they want to hear of it, at the least.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As the environment says.
    pub(super) fn of_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(connect);
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let pid = number("WATCHDOG_PID");
        let is_ours = pid.is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_ours).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=shutting down");
    }

    /// Says that the service is alive, for as long as it is: where the runtime hangs, this
    /// hangs with it.
    pub(super) async fn keep_telling(&self) -> Infallible {
        let (Some(watchdog), true) = (self.watchdog, self.socket.is_some()) else {
            return std::future::pending().await;
        };
        let mut times = tokio::time::interval((watchdog / 2).max(Duration::from_millis(1)));
        loop {
            times.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::warn!(%error, "the supervisor could not be notified");
        }
    }
}

/// A path, or with an `@` in front the name of an abstract socket.
fn connect(name: OsString) -> Option<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let connected = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // Who does not read is not waited for.
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    connected.inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET could not be used")).ok()
}
