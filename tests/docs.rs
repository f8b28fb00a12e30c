//! The Markdown files: every link within the repository leads somewhere.

#![allow(clippy::expect_used)]

use regex::Regex;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files at the top.
fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(root()).expect("the repository");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// A page without what stands in code, where brackets are no links.
fn prose(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a page");
    let blocks = Regex::new(r"(?ms)^```.*?^```").expect("a regex").replace_all(&text, "");
    Regex::new(r"`[^`\n]*`").expect("a regex").replace_all(&blocks, "code").into_owned()
}

/// What a heading is called in a link: as GitHub does it.
fn anchors(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("a page");
    let blocks = Regex::new(r"(?ms)^```.*?^```").expect("a regex").replace_all(&text, "");
    let heading = Regex::new(r"(?m)^#+ +(.*?) *$").expect("a regex");
    let slug = |title: &str| -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        title.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    heading.captures_iter(&blocks).map(|found| slug(&found[1])).collect()
}

/// The test functions of a folder, with the module that a test of the service is in.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    let name = Regex::new(r"(?m)^\s*(?:async )?fn (\w+)\(").expect("a regex");
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a file");
            let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
            for function in name.captures_iter(&text) {
                found.insert(format!("{module}::{}", &function[1]));
                found.insert(function[1].to_owned());
            }
        }
    }
}

#[test]
fn every_guard_of_the_security_policy_has_the_test_that_it_names() {
    let mut tests = BTreeSet::new();
    tests_below(&root().join("tests"), &mut tests);
    tests_below(&root().join("src"), &mut tests);
    let text = fs::read_to_string(root().join("SECURITY.md")).expect("a page");
    let table = text.split("| threat |").nth(1).expect("a table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let name = Regex::new(r"`([\w:]+)`").expect("a regex");
    let mut count = 0;
    for row in rows {
        let last = row.trim_end_matches([' ', '|']).rsplit(" | ").next().expect("a cell");
        let named: Vec<_> = name.captures_iter(last).collect();
        assert!(!named.is_empty(), "no test in {row}");
        for test in named {
            assert!(tests.contains(&test[1]), "there is no test {}", &test[1]);
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// What is evidence in the sign-off can be run or read.
#[test]
fn all_evidence_of_the_sign_off_is_there() {
    let mut tests = BTreeSet::new();
    tests_below(&root().join("tests"), &mut tests);
    let modules: BTreeSet<String> =
        tests.iter().filter_map(|test| Some(test.split_once("::")?.0.to_owned())).collect();
    let text = fs::read_to_string(root().join("SECURITY.md")).expect("a page");
    let table = text.split("| promise | evidence |").nth(1).expect("a table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let code = Regex::new(r"`([^`]+)`").expect("a regex");
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let [_, evidence, decision] = cells[..] else { panic!("three cells in {row}") };
        assert!(!decision.is_empty(), "what is a human's in {row}?");
        let pieces: Vec<_> = code.captures_iter(evidence).collect();
        assert!(!pieces.is_empty(), "no evidence in {row}");
        for piece in pieces {
            let words: Vec<&str> = piece[1].split(' ').collect();
            let is_there = match words[..] {
                ["cargo", "test", "--test", target] => {
                    root().join("tests").join(target).join("main.rs").exists()
                }
                ["cargo", "test", "--test", _, name] => {
                    tests.contains(name) || modules.contains(name)
                }
                [file, ..] => root().join(file).exists(),
                [] => false,
            };
            assert!(is_there, "there is no {} in {row}", &piece[1]);
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a regex");
    let mut links = 0;
    for page in pages() {
        for found in link.captures_iter(&prose(&page)) {
            let target = &found[1];
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.clone() } else { root().join(file) };
            let name = page.display();
            assert!(path.exists(), "{name} links to {target}, which is not there");
            let known = anchor.is_empty() || anchors(&path).contains(anchor);
            assert!(known, "{name} links to {target}, which has no such heading");
        }
    }
    assert!(links >= 5, "only {links} links were read");
}

/// The README says what each key of the configuration is by naming the file that
/// does, and each option of `decode` itself.
#[test]
fn the_readme_names_every_option() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let help = include_str!("cli/snapshots/cli__surface__help_decode.snap");
    let option = Regex::new(r"(?m)^ +(?:-h, )?(--[a-z-]+)").expect("a regex");
    for found in option.captures_iter(help) {
        assert!(readme.contains(&found[1]), "{} is not in the README", &found[1]);
    }
}

/// The first decode of the README, done as it stands there.
#[test]
fn the_readme_shows_what_the_binary_says() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let (_, rest) = readme.split_once("$ cat > scroll.txt <<'END'\n").expect("a document");
    let (document, rest) = rest.split_once("END\n$ blueprint-decoder decode").expect("a command");
    let (command, rest) = rest.split_once('\n').expect("a line");
    let (expected, _) = rest.split_once("```").expect("the end of the block");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("scroll.txt"), document).expect("a file");

    let run = std::process::Command::new(env!("CARGO_BIN_EXE_blueprint-decoder"))
        .arg("decode")
        .args(command.split_whitespace())
        .current_dir(folder.path())
        .output()
        .expect("the binary runs");

    assert_eq!(String::from_utf8_lossy(&run.stdout), expected);
}
