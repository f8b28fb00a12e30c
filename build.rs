//! Tells the binary which commit it is built from: `DECODER_COMMIT` where the
//! builder says it, else what git says, else `unknown`.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=DECODER_COMMIT");
    let said = env::var("DECODER_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = said.or_else(of_the_checkout).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=DECODER_COMMIT={commit}");
}

fn of_the_checkout() -> Option<String> {
    // Only a repository of this crate's own: a package may be unpacked inside another.
    if !Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join(".git").exists() {
        return None;
    }
    // Grows with every commit and checkout. In a worktree it is somewhere else.
    let moves = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&moves).exists() {
        println!("cargo::rerun-if-changed={moves}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
