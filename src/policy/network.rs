//! Networks, and the exceptions of a rule, as they are written in a configuration.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// A network: an address and how many of its bits count; the others are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// What a rule may reach although the table forbids it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// Every address of a network, at any port.
    Network(Network),
    /// One address at one port.
    Socket(SocketAddr),
}

/// A text that is no network, and no address either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoNetwork;

impl Network {
    /// A row of a table: the bits beyond the prefix are the table's own care, and
    /// its test's.
    pub(super) const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    /// The same of IPv6.
    pub(super) const fn v6(segments: [u16; 8], prefix: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = segments;
        Self { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
    }

    /// Whether an address is within. No IPv4 address is within an IPv6 network:
    /// the forms that embed one are taken apart before.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, _) = bits(self.address);
        let (theirs, _) = bits(address);
        let beyond = 128 - u32::from(self.prefix);
        let differs = (ours ^ theirs).checked_shr(beyond).unwrap_or(0);
        self.address.is_ipv4() == address.is_ipv4() && differs == 0
    }

    /// How many bits count.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether every address of this network is in the other one, too.
    pub fn is_within(&self, other: &Self) -> bool {
        self.prefix >= other.prefix && other.contains(self.address)
    }

    /// Whether a NAT64 can have this prefix: RFC 6052 says where behind it the IPv4 address
    /// stands, and bits 64 to 71 are zero. Where IPv6 addresses have a meaning of their own,
    /// as loopback addresses and those of 6to4 do, it cannot.
    pub fn is_nat64_prefix(&self) -> bool {
        let (bits, _) = bits(self.address);
        matches!(self.prefix, 32 | 40 | 48 | 56 | 64 | 96)
            && bits.to_be_bytes()[8] == 0
            && NAT64_NETWORKS.iter().any(|network| self.is_within(network))
            && !OTHER_TUNNELS.iter().any(|network| self.is_within(network))
    }
}

/// The networks that NAT64 prefixes are taken from: the well-known prefix (RFC 6052), those for
/// local use (RFC 8215), global unicast and unique local addresses.
const NAT64_NETWORKS: [Network; 4] = [
    Network::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
    Network::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    Network::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3),
    Network::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
];

/// Teredo and 6to4: within global unicast, with their own layouts.
const OTHER_TUNNELS: [Network; 2] = [
    Network::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
    Network::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
];

/// The bits of an address, the first one on top, and how many there are.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    /// `10.0.0.0/8`; an address by itself is a network of one.
    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let (bits, width) = bits(address);
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| NoNetwork)?
            }
            Some(_) => return Err(NoNetwork),
            None => width,
        };
        let beyond = bits.checked_shl(u32::from(prefix)).unwrap_or(0);
        match prefix <= width && beyond == 0 {
            true => Ok(Self { address, prefix }),
            false => Err(NoNetwork),
        }
    }
}

impl Exception {
    pub(super) fn covers(&self, target: SocketAddr) -> bool {
        match self {
            Self::Network(network) => network.contains(target.ip()),
            Self::Socket(socket) => (socket.ip(), socket.port()) == (target.ip(), target.port()),
        }
    }
}

impl FromStr for Exception {
    type Err = NoNetwork;

    /// `CIDR`, `IP` or `IP:port`.
    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        match text.parse::<SocketAddr>() {
            Ok(socket) if socket.port() != 0 => Ok(Self::Socket(socket)),
            Ok(_) => Err(NoNetwork),
            Err(_) => text.parse().map(Self::Network),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Socket(socket) => socket.fmt(f),
        }
    }
}

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither an address nor a network without bits beyond its prefix")
    }
}

