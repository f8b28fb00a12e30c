//! What the IANA registries say of addresses, and what nothing may reach.
//!
//! [`IPV4`] and [`IPV6`] are the special-purpose address registries as updated on
//! 2025-10-09, every row, in their order and under their names. A row whose column
//! "Globally Reachable" says anything but "True", "N/A" too, is not reachable here.
//! Behind them stand the rows that those registries leave to others.

use super::network::Network;
use std::net::IpAddr;

/// One row of a registry.
pub(super) struct Row {
    pub(super) network: Network,
    /// As the registry has it.
    pub(super) name: &'static str,
    /// Whether the registry says that it can be reached from anywhere.
    pub(super) reachable: bool,
}

/// The row that decides about an address: of those that contain it the narrowest.
/// `None`: an ordinary address.
pub(super) fn row(address: IpAddr) -> Option<&'static Row> {
    let rows = match address {
        IpAddr::V4(_) => IPV4,
        IpAddr::V6(_) => IPV6,
    };
    let containing = rows.iter().filter(|row| row.network.contains(address));
    containing.max_by_key(|row| row.network.prefix())
}

/// The network of metadata services that an address belongs to: what is there hands
/// credentials to whoever asks, so that no configuration permits it.
pub(super) fn metadata(address: IpAddr) -> Option<&'static Network> {
    METADATA.iter().find(|network| network.contains(address))
}

const METADATA: &[Network] = &[
    Network::v4(169, 254, 0, 0, 16),
    Network::v4(100, 100, 100, 200, 32),
    Network::v4(192, 0, 0, 192, 32),
    Network::v4(168, 63, 129, 16, 32),
    Network::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128),
    Network::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
    // Scaleway's.
    Network::v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128),
];

const fn closed(network: Network, name: &'static str) -> Row {
    Row { network, name, reachable: false }
}

const fn open(network: Network, name: &'static str) -> Row {
    Row { network, name, reachable: true }
}

const IPV4: &[Row] = &[
    closed(Network::v4(0, 0, 0, 0, 8), "\"This network\""),
    closed(Network::v4(0, 0, 0, 0, 32), "\"This host on this network\""),
    closed(Network::v4(10, 0, 0, 0, 8), "Private-Use"),
    closed(Network::v4(100, 64, 0, 0, 10), "Shared Address Space"),
    closed(Network::v4(127, 0, 0, 0, 8), "Loopback"),
    closed(Network::v4(169, 254, 0, 0, 16), "Link Local"),
    closed(Network::v4(172, 16, 0, 0, 12), "Private-Use"),
    closed(Network::v4(192, 0, 0, 0, 24), "IETF Protocol Assignments"),
    closed(Network::v4(192, 0, 0, 0, 29), "IPv4 Service Continuity Prefix"),
    closed(Network::v4(192, 0, 0, 8, 32), "IPv4 dummy address"),
    open(Network::v4(192, 0, 0, 9, 32), "Port Control Protocol Anycast"),
    open(Network::v4(192, 0, 0, 10, 32), "Traversal Using Relays around NAT Anycast"),
    closed(Network::v4(192, 0, 0, 170, 32), "NAT64/DNS64 Discovery"),
    closed(Network::v4(192, 0, 0, 171, 32), "NAT64/DNS64 Discovery"),
    closed(Network::v4(192, 0, 2, 0, 24), "Documentation (TEST-NET-1)"),
    open(Network::v4(192, 31, 196, 0, 24), "AS112-v4"),
    open(Network::v4(192, 52, 193, 0, 24), "AMT"),
    closed(Network::v4(192, 88, 99, 0, 24), "Deprecated (6to4 Relay Anycast)"),
    closed(Network::v4(192, 88, 99, 2, 32), "6a44-relay anycast address"),
    closed(Network::v4(192, 168, 0, 0, 16), "Private-Use"),
    open(Network::v4(192, 175, 48, 0, 24), "Direct Delegation AS112 Service"),
    closed(Network::v4(198, 18, 0, 0, 15), "Benchmarking"),
    closed(Network::v4(198, 51, 100, 0, 24), "Documentation (TEST-NET-2)"),
    closed(Network::v4(203, 0, 113, 0, 24), "Documentation (TEST-NET-3)"),
    closed(Network::v4(240, 0, 0, 0, 4), "Reserved"),
    closed(Network::v4(255, 255, 255, 255, 32), "Limited Broadcast"),
    // The IPv4 multicast address space registry.
    closed(Network::v4(224, 0, 0, 0, 4), "Multicast"),
];

