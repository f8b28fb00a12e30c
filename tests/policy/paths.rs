//! A path prefix cannot be left, and honest paths stay allowed below it.

use crate::servers::escape;
use blueprint_decoder::policy::{DeniedKind, Location, Policy, Route, Rule};
use proptest::{collection::vec, prelude::*, sample::select};

/// What hostile paths are put together from.
const ATOMS: [&str; 34] = [
    "/",
    "..",
    ".",
    "x",
    ";",
    ";v=1",
    "%2e",
    "%252e",
    "%2f",
    "%252f",
    "%5c",
    "%3b",
    "%00",
    "%20",
    "%25",
    "%c0%ae",
    "secret",
    "..;",
    "%2e%2e",
    "%255c",
    "%253b",
    "+",
    "%3f",
    "%23",
    "%",
    "2e",
    "%c0%2e",
    "%c0%af",
    "%e0%80%ae",
    "%u002e",
    "%u002f",
    "%ef%bc%8e",
    "%ef%bc%8f",
    "allowed",
];

/// How many of the first are tried in every combination.
const CORE: usize = 16;

fn policy() -> Policy {
    let rule = Rule::parse("http://h.example/allowed/").expect("a rule");
    Policy::new(vec![rule], Vec::new(), Vec::new(), Vec::new())
}

fn to(path: &str) -> Location {
    Location::read([path.as_bytes()]).expect("a location")
}

/// Judges what is below the prefix, as a caller's URL and as a redirect's: whether it is
/// approved. No server may read an approved path as one outside.
fn check(policy: &Policy, below: &str) -> bool {
    let url = format!("http://h.example/allowed/{below}");
    let approved = policy.approve(&url);
    let mut route = Route::new(policy.approve("http://h.example/allowed/").expect("allowed"), 1);
    if route.follow(&to(&format!("/allowed/{below}"))).is_ok() {
        let approved = approved.as_ref().expect("what a redirect may reach, a caller may");
        assert_eq!(route.target().url(), approved.url());
    }
    if let Ok(target) = &approved {
        assert_eq!(escape(target.url().path(), "/allowed/"), None, "{url}");
    }
    approved.is_ok()
}

#[test]
fn no_server_reads_a_short_approved_path_as_one_outside() {
    let policy = policy();
    let (mut judged, mut approved) = (0, 0);
    let mut texts = vec![String::new()];
    for _ in 0..3 {
        let atoms = &ATOMS[..CORE];
        texts = texts
            .iter()
            .flat_map(|text| atoms.iter().map(move |atom| format!("{text}{atom}")))
            .collect();
        for text in &texts {
            judged += 1;
            approved += u32::from(check(&policy, text));
        }
    }
    assert!(approved > judged / 10, "{approved} of {judged} is too few to show anything");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_server_reads_a_long_approved_path_as_one_outside(atoms in vec(select(&ATOMS[..]), 4..14)) {
        check(&policy(), &atoms.concat());
    }
}

/// Each was fetched, or is a variant of what was.
const HOSTILE: [&str; 27] = [
    ";/..;/secret/s.txt",
    ".;/..;/secret/s.txt",
    ";v=1/..;v=1/secret",
    ";/..%2fsecret",
    "%3b/..;/secret",
    "%252e/..%2fsecret",
    "%252f/..%2fsecret",
    "..%2fsecret",
    "..%5csecret",
    "..;/secret",
    "%2e%2e;/secret",
    "..%3b/secret",
    "..%253b/secret",
    "%252e%252e/secret",
    "%25252e%25252e/secret",
    "%252e%252e%252fsecret",
    "//..%2fsecret",
    "x/..;/..;/secret",
    "..%00/secret",
    "..%20/secret",
    "%20../secret",
    "%c0%ae%c0%ae/secret",
    "..%c0%afsecret",
    "%e0%80%ae%e0%80%ae/secret",
    "%u002e%u002e/secret",
    "%ef%bc%8e%ef%bc%8e/secret",
    "..%3f/secret",
];

