//! The policy as a whole: which rule decides, and what a denial says.

mod spellings;

use super::*;
use std::net::IpAddr;

fn policy(rules: &[&str]) -> Policy {
    let rules = rules.iter().map(|url| Rule::parse(url).unwrap()).collect();
    Policy::new(rules, Vec::new(), Vec::new(), Vec::new())
}

/// The name of the rule that decides, or the kind of the denial.
fn check(policy: &Policy, source: &str, expected: Result<&str, DeniedKind>) {
    let verdict = policy.approve(source);
    let found = verdict.as_ref().map(ApprovedTarget::rule).map_err(|denied| denied.kind);
    assert_eq!(found, expected, "{source}");
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn without_rules_nothing_is_allowed() {
    check(&policy(&[]), "https://a.example/", Err(DeniedKind::Host));
    check(&policy(&[]), "https://a example/", Err(DeniedKind::MalformedUrl));
}

#[test]
fn the_first_part_that_no_rule_has_names_the_denial() {
    let policy = policy(&["https://a.example:8443/x/", "https://b.example", "http://c.example"]);
    check(&policy, "https://b.example/y", Ok("rule-2"));
    check(&policy, "https://a.example:8443/x/y", Ok("rule-1"));
    check(&policy, "ftp://b.example/", Err(DeniedKind::Scheme));
    check(&policy, "http://b.example/", Err(DeniedKind::Host));
    check(&policy, "https://c.example/", Err(DeniedKind::Host));
    check(&policy, "https://d.example:8443/x/", Err(DeniedKind::Host));
    check(&policy, "https://a.example/y", Err(DeniedKind::Port));
    check(&policy, "https://a.example:8443/y", Err(DeniedKind::Path));
    check(&policy, "https://a.example:8443/x/..%2fy", Err(DeniedKind::Path));
}

#[test]
fn http_needs_a_rule_that_says_so() {
    check(&policy(&["https://*:*"]), "http://a.example/", Err(DeniedKind::Scheme));
    check(&policy(&["http://*:*"]), "https://a.example/", Err(DeniedKind::Scheme));
    check(&policy(&["http://*:*"]), "http://a.example/", Ok("rule-1"));
}

#[test]
fn the_narrowest_rule_decides_wherever_it_stands() {
    let rules = [
        "https://*",
        "https://*.example",
        "https://*.a.example",
        "https://b.a.example",
        "https://b.a.example/x/",
        "https://b.a.example:*/x/",
        "https://b.a.example/x/",
    ];
    let check = |source: &str, expected: &str| {
        check(&policy(&rules), source, Ok(expected));
        let mut backwards = rules;
        backwards.reverse();
        let target = policy(&backwards).approve(source).unwrap();
        let (index, urls) = (target.rule_index(), policy(&backwards));
        let decides: usize = expected.strip_prefix("rule-").unwrap().parse().unwrap();
        assert_eq!(urls.rules()[index].rule.url(), rules[decides - 1], "{source}");
    };
    check("https://other/", "rule-1");
    check("https://x.example/", "rule-2");
    check("https://x.a.example/", "rule-3");
    check("https://b.a.example/", "rule-4");
    check("https://b.a.example/x/y", "rule-5");
    check("https://b.a.example:8443/x/y", "rule-6");
}

#[test]
fn a_machine_that_gains_an_address_does_not_fetch_from_itself_there() {
    let rules = vec![Rule::parse("https://*:*").unwrap()];
    let own = vec!["[::]:8080".parse().unwrap(), "93.184.216.35:8081".parse().unwrap()];
    let policy = Policy::new(rules, Vec::new(), Vec::new(), own);
    let target = policy.approve("https://a.example:8080/").unwrap();
    let gained = addresses(&["93.184.216.34"]);
    assert!(target.judge(&gained).is_ok());

    policy.is_reached_at(vec!["93.184.216.34/31".parse().unwrap(), "2606::/64".parse().unwrap()]);

    let denied = target.judge(&gained).unwrap_err();
    assert!(denied.reason.contains("where this server listens"), "{}", denied.reason);
    assert!(policy.approve("https://93.184.216.34:8080/").is_err());
    assert!(policy.approve("https://93.184.216.34:8081/").is_ok());
    // Every address of a network that leads here does.
    for address in ["93.184.216.34", "93.184.216.35", "[2606::7]"] {
        assert!(policy.approve(&format!("https://{address}:8080/")).is_err(), "{address}");
    }
    assert!(policy.approve("https://93.184.216.36:8080/").is_ok());
    assert!(policy.approve("https://93.184.216.35:8081/").is_err());
    policy.is_reached_at(Vec::new());
    assert!(target.judge(&gained).is_ok());
}

#[test]
fn a_url_may_be_as_long_as_the_policy_says() {
    let url = |bytes: usize| format!("https://a.example/{}", "x".repeat(bytes - 18));
    let kind = |policy: &Policy, bytes| {
        policy.approve(&url(bytes)).map(|_| ()).map_err(|denied| denied.kind)
    };
    let usual = policy(&["https://a.example"]);
    let short = usual.with_max_url_bytes(100);
    assert_eq!(kind(&usual, 8192), Ok(()));
    assert_eq!(kind(&usual, 8193), Err(DeniedKind::MalformedUrl));
    for policy in [&short, &short.with_rules(vec![Rule::parse("https://a.example").unwrap()])] {
        assert_eq!(kind(policy, 100), Ok(()));
        assert_eq!(kind(policy, 101), Err(DeniedKind::MalformedUrl));
    }
    let denied = short.approve(&url(101)).unwrap_err();
    let detail = "the URL has 101 bytes and at most 100 are accepted: use a shorter one";
    assert_eq!(denied.detail, detail);
    let mut route = Route::new(short.approve("https://a.example/").unwrap(), 1);
    let there = Location::One(url(101));
    assert_eq!(route.follow(&there).unwrap_err().kind, DeniedKind::Redirect);
}

#[test]
fn rules_have_names() {
    let mut named = Rule::parse("https://a.example").unwrap();
    named.name = Some("docs".to_owned());
    let other = Rule::parse("https://b.example").unwrap();

    let policy = Policy::new(vec![named, other], Vec::new(), Vec::new(), Vec::new());

    let names: Vec<&str> = policy.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["docs", "rule-2"]);
    let target = policy.approve("https://b.example/").unwrap();
    assert_eq!((target.rule(), target.rule_index()), ("rule-2", 1));
}

