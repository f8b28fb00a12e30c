//! The configuration as a whole: layers, origins, and all faults at once.

mod shapes;

use super::*;
use crate::scan::Options;
use std::time::Duration;

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let path = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(&path, file).unwrap();
    let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
    let name = path.path().display().to_string();
    Config::load(Some(path.path()), variables, &[]).map_err(|faults| {
        let line = regex::Regex::new(r"file\.toml:\d+\)").unwrap();
        let faults = faults.into_iter().map(|fault| fault.replace(&name, "file.toml"));
        faults.map(|fault| line.replace(&fault, "file.toml)").into_owned()).collect()
    })
}

/// The faults of a file and of variables, without their order.
fn check(file: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let mut faults = load(file, variables).expect_err("faults");
    let mut expected = expected.to_vec();
    faults.sort_unstable();
    expected.sort_unstable();
    assert_eq!(faults, expected);
}

fn setting<'a>(loaded: &'a Loaded, key: &str) -> &'a Setting {
    loaded.settings.iter().find(|setting| setting.key == key).unwrap()
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = Config::load(None, [], &[]).unwrap().config;

    assert_eq!(config.server.bind, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.server.admin_bind, None);
    assert_eq!(config.server.request_timeout, Duration::from_secs(15));
    assert_eq!(config.server.max_header_bytes, 16 * 1024);
    assert_eq!(config.server.shutdown.notice, Duration::from_secs(5));
    assert_eq!(config.server.tls, Tls { cert_file: None, key_file: None, client_ca_file: None });
    assert_eq!(config.limits.max_document_bytes, 10 << 20);
    assert_eq!(config.limits.max_secret_chars, 65536);
    assert_eq!(config.overload.max_wait, Duration::from_millis(500));
    assert_eq!(config.rate_limit.backend, Backend::Memory);
    assert_eq!(config.rate_limit.on_failure, RateLimitOnFailure::Local);
    assert_eq!(config.egress.allow.len(), 1);
    assert_eq!(config.egress.allow[0].url(), "https://raw.githubusercontent.com");
    assert_eq!(config.egress.content_types.len(), 12);
    assert!(config.egress.hosts.is_empty());
    assert_eq!(config.auth.mode, Mode::Off);
    let algorithms: Vec<&str> = config.auth.jwt.algorithms.iter().map(|of| of.as_str()).collect();
    assert_eq!(algorithms, ["RS256", "ES256", "EdDSA"]);
    assert_eq!(config.audit.durability, Durability::Flush);
    assert_eq!(config.audit.on_failure, AuditOnFailure::Deny);
    assert_eq!(config.telemetry.log_format, LogFormat::Auto);
}

#[test]
fn every_default_has_a_comment_above_it() {
    let mut above = "";
    let mut keys = 0;
    for line in DEFAULT.lines() {
        let is_key = line.contains(" = ") && !line.starts_with(['#', ' ']);
        if is_key || line == "[egress.hosts]" {
            assert!(above.starts_with("# "), "{line}");
            keys += 1;
        }
        above = line;
    }
    assert_eq!(keys, Config::load(None, [], &[]).unwrap().settings.len());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "[limits]\nmax_secrets = 7\nmax_secret_chars = 8\nmax_request_bytes = \"16MiB\"";

    let loaded = load(file, &[("DECODER__LIMITS__MAX_SECRETS", "9"), ("OTHER", "x")]).unwrap();

    let limits = &loaded.config.limits;
    assert_eq!((limits.max_secrets, limits.max_secret_chars), (9, 8));
    let origin = |key| setting(&loaded, key).origin.as_deref();
    assert_eq!(origin("limits.max_secrets"), Some("DECODER__LIMITS__MAX_SECRETS"));
    assert!(origin("limits.max_secret_chars").unwrap().ends_with(".toml:3"));
    assert_eq!(origin("limits.max_request_bytes"), None, "said, but the default");
    assert_eq!(origin("limits.max_document_bytes"), None);
}

