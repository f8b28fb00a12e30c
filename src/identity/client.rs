//! The address of a client, seen through proxies.

use crate::policy::Network;
use std::net::{IpAddr, SocketAddr};

/// The proxies whose word is believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// Those in these networks.
    pub fn new(trusted: Vec<Network>) -> Self {
        Self(trusted)
    }

    /// The client behind a peer, given the `X-Forwarded-For` headers in their order.
    ///
    /// Each proxy adds whom it sees at the end, so they are read from there, and no further
    /// than to the first who is not trusted: what stands before may be made up.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut told = forwarded.rev().flat_map(|header| header.rsplit(|byte| *byte == b','));
        while self.0.iter().any(|network| network.contains(client)) {
            match told.next().and_then(address) {
                Some(address) => client = address,
                // A proxy that does not say whom it sees is all that is known.
                None => break,
            }
        }
        client
    }
}

/// An address, as proxies write it: perhaps with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
    Some(address.ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_trusted_proxy_says_is_believed() {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap());
        let proxies = Proxies::new(networks.to_vec());
        let check = |peer: &str, headers: &[&str], expected: &str| {
            let headers = headers.iter().map(|header| header.as_bytes());
            let client = proxies.client(peer.parse().unwrap(), headers);
            assert_eq!(client.to_string(), expected, "{peer}");
        };
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.1"], "192.0.2.1");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.1 , 10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.2,10.0.0.3"], "198.51.100.1");
        check("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        check("10.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1");
        check("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1");
        check("10.0.0.1", &["2001:db8::1"], "2001:db8::1");
        check("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1");
        check("fd00::1", &["198.51.100.1"], "198.51.100.1");
        // All of them are proxies; one says nothing of use; one is no list at all.
        check("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2");
        check("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["198.51.100.1,"], "10.0.0.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn nobody_is_trusted_by_itself() {
        let headers = std::iter::once(&b"198.51.100.1"[..]);
        let client = Proxies::default().client([127, 0, 0, 1].into(), headers);
        assert_eq!(client.to_string(), "127.0.0.1");
    }
}