#[test]
fn a_target_is_what_is_requested() {
    let policy = policy(&["https://*:*"]);

    let target = policy.approve("HTTPS://A.Example.:8443/x/../y?token=s3cret#z").unwrap();

    assert_eq!(target.url().as_str(), "https://a.example:8443/y?token=s3cret");
    assert_eq!(target.shown(), "https://a.example:8443/y");
    assert_eq!(target.host(), "a.example");
    assert_eq!(target.literal(), None);
    let debug = format!("{target:?}");
    assert!(debug.contains("https://a.example:8443/y") && debug.contains("rule-1"), "{debug}");
    assert!(!debug.contains("s3cret"), "{debug}");
}

#[test]
fn one_forbidden_answer_denies_them_all() {
    let target = policy(&["https://a.example:8443"]).approve("https://a.example:8443").unwrap();
    let judge = |answers: &[&str]| target.judge(&addresses(answers)).map_err(|denied| denied.kind);
    let sockets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();

    let public = ["93.184.216.34", "2606:2800:220:1::1", "1.1.1.1"];
    let expected = ["93.184.216.34:8443", "[2606:2800:220:1::1]:8443", "1.1.1.1:8443"];
    assert_eq!(judge(&public), Ok(sockets(&expected)), "in their order");
    assert_eq!(judge(&["93.184.216.34", "10.0.0.1"]), Err(DeniedKind::Address));
    assert_eq!(judge(&["::1", "93.184.216.34"]), Err(DeniedKind::Address));
    assert_eq!(judge(&[]), Ok(Vec::new()));
}

