//! Beside the programs that users run it with: shells that complete it, and ripgrep,
//! which must find as many secrets. Behind the feature `real-tools`; a program that is
//! missing is a failure: `apt-get install bash fish zsh ripgrep`.

use super::support::{Folder, output, run};
use std::process::{Command, Stdio};

fn tool(name: &str, arguments: &[&str]) -> String {
    let run = output(Command::new(name).args(arguments).stdin(Stdio::null()));
    assert_eq!(run.code, Some(0), "{name}: {run:?}");
    run.stdout
}

#[test]
fn shells_complete_the_commands_and_their_options() {
    let script = |shell: &str| {
        let script = run(&["completions", shell]).assert_done().stdout;
        Folder::with("completions", script)
    };

    let (_folder, path) = script("bash");
    let ask = |words: &str, count: usize| {
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={count}; \
             _blueprint-decoder blueprint-decoder \"${{COMP_WORDS[{count}]}}\" x; \
             echo ${{COMPREPLY[@]}}",
            path.display()
        );
        tool("bash", &["--norc", "-c", &line])
    };
    assert_eq!(ask("blueprint-decoder che", 1).trim(), "check-config check-url");
    assert_eq!(ask("blueprint-decoder decode --mul", 2).trim(), "--multiline");

    let (_folder, path) = script("fish");
    let line = format!("source {}; complete -C 'blueprint-decoder decode --mul'", path.display());
    assert!(tool("fish", &["--no-config", "-c", &line]).starts_with("--multiline"));

    let (_folder, path) = script("zsh");
    tool("zsh", &["-n", path.to_str().expect("UTF-8")]);
}

#[test]
fn ripgrep_finds_as_many() {
    let pieces =
        ["{*a*}", "{*", "*}", "{ *", "* }", "\n", "{**}", "{*}", "word ", "é", "{*\u{1}*}"];
    // A fixed sequence that visits the pieces in a mixed order.
    let mut state = 1_u64;
    let document: String = (0..200_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            pieces[(state >> 33) as usize % pieces.len()]
        })
        .collect();
    let (_folder, path) = Folder::with("document", document);
    let path = path.to_str().expect("UTF-8");

    let json = run(&["decode", "--file", path, "--max-secrets", "9999999", "--format", "json"]);
    let counted = tool("rg", &["--no-config", "--no-mmap", "-o", "-c", r"\{\*.*?\*\}", path]);

    let returned = json.assert_done().json()["summary"]["returned"].as_u64();
    assert_eq!(returned, counted.trim().parse().ok());
    assert!(returned > Some(10_000), "{counted}");
}
