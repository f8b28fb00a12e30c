//! One connection to the server, and how it comes about.
//!
//! The library only speaks the protocol over it. It never connects, again or otherwise, and
//! never waits: who asks bounds the time.

use super::{
    script::Commands,
    settings::{Address, ValkeyFault, ValkeySettings, read_password},
    tls,
    why::Why,
};
use crate::named_file::Patient;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, aio::MultiplexedConnection, cmd};
use std::{io, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// What it takes to connect.
pub(super) struct Dial {
    address: Address,
    tls: Option<TlsConnector>,
    password: Option<Password>,
    timeout: Duration,
}

/// The password, read anew for each connection.
struct Password {
    path: PathBuf,
    reading: Patient<io::Result<Zeroizing<Vec<u8>>>>,
}

/// A connection; it ends when this is dropped.
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    driving: JoinSet<()>,
}

/// So many decisions may wait to be written without waiting for each other.
const BUFFERED: usize = 1024;

/// An attempt has so much time, or as much as so many decisions have.
const ATTEMPT: Duration = Duration::from_secs(1);
const DECISIONS: u32 = 4;

impl Dial {
    /// Reads what can be read before there is a connection.
    pub(super) fn new(settings: ValkeySettings) -> Result<Self, ValkeyFault> {
        let ValkeySettings { url, password_file, ca_file, timeout } = settings;
        let address = Address::parse(&url)?;
        let tls = match (&address.certified, ca_file) {
            (Some(_), ca_file) => Some(tls::connector(ca_file.as_deref())?),
            (None, Some(_)) => return Err(ValkeyFault::CaWithoutTls),
            (None, None) => None,
        };
        if let Some(path) = &password_file {
            read_password(path).map_err(ValkeyFault::Password)?;
        }
        let password = password_file.map(|path| Password { path, reading: Patient::default() });
        Ok(Self { address, tls, password, timeout })
    }

    /// A connection over which decisions are made: one was, in the time that one may take.
    pub(super) async fn connect(&self, commands: &Commands) -> Result<Link, Why> {
        let limit = self.timeout.saturating_mul(DECISIONS).max(ATTEMPT);
        let attempt = async {
            let mut link = self.reach().await?;
            self.introduce(&mut link.connection, commands).await?;
            let rehearsal = commands.rehearse(&mut link.connection);
            let rehearsed = timeout(self.timeout, rehearsal).await.map_err(|_| Why::Silent)?;
            rehearsed.map_err(|error| Why::from(&error))?;
            Ok(link)
        };
        timeout(limit, attempt).await.unwrap_or(Err(Why::Silent))
    }

    async fn reach(&self) -> Result<Link, Why> {
        let Address { host, port, certified, .. } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(Why::Unreachable)?;
        // Otherwise the second decision waits until the server has acknowledged the first.
        stream.set_nodelay(true).map_err(Why::Unreachable)?;
        match (&self.tls, certified) {
            (Some(tls), Some(name)) => {
                Link::over(tls.connect(name.clone(), stream).await.map_err(Why::Tls)?).await
            }
            _ => Link::over(stream).await,
        }
    }

    async fn introduce(
        &self,
        connection: &mut MultiplexedConnection,
        commands: &Commands,
    ) -> Result<(), Why> {
        if let Some(Password { path, reading }) = &self.password {
            let path = path.clone();
            let read = reading.run(move || read_password(&path)).await;
            let password = read.flatten().map_err(Why::Password)?;
            let answer = cmd("AUTH").arg(&password[..]).exec_async(connection).await;
            answer.map_err(|error| match Why::from(&error) {
                // Also where it has none: that is an error like any other.
                Why::Refused(_) => Why::Refused("WRONGPASS".to_owned()),
                why => why,
            })?;
        }
        let begun = async {
            if self.address.database != 0 {
                cmd("SELECT").arg(self.address.database).exec_async(connection).await?;
            }
            cmd("PING").exec_async(connection).await?;
            commands.load(connection).await
        };
        begun.await.map_err(|error| Why::from(&error))
    }
}

impl Link {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, Why> {
        // What is needed to begin is said by us, who can tell from the answers what is wrong.
        let nothing = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(BUFFERED);
        let made = MultiplexedConnection::new_with_config(&nothing, stream, config).await;
        let (connection, driver) = made.map_err(|error| Why::from(&error))?;
        let mut driving = JoinSet::new();
        driving.spawn(driver);
        Ok(Self { connection, driving })
    }

    /// Waits until the server ends it.
    pub(super) async fn ended(&mut self) {
        self.driving.join_next().await;
    }
}