#[test]
fn all_faults_are_reported_at_once() {
    let file = r#"
        unknown_top = 1
        limits = { max_secrets = 0, max_secret_chars = "10", max_document_bytes = 5, max_pairs = 9 }
        [server]
        bind = "nowhere"
        request_timeout = 15
        [server.shutdown]
        grace = "2 minutes"
        [rate_limit]
        enabled = "yes"
        [telemetry]
        trace_ratio = 2.0
    "#;
    let variables = [
        ("DECODER__LIMITS__MAX_SECRETS", "many"),
        ("DECODER__LIMIT__MAX_SECRETS", "5"),
        ("DECODER__SERVER", "x"),
    ];
    let size = "such as \"512B\", \"16KiB\" or \"10MiB\"";
    let duration = "such as \"500ms\", \"10s\" or \"2m\"";
    let sections = "audit, auth, auth.jwt, egress, egress.circuit, limits, overload, rate_limit, \
                    rate_limit.valkey, server, server.shutdown, server.tls, telemetry";
    check(
        file,
        &variables,
        &[
            &format!("unknown_top = 1 (file.toml): unknown section; there are {sections}"),
            "limits.max_secrets = 0 (file.toml): allowed is a whole number from 1 to 1000000000",
            "limits.max_secrets = \"many\" (DECODER__LIMITS__MAX_SECRETS): allowed is a whole \
             number from 1 to 1000000000",
            "limits.max_secret_chars = \"10\" (file.toml): allowed is a whole number from 1 to \
             16777216",
            &format!(
                "limits.max_document_bytes = 5 (file.toml): allowed is a size from 1B to 1TiB, {size}"
            ),
            "limits.max_pairs = 9 (file.toml): unknown key; [limits] has max_document_bytes, \
             max_request_bytes, max_response_bytes, max_secret_chars, max_secrets",
            "server.bind = \"nowhere\" (file.toml): allowed is an address with a port, such as \
             \"127.0.0.1:8080\" or \"[::1]:8080\"",
            &format!(
                "server.request_timeout = 15 (file.toml): allowed is a duration from 1ms to 1h, {duration}"
            ),
            &format!(
                "server.shutdown.grace = \"2 minutes\" (file.toml): allowed is a duration from 0s to 1h, {duration}"
            ),
            "rate_limit.enabled = \"yes\" (file.toml): allowed is true or false",
            "telemetry.trace_ratio = 2.0 (file.toml): allowed is a number from 0.0 to 1.0, with a \
             decimal point",
            "DECODER__LIMIT__MAX_SECRETS = (not shown): unknown variable; did you mean \
             DECODER__LIMITS__MAX_SECRETS?",
            "DECODER__SERVER = \"x\": this is a section: write one of its keys, as in \
             DECODER__SERVER__KEY",
        ],
    );
}

#[test]
fn a_part_that_does_not_exist_takes_only_its_defaults() {
    check(
        "[audit]\ndir = \"/var/log/x\"\nkey_file = \"/k\"\nkeep_days = 90",
        &[
            ("DECODER__SERVER__REQUEST_TIMEOUT", "15000ms"),
            ("DECODER__RATE_LIMIT__REPLICAS_HINT", "2"),
        ],
        &[
            "audit.dir = \"/var/log/x\" (file.toml): this version has no audit log: leave the \
             default",
            "audit.key_file = \"/k\" (file.toml): this version has no audit log: leave the default",
        ],
    );
}