#[test]
fn a_rule_for_one_loopback_address_says_what_to_add_for_the_other() {
    let policy = |exceptions: &[&str], deny: &[&str]| {
        let mut rule = Rule::parse("http://*:80").unwrap();
        rule.addresses = exceptions.iter().map(|text| text.parse().unwrap()).collect();
        let deny = deny.iter().map(|text| text.parse().unwrap()).collect();
        Policy::new(vec![rule], deny, Vec::new(), vec!["[::1]:8080".parse().unwrap()])
    };
    let check = |exceptions: &[&str], answers: &[&str], expected: &str| {
        let target = policy(exceptions, &[]).approve("http://localhost/").unwrap();
        let denied = target.judge(&addresses(answers)).unwrap_err();
        let reason = denied.reason.strip_prefix("localhost, allowed by rule-1: ").unwrap();
        assert_eq!(reason, expected, "{exceptions:?}");
        let last = addresses(&answers[answers.len() - 1..]);
        assert_eq!(target.explain(last[0]), Err(denied.reason), "each by itself");
    };
    let v6 = "::1 is in ::1/128, Loopback Address";
    let both = &["127.0.0.1", "::1"];
    let add = |address: &str, all: &str| {
        format!(
            "the rule permits the other loopback address: add \"{address}\", as in addresses = {all}"
        )
    };
    let added = add("::1", "[\"127.0.0.1\", \"::1\"]");
    check(&["127.0.0.1"], both, &format!("{v6}; {added}"));
    check(&["10.0.0.1", "127.0.0.1"], both, &format!("{v6}; {added}"));
    let added = add("::1", "[\"127.0.0.0/8\", \"::1\"]");
    check(&["127.0.0.0/8"], both, &format!("{v6}; {added}"));
    let added = add("[::1]:80", "[\"127.0.0.1:80\", \"[::1]:80\"]");
    check(&["127.0.0.1:80"], both, &format!("{v6}; {added}"));
    let added = add("127.0.0.1", "[\"::1\", \"127.0.0.1\"]");
    let v4 = "127.0.0.1 is in 127.0.0.0/8, Loopback";
    check(&["::1"], &["::1", "127.0.0.1"], &format!("{v4}; {added}"));

    // Where that would be of no use, or was not meant.
    check(&[], &["::1"], v6);
    check(&["127.0.0.1:81"], &["::1"], v6);
    check(&["127.0.0.1"], &["10.0.0.1"], "10.0.0.1 is in 10.0.0.0/8, Private-Use");
    let denied = policy(&["127.0.0.1"], &["::1"]).approve("http://localhost/").unwrap();
    let denied = denied.judge(&addresses(both)).unwrap_err();
    assert!(denied.reason.ends_with("::1/128 of egress.deny_networks"), "{}", denied.reason);
    let literal = policy(&["127.0.0.1"], &[]).approve("http://[::1]/").unwrap_err();
    assert!(literal.reason.ends_with(v6), "{}", literal.reason);
}

#[test]
fn an_address_in_a_url_needs_a_rule_and_is_judged_at_once() {
    let none = policy(&["https://a.example"]);
    check(&none, "https://93.184.216.34/", Err(DeniedKind::Address));
    check(&none, "https://127.0.0.1/", Err(DeniedKind::Address));
    let any = policy(&["https://*", "https://127.0.0.1"]);
    check(&any, "https://93.184.216.34/", Ok("rule-1"));
    check(&any, "https://127.0.0.1/", Err(DeniedKind::Address));
    check(&any, "https://[::1]/", Err(DeniedKind::Address));

    let target = any.approve("https://[2606:2800:220:1::1]/x").unwrap();

    assert_eq!(target.literal(), Some("[2606:2800:220:1::1]:443".parse().unwrap()));
    assert_eq!(target.host(), "[2606:2800:220:1::1]");
    let target = any.approve("https://93.184.216.34./x").unwrap();
    assert_eq!(target.literal(), Some("93.184.216.34:443".parse().unwrap()));
}

#[test]
fn exceptions_are_those_of_the_rule_that_decides() {
    let mut inside = Rule::parse("https://in.example:*").unwrap();
    inside.addresses = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1:8443".parse().unwrap()];
    let mut literal = Rule::parse("https://127.0.0.1:*").unwrap();
    literal.addresses.clone_from(&inside.addresses);
    let rules = vec![Rule::parse("https://*:*").unwrap(), inside, literal];
    let deny = vec!["10.9.0.0/16".parse().unwrap()];
    let own = vec!["0.0.0.0:9443".parse().unwrap()];
    let policy = Policy::new(rules, deny, Vec::new(), own);
    let judge = |source: &str, answer: &str| {
        let verdict = policy.approve(source).and_then(|target| target.judge(&addresses(&[answer])));
        verdict.map(|_| ()).map_err(|denied| denied.kind)
    };

    assert_eq!(judge("https://in.example/", "10.0.0.1"), Ok(()));
    assert_eq!(judge("https://out.example/", "10.0.0.1"), Err(DeniedKind::Address));
    assert_eq!(judge("https://in.example/", "10.9.0.1"), Err(DeniedKind::Address));
    assert_eq!(judge("https://in.example:8443/", "127.0.0.1"), Ok(()));
    assert_eq!(judge("https://in.example/", "127.0.0.1"), Err(DeniedKind::Address));
    check(&policy, "https://127.0.0.1:8443/", Ok("rule-3"));
    check(&policy, "https://127.0.0.1:9443/", Err(DeniedKind::Address));
}

