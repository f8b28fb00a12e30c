//! Whom limits and queues treat as one caller.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What usage and fair shares are counted for: a tenant, or an address of an anonymous caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaKey {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 network of 2⁶⁴ addresses, the least that one customer is given.
    V6(u64),
    /// A tenant, by its number in this process.
    Tenant(u32),
}

impl QuotaKey {
    /// The command line, which runs on this machine.
    pub const LOCAL: Self = Self::V4(Ipv4Addr::LOCALHOST);

    /// In which of that many parts of a table it is kept; neighbours are in different ones.
    pub(crate) fn part(self, parts: usize) -> usize {
        let bits = match self {
            Self::V4(address) => u64::from(address.to_bits()),
            Self::V6(network) => network,
            Self::Tenant(number) => u64::from(number),
        };
        (bits ^ bits >> 16 ^ bits >> 32) as usize % parts
    }
}

/// An address or a network as usual; a tenant as `#` and its number.
impl fmt::Display for QuotaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(network) => {
                write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*network) << 64))
            }
            Self::Tenant(number) => write!(f, "#{number}"),
        }
    }
}

impl From<IpAddr> for QuotaKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn addresses_of_one_network_share_a_key() {
        let check = |one: &str, other: &str, same: bool| {
            let of = |text: &str| QuotaKey::from(text.parse::<IpAddr>().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", false);
    }

    #[test]
    fn neighbours_are_kept_in_different_parts() {
        let parts = |keys: &[QuotaKey]| {
            let parts: BTreeSet<usize> = keys.iter().map(|key| key.part(32)).collect();
            assert!(parts.iter().all(|part| *part < 32));
            parts.len()
        };
        let of = |key: &dyn Fn(u32) -> QuotaKey| (0..32).map(key).collect::<Vec<_>>();
        let address = |number| QuotaKey::V4(Ipv4Addr::from_bits(number));
        assert_eq!(parts(&of(&address)), 32);
        assert_eq!(parts(&of(&|number| address(number << 16))), 32);
        assert_eq!(parts(&of(&QuotaKey::Tenant)), 32);
        let network = |number: u32, shift: u32| QuotaKey::V6(u64::from(number) << shift);
        for shift in [0, 16, 32] {
            assert_eq!(parts(&of(&|number| network(number, shift))), 32, "{shift}");
        }
        // Equal bits in two places do not cancel out.
        assert_ne!(address(0x1_0001).part(32), address(0x1_0000).part(32));
        assert_eq!(address(0x1_0001).part(32), 0);
        assert_eq!(QuotaKey::V6(0x1_0000_0001).part(32), 0);
    }
}
