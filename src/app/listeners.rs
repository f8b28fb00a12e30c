//! Where the service listens, and under which addresses it can be reached there.

use crate::{config::Config, policy::Network};
use anyhow::Context;
use std::{
    convert::Infallible,
    future::pending,
    io,
    net::{Ipv6Addr, SocketAddr},
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
pub fn own_listeners(config: &Config) -> Vec<SocketAddr> {
    std::iter::once(config.server.bind).chain(config.server.admin_bind).collect()
}

/// The networks in which a listener for every address is reached; none without such a listener.
pub(super) fn local_networks_for(listeners: &[SocketAddr]) -> io::Result<Vec<Network>> {
    let is_needed = listeners.iter().any(|listener| listener.ip().is_unspecified());
    if is_needed { local_networks() } else { Ok(Vec::new()) }
}

/// How often the system is asked for the addresses of this machine. One that it gains is known
/// within a second, and no fetch has to ask.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looking takes at most one part in this of a processor's time: with hundreds of thousands of
/// routes, the system takes long to answer.
const PART: u32 = 20;

/// Goes on saying which addresses lead to this machine, as it gains and loses them. While the
/// system does not say which it has, those that it had are kept.
pub(super) async fn keep_known(
    listeners: &[SocketAddr],
    is_reached_at: impl Fn(Vec<Network>),
) -> Infallible {
    if !listeners.iter().any(|listener| listener.ip().is_unspecified()) {
        return pending().await;
    }
    let (mut took, mut is_known) = (Duration::ZERO, true);
    loop {
        sleep(LOOK_EVERY.max(took * PART)).await;
        let began = Instant::now();
        let networks = local_networks_for(listeners);
        took = began.elapsed();
        if let (Err(error), true) = (&networks, is_known) {
            let error = error.to_string();
            tracing::warn!(error, "own addresses could not be read; keeping the previous ones");
        }
        is_known = networks.is_ok();
        networks.into_iter().for_each(&is_reached_at);
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

/// The networks whose addresses all lead to this machine, as the system's routes say: mostly of
/// one address each, and more where a whole network is local.
fn local_networks() -> io::Result<Vec<Network>> {
    let read = |path| match std::fs::read_to_string(path) {
        // Without IPv6, or without Linux.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    };
    let v4 = read("/proc/self/net/fib_trie")?;
    let v6 = read("/proc/self/net/ipv6_route")?;
    Ok(local_v4(&v4).chain(local_v6(&v6)).collect())
}

/// A table begins with its name, such as `Local:`. In it stands `|-- 10.0.0.0`, and beneath that a
/// line for each route there, such as `/8 host LOCAL`. Other tables than these two hold only for
/// some packets.
fn local_v4(trie: &str) -> impl Iterator<Item = Network> {
    let (mut is_for_all, mut address) = (false, "");
    trie.lines().filter_map(move |line| {
        if let Some(table) = line.strip_suffix(':') {
            is_for_all = ["Main", "Local"].contains(&table);
        }
        let line = line.trim();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf;
        }
        let prefix = line.strip_suffix(" host LOCAL").filter(|_| is_for_all)?;
        format!("{address}{prefix}").parse().ok()
    })
}

/// Where a route says that it leads to this machine, among its flags.
const RTF_LOCAL: u32 = 0x8000_0000;

/// The destination, its prefix, the source, its prefix, the next hop, three numbers, and flags,
/// all hexadecimal. A route for all addresses is one of a transparent proxy, which holds only for
/// some packets.
fn local_v6(routes: &str) -> impl Iterator<Item = Network> {
    routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let address = Ipv6Addr::from_bits(u128::from_str_radix(fields[0], 16).ok()?);
        let prefix = u8::from_str_radix(fields[1], 16).ok()?;
        let is_local = flags & RTF_LOCAL != 0 && prefix > 0;
        if is_local { format!("{address}/{prefix}").parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_reached_at_its_loopback_addresses() {
        let networks = local_networks().unwrap();
        for address in ["127.0.0.1", "127.1.2.3"] {
            let address = address.parse().unwrap();
            assert!(networks.iter().any(|network| network.contains(address)), "{networks:?}");
        }
        assert!(local_networks_for(&["127.0.0.1:80".parse().unwrap()]).unwrap().is_empty());
        assert!(!local_networks_for(&["[::]:80".parse().unwrap()]).unwrap().is_empty());
    }

    #[test]
    fn local_routes_are_found_among_others() {
        let shown = |networks: &mut dyn Iterator<Item = Network>| {
            networks.map(|network| network.to_string()).collect::<Vec<_>>()
        };
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    |-- 10.8.0.0\n        /24 link UNICAST\n        /16 host LOCAL\n     \
                    |-- 10.8.255.255\n        /32 link BROADCAST\nLocal:\n     \
                    |-- 192.0.2.2\n        /32 host LOCAL\nId 100:\n     \
                    |-- 0.0.0.0\n        /0 host LOCAL\n";
        assert_eq!(shown(&mut local_v4(trie)), ["10.8.0.0/16", "192.0.2.2/32"]);

        let route = |address: &str, prefix, flags| {
            let zeros = "0".repeat(32);
            format!(
                "{address:0<32} {prefix} {zeros} 00 {zeros} 00000000 00000001 00000000 {flags} lo\n"
            )
        };
        let routes = route("fd12", "40", "80200001")
            + &route("fd13", "40", "00000001")
            + &route("fd140000000000000000000000000007", "80", "80200001")
            + &route("", "00", "80200001")
            + "no route\n";
        assert_eq!(shown(&mut local_v6(&routes)), ["fd12::/64", "fd14::7/128"]);
    }
}
