//! A second opinion: a judge of URLs and addresses that shares nothing with the policy but
//! the contract. It is slow, and knows only the rules that stand here.

use blueprint_decoder::policy::{ApprovedTarget, Location, Policy, Route, Rule};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Scheme, host (`*.name` for all below, `*` for any), port (0 for any), path.
const RULES: [(&str, &str, u16, &str); 5] = [
    ("https", "docs.example", 443, "/public/"),
    ("https", "*.b.example", 443, "/"),
    ("http", "c.example", 8080, "/x/"),
    ("https", "*", 443, "/"),
    ("http", "127.0.0.1", 0, "/"),
];
/// The rule that may reach 10.1.0.0/16, too.
const PRIVATE: usize = 1;

/// What URLs and locations are put together from.
const PIECES: [&str; 64] = [
    "https://",
    "http://",
    "HTTPS://",
    "https:",
    "//",
    "ftp://",
    "file:///",
    "javascript:",
    "docs.example",
    "x.b.example",
    "b.example",
    ".b.example",
    "c.example",
    "evil.example",
    ":8080",
    ":443",
    ":0",
    ":",
    ":65536",
    "/",
    "/public/",
    "public",
    "/x/",
    "x",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "\\",
    "@",
    "user:pw@",
    "#",
    "?",
    "?token=1",
    "[",
    "]",
    "127.0.0.1",
    "0x7f",
    "0177.1",
    "2130706433",
    "10.1.2.3",
    "8.8.8.8",
    "169.254.169.254",
    "0xa9fea9fe",
    "::1",
    "::ffff:",
    "64:ff9b::",
    "fd00:ec2::254",
    "2606:2800:220:1::",
    "::",
    "。",
    "１２７",
    "ⓔxample",
    "é",
    "xn--",
    "-",
    "%00",
    " ",
    "\t",
    "\n",
    "a",
    "0",
];

/// A text of pieces.
pub(crate) fn text(pieces: &[u8]) -> String {
    pieces.iter().map(|piece| PIECES[usize::from(*piece) % PIECES.len()]).collect()
}

/// An address near those that decide: `form` chooses what the bits are the end of.
pub(crate) fn address(form: u8, bits: u128) -> IpAddr {
    let low = bits & 0xffff_ffff;
    let v6 = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits));
    match form % 12 {
        0 => Ipv4Addr::from_bits(bits as u32).into(),
        1 => Ipv4Addr::from_bits(0x0a01_0000 | bits as u32 & 0x0001_ffff).into(),
        2 => Ipv4Addr::from_bits(0xc000_0000 | bits as u32 & 0x00ff_ffff).into(),
        3 => v6(low),
        4 => v6(0xffff_0000_0000 | low),
        5 => v6(0xffff_0000_0000_0000 | low),
        6 => v6(0x0064_ff9b << 96 | low),
        7 => v6(0x0064_ff9b_0001 << 80 | bits & ((1 << 80) - 1)),
        8 => v6(0x2001 << 112 | bits & ((1 << 112) - 1)),
        9 => v6(0x2606_2800 << 96 | 0x5efe << 32 | low | (bits >> 64 & 0xffff) << 48),
        10 => v6(0xfc00 << 112 | (bits & (0x3ff << 112)) | bits & ((1 << 112) - 1)),
        _ => v6(bits),
    }
}

/// Whatever the policy approves, this approves, too. How many URLs it approved.
pub(crate) fn check(source: &str, answers: &[IpAddr], location: &str) -> usize {
    let Ok(target) = policy().approve(source) else { return 0 };
    assert!(is_plain(source), "{source:?}");
    check_target(&target, answers);
    let mut route = Route::new(target, 1);
    let from_https = route.target().url().scheme() == "https";
    let to = Location::read([location.as_bytes()]).expect("a header");
    if route.follow(&to).is_err() {
        return 1;
    }
    check_target(route.target(), answers);
    assert!(!from_https || route.target().url().scheme() == "https", "{location:?}");
    assert!(route.follow(&to).is_err(), "one is the most");
    2
}

fn policy() -> Policy {
    let rule = |(place, (scheme, host, port, path)): (usize, &(&str, &str, u16, &str))| {
        let port = match port {
            0 => ":*".to_owned(),
            port => format!(":{port}"),
        };
        let mut rule = Rule::parse(&format!("{scheme}://{host}{port}{path}")).expect("a rule");
        if place == PRIVATE {
            rule.addresses = vec!["10.1.0.0/16".parse().expect("a network")];
        }
        rule
    };
    let rules = RULES.iter().enumerate().map(rule).collect();
    Policy::new(rules, Vec::new(), Vec::new(), Vec::new())
}

/// One reading is the only one.
fn is_plain(text: &str) -> bool {
    let authority = text.split("://").nth(1).unwrap_or_default();
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    text.len() <= 2048
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\')
        && !authority.contains('@')
        && !authority.is_empty()
}