const IPV6: &[Row] = &[
    closed(Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "Loopback Address"),
    closed(Network::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "Unspecified Address"),
    closed(Network::v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4-mapped Address"),
    open(Network::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "IPv4-IPv6 Translat."),
    closed(Network::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "IPv4-IPv6 Translat."),
    closed(Network::v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "Discard-Only Address Block"),
    closed(Network::v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), "Dummy IPv6 Prefix"),
    closed(Network::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "IETF Protocol Assignments"),
    closed(Network::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "TEREDO"),
    open(Network::v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128), "Port Control Protocol Anycast"),
    open(
        Network::v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128),
        "Traversal Using Relays around NAT Anycast",
    ),
    open(
        Network::v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128),
        "DNS-SD Service Registration Protocol Anycast",
    ),
    closed(Network::v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "Benchmarking"),
    open(Network::v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32), "AMT"),
    open(Network::v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48), "AS112-v6"),
    closed(Network::v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28), "Deprecated (previously ORCHID)"),
    open(Network::v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28), "ORCHIDv2"),
    open(
        Network::v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28),
        "Drone Remote ID Protocol Entity Tags (DETs) Prefix",
    ),
    closed(Network::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "Documentation"),
    closed(Network::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    open(Network::v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), "Direct Delegation AS112 Service"),
    closed(Network::v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "Documentation"),
    closed(Network::v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "Segment Routing (SRv6) SIDs"),
    closed(Network::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "Unique-Local"),
    closed(Network::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "Link-Local Unicast"),
    // The IPv6 address space registry: one block is given out for global unicast, the
    // rest is reserved, withdrawn as site-local addresses are, or multicast.
    closed(Network::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "Multicast"),
    closed(Network::v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "Deprecated (Site-Local Unicast)"),
    open(Network::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3), "Global Unicast"),
    closed(Network::v6([0, 0, 0, 0, 0, 0, 0, 0], 0), "Reserved by IETF"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// Which row decides about an address ("": none), and whether it may be reached.
    fn check(address: &str, network: &str, reachable: bool) {
        let row = row(address.parse().unwrap());
        let decides = row.map(|row| row.network.to_string()).unwrap_or_default();
        let found = (decides.as_str(), row.is_none_or(|row| row.reachable));
        assert_eq!(found, (network, reachable), "{address}");
    }

    #[test]
    fn every_row_is_a_network_that_parses() {
        for row in IPV4.iter().chain(IPV6) {
            assert_eq!(row.network.to_string().parse(), Ok(row.network), "{}", row.name);
        }
        for network in METADATA {
            assert_eq!(network.to_string().parse(), Ok(*network));
        }
    }

    /// Tried with the first and the last address of each row.
    #[test]
    fn a_row_decides_about_its_addresses_unless_a_narrower_one_does() {
        for row in IPV4.iter().chain(IPV6) {
            let (first, last) = ends(row.network);
            for address in [first, last] {
                let decides = super::row(address).unwrap();
                assert!(decides.network.contains(address));
                assert!(decides.network.prefix() >= row.network.prefix(), "{}", row.name);
            }
        }
    }

    fn ends(network: Network) -> (IpAddr, IpAddr) {
        let text = network.to_string();
        let address: IpAddr = text.split('/').next().unwrap().parse().unwrap();
        let last = match address {
            IpAddr::V4(first) => {
                let host = u32::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits() | host).into()
            }
            IpAddr::V6(first) => {
                let host = u128::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
                Ipv6Addr::from_bits(first.to_bits() | host).into()
            }
        };
        (address, last)
    }

    #[test]
    fn ipv4_addresses_beside_a_row_are_ordinary() {
        check("0.255.255.255", "0.0.0.0/8", false);
        check("1.0.0.0", "", true);
        check("9.255.255.255", "", true);
        check("10.0.0.0", "10.0.0.0/8", false);
        check("10.255.255.255", "10.0.0.0/8", false);
        check("11.0.0.0", "", true);
        check("100.63.255.255", "", true);
        check("100.64.0.0", "100.64.0.0/10", false);
        check("100.127.255.255", "100.64.0.0/10", false);
        check("100.128.0.0", "", true);
        check("126.255.255.255", "", true);
        check("127.255.255.255", "127.0.0.0/8", false);
        check("128.0.0.0", "", true);
        check("169.253.255.255", "", true);
        check("169.255.0.0", "", true);
        check("172.15.255.255", "", true);
        check("172.31.255.255", "172.16.0.0/12", false);
        check("172.32.0.0", "", true);
        check("192.0.0.7", "192.0.0.0/29", false);
        check("192.0.0.8", "192.0.0.8/32", false);
        check("192.0.0.9", "192.0.0.9/32", true);
        check("192.0.0.10", "192.0.0.10/32", true);
        check("192.0.0.11", "192.0.0.0/24", false);
        check("192.0.1.0", "", true);
        check("192.88.98.255", "", true);
        check("192.88.99.1", "192.88.99.0/24", false);
        check("192.167.255.255", "", true);
        check("192.168.255.255", "192.168.0.0/16", false);
        check("192.169.0.0", "", true);
        check("198.17.255.255", "", true);
        check("198.19.255.255", "198.18.0.0/15", false);
        check("198.20.0.0", "", true);
        check("223.255.255.255", "", true);
        check("224.0.0.0", "224.0.0.0/4", false);
        check("239.255.255.255", "224.0.0.0/4", false);
        check("240.0.0.0", "240.0.0.0/4", false);
        check("255.255.255.255", "255.255.255.255/32", false);
    }

    #[test]
    fn ipv6_addresses_are_reachable_in_global_unicast_alone() {
        check("::", "::/128", false);
        check("::1", "::1/128", false);
        check("::2", "::/0", false);
        check("::ffff:8.8.8.8", "::ffff:0.0.0.0/96", false);
        check("64:ff9b::808:808", "64:ff9b::/96", true);
        check("64:ff9b:0:0:1::", "::/0", false);
        check("64:ff9b:1::808:808", "64:ff9b:1::/48", false);
        check("1fff:ffff::", "::/0", false);
        check("2001:0:1::", "2001::/32", false);
        check("2001:1::1", "2001:1::1/128", true);
        check("2001:1::3", "2001:1::3/128", true);
        check("2001:1::4", "2001::/23", false);
        check("2001:1ff:ffff::", "2001::/23", false);
        check("2001:200::", "2000::/3", true);
        check("2001:db7:ffff::", "2000::/3", true);
        check("2001:db8:ffff::", "2001:db8::/32", false);
        check("2001:db9::", "2000::/3", true);
        check("2002:808:808::1", "2002::/16", false);
        check("2606:2800:220:1::", "2000::/3", true);
        check("3fff:fff::", "3fff::/20", false);
        check("3fff:1000::", "2000::/3", true);
        check("4000::", "::/0", false);
        check("5f00::1", "5f00::/16", false);
        check("fdff::1", "fc00::/7", false);
        check("fe00::", "::/0", false);
        check("febf::1", "fe80::/10", false);
        check("fec0::1", "fec0::/10", false);
        check("ff02::1", "ff00::/8", false);
    }

    #[test]
    fn metadata_services_are_known() {
        let check = |address: &str, expected| {
            assert_eq!(metadata(address.parse().unwrap()).is_some(), expected, "{address}");
        };
        check("169.254.169.254", true);
        check("169.254.0.0", true);
        check("169.254.255.255", true);
        check("100.100.100.200", true);
        check("100.100.100.201", false);
        check("192.0.0.192", true);
        check("192.0.0.193", false);
        check("168.63.129.16", true);
        check("168.63.129.17", false);
        check("fe80::a9fe:a9fe", true);
        check("febf::", true);
        check("fec0::", false);
        check("fd00:ec2::254", true);
        check("fd00:ec2::23", true);
        check("fd00:ec2::253", false);
        check("fd20:ce::254", true);
        check("fd20:ce::253", false);
        check("fd00:42::42", true);
        check("fd00:42::41", false);
    }
}
