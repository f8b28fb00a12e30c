//! Where the service listens, and under which addresses it can be reached there.

use crate::config::Config;
use anyhow::Context;
use std::{
    convert::Infallible,
    future::pending,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    time::sleep,
};

/// Where the service listens.
pub struct Listeners {
    /// For clients.
    pub public: TcpListener,
    /// For the operator.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds the addresses of the configuration, within a runtime.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = |address: SocketAddr, key: &str| {
            listen(address).with_context(|| format!("cannot listen on {address} ({key})"))
        };
        let public = bind(config.server.bind, "server.bind")?;
        let admin = config.server.admin_bind;
        let admin = admin.map(|address| bind(address, "server.admin_bind")).transpose()?;
        Ok(Self { public, admin })
    }

    /// Their addresses.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let listeners = std::iter::once(&self.public).chain(&self.admin);
        listeners.map(TcpListener::local_addr).collect()
    }
}

/// Where the service listens with a configuration, or would: no source may be there.
pub fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    let listeners = std::iter::once(config.server.bind).chain(config.server.admin_bind);
    let listeners: Vec<SocketAddr> = listeners.collect();
    with_local_addresses(&listeners).unwrap_or(listeners)
}

/// The addresses of listeners, those for every address of this machine beside each that it
/// has now.
pub(super) fn with_local_addresses(listeners: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = listeners.to_vec();
    if listeners.iter().any(is_for_every_address) {
        let local = local_addresses()?;
        for listener in listeners.iter().filter(|listener| is_for_every_address(listener)) {
            addresses.extend(local.iter().map(|ip| SocketAddr::new(*ip, listener.port())));
        }
    }
    Ok(addresses)
}

fn is_for_every_address(listener: &SocketAddr) -> bool {
    listener.ip().is_unspecified()
}

/// How often the system is asked for the addresses of this machine. One that it gains is known
/// within a second, and no fetch has to ask.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looking takes at most one part in this of a processor's time: with hundreds of thousands of
/// routes, the system takes long to answer.
const PART: u32 = 20;

/// Goes on saying where the listeners can be reached, as the machine gains and loses addresses.
/// While the system does not say which it has, those that it had are kept.
pub(super) async fn keep_known(
    listeners: &[SocketAddr],
    is_reached_at: impl Fn(Vec<SocketAddr>),
) -> Infallible {
    if !listeners.iter().any(is_for_every_address) {
        return pending().await;
    }
    let (mut took, mut is_known) = (Duration::ZERO, true);
    loop {
        sleep(LOOK_EVERY.max(took * PART)).await;
        let began = Instant::now();
        let addresses = with_local_addresses(listeners);
        took = began.elapsed();
        if let (Err(error), true) = (&addresses, is_known) {
            let error = error.to_string();
            tracing::warn!(error, "own addresses could not be read; keeping the previous ones");
        }
        is_known = addresses.is_ok();
        addresses.into_iter().for_each(&is_reached_at);
    }
}

/// How many connections may wait to be accepted: as many as the system lets. Who finds no
/// room there tries again after a second, so it must be enough for a crowd that comes at
/// once.
const BACKLOG: u32 = 65_535;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of a server that has ended do not keep the next one out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The addresses of this machine, as far as the system tells.
fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let read = |path| match std::fs::read_to_string(path) {
        // Without IPv6, or without Linux.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    };
    // An address stands above the line that says that it is local.
    let v4 = read("/proc/self/net/fib_trie")?;
    let lines: Vec<&str> = v4.lines().map(str::trim).collect();
    let is_local = |pair: &&[&str]| pair[1] == "/32 host LOCAL";
    let address = |pair: &[&str]| pair[0].rsplit(' ').next()?.parse::<IpAddr>().ok();
    let v4 = lines.windows(2).filter(is_local).filter_map(address);
    // 32 hexadecimal digits, then the rest.
    let v6 = read("/proc/self/net/if_inet6")?;
    let v6 = v6.lines().filter_map(|line| u128::from_str_radix(line.get(..32)?, 16).ok());
    Ok(v4.chain(v6.map(|bits| Ipv6Addr::from_bits(bits).into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_the_addresses_that_it_can_listen_on() {
        let addresses = local_addresses().unwrap();
        assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
        for address in addresses {
            // Scopes are not told, so link-local ones cannot be tried.
            let is_link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
            let bound = std::net::TcpListener::bind((address, 0));
            assert!(is_link_local || bound.is_ok(), "{address}: {bound:?}");
        }
    }
}