impl std::error::Error for NoNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_no_bits_beyond_its_prefix() {
        let check = |text: &str, expected: Option<&str>| {
            let network = text.parse::<Network>().ok();
            assert_eq!(network.map(|network| network.to_string()).as_deref(), expected, "{text}");
        };
        check("10.0.0.0/8", Some("10.0.0.0/8"));
        check("10.0.0.1", Some("10.0.0.1/32"));
        check("0.0.0.0/0", Some("0.0.0.0/0"));
        check("::/0", Some("::/0"));
        check("fd00::/8", Some("fd00::/8"));
        check("::1", Some("::1/128"));
        check("10.0.0.1/8", None);
        check("10.0.0.0/33", None);
        check("10.0.0.0/64", None);
        check("::/129", None);
        check("fd00::1/8", None);
        check("10.0.0.0/", None);
        check("10.0.0.0/+8", None);
        check("10.0.0.0/256", None);
        check("10.0.0", None);
        check("host/8", None);
        check("", None);
        assert_eq!(
            NoNetwork.to_string(),
            "neither an address nor a network without bits beyond its prefix"
        );
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let check = |network: &str, address: &str, expected| {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        };
        check("10.0.0.0/8", "10.0.0.0", true);
        check("10.0.0.0/8", "10.255.255.255", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8", "9.255.255.255", false);
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.0", false);
        check("0.0.0.0/0", "255.1.2.3", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "::1", true);
        check("::/0", "10.0.0.1", false);
        check("::ffff:10.0.0.0/104", "10.0.0.1", false);
        check("a00::/8", "10.0.0.1", false);
        check("fe80::/10", "febf::1", true);
        check("fe80::/10", "fec0::1", false);
        check("::1", "::1", true);
        check("::1", "::2", false);
    }

    #[test]
    fn an_exception_is_a_network_or_an_address_with_or_without_a_port() {
        let check = |text: &str, expected: Option<&str>| {
            let exception = text.parse::<Exception>().ok();
            assert_eq!(exception.map(|one| one.to_string()).as_deref(), expected, "{text}");
        };
        check("10.0.0.0/8", Some("10.0.0.0/8"));
        check("10.0.0.1", Some("10.0.0.1/32"));
        check("10.0.0.1:80", Some("10.0.0.1:80"));
        check("[::1]:80", Some("[::1]:80"));
        check("::1", Some("::1/128"));
        check("10.0.0.1:0", None);
        check("10.0.0.1:99999", None);
        check("10.0.0.0/8:80", None);
        check("host:80", None);
    }

    #[test]
    fn an_exception_covers_its_port_alone() {
        let check = |exception: &str, target: &str, expected| {
            let exception: Exception = exception.parse().unwrap();
            assert_eq!(exception.covers(target.parse().unwrap()), expected, "{exception} {target}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("127.0.0.0/8", "127.0.0.2:80", true);
        check("127.0.0.0/8", "[::1]:80", false);
    }

    #[test]
    fn a_translator_has_one_of_six_prefixes() {
        let check = |text: &str, expected| {
            assert_eq!(text.parse::<Network>().unwrap().is_nat64_prefix(), expected, "{text}");
        };
        check("2001:db8::/32", true);
        check("64:ff9b::/96", true);
        check("2001:db8::/33", false);
        check("2001:db8::/128", false);
        check("10.0.0.0/32", false);
        check("fd00:64::/96", true);
        check("64:ff9b:1::/48", true);
        check("64:ff9b:1:fffe::/64", true);
        // Bits 64 to 71 are zero in every address of a NAT64.
        check("2001:db8:0:0:ff::/96", true);
        check("2001:db8:0:0:100::/96", false);
        // Addresses there have a meaning of their own.
        check("::/96", false);
        check("::ffff:0:0/96", false);
        check("::ffff:0:0:0/96", false);
        check("64:ff9b::/32", false);
        check("64:ff9b::/48", false);
        check("2001::/32", false);
        check("2001:0:808:808::/64", false);
        check("2002::/32", false);
        check("2002:808:808::/48", false);
        check("fe80::/64", false);
        check("fec0::/64", false);
        check("ff02::/96", false);
        check("100::/64", false);
    }
}