#[test]
fn contradictions_are_faults() {
    let check = |file: &str, key: &str, allowed: &str| {
        let layers = [Layer::toml("default.toml", DEFAULT), Layer::toml("file.toml", file)];
        let (Loaded { config, settings }, _) = read(&layers.map(Result::unwrap));
        let faults = contradictions::contradictions(&config, &settings);
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let found = faults.iter().any(|fault| fault.starts_with(key) && fault.ends_with(allowed));
        assert!(found, "{key}: {allowed} not in {faults:#?}");
    };
    let server = |keys: &str| format!("[server]\n{keys}");
    let tls = |keys: &str| format!("[server.tls]\n{keys}");
    check(
        &server("admin_bind = \"127.0.0.1:8080\""),
        "server.admin_bind = \"127.0.0.1:8080\" (file.toml:2)",
        "other than server.bind",
    );
    check(&server("bind = \"0.0.0.0:80\""), "server.bind", "auth.allow_anonymous = true");
    check(&tls("cert_file = \"c\""), "server.tls.cert_file", "needs server.tls.key_file");
    check(&tls("key_file = \"k\""), "server.tls.key_file", "needs server.tls.cert_file");
    check(
        &tls("client_ca_file = \"k\""),
        "server.tls.client_ca_file",
        "needs server.tls.cert_file",
    );
    check("[auth]\nmode = \"required\"", "auth.mode", "needs auth.tenants_file");
    let jwt = |keys: &str| format!("[auth.jwt]\n{keys}");
    let audience = "needs auth.jwt.audience and auth.mode = \"required\"";
    check(&jwt("issuer = \"i\""), "auth.jwt.issuer", audience);
    check(&jwt("issuer = \"i\"\naudience = \"a\""), "auth.jwt.issuer", audience);
    let keys = "needs one of auth.jwt.jwks_file and auth.jwt.jwks_url";
    check(&jwt("issuer = \"i\""), "auth.jwt.issuer", keys);
    check(
        &jwt("issuer = \"i\"\njwks_file = \"f\"\njwks_url = \"https://i.example\""),
        "auth.jwt.issuer",
        keys,
    );
    check(
        &jwt("audience = \"a\""),
        "auth.jwt.issuer = \"\" (default)",
        "the other keys of auth.jwt need one",
    );
    check(
        "[rate_limit]\nbackend = \"valkey\"",
        "rate_limit.backend",
        "needs rate_limit.valkey.url",
    );
    check("[audit]\ndir = \"d\"", "audit.dir", "needs audit.key_file");
    let allow = |rules: &str| format!("[egress]\nallow = [{rules}]");
    let named = |name: &str| format!("{{ url = \"https://a\", name = \"{name}\" }}");
    check(
        &allow("{ url = \"https://*.a\", authorization_file = \"f\" }"),
        "egress.allow = [{ url",
        "which alone see it",
    );
    let twice = "two rules have the same name";
    check(&allow(&[named("n"), named("n")].join(", ")), "egress.allow = [{ url", twice);
    check(&allow(&[named("rule-2"), "\"https://b\"".to_owned()].join(", ")), "egress", twice);
    check(
        "[egress]\ndeny_networks = [\"fd00::/8\"]\nnat64_prefixes = [\"fd00:64::/96\"]",
        "egress.nat64_prefixes = [\"fd00:64::/96\"] (file.toml:3)",
        "remove it there or here",
    );
}

#[test]
fn what_goes_together_is_no_contradiction() {
    let file = r#"
        [server]
        bind = "0.0.0.0:80"
        admin_bind = "0.0.0.0:81"
        tls = { cert_file = "c", key_file = "k", client_ca_file = "a" }
        [auth]
        mode = "required"
        tenants_file = "t"
        jwt = { issuer = "i", audience = "a", jwks_file = "f" }
        [rate_limit]
        backend = "valkey"
        valkey = { url = "valkey://cache:6379" }
        [audit]
        dir = "d"
        key_file = "k"
        [egress]
        allow = ["https://a", "https://a", { url = "https://a", name = "rule-1a" }]
        deny_networks = ["64:ff9b:1:1::/64"]
        nat64_prefixes = ["64:ff9b:1::/48"]
    "#;

    let faults = load(file, &[]).expect_err("parts that do not exist");

    assert_eq!(faults.len(), 5, "{faults:#?}");
    assert!(faults.iter().all(|fault| fault.ends_with("leave the default")), "{faults:#?}");
}

#[test]
fn a_section_that_is_no_table_is_a_fault_and_hides_none() {
    check(
        "limits = 5\nserver = []",
        &[("DECODER__LIMITS__MAX_SECRETS", "0")],
        &[
            "limits = 5 (file.toml): this is a section: write [limits] and its keys",
            "server = [] (file.toml): this is a section: write [server] and its keys",
            "limits.max_secrets = \"0\" (DECODER__LIMITS__MAX_SECRETS): allowed is a whole number \
             from 1 to 1000000000",
        ],
    );
}

