//! The arrows between the modules, read from their `use` lines and paths.
//!
//! A new arrow is a decision: add it here with the module that needs it, or better,
//! find out why the code wants it.

#![allow(clippy::expect_used)]

use regex::Regex;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// Which modules of the crate a module may name.
const ARROWS: [(&str, &[&str]); 16] = [
    ("answer", &["failure", "scan"]),
    (
        "app",
        &[
            "config",
            "decode",
            "fetch",
            "http",
            "identity",
            "named_file",
            "overload",
            "policy",
            "quota_key",
            "rate_limit",
            "scan",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "answer",
            "app",
            "config",
            "decode",
            "failure",
            "fetch",
            "http",
            "identity",
            "quota_key",
            "rate_limit",
            "scan",
            "telemetry",
        ],
    ),
    ("config", &["identity", "named_file", "policy", "scan", "telemetry"]),
    (
        "decode",
        &["answer", "failure", "fetch", "overload", "policy", "quota_key", "scan", "telemetry"],
    ),
    ("failure", &[]),
    ("fetch", &["named_file", "overload", "policy", "quota_key", "scan"]),
    (
        "http",
        &[
            "answer",
            "decode",
            "failure",
            "identity",
            "overload",
            "quota_key",
            "rate_limit",
            "scan",
            "telemetry",
        ],
    ),
    ("identity", &["policy", "scan"]),
    ("named_file", &[]),
    ("overload", &["quota_key", "telemetry"]),
    ("policy", &[]),
    ("quota_key", &[]),
    ("rate_limit", &["named_file", "quota_key", "telemetry"]),
    ("scan", &[]),
    ("telemetry", &["failure"]),
];

/// Crates that only these modules may name.
const CRATES: [(&str, &[&str]); 30] = [
    ("anyhow", &["app", "cli", "config", "main"]),
    ("axum", &["app", "http"]),
    ("base64", &["identity"]),
    ("clap", &["cli"]),
    ("config", &["config"]),
    ("data_url", &["scan"]),
    ("encoding_rs", &["scan"]),
    ("fastrand", &["fetch"]),
    ("flate2", &["fetch"]),
    ("hickory_resolver", &["fetch"]),
    ("httpdate", &["fetch"]),
    ("hyper", &["fetch", "http"]),
    ("hyper_util", &["http"]),
    ("indicatif", &["cli"]),
    ("memchr", &["http", "scan"]),
    ("nix", &["cli"]),
    ("prometheus", &["telemetry"]),
    ("redis", &["rate_limit"]),
    ("reqwest", &["fetch"]),
    ("ring", &["fetch", "identity", "rate_limit"]),
    ("rustix", &["cli", "http", "named_file"]),
    ("rustls", &["fetch", "rate_limit"]),
    ("serde_json", &["answer", "config", "http", "identity"]),
    ("subtle", &["identity"]),
    ("tokio_rustls", &["rate_limit"]),
    ("toml", &["config"]),
    ("tower_http", &["http"]),
    ("tracing_subscriber", &["telemetry"]),
    ("url", &["policy"]),
    ("uuid", &["http"]),
];

/// The files of each module, without the tests within them.
fn modules() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let tests = Regex::new(r"(?s)\n#\[cfg\(test\)\]\nmod tests \{.*").expect("a regex");
    let comments = Regex::new(r"(?m)//.*$").expect("a regex");
    let module = |path: PathBuf| {
        let within = path.strip_prefix(&src).expect("a path below src");
        let first = within.components().next().expect("a component");
        let name = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).expect("a source file");
        let text = tests.replace(&text, "").into_owned();
        (name, path, comments.replace_all(&text, "").into_owned())
    };
    let is_test = |path: &PathBuf| {
        path.components()
            .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
    };
    files.into_iter().filter(|path| !is_test(path)).map(module).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The modules of this crate that a text names, as `crate::name` or in
/// `use crate::{name, …}`.
fn named(text: &str) -> BTreeSet<String> {
    // Compiled once: that takes longer than to read all of src.
    static PATTERNS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
        [r"\bcrate::(\w+)", r"(?s)\bcrate::\{([^\n]*)\};|\bcrate::\{(.*?)\n\};", r"(?s)\{[^{}]*\}"]
            .map(|pattern| Regex::new(pattern).expect("a regex"))
    });
    let [path, group, nested] = &*PATTERNS;
    let mut names: BTreeSet<String> =
        path.captures_iter(text).map(|found| found[1].to_owned()).collect();
    for found in group.captures_iter(text) {
        let items = found.get(1).or(found.get(2)).expect("one of two groups").as_str();
        let mut items = items.to_owned();
        while nested.is_match(&items) {
            items = nested.replace_all(&items, "").into_owned();
        }
        let first = |item: &str| item.trim().split("::").next().unwrap_or("").to_owned();
        names.extend(items.split(',').map(first).filter(|name| !name.is_empty()));
    }
    names
}

#[test]
fn modules_name_only_what_their_arrows_allow() {
    let mut seen = BTreeSet::new();
    for (module, path, text) in modules() {
        if module == "main" || module == "lib" {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} has no arrows: say in ARROWS what it may name"));
        for name in named(&text) {
            let known = name == module || allowed.contains(&name.as_str());
            assert!(known, "{} names crate::{name}", path.display());
        }
        seen.insert(module);
    }
    let declared: BTreeSet<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(seen, declared, "ARROWS and src/ name the same modules");
}

#[test]
fn crates_stay_in_their_rooms() {
    let modules = modules();
    for (name, rooms) in CRATES {
        let uses = Regex::new(&format!(r"(?m)(^|[^:\w]){name}::")).expect("a regex");
        for (module, path, text) in &modules {
            // `config::` is also a module of ours: there, `crate::config` is meant.
            let own = ARROWS.iter().any(|(module, _)| *module == name);
            if uses.is_match(text) && !(own && named(text).contains(name)) {
                assert!(rooms.contains(&module.as_str()), "{} names {name}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file");
        let is_lua = path.extension().is_some_and(|extension| extension == "lua");
        let begins = if is_lua { "-- " } else { "//! " };
        assert!(text.starts_with(begins), "{} begins without {begins}", path.display());
    }
}

/// The reader of `use` lines sees every way of writing one.
#[test]
fn names_are_found_in_every_form() {
    let check = |text: &str, expected: &[&str]| {
        let names: Vec<String> = named(text).into_iter().collect();
        assert_eq!(names, expected, "{text}");
    };
    check("use crate::scan::Secret;", &["scan"]);
    check("fn f(x: crate::answer::Form) {}", &["answer"]);
    check("use crate::{answer, scan::{A, B}};", &["answer", "scan"]);
    check(
        "use crate::{\n    answer::{self, Form},\n    decode::Decode,\n};",
        &["answer", "decode"],
    );
    check("use crate::{answer, scan};\nuse x::{\n    other,\n};", &["answer", "scan"]);
    check("use super::scan;", &[]);
}
