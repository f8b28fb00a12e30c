//! The Markdown files: links, what they quote from the code, and the tests that they name.

#![allow(clippy::expect_used)]

use blueprint_decoder::{
    http::{self, Kind},
    telemetry::Metrics,
};
use regex::{Captures, Regex};
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files at the top and in `docs/`.
fn pages() -> Vec<PathBuf> {
    let folders = [root().to_owned(), root().join("docs")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
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
            let folder = page.parent().expect("a folder");
            let path = if file.is_empty() { page.clone() } else { folder.join(file) };
            let name = page.display();
            assert!(path.exists(), "{name} links to {target}, which is not there");
            let known = anchor.is_empty() || anchors(&path).contains(anchor);
            assert!(known, "{name} links to {target}, which has no such heading");
        }
    }
    assert!(links >= 5, "only {links} links were read");
}

/// A part of a page in `docs/` that is made from the code.
///
/// `UPDATE_DOCS=1 cargo test --test docs` writes them.
#[test]
fn generated_parts_of_the_docs_are_current() {
    let block = Regex::new(r"(?s)<!-- generated: (\w+) -->\n.*?<!-- end -->").expect("a regex");
    let mut names = BTreeSet::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let current = block.replace_all(&text, |found: &Captures| {
            names.insert(found[1].to_owned());
            format!("<!-- generated: {} -->\n\n{}\n<!-- end -->", &found[1], generated(&found[1]))
        });
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&page, &*current).expect("written");
        } else {
            let hint = "run UPDATE_DOCS=1 cargo test --test docs";
            assert_eq!(text, current, "{} is not current: {hint}", page.display());
        }
    }
    let expected = ["commands", "keys", "metrics", "problems", "routes"];
    assert_eq!(names, expected.map(str::to_owned).into());
}

fn generated(name: &str) -> String {
    match name {
        "commands" => commands(),
        "keys" => keys(),
        "metrics" => metrics(),
        "problems" => problems(),
        "routes" => routes(),
        _ => panic!("nothing makes {name}"),
    }
}

fn routes() -> String {
    let mut table = "| route | listener | answers |\n| --- | --- | --- |\n".to_owned();
    for route in http::ROUTES.iter().filter(|route| route.kind != Kind::Decode) {
        let listener = match route.kind {
            Kind::Probe => "both",
            Kind::Page if route.path == "/" => "both",
            Kind::Page | Kind::Decode => "public",
            Kind::Metrics => "admin, or public if there is none",
            Kind::Admin => "admin",
        };
        let _ = writeln!(
            table,
            "| `{} {}` | {listener} | {} |",
            route.method, route.path, route.purpose
        );
    }
    table
}

fn problems() -> String {
    let mut table =
        "| code | status | title | retryable | what to do |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for problem in http::problems() {
        let text = |name: &str| problem[name].as_str().expect("a text").to_owned();
        let retryable = if problem["retryable"] == true { "yes" } else { "no" };
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {retryable} | {} |",
            text("code"),
            problem["status"],
            text("title"),
            text("advice"),
        );
    }
    table
}

/// Each metric of the service with its type, labels and help, as a scrape has them. Which metrics of
/// the process there are depends on the machine.
fn metrics() -> String {
    let metrics = Metrics::new(&http::labels()).expect("metrics");
    let text = String::from_utf8(metrics.encode(true).expect("encoded")).expect("UTF-8");
    let mut table = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    let label = Regex::new(r#"(\w+)=""#).expect("a regex");
    for family in text.split("# HELP ").skip(1) {
        let (name, rest) = family.split_once(' ').expect("a name");
        if !name.starts_with("decoder_") {
            continue;
        }
        let (help, rest) = rest.split_once('\n').expect("a line");
        let (kind, samples) = rest.split_once('\n').expect("a line");
        let kind = kind.rsplit(' ').next().expect("a type");
        let labels = label.captures_iter(samples).map(|found| found[1].to_owned());
        let labels: BTreeSet<String> = labels.filter(|label| label != "le").collect();
        let labels: Vec<String> = labels.into_iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    table
}

/// Each key of `config/default.toml` with its default and the comment above it.
fn keys() -> String {
    let text = fs::read_to_string(root().join("config/default.toml")).expect("the defaults");
    let mut table = "| key | default | meaning |\n| --- | --- | --- |\n".to_owned();
    let (mut section, mut comment) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(said) = line.strip_prefix('#') {
            comment.push(said.trim().replace('|', "\\|"));
        } else if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
            comment.clear();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let mut value = value.to_owned();
            // A list over several lines.
            while value.starts_with('[') && !value.ends_with(']') {
                value += lines.next().expect("the end of a list").trim();
            }
            let value = value.replace(",]", "]").replace(',', ", ").replace(",  ", ", ");
            let _ = writeln!(table, "| `{section}{key}` | `{value}` | {} |", comment.join(" "));
            comment.clear();
        } else {
            comment.clear();
        }
    }
    table
}

/// The help of each command.
fn commands() -> String {
    let help = |command: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_blueprint-decoder"));
        let output = program.args(command).arg("--help").output().expect("the binary runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let top = help(&[]);
    let (_, list) = top.split_once("Commands:\n").expect("a list of commands");
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter_map(|line| line.split_whitespace().next());
    let mut text = String::new();
    for name in names.filter(|name| *name != "help") {
        let path: &[&str] = if name == "keys" { &["keys", "new"] } else { &[name] };
        let _ =
            writeln!(text, "### {}\n\n```text\n{}\n```\n", path.join(" "), help(path).trim_end());
    }
    text.trim_end().to_owned() + "\n"
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

    let run = Command::new(env!("CARGO_BIN_EXE_blueprint-decoder"))
        .arg("decode")
        .args(command.split_whitespace())
        .current_dir(folder.path())
        .output()
        .expect("the binary runs");

    assert_eq!(String::from_utf8_lossy(&run.stdout), expected);
}