#[test]
fn what_could_be_a_secret_is_not_shown() {
    let file = r#"
        auth.api_keys = ["hunter2"]
        limits = { passphrase = "hunter2", secret_key_base = "hunter2" }
        [rate_limit.valkey]
        url = "valkey://me:hunter2@cache"
        password = "hunter2"
        [telemetry]
        otlp_endpoint = "https://otel?token=hunter2"
    "#;
    let faults = load(file, &[("DECODER__AUTH__TOKEN", "hunter2")]).expect_err("seven faults");

    assert_eq!(faults.len(), 7, "{faults:#?}");
    for fault in faults {
        assert!(fault.contains("= (not shown)"), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }
    check(
        "limits.max_secret = 5",
        &[],
        &["limits.max_secret = 5 (file.toml): unknown key; [limits] has max_document_bytes, \
           max_request_bytes, max_response_bytes, max_secret_chars, max_secrets"],
    );
}

#[test]
fn a_name_with_a_dot_in_it_is_no_path() {
    let file = r#"
        "limits.max_secrets" = 5
        "egress.circuit" = { enabled = false }
        [rate_limit]
        "valkey.url" = "x"
    "#;
    let faults = load(file, &[]).expect_err("three faults");

    assert_eq!(faults.len(), 3, "{faults:#?}");
    assert!(faults.iter().all(|fault| fault.contains("unknown section")), "{faults:#?}");
}

#[test]
fn each_place_that_is_no_toml_is_a_line() {
    let faults = load("[limits]\nmax_secrets = \nhunter2\n", &[]).expect_err("no TOML");

    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("file.toml:2: "), "{faults:?}");
    assert!(faults[1].starts_with("file.toml:3: "), "{faults:?}");
    assert!(faults.iter().all(|fault| !fault.contains("hunter2")), "{faults:?}");
}

#[test]
fn a_file_without_end_is_refused() {
    let faults = Config::load(Some(Path::new("/dev/zero")), [], &[]).expect_err("endless");

    assert_eq!(faults, ["/dev/zero: cannot be read: larger than 1 MiB"]);
}

#[test]
fn a_file_that_is_not_there_is_a_fault_beside_the_others() {
    let variables = [("DECODER__LIMITS__MAX_SECRETS".into(), "0".into())];

    let faults =
        Config::load(Some(Path::new("/no/such.toml")), variables, &[]).expect_err("faults");

    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("/no/such.toml: cannot be read: No such file"), "{faults:?}");
}

#[test]
fn a_variable_has_one_spelling() {
    for name in [
        "DECODER__limits__max_secrets",
        "DECODER__limits__MAX_SECRETS",
        "DECODER__LIMITS.MAX_SECRETS",
        "DECODER_LIMITS_MAX_SECRETS",
        "DECODER_LIMITS__MAX_SECRETS",
        "DECODER__LIMITS_MAX_SECRETS",
        "DECODER___LIMITS__MAX_SECRETS",
    ] {
        let right = ("DECODER__LIMITS__MAX_SECRETS", "6");
        let fault = format!(
            "{name} = (not shown): unknown variable; did you mean DECODER__LIMITS__MAX_SECRETS?"
        );
        check("", &[(name, "5"), right], &[&fault]);
        check("", &[right, (name, "5")], &[&fault]);
    }
}

