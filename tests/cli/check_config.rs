//! `check-config`: what is in force, and where it came from.

use super::support::{Folder, command, output, run};

#[test]
fn the_defaults_are_printed_with_every_key_and_no_origin() {
    let run = run(&["check-config"]).assert_done();

    let default = include_str!("../../config/default.toml");
    let keys = |toml: &str| {
        let mut section = String::new();
        let mut keys = Vec::new();
        for line in toml.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
            } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
            {
                keys.push(format!("{section}.{key}"));
            }
        }
        keys.sort();
        keys
    };
    let mut expected = keys(default);
    expected.push("egress.hosts".to_owned());
    expected.sort();
    assert_eq!(keys(&run.stdout), expected);
    assert!(!run.stdout.contains('#'), "{}", run.stdout);
    // Held against the table of the contract by hand.
    insta::assert_snapshot!("defaults", run.stdout);
}

#[test]
fn a_value_that_is_not_the_default_shows_where_it_came_from() {
    let (_folder, path) = Folder::with("mine.toml", "[limits]\nmax_secrets = 5\n");
    let run = output(
        command(&["check-config", "--config", path.to_str().expect("UTF-8")])
            .env("DECODER__LIMITS__MAX_DOCUMENT_BYTES", "2048KiB")
            .env("DECODER__LIMITS__MAX_SECRET_CHARS", "65536"),
    )
    .assert_done();

    let changed: Vec<&str> = run.stdout.lines().filter(|line| line.contains('#')).collect();
    let from_file = format!("max_secrets = 5 # {}:2", path.display());
    let from_variable = "max_document_bytes = \"2MiB\" # DECODER__LIMITS__MAX_DOCUMENT_BYTES";
    assert_eq!(changed, [from_variable, &from_file]);
}

#[test]
fn what_is_printed_is_a_configuration() {
    let (folder, path) = Folder::with("mine.toml", "[limits]\nmax_secrets = 5\n");
    let check = |path: &std::path::Path| {
        run(&["check-config", "--config", path.to_str().expect("UTF-8")]).assert_done().stdout
    };
    let first = check(&path);
    let again = folder.path().join("again.toml");
    std::fs::write(&again, &first).expect("a file");

    let second = check(&again);

    let values = |toml: &str| -> Vec<String> {
        toml.lines().map(|line| line.split(" # ").next().unwrap_or(line).to_owned()).collect()
    };
    assert!(first.contains("max_secrets = 5 # "), "{first}");
    assert_eq!(values(&first), values(&second));
}

#[test]
fn the_variable_names_a_file_and_the_argument_wins() {
    let (_one, five) = Folder::with("five.toml", "[limits]\nmax_secrets = 5\n");
    let (_two, six) = Folder::with("six.toml", "[limits]\nmax_secrets = 6\n");
    let six = six.to_str().expect("UTF-8");

    let by_variable = output(command(&["check-config"]).env("DECODER_CONFIG", &five));
    let by_both = output(command(&["check-config", "--config", six]).env("DECODER_CONFIG", &five));
    let by_none = output(command(&["check-config"]).env("DECODER_CONFIG", ""));

    assert!(by_variable.assert_done().stdout.contains("max_secrets = 5 #"));
    assert!(by_both.assert_done().stdout.contains("max_secrets = 6 #"));
    assert!(by_none.assert_done().stdout.contains("max_secrets = 10000\n"));
}

#[test]
fn unknown_variables_are_refused_all_at_once() {
    let run = output(
        command(&["check-config"])
            .env("DECODER_SERVER_BIND", "127.0.0.1:9000")
            .env("DECODER_LIMITS__MAX_SECRETZ", "5")
            .env("DECODER__LIMITS__MAX_SECRETS", "0"),
    );

    assert_eq!((run.code, run.stdout.as_str()), (Some(78), ""), "{run:?}");
    let expected = [
        "limits.max_secrets = \"0\" (DECODER__LIMITS__MAX_SECRETS): allowed is a whole number from \
         1 to 1000000000",
        "DECODER_LIMITS__MAX_SECRETZ = (not shown): unknown variable; did you mean \
         DECODER__LIMITS__MAX_SECRETS?",
        "DECODER_SERVER_BIND = \"127.0.0.1:9000\": unknown variable; did you mean \
         DECODER__SERVER__BIND?",
    ];
    let line = |fault: &str| format!("blueprint-decoder: configuration: {fault}\n");
    assert_eq!(run.stderr, expected.map(line).concat());
}

#[test]
fn a_file_that_is_not_there_is_a_fault_of_the_configuration() {
    let run = run(&["check-config", "--config", "/no/such.toml"]);

    assert_eq!(run.code, Some(78), "{run:?}");
    assert_eq!(
        run.stderr,
        "blueprint-decoder: configuration: /no/such.toml: cannot be read: No such file or \
         directory (os error 2)\n"
    );
}

#[test]
fn the_tenants_file_is_checked_with_the_configuration() {
    let (folder, tenants) = Folder::with("tenants.toml", "[[tenant]]\nname = \"Big\"\n");
    let config = folder.path().join("decoder.toml");
    let text = format!("[auth]\nmode = \"required\"\ntenants_file = {tenants:?}\n");
    std::fs::write(&config, text).expect("written");
    let config = config.to_str().expect("UTF-8");

    let run = run(&["check-config", "--config", config]);

    assert_eq!((run.code, run.stdout.as_str()), (Some(78), ""), "{run:?}");
    assert!(run.stderr.contains("tenant[0].name = \"Big\""), "{run:?}");
    assert!(run.stderr.contains("tenants.toml:2"), "{run:?}");
}