fn check_target(target: &ApprovedTarget, answers: &[IpAddr]) {
    let url = target.url().as_str();
    assert!(url.is_ascii() && is_plain(url) && !url.contains('#'), "{url:?}");
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let (authority, path) = rest.split_at(rest.find('/').expect("a path"));
    let path = path.split('?').next().expect("a beginning");
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().expect("a port")),
        _ => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    assert!(port != 0 && !host.is_empty() && !host.ends_with('.'), "{url:?}");
    assert!(!host.contains(|c: char| c.is_ascii_uppercase() || c == '%'), "{url:?}");

    let place = target.rule_index();
    let (of_scheme, of_host, of_port, of_path) = RULES[place];
    assert_eq!(scheme, of_scheme, "{url:?}");
    let fits = match of_host.strip_prefix('*') {
        Some("") => true,
        Some(below) => host.ends_with(below) && host.len() > below.len(),
        None => host == of_host,
    };
    assert!(fits && (of_port == 0 || of_port == port), "{url:?} by {of_host}:{of_port}");
    assert!(is_below(path, of_path), "{url:?} below {of_path}");

    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let looks_like_a_number = bare.rsplit('.').next().is_some_and(|last| {
        let hex = last.strip_prefix("0x").unwrap_or("-");
        hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            || last.bytes().all(|byte| byte.is_ascii_digit())
    });
    match bare.parse::<IpAddr>() {
        Ok(literal) => assert!(is_allowed(literal, place), "{url:?}"),
        Err(_) => assert!(!looks_like_a_number && !host.contains('['), "{url:?}"),
    }
    if let Ok(judged) = target.judge(answers) {
        assert_eq!(judged.len(), answers.len());
        for (judged, answer) in judged.iter().zip(answers) {
            assert_eq!((judged.ip(), judged.port()), (*answer, port));
            assert!(is_allowed(*answer, place), "{answer} by {of_host}");
        }
    }
}

/// Whether a path is below another, whether or not its reader drops empty segments first.
fn is_below(path: &str, prefix: &str) -> bool {
    let mut decoded = path.to_ascii_lowercase();
    for (code, c) in [("%2e", "."), ("%2f", "/"), ("%5c", "/")] {
        decoded = decoded.replace(code, c);
    }
    [true, false].into_iter().all(|keeps_gaps| {
        let mut left: Vec<&str> = Vec::new();
        for segment in decoded.split('/').skip(1) {
            match segment {
                // Above the root is the root.
                ".." => drop(left.pop()),
                "." => {}
                "" if !keeps_gaps => {}
                segment => left.push(segment),
            }
        }
        let plain = format!("/{}", left.join("/"));
        plain.starts_with(prefix) || format!("{plain}/") == prefix
    })
}

fn is_allowed(address: IpAddr, place: usize) -> bool {
    match address {
        IpAddr::V4(address) => is_allowed_v4(address, place),
        IpAddr::V6(address) => is_allowed_v6(address, place),
    }
}

fn is_allowed_v4(address: Ipv4Addr, place: usize) -> bool {
    let [a, b, c, d] = address.octets();
    if place == PRIVATE && (a, b) == (10, 1) {
        return true;
    }
    let is_metadata = [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]];
    let anycast = (a, b, c) == (192, 0, 0) && (d == 9 || d == 10);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || is_metadata.contains(&address.octets())
        || a == 0
        || a >= 240
        || a == 100 && (64..128).contains(&b)
        || a == 198 && (b == 18 || b == 19)
        || (a, b, c) == (192, 0, 0) && !anycast
        || (a, b, c) == (192, 88, 99))
}

fn is_allowed_v6(address: Ipv6Addr, place: usize) -> bool {
    let s = address.segments();
    let last = Ipv4Addr::from_bits(address.to_bits() as u32);
    let is_isatap = s[5] == 0x5efe && s[4] & 0xfcff == 0;
    let embeds = s[..6] == [0; 6]
        || s[..6] == [0, 0, 0, 0, 0xffff, 0]
        || s[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
        || is_isatap;
    if embeds && !is_allowed_v4(last, place) {
        return false;
    }
    let open_within_2001 = address.to_bits() >> 96 == 0x2001_0003
        || s[..3] == [0x2001, 4, 0x112]
        || s[0] == 0x2001 && matches!(s[1], 0x20..=0x3f)
        || s[..7] == [0x2001, 1, 0, 0, 0, 0, 0] && (1..=3).contains(&s[7]);
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || s[..6] == [0, 0, 0, 0, 0, 0xffff]
        || s[..3] == [0x64, 0xff9b, 1]
        || s[..4] == [0x100, 0, 0, 0]
        || s[..4] == [0x100, 0, 0, 1]
        || s[0] == 0x2001 && s[1] < 0x200 && !open_within_2001
        || s[..2] == [0x2001, 0xdb8]
        || s[0] == 0x2002
        || s[0] == 0x3fff && s[1] < 0x1000
        || s[0] == 0x5f00
        || s[0] & 0xfe00 == 0xfc00
        || s[0] & 0xff80 == 0xfe80)
}