#[test]
fn unknown_variables_are_refused_with_the_likely_spelling() {
    let meant = |name: &str, expected: &str| {
        let fault = format!("{name} = \"x\": unknown variable; did you mean {expected}?");
        check("", &[(name, "x")], &[&fault]);
    };
    meant("DECODER_SERVER_BIND", "DECODER__SERVER__BIND");
    meant("DECODER_SERVER__BIND", "DECODER__SERVER__BIND");
    meant("DECODER_BIND", "DECODER__SERVER__BIND");
    meant("DECODER_ADMIN_BIND", "DECODER__SERVER__ADMIN_BIND");
    meant("DECODER__SERVER__SHUTDOWN_GRACE", "DECODER__SERVER__SHUTDOWN__GRACE");
    meant("DECODER__SERVER__GRACE", "DECODER__SERVER__SHUTDOWN__GRACE");
    meant("DECODER__SERVER__BNID", "DECODER__SERVER__BIND");
    meant("DECODER_RATE_LIMIT_ENABLED", "DECODER__RATE_LIMIT__ENABLED");
    meant("DECODER_CONFG", "DECODER_CONFIG");
    meant("DECODER__CONFIG", "DECODER_CONFIG");
    check(
        "",
        &[("DECODER_LIMITS__MAX_SECRETZ", "5"), ("DECODER__LIMITS__MAX_PAIRS", "6")],
        &[
            "DECODER_LIMITS__MAX_SECRETZ = (not shown): unknown variable; did you mean \
             DECODER__LIMITS__MAX_SECRETS?",
            "DECODER__LIMITS__MAX_PAIRS = \"6\": unknown variable; [limits] has \
             max_document_bytes, max_request_bytes, max_response_bytes, max_secret_chars, \
             max_secrets",
        ],
    );
    // Of two keys with this name, neither is likelier.
    let fault = &load("", &[("DECODER_ENABLED", "x")]).expect_err("a fault")[0];
    let general = "DECODER_ENABLED = \"x\": unknown variable; write DECODER_CONFIG or \
                   DECODER__SECTION__KEY; sections are audit, auth, auth.jwt, ";
    assert!(fault.starts_with(general), "{fault}");
}

#[test]
fn variables_that_are_not_ours_are_left_alone() {
    let variables = [
        ("DECODER_CONFIG", "x"),
        ("DECODER_COMMIT", "x"),
        ("DECODER", "x"),
        ("DECODERS_BIND", "x"),
        ("BLUEPRINT_DECODER_SERVICE_HOST", "x"),
        ("MY_DECODER_BIND", "x"),
        ("decoder_bind", "x"),
    ];

    let loaded = load("", &variables).unwrap();

    assert!(loaded.settings.iter().all(|setting| setting.origin.is_none()));
}

/// Kubernetes sets these in every pod beside a Service named `decoder`.
#[test]
fn variables_of_a_service_of_kubernetes_are_refused_with_what_to_do() {
    let variables = [
        ("DECODER_SERVICE_HOST", "10.96.0.7"),
        ("DECODER_SERVICE_PORT", "8080"),
        ("DECODER_SERVICE_PORT_HTTP", "8080"),
        ("DECODER_PORT", "tcp://10.96.0.7:8080"),
        ("DECODER_PORT_8080_TCP", "tcp://10.96.0.7:8080"),
        ("DECODER_PORT_8080_TCP_PROTO", "tcp"),
        ("DECODER_PORT_8080_TCP_PORT", "8080"),
        ("DECODER_PORT_8080_TCP_ADDR", "10.96.0.7"),
    ];

    let faults = load("", &variables).expect_err("as many faults");

    assert_eq!(faults.len(), variables.len(), "{faults:#?}");
    for (name, value) in variables {
        let what = format!("{name} = \"{value}\": unknown variable; ");
        let fault = faults.iter().find(|fault| fault.starts_with(&what)).expect(name);
        let hint = "; if Kubernetes sets it for a Service, set enableServiceLinks: false in the \
                    pod's spec";
        assert!(fault.ends_with(hint), "{fault}");
    }
}

#[test]
fn a_variable_that_is_no_utf_8_is_a_fault() {
    use std::os::unix::ffi::OsStringExt;
    let text = OsString::from_vec(b"\xff".to_vec());

    let variable = |name: &str| (OsString::from(name), text.clone());
    let variables = ["DECODER__LIMITS__MAX_SECRETS", "DECODER__AUTH__TENANTS_FILE"].map(variable);

    let faults = Config::load(None, variables, &[]).unwrap_err();

    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.contains("allowed is")), "{faults:?}");
}

#[test]
fn the_limits_admit_the_default_options() {
    let limits = Config::load(None, [], &[]).unwrap().config.limits;
    let options = Options::default();

    assert!(options.max_secrets.get() <= limits.max_secrets);
    assert!(options.max_secret_chars.get() as u64 <= limits.max_secret_chars);
}
