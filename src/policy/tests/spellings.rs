//! Every way of writing a forbidden address stays denied, whatever the rules allow.

use super::*;
use proptest::{prelude::*, sample::select};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Forbidden ones, and at the edges of what is.
fn forbidden() -> impl Strategy<Value = Ipv4Addr> {
    let within = |first: u32, bits: u32| (0..1_u32 << bits).prop_map(move |rest| first | rest);
    prop_oneof![
        select(vec![[127, 0, 0, 1], [169, 254, 169, 254], [10, 0, 0, 1], [0, 0, 0, 0]])
            .prop_map(Ipv4Addr::from),
        select(vec![[168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192], [255; 4]])
            .prop_map(Ipv4Addr::from),
        within(0x7f00_0000, 24).prop_map(Ipv4Addr::from),
        within(0x0a00_0000, 24).prop_map(Ipv4Addr::from),
        within(0xac10_0000, 20).prop_map(Ipv4Addr::from),
        within(0xc0a8_0000, 16).prop_map(Ipv4Addr::from),
        within(0x6440_0000, 22).prop_map(Ipv4Addr::from),
        within(0xe000_0000, 29).prop_map(Ipv4Addr::from),
    ]
}

/// A number as the parser of hosts takes one.
fn number(number: u32, radix: u8, zeros: usize) -> String {
    let zeros = "0".repeat(zeros);
    match radix {
        0 => number.to_string(),
        1 => format!("0{zeros}{number:o}"),
        2 => format!("0x{zeros}{number:x}"),
        _ => format!("0X{zeros}{number:X}"),
    }
}

/// Four numbers, or fewer of which the last holds the rest.
fn short(address: Ipv4Addr, parts: usize, radices: [u8; 4], zeros: usize) -> String {
    let bits = address.to_bits();
    let rest = bits & (u32::MAX.checked_shr(8 * (parts as u32 - 1)).unwrap_or(0));
    let front = address.octets().into_iter().map(u32::from).take(parts - 1);
    let numbers = front.chain([rest]).zip(radices);
    numbers.map(|(part, radix)| number(part, radix, zeros)).collect::<Vec<_>>().join(".")
}

/// Characters that the parser takes for others.
fn disguised(host: &str, disguises: &[u8]) -> String {
    let disguise = |(at, character): (usize, char)| match disguises[at % disguises.len()] {
        1 => format!("%{:02x}", u32::from(character)),
        2 if character == '.' => "。".to_owned(),
        3 if character == '.' => "．".to_owned(),
        2 | 3 => char::from_u32(u32::from(character) + 0xfee0).unwrap().to_string(),
        4 => "\u{ad}".to_owned() + &character.to_string(),
        _ => character.to_string(),
    };
    host.chars().enumerate().map(disguise).collect()
}

/// Every IPv6 form of the address, under any prefix where that is free.
fn ipv6_forms(address: Ipv4Addr, noise: u64) -> Vec<Ipv6Addr> {
    let ipv4 = u128::from(address.to_bits());
    let noise = u128::from(noise);
    let public = 0x2606_2800_0220_0001_u128 << 64;
    let forms = [
        0xffff << 32 | ipv4,
        ipv4,
        0xffff << 48 | ipv4,
        0x0064_ff9b << 96 | ipv4,
        0x0064_ff9b_0001 << 80 | (noise & 0xffff_ffff) << 32 | ipv4,
        0x0064_ff9b_0001 << 80 | (ipv4 >> 16) << 64 | (ipv4 & 0xffff) << 40,
        0x2002 << 112 | ipv4 << 80 | noise,
        0x2001 << 112 | ipv4 << 64 | noise,
        0x2001 << 112 | 0x0808_0808 << 64 | noise & 0xffff << 48 | (!ipv4 & 0xffff_ffff),
        public | 0x5efe << 32 | ipv4,
        public | 0x0200_5efe << 32 | ipv4,
        0x2606_0064 << 96 | ipv4,
        0x2606_0032 << 96 | ipv4 << 64 | noise & 0x00ff_ffff_ffff_ffff,
        0x2606_0048_0000 << 80
            | (ipv4 >> 16) << 64
            | (ipv4 & 0xffff) << 40
            | noise & 0xff_ffff_ffff,
        0xfd00_0064 << 96 | ipv4,
        0xfd00_0048_0000 << 80 | (ipv4 >> 16) << 64 | (ipv4 & 0xffff) << 40,
    ];
    forms.map(Ipv6Addr::from_bits).to_vec()
}

/// Public ones, and some where the prefix is forbidden by itself.
fn nat64_prefixes() -> Vec<Network> {
    let prefixes = ["2606:64::/96", "2606:32::/32", "2606:48::/48", "fd00:64::/96", "fd00:48::/48"];
    prefixes.map(|net| net.parse().unwrap()).to_vec()
}

fn anything_goes() -> Policy {
    let rules = ["https://*:*", "http://*:*"].map(|url| Rule::parse(url).unwrap());
    Policy::new(rules.to_vec(), Vec::new(), nat64_prefixes(), Vec::new())
}

fn assert_denied(source: &str) {
    let kind = anything_goes().approve(source).expect_err(source).kind;
    assert!(matches!(kind, DeniedKind::Address | DeniedKind::MalformedUrl), "{source}: {kind:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_spelling_of_a_forbidden_address_passes(
        address in forbidden(),
        parts in 1..=4_usize,
        radices in [0..4_u8, 0..4_u8, 0..4_u8, 0..4_u8],
        zeros in 0..4_usize,
        dot in any::<bool>(),
        disguises in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => 1..5_u8], 1..8),
        scheme in select(vec!["https", "HTTP"]),
        port in select(vec!["", ":443", ":8080", ":"]),
    ) {
        let host = short(address, parts, radices, zeros) + if dot { "." } else { "" };
        let plain = format!("{scheme}://{host}{port}/");
        let kind = anything_goes().approve(&plain).expect_err(&plain).kind;
        prop_assert_eq!(kind, DeniedKind::Address, "{}", plain);
        assert_denied(&format!("{scheme}://{}{port}/", disguised(&host, &disguises)));
    }

    #[test]
    fn no_ipv6_form_of_a_forbidden_address_passes(
        address in forbidden(),
        noise in any::<u64>(),
        port in select(vec!["", ":8080"]),
    ) {
        let policy = anything_goes();
        let name = policy.approve("https://a.example/").unwrap();
        for form in ipv6_forms(address, noise) {
            assert_denied(&format!("https://[{form}]{port}/"));
            let groups = form.segments().map(|segment| format!("{segment:04X}")).join(":");
            assert_denied(&format!("https://[{groups}]{port}/"));
            let kind = name.judge(&[form.into()]).expect_err(&groups).kind;
            prop_assert_eq!(kind, DeniedKind::Address, "{}", form);
        }
    }

    /// The same forms under a rule that lifts every IPv6 row: what is within is judged.
    #[test]
    fn what_is_embedded_is_judged_by_itself(address in forbidden(), noise in any::<u64>()) {
        let mut rule = Rule::parse("https://*:*").unwrap();
        rule.addresses = vec!["::/0".parse().unwrap()];
        let policy = Policy::new(vec![rule], Vec::new(), nat64_prefixes(), Vec::new());
        for form in ipv6_forms(address, noise).into_iter().filter(|form| form.to_bits() > 1) {
            let source = format!("https://[{form}]/");
            let kind = policy.approve(&source).expect_err(&source).kind;
            prop_assert_eq!(kind, DeniedKind::Address, "{}", source);
        }
    }
}
