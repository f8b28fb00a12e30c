//! Which addresses may be connected to.

use super::{
    embedded::{embedded, is_of_nat64},
    network::{Exception, Network},
    registry::{metadata, row},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{PoisonError, RwLock},
};

/// What is forbidden, whatever rule asks.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) deny_networks: Vec<Network>,
    pub(super) nat64_prefixes: Vec<Network>,
    pub(super) own_listeners: Vec<SocketAddr>,
    /// The networks of this machine's own addresses, which it gains and loses while it runs.
    pub(super) local: RwLock<Vec<Network>>,
}

impl Addresses {
    /// Whether a connection may go to `target` under a rule with these exceptions; the
    /// error says, for the log, what forbids it.
    ///
    /// An IPv6 address is judged, and so is every IPv4 address in it, each by itself:
    /// an exception for one is none for the other. An address of a NAT64 in use here needs no
    /// exception for itself: the connection ends at the IPv4 address in it.
    pub(super) fn judge(&self, target: SocketAddr, exceptions: &[Exception]) -> Result<(), String> {
        self.judge_one(target, exceptions)
            .map_err(|forbids| format!("{} is {forbids}", target.ip()))?;
        let IpAddr::V6(outer) = target.ip() else { return Ok(()) };
        for (form, inner) in embedded(outer, &self.nat64_prefixes) {
            let inner = SocketAddr::new(IpAddr::V4(inner), target.port());
            self.judge_one(inner, exceptions).map_err(|forbids| {
                format!("{outer} is {} ({form}), which is {forbids}", inner.ip())
            })?;
        }
        Ok(())
    }

    /// What is said of an address that may be connected to, and of those within it.
    pub(super) fn why_allowed(&self, address: IpAddr) -> String {
        let mut why = self.why_one_is_allowed(address);
        if let IpAddr::V6(outer) = address {
            for (form, inner) in embedded(outer, &self.nat64_prefixes) {
                let inner_why = self.why_one_is_allowed(inner.into());
                why.push_str(&format!("; it is {inner} ({form}), {inner_why}"));
            }
        }
        why
    }

    fn judge_one(&self, target: SocketAddr, exceptions: &[Exception]) -> Result<(), String> {
        let address = target.ip();
        if let Some(network) = metadata(address) {
            return Err(format!("in {network}, where metadata services are: no rule permits it"));
        }
        if let Some(network) = self.deny_networks.iter().find(|one| one.contains(address)) {
            return Err(format!("in {network} of egress.deny_networks"));
        }
        if let Some(listener) = self.own_listeners.iter().find(|one| self.leads_to(**one, target)) {
            return Err(format!("where this server listens, {listener}"));
        }
        match row(address) {
            Some(row)
                if !row.reachable
                    && !exceptions.iter().any(|one| one.covers(target))
                    && self.nat64_prefix_of(address).is_none() =>
            {
                Err(format!("in {}, {}", row.network, row.name))
            }
            _ => Ok(()),
        }
    }

    /// Whether a connection to `target` reaches `listener`.
    fn leads_to(&self, listener: SocketAddr, target: SocketAddr) -> bool {
        let is_local = || {
            let local = self.local.read().unwrap_or_else(PoisonError::into_inner);
            local.iter().any(|network| network.contains(target.ip()))
        };
        is_own(listener, target)
            || listener.ip().is_unspecified() && listener.port() == target.port() && is_local()
    }

    /// The prefix of the NAT64 that an address is of.
    fn nat64_prefix_of(&self, address: IpAddr) -> Option<&Network> {
        self.nat64_prefixes.iter().find(|prefix| is_of_nat64(address, prefix))
    }

    /// Why one form of an address may be connected to.
    fn why_one_is_allowed(&self, address: IpAddr) -> String {
        if let Some(prefix) = self.nat64_prefix_of(address) {
            return format!("in {prefix} of egress.nat64_prefixes");
        }
        match row(address) {
            None => "public".to_owned(),
            Some(row) if row.reachable => format!("in {}, {}: public", row.network, row.name),
            Some(row) => format!("in {}, {}: permitted by the rule", row.network, row.name),
        }
    }
}

