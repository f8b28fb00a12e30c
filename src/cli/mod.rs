//! The command line: one file per command, each a thin shell over the library.
//!
//! Results go to standard output; everything else goes to standard error. Exit
//! codes: 0 done, 1 the work failed, 2 usage, 78 configuration.

mod check_config;
mod check_url;
mod completions;
mod config_args;
mod decode;
mod document;
mod fetched;
mod health;
mod keys;
mod progress;
mod serve;
mod standard;
mod wiping_writer;

use crate::{answer::Escaped, failure};
use clap::{Args, CommandFactory, Parser, Subcommand};
use standard::Standard;
use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

/// The version with the commit it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("DECODER_COMMIT"), ")");

/// Finds the marked fragments ("secrets") of a document and returns them, bounded,
/// in order, and honest about what was cut.
#[derive(Debug, Parser)]
#[command(name = "blueprint-decoder", version = VERSION, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// Without a command, the service runs.
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (the default)
    Serve(serve::ServeArgs),
    /// Decode one document on this machine
    Decode(decode::DecodeArgs),
    /// Load, validate and print the effective configuration
    CheckConfig(check_config::CheckConfigArgs),
    /// Explain what the egress policy says of a URL, hop by hop
    CheckUrl(check_url::CheckUrlArgs),
    /// Ask a running service whether it is alive, or ready
    Health(health::HealthArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Make API keys
    Keys(keys::KeysArgs),
    /// Verify or read the audit log (not in this version)
    Audit(NotBuilt),
}

/// The arguments of a command that a later version brings.
#[derive(Debug, Args)]
struct NotBuilt {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    anything: Vec<OsString>,
}

/// Why a command did not do its work.
#[derive(Debug)]
enum Failure {
    /// The arguments contradict each other or say what cannot be.
    Usage(clap::Error),
    /// The work failed: a code and a sentence.
    Work { code: &'static str, detail: String },
    /// The configuration is refused: a line for each fault.
    Configuration(Vec<String>),
    /// Nobody reads the result any more.
    Closed,
}

type Result<T> = std::result::Result<T, Failure>;

/// Runs the command that the arguments name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let done = match Cli::try_parse_from(arguments) {
        Ok(Cli { command, serve }) => run_command(command.unwrap_or(Command::Serve(serve))),
        Err(error) if error.use_stderr() => Err(Failure::Usage(error)),
        Err(help_or_version) => print(help_or_version.render().to_string().as_bytes()),
    };
    done.map_or_else(report, |()| ExitCode::SUCCESS)
}

fn run_command(command: Command) -> Result<()> {
    match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Decode(arguments) => decode::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::CheckUrl(arguments) => check_url::run(&arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Audit(_) => Err(not_built("audit")),
    }
}

/// Says what went wrong and returns the exit code for it. That standard error may
/// be closed too changes nothing.
fn report(failure: Failure) -> ExitCode {
    let mut stderr = io::stderr().lock();
    match failure {
        Failure::Usage(error) => {
            // The message repeats arguments, which may be the names of hostile files.
            for line in error.render().to_string().lines() {
                let _ = writeln!(stderr, "{}", Escaped(line));
            }
            ExitCode::from(2)
        }
        Failure::Work { code, detail } => {
            let _ = writeln!(stderr, "blueprint-decoder: {code}: {}", Escaped(&detail));
            ExitCode::from(1)
        }
        Failure::Configuration(faults) => {
            for fault in faults {
                let _ = writeln!(stderr, "blueprint-decoder: configuration: {}", Escaped(&fault));
            }
            ExitCode::from(78)
        }
        Failure::Closed => ExitCode::SUCCESS,
    }
}

impl Failure {
    /// A fault that the parser does not see, in the arguments of a command: its name, and
    /// that of its subcommand.
    #[expect(clippy::expect_used, reason = "the commands are named in the code")]
    fn usage(command: &[&str], fault: impl std::fmt::Display) -> Self {
        let mut cli = Cli::command();
        cli.build();
        let kind = clap::error::ErrorKind::ValueValidation;
        let mut within = &mut cli;
        for name in command {
            within = within.find_subcommand_mut(name).expect("a command of this program");
        }
        Self::Usage(within.error(kind, fault))
    }
}

/// On one's own machine, nothing needs to be hidden.
impl From<failure::Failure> for Failure {
    fn from(failure: failure::Failure) -> Self {
        let detail = match failure.faults.as_slice() {
            // What is a member of a request there is an argument here.
            [fault] => format!("--{}: {}", fault.pointer.trim_start_matches('/'), fault.detail),
            _ => failure.detail,
        };
        let detail = match failure.reason {
            Some(reason) if detail.ends_with(&reason) => detail,
            Some(reason) if reason.ends_with(&detail) => reason,
            Some(reason) => format!("{detail}: {reason}"),
            None => detail,
        };
        Self::Work { code: failure.code.as_str(), detail }
    }
}

/// A result that could not be written.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        let detail = format!("cannot write the result: {error}");
        Self::Work { code: "output_failed", detail }
    }
}

fn not_built(command: &str) -> Failure {
    let version = env!("CARGO_PKG_VERSION");
    let detail = format!(
        "{command} is not part of version {version}; blueprint-decoder --help says what is"
    );
    Failure::Work { code: "not_built", detail }
}

/// Writes a whole result to standard output.
fn print(text: &[u8]) -> Result<()> {
    Ok(Standard::output()?.write_all(text)?)
}
