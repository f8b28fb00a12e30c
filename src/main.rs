//! `blueprint-decoder`: parse, run, exit.

use blueprint_decoder::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