/// Whether who connects to `target` reaches `listener`. An unspecified address stands
/// for every loopback address: listening there is listening everywhere, and connecting
/// there reaches this machine.
fn is_own(listener: SocketAddr, target: SocketAddr) -> bool {
    let (ours, theirs) = (listener.ip().to_canonical(), target.ip());
    let is_local = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    let stands_for =
        (ours.is_unspecified() || theirs.is_unspecified()) && is_local(ours) && is_local(theirs);
    listener.port() == target.port() && (ours == theirs || stands_for)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(deny: &[&str], nat64: &[&str], listeners: &[&str]) -> Addresses {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Addresses {
            deny_networks: networks(deny),
            nat64_prefixes: networks(nat64),
            own_listeners: listeners.iter().map(|text| text.parse().unwrap()).collect(),
            local: RwLock::default(),
        }
    }

    /// What forbids an address at port 80 under a rule with these exceptions; "" if
    /// nothing does.
    fn check(addresses: &Addresses, exceptions: &[&str], address: &str, expected: &str) {
        let exceptions: Vec<_> = exceptions.iter().map(|text| text.parse().unwrap()).collect();
        let target = SocketAddr::new(address.parse().unwrap(), 80);
        let verdict = addresses.judge(target, &exceptions).err().unwrap_or_default();
        assert_eq!(verdict, expected, "{address} {exceptions:?}");
    }

    #[test]
    fn what_is_not_globally_reachable_is_forbidden() {
        let none = addresses(&[], &[], &[]);
        check(&none, &[], "93.184.216.34", "");
        check(&none, &[], "2606:2800:220:1::1", "");
        check(&none, &[], "127.0.0.1", "127.0.0.1 is in 127.0.0.0/8, Loopback");
        check(&none, &[], "::1", "::1 is in ::1/128, Loopback Address");
        check(&none, &[], "fd00::1", "fd00::1 is in fc00::/7, Unique-Local");
        check(&none, &[], "192.0.0.9", "");
    }

    #[test]
    fn what_is_allowed_says_why() {
        let none = addresses(&[], &[], &[]);
        let check = |address: &str, expected| {
            assert_eq!(none.why_allowed(address.parse().unwrap()), expected);
        };
        check("93.184.216.34", "public");
        check("192.0.0.9", "in 192.0.0.9/32, Port Control Protocol Anycast: public");
        check("10.0.0.1", "in 10.0.0.0/8, Private-Use: permitted by the rule");
        check(
            "64:ff9b::10.0.0.1",
            "in 64:ff9b::/96, IPv4-IPv6 Translat.: public; it is 10.0.0.1 (NAT64), in 10.0.0.0/8, \
             Private-Use: permitted by the rule",
        );
        let nat64 = addresses(&[], &["fd00:64::/96"], &[]);
        assert_eq!(
            nat64.why_allowed("fd00:64::8.8.8.8".parse().unwrap()),
            "in fd00:64::/96 of egress.nat64_prefixes; it is 8.8.8.8 (NAT64), public",
        );
    }

    #[test]
    fn what_embeds_a_forbidden_address_is_forbidden() {
        let configured = addresses(&[], &["2606:64::/96"], &[]);
        let check = |address: &str, expected: &str| check(&configured, &[], address, expected);
        check("64:ff9b::8.8.8.8", "");
        check(
            "64:ff9b::10.0.0.1",
            "64:ff9b::a00:1 is 10.0.0.1 (NAT64), which is in 10.0.0.0/8, Private-Use",
        );
        check("2606:64::8.8.8.8", "");
        check(
            "2606:64::10.0.0.1",
            "2606:64::a00:1 is 10.0.0.1 (NAT64), which is in 10.0.0.0/8, Private-Use",
        );
        check("2606::5efe:8.8.8.8", "");
        check(
            "2606::5efe:10.0.0.1",
            "2606::5efe:a00:1 is 10.0.0.1 (ISATAP), which is in 10.0.0.0/8, Private-Use",
        );
    }

    #[test]
    fn behind_a_nat64_prefix_the_embedded_address_decides() {
        let check = |prefixes: &[&str], exceptions: &[&str], address: &str, expected: &str| {
            check(&addresses(&[], prefixes, &[]), exceptions, address, expected);
        };
        for (prefix, public, private, shown) in [
            ("2001:db8::/32", "2001:db8:808:808::", "2001:db8:a00:1::", "2001:db8:a00:1::"),
            ("fd00::/40", "fd00:0:8:808:8::", "fd00:0:a:0:1::", "fd00:0:a:0:1::"),
            ("64:ff9b:1::/48", "64:ff9b:1:808:8:800::", "64:ff9b:1:a00:0:100::", ""),
            ("fd00:0:0:100::/56", "fd00:0:0:108:8:808::", "fd00:0:0:10a:0:1::", ""),
            ("fd00::/64", "fd00::8:808:800:0", "fd00::a:0:100:0", ""),
            ("2001:db8:64::/96", "2001:db8:64::8.8.8.8", "2001:db8:64::10.0.0.1", ""),
        ] {
            check(&[prefix], &[], public, "");
            check(&[prefix], &["10.0.0.1"], private, "");
            check(&[prefix], &["10.0.0.1:80"], private, "");
            let shown = if shown.is_empty() {
                private.parse::<std::net::Ipv6Addr>().unwrap().to_string()
            } else {
                shown.to_owned()
            };
            let private_use = "10.0.0.1 (NAT64), which is in 10.0.0.0/8, Private-Use";
            check(&[prefix], &[], private, &format!("{shown} is {private_use}"));
            // Naming the prefix in the rule permits nothing behind it.
            check(&[prefix], &["::/0"], private, &format!("{shown} is {private_use}"));
        }
    }

    #[test]
    fn what_no_nat64_makes_is_judged_as_if_there_were_none() {
        let check = |prefix: &str, address: &str, expected: &str| {
            check(&addresses(&[], &[prefix], &[]), &[], address, expected);
        };
        let unique_local = "is in fc00::/7, Unique-Local";
        // Outside of the prefix; bits 64 to 71 or those behind the IPv4 address are not zero.
        check("fd00::/96", "fd00::1:808:808", &format!("fd00::1:808:808 {unique_local}"));
        check("fd00::/32", "fd00:0:808:808:100::", &format!("fd00:0:808:808:100:: {unique_local}"));
        check("fd00::/32", "fd00:0:808:808::1", &format!("fd00:0:808:808::1 {unique_local}"));
        check("fd00::/64", "fd00::8:808:800:1", &format!("fd00::8:808:800:1 {unique_local}"));
        // Of a prefix that RFC 6052 does not know.
        check("fd00::/72", "fd00::808:808", &format!("fd00::808:808 {unique_local}"));
        // The prefix is within what can be permitted by nothing, or by the operator alone.
        let denied = addresses(&["fd00::/96"], &["fd00::/96"], &[]);
        self::check(
            &denied,
            &[],
            "fd00::808:808",
            "fd00::808:808 is in fd00::/96 of egress.deny_networks",
        );
        let own = addresses(&[], &["fd00::/96"], &["[fd00::808:808]:80"]);
        let target = "[fd00::808:808]:80".parse().unwrap();
        assert!(own.judge(target, &[]).unwrap_err().contains("where this server listens"));
        check(
            "fd00:ec2::/96",
            "fd00:ec2::254",
            "fd00:ec2::254 is in fd00:ec2::254/128, where metadata services are: no rule permits \
             it",
        );
    }

    #[test]
    fn exceptions_lift_the_table_for_what_they_name() {
        let none = addresses(&[], &[], &[]);
        check(&none, &["127.0.0.1:80"], "127.0.0.1", "");
        check(&none, &["127.0.0.1:80"], "127.0.0.2", "127.0.0.2 is in 127.0.0.0/8, Loopback");
        check(&none, &["127.0.0.1:81"], "127.0.0.1", "127.0.0.1 is in 127.0.0.0/8, Loopback");
        check(&none, &["::1"], "::1", "");
        check(&none, &["10.0.0.0/8"], "64:ff9b::10.0.0.1", "");
        check(
            &none,
            &["10.0.0.0/8"],
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.1 is in ::ffff:0.0.0.0/96, IPv4-mapped Address",
        );
        check(
            &none,
            &["2002::/16"],
            "2002:a00:1::",
            "2002:a00:1:: is 10.0.0.1 (6to4), which is in 10.0.0.0/8, Private-Use",
        );
        check(&none, &["2002::/16"], "2002:808:808::", "");
        check(&none, &["2002::/16", "10.0.0.1"], "2002:a00:1::", "");
        check(&none, &["2001::/32"], "2001:0:808:808::f7f7:f7f7", "");
        check(
            &none,
            &["2001::/32"],
            "2001:0:808:808::80ff:fffe",
            "2001:0:808:808::80ff:fffe is 127.0.0.1 (Teredo, client), which is in 127.0.0.0/8, \
             Loopback",
        );
    }

    #[test]
    fn no_exception_lifts_a_denied_network() {
        let denied = addresses(&["10.1.0.0/16", "2606:bad::/32", "8.8.8.0/24"], &[], &[]);
        let all = &["0.0.0.0/0", "::/0"];
        check(&denied, all, "10.0.0.1", "");
        check(&denied, all, "10.1.0.1", "10.1.0.1 is in 10.1.0.0/16 of egress.deny_networks");
        check(
            &denied,
            all,
            "2606:bad::1",
            "2606:bad::1 is in 2606:bad::/32 of egress.deny_networks",
        );
        check(
            &denied,
            all,
            "64:ff9b::8.8.8.8",
            "64:ff9b::808:808 is 8.8.8.8 (NAT64), which is in 8.8.8.0/24 of egress.deny_networks",
        );
    }

    #[test]
    fn no_exception_lifts_a_metadata_service_in_any_form() {
        let configured = addresses(&[], &["2606:64::/96", "fd00:64::/96"], &[]);
        let all = &["0.0.0.0/0", "::/0", "169.254.169.254:80"];
        for address in [
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1::a9:fea9:fe00:0",
            "2606:64::169.254.169.254",
            "fd00:64::169.254.169.254",
            "fd00:64::168.63.129.16",
            "2002:a9fe:a9fe::1",
            "2001:0:a9fe:a9fe::",
            "2001:0:808:808::5601:5601",
            "2606::5efe:169.254.169.254",
            "::ffff:168.63.129.16",
        ] {
            let target = SocketAddr::new(address.parse().unwrap(), 80);
            let exceptions: Vec<_> = all.iter().map(|text| text.parse().unwrap()).collect();
            let forbids = configured.judge(target, &exceptions).expect_err(address);
            assert!(forbids.ends_with("metadata services are: no rule permits it"), "{forbids}");
        }
    }

    #[test]
    fn no_exception_lifts_where_the_server_listens() {
        let all = &["0.0.0.0/0", "::/0"];
        let check = |listener: &str, address: &str, forbidden: bool| {
            let own = addresses(&[], &[], &[listener]);
            let target = SocketAddr::new(address.parse().unwrap(), 80);
            let exceptions: Vec<_> = all.iter().map(|text| text.parse().unwrap()).collect();
            let verdict = own.judge(target, &exceptions);
            assert_eq!(verdict.is_err(), forbidden, "{listener} {address} {verdict:?}");
        };
        check("127.0.0.1:80", "127.0.0.1", true);
        check("127.0.0.1:80", "127.0.0.2", false);
        check("127.0.0.1:81", "127.0.0.1", false);
        check("127.0.0.1:80", "0.0.0.0", true);
        check("127.0.0.1:80", "::ffff:127.0.0.1", true);
        check("10.0.0.5:80", "10.0.0.5", true);
        check("10.0.0.5:80", "64:ff9b::10.0.0.5", true);
        check("10.0.0.5:80", "0.0.0.0", false);
        check("0.0.0.0:80", "127.0.0.1", true);
        check("0.0.0.0:80", "127.9.9.9", true);
        check("0.0.0.0:80", "::1", true);
        check("0.0.0.0:80", "10.0.0.5", false);
        check("0.0.0.0:81", "127.0.0.1", false);
        check("[::]:80", "::1", true);
        check("[::]:80", "127.0.0.1", true);
        check("[::]:80", "::", true);
        check("[::ffff:127.0.0.1]:80", "127.0.0.1", true);
        check("[::1]:80", "::1", true);
        check("[::1]:80", "127.0.0.1", false);
    }
}
