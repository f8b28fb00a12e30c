//! Runs the binary and takes what it says.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

/// The binary with nothing in its environment that it would heed.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blueprint-decoder"));
    let ours =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DECODER"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn spawn<S: AsRef<OsStr>>(arguments: &[S]) -> Child {
    command(arguments).spawn().expect("the binary starts")
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// The JSON document on standard output.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).expect("JSON")
    }

    pub(crate) fn assert_done(self) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self
    }
}

pub(crate) fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Run {
    run_with_input(arguments, b"")
}

pub(crate) fn run_with_input<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Run {
    let mut child = spawn(arguments);
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // The binary may end before it has read everything.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let run = Run::of(child.wait_with_output().expect("the binary ends"));
    writer.join().expect("the writer ends");
    run
}

pub(crate) fn output(command: &mut Command) -> Run {
    Run::of(command.output().expect("the binary runs"))
}

/// A folder with one file in it.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn with(name: &str, content: impl AsRef<[u8]>) -> (Self, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        (Self { folder }, path)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}
