//! The binary as its users meet it: arguments in, output and exit code out.

#![allow(clippy::expect_used)]

mod bad_input;
mod check_config;
mod decode;
mod health;
#[cfg(feature = "real-tools")]
mod real_tools;
mod stream;
mod support;
mod surface;
mod terminal;