#[test]
fn a_denial_tells_the_caller_what_to_do_and_the_log_what_decided() {
    let check = |rules: &[&str], source: &str, detail: &str, reason: &str| {
        let denied = policy(rules).approve(source).unwrap_err();
        assert_eq!((denied.detail.as_str(), denied.reason.as_str()), (detail, reason), "{source}");
    };
    let rule = &["https://a.example/x/"];
    check(
        rule,
        "http://a.example/x/?s3cret",
        "no rule allows http: begin the URL with https://, or ask the operator for a rule",
        "not the scheme of any rule: http://a.example/x/",
    );
    check(
        &["http://a.example"],
        "https://a.example/",
        "no rule allows https: begin the URL with http://, or ask the operator for a rule",
        "not the scheme of any rule: https://a.example/",
    );
    check(
        rule,
        "https://b.example/x/?s3cret",
        "no rule allows this host: use an allowed host, or ask the operator for a rule",
        "not the host of any rule: https://b.example/x/",
    );
    check(
        rule,
        "https://a.example:1/x/?s3cret",
        "no rule allows this port: use an allowed port, or leave it out, or ask the operator for \
         a rule",
        "not the port of rule-1: https://a.example:1/x/",
    );
    check(
        rule,
        "https://a.example/y?s3cret",
        "no rule allows this path: use a path below an allowed one, or ask the operator for a \
         rule",
        "not the path of rule-1: https://a.example/y",
    );
    check(
        rule,
        "https://a.example/x/;/..;/y?s3cret",
        "no rule allows this path: some servers would read it as a path outside the allowed \
         one; write it without control characters, full-width dots, and `..` in any encoding",
        "the path may lead out of that of rule-1: https://a.example/x/;/..;/y",
    );
    check(
        &["https://*"],
        "https://10.0.0.1/?s3cret",
        "the host resolves to an address that must not be fetched from: use a source with a public \
         address, or ask the operator to permit this one",
        "10.0.0.1, allowed by rule-1: 10.0.0.1 is in 10.0.0.0/8, Private-Use",
    );
}

#[test]
fn a_host_that_is_blocked_is_denied_to_all_whatever_was_approved_before() {
    let rules = |text: &str| vec![Rule::parse(text).unwrap()];
    let policy = Policy::new(rules("https://*"), Vec::new(), Vec::new(), Vec::new());
    let other = policy.with_rules(rules("http://*:*"));
    let before = policy.approve("https://a.example./x?q").unwrap();
    let beside = other.approve("http://b.example:81/").unwrap();
    let literal = other.approve("http://93.184.215.14/").unwrap();

    let block = |hosts: &[&str]| {
        policy.block(hosts.iter().map(|host| BlockedHost::parse(host).unwrap()).collect());
    };
    block(&["A.example", "*.c.example", "93.184.215.14"]);

    let denied = before.still_allowed().unwrap_err();
    assert_eq!(denied.kind, DeniedKind::Host);
    assert_eq!(denied.reason, "one of blocked_hosts: https://a.example/x");
    assert!(beside.still_allowed().is_ok());
    assert!(literal.still_allowed().is_err());
    for (policy, url) in [
        (&policy, "https://A.EXAMPLE/"),
        (&policy, "https://a.example./"),
        (&policy, "https://x.c.example/"),
        (&other, "http://a.example:8080/"),
        (&other, "http://0x5db8d70e/"),
    ] {
        assert_eq!(policy.approve(url).unwrap_err().kind, DeniedKind::Host, "{url}");
    }
    assert!(policy.approve("https://c.example/").is_ok());
    let mut route = Route::new(policy.approve("https://b.example/").unwrap(), 1);
    assert_eq!(
        route.follow(&Location::One("https://a.example/".to_owned())).unwrap_err().kind,
        DeniedKind::Host
    );
    block(&[]);
    assert!(before.still_allowed().is_ok());
    assert!(other.approve("http://a.example/").is_ok());
}
