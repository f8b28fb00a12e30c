//! The IPv4 addresses within an IPv6 address.
//!
//! A host or a router on the way may make an IPv4 packet of what was sent to one of
//! these, so that each is a second way of writing the address within it.

use super::network::Network;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The prefixes of RFC 6052.
const NAT64_LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// The prefix of translators on site, RFC 8215.
const LOCAL: Network = Network::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);

/// Every IPv4 address that `address` may stand for, with the name of the form, given
/// the prefixes of the translators in use.
pub(super) fn embedded(address: Ipv6Addr, nat64: &[Network]) -> Vec<(&'static str, Ipv4Addr)> {
    let segments = address.segments();
    let last = behind(address, 96);
    let mut found = Vec::new();
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] => found.push(("IPv4-mapped", last)),
        [0, 0, 0, 0, 0xffff, 0, ..] => found.push(("IPv4-translated", last)),
        // `::` and `::1` are not IPv4-compatible addresses but themselves.
        [0, 0, 0, 0, 0, 0, ..] if address.to_bits() > 1 => found.push(("IPv4-compatible", last)),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => found.push(("NAT64", last)),
        [0x2002, ..] => found.push(("6to4", behind(address, 16))),
        [0x2001, 0, ..] => {
            found.push(("Teredo, server", behind(address, 32)));
            found.push(("Teredo, client", Ipv4Addr::from_bits(!last.to_bits())));
        }
        _ => {}
    }
    // The two flags, universal and group, are any: hosts differ in which they set.
    if segments[4] & !0x0300 == 0 && segments[5] == 0x5efe {
        found.push(("ISATAP", last));
    }
    let within = |network: &&Network| network.contains(IpAddr::V6(address));
    let mut lengths: Vec<u8> = nat64.iter().filter(within).flat_map(layouts).collect();
    if lengths.is_empty() && LOCAL.contains(IpAddr::V6(address)) {
        // Nothing says which translator of the site it is.
        lengths.extend(NAT64_LENGTHS.iter().filter(|length| **length >= LOCAL.prefix()));
    }
    found.extend(lengths.into_iter().map(|length| ("NAT64", behind(address, length))));
    found
}

/// Where the IPv4 address may stand behind a prefix: for a prefix that is none of RFC
/// 6052, wherever a longer one puts it.
fn layouts(prefix: &Network) -> Vec<u8> {
    match prefix.is_nat64_prefix() {
        true => vec![prefix.prefix()],
        false => NAT64_LENGTHS.into_iter().filter(|length| *length >= prefix.prefix()).collect(),
    }
}

/// Whether a NAT64 of this prefix makes this address of an IPv4 address: by RFC 6052, bits 64
/// to 71 and all behind the IPv4 address are zero.
pub(super) fn is_of_nat64(address: IpAddr, prefix: &Network) -> bool {
    let IpAddr::V6(address) = address else { return false };
    let octets = address.octets().into_iter().enumerate();
    let (u, others): (Vec<_>, Vec<_>) = octets.partition(|(at, _)| *at == 8);
    // Without that byte, the four of the IPv4 address are together.
    let end = usize::from(prefix.prefix() / 8) + 4 - usize::from(prefix.prefix() > 64);
    prefix.is_nat64_prefix()
        && prefix.contains(IpAddr::V6(address))
        && u.iter().chain(&others[end..]).all(|(_, octet)| *octet == 0)
}

