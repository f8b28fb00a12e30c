//! The scanner against the contract: the published vectors under every cut, and
//! random documents against the `regex` crate.

#![allow(clippy::expect_used)]

mod oracle;
mod properties;
mod vectors;
