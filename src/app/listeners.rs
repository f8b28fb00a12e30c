//! Where the service listens, and under which addresses it can be reached there.

use crate::config::Config;
use anyhow::Context;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket};

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
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let listeners = std::iter::once(&self.public).chain(&self.admin);
        listeners.map(TcpListener::local_addr).collect()
    }
}

/// Where the service listens with a configuration, or would: no source may be there.
pub fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    with_local_addresses(std::iter::once(config.server.bind).chain(config.server.admin_bind))
}

/// The addresses of listeners, those for every address of this machine beside each that it
/// has now.
pub(super) fn with_local_addresses(
    listeners: impl IntoIterator<Item = SocketAddr>,
) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in listeners {
        addresses.push(address);
        if address.ip().is_unspecified() {
            let local = local_addresses().into_iter();
            addresses.extend(local.map(|ip| SocketAddr::new(ip, address.port())));
        }
    }
    addresses
}

/// How many connections may wait to be accepted: as many as the system lets. Who finds no
/// room there tries again after a second, so it must be enough for a crowd that comes at
/// once.
const BACKLOG: u32 = 65_535;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of a server that has ended do not keep the next one out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The addresses of this machine, as far as the system tells.
fn local_addresses() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    // An address stands above the line that says that it is local.
    let v4 = read("/proc/self/net/fib_trie");
    let lines: Vec<&str> = v4.lines().map(str::trim).collect();
    let is_local = |pair: &&[&str]| pair[1] == "/32 host LOCAL";
    let address = |pair: &[&str]| pair[0].rsplit(' ').next()?.parse::<IpAddr>().ok();
    let v4 = lines.windows(2).filter(is_local).filter_map(address);
    // 32 hexadecimal digits, then the rest.
    let v6 = read("/proc/self/net/if_inet6");
    let v6 = v6.lines().filter_map(|line| u128::from_str_radix(line.get(..32)?, 16).ok());
    v4.chain(v6.map(|bits| Ipv6Addr::from_bits(bits).into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_the_addresses_that_it_can_listen_on() {
        let addresses = local_addresses();
        assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
        for address in addresses {
            // Scopes are not told, so link-local ones cannot be tried.
            let is_link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
            let bound = std::net::TcpListener::bind((address, 0));
            assert!(is_link_local || bound.is_ok(), "{address}: {bound:?}");
        }
    }
}
