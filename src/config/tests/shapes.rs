//! Values with an inner structure, section by section.

use super::*;

#[test]
fn rules_and_hosts_are_held_to_their_shape() {
    let check = |toml: &str, shown: Option<&str>| {
        let faults = load(&format!("[egress]\n{toml}"), &[]).err().unwrap_or_default();
        let wrong = faults.iter().any(|fault| fault.contains("allowed is"));
        assert_eq!(!wrong, shown.is_some(), "{toml}: {faults:#?}");
        if let Some(shown) = shown {
            let layers = [
                Layer::toml("default.toml", DEFAULT).unwrap(),
                Layer::toml("file.toml", &format!("[egress]\n{toml}")).unwrap(),
            ];
            let key = format!("egress.{}", toml.split(' ').next().unwrap());
            assert_eq!(setting(&read(&layers).0, &key).value, shown);
        }
    };
    check("allow = [\"https://a.example/x/\"]", Some("[\"https://a.example/x/\"]"));
    check(
        "allow = [{ authorization_file = \"/f\", url = \"http://a:1\", name = \"n\", addresses = [\"10.0.0.1:1\"] }]",
        Some(
            "[{ url = \"http://a:1\", name = \"n\", addresses = [\"10.0.0.1:1\"], \
             authorization_file = \"/f\" }]",
        ),
    );
    check("allow = [{ name = \"n\" }]", None);
    check("allow = [{ url = \"https://a\", nmae = \"n\" }]", None);
    check("allow = [{ url = \"https://a\", addresses = \"10.0.0.1\" }]", None);
    check("allow = [{ url = \"https://a\", addresses = [\"nonsense\"] }]", None);
    check("allow = [\"https://me:you@a\"]", None);
    check("allow = [\"ftp://a\"]", None);
    check("allow = [\"https://\"]", None);
    check("allow = [\"https://a b\"]", None);
    check("allow = [\"https://a/?q\"]", None);
    check("allow = [\"https://a/x/../\"]", None);
    check("allow = [\"https://a:0\"]", None);
    check("allow = [\"https://a*\"]", None);
    check("allow = [\"https://*.a:*/x\"]", Some("[\"https://*.a:*/x\"]"));
    check(
        "allow = [{ url = \"https://a\", addresses = [\"10.0.0.1\", \"fd00::/8\", \"[::1]:1\"] }]",
        Some("[{ url = \"https://a\", addresses = [\"10.0.0.1/32\", \"fd00::/8\", \"[::1]:1\"] }]"),
    );
    check("allow = [{ url = 7 }]", None);
    check("allow = [{ url = \"https://a\", addresses = [\"10.0.0.1/8\"] }]", None);
    check("allow = [{ url = \"https://a\", addresses = [\"10.0.0.1:0\"] }]", None);
    check("allow = [7]", None);
    check("deny_networks = [\"10.0.0.0/8\"]", Some("[\"10.0.0.0/8\"]"));
    check("deny_networks = [\"10.0.0.1/8\"]", None);
    check("nat64_prefixes = [\"64:ff9b:1::/96\"]", Some("[\"64:ff9b:1::/96\"]"));
    check("nat64_prefixes = [\"64:ff9b:1::/95\"]", None);
    check("nat64_prefixes = [\"10.0.0.0/32\"]", None);
    check("nat64_prefixes = [\"2002:808:808::/48\"]", None);
    check(
        "hosts = { \"a.example\" = [\"10.0.0.1\", \"::1\"] }",
        Some("{ \"a.example\" = [\"10.0.0.1\", \"::1\"] }"),
    );
    check(
        "hosts = { \"A.Example.\" = [\"10.0.0.1\"] }",
        Some("{ \"a.example\" = [\"10.0.0.1\"] }"),
    );
    check("hosts = { \"a.example\" = [], \"A.example\" = [] }", None);
    check("hosts = { \"a example\" = [] }", None);
    check("hosts = { \"a.example\" = \"10.0.0.1\" }", None);
    check("hosts = { \"a.example\" = [\"b.example\"] }", None);
    check("hosts = []", None);
    check(
        "nameservers = [\"10.0.0.1\", \"[::1]:5353\"]",
        Some("[\"10.0.0.1:53\", \"[::1]:5353\"]"),
    );
    check("nameservers = [\"dns.example\"]", None);
    check("content_types = [\"text/plain\", \"*/*\"]", Some("[\"text/plain\", \"*/*\"]"));
    check("content_types = [\"text\"]", None);
    check("content_types = [\"text/\"]", None);
    check("user_agent = \"x/1\"", Some("\"x/1\""));
    check("user_agent = \"\"", None);
    check("user_agent = \"ü\"", None);
}

#[test]
fn urls_of_the_other_sections_are_held_to_their_shape() {
    let check = |section: &str, key: &str, text: &str, fits: bool| {
        let file = format!("[{section}]\n{key} = \"{text}\"");
        // What is fit may still lack something else.
        let faults = load(&file, &[]).err().unwrap_or_default();
        assert_eq!(faults.iter().all(|fault| !fault.contains("allowed is")), fits, "{faults:#?}");
    };
    check("rate_limit.valkey", "url", "valkeys://cache:6379", true);
    check("rate_limit.valkey", "url", "http://cache", false);
    check("rate_limit.valkey", "url", "valkey://", false);
    check("auth.jwt", "jwks_url", "https://i.example/keys", true);
    check("auth.jwt", "jwks_url", "http://i.example/keys", false);
    check("auth.jwt", "jwks_url", "https://me@i.example", false);
    check("telemetry", "otlp_endpoint", "http://otel:4317", true);
    check("telemetry", "otlp_endpoint", "otel:4317", false);
}

#[test]
fn algorithms_are_asymmetric() {
    let faults = load("[auth.jwt]\nalgorithms = [\"HS256\"]", &[]).expect_err("symmetric");

    assert!(faults[0].contains("one of RS256"), "{faults:?}");
}