#[test]
fn a_hostile_path_is_denied_to_a_caller_and_to_a_redirect() {
    let policy = policy();
    for below in HOSTILE {
        let path = format!("/allowed/{below}");
        assert!(escape(&path, "/allowed/").is_some(), "no model leaves the prefix by {path}");

        let denied = policy.approve(&format!("http://h.example{path}")).unwrap_err();
        let mut route =
            Route::new(policy.approve("http://h.example/allowed/").expect("allowed"), 1);
        let redirected = route.follow(&to(&path)).unwrap_err();

        assert_eq!(denied.kind, DeniedKind::Path, "{path}");
        assert_eq!(redirected.kind, DeniedKind::Path, "{path}");
    }
}

/// What people and programs really ask for.
const HONEST: [&str; 82] = [
    "",
    "x",
    "x/",
    "x/y/z.txt",
    "x//y",
    "/x",
    "x;v=1/y",
    "x;v=1",
    "x;jsessionid=1A2B.node1",
    ";v=1/y",
    "matrix;a=1;b=2,3/y;c",
    "a%2Fb",
    "a%2fb/c",
    "group%2Fproject/raw/main/x.txt",
    "@scope/pkg",
    "@scope%2fpkg",
    "%40scope%2Fpkg/-/pkg-1.0.0.tgz",
    "...",
    ".../x",
    "....",
    "..x",
    "..x/y",
    "x..",
    "x../y",
    "x..y",
    "v1..v2.diff",
    "main...feature.patch",
    "a..b/c..d",
    ".hidden",
    ".well-known/security.txt",
    ".git-credentials.example",
    "..hidden/x",
    "~user/x",
    "%7Euser/x",
    "50%25%20off",
    "100%25",
    "100%",
    "50%-off.txt",
    "%25zz",
    "a%2525b",
    "a%20b.txt",
    "a+b/c++/d",
    "C%2B%2B/x",
    "caf%C3%A9/men%C3%BC.txt",
    "café/ü.txt",
    "caf%E9.txt",
    "%D0%9F%D1%80%D0%B8%D0%B2%D0%B5%D1%82.txt",
    "%CF%F0%E8%E2%E5%F2.txt",
    "%C1%AA%CF%B5/%C0%B4%D4%B4.txt",
    "%C1%A6%C7%B0.txt",
    "Stra%C3%83%C2%9Fe",
    "L%C2%B7L/%C2%A5100",
    "日本語/テスト。.txt",
    "emoji-%F0%9F%98%80.txt",
    "…/x",
    "a,b;c/d",
    "x:y/z",
    "urn:isbn:0451450523",
    "key=value&other=2/x",
    "(x)/[y]/{z}",
    "!$&'()*+,;=:@",
    "a%3Bb/c",
    "a%3fb",
    "what%3F/x",
    "c%23/x",
    "q.php%3Fid=1",
    "a%5Cb",
    "DOMAIN%5Cuser/x",
    "a%26b",
    "2026-12-01T10:00:00Z.json",
    "2026/12/01/",
    "sha256:0123456789abcdef",
    "x.tar.gz.sig",
    "x%2Ey/z",
    "1.0.0-rc.1+build.5",
    "us-east-1/s3/aws4_request/x",
    "https://other.example/x",
    "https%3A%2F%2Fother.example%2Fx",
    "im_/http://other.example/x",
    "w_300,h_200,c_fill/photo.jpg",
    "x/./y",
    "x/../y",
];

#[test]
fn an_honest_path_stays_allowed() {
    let policy = policy();
    for below in HONEST {
        assert!(check(&policy, below), "{below:?} is denied");
    }
}

#[test]
fn a_prefix_is_compared_in_normal_form() {
    let check = |rule: &str, path: &str| {
        let rule = Rule::parse(&format!("https://h.example{rule}")).expect("a rule");
        let policy = Policy::new(vec![rule], Vec::new(), Vec::new(), Vec::new());
        assert!(policy.approve(&format!("https://h.example{path}")).is_ok(), "{path}");
    };
    for rule in ["/ü/", "/%c3%bc/", "/%C3%BC/"] {
        for path in ["/ü/x", "/%c3%bc/x", "/%C3%BC/x", "/%c3%BC/x"] {
            check(rule, path);
        }
    }
    for rule in ["/~user/", "/%7Euser/", "/%7euser/"] {
        for path in ["/~user/x", "/%7Euser/x", "/%7euser/x"] {
            check(rule, path);
        }
    }
}