/// The four bytes behind a prefix, without the ninth of the address, which RFC 6052
/// leaves out. (The other forms do not reach it.)
fn behind(address: Ipv6Addr, prefix: u8) -> Ipv4Addr {
    let octets = address.octets().into_iter().enumerate();
    let mut rest = octets.filter(|(at, _)| *at != 8).map(|(_, octet)| octet);
    let at = usize::from(prefix / 8);
    let mut next = |skip| rest.nth(skip).unwrap_or(0);
    Ipv4Addr::new(next(at - usize::from(at > 8)), next(0), next(0), next(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, nat64: &[&str], expected: &[(&str, &str)]) {
        let nat64: Vec<Network> = nat64.iter().map(|text| text.parse().unwrap()).collect();
        let found = embedded(address.parse().unwrap(), &nat64);
        let found: Vec<_> = found.iter().map(|(form, ipv4)| (*form, ipv4.to_string())).collect();
        let found: Vec<_> = found.iter().map(|(form, ipv4)| (*form, ipv4.as_str())).collect();
        assert_eq!(found, expected, "{address}");
    }

    #[test]
    fn every_form_is_taken_apart() {
        check("::ffff:10.0.0.1", &[], &[("IPv4-mapped", "10.0.0.1")]);
        check("::10.0.0.1", &[], &[("IPv4-compatible", "10.0.0.1")]);
        check("::2", &[], &[("IPv4-compatible", "0.0.0.2")]);
        check("::ffff:0:10.0.0.1", &[], &[("IPv4-translated", "10.0.0.1")]);
        check("64:ff9b::10.0.0.1", &[], &[("NAT64", "10.0.0.1")]);
        check("2002:a00:1::", &[], &[("6to4", "10.0.0.1")]);
        check("2002:a00:1:ffff:ffff:ffff:ffff:ffff", &[], &[("6to4", "10.0.0.1")]);
        check(
            "2001:0:a00:1:0:ffff:80ff:fffe",
            &[],
            &[("Teredo, server", "10.0.0.1"), ("Teredo, client", "127.0.0.1")],
        );
        check("2606::5efe:10.0.0.1", &[], &[("ISATAP", "10.0.0.1")]);
        check("2606::200:5efe:10.0.0.1", &[], &[("ISATAP", "10.0.0.1")]);
        check("2606::300:5efe:10.0.0.1", &[], &[("ISATAP", "10.0.0.1")]);
        check("2002:7f00:1::5efe:10.0.0.1", &[], &[("6to4", "127.0.0.1"), ("ISATAP", "10.0.0.1")]);
    }

    #[test]
    fn other_addresses_embed_none() {
        check("::", &[], &[]);
        check("::1", &[], &[]);
        check("2606:2800:220:1:248:1893:25c8:1946", &[], &[]);
        check("2001:200::a00:1", &[], &[]);
        check("2606::400:5efe:10.0.0.1", &[], &[]);
        check("64:ff9b:0:0:1:0:a00:1", &[], &[]);
        check("2606::a00:1", &["2607::/96"], &[]);
    }

    /// The examples of RFC 6052, section 2.4.
    #[test]
    fn a_configured_prefix_says_where_the_address_stands() {
        let expected = &[("NAT64", "192.0.2.33")];
        check("2001:db8:c000:221::", &["2001:db8::/32"], expected);
        check("2001:db8:1c0:2:21::", &["2001:db8:100::/40"], expected);
        check("2001:db8:122:c000:2:2100::", &["2001:db8:122::/48"], expected);
        check("2001:db8:122:3c0:0:221::", &["2001:db8:122:300::/56"], expected);
        check("2001:db8:122:344:c0:2:2100::", &["2001:db8:122:344::/64"], expected);
        check("2001:db8:122:344::192.0.2.33", &["2001:db8:122:344::/96"], expected);
    }

    #[test]
    fn the_bits_that_a_layout_leaves_out_hide_nothing() {
        check(
            "2001:db8:c000:221:ffff:ffff:ffff:ffff",
            &["2001:db8::/32"],
            &[("NAT64", "192.0.2.33")],
        );
        check("2001:db8:1c0:2:ff21::", &["2001:db8:100::/40"], &[("NAT64", "192.0.2.33")]);
    }

    #[test]
    fn a_local_translator_that_is_not_configured_may_be_any() {
        let any = [
            ("NAT64", "0.0.0.0"),
            ("NAT64", "0.0.0.0"),
            ("NAT64", "0.0.0.10"),
            ("NAT64", "10.0.0.1"),
        ];
        check("64:ff9b:1::10.0.0.1", &[], &any);
        check("64:ff9b:1::10.0.0.1", &["64:ff9b:1::/96"], &[("NAT64", "10.0.0.1")]);
        check("2606::10.0.0.1", &["2606::/50"], &any[1..]);
    }
}
