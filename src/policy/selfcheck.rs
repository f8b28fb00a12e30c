//! Whether the policy still denies what must be denied.

use super::{Policy, Rule};
use std::net::IpAddr;

/// Spellings of hosts, each of an address that nothing may reach without an exception.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "%31%32%37.0.0.1",
    "１２７。０．０.1",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "10.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
    "[2001::80ff:fffe]",
    "[2606:2800:220:1:0:5efe:127.0.0.1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "[fd00:42::42]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
];

/// What a name may lead to, beside a good answer.
const ANSWERS: &[&str] = &[
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "2002:a00:1::",
    "fd00:ec2::254",
    "fe80::1",
];

/// A good answer, which does not make another one better.
const GOOD: [u8; 4] = [93, 184, 215, 14];

impl Policy {
    /// Holds spellings that must be denied against what this policy forbids by itself, under
    /// rules that allow every URL. The error is the first that passes.
    pub fn check_itself(&self) -> Result<(), &'static str> {
        let rules = ["http://*:*", "https://*:*"].iter().filter_map(|url| Rule::parse(url).ok());
        let nat64_prefixes = self.0.addresses.nat64_prefixes.clone();
        let open = Self::new(rules.collect(), Vec::new(), nat64_prefixes, Vec::new());
        let name = open.approve("https://name.invalid/");
        let name = name.map_err(|_| "a name is denied that every rule allows")?;
        name.judge(&[GOOD.into()]).map_err(|_| "an ordinary address is denied")?;
        first_that_passes(
            |host| open.approve(&format!("http://{host}/")).is_ok(),
            |answer| name.judge(&[GOOD.into(), answer]).is_ok(),
        )
    }
}

fn first_that_passes(
    passes_in_url: impl Fn(&str) -> bool,
    passes_as_answer: impl Fn(IpAddr) -> bool,
) -> Result<(), &'static str> {
    let hosts = HOSTS.iter().find(|host| passes_in_url(host));
    // What is no address is denied to nobody.
    let answer = |text: &&&str| text.parse().map_or(true, &passes_as_answer);
    match hosts.or_else(|| ANSWERS.iter().find(answer)) {
        Some(passed) => Err(passed),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::DeniedKind;

    #[test]
    fn a_policy_is_sound_whatever_more_it_denies() {
        let prefixes = [
            &["2606:64::/96"][..],
            &["64:ff9b:1::/48", "64:ff9b::/96", "2001:db8::/32", "fc00::/96", "fd00::/32"],
            &["fd00:ec2::/96", "fd20:ce::/96", "fd00:42::/96", "2606:2800:220:1::/64"],
        ];
        for prefixes in prefixes {
            for deny in [&[][..], &["0.0.0.0/0", "::/0"]] {
                let networks = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
                let policy =
                    Policy::new(Vec::new(), networks(deny), networks(prefixes), Vec::new());
                assert_eq!(policy.check_itself(), Ok(()), "{prefixes:?}");
            }
        }
    }

    #[test]
    fn each_spelling_is_tried() {
        for passed in HOSTS {
            let result = first_that_passes(|host| host == *passed, |_| false);
            assert_eq!(result, Err(*passed));
        }
        for passed in ANSWERS {
            let passes = |answer: IpAddr| answer == passed.parse::<IpAddr>().unwrap();
            assert_eq!(first_that_passes(|_| false, passes), Err(*passed));
        }
        assert_eq!(first_that_passes(|_| false, |_| false), Ok(()));
    }

    #[test]
    fn each_spelling_is_denied_for_its_address() {
        let rules = vec![Rule::parse("http://*:*").unwrap()];
        let open = Policy::new(rules, Vec::new(), Vec::new(), Vec::new());
        for host in HOSTS {
            let denied = open.approve(&format!("http://{host}/")).unwrap_err();
            assert_eq!(denied.kind, DeniedKind::Address, "{host}");
        }
    }
}
