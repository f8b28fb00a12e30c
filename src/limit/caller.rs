//! Whom a limit counts as one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Who calls, as far as limits are concerned: those whom one of these stands for share
/// what it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// An address.
    V4(Ipv4Addr),
    /// A network of 2⁶⁴ addresses, which is what one customer is given at the least.
    V6(u64),
    /// A tenant, by its number.
    Tenant(u32),
}

impl Caller {
    /// Whoever asks on this machine.
    pub const HERE: Self = Self::V4(Ipv4Addr::LOCALHOST);

    /// In which of so many parts it is kept: neighbours in different ones.
    pub(super) fn part(self, parts: usize) -> usize {
        let bits = match self {
            Self::V4(address) => u64::from(address.to_bits()),
            Self::V6(network) => network,
            Self::Tenant(number) => u64::from(number),
        };
        (bits ^ bits >> 16 ^ bits >> 32) as usize % parts
    }
}

/// As an address or a network is written; a tenant by its number, which only this process knows.
impl fmt::Display for Caller {
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

impl From<IpAddr> for Caller {
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
    fn addresses_of_one_network_are_one_caller() {
        let check = |one: &str, other: &str, same: bool| {
            let of = |text: &str| Caller::from(text.parse::<IpAddr>().unwrap());
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
        let parts = |callers: &[Caller]| {
            let parts: BTreeSet<usize> = callers.iter().map(|caller| caller.part(32)).collect();
            assert!(parts.iter().all(|part| *part < 32));
            parts.len()
        };
        let of = |caller: &dyn Fn(u32) -> Caller| (0..32).map(caller).collect::<Vec<_>>();
        let address = |number| Caller::V4(Ipv4Addr::from_bits(number));
        assert_eq!(parts(&of(&address)), 32);
        assert_eq!(parts(&of(&|number| address(number << 16))), 32);
        assert_eq!(parts(&of(&Caller::Tenant)), 32);
        let network = |number: u32, shift: u32| Caller::V6(u64::from(number) << shift);
        for shift in [0, 16, 32] {
            assert_eq!(parts(&of(&|number| network(number, shift))), 32, "{shift}");
        }
        // What is the same in two places is not lost.
        assert_ne!(address(0x1_0001).part(32), address(0x1_0000).part(32));
        assert_eq!(address(0x1_0001).part(32), 0);
        assert_eq!(Caller::V6(0x1_0000_0001).part(32), 0);
    }
}
