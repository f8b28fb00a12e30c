//! The words of the command line: others script against them.

use super::support::run;

#[test]
fn help_is_as_reviewed() {
    insta::assert_snapshot!("help", run(&["--help"]).assert_done().stdout);
    insta::assert_snapshot!("help_decode", run(&["decode", "--help"]).assert_done().stdout);
    insta::assert_snapshot!(
        "help_check_config",
        run(&["check-config", "--help"]).assert_done().stdout
    );
}

#[test]
fn the_version_has_a_commit() {
    let run = run(&["--version"]).assert_done();

    let (version, commit) = run.stdout.trim().split_once(" (").expect("two parts");
    assert_eq!(version, concat!("blueprint-decoder ", env!("CARGO_PKG_VERSION")));
    assert_eq!(commit, concat!(env!("DECODER_COMMIT"), ")"));
    assert_ne!(commit, ")");
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&["completions", shell]).assert_done().stdout;
        assert!(script.contains("check-config") && script.contains("max-secrets"), "{shell}");
    }
    assert_eq!(run(&["completions", "csh"]).code, Some(2));
}
